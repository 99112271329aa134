"""Deliveries: each event on its way to each subscriber, after commit.

The request writes the event only. The worker makes a delivery per subscriber, then calls each: at least once, in order per
subject, with back-off; a subscriber that fails or is slow holds up nobody but itself.

Deliveries are claimed by the page, and what became of them is written by the page. Where a worker is killed, or its database gone,
between a call and the writing, the subscriber is told again of what it has heard: in each lane of at most PAGE events, and of no more
than were called in PAGE_SECONDS.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any, NamedTuple

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
# How long a claim lasts; after it, the worker that took the delivery counts as dead.
CLAIM = timedelta(seconds=90)
# What a call and the writing of its outcome may take: longer than any hook's deadline. None is begun with less of its claim left.
LONGEST_CALL = timedelta(seconds=70)
# Deliveries that are claimed at once, and for how many seconds calls of them are begun.
PAGE = 32
PAGE_SECONDS = 0.25
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

    attempts:      tries that were begun. Of a page whose worker died only the first is known to have been.
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
Delivery.add_index(Delivery.index(Delivery.plugin, Delivery.next_at, Delivery.event, name="delivery_due").where(WAITING))
Delivery.add_index(Delivery.index(Delivery.id, name="delivery_parked").where(PARKED))
Delivery.add_index(Delivery.index(Delivery.subject, Delivery.plugin, Delivery.event, name="delivery_in_order").where(WAITING))


class Claimed(NamedTuple):
    """A delivery that this worker has claimed, what it delivers, and which try that is."""

    delivery: Delivery
    event: Event
    tries: int


# What became of it, as its columns have it.
Outcome = tuple[Delivery, dict[str, Any]]


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
                _deliver_due(engine, plugin)
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
    """A subscriber's due deliveries, in order. None comes without all that is unfinished of its subject before it: where some of that is
    not due, comes later in this order or is in a worker's hands, it is left out."""
    earlier = Delivery.alias()
    before = (earlier.subject == Delivery.subject) & (earlier.plugin == Delivery.plugin) & (earlier.event < Delivery.event)
    behind_or_taken = (earlier.next_at > Delivery.next_at) | (earlier.claimed_until > engine.clock.machine_now())
    blocking = earlier.select(peewee.SQL("1")).where(before & (earlier.status == peewee.SQL("'waiting'")) & behind_or_taken)
    # The offset and the order let PostgreSQL look by index for each; else it joins all that waits with itself, for each page.
    one = blocking.order_by(earlier.subject, earlier.plugin, earlier.event).limit(1).offset(0)
    due = _due(engine).where((Delivery.plugin == plugin) & ~peewee.fn.EXISTS(one))
    return due.order_by(Delivery.next_at, Delivery.event)


def _deliver_due(engine: Engine, plugin: str) -> None:
    """Deliver page by page, each of at most twice as many as there was time for in the one before, until one is not full."""
    most, full = 2, True
    with ThreadPoolExecutor(1, thread_name_prefix="puesto-calls") as caller:
        while full and (page := _claim(engine, plugin, most)):
            full = len(page) == most
            most = min(2 * _deliver(engine, caller, page), PAGE)


def _claim(engine: Engine, plugin: str, most: int) -> list[Claimed]:
    """Take a subscriber's next due deliveries: no other worker does, until CLAIM is over.

    The try of the first, which is called at once, is counted here. What has ended with its worker is taken alone, since it may be what
    its workers die of, and parked once that has happened too often.
    """
    with engine.db.gathered():
        due = _in_order(engine, plugin, engine.db.claim(_due_to(engine, plugin).limit(most)))
        if not due:
            return []
        first, died = due[0], due[0].claimed_until is not None
        if died and first.attempts >= MAX_ATTEMPTS:
            _finish(engine, first, status="parked", error=DIED)
            return []
        page = _with_events(engine, due[:1] if died else list(takewhile(lambda delivery: delivery.claimed_until is None, due)))
        until = engine.clock.machine_now() + CLAIM
        for claimed in page:
            engine.db.update(claimed.delivery, claimed_until=until)
        engine.db.update(first, attempts=first.attempts + 1, error=DIED if died else first.error)
        return page


def _in_order(engine: Engine, plugin: str, due: Sequence[Delivery]) -> list[Delivery]:
    """Those of the deliveries, all of them held, before which nothing else of their subject is unfinished, in the order of events.

    Since they were found another worker may have taken what was before them, or be about to: what it holds was not found.
    """
    if not due:
        return []
    elsewhere = Delivery.select(Delivery.subject, peewee.fn.MIN(Delivery.event).alias("event")).where(
        WAITING
        & (Delivery.plugin == plugin)
        & engine.db.among(Delivery.subject, list({delivery.subject for delivery in due}))
        & (Delivery.event < max(delivery.event for delivery in due))
        & ~engine.db.among(Delivery.id, [delivery.id for delivery in due])
    )
    first = {row.subject: row.event for row in engine.db.all(elsewhere.group_by(Delivery.subject))}
    return sorted((each for each in due if each.event <= first.get(each.subject, each.event)), key=lambda each: each.event)


def _with_events(engine: Engine, deliveries: Sequence[Delivery]) -> list[Claimed]:
    rows = engine.db.foresee(EventRow.sequence, [delivery.event for delivery in deliveries])
    events = {row.sequence: Event(row.id, row.type, row.account, row.subject, row.occurred_at, row.data) for row in rows}
    return [Claimed(delivery, events[delivery.event], delivery.attempts + 1) for delivery in deliveries]


def _deliver(engine: Engine, caller: ThreadPoolExecutor, page: Sequence[Claimed]) -> int:
    """Make the calls of a page and write what became of them; for how many there was time, at least 1.

    After PAGE_SECONDS what is done is written and what has not been begun is given back: a call that hangs keeps nothing waiting but
    its own subject.
    """
    left: deque[Claimed] = deque(page)
    outcomes: list[Outcome] = []
    calls = caller.submit(_call_each, engine, left, outcomes)
    wait([calls], PAGE_SECONDS)
    unbegun = [(claimed.delivery, _unbegun(claimed)) for claimed in _taken(left)]
    done = len(outcomes)
    _write(engine, [*outcomes[:done], *unbegun])
    calls.result()
    _write(engine, outcomes[done:])
    return len(outcomes) or 1


def _taken(left: deque[Claimed]) -> Iterator[Claimed]:
    """What is left, each once, however many threads take of it."""
    with suppress(IndexError):
        while True:
            yield left.popleft()


def _call_each(engine: Engine, left: deque[Claimed], outcomes: list[Outcome]) -> None:
    """Make the calls that are left, one after the other: none for a subject of which one has failed, none when the claim is old."""
    held: set[str] = set()
    for claimed in _taken(left):
        delivery = claimed.delivery
        late = engine.clock.machine_now() > delivery.claimed_until - LONGEST_CALL
        outcome = _unbegun(claimed) if late or delivery.subject in held else _call(engine, claimed)
        if outcome["status"] == "waiting":
            held.add(delivery.subject)
        outcomes.append((delivery, outcome))


def _unbegun(claimed: Claimed) -> dict[str, Any]:
    return {"status": "waiting", "attempts": claimed.tries - 1}


def _call(engine: Engine, claimed: Claimed) -> dict[str, Any]:
    (plugin, hook), event = (claimed.delivery.plugin, claimed.delivery.hook), claimed.event
    if plugin not in engine.plugins.implementing(hook):
        why = f"The plugin {plugin} is not enabled, or has no {hook} any more."
        return _unbegun(claimed) | {"status": "parked", "error": why}
    argument = {"request": _provisioning(event)} if hook == "provision" else {"event": event}
    try:
        engine.plugins.call_plugin(plugin, hook, **argument)
    except Exception as error:  # whatever a subscriber raises is its own trouble, and is kept with the delivery
        return _failed(engine, claimed.tries, explain(error))
    return {"status": "done", "attempts": claimed.tries, "error": None}


def _failed(engine: Engine, tries: int, error: str) -> dict[str, Any]:
    if tries >= MAX_ATTEMPTS:
        return {"status": "parked", "attempts": tries, "error": error}
    next_at = engine.clock.now() + backoff(tries, FIRST_PAUSE, LONGEST_PAUSE)
    return {"status": "waiting", "attempts": tries, "next_at": next_at, "error": error}


def _write(engine: Engine, outcomes: Sequence[Outcome]) -> None:
    """Write what became of claimed deliveries, but for those whose claim has run out and that somebody else has taken since."""
    if not outcomes:
        return
    with engine.db.gathered():
        held = {row.id: row for row in engine.db.foresee(Delivery.id, [delivery.id for delivery, _ in outcomes], hold=True)}
        for delivery, outcome in outcomes:
            row = held.get(delivery.id)
            if row is not None and row.claimed_until == delivery.claimed_until:
                _finish(engine, row, **outcome)
            else:
                log.warning("delivery %s to %s came to its end after its claim: others see to it", delivery.id, delivery.plugin)


def _finish(engine: Engine, delivery: Delivery, **outcome: Any) -> None:
    """Let go of a delivery that is held."""
    engine.db.update(delivery, claimed_until=None, **outcome)
    if outcome["status"] == "parked":
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
