"""Whether a payment is of real money. What was paid so far was not: no release so far was for live use."""

from typing import Any

from peewee import SqliteDatabase


def up(migrator: object, db: Any) -> None:
    column = "INTEGER NOT NULL DEFAULT 0" if isinstance(db, SqliteDatabase) else "BOOLEAN NOT NULL DEFAULT FALSE"
    db.execute_sql(f"ALTER TABLE payment ADD COLUMN live {column}")
