"""What is due is found in its order, and what waits before it, however much waits and has been delivered."""

from typing import Any


def up(migrator: object, db: Any) -> None:
    db.execute_sql("DROP INDEX delivery_due")
    db.execute_sql("DROP INDEX delivery_subject_plugin_event")
    db.execute_sql("CREATE INDEX delivery_due ON delivery (plugin, next_at, event) WHERE status = 'waiting'")
    db.execute_sql("CREATE INDEX delivery_in_order ON delivery (subject, plugin, event) WHERE status = 'waiting'")
