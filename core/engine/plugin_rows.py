"""How a plugin reads and writes the rows of its own tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import peewee

from core.engine.database import Database, R
from core.engine.rows import Row


class PluginDatabase:
    """The shop's database, for a plugin's rows: usable from any hook, in whatever thread, once the engine has started.

    Each call is a transaction of its own; where the engine calls the hook inside one of its transactions, it is part of that. There
    is none that stays open between two calls: a hook that hangs must not hold up the shop. What must hold together is one statement:
    several rows in one `insert`, a condition in the `where` of an update whose number of rows tells whether it was met.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, query: peewee.ModelSelect[R]) -> list[R]:
        """Every row of a select, in its order."""
        with self._borrowed() as database:
            return database.all(query)

    def first(self, query: peewee.ModelSelect[R]) -> R | None:
        """The first row of a select, or None."""
        with self._borrowed() as database:
            return database.first(query)

    def get(self, model: type[R], row_id: object) -> R | None:
        """The row with that primary key, or None."""
        with self._borrowed() as database:
            return database.get(model, row_id)

    def count(self, query: peewee.ModelSelect[R]) -> int:
        with self._borrowed() as database:
            return database.count(query)

    def insert(self, *rows: Row) -> None:
        """Insert rows of one table, all or none. Raises peewee.IntegrityError where a unique key exists already."""
        with self._borrowed() as database:
            database.insert(*rows)

    def update(self, row: Row, **changes: Any) -> None:
        """Change columns of one row, in the database and then here."""
        with self._borrowed() as database:
            database.update(row, **changes)

    def delete(self, row: Row) -> None:
        with self._borrowed() as database:
            database.delete(row)

    def execute(self, query: peewee.ModelUpdate | peewee.ModelDelete) -> int:
        """Run an update or delete; the number of rows it touched."""
        with self._borrowed() as database:
            return database.execute(query)

    @contextmanager
    def _borrowed(self) -> Iterator[Database]:
        """The database; a connection that this thread did not have before is closed again, since a hook's thread ends without a word."""
        had_none = self._database.raw().is_closed()
        try:
            yield self._database
        finally:
            if had_none:
                self._database.close()
