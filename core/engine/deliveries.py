"""Deliveries: each event on its way to each subscriber, after commit.

The request writes the event only. The worker makes a delivery per subscriber, then calls each: at least once, in order per
subject, with back-off; a subscriber that fails or is slow holds up nobody but itself.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import datetime, timedelta
from typing import Any

import peewee

from core.engine.engine import Engine
from core.engine.events import EventRow, enter_feed, find_event
from core.engine.jobs import backoff, explain
from core.engine.rows import InstantField, Row, refers_to
from core.errors import Missing
from core.hooks.events import Event
from core.hooks.products import ProvisioningRequest

log = logging.getLogger("puesto.events")

MAX_ATTEMPTS = 12
FIRST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(hours=6)
# A claim lasts longer than any hook's deadline; after it, the worker that took the delivery counts as dead.
CLAIM = timedelta(seconds=90)
DIED = f"The worker that delivered it died, or took more than {CLAIM.seconds} seconds."
# Seconds that a worker waits for the subscribers it has started to call; slower ones go on without it.
PATIENCE = 10.0
BATCH = 500
PROVISIONING = {
    "trial.started": "grant",
    "subscription.started": "grant",
    "subscription.changed": "change",
    "subscription.paused": "change",
    "subscription.resumed": "change",
    "subscription.cancelled": "revoke",
}


class Delivery(Row):
    """An event on its way to one subscriber. status: `waiting` (until `next_at`), `done`, or `parked` with why in `error`.

    attempts:      tries that were begun, also those that ended with their worker.
    claimed_until: by when the worker that delivers it now counts as dead, by the machine's clock.
    """

    id = peewee.BigAutoField()
    event = refers_to(EventRow, on_delete="CASCADE")
    account = peewee.CharField(max_length=40, index=True)
    subject = peewee.CharField(max_length=40)
    plugin = peewee.CharField(max_length=64)
    hook = peewee.CharField(max_length=64)
    status = peewee.CharField(max_length=8, default="waiting", constraints=[peewee.Check("status IN ('waiting','done','parked')")])
    attempts = peewee.IntegerField(default=0, constraints=[peewee.Check("attempts >= 0")])
    next_at = InstantField()
    claimed_until = InstantField(null=True)
    error = peewee.TextField(null=True)

    class Meta:
        indexes = ((("event", "plugin", "hook"), True),)


WAITING = Delivery.status == peewee.SQL("'waiting'")
PARKED = Delivery.status == peewee.SQL("'parked'")
Delivery.add_index(Delivery.index(Delivery.plugin, Delivery.next_at, name="delivery_due").where(WAITING))
Delivery.add_index(Delivery.index(Delivery.id, name="delivery_parked").where(PARKED))
Delivery.add_index(Delivery.subject, Delivery.plugin, Delivery.event)


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


# --- who is told


def fan_out(engine: Engine) -> int:
    """Let new events into the feed and make a delivery per subscriber of each, of at most BATCH at a time; of how many."""
    if engine.db.first(EventRow.select(EventRow.sequence).where(EventRow.position.is_null())) is None:
        return 0
    with engine.db.transaction():
        fresh = enter_feed(engine, BATCH)
        engine.db.insert(*(_delivery(engine, event, *to) for event in fresh for to in _subscribers(engine, event)))
    return len(fresh)


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
        error=None,
    )


# --- telling them


def _due(engine: Engine) -> Any:
    free = Delivery.claimed_until.is_null() | (Delivery.claimed_until <= engine.clock.machine_now())
    return Delivery.select().where(WAITING & (Delivery.next_at <= engine.clock.now()) & free)


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
    """Take a subscriber's next due delivery: no other worker does, until CLAIM is over.

    One that has ended with its worker too often is parked instead: it may be what its workers die of.
    """
    with engine.db.transaction():
        due: list[Delivery] = engine.db.claim(_due_to(engine, plugin).limit(1))
        for delivery in due:
            until, died = engine.clock.machine_now() + CLAIM, delivery.claimed_until is not None
            if died and delivery.attempts >= MAX_ATTEMPTS:
                _finish(engine, delivery, status="parked", error=DIED)
                return None
            error = DIED if died else delivery.error
            engine.db.update(delivery, attempts=delivery.attempts + 1, claimed_until=until, error=error)
            return delivery
    return None


def _deliver(engine: Engine, delivery: Delivery) -> None:
    if delivery.plugin not in engine.plugins.implementing(delivery.hook):
        why = f"The plugin {delivery.plugin} is not enabled, or has no {delivery.hook} any more."
        _finish(engine, delivery, status="parked", error=why)
        return
    row = engine.db.first(EventRow.select().where(EventRow.sequence == delivery.event))
    assert row is not None
    event = Event(row.id, row.type, row.account, row.subject, row.occurred_at, row.data)
    argument = {"request": _provisioning(event)} if delivery.hook == "provision" else {"event": event}
    try:
        engine.plugins.call_plugin(delivery.plugin, delivery.hook, **argument)
    except Exception as error:  # whatever a subscriber raises is its own trouble, and is kept with the delivery
        _put_off(engine, delivery, explain(error))
        return
    _finish(engine, delivery, status="done", error=None)


def _put_off(engine: Engine, delivery: Delivery, error: str) -> None:
    if delivery.attempts >= MAX_ATTEMPTS:
        _finish(engine, delivery, status="parked", error=error)
        return
    pause = backoff(delivery.attempts, FIRST_PAUSE, LONGEST_PAUSE)
    _finish(engine, delivery, next_at=engine.clock.now() + pause, error=error)


def _finish(engine: Engine, delivery: Delivery, **outcome: Any) -> None:
    """Write how a claimed delivery has gone, unless the claim has run out and somebody else has taken it since."""
    still_mine = (Delivery.id == delivery.id) & (Delivery.claimed_until == delivery.claimed_until)
    if not engine.db.execute(Delivery.update(claimed_until=None, **outcome).where(still_mine)):
        log.warning("delivery %s to %s came to its end after its claim: others see to it", delivery.id, delivery.plugin)
    elif outcome.get("status") == "parked":
        log.error("delivery %s to %s is parked: %s", delivery.id, delivery.plugin, outcome["error"])


def _provisioning(event: Event) -> ProvisioningRequest:
    subscription = event.data["subscription"]
    action: Any = PROVISIONING[event.type]
    return ProvisioningRequest(
        action=action,
        account=event.account,
        subscription=subscription["id"],
        product=subscription["product"],
        plan=subscription["plan"],
        seats=0 if action == "revoke" or event.type == "subscription.paused" else subscription["seats"],
        key=event.id,
    )


# --- once more


def retry_parked(engine: Engine, delivery_id: int | None = None) -> int:
    """Put parked deliveries (one, or all) back to work; how many."""
    query = Delivery.update(status="waiting", attempts=0, next_at=engine.clock.now()).where(PARKED)
    return engine.db.execute(query if delivery_id is None else query.where(Delivery.id == delivery_id))


def replay(
    engine: Engine,
    first: str | datetime | None = None,
    last: str | datetime | None = None,
    plugin: str | None = None,
) -> int:
    """Deliver events of the feed anew, from `first` to `last` (ids or instants; None: no bound), both included; how many deliveries.

    plugin: to it alone; None: to whoever subscribes now. Subscribers get the same event ids, and what belongs to one subject in its
    order. Raises Missing for an unknown event.
    """
    within = _bound(engine, first, lower=True) & _bound(engine, last, lower=False)
    return sum(_replay_batch(engine, events, plugin) for events in _batches(engine, within))


def _bound(engine: Engine, end: str | datetime | None, *, lower: bool) -> Any:
    """The condition that an end of a range means."""
    if end is None:
        return EventRow.position.is_null(False)
    if isinstance(end, datetime):
        return EventRow.occurred_at >= end if lower else EventRow.occurred_at <= end
    event = find_event(engine, end)
    if event is None:
        raise Missing("There is no event {id}.", id=end)
    return EventRow.position >= event.position if lower else EventRow.position <= event.position


def _batches(engine: Engine, within: Any) -> Iterator[list[EventRow]]:
    done: int | None = 0
    while events := engine.db.all(EventRow.select().where(within & (EventRow.position > done)).order_by(EventRow.position).limit(BATCH)):
        yield events
        done = events[-1].position


def _replay_batch(engine: Engine, events: list[EventRow], plugin: str | None) -> int:
    """New deliveries stand in for the former ones: a worker that is at one of those now finds its claim gone."""
    wanted = [
        _delivery(engine, event, name, hook) for event in events for name, hook in _subscribers(engine, event) if plugin in (None, name)
    ]
    with engine.db.transaction():
        for delivery in wanted:
            same = (Delivery.event == delivery.event) & (Delivery.plugin == delivery.plugin) & (Delivery.hook == delivery.hook)
            engine.db.execute(Delivery.delete().where(same))
        engine.db.insert(*wanted)
        engine.db.after_commit(engine.jobs.nudge)
    return len(wanted)
