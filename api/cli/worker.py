"""puesto worker: background work. `puesto serve` runs the same in a process beside the API."""

from __future__ import annotations

import os
import signal
import sys
import threading

import click

from api.cli.processes import ENDS, configure_logging, end_with_parent, restore_hangup, unsignalled
from api.cli.shop import open_shop
from core.engine.engine import Engine
from core.worker import equip

# Several, so that a subscriber that hangs until its deadline holds up no other.
THREADS = 4
# Seconds between looks into an empty queue, at most: SQLite can't wake a reader.
LONGEST_PAUSE = 0.5
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
    stop = threading.Event()
    consumer = engine.jobs.huey.create_consumer(workers=THREADS, max_delay=LONGEST_PAUSE, shutdown_timeout=PATIENCE)
    with unsignalled():  # Huey sets handlers of its own, of which SIGTERM's drops the work under way
        consumer.start()
        restore_hangup()
        for number in ENDS:
            signal.signal(number, lambda *_: stop.set())
    end_with_parent(stop.set)
    while not stop.wait(timeout=10):
        consumer.check_worker_health()
    consumer.stop(graceful=True)
    engine.close()
    sys.stdout.flush()
    os._exit(0)  # a subscriber that hangs keeps its lane's thread, which Python would wait for
