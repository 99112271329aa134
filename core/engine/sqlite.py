"""SQLite: the embedded default, with nothing to set up. WAL and full sync."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import peewee

from core.engine.database import Database, R
from core.errors import SettingsInvalid

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

BUSY_SECONDS = 30
# Longer than any migration.
MIGRATION_SECONDS = 24 * 3600


class FairLock:
    """A lock that serves waiters in the order they came; `threading.Lock` lets a newcomer overtake."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiters: deque[threading.Lock] = deque()

    def __enter__(self) -> None:
        turn = threading.Lock()
        turn.acquire()
        try:
            with self._guard:
                self._waiters.append(turn)
                if self._waiters[0] is turn:
                    turn.release()
            turn.acquire()
        except BaseException:  # Ctrl-C: who leaves the queue without stepping out of it would hold up the rest for ever
            self._leave(turn)
            raise

    def __exit__(self, *exc: object) -> None:
        self._leave(self._waiters[0])

    def _leave(self, turn: threading.Lock) -> None:
        with self._guard:
            if turn not in self._waiters:
                return
            was_first = self._waiters[0] is turn
            self._waiters.remove(turn)
            if was_first and self._waiters:
                self._waiters[0].release()


class WriterQueue(FairLock):
    """Those who write a file come to it in the order in which they asked, in this process, and its turn by turn with other processes.

    SQLite lets writers of other processes wait by trying again now and then: whoever happens to try as the file is free has it, and a
    process whose own writers follow close upon each other keeps it for seconds. So one writer of each process stands in line for the
    place of the next (`-next`), and only who has that waits for the turn (`-turn`): when it is free, nobody else can take it. Both
    locks end with their process.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._files: tuple[int, int] | None = None

    def __enter__(self) -> None:
        super().__enter__()
        try:
            self._stand_in_line()
        except BaseException:
            super().__exit__()
            raise

    def __exit__(self, *exc: object) -> None:
        if self._files is not None:
            fcntl.flock(self._files[1], fcntl.LOCK_UN)
        super().__exit__()

    def _stand_in_line(self) -> None:
        if self._files is None and fcntl is not None:
            with suppress(OSError):  # a folder that can't be written: then its database can't either, and says so
                self._files = _open(f"{self._path}-next"), _open(f"{self._path}-turn")
        if self._files is None:
            return
        place, turn = self._files
        fcntl.flock(place, fcntl.LOCK_EX)
        try:
            fcntl.flock(turn, fcntl.LOCK_EX)
        finally:
            fcntl.flock(place, fcntl.LOCK_UN)

    def __del__(self) -> None:
        for file in self._files or ():
            os.close(file)


def _open(path: str) -> int:
    # For reading, which is enough for a lock, so that it does not keep a disk from being made read-only.
    return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)


class _Held:
    """Leaves its connection to those that live when its thread ends.

    It can't be closed there: SQLite calls back for each of peewee's functions, and CPython 3.11 crashes where that happens in the
    end of a thread that it has not started itself, as are the web server's (PyGILState_Release frees the thread's state twice).
    """

    def __init__(self, connection: sqlite3.Connection, orphans: deque[sqlite3.Connection]) -> None:
        self._connection, self._orphans = connection, orphans

    def __del__(self) -> None:
        self._orphans.append(self._connection)


class _OpenPerThread(threading.local):
    """Opens connections, and closes those of threads that have ended (`orphans`, shared by all threads)."""

    def __init__(self, orphans: deque[sqlite3.Connection]) -> None:
        self._orphans = orphans

    def __call__(self, *args: Any, **options: Any) -> sqlite3.Connection:
        _close(self._orphans)
        connection = sqlite3.Connection(*args, **options)
        self.held = _Held(connection, self._orphans)
        return connection


def _close(connections: deque[sqlite3.Connection]) -> None:
    with suppress(IndexError):  # another thread may take the last one
        while True:
            connections.popleft().close()


class _Sqlite(peewee.SqliteDatabase):
    def rollback(self) -> None:
        with suppress(peewee.OperationalError):  # where the disk was full, SQLite has rolled back by itself and refuses
            super().rollback()


class Sqlite(Database):
    """sqlite:///path.

    Every write transaction begins IMMEDIATE, which locks the whole file: a deferred one that reads and then writes fails at once
    under concurrency. Writers queue fairly.
    """

    synchronous = "full"  # what is committed survives a power cut
    away = (*Database.away, sqlite3.DatabaseError)  # peewee wraps no error that comes as rows are fetched

    def __init__(self, url: str) -> None:
        scheme, _, self.path = url.partition(":///")
        if scheme != "sqlite" or not self.path:
            raise SettingsInvalid(
                "setting database: write sqlite:///file.db, sqlite:////folder/file.db for an absolute path, or postgresql://user@host/name"
            )
        if not Path(self.path).absolute().parent.is_dir():
            raise SettingsInvalid("setting database: there is no folder for {path}", path=self.path)
        self.url, self._writers = url, WriterQueue(self.path)
        self._orphans: deque[sqlite3.Connection] = deque()
        super().__init__()

    @property
    def shown(self) -> str:
        return str(Path(self.path).absolute())

    def _connect(self) -> peewee.Database:
        return _Sqlite(
            self.path,
            pragmas=[("journal_mode", "wal"), ("synchronous", self.synchronous), ("foreign_keys", 1), ("cache_size", -16_000)],
            timeout=BUSY_SECONDS,
            lock_type="IMMEDIATE",
            factory=_OpenPerThread(self._orphans),
            check_same_thread=False,  # for closing only: peewee gives each thread its own
        )

    def close_all(self) -> None:
        super().close_all()
        _close(self._orphans)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with self._writers:
            yield

    def _locked(self, query: peewee.ModelSelect[R], *, skip: bool) -> peewee.ModelSelect[R]:
        return query  # IMMEDIATE has locked everything already

    def among(self, field: Any, values: Sequence[Any]) -> Any:
        return field.in_(peewee.SQL("(SELECT value FROM json_each(?))", [self._array(values)]))

    def _array(self, values: Sequence[Any]) -> str:
        return json.dumps(list(values))

    @contextmanager
    def migrating(self) -> Iterator[None]:
        """As https://www.sqlite.org/lang_altertable.html#otheralter asks: a table is rebuilt without checking references, then all are.

        Raises peewee.IntegrityError, and keeps nothing, where a reference leads nowhere at the end.
        """
        db: Any = self._peewee
        with self._turn():
            db.pragma("busy_timeout", MIGRATION_SECONDS * 1000)
            db.pragma("foreign_keys", 0)
            try:
                with db.atomic():
                    yield
                    if broken := db.execute_sql("PRAGMA foreign_key_check").fetchall():
                        raise peewee.IntegrityError(
                            f"{len(broken)} references lead nowhere, the first from {broken[0][0]} to {broken[0][2]}"
                        )
            finally:
                db.pragma("foreign_keys", 1)
                db.pragma("busy_timeout", BUSY_SECONDS * 1000)

    def _drop_broken(self) -> None:
        """A connection remembers how its file was when it was opened, such as read-only."""
        if not self.in_transaction():
            self.close()
