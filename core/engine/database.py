"""Statements and transactions over peewee.

Every statement names its `Database`, so that two engines fit in one process. Nothing is loaded lazily and nothing is saved behind
one's back: `insert`, `update` and `delete` say what they do.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

import peewee

from core.engine import statements
from core.engine.gathering import Changed, Gathering, in_parts
from core.engine.rows import Row
from core.errors import DatabaseUnavailable

R = TypeVar("R", bound=Row)
# A select as `Database.ask` takes it: what composes it, and its values.
Question = tuple[Callable[..., Any], *tuple[str, ...]]
# What every build of SQLite takes in one statement (https://www.sqlite.org/limits.html, SQLITE_MAX_VARIABLE_NUMBER).
MOST_VARIABLES = 32_766
# What peewee raises for a statement, on a database that is there.
STATEMENTS_FAULT = (peewee.IntegrityError, peewee.DataError, peewee.ProgrammingError, peewee.NotSupportedError)
log = logging.getLogger("puesto.database")


class _Open(threading.local):
    """The transaction that is open in this thread.

    calls: what runs once it is in. held: the rows it has locked, by model and key. gathering: where it does the same for many.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> list[Callable[[], object]]:
        self.calls: list[Callable[[], object]] = []
        self.held: dict[tuple[type[Row], object], Any] = {}
        self.gathering: Gathering | None = None
        return self.calls


class Database(ABC):
    """The database of one engine, behind `sqlite:` (core.engine.sqlite) or `postgresql:` (core.engine.postgresql).

    A write outside a transaction is one of its own. Everything raises DatabaseUnavailable where the database is away.

    writes: how many statements of this process have changed something, for whoever asks whether anything has happened meanwhile.
    """

    def __init__(self) -> None:
        self.writes = 0
        self._peewee = self._connect()
        self._open = _Open()
        self._statements: dict[tuple[Any, ...], statements.Statement] = {}
        self._composed: dict[Callable[..., Any], statements.Composed] = {}
        self._both: dict[tuple[Callable[..., Any], Callable[..., Any]], statements.Both] = {}

    url: str
    # How many transactions of a process gain from being under way at once, since one computes while another waits for the disk.
    writers = 1
    # What is raised where it is away.
    away: tuple[type[Exception], ...] = (peewee.DatabaseError, peewee.InterfaceError)

    @property
    @abstractmethod
    def shown(self) -> str:
        """Where it is, for people: no password."""

    @abstractmethod
    def _connect(self) -> peewee.Database:
        """A peewee database, which opens a connection per thread on first use."""

    @abstractmethod
    def _locked(self, query: peewee.ModelSelect[R], *, skip: bool) -> peewee.ModelSelect[R]:
        """The query, holding its rows until the transaction ends; `skip`: without those that somebody else holds."""

    @abstractmethod
    def among(self, field: Any, values: Sequence[Any]) -> Any:
        """The condition that a field has one of many values. They are one parameter: peewee, a driver and a server each take as long for
        a place as the database does to find its row."""

    @abstractmethod
    def _array(self, values: Sequence[Any]) -> Any:
        """Many values as one parameter."""

    @abstractmethod
    def _drop_broken(self) -> None:
        """After an error of the database: let go, outside a transaction, of a connection that can't be used any more."""

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """What a writer of this process waits for before it begins."""
        yield

    # --- transactions

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One write transaction; inside another it is part of that one. Rolled back on any exception that leaves the outer one."""
        if self.in_transaction():
            yield
            return
        calls = self._open.begin()
        try:
            with self._turn(), self.guarded(), self._peewee.transaction():
                yield
        except DatabaseUnavailable:
            self._drop_broken()  # which could not be done in the transaction
            raise
        finally:
            self._open.held.clear()
        for call in calls:
            _run_and_log(call)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """A transaction that does the same for many: each row is read once, and what is written is kept back and written together, at
        the end or before anything is read that it may change. What a unique key refuses may so be raised late.
        """
        with self.transaction():
            if self._gathering is not None:
                yield
                return
            self._open.held.clear()
            self._open.gathering = Gathering()
            try:
                yield
                self._write_out()
            finally:
                self._open.gathering = None

    @property
    def _gathering(self) -> Gathering | None:
        return self._open.gathering

    def _write_out(self) -> None:
        """Write what was kept back."""
        if self._gathering is None:
            return
        updates, inserts = self._gathering.take()
        with self.guarded(), self._at_once():
            for model, changed in updates:
                self._update(model, changed)
            for rows in inserts:
                self._insert(rows)

    def _insert(self, rows: Sequence[Any]) -> None:
        for part in in_parts(rows, MOST_VARIABLES // len(type(rows[0])._meta.fields)):
            self._run(*statements.insert(part, self._peewee.param))

    def _update(self, model: type[Row], changed: Sequence[Changed]) -> None:
        """Change the same columns of each of many rows."""
        for key, changes in changed:
            self._run(*statements.update(model, key, changes, self._peewee.param))

    @contextmanager
    def _at_once(self) -> Iterator[None]:
        """Statements whose answers nobody waits for, one by one."""
        yield

    def in_transaction(self) -> bool:
        return bool(self._peewee.in_transaction())

    def after_commit(self, function: Callable[[], object]) -> None:
        """Run `function`, once, when the transaction is in; at once where none is open. For nudges only: it may never run.

        What it raises is logged: by then the change is made, and its caller must not take it for failed. (In peewee's own
        after_commit it looks like a failed transaction, and hides the functions behind it.)
        """
        if not self.in_transaction():
            _run_and_log(function)
        elif function not in self._open.calls:
            self._open.calls.append(function)

    # --- reading

    def all(self, query: peewee.ModelSelect[R]) -> list[R]:
        """Every row of a select, in its order."""
        self._write_out()
        if statements.selects_rows(query):
            return statements.rows(query.model, self._found(*query.bind(self._peewee).sql()))
        with self.guarded():
            return list(query.execute(self._peewee))

    def first(self, query: peewee.ModelSelect[R]) -> R | None:
        """The first row of a select, or None."""
        return next(iter(self.all(query.limit(1))), None)

    def ask(self, compose: Callable[..., peewee.ModelSelect[Any]], *values: str) -> list[Any]:
        """The rows of a select, as named tuples of its columns: for what is asked with each request. It is composed once, and from then
        on run with other values, since peewee takes twenty times as long to compose it and to make rows as all else takes.

        compose: a function of a module, which makes the select of texts that stand in it as values.
        """
        self._write_out()
        composed = self._composed_of(compose, len(values))
        return composed.rows(self._found(composed.statement, composed.filled(values)))

    def ask_both(self, first: Question, second: Question) -> tuple[list[Any], list[Any]]:
        """What `ask` finds for each of two questions, in one statement: for those that are always asked together."""
        self._write_out()
        (one, *values), (other, *others) = first, second
        if (one, other) not in self._both:
            self._both[one, other] = statements.Both(self._composed_of(one, len(values)), self._composed_of(other, len(others)))
        both = self._both[one, other]
        return both.rows(self._found(both.statement, both.filled(values, others)))

    def _composed_of(self, compose: Callable[..., Any], places: int) -> statements.Composed:
        if compose not in self._composed:
            self._composed[compose] = statements.compose(compose, places, self._peewee)
        return self._composed[compose]

    def scalar(self, query: peewee.ModelSelect[R]) -> Any:
        """The first column of the first row."""
        self._write_out()
        with self.guarded():
            return query.scalar(self._peewee)

    def count(self, query: peewee.ModelSelect[R]) -> int:
        self._write_out()
        with self.guarded():
            return int(query.count(self._peewee))

    def get(self, model: type[R], row_id: object) -> R | None:
        """The row with that primary key, or None."""
        held: R | None = self._open.held.get((model, row_id))
        return held or self._by_key(model, row_id, hold=False)

    def lock(self, model: type[R], row_id: object) -> R | None:
        """The row, read inside the transaction that holds it until its end: nobody else changes it meanwhile.

        From then on it is known: `lock` and `get` give the same object until the transaction ends.
        """
        self._need_transaction()
        if self._gathering is not None:
            return self._by_key(model, row_id, hold=True)
        if (model, row_id) not in self._open.held and (row := self._by_key(model, row_id, hold=True)) is not None:
            self._open.held[model, row_id] = row
        return self._open.held.get((model, row_id))

    def claim(self, query: peewee.ModelSelect[R]) -> list[R]:
        """Rows of a select that no other worker holds, held until the transaction ends: for dividing work among many."""
        self._need_transaction()
        rows = self.all(self._locked(query, skip=True))
        if self._gathering is None or not rows:
            return rows
        key = type(rows[0])._meta.primary_key
        return self._gathering.adopt((key, ()), (), rows, hold=True)

    def having(self, field: Any, value: object, **fixed: Any) -> list[Any]:
        """The rows that have that value in a field, in the order of their keys. fixed: what other fields are, always the same here."""
        return self._by(field, value, fixed, hold=False)

    def _by_key(self, model: type[R], row_id: object, *, hold: bool) -> R | None:
        return next(iter(self._by(model._meta.primary_key, row_id, {}, hold=hold)), None)

    def _by(self, field: Any, value: object, fixed: dict[str, Any], *, hold: bool) -> list[Any]:
        """Most reads are of this kind."""
        if self._gathering is None:
            return self._read(field, (value,), fixed, hold=hold)
        known = self._gathering.find((field, tuple(fixed.items())), value, hold=hold)
        return self._gather(field, (value,), fixed, hold=hold) if known is None else known

    def foresee(self, field: Any, values: Iterable[Any], *, hold: bool = False, **fixed: Any) -> list[Any]:
        """Read at once what will be asked for with `get`, `lock` or `having`, one by one, in a transaction that is `gathered`."""
        wanted = tuple(sorted(set(values)))
        return self._gather(field, wanted, fixed, hold=hold) if wanted else []

    def _gather(self, field: Any, values: Sequence[Any], fixed: dict[str, Any], *, hold: bool) -> list[Any]:
        assert self._gathering is not None, "rows are foreseen in a transaction that is gathered"
        if self._gathering.waits(field.model):
            self._write_out()
        rows = self._read(field, values, fixed, hold=hold)
        return self._gathering.adopt((field, tuple(fixed.items())), values, rows, hold=hold)

    def _read(self, field: Any, values: Sequence[Any], fixed: dict[str, Any], *, hold: bool) -> list[Any]:
        several = len(values) > 1
        shape = (field, several, tuple(fixed.items()), hold)
        if shape not in self._statements:
            wanted = self.among(field, values) if several else field == "?"
            query = statements.select(field, wanted, fixed, several=several)
            self._statements[shape] = (self._locked(query, skip=False) if hold else query).bind(self._peewee).sql()
        statement, parameters = self._statements[shape]
        given = self._array([field.db_value(value) for value in values]) if several else field.db_value(values[0])
        return statements.rows(field.model, self._found(statement, [given, *parameters[1:]]))

    def _need_transaction(self) -> None:
        if not self.in_transaction():
            raise RuntimeError("rows are locked inside a transaction")

    # --- writing

    def insert(self, *rows: Row) -> None:
        """Insert rows of one table, all or none. Raises peewee.IntegrityError where a unique key exists already.

        A key that the database gives out is not read back.
        """
        if not rows:
            return
        self.writes += 1
        if self._gathering is not None:
            self._gathering.insert(rows)
            return
        with self.transaction():
            self._insert(rows)

    def update(self, row: Row, **changes: Any) -> None:
        """Change columns of one row, in the database and then here."""
        self.writes += bool(changes)
        if changes and self._gathering is not None:
            if self._gathering.refers(changes):
                self._write_out()
            self._gathering.update(row, changes)
        elif changes:
            with self.transaction():
                self._run(*statements.update(type(row), row._pk, changes, self._peewee.param))
                self._know_only(row)
        for name, value in changes.items():
            setattr(row, name, value)

    def insert_new(self, row: Row) -> bool:
        """Insert a row unless its key is there already; whether it was not."""
        with self.transaction():
            statement, values = statements.insert([row], self._peewee.param)
            inserted = bool(self._run(f"{statement} ON CONFLICT DO NOTHING", values).rowcount)
            self._forget(type(row))
            self.writes += inserted
            return inserted

    def set(self, model: type[Row], row_id: object, **changes: Any) -> None:
        """Change columns of the row with that primary key, if there is one."""
        key: Any = model._meta.primary_key
        known = self._gathering.find((key, ()), row_id, hold=False) if self._gathering is not None else None
        if known:
            self.update(known[0], **changes)
            return
        with self.transaction():
            self._run(*statements.update(model, row_id, changes, self._peewee.param))
            self._forget(model)
            self.writes += 1

    def _forget(self, model: type[Row]) -> None:
        """Something of a table was written past what is known of it."""
        self._open.held.clear()
        if self._gathering is not None:
            self._gathering.forget(model)

    def delete(self, row: Row) -> None:
        self.execute(type(row).delete().where(type(row)._meta.primary_key == row._pk))

    def execute(self, query: peewee.ModelUpdate | peewee.ModelDelete) -> int:
        """Run an update or delete; the number of rows it touched."""
        self._write_out()
        with self.transaction():
            self._forget(query.model)
            touched = int(query.execute(self._peewee))
            self.writes += touched > 0
            return touched

    def _know_only(self, row: Row) -> None:
        """Of a row that has changed: another object of it that was locked does not know of the change."""
        if self._open.held.get((type(row), row._pk)) is not row:
            self._open.held.pop((type(row), row._pk), None)

    def _found(self, statement: str, values: list[Any]) -> list[Any]:
        with self.guarded():
            return self._run(statement, values).fetchall()  # type: ignore[no-any-return]

    def _run(self, statement: str, values: list[Any]) -> Any:
        """The cursor of a statement that was composed before."""
        database: Any = self._peewee
        return database.execute_sql(statement, values)

    # --- schema and life

    @abstractmethod
    def migrating(self) -> AbstractContextManager[object]:
        """A transaction for a change of the schema, which waits, however long it takes, for any other of its kind to end."""

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

    def guarded(self) -> AbstractContextManager[None]:
        """Raises DatabaseUnavailable for what peewee raises where the database is away."""
        return _Guard(self._unless_away)

    def _unless_away(self, error: BaseException) -> None:
        if isinstance(error, STATEMENTS_FAULT) or not isinstance(error, self.away):
            return
        self._drop_broken()
        raise DatabaseUnavailable("The database can't be reached or written: {problem}.", problem=str(error)) from error


class _Guard(AbstractContextManager[None]):
    """Shows what is raised within to a function, which may raise something else instead. A generator would take three times as long."""

    def __init__(self, show: Callable[[BaseException], None]) -> None:
        self._show = show

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._show(error)


def _run_and_log(function: Callable[[], object]) -> None:
    try:
        function()
    except Exception:
        log.exception("%s failed; what it was to follow is committed", function)
