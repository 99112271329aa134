"""Carts have a coupon, subscriptions what it takes off."""

from typing import Any


def up(migrator: object, db: Any) -> None:
    db.execute_sql("ALTER TABLE cart ADD COLUMN coupon VARCHAR(64)")
    db.execute_sql("ALTER TABLE subscription ADD COLUMN discount TEXT")
