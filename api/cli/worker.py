"""puesto worker: background work. `puesto serve` runs the same in a process beside the API."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

import click

from api.cli.processes import ENDS, End, configure_logging, end_with_parent, restore_hangup, unsignalled
from api.cli.shop import open_shop
from core.engine.engine import Engine
from core.engine.memory import keep_for_good
from core.worker import equip

if TYPE_CHECKING:
    from huey.consumer import Consumer

log = logging.getLogger("puesto.worker")

# Several, so that a subscriber that hangs until its deadline holds up no other.
THREADS = 4
# Seconds between looks into an empty queue, at most: SQLite can't wake a reader.
LONGEST_PAUSE = 0.5
# Seconds between rounds, in which a worker looks for work by itself: whatever becomes of the queue, nothing waits for longer.
ROUND = 60
# Seconds until a queue that can't be opened is tried again.
RETRY = 5
# Seconds that work under way is given when the end is asked for. What is cut off is found and done again by the next worker.
PATIENCE = 3.0


@click.command()
def worker() -> None:
    """Do background work, until Ctrl-C.

    Events are delivered, payments recovered, what has expired is swept. `puesto serve` does the same by itself; this adds to it.
    """
    with open_shop() as engine:
        click.echo(f"Background work on {engine.db.shown}. Ctrl-C stops it.")
    work()


def work() -> None:
    """Work until SIGTERM or SIGINT comes, or the process that started this one has gone; then end the process."""
    configure_logging()
    engine = Engine()
    equip(engine)
    keep_for_good()
    end = End()
    _end_at_signals(end)
    with unsignalled():  # as those threads stay: a signal that they took would meet Huey's handlers while it starts
        end_with_parent(end.tell)
        threading.Thread(target=_look_by_itself, args=(engine, end), daemon=True, name="puesto-rounds").start()
    consumer = _start_consumer(engine, end)
    while consumer and not end.within(10):
        consumer.check_worker_health()
    if consumer:
        consumer.stop(graceful=True)
    engine.close()
    sys.stdout.flush()
    os._exit(0)  # a subscriber that hangs keeps its lane's thread, which Python would wait for


def _look_by_itself(engine: Engine, end: End) -> None:
    while True:
        engine.jobs.run_round()
        if end.within(ROUND):
            return


def _start_consumer(engine: Engine, end: End) -> Consumer | None:
    """As soon as the queue can be opened; until then the rounds do all the work. None where the end comes first."""
    while True:
        try:
            consumer = engine.jobs.huey.create_consumer(workers=THREADS, periodic=False, max_delay=LONGEST_PAUSE, shutdown_timeout=PATIENCE)
        except Exception:  # each kind of queue has errors of its own
            log.warning("the job queue can't be opened; it is tried again", exc_info=True)
            if end.within(RETRY):
                return None
            continue
        with unsignalled():  # Huey sets handlers of its own, of which SIGTERM's drops the work under way
            consumer.start()
            _end_at_signals(end)
        return consumer


def _end_at_signals(end: End) -> None:
    restore_hangup()
    for number in ENDS:
        signal.signal(number, end.tell)
