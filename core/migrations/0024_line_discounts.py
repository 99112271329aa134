"""Lines of invoices say what a discount has taken off the prices that they name."""

from typing import Any


def up(migrator: object, db: Any) -> None:
    db.execute_sql("ALTER TABLE invoice_line ADD COLUMN discount BIGINT")
