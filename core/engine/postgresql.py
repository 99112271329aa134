"""PostgreSQL, through psycopg 3 and peewee's pool: for many processes and machines."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import peewee
from playhouse.postgres_ext import PooledPsycopg3Database

from core.engine import statements
from core.engine.database import Database, R
from core.engine.gathering import Changed, in_parts
from core.engine.rows import Row
from core.errors import SettingsInvalid

# A row that somebody holds for longer is as good as away.
LOCK_SECONDS = 30
# What those that change the schema agree on: any number that nothing else locks.
MIGRATION_LOCK = 0x70756573746F  # puesto
# A transaction does nothing but talk to the database: one that is silent for so long belongs to a machine that is gone, and its locks too.
SILENT_SECONDS = 60
# A server that does not answer at all is as good as away.
CONNECT_SECONDS = 10
# An idle connection of the pool is opened anew after so many seconds.
STALE_SECONDS = 300
# So many rows and more are written as a recordset; with fewer the statement takes longer than its places.
FEW = 4
# Rows of one recordset.
MANY = 1_000
SESSION = {"lock_timeout": f"{LOCK_SECONDS}s", "idle_in_transaction_session_timeout": f"{SILENT_SECONDS}s", "timezone": "UTC"}


class _Lease:
    """Gives a connection back to its pool when its thread ends, where that has not closed it."""

    def __init__(self, give_back: Callable[[], object]) -> None:
        self._give_back = give_back

    def __del__(self) -> None:
        self._give_back()


class _Pool(PooledPsycopg3Database):  # type: ignore[misc]
    """A connection per thread. One that broke while it was idle, as all do when the server is started again, is replaced unseen."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._leases = threading.local()
        super().__init__(*args, **options)

    def _connect(self) -> Any:
        connection = super()._connect()
        self._leases.held = _Lease(partial(self._give_back, connection, self._in_use[self.conn_key(connection)]))
        return connection

    def _give_back(self, connection: Any, use: object) -> None:
        """The end of a use, unless it has ended: then another thread may use the connection."""
        with self._pool_lock:
            if self._in_use.get(self.conn_key(connection)) is use:
                self._close(connection)

    def begin(self, *args: Any) -> None:
        self._on_a_living_connection(partial(super().begin, *args))

    def execute_sql(self, *args: Any, **options: Any) -> Any:
        return self._on_a_living_connection(partial(super().execute_sql, *args, **options))

    def _on_a_living_connection(self, call: Callable[[], Any]) -> Any:
        """Outside a transaction there are reads, and its beginning: both can be done again."""
        try:
            return call()
        except (peewee.OperationalError, peewee.InterfaceError):
            if not self.drop_broken():
                raise
            return call()

    def drop_broken(self) -> bool:
        """Let go of this thread's connection, outside a transaction, if it is broken; whether it was."""
        broken = not self.is_closed() and not self.in_transaction() and self.connection().closed
        if broken:
            self.manual_close()
        return broken

    def commit(self) -> None:
        if not self.is_connection_usable():  # PostgreSQL would roll back, and not say so
            raise peewee.OperationalError("a statement of the transaction has failed")
        super().commit()

    def rollback(self) -> None:
        if not self.connection().closed:  # else it has rolled back by breaking
            super().rollback()


class Postgresql(Database):
    """postgresql://user:password@host/name, as libpq reads it. Rows are locked one by one, in READ COMMITTED transactions."""

    writers = 2
    _peewee: _Pool

    def __init__(self, url: str) -> None:
        try:
            from psycopg import ProgrammingError, conninfo
        except ImportError:
            raise SettingsInvalid("setting database: PostgreSQL needs psycopg: install puesto[postgresql]") from None
        try:
            conninfo.conninfo_to_dict(url)
        except ProgrammingError:
            raise SettingsInvalid("setting database: write postgresql://user:password@host/name, as libpq reads it") from None
        self.url = f"postgresql:{url.partition(':')[2]}"  # peewee knows no other scheme
        super().__init__()

    @property
    def shown(self) -> str:
        parts = urlsplit(self.url)
        return f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def _connect(self) -> peewee.Database:
        options = " ".join(f"-c {name}={value}" for name, value in SESSION.items())
        pool: peewee.Database = _Pool(
            self.url, max_connections=None, stale_timeout=STALE_SECONDS, connect_timeout=CONNECT_SECONDS, options=options
        )
        return pool

    def _locked(self, query: peewee.ModelSelect[R], *, skip: bool) -> peewee.ModelSelect[R]:
        locked: peewee.ModelSelect[R] = query.for_update("FOR UPDATE SKIP LOCKED" if skip else "FOR UPDATE")  # type: ignore[arg-type]
        return locked

    def among(self, field: Any, values: Sequence[Any]) -> Any:
        return field == peewee.SQL("ANY(%s)", [self._array(values)])

    def _array(self, values: Sequence[Any]) -> list[Any]:
        return list(values)

    def _insert(self, rows: Sequence[Any]) -> None:
        if len(rows) < FEW:
            super()._insert(rows)
        else:
            for part in in_parts(rows, MANY):
                self._run(*statements.insert_recordset(part))

    def _update(self, model: type[Row], changed: Sequence[Changed]) -> None:
        if len(changed) < FEW:
            super()._update(model, changed)
        else:
            for part in in_parts(changed, MANY):
                self._run(*statements.update_recordset(model, part))

    @contextmanager
    def _at_once(self) -> Iterator[None]:
        connection: Any = self._peewee.connection()
        with peewee.__exception_wrapper__, connection.pipeline():  # type: ignore[attr-defined]
            yield

    @contextmanager
    def migrating(self) -> Iterator[None]:
        db: Any = self._peewee
        with db.atomic():
            db.execute_sql("SET LOCAL lock_timeout = 0")
            db.execute_sql("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
            db.execute_sql("SET LOCAL lock_timeout TO DEFAULT")
            yield

    def _drop_broken(self) -> None:
        self._peewee.drop_broken()

    def close_all(self) -> None:
        self._peewee.close_all()
