"""Orders that renew, and when what is past due is tried again."""

from typing import Any

STATEMENTS = (
    "ALTER TABLE orders ADD COLUMN kind VARCHAR(8) NOT NULL DEFAULT 'purchase' CHECK (kind IN ('purchase', 'renewal'))",
    "ALTER TABLE subscription ADD COLUMN retry_at {instant}",
    "CREATE INDEX subscription_period_end ON subscription (period_end) WHERE cancelled_at IS NULL",
    "CREATE INDEX subscription_retry_at ON subscription (retry_at) WHERE retry_at IS NOT NULL",
)


def up(migrator: object, db: Any) -> None:
    for statement in STATEMENTS:
        db.execute_sql(statement.format(instant=db.field_types.get("DATETIME", "DATETIME")))
