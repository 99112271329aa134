"""Background work on Huey. A job only says "look now": what is due is found in tables, so an emptied queue loses nothing."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING

from huey import SqliteHuey, crontab

if TYPE_CHECKING:
    from core.engine.engine import Engine

log = logging.getLogger("puesto.jobs")


class Jobs:
    """The queue of one engine, in a file beside its database. Made on first use: reading a shop needs no queue."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._huey: SqliteHuey | None = None
        self.work: list[Callable[[Engine], object]] = []

    @property
    def huey(self) -> SqliteHuey:
        if self._huey is None:
            self._huey = SqliteHuey("puesto", filename=f"{self._engine.db.path}-jobs", results=False)
            self._look = self._huey.task(name="look")(self.look)
            self._huey.periodic_task(crontab(minute="*"), name="round")(self.look)
        return self._huey

    def nudge(self) -> None:
        """Wake a worker. A nudge that is lost costs at most a minute: the worker looks by itself as well."""
        try:
            self.huey  # noqa: B018 - makes the task
            self._look()
        except sqlite3.Error:
            log.warning("the job queue can't be written; the worker's next round will find the work", exc_info=True)

    def look(self) -> None:
        """One round: everything that is due now."""
        self._engine.refresh_clock()
        for piece in self.work:
            try:
                piece(self._engine)
            except Exception:
                log.exception("%s failed; it is tried again in the next round", getattr(piece, "__name__", piece))
