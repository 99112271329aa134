"""The tables of the core, and their migrations: one numbered chain, run by peewee's runner."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from playhouse.migrations import Runner

from core.access import AccountToken, ApiKey
from core.accounts import Account, User
from core.carts import Cart, CartLine
from core.engine.database import Row
from core.engine.engine import ClockOffset, Engine
from core.engine.events import Delivery, EventRow
from core.engine.idempotency import IdempotencyKey
from core.errors import SettingsInvalid
from core.invoices import Invoice, InvoiceLine, InvoiceSeries
from core.orders import Order, OrderLine
from core.payment_methods import PaymentMethod
from core.payment_webhooks import PaymentWebhookEvent
from core.payments import Payment, Refund
from core.seats import SeatAssignment
from core.subscriptions import Subscription, SubscriptionChange, Trial

TABLES: tuple[type[Row], ...] = (
    ClockOffset, ApiKey, AccountToken, Account, User, PaymentMethod, Cart, CartLine, Order, OrderLine, Payment, Refund,
    PaymentWebhookEvent, Subscription, SubscriptionChange, Trial, SeatAssignment, InvoiceSeries, Invoice, InvoiceLine, EventRow,
    Delivery, IdempotencyKey,
)  # fmt: skip
MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(engine: Engine) -> list[str]:
    """Apply the migrations that are missing, in order, each in a transaction; their names."""
    with engine.db.guarded():
        return list(_runner(engine).up())


def pending(engine: Engine) -> list[str]:
    """Names of the migrations that are missing. Raises DatabaseUnavailable."""
    return [name for name, applied in status(engine) if applied is None]


def status(engine: Engine) -> list[tuple[str, datetime | None]]:
    """Every migration, and when it was applied (None: it is missing)."""
    with engine.db.guarded():
        return [(migration.name, migration.applied) for migration in _runner(engine).status()]


def check(engine: Engine) -> None:
    """Raises SettingsInvalid, in one line that says what to run, where the schema is older than this code."""
    missing = pending(engine)
    if missing:
        raise SettingsInvalid("The database lacks {missing}: run `puesto db upgrade`.", missing=", ".join(missing))


def _runner(engine: Engine) -> Runner:
    return Runner(engine.db.raw(), str(MIGRATIONS), table_name="puesto_migration")
