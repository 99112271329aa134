"""The outbox: events written with the change they tell of, delivered to each subscriber after commit.

The request writes the event only. The worker makes a delivery per subscriber, then calls each: at least once, in order per
subject, with back-off; a subscriber that fails or is slow holds up nobody but itself.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta
from typing import Any

import peewee

from core.engine.database import InstantField, JsonField, Row, refers_to
from core.engine.engine import Engine
from core.engine.values import new_id, to_json
from core.errors import Missing
from core.hooks.events import Event
from core.hooks.products import ProvisioningRequest

log = logging.getLogger("puesto.events")

MAX_ATTEMPTS = 12
FIRST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(hours=6)
# A claim lasts longer than any hook's deadline; after it, the worker that took the delivery counts as dead.
CLAIM = timedelta(seconds=90)
# Seconds that a worker waits for the subscribers it has started to call; slower ones go on without it.
PATIENCE = 10.0
BATCH = 500
PROVISIONING = {
    "trial.started": "grant",
    "subscription.started": "grant",
    "subscription.changed": "change",
    "subscription.cancelled": "revoke",
}


class EventRow(Row):
    """One event. `sequence` is the order of writing; `fanned_out` whether its deliveries have been made."""

    sequence = peewee.BigAutoField()
    id = peewee.CharField(unique=True, max_length=40)
    account = peewee.CharField(max_length=40, index=True)
    type = peewee.CharField(max_length=64)
    subject = peewee.CharField(max_length=40)
    data = JsonField()
    occurred_at = InstantField()
    fanned_out = peewee.BooleanField(default=False)

    class Meta:
        table_name = "event"


EventRow.add_index(EventRow.index(EventRow.sequence, name="event_to_fan_out").where(EventRow.fanned_out == peewee.SQL("FALSE")))


class Delivery(Row):
    """An event on its way to one subscriber. status: `waiting` (until `next_at`), `done`, or `parked` with why in `error`.

    claimed_until: by when the worker that delivers it now counts as dead, by the machine's clock.
    """

    id = peewee.BigAutoField()
    event = refers_to(EventRow, on_delete="CASCADE")
    account = peewee.CharField(max_length=40, index=True)
    subject = peewee.CharField(max_length=40)
    plugin = peewee.CharField(max_length=64)
    hook = peewee.CharField(max_length=64)
    status = peewee.CharField(max_length=8, default="waiting")
    attempts = peewee.IntegerField(default=0)
    next_at = InstantField()
    claimed_until = InstantField(null=True)
    error = peewee.TextField(null=True)

    class Meta:
        indexes = ((("event", "plugin", "hook"), True),)


Delivery.add_index(Delivery.index(Delivery.plugin, Delivery.next_at, name="delivery_due").where(Delivery.status == peewee.SQL("'waiting'")))
Delivery.add_index(Delivery.subject, Delivery.plugin, Delivery.event)


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
            data=to_json(data),
            occurred_at=engine.clock.now(),
            fanned_out=False,
        )
    )
    engine.db.after_commit(engine.jobs.nudge)


def drain(engine: Engine) -> None:
    """Deliver what is due now. Safe to run in many workers at once.

    Each subscriber has a lane of its own, a thread, which is waited for at most PATIENCE: one that hangs goes on by itself, and
    holds up neither the other subscribers nor this worker.
    """
    while fan_out(engine) == BATCH:
        pass
    plugins = [delivery.plugin for delivery in engine.db.all(_due(engine).select(Delivery.plugin).distinct())]
    if not plugins:
        return
    threads = ThreadPoolExecutor(len(plugins), thread_name_prefix="puesto-lane")
    lanes = [threads.submit(_drain_lane, engine, plugin) for plugin in plugins]
    threads.shutdown(wait=False)
    for lane in wait(lanes, PATIENCE).done:
        lane.result()


def _drain_lane(engine: Engine, plugin: str) -> None:
    """Deliver to one subscriber until nothing is due. Where a lane of it runs already, that one sees to what is new."""
    try:
        while engine.db.first(_due_to(engine, plugin)) is not None:
            with engine.jobs.alone(f"deliver to {plugin}") as mine:
                if not mine:
                    return
                while (delivery := _claim(engine, plugin)) is not None:
                    _deliver(engine, delivery)
    finally:
        engine.db.close()


def fan_out(engine: Engine) -> int:
    """Make a delivery per subscriber of each new event, of at most BATCH at a time; of how many."""
    with engine.db.transaction():
        new = EventRow.fanned_out == peewee.SQL("FALSE")
        fresh = engine.db.claim(EventRow.select().where(new).order_by(EventRow.sequence).limit(BATCH))
        for event in fresh:
            engine.db.insert(*(_delivery(engine, event, plugin, hook) for plugin, hook in _subscribers(engine, event)))
        if fresh:
            engine.db.execute(EventRow.update(fanned_out=True).where(EventRow.sequence.in_([e.sequence for e in fresh])))
    return len(fresh)


def retry_parked(engine: Engine, delivery_id: int | None = None) -> int:
    """Put parked deliveries (one, or all) back to work; how many."""
    query = Delivery.update(status="waiting", attempts=0, next_at=engine.clock.now()).where(Delivery.status == "parked")
    return engine.db.execute(query if delivery_id is None else query.where(Delivery.id == delivery_id))


def _subscribers(engine: Engine, event: EventRow) -> list[tuple[str, str]]:
    """(plugin, hook) for each that wants the event; the product's own plugin is called on to provision."""
    hook = event.type.replace(".", "_")
    wanted = [(plugin, hook) for plugin in engine.plugins.implementing(hook)]
    if event.type in PROVISIONING:
        plugin = engine.products.plugin_of.get(event.data["subscription"]["product"])
        if plugin in engine.plugins.implementing("provision"):
            wanted.append((plugin, "provision"))
    return wanted


def _delivery(engine: Engine, event: EventRow, plugin: str, hook: str) -> Delivery:
    now = engine.clock.now()
    return Delivery(
        event=event.sequence,
        account=event.account,
        subject=event.subject,
        plugin=plugin,
        hook=hook,
        status="waiting",
        attempts=0,
        next_at=now,
        claimed_until=None,
    )


def _due(engine: Engine) -> Any:
    free = Delivery.claimed_until.is_null() | (Delivery.claimed_until <= engine.clock.machine_now())
    return Delivery.select().where((Delivery.status == peewee.SQL("'waiting'")) & (Delivery.next_at <= engine.clock.now()) & free)


def _due_to(engine: Engine, plugin: str) -> Any:
    """A subscriber's due deliveries that have no unfinished one of the same subject before them, in order."""
    earlier = Delivery.alias()
    blocked = earlier.select(peewee.SQL("1")).where(
        (earlier.subject == Delivery.subject)
        & (earlier.plugin == Delivery.plugin)
        & (earlier.event < Delivery.event)
        & (earlier.status == "waiting")
    )
    due = _due(engine).where((Delivery.plugin == plugin) & ~peewee.fn.EXISTS(blocked))
    return due.order_by(Delivery.next_at, Delivery.id)


def _claim(engine: Engine, plugin: str) -> Delivery | None:
    """Take a subscriber's next due delivery: no other worker does, until CLAIM is over."""
    with engine.db.transaction():
        due: list[Delivery] = engine.db.claim(_due_to(engine, plugin).limit(1))
        for delivery in due:
            engine.db.update(delivery, attempts=delivery.attempts + 1, claimed_until=engine.clock.machine_now() + CLAIM)
            return delivery
    return None


def _deliver(engine: Engine, delivery: Delivery) -> None:
    row = engine.db.first(EventRow.select().where(EventRow.sequence == delivery.event))
    assert row is not None
    event = Event(row.id, row.type, row.account, row.subject, row.occurred_at, row.data)
    argument = {"request": _provisioning(event)} if delivery.hook == "provision" else {"event": event}
    try:
        engine.plugins.call_plugin(delivery.plugin, delivery.hook, **argument)
    except Exception as error:  # whatever a subscriber raises is its own trouble, and is kept with the delivery
        _put_off(engine, delivery, f"{type(error.__cause__ or error).__name__}: {error.__cause__ or error}"[:500])
        return
    engine.db.update(delivery, status="done", error=None)


def _put_off(engine: Engine, delivery: Delivery, error: str) -> None:
    if delivery.attempts >= MAX_ATTEMPTS:
        log.error("delivery %s to %s is parked: %s", delivery.id, delivery.plugin, error)
        engine.db.update(delivery, status="parked", claimed_until=None, error=error)
        return
    pause = min(FIRST_PAUSE * 2 ** (delivery.attempts - 1), LONGEST_PAUSE)
    engine.db.update(delivery, next_at=engine.clock.now() + pause, claimed_until=None, error=error)


def _provisioning(event: Event) -> ProvisioningRequest:
    subscription = event.data["subscription"]
    action: Any = PROVISIONING[event.type]
    return ProvisioningRequest(
        action=action,
        account=event.account,
        subscription=subscription["id"],
        product=subscription["product"],
        plan=subscription["plan"],
        seats=0 if action == "revoke" else subscription["seats"],
        key=event.id,
    )


# --- the feed


def events_after(engine: Engine, account: str | None, after: str | None, limit: int) -> list[dict[str, Any]]:
    """The events written after the one with id `after` (None: from the beginning), the oldest first.

    account: only its own; None: of every account. Raises Missing for an unknown `after`.
    """
    query = EventRow.select().order_by(EventRow.sequence).limit(limit)
    if account is not None:
        query = query.where(EventRow.account == account)
    if after is not None:
        seen = engine.db.first(EventRow.select().where(EventRow.id == after))
        if seen is None or account not in (None, seen.account):
            raise Missing("There is no event {id}.", pointer="/after", id=after)
        query = query.where(EventRow.sequence > seen.sequence)
    return [event_document(row) for row in engine.db.all(query)]


def event_document(row: EventRow) -> dict[str, Any]:
    """An event as the feed shows it."""
    names = ("id", "type", "account", "subject", "occurred_at", "data")
    return {name: to_json(getattr(row, name)) for name in names}
