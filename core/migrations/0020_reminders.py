"""Subscriptions know of which period's end their account was reminded."""

from typing import Any


def up(migrator: object, db: Any) -> None:
    db.execute_sql("ALTER TABLE subscription ADD COLUMN reminded_for DATE")
    told_of = "(interval = 'year') OR (status = 'trialing')"
    untold = "(reminded_for IS NULL) OR (reminded_for != period_end)"
    where = f"((cancelled_at IS NULL) AND ({told_of})) AND ({untold})"
    db.execute_sql(f"CREATE INDEX subscription_to_remind_of ON subscription (period_end) WHERE {where}")
