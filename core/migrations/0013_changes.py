"""Orders that change a subscription without a cart."""

from typing import Any

# The same on both databases: a column's check goes with it, and its copy keeps the name.
STATEMENTS = (
    "ALTER TABLE orders ADD COLUMN sort VARCHAR(8) NOT NULL DEFAULT 'purchase' CHECK (sort IN ('purchase', 'renewal', 'change'))",
    "UPDATE orders SET sort = kind",
    "ALTER TABLE orders DROP COLUMN kind",
    "ALTER TABLE orders RENAME COLUMN sort TO kind",
)


def up(migrator: object, db: Any) -> None:
    for statement in STATEMENTS:
        db.execute_sql(statement)
