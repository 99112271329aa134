"""Where the worker's queue lives: a file beside an SQLite database, tables in PostgreSQL, or Redis by setting."""

from __future__ import annotations

from huey import Huey, PostgresHuey, RedisHuey, SqliteHuey

from core.engine.database import Database
from core.engine.sqlite import Sqlite
from core.errors import SettingsInvalid

NAME = "puesto"


def open_queue(url: str | None, database: Database) -> Huey:
    """The queue of a setting `jobs`; None: the one that goes with the database. Raises SettingsInvalid for any other address."""
    if url is not None and url.startswith(("redis:", "rediss:", "unix:")):
        return RedisHuey(NAME, url=url, results=False)
    if url is not None:
        raise SettingsInvalid("setting jobs: write redis://host:6379/0, or leave it out")
    if isinstance(database, Sqlite):
        return SqliteHuey(NAME, filename=f"{database.path}-jobs", results=False)
    return PostgresHuey(NAME, dsn=database.url, results=False)
