"""Rows and transactions over peewee.

Rows are peewee models without a database of their own: every statement names its `Database`, so that two engines fit in one
process. Nothing is loaded lazily and nothing is saved behind one's back: `insert`, `update` and `delete` say what they do.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any, TypeVar

import peewee

from core.errors import DatabaseUnavailable, SettingsInvalid

R = TypeVar("R", bound="Row")


class Row(peewee.Model):  
    """Base of every table."""

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
        with self._guard:
            self._waiters.append(turn)
            first = len(self._waiters) == 1
        if not first:
            turn.acquire()

    def __exit__(self, *exc: object) -> None:
        with self._guard:
            self._waiters.popleft()
            if self._waiters:
                self._waiters[0].release()


class Database:
    """The database of one engine: sqlite:///path (the default) with WAL and full sync.

    Every write transaction begins IMMEDIATE: a deferred one that reads and then writes fails at once under concurrency.
    Writers of this process queue fairly; those of other processes are waited for by SQLite, up to `BUSY_SECONDS`.
    """

    BUSY_SECONDS = 30

    def __init__(self, url: str) -> None:
        scheme, _, path = url.partition(":///")
        if scheme != "sqlite" or not path:
            raise SettingsInvalid("setting database: write sqlite:///path/to/file.db, not {url!r}", url=url.split("@")[-1])
        self.path = path
        self._peewee = peewee.SqliteDatabase(
            path,
            pragmas=[("journal_mode", "wal"), ("synchronous", "full"), ("foreign_keys", 1), ("cache_size", -16_000)],
            timeout=self.BUSY_SECONDS,
            lock_type="IMMEDIATE",
        )
        self._writers = FairLock()
        self._after = threading.local()

    # --- transactions

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One write transaction; inside another it is part of that one. Rolled back on any exception."""
        if self._peewee.in_transaction():
            yield
            return
        self._after.calls = []
        with self._writers, _away_is_503(), self._peewee.transaction():
            yield
        for call in self._after.calls:
            call()

    def in_transaction(self) -> bool:
        return bool(self._peewee.in_transaction())

    def after_commit(self, function: Callable[[], object]) -> None:
        """Run `function`, once, when the transaction is in; at once where none is open. For nudges only: it may never run.

        peewee has the like, but there an error in the function undoes nothing and still looks like a failed transaction.
        """
        if not self.in_transaction():
            function()
        elif function not in self._after.calls:
            self._after.calls.append(function)

    # --- reading

    def all(self, query: Any) -> list[Any]:
        """Every row of a select, in its order."""
        with _away_is_503():
            return list(query.execute(self._peewee))

    def first(self, query: Any) -> Any:
        """The first row of a select, or None."""
        with _away_is_503():
            return next(iter(query.limit(1).execute(self._peewee)), None)

    def scalar(self, query: Any) -> Any:
        """The first column of the first row."""
        with _away_is_503():
            return query.scalar(self._peewee)

    def count(self, query: Any) -> int:
        with _away_is_503():
            return int(query.count(self._peewee))

    def get(self, model: type[R], row_id: object) -> R | None:
        """The row with that primary key, or None."""
        row: R | None = self.first(model.select().where(model._meta.primary_key == row_id))
        return row

    def lock(self, model: type[R], row_id: object) -> R | None:
        """The row, read inside the transaction that holds it until its end: nobody else changes it meanwhile."""
        if not self.in_transaction():
            raise RuntimeError("lock a row inside a transaction")
        return self.get(model, row_id)  # IMMEDIATE has locked the whole file already

    # --- writing

    def insert(self, *rows: Row) -> None:
        """Insert rows of one table. Raises peewee.IntegrityError where a unique key exists already."""
        if rows:
            with _away_is_503():
                type(rows[0]).insert_many([row.__data__ for row in rows]).execute(self._peewee)

    def update(self, row: Row, **changes: Any) -> None:
        """Change columns of one row, here and in the database."""
        for name, value in changes.items():
            setattr(row, name, value)
        self.execute(type(row).update(changes).where(type(row)._meta.primary_key == row._pk))

    def delete(self, row: Row) -> None:
        self.execute(type(row).delete().where(type(row)._meta.primary_key == row._pk))

    def execute(self, query: Any) -> int:
        """Run an insert, update or delete; the number of rows it touched."""
        with _away_is_503():
            return int(query.execute(self._peewee) or 0)

    # --- schema and life

    def raw(self) -> peewee.Database:
        """The peewee database underneath: for migrations and for jobs, nothing else."""
        return self._peewee

    def close(self) -> None:
        """Close this thread's connection; those of other threads go with their threads."""
        self._peewee.close()


@contextmanager
def _away_is_503() -> Iterator[None]:
    try:
        yield
    except (peewee.OperationalError, peewee.InterfaceError) as error:
        raise DatabaseUnavailable("The database can't be reached or written: {problem}.", problem=str(error)) from error


def compare(row: Row, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `values` that differ from the row: what an update has to write."""
    return {name: value for name, value in values.items() if getattr(row, name) != value}
