"""Credit notes of an invoice, for what went back or was never taken; what of an order a refund is for; an order that was voided."""

from typing import Any

STATEMENTS = """
    ALTER TABLE invoice ADD COLUMN credits VARCHAR(40);
    ALTER TABLE invoice ADD COLUMN cause VARCHAR(40);
    DROP INDEX invoice_order;
    CREATE UNIQUE INDEX invoice_order ON invoice ("order") WHERE credits IS NULL;
    CREATE UNIQUE INDEX invoice_cause ON invoice (cause) WHERE cause IS NOT NULL;
    CREATE INDEX invoice_credits ON invoice (credits) WHERE credits IS NOT NULL;
    ALTER TABLE invoice_line ADD COLUMN credits VARCHAR(40);
    CREATE INDEX invoice_line_credits ON invoice_line (credits) WHERE credits IS NOT NULL;
    ALTER TABLE refund ADD COLUMN parts TEXT;
    ALTER TABLE refund ADD COLUMN credit_note VARCHAR(40);
    CREATE INDEX refund_order ON refund ("order");
""".split(";")[:-1]  # noqa: SIM905


def up(migrator: object, db: Any) -> None:
    for statement in STATEMENTS:
        db.execute_sql(statement)
