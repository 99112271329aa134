"""Events: written with the change they tell of, and the feed that shows them in a lasting order."""

from __future__ import annotations

from typing import Any

import peewee

from core.engine.engine import Engine
from core.engine.rows import InstantField, JsonField, Row
from core.engine.values import new_id, to_json
from core.errors import Missing


class EventRow(Row):
    """One event.

    sequence: the order of writing: within a subject that of commit, since its account is locked meanwhile; across subjects not.
    position: its place in the feed, given when its deliveries are made; None until then.
    """

    sequence = peewee.BigAutoField()
    id = peewee.CharField(unique=True, max_length=40)
    account = peewee.CharField(max_length=40)
    type = peewee.CharField(max_length=64)
    subject = peewee.CharField(max_length=40)
    data = JsonField()
    occurred_at = InstantField()
    position = peewee.BigIntegerField(null=True, unique=True)

    class Meta:
        table_name = "event"
        indexes = ((("account", "position"), False),)


EventRow.add_index(EventRow.index(EventRow.sequence, name="event_to_fan_out").where(EventRow.position.is_null()))


class Feed(Row):
    """The last position that was given out: one row, whose lock lets one transaction at a time give out the next ones.

    `sequence` would not do: the database gives it out before commit, so that a reader can see 8, go on after it, and never see the
    7 of a transaction that commits later.
    """

    id = peewee.IntegerField(primary_key=True)
    position = peewee.BigIntegerField()


def append(engine: Engine, type_: str, *, account: str, subject: str, data: dict[str, Any]) -> None:
    """Write an event in the transaction of what it tells of, and nudge the worker once that is in."""
    if not engine.db.in_transaction():
        raise RuntimeError("an event is written in the transaction of its change")
    engine.db.insert(
        EventRow(
            id=new_id("evt"),
            account=account,
            type=type_,
            subject=subject,
            data=data,
            occurred_at=engine.clock.now(),
            position=None,
        )
    )
    engine.db.after_commit(engine.jobs.nudge)


def enter_feed(engine: Engine, batch: int) -> list[EventRow]:
    """Give the oldest events without a position theirs, of at most `batch`; those events. The end of the transaction lets others in."""
    feed = engine.db.lock(Feed, 1)
    assert feed is not None
    fresh = engine.db.all(EventRow.select().where(EventRow.position.is_null()).order_by(EventRow.sequence).limit(batch))
    if fresh:
        places = [(event.sequence, place) for place, event in enumerate(fresh, feed.position + 1)]
        placed = EventRow.update(position=peewee.Case(EventRow.sequence, places))
        engine.db.execute(placed.where(engine.db.among(EventRow.sequence, [event.sequence for event in fresh])))
        engine.db.update(feed, position=feed.position + len(fresh))
    return fresh


def events_after(engine: Engine, account: str | None, after: str | None, limit: int) -> list[dict[str, Any]]:
    """The events behind the one with id `after` in the feed (None: from the beginning), the oldest first.

    account: only its own; None: of every account. Raises Missing for an `after` that is unknown or not in the feed yet.
    """
    query = EventRow.select().where(EventRow.position.is_null(False))
    if account is not None:
        query = query.where(EventRow.account == account)
    if after is not None:
        query = query.where(EventRow.position > _position(engine, account, after))
    return [event_document(row) for row in engine.db.all(query.order_by(EventRow.position).limit(limit))]


def _position(engine: Engine, account: str | None, event_id: str) -> int | None:
    seen = find_event(engine, event_id)
    if seen is None or account not in (None, seen.account):
        raise Missing("There is no event {id}.", pointer="/after", id=event_id)
    return seen.position


def find_event(engine: Engine, event_id: str) -> EventRow | None:
    """An event of the feed."""
    found: EventRow | None = engine.db.first(EventRow.select().where((EventRow.id == event_id) & EventRow.position.is_null(False)))
    return found


def event_document(row: EventRow) -> dict[str, Any]:
    """An event as the feed shows it."""
    names = ("id", "type", "account", "subject", "occurred_at", "data")
    return {name: to_json(getattr(row, name)) for name in names}
