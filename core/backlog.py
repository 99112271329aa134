"""How much work lies there, and for how long: counted from the tables, so that every process answers alike."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import peewee

from core.engine.deliveries import PARKED, WAITING, Delivery
from core.engine.engine import Engine
from core.engine.events import EventRow
from core.errors import DatabaseUnavailable
from core.past_due import count_past_due
from core.payments import Payment
from core.stuck import count_stuck


@dataclass(frozen=True)
class Backlog:
    """Counts, and ages in seconds.

    stuck:          cases by kind.
    waiting:        deliveries under way by plugin, and overdue: for how long the oldest of a plugin has been due (0: none is).
    parked:         deliveries that nobody tries any more, by plugin.
    past_due:       subscriptions that could not be renewed for want of a payment.
    events:         written, and not in the feed yet.
    payments:       whose end is not known, or that are still watched; oldest_payment: age of the oldest.
    queue:          tasks that no worker has taken; None: the queue can't be read.
    """

    stuck: dict[str, int]
    waiting: dict[str, int]
    overdue: dict[str, float]
    parked: dict[str, int]
    past_due: int
    events: int
    payments: int
    oldest_payment: float
    queue: int | None


def measure(engine: Engine) -> Backlog:
    """Read by indexes that hold what is open only. Raises DatabaseUnavailable."""
    waiting = _by_plugin(engine, WAITING)
    number, oldest = _open_payments(engine)
    return Backlog(
        stuck=count_stuck(engine),
        waiting={row.plugin: row.number for row in waiting},
        overdue={row.plugin: _age(engine, row.oldest) for row in waiting},
        parked={row.plugin: row.number for row in _by_plugin(engine, PARKED)},
        past_due=count_past_due(engine),
        events=engine.db.count(EventRow.select().where(EventRow.position.is_null())),
        payments=number,
        oldest_payment=_age(engine, oldest),
        queue=_queued(engine),
    )


def _by_plugin(engine: Engine, status: Any) -> list[Any]:
    number, oldest = peewee.fn.COUNT(Delivery.id).alias("number"), peewee.fn.MIN(Delivery.next_at).alias("oldest")
    return engine.db.all(Delivery.select(Delivery.plugin, number, oldest).where(status).group_by(Delivery.plugin))


def _open_payments(engine: Engine) -> tuple[int, datetime | None]:
    number, oldest = peewee.fn.COUNT(Payment.id).alias("number"), peewee.fn.MIN(Payment.created_at).alias("oldest")
    row: Any = engine.db.first(Payment.select(number, oldest).where(Payment.ask_at.is_null(False)))
    return row.number, row.oldest


def _queued(engine: Engine) -> int | None:
    try:
        return engine.jobs.pending()
    except DatabaseUnavailable:
        return None


def _age(engine: Engine, instant: datetime | None) -> float:
    return 0.0 if instant is None else max(0.0, (engine.clock.now() - instant).total_seconds())
