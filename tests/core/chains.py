"""Plugins that keep rows, with chains written into a folder."""

import peewee
from playhouse.migrations import Migration

from core import schema
from puesto import Row, Tables, hookimpl

CORE = [migration.name for migration in Migration.load_directory(schema.MIGRATIONS)]


class Keeper:
    """A plugin of tables and nothing else."""

    def __init__(self, tables):
        self._tables = tables

    @hookimpl
    def register_tables(self):
        return self._tables


def table(name, **columns):
    """A model with an account, of whatever further columns."""
    meta = type("Meta", (), {"table_name": name})
    return type("Kept", (Row,), {"account": peewee.CharField(max_length=40), **columns, "Meta": meta})


def creating(name, *more):
    """A migration that makes the table `name` as `table(name)` describes it, and runs further statements."""
    made = f"""
from peewee import CharField, Model, SchemaManager

class Made(Model):
    account = CharField(max_length=40)
    class Meta:
        legacy_table_names = False
        table_name = "{name}"

def up(migrator, db):
    SchemaManager(Made, db).create_all(safe=False)
"""
    return made + "".join(f"    {line}\n" for line in more)


def sql(statement):
    return f"def up(migrator, db):\n    db.execute_sql({statement!r})\n"


def chain(folder, **files):
    """A folder with these migrations: `_0001_first="def up..."`."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name.removeprefix('_')}.py").write_text(text)
    return folder


def keeper(folder, name, *, after=(), **files):
    """A plugin `name` with one table `<name>_kept`, made by its first migration; `files` are further ones."""
    made = chain(folder / name, _0001_first=creating(f"{name}_kept"), **files)
    return Keeper(Tables(models=(table(f"{name}_kept"),), migrations=made, after=after))
