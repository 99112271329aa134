"""The latest payment of an account is found by an index."""

from typing import Any


def up(migrator: object, db: Any) -> None:
    db.execute_sql('CREATE INDEX payment_account_id ON payment (account, "id")')
