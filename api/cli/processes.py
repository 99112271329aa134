"""What the processes of `puesto serve` share."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue

from flask import Flask

POSIX = os.name == "posix"
# What a closing terminal does to this process: end it, or nothing where it was started with nohup.
_HANGUP = signal.getsignal(signal.SIGHUP) if POSIX else None
# What asks a process to end.
ENDS = (signal.SIGTERM, signal.SIGINT)
# Seconds from being told to end until a process is ended by force.
PATIENCE = 5


class End:
    """Told by signals, waited for by threads. Not a threading.Event: a signal's handler may meet its lock held by what it interrupts."""

    def __init__(self) -> None:
        self._told: SimpleQueue[None] = SimpleQueue()

    def tell(self, *_: object) -> None:
        self._told.put(None)

    def within(self, seconds: float | None) -> bool:
        """Wait for it, for so long at most (None: as long as it takes); whether it has come."""
        try:
            self._told.get(timeout=seconds)
        except Empty:
            return False
        self._told.put(None)  # for whoever else waits
        return True


def configure_logging() -> None:
    """Warnings of everything, and what Puesto itself has to tell, on standard error."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("puesto").setLevel(logging.INFO)


def restore_hangup() -> None:
    """Let SIGHUP do what it did at the start: granian and Huey take it for "start anew"."""
    if _HANGUP is not None:
        signal.signal(signal.SIGHUP, _HANGUP)


@contextmanager
def unsignalled() -> Iterator[None]:
    """Keep signals that ask for the end until the block is over, so that none meets a handler that is about to go."""
    if not POSIX:
        yield
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)


def keep_handlers_from_children() -> None:
    """Let a forked process end at SIGTERM, which this process's handler would swallow there, and leave Ctrl-C to this one."""

    def reset() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    if POSIX:
        os.register_at_fork(after_in_child=reset)


def end_with_parent(stop: Callable[[], object]) -> None:
    """Call `stop` when the process that started this one has gone, however it went. For children made by multiprocessing;
    in others this does nothing."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        stop()
        time.sleep(PATIENCE)
        os._exit(1)

    threading.Thread(target=wait, daemon=True, name="puesto-parent").start()


def load_app() -> Flask:
    """The app, in each process of the web server."""
    from api.app import from_settings  # here, so that other commands start sooner

    if POSIX:
        # Ctrl-C reaches every process of a terminal, then the supervisor ends this one by SIGTERM: told twice, granian 2.8 may hang.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    configure_logging()
    end_with_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))
    return from_settings()
