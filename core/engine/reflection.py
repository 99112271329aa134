"""What a database holds against what the models say.

The models are made into tables once more, in a place that is thrown away, and both are read in the same way: so whatever a database
does to a type, a predicate or a check when it stores it, it does on both sides.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import peewee

# By table and name of the thing: how it is.
Facts = dict[str, dict[str, str]]


def differences(db: peewee.Database, models: Sequence[type[peewee.Model]], ignored: tuple[str, ...] = ()) -> list[str]:
    """A line per difference. Tables whose names begin with one of `ignored` may be there though no model has them."""
    read = _read_sqlite if isinstance(db, peewee.SqliteDatabase) else _read_postgresql
    found = read(db)
    with _thrown_away(db) as scratch:
        for model in models:
            peewee.SchemaManager(model, scratch).create_all(safe=False)
        wanted = read(scratch)
    lines = [f"{table}: the table is missing" for table in wanted.keys() - found.keys()]
    lines += [f"{table}: no model has this table" for table in found.keys() - wanted.keys() if not table.startswith(ignored or ("/",))]
    for table in wanted.keys() & found.keys():
        lines += [f"{table}: {line}" for line in _differences(found[table], wanted[table])]
    return sorted(lines)


def _differences(found: dict[str, str], wanted: dict[str, str]) -> Iterator[str]:
    for name in wanted.keys() | found.keys():
        if name not in found:
            yield f"{name} is missing"
        elif name not in wanted:
            yield f"{name} is in no model"
        elif found[name] != wanted[name]:
            yield f"{name} is {found[name]}, the models say {wanted[name]}"


@contextmanager
def _thrown_away(db: Any) -> Iterator[peewee.Database]:
    """A database of the same kind, with no tables, that leaves nothing behind."""
    if isinstance(db, peewee.SqliteDatabase):
        scratch = peewee.SqliteDatabase(":memory:")
        yield scratch
        scratch.close()
        return
    with db.atomic() as transaction:
        db.execute_sql("SET LOCAL search_path TO pg_temp")
        yield db
        transaction.rollback()


# --- SQLite


def _read_sqlite(db: Any) -> Facts:
    return {table: dict(_sqlite_facts(db, table)) for table in db.get_tables()}


def _sqlite_facts(db: Any, table: str) -> Iterator[tuple[str, str]]:
    for column in db.get_columns(table):
        kind = "INTEGER" if "INT" in column.data_type.upper() else column.data_type.upper()  # BIGINT and INTEGER are one to SQLite
        yield f"column {column.name}", _column(kind, column.null, column.primary_key)
    for name, unique, origin in db.execute_sql('SELECT name, "unique", origin FROM pragma_index_list(?)', (table,)):
        if origin == "c":
            (sql,) = db.execute_sql("SELECT sql FROM sqlite_master WHERE name = ?", (name,)).fetchone()
            columns, where, predicate = _without_quotes(sql).partition(" ON ")[2].partition(" WHERE ")
            yield f"index {name}", ("unique " if unique else "") + columns + where + _without_brackets(predicate)
        elif origin == "u":
            yield f"unique constraint {name}", "there"
    for _, _, other, column, to, _, on_delete, _ in db.execute_sql("SELECT * FROM pragma_foreign_key_list(?)", (table,)):
        yield f"reference of {column}", f"{other}({to}), on delete {on_delete.lower()}"
    for check in _checks(db.execute_sql("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]):
        yield f"check {check}", "there"


def _column(kind: str, null: bool, key: bool) -> str:
    return kind + (" null" if null else " not null") + (" primary key" if key else "")


def _without_brackets(sql: str) -> str:
    """A condition as it is without a pair of brackets around all of it."""
    inner = sql[1:-1]
    return inner if sql.startswith("(") and _closing(inner) == len(inner) else sql


def _closing(sql: str) -> int:
    """Where a bracket ends that opens before `sql`; the length of `sql` where it does not."""
    depth = 1
    for position, character in enumerate(sql):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth == 0:
            return position
    return len(sql)


def _without_quotes(sql: str) -> str:
    return " ".join(sql.replace('"', "").split())


def _checks(sql: str) -> Iterator[str]:
    """The conditions of a CREATE TABLE, which SQLite keeps as text alone."""
    for begin in re.finditer(r"\bCHECK\s*\(", sql, re.IGNORECASE):
        rest = sql[begin.end() :]
        yield _without_brackets(_without_quotes(rest[: _closing(rest)]))


# --- PostgreSQL

COLUMNS = """
SELECT c.relname, 'column ' || a.attname, format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN ' not null' ELSE ' null' END
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = {schema} AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
"""
CONSTRAINTS = """
SELECT c.relname, pg_get_constraintdef(x.oid), 'there'
FROM pg_constraint x JOIN pg_class c ON c.oid = x.conrelid
WHERE x.connamespace = {schema} AND x.contype IN ('p', 'u', 'f', 'c')
"""
INDEXES = """
SELECT c.relname, 'index ' || i.relname,
    CASE WHEN x.indisunique THEN 'unique ' ELSE '' END || split_part(pg_get_indexdef(i.oid, 0, true), ' USING ', 2)
FROM pg_index x JOIN pg_class c ON c.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid
WHERE c.relnamespace = {schema} AND NOT EXISTS (SELECT 1 FROM pg_constraint p WHERE p.conindid = i.oid AND p.contype IN ('p', 'u'))
"""


def _read_postgresql(db: Any) -> Facts:
    """Of the first schema in the search path."""
    (temporary,) = db.execute_sql("SHOW search_path").fetchone()
    schema = "pg_my_temp_schema()" if temporary == "pg_temp" else "current_schema()::regnamespace"
    facts: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for query in (COLUMNS, CONSTRAINTS, INDEXES):
        for table, name, how in db.execute_sql(query.format(schema=schema)):
            facts[table][name] = how
    return dict(facts)
