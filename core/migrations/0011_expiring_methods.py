"""Stored methods know when somebody was told that they expire."""

from typing import Any


def up(migrator: object, db: Any) -> None:
    instant = db.field_types.get("DATETIME", "DATETIME")
    db.execute_sql(f"ALTER TABLE payment_method ADD COLUMN reminded_at {instant}")
    expiring = "(deleted_at IS NULL) AND (reminded_at IS NULL)"
    db.execute_sql(f"CREATE INDEX payment_method_to_remind_of ON payment_method (expires) WHERE {expiring}")
