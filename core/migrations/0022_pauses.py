"""Subscriptions that are paused, or are going to be."""

from typing import Any

STATEMENTS = (
    "ALTER TABLE subscription ADD COLUMN pause_at DATE",
    "ALTER TABLE subscription ADD COLUMN pause_reason VARCHAR(500)",
    "ALTER TABLE subscription ADD COLUMN paused_on DATE",
    "ALTER TABLE subscription ADD COLUMN moved INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX subscription_pause_at ON subscription (pause_at) WHERE cancelled_at IS NULL",
)


def up(migrator: object, db: Any) -> None:
    for statement in STATEMENTS:
        db.execute_sql(statement)
