"""Where the worker's queue lives: a file beside an SQLite database, tables in PostgreSQL, or Redis by setting."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from core.engine.database import Database
from core.engine.sqlite import Sqlite
from core.errors import SettingsInvalid

if TYPE_CHECKING:
    from huey import Huey  # loads the clients of all its queues: only where one is used

NAME = "puesto"
REDIS = re.compile(r"rediss?://[^/?#]+(/\d*)?(\?.*)?|unix://.*/.+")
# A request waits no longer for a Redis that is away: a nudge is not worth it.
CONNECT_SECONDS = 1


def open_queue(url: str | None, database: Database) -> Huey:
    """The queue of a setting `jobs`; None: the one that goes with the database. Raises SettingsInvalid as `check_address` does."""
    if url is not None:
        return _open_redis(url)
    from huey import PostgresHuey, SqliteHuey

    if isinstance(database, Sqlite):
        return SqliteHuey(NAME, filename=f"{database.path}-jobs", results=False)
    return PostgresHuey(NAME, dsn=database.url, results=False)


def check_address(url: str | None) -> None:
    """Raises SettingsInvalid for a setting `jobs` that is no address of Redis, or where its client is missing. Does not connect."""
    if url is not None:
        _open_redis(url)


def _open_redis(url: str) -> Huey:
    """Of a wrong address nothing is repeated: it may hold a password, which a wrong character cuts in two."""
    try:
        if not REDIS.fullmatch(url):
            raise ValueError
        from redis import ConnectionPool
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        pool = ConnectionPool.from_url(url, socket_connect_timeout=CONNECT_SECONDS, retry=Retry(NoBackoff(), 1))
        pool.make_connection()  # not opened yet, but it knows the options that an address may have
    except ImportError:
        raise SettingsInvalid("setting jobs: Redis needs its client: install puesto[redis]") from None
    except (ValueError, TypeError):
        raise SettingsInvalid(
            "setting jobs: write redis://host:6379/0, rediss://host:6379/0 for TLS or unix:///path, or leave it out"
        ) from None
    from huey import RedisHuey

    return RedisHuey(NAME, connection_pool=pool, results=False)
