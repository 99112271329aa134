"""Statements that are composed once, by their shape, and from then on run with other values.

peewee takes many times as long to compose a statement as the database to run it.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from operator import is_
from typing import Any

import orjson
import peewee

# Their values are in Python what they are in the database.
PLAIN = (peewee.CharField, peewee.TextField, peewee.IntegerField, peewee.BigIntegerField, peewee.BigAutoField, peewee.AutoField)
Statement = tuple[str, list[Any]]


class Place(str):
    """Stands in a composed statement where a value will be: its number among them."""

    def __new__(cls, number: int) -> Place:
        return super().__new__(cls, number)


@dataclass
class Composed:
    """A select with its parameters, some of which are places, and what makes values of each column of a row."""

    statement: str
    parameters: list[Any]
    columns: list[str]
    converters: list[Callable[[Any], Any] | None]

    def __post_init__(self) -> None:
        self.row: Any = namedtuple("Row", self.columns)  # type: ignore[misc]

    def filled(self, values: Sequence[str]) -> list[Any]:
        return [values[int(each)] if isinstance(each, Place) else each for each in self.parameters]

    def rows(self, found: Sequence[Sequence[Any]]) -> list[Any]:
        """What a database has found, as named tuples."""
        return [self.row(*[to(value) if to else value for to, value in zip(self.converters, each, strict=True)]) for each in found]


class Both:
    """Two selects in one statement, one below the other, each with its columns and without those of the other."""

    def __init__(self, first: Composed, second: Composed) -> None:
        self.first, self.second = first, second
        none = [", NULL" * len(each.columns) for each in (first, second)]
        self.statement = (
            f"SELECT 1, one.*{none[1]} FROM ({first.statement}) AS one UNION ALL SELECT 2{none[0]}, two.* FROM ({second.statement}) AS two"
        )

    def filled(self, first: Sequence[str], second: Sequence[str]) -> list[Any]:
        return [*self.first.filled(first), *self.second.filled(second)]

    def rows(self, found: Sequence[Sequence[Any]]) -> tuple[list[Any], list[Any]]:
        """What a database has found, as named tuples, of each select."""
        width = 1 + len(self.first.columns)
        parts = [row[1:width] for row in found if row[0] == 1], [row[width:] for row in found if row[0] == 2]
        return self.first.rows(parts[0]), self.second.rows(parts[1])


def compose(select: Callable[..., Any], places: int, database: peewee.Database) -> Composed:
    """What `select` makes of so many texts, for a database."""
    query = select(*map(Place, range(places))).bind(database)
    statement, parameters = query.sql()
    columns = [column.unwrap() for column in query.selected_columns]
    converters = [None if type(column) in PLAIN else column.python_value for column in columns]
    return Composed(statement, parameters, [column.name for column in query.selected_columns], converters)


def select(field: Any, wanted: Any, fixed: dict[str, Any], *, several: bool) -> Any:
    """The rows for which `wanted` holds, a condition of a field, and others are as they always are here; in the order of their keys,
    where there may be several."""
    query = field.model.select().where(wanted, *(getattr(field.model, name) == other for name, other in fixed.items()))
    return query.order_by(field.model._meta.primary_key) if several or not field.primary_key else query


def selects_rows(query: Any) -> bool:
    """Whether a select finds whole rows of one table, and nothing else."""
    selected, fields = query.selected_columns, query.model._meta.sorted_fields
    return len(selected) == len(fields) and all(map(is_, selected, fields))


def rows(model: Any, found: Sequence[Sequence[Any]]) -> list[Any]:
    """What a select of all columns of a model has found, as its rows."""
    names, convert = _reading(model)
    made = []
    for values in found:
        row = model.__new__(model)
        columns = vars(row)
        columns.update(zip(names, values, strict=True))
        for name, to in convert:
            if (value := columns[name]) is not None:
                columns[name] = to(value)
        made.append(row)
    return made


def insert(rows: Sequence[Any], parameter: str) -> Statement:
    """The insert of rows of one table; a column that only some of them have is null in the others.

    parameter: how the driver writes a place.
    """
    model: Any = type(rows[0])
    names = _names(rows)
    convert = _converters(model, names)
    begin, places = _insert(model, names, parameter)
    values = [to(columns.get(name)) if to else columns.get(name) for columns in map(vars, rows) for name, to in convert]
    return begin + ", ".join([places] * len(rows)), values


def update(model: Any, key: object, changes: dict[str, Any], parameter: str) -> Statement:
    """The update of the row with that key."""
    names = tuple(changes)
    values = [to(changes[name]) if to else changes[name] for name, to in _converters(model, names)]
    return _update(model, names, parameter), [*values, model._meta.primary_key.db_value(key)]


def insert_recordset(rows: Sequence[Any]) -> Statement:
    """`insert` for PostgreSQL, which takes rows apart that come as one JSON document: for many places it, and psycopg, take four times as
    long (https://www.postgresql.org/docs/current/functions-json.html, json_populate_recordset)."""
    model: Any = type(rows[0])
    names = _names(rows)
    return _insert_recordset(model, names), [_recordset(model, names, list(map(vars, rows)))]


def update_recordset(model: Any, changed: Sequence[tuple[Any, dict[str, Any]]]) -> Statement:
    """The update of many rows, by key, of each the same columns, which comes like `insert_recordset`."""
    key, names = model._meta.primary_key.name, tuple(changed[0][1])
    return _update_recordset(model, names), [_recordset(model, (key, *names), [{**changes, key: value} for value, changes in changed])]


def _recordset(model: Any, names: tuple[str, ...], rows: Sequence[dict[str, Any]]) -> str:
    convert = [(model._meta.fields[name].column_name, name, to) for name, to in _converters(model, names)]
    return orjson.dumps([{column: to(row.get(name)) if to else row.get(name) for column, name, to in convert} for row in rows]).decode()


def _names(rows: Sequence[Any]) -> tuple[str, ...]:
    """What at least one of the rows has a value of."""
    return tuple(dict.fromkeys(name for row in rows for name in vars(row)))


@cache
def _insert(model: Any, names: tuple[str, ...], parameter: str) -> tuple[str, str]:
    columns = ", ".join(_columns(model, names))
    return f'INSERT INTO "{model._meta.table_name}" ({columns}) VALUES ', f"({', '.join([parameter] * len(names))})"


@cache
def _update(model: Any, names: tuple[str, ...], parameter: str) -> str:
    changes = ", ".join(f"{column} = {parameter}" for column in _columns(model, names))
    return f'UPDATE "{model._meta.table_name}" SET {changes} WHERE "{model._meta.primary_key.column_name}" = {parameter}'


@cache
def _insert_recordset(model: Any, names: tuple[str, ...]) -> str:
    table, columns = model._meta.table_name, ", ".join(_columns(model, names))
    return f'INSERT INTO "{table}" ({columns}) SELECT {columns} FROM json_populate_recordset(NULL::"{table}", %s)'


@cache
def _update_recordset(model: Any, names: tuple[str, ...]) -> str:
    table, key = model._meta.table_name, model._meta.primary_key.column_name
    changes = ", ".join(f"{column} = changed.{column}" for column in _columns(model, names))
    changed = f'json_populate_recordset(NULL::"{table}", %s) AS changed'
    return f'UPDATE "{table}" SET {changes} FROM {changed} WHERE "{table}"."{key}" = changed."{key}"'


def _columns(model: Any, names: tuple[str, ...]) -> list[str]:
    return [f'"{model._meta.fields[name].column_name}"' for name in names]


@cache
def _reading(model: Any) -> tuple[list[str], list[tuple[str, Callable[[Any], Any]]]]:
    """The names of the columns in their order, and what makes values of those that the driver does not give as they are."""
    fields = model._meta.sorted_fields
    return [field.name for field in fields], [(field.name, field.python_value) for field in fields if type(field) not in PLAIN]


@cache
def _converters(model: Any, names: tuple[str, ...]) -> list[tuple[str, Callable[[Any], Any] | None]]:
    fields = [model._meta.fields[name] for name in names]
    return [(field.name, None if type(field) in PLAIN else field.db_value) for field in fields]
