"""The file of the simulated gateway's books: how it is made, and opened for one operation at a time."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from puesto import WriterQueue

SCHEMA = """
    CREATE TABLE payment (
        key TEXT PRIMARY KEY, ref TEXT NOT NULL UNIQUE, payment_id TEXT NOT NULL, setup INTEGER NOT NULL, token TEXT, method TEXT,
        saves INTEGER NOT NULL, amount INTEGER NOT NULL, currency TEXT NOT NULL, return_url TEXT NOT NULL,
        status TEXT NOT NULL, code TEXT, provider_code TEXT);
    CREATE TABLE refund (key TEXT PRIMARY KEY, ref TEXT NOT NULL, payment TEXT, status TEXT NOT NULL, amount INTEGER NOT NULL);
    CREATE TABLE method (reference TEXT PRIMARY KEY, token TEXT NOT NULL, uses INTEGER NOT NULL);
    CREATE TABLE event (id TEXT PRIMARY KEY, body TEXT NOT NULL, copies INTEGER NOT NULL, failures INTEGER NOT NULL, due REAL NOT NULL);
    CREATE INDEX event_to_send ON event (copies) WHERE copies > 0;
    CREATE TABLE fault (spec TEXT NOT NULL, seen INTEGER NOT NULL, hits INTEGER NOT NULL);
"""
# What has come since; a file's `user_version` says how many of them it has.
UPGRADES = (
    "ALTER TABLE payment ADD COLUMN manual INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE payment ADD COLUMN cancel_url TEXT",
    "CREATE TABLE capture (key TEXT PRIMARY KEY, payment TEXT NOT NULL, amount INTEGER NOT NULL)",
    "ALTER TABLE refund ADD COLUMN refund_id TEXT",
    """CREATE TABLE dispute (
        ref TEXT PRIMARY KEY, payment TEXT NOT NULL, amount INTEGER NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL)""",
)


class Books:
    """The file, on one connection that stays open: in this process one at a time works on it, and writers of all processes in turn."""

    def __init__(self, path: Path) -> None:
        self._path, self._queue = path, WriterQueue(str(path))
        self._connection: sqlite3.Connection | None = None

    @contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """One transaction, which begins IMMEDIATE and is on disk when it ends."""
        with self._queue:
            books = self._connection = self._connection or _connect(self._path)
            try:
                books.execute("BEGIN IMMEDIATE")
                with books:  # commits, or rolls back what raised
                    yield books
            except sqlite3.Error:
                self._connection = None  # a connection remembers how its file was when it was opened
                raise


def _connect(path: Path) -> sqlite3.Connection:
    _create(path)
    books = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    books.execute("PRAGMA synchronous = FULL")
    books.execute("BEGIN IMMEDIATE")
    with books:
        _upgrade(books)
    return books


def _upgrade(books: sqlite3.Connection) -> None:
    (version,) = books.execute("PRAGMA user_version").fetchone()
    for number, statement in enumerate(UPGRADES[version:], version + 1):
        books.execute(statement)
        books.execute(f"PRAGMA user_version = {number}")


def _create(path: Path) -> None:
    """Make the file aside and put it in place in one step: processes that switch a new file to WAL at once lock each other out."""
    if path.exists():
        return
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        aside = Path(folder) / path.name
        with closing(sqlite3.connect(aside)) as books:
            books.execute("PRAGMA journal_mode = WAL")
            books.executescript(SCHEMA)
        with suppress(FileExistsError):
            os.link(aside, path)
