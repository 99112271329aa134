"""Background work on Huey. A job only says "look now": what is due is found in tables, so an emptied queue loses nothing."""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from core.engine.queues import check_address, open_queue
from core.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from huey import Huey

    from core.engine.engine import Engine

log = logging.getLogger("puesto.jobs")
T = TypeVar("T")
Work = Callable[["Engine"], object]
# Doublings after which any pause has reached its longest; further ones would not fit a timedelta.
MOST_DOUBLINGS = 30


def backoff(tries: int, first: timedelta, longest: timedelta) -> timedelta:
    """How long to wait after so many tries in vain: doubling from `first` up to `longest`, of which the second half is left to chance,
    so that what failed together does not come back together."""
    full = min(first * int(2 ** min(tries - 1, MOST_DOUBLINGS)), longest)
    return full * random.uniform(0.5, 1)


def overlapped(begun: Iterable[T], most: int) -> Iterator[T]:
    """What is begun, in its order, each when it is to be waited for: until then so many are under way, since `begun` begins each as it is
    asked for the next."""
    under_way: deque[T] = deque()
    for each in begun:
        under_way.append(each)
        if len(under_way) == most:
            yield under_way.popleft()
    yield from under_way


def explain(error: Exception) -> str:
    """Why a piece of work failed, as staff may read it: what the plugin raised, where one did."""
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {cause}"[:500]


class Jobs:
    """The queue of one engine. Made on first use: reading a shop needs no queue. Raises SettingsInvalid for a wrong setting `jobs`.

    round:  what a worker does every minute; prompt: what it does as soon as it is nudged. `core.worker` fills both.
    """

    def __init__(self, engine: Engine) -> None:
        check_address(engine.settings["jobs"])
        self._engine = engine
        self._huey: Huey | None = None
        self._making = threading.Lock()
        self._busy: set[str] = set()
        self.round: Sequence[Work] = ()
        self.prompt: Sequence[Work] = ()

    @property
    def huey(self) -> Huey:
        with self._making:
            if self._huey is None:
                huey = open_queue(self._engine.settings["jobs"], self._engine.db)
                self._deliver = huey.task(name="deliver")(lambda: self._run(self.prompt))
                self._huey = huey
            return self._huey

    def nudge(self) -> None:
        """Wake a worker, unless one is called already. A nudge that is lost costs at most a minute: workers look by themselves too."""
        try:
            if not self.huey.pending_count():
                self._deliver()
        except Exception:  # each kind of queue has errors of its own
            log.warning("the job queue can't be written; the worker's next round will find the work", exc_info=True)

    def pending(self) -> int:
        """Tasks that no worker has taken yet. Raises DatabaseUnavailable where the queue can't be read."""
        try:
            return int(self.huey.pending_count())
        except Exception as error:
            raise DatabaseUnavailable("The job queue can't be read: {problem}.", problem=str(error)) from error

    def close(self) -> None:
        """Let go of the queue; it is opened anew when it is used again."""
        with self._making:
            if self._huey is not None:
                self._huey.storage.close()

    @contextmanager
    def alone(self, name: str) -> Iterator[bool]:
        """Whether nothing else of that name runs in this process; while it is False, leave the work to what does."""
        with self._making:
            free = name not in self._busy
            self._busy.add(name)
        try:
            yield free
        finally:
            if free:
                self._busy.discard(name)

    def run_round(self) -> None:
        """Look for all work by itself, which needs no queue. What fails is logged, and tried again in the next round."""
        self._run(self.round)

    def _run(self, work: Sequence[Work]) -> None:
        for piece in (type(self._engine).refresh_clock, *work):
            try:
                piece(self._engine)
            except Exception:
                log.exception("%s failed; it is tried again in the next round", getattr(piece, "__name__", piece))
