"""Rows and transactions over peewee.

Rows are peewee models without a database of their own: every statement names its `Database`, so that two engines fit in one
process. Nothing is loaded lazily and nothing is saved behind one's back: `insert`, `update` and `delete` say what they do.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime
from typing import Any, TypeVar

import peewee

from core.errors import DatabaseUnavailable, SettingsInvalid

R = TypeVar("R", bound="Row")
log = logging.getLogger("puesto.database")


class Row(peewee.Model):
    """Base of every table."""

    _pk: Any  # the primary key: peewee has it, its stubs don't

    class Meta:
        legacy_table_names = False


class InstantField(peewee.Field):
    """An instant in UTC: aware in Python, ISO 8601 without zone in the database, so that text order is time order."""

    field_type = "DATETIME"

    def db_value(self, value: datetime | None) -> str | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")

    def python_value(self, value: str | datetime | None) -> datetime | None:
        if value is None:
            return None
        return (datetime.fromisoformat(value) if isinstance(value, str) else value).replace(tzinfo=UTC)


class DayField(peewee.Field):
    """A calendar day."""

    field_type = "DATE"

    def db_value(self, value: date | None) -> str | None:
        return None if value is None else value.isoformat()

    def python_value(self, value: str | date | None) -> date | None:
        return date.fromisoformat(value) if isinstance(value, str) else value


class JsonField(peewee.TextField):
    """A JSON document, as text: alike on every database."""

    def db_value(self, value: Any) -> str | None:
        return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    def python_value(self, value: str | None) -> Any:
        return None if value is None else json.loads(value)


class _Reference(peewee.ForeignKeyField):
    def bind(self, model: Any, name: str, set_attribute: bool = True) -> None:
        self.column_name = self.column_name or name
        super().bind(model, name, set_attribute)


def refers_to(model: type[Row], **options: Any) -> Any:
    """A foreign key whose column and attribute hold the other row's id: nothing is loaded behind one's back."""
    return _Reference(model, lazy_load=False, **options)


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


class _Held:
    """Closes its connection when nothing holds it any more, which Python leaves to the garbage collector."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __del__(self) -> None:
        self._connection.close()


class _OpenPerThread(threading.local):
    """Opens connections, each of which is closed when its thread ends, or when this object goes."""

    def __call__(self, *args: Any, **options: Any) -> sqlite3.Connection:
        connection = sqlite3.Connection(*args, **options)
        self.held = _Held(connection)
        return connection


class _Sqlite(peewee.SqliteDatabase):
    def rollback(self) -> None:
        with suppress(peewee.OperationalError):  # where the disk was full, SQLite has rolled back by itself and refuses
            super().rollback()


class Database:
    """The database of one engine: sqlite:///path (the default) with WAL and full sync.

    Every write transaction begins IMMEDIATE: a deferred one that reads and then writes fails at once under concurrency.
    Writers of this process queue fairly; those of other processes are waited for by SQLite, up to `BUSY_SECONDS`.
    A write outside a transaction is one of its own. Everything raises DatabaseUnavailable where the database is away.
    """

    BUSY_SECONDS = 30

    def __init__(self, url: str) -> None:
        scheme, _, path = url.partition(":///")
        if scheme != "sqlite" or not path:
            raise SettingsInvalid("setting database: write sqlite:///file.db, or sqlite:////folder/file.db for an absolute path")
        self.path = path
        self._peewee = self._connect()
        self._writers = FairLock()
        self._after = threading.local()

    def _connect(self) -> peewee.Database:
        """A peewee database, which opens a connection per thread on first use."""
        return _Sqlite(
            self.path,
            pragmas=[("journal_mode", "wal"), ("synchronous", "full"), ("foreign_keys", 1), ("cache_size", -16_000)],
            timeout=self.BUSY_SECONDS,
            lock_type="IMMEDIATE",
            factory=_OpenPerThread(),
            check_same_thread=False,  # for closing only: peewee gives each thread its own
        )

    # --- transactions

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One write transaction; inside another it is part of that one. Rolled back on any exception that leaves the outer one."""
        if self.in_transaction():
            yield
            return
        calls: list[Callable[[], object]] = []
        self._after.calls = calls
        with self._writers, _away_is_503(), self._peewee.transaction():
            yield
        for call in calls:
            _run_and_log(call)

    def in_transaction(self) -> bool:
        return bool(self._peewee.in_transaction())

    def after_commit(self, function: Callable[[], object]) -> None:
        """Run `function`, once, when the transaction is in; at once where none is open. For nudges only: it may never run.

        What it raises is logged: by then the change is made, and its caller must not take it for failed. (In peewee's own
        after_commit it looks like a failed transaction, and hides the functions behind it.)
        """
        if not self.in_transaction():
            _run_and_log(function)
        elif function not in self._after.calls:
            self._after.calls.append(function)

    # --- reading

    def all(self, query: peewee.ModelSelect[R]) -> list[R]:
        """Every row of a select, in its order."""
        with _away_is_503():
            return list(query.execute(self._peewee))

    def first(self, query: peewee.ModelSelect[R]) -> R | None:
        """The first row of a select, or None."""
        with _away_is_503():
            return next(iter(query.limit(1).execute(self._peewee)), None)

    def scalar(self, query: peewee.ModelSelect[R]) -> Any:
        """The first column of the first row."""
        with _away_is_503():
            return query.scalar(self._peewee)

    def count(self, query: peewee.ModelSelect[R]) -> int:
        with _away_is_503():
            return int(query.count(self._peewee))

    def get(self, model: type[R], row_id: object) -> R | None:
        """The row with that primary key, or None."""
        return self.first(model.select().where(model._meta.primary_key == row_id))

    def lock(self, model: type[R], row_id: object) -> R | None:
        """The row, read inside the transaction that holds it until its end: nobody else changes it meanwhile."""
        if not self.in_transaction():
            raise RuntimeError("lock a row inside a transaction")
        return self.get(model, row_id)  # IMMEDIATE has locked the whole file already

    # --- writing

    def insert(self, *rows: Row) -> None:
        """Insert rows of one table. Raises peewee.IntegrityError where a unique key exists already.

        A key that the database gives out is not read back.
        """
        if rows:
            with self.transaction():
                type(rows[0]).insert_many([row.__data__ for row in rows]).execute(self._peewee)

    def update(self, row: Row, **changes: Any) -> None:
        """Change columns of one row, in the database and then here."""
        self.execute(type(row).update(changes).where(type(row)._meta.primary_key == row._pk))
        for name, value in changes.items():
            setattr(row, name, value)

    def delete(self, row: Row) -> None:
        self.execute(type(row).delete().where(type(row)._meta.primary_key == row._pk))

    def execute(self, query: peewee.ModelUpdate | peewee.ModelDelete) -> int:
        """Run an update or delete; the number of rows it touched."""
        with self.transaction():
            return int(query.execute(self._peewee))

    # --- schema and life

    def raw(self) -> peewee.Database:
        """The peewee database underneath: for migrations and for jobs, nothing else."""
        return self._peewee

    def close(self) -> None:
        """Close this thread's connection. That of a thread that ends is closed with it."""
        self._peewee.close()

    def close_all(self) -> None:
        """Close the connections of all threads, each as soon as it is idle: for the end, when no other thread is in a transaction."""
        self.close()
        self._peewee = self._connect()  # connections go with the peewee database that holds them


@contextmanager
def _away_is_503() -> Iterator[None]:
    try:
        yield
    except (peewee.IntegrityError, peewee.DataError, peewee.ProgrammingError, peewee.NotSupportedError):
        raise  # the statement's fault
    except (peewee.DatabaseError, peewee.InterfaceError) as error:
        raise DatabaseUnavailable("The database can't be reached or written: {problem}.", problem=str(error)) from error


def _run_and_log(function: Callable[[], object]) -> None:
    try:
        function()
    except Exception:
        log.exception("%s failed; what it was to follow is committed", function)
