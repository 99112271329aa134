"""Every table of the core, as the models describe them.

Until the first release the models are the schema; with it, this file becomes a frozen copy of them.
"""

from peewee import Database, SchemaManager

from core.schema import TABLES


def up(migrator: object, db: Database) -> None:
    for table in TABLES:
        SchemaManager(table, db).create_all(safe=True)
