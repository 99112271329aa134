"""A connection per thread and statements as they stand: SQLite by the standard library, PostgreSQL by psycopg."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from core.engine.sqlite import WriterQueue


class Rows:
    """A database at an address as Puesto takes it. As durable as Puesto's: WAL and full sync, or what the server is set to."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.sqlite = url.startswith("sqlite")
        self._mine = threading.local()
        self._queue = WriterQueue(self._path) if self.sqlite else None

    @property
    def _path(self) -> str:
        return self._url.partition(":///")[2]

    @property
    def connection(self) -> Any:
        """This thread's."""
        if not hasattr(self._mine, "connection"):
            self._mine.connection = self._connect()
        return self._mine.connection

    def _connect(self) -> Any:
        if not self.sqlite:
            import psycopg

            return psycopg.connect(self._url, autocommit=True)
        connection = sqlite3.connect(self._path, timeout=30, isolation_level=None)
        connection.execute("PRAGMA synchronous = full")
        connection.execute("PRAGMA foreign_keys = on")
        return connection

    def run(self, statement: str, values: tuple[Any, ...] = ()) -> Any:
        """Run a statement, written with `?`; its cursor."""
        return self.connection.execute(statement if self.sqlite else _for_postgresql(statement), values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        if self._queue is None:
            with self.connection.transaction():
                yield
            return
        with self._queue, self.connection:
            self.connection.execute("BEGIN IMMEDIATE")
            yield


_TRANSLATED: dict[str, str] = {}


def _for_postgresql(statement: str) -> str:
    if statement not in _TRANSLATED:
        _TRANSLATED[statement] = statement.replace("?", "%s")
    return _TRANSLATED[statement]
