"""The time machine of a sandbox: moves the clock forward, and has everything done that falls due on the way, in the order of date.

What it does is what a worker would have done that looked at just those instants, with the worker's own code. So it may be killed and
begun anew, and workers, clients and other journeys may go on beside it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime

import peewee

from core.engine.clock import day_in
from core.engine.engine import Engine
from core.engine.events import EventRow
from core.engine.jobs import Work
from core.worker import DUE, ROUND, run_round

# What is done at each stop; all else, such as sweeping, when the journey ends.
ON_THE_WAY = tuple(piece for piece, due in DUE.items() if due)
# Rounds at one instant, after which time goes on all the same: somebody else keeps writing.
MOST_ROUNDS = 1000


@dataclass
class Journey:
    """What has happened on the way, by day of the seller and type of event, and the accounts of each type. Others may have done some of
    it."""

    days: dict[date, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    accounts: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    @property
    def events(self) -> Counter[str]:
        return sum(self.days.values(), Counter[str]())


def travel(engine: Engine, until: datetime, tell: Callable[[datetime], object] = lambda instant: None) -> Journey:
    """Make it `until`, stopping wherever something falls due before. `tell` hears of each stop, when it is over.

    Raises SettingsInvalid in live mode, ValueError for an instant that has passed.
    """
    engine.refresh_clock()
    if not engine.sandbox or until < engine.clock.now():
        engine.move_clock(until)  # says so
    journey, stop, seen = Journey(), engine.clock.now(), _last_event(engine)
    while True:
        _work(engine, ON_THE_WAY if stop < until else ROUND)
        seen = _note(engine, journey, stop, seen)
        tell(stop)
        if stop >= until:
            return journey
        stop = min(next_due(engine, stop) or until, until)
        _arrive(engine, stop)


def next_due(engine: Engine, after: datetime) -> datetime | None:
    """The next instant after that one at which something falls due, as things are now; None: nothing waits."""
    found = (following(engine, after) for each in DUE.values() for following in each)
    return min((instant for instant in found if instant is not None), default=None)


def _arrive(engine: Engine, instant: datetime) -> None:
    """Be there; it may be later by now, since clocks run, and others move them too."""
    engine.refresh_clock()
    if instant > engine.clock.now():
        with suppress(ValueError):
            engine.move_clock(instant)


def _work(engine: Engine, work: Sequence[Work]) -> None:
    """Do what is due until there is nothing more to do."""
    for _ in range(MOST_ROUNDS):
        before = engine.db.writes
        run_round(engine, work)
        if engine.db.writes == before:
            return


def _last_event(engine: Engine) -> int:
    return engine.db.scalar(EventRow.select(peewee.fn.MAX(EventRow.sequence))) or 0


def _note(engine: Engine, journey: Journey, stop: datetime, seen: int) -> int:
    """Add the events behind `seen`; the last of them."""
    rows = engine.db.all(EventRow.select(EventRow.sequence, EventRow.type, EventRow.account).where(EventRow.sequence > seen))
    for row in rows:
        journey.days[day_in(stop, engine.settings["seller"]["time_zone"])][row.type] += 1
        journey.accounts[row.type].add(row.account)
    return max((row.sequence for row in rows), default=seen)
