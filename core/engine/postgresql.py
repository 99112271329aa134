"""PostgreSQL, through psycopg 3 and peewee's pool: for many processes and machines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import peewee
from playhouse.postgres_ext import PooledPsycopg3Database

from core.engine.database import Database, R
from core.errors import SettingsInvalid

# A row that somebody holds for longer is as good as away.
LOCK_SECONDS = 30
# What those that change the schema agree on: any number that nothing else locks.
MIGRATION_LOCK = 0x70756573746F  # puesto
# An idle connection of the pool is opened anew after so many seconds.
STALE_SECONDS = 300


class Postgresql(Database):
    """postgresql://user:password@host/name, as libpq reads it. Rows are locked one by one, in READ COMMITTED transactions."""

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            super().__init__()
        except peewee.ImproperlyConfigured:
            raise SettingsInvalid("setting database: PostgreSQL needs psycopg: install puesto[postgresql]") from None

    @property
    def shown(self) -> str:
        parts = urlsplit(self.url)
        return f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def _connect(self) -> peewee.Database:
        options = f"-c lock_timeout={LOCK_SECONDS}s -c timezone=UTC"
        pool: peewee.Database = PooledPsycopg3Database(self.url, max_connections=None, stale_timeout=STALE_SECONDS, options=options)
        return pool

    def _locked(self, query: peewee.ModelSelect[R], *, skip: bool) -> peewee.ModelSelect[R]:
        locked: peewee.ModelSelect[R] = query.for_update("FOR UPDATE SKIP LOCKED" if skip else "FOR UPDATE")  # type: ignore[arg-type]
        return locked

    @contextmanager
    def migrating(self) -> Iterator[None]:
        db: Any = self._peewee
        with db.atomic():
            db.execute_sql("SET LOCAL lock_timeout = 0")
            db.execute_sql("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
            db.execute_sql("SET LOCAL lock_timeout TO DEFAULT")
            yield

    def _drop_broken(self) -> None:
        pool: Any = self._peewee
        if not pool.is_closed() and pool.connection().broken:
            pool.manual_close()

    def close_all(self) -> None:
        pool: Any = self._peewee
        pool.close_all()
