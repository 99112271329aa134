"""The tables of the core and of plugins: what they are, and the numbered chains of migrations that make them.

A migration is a file as playhouse.migrations has it: `up(migrator, db)`. The applying is ours, since its Runner decides what to run
before it holds a lock, and two processes that upgrade at once would run the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import peewee
from playhouse.migrate import SchemaMigrator
from playhouse.migrations import Migration

from core.access import AccountToken, ApiKey
from core.accounts import Account, User
from core.balance import BalanceEntry
from core.captures import Capture
from core.carts import Cart, CartLine
from core.differences import Difference
from core.disputes import Dispute
from core.engine.clock import SystemClock
from core.engine.deliveries import Delivery
from core.engine.engine import ClockOffset, Engine
from core.engine.events import EventRow, Feed
from core.engine.idempotency import IdempotencyKey
from core.engine.reflection import differences
from core.engine.rows import InstantField, Row
from core.engine.setbacks import Setback
from core.errors import PuestoError, SettingsInvalid
from core.invoices import Invoice, InvoiceLine, InvoiceSeries
from core.orders import Order, OrderLine
from core.payment_methods import PaymentMethod
from core.payment_webhooks import PaymentWebhookEvent
from core.payments import Payment, Refund
from core.reconciliation import Reconciliation
from core.seats import SeatAssignment
from core.subscriptions import PastDue, Subscription, SubscriptionChange, Trial

TABLES: tuple[type[Row], ...] = (
    ClockOffset, ApiKey, AccountToken, Account, User, PaymentMethod, Cart, CartLine, Order, OrderLine, Payment, Capture, Refund, Dispute,
    PaymentWebhookEvent, Subscription, SubscriptionChange, PastDue, Trial, SeatAssignment, InvoiceSeries, Invoice, InvoiceLine, EventRow,
    Delivery, IdempotencyKey, Feed, Setback, Reconciliation, Difference,
    BalanceEntry,
)  # fmt: skip
CORE = "core"
MIGRATIONS = Path(__file__).parent / "migrations"
# Those of the queue, which Huey makes in PostgreSQL.
QUEUE_PREFIX = "huey_"


class AppliedMigration(Row):
    """A migration that was applied. `name`: that of its file; for a plugin's, behind the plugin's name: `email/0001_messages`."""

    id = peewee.AutoField()
    name = peewee.CharField(unique=True)
    applied = InstantField()

    class Meta:
        table_name = "puesto_migration"


@dataclass(frozen=True)
class Step:
    """A migration of a chain.

    file:    None: applied, but this code does not have it.
    applied: when; None: it is missing.
    enabled: False: the plugin whose chain it is of is not enabled.
    """

    chain: str
    name: str
    file: Migration | None
    applied: datetime | None
    enabled: bool = True

    @property
    def key(self) -> str:
        return self.name if self.chain == CORE else f"{self.chain}/{self.name}"

    @property
    def state(self) -> str:
        """For people."""
        if not self.enabled:
            return "plugin not enabled"
        if self.file is None:
            return "unknown to this code"
        return f"{self.applied:%Y-%m-%d %H:%M}" if self.applied else "missing"


# --- upgrading


def upgrade(engine: Engine, tell: Callable[[str], object] = lambda name: None) -> list[str]:
    """Apply the migrations that are missing, the core's first, each in a transaction; their names, which `tell` gets one by one.

    Processes that upgrade at once take turns: what another has applied is not applied again. Raises SettingsInvalid for a database
    that is newer than this code, and for a migration that fails: of that one nothing is left, and those before it stay.
    """
    steps = status(engine)
    _refuse_newer(steps)
    done = []
    for step in steps:
        if step.applied is None and _apply(engine, step):
            done.append(step.key)
            tell(step.key)
    return done


def status(engine: Engine) -> list[Step]:
    """Every migration in the order in which they run, and behind them those in the database that this code does not have."""
    applied = _applied(engine)
    steps = [
        Step(chain, migration.name, migration, None)
        for chain, folder in _chains(engine).items()
        for migration in Migration.load_directory(folder)
    ]
    known = [Step(step.chain, step.name, step.file, applied.pop(step.key, None)) for step in steps]
    return known + [_stranger(engine, key, when) for key, when in applied.items()]


def check(engine: Engine) -> None:
    """Raises SettingsInvalid, in one line that says what to do, where the schema is older or newer than this code."""
    steps = status(engine)
    _refuse_newer(steps)
    missing = [step.key for step in steps if step.applied is None]
    if missing:
        raise SettingsInvalid("The database lacks {missing}: run `puesto db upgrade`.", missing=", ".join(missing))


def compare(engine: Engine) -> list[str]:
    """How the tables in the database differ from the models, a line per difference; those of plugins that are not enabled are left out."""
    models: list[type[peewee.Model]] = [AppliedMigration, *TABLES]
    models += [model for tables in engine.tables.values() for model in tables.models]
    strangers = {f"{step.chain}_" for step in status(engine) if not step.enabled}
    with engine.db.guarded():
        return differences(engine.db.raw(), models, ignored=(QUEUE_PREFIX, *strangers))


def _chains(engine: Engine) -> dict[str, Path]:
    """The folder of each chain, in the order in which they run."""
    own = {table._meta.table_name for table in TABLES} | {AppliedMigration._meta.table_name}
    for plugin, tables in engine.tables.items():
        for model in tables.models:
            if model._meta.table_name in own:
                raise SettingsInvalid("plugin {plugin}: {table} is a table of the core", plugin=plugin, table=model._meta.table_name)
    return {CORE: MIGRATIONS} | {plugin: Path(tables.migrations) for plugin, tables in engine.tables.items()}


def _applied(engine: Engine) -> dict[str, datetime]:
    with engine.db.guarded():
        if not engine.db.raw().table_exists(AppliedMigration._meta.table_name):
            return {}
    return {row.name: row.applied for row in engine.db.all(AppliedMigration.select().order_by(AppliedMigration.id))}


def _stranger(engine: Engine, key: str, applied: datetime) -> Step:
    chain, _, name = key.rpartition("/")
    return Step(chain or CORE, name, None, applied, enabled=not chain or chain in engine.tables)


def _refuse_newer(steps: Sequence[Step]) -> None:
    unknown = [step.key for step in steps if step.enabled and step.file is None]
    if unknown:
        raise SettingsInvalid(
            "The database is newer than this code, which lacks {unknown}: install the release that made it.", unknown=", ".join(unknown)
        )


def _apply(engine: Engine, step: Step) -> bool:
    """Apply a migration; False where another process has just done it."""
    assert step.file is not None
    db = engine.db.raw()
    try:
        with engine.db.migrating():
            peewee.SchemaManager(AppliedMigration, db).create_all(safe=True)
            if step.key in _applied(engine):
                return False
            step.file.load().up(SchemaMigrator.from_database(db), db)
            engine.db.insert(AppliedMigration(name=step.key, applied=SystemClock().now()))
    except PuestoError:
        raise
    except Exception as error:
        problem = " ".join(f"{type(error).__name__}: {error}".split())
        raise SettingsInvalid(
            "The migration {file} failed, and nothing of it is kept: {problem}", file=step.file.path, problem=problem
        ) from error
    return True
