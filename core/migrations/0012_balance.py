"""The balance of an account is the sum of entries; what there was before them is the first."""

from typing import Any

from peewee import BigIntegerField, CharField, Check, DateTimeField, ForeignKeyField, Model, SchemaManager

KINDS = "'opening', 'credited', 'used', 'given_back', 'refunded', 'refund_failed'"


class Account(Model):
    id = CharField(primary_key=True, max_length=40)

    class Meta:
        table_name = "account"


class BalanceEntry(Model):
    id = CharField(primary_key=True, max_length=40)
    account = ForeignKeyField(Account, column_name="account", index=False)
    currency = CharField(max_length=3)
    kind = CharField(max_length=16, constraints=[Check(f"kind IN ({KINDS})")])
    cause = CharField(max_length=40)
    amount = BigIntegerField(constraints=[Check("amount <> 0")])
    balance = BigIntegerField(constraints=[Check("balance >= 0")])
    created_at = DateTimeField()

    class Meta:
        legacy_table_names = False
        table_name = "balance_entry"
        indexes = ((("account", "id"), False), (("cause", "kind"), True))


# An id like all others, one per account: those of accounts sort before what comes later.
OPENING = """
    INSERT INTO balance_entry (id, account, currency, kind, cause, amount, balance, created_at)
    SELECT REPLACE(id, 'acc_', 'bal_'), id, currency, 'opening', id, balance, balance, created_at FROM account WHERE balance > 0
"""


def up(migrator: object, db: Any) -> None:
    SchemaManager(BalanceEntry, db).create_all()
    db.execute_sql(OPENING)
