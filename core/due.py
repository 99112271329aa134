"""When something falls due next: what waits for an instant, and what waits for a day to begin in its account's zone.

A worker looks each minute and needs none of this; whoever moves the clock does, so that nothing is leapt over.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import peewee

from core.accounts import Account
from core.engine.clock import FIRST_ZONE, LAST_ZONE, beginning_of, day_in
from core.engine.engine import Engine

# The next instant after the given one at which something falls due; None: nothing does.
Due = Callable[[Engine, datetime], datetime | None]
ALWAYS = peewee.SQL("1 = 1")


def at(column: Any, waiting: Any = ALWAYS) -> Due:
    """Rows that wait for the instant in `column`; waiting: which of them still do."""

    def following(engine: Engine, after: datetime) -> datetime | None:
        query = column.model.select(column).where(waiting & (column > after)).order_by(column)
        row = engine.db.first(query)
        return getattr(row, column.name) if row is not None else None

    return following


def on(column: Any, waiting: Any) -> Due:
    """Rows that wait for the day in `column` to begin where their account is; waiting: which of them still do."""

    def following(engine: Engine, after: datetime) -> datetime | None:
        days = _days(engine, column, waiting, after)
        query = column.model.select(column.alias("day"), Account.time_zone).join(Account)
        rows: list[Any] = engine.db.all(query.where(waiting & column.in_(days)).distinct().objects())
        return first_of(((row.day, row.time_zone) for row in rows), after)

    return following


def first_of(days: Any, after: datetime) -> datetime | None:
    """Of (day, zone), where the first begins after that instant; None: all have begun."""
    return min((begin for begin in (beginning_of(*each) for each in days) if begin > after), default=None)


def _days(engine: Engine, column: Any, waiting: Any, after: datetime) -> list[date]:
    """The days that hold the next one: those that have begun in some zone only, and the first that has begun in none, which the day
    behind it, in the first zone, comes before."""
    begun_everywhere, begun_somewhere = day_in(after, LAST_ZONE), day_in(after, FIRST_ZONE)
    days = [begun_everywhere + timedelta(days=n) for n in range((begun_somewhere - begun_everywhere).days + 1)]
    row = engine.db.first(column.model.select(column).where(waiting & (column > begun_somewhere)).order_by(column))
    coming = getattr(row, column.name) if row is not None else begun_somewhere
    return [*days, coming, coming + timedelta(days=1)]
