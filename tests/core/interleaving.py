"""Every order in which the steps of several actors can fall: threads of which exactly one runs, stopped where another could cut in.

A step ends before a transaction begins and before a provider is called. Two orders that differ only in steps which touch nothing in
common are one order: of those only one is run (dynamic partial-order reduction, Flanagan and Godefroid 2005).
"""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from random import Random
from threading import Semaphore, Thread, current_thread
from typing import Any

from core.errors import PuestoError

TABLES = re.compile(r'\b(FROM|JOIN|INTO|UPDATE)\s+"(\w+)"')
READS_ONLY = ("retrieve_payment",)
Bodies = Mapping[str, Callable[[], Any]]
# What a step has read or written: tables, and the gateway's books.
Touched = frozenset[tuple[str, bool]]
Trace = list[tuple[str, Touched]]
Check = Callable[[list[str]], Any]
# Longer than any step on any machine: who takes longer waits for somebody who may not run.
PATIENCE = 60


class Actor(Thread):
    """One who stops at each `pause`, and goes on when stepped."""

    def __init__(self, name: str, body: Callable[[], Any], close: Callable[[], Any]) -> None:
        super().__init__(name=name, daemon=True)
        self.body, self.close = body, close
        self.go, self.back = Semaphore(0), Semaphore(0)
        self.over, self.error = False, None
        self.touched: set[tuple[str, bool]] = set()

    def run(self) -> None:
        self.go.acquire()
        try:
            self.body()
        except PuestoError:
            pass  # an answer, as the client gets it
        except BaseException as error:
            self.error = error
        finally:
            self.close()
            self.over = True
            self.back.release()

    def pause(self) -> None:
        self.back.release()
        self.go.acquire()

    def step(self) -> Touched:
        """Run to the next pause, or to the end; what was touched, and whether it was written."""
        self.touched = set()
        self.go.release()
        assert self.back.acquire(timeout=PATIENCE), f"{self.name} waits for somebody else within a step"
        return frozenset(self.touched)


@dataclass
class Choice:
    """Who ran at a point of the schedule, who has been tried there, and who is still to be."""

    chosen: str
    tried: set[str] = field(default_factory=set)
    to_try: set[str] = field(default_factory=set)


@contextmanager
def stopping(shop: Any, gateway: Any, coarse: bool) -> Iterator[None]:
    """Actors pause before transactions and calls of the provider; what they read and write is noted.

    coarse: they pause only when the provider has answered and nothing of it is written yet.
    """
    db, plugins = shop.engine.db, shop.engine.plugins
    transaction, hooks = db.transaction, db.raw().query_hooks

    def paused_transaction() -> Any:
        if isinstance(current_thread(), Actor) and not db.in_transaction() and not coarse:
            current_thread().pause()
        return transaction()

    def begun_in_turn(_seconds: float, call: Callable[[], Any]) -> Callable[[], Any]:
        return partial(called_in_turn, call)

    def called_in_turn(call: Callable[[], Any]) -> Any:
        if isinstance(current_thread(), Actor) and not db.in_transaction():
            if not coarse:
                current_thread().pause()
            gateway.calls.clear()
            answer = call()
            current_thread().touched |= {("gateway", name not in READS_ONLY) for name in gateway.calls}
            if coarse:
                current_thread().pause()
            return answer
        return call()

    def note(event: Any) -> None:
        if isinstance(current_thread(), Actor):
            current_thread().touched |= {(table, verb in ("INTO", "UPDATE")) for verb, table in TABLES.findall(event.sql)}

    db.transaction, plugins.begin = paused_transaction, begun_in_turn
    hooks.append(note)
    try:
        yield
    finally:
        hooks.remove(note)
        del db.transaction, plugins.begin


def explore(shop: Any, gateway: Any, reset: Callable[[], Any], bodies: Bodies, check: Check, *, coarse: bool = False) -> int:
    """Run `bodies` in every order that matters, each time from `reset`, and `check` the outcome; how many orders there were."""
    choices: list[Choice] = []

    def choose(trace: Trace, able: list[str]) -> str:
        """As it was chosen before; then whoever ran last goes on, and that is noted as a choice too."""
        if len(trace) == len(choices):
            name = trace[-1][0] if trace and trace[-1][0] in able else able[0]
            choices.append(Choice(name, {name}))
        return choices[len(trace)].chosen

    for count in itertools.count(1):
        trace = _run(shop, gateway, reset, bodies, check, choose, coarse=coarse)
        for at, name in _races(trace):
            choices[at].to_try.add(name)
        while choices and not choices[-1].to_try - choices[-1].tried:
            choices.pop()
        if not choices:
            return count
        last = choices[-1]
        last.chosen = min(last.to_try - last.tried)
        last.tried.add(last.chosen)
    raise AssertionError


def wander(shop: Any, gateway: Any, reset: Callable[[], Any], bodies: Bodies, check: Check, *, draw: Random, times: int) -> None:
    """The same in `times` orders that are drawn."""
    for _ in range(times):
        _run(shop, gateway, reset, bodies, check, lambda _, able: draw.choice(able))


def _run(
    shop: Any,
    gateway: Any,
    reset: Callable[[], Any],
    bodies: Bodies,
    check: Check,
    choose: Callable[[Trace, list[str]], str],
    *,
    coarse: bool = False,
) -> Trace:
    reset()
    actors = {name: Actor(name, body, shop.engine.db.close) for name, body in bodies.items()}
    trace: Trace = []
    with stopping(shop, gateway, coarse):
        for actor in actors.values():
            actor.start()
        while able := [name for name, actor in actors.items() if not actor.over]:
            name = choose(trace, able)
            trace.append((name, actors[name].step()))
    for actor in actors.values():
        actor.join()
        if actor.error:
            raise AssertionError(f"{actor.name} raised in {[name for name, _ in trace]}") from actor.error
    check([name for name, _ in trace])
    return trace


def _races(trace: Trace) -> Iterator[tuple[int, str]]:
    """Where a later step of another could have come first, and whose it is."""
    past: list[set[int]] = []  # of each step, the steps that it could not have come before
    for at, (name, touched) in enumerate(trace):
        mine = [earlier for earlier in range(at) if trace[earlier][0] == name]
        clashing = [earlier for earlier in range(at) if trace[earlier][0] != name and _clash(trace[earlier][1], touched)]
        known: set[int] = set().union(*({each} | past[each] for each in mine[-1:]))
        for earlier in reversed(clashing):
            if earlier not in known:
                yield earlier, name
                known |= {earlier} | past[earlier]
        past.append(known)


def _clash(one: Touched, other: Touched) -> bool:
    return any(table == same and (written or changed) for table, written in one for same, changed in other)
