"""Subscriptions keep what goes on their next invoice."""

from typing import Any


def up(migrator: object, db: Any) -> None:
    db.execute_sql("ALTER TABLE subscription ADD COLUMN put_off TEXT")
    db.execute_sql("CREATE INDEX subscription_put_off ON subscription (id) WHERE put_off IS NOT NULL")
