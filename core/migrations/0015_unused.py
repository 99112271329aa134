"""What becomes of the unused days of a subscription that is cancelled before its period's end."""

from typing import Any


def up(migrator: object, db: Any) -> None:
    db.execute_sql("ALTER TABLE subscription ADD COLUMN unused TEXT")
