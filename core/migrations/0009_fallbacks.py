"""A payment with a problem does not stand in the way of the one that took its place."""

from typing import Any

LIVE = "('created', 'requires_action', 'processing', 'authorized', 'partially_captured', 'captured')"


def up(migrator: object, db: Any) -> None:
    db.execute_sql("DROP INDEX payment_live")
    db.execute_sql(f'CREATE UNIQUE INDEX payment_live ON payment ("order") WHERE ((status IN {LIVE}) AND (problem IS NULL))')
