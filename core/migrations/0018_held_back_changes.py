"""Changes that wait know why their day went by without them."""

from typing import Any


def up(migrator: object, db: Any) -> None:
    db.execute_sql("ALTER TABLE subscription_change ADD COLUMN problem VARCHAR(32)")
    db.execute_sql("CREATE INDEX subscription_change_held_back ON subscription_change (id) WHERE problem IS NOT NULL")
