"""What begins at the provider: refunds of external origin, and disputes."""

from typing import Any

from peewee import SQL, BigIntegerField, CharField, Check, DateTimeField, ForeignKeyField, Model, SchemaManager


class Account(Model):
    id = CharField(primary_key=True, max_length=40)


class Payment(Model):
    id = CharField(primary_key=True, max_length=40)


class Dispute(Model):
    id = CharField(primary_key=True, max_length=40)
    account = ForeignKeyField(Account, column_name="account", index=False)
    order = CharField(max_length=40)
    payment = ForeignKeyField(Payment, column_name="payment", index=False)
    provider_ref = CharField(max_length=255)
    amount = BigIntegerField(constraints=[Check("amount > 0")])
    currency = CharField(max_length=3)
    status = CharField(max_length=8, constraints=[Check("status IN ('opened', 'won', 'lost')")])
    reason = CharField(max_length=255)
    opened_at = DateTimeField()
    closed_at = DateTimeField(null=True)

    class Meta:
        indexes = ((("payment", "provider_ref"), True),)


Dispute.add_index(Dispute.index(Dispute.id, name="dispute_opened").where(Dispute.status == SQL("'opened'")))

STATEMENTS = """
    ALTER TABLE payment ADD COLUMN disputed BIGINT NOT NULL DEFAULT 0 CHECK (disputed >= 0);
    ALTER TABLE payment ADD COLUMN lost BIGINT NOT NULL DEFAULT 0 CHECK (lost >= 0);
    ALTER TABLE refund ADD COLUMN origin VARCHAR(8) NOT NULL DEFAULT 'ours' CHECK (origin IN ('ours', 'external'));
    CREATE UNIQUE INDEX refund_external ON refund (payment, provider_ref) WHERE origin = 'external';
""".split(";")[:-1]  # noqa: SIM905


def up(migrator: object, db: Any) -> None:
    SchemaManager(Dispute, db).create_all()
    for statement in STATEMENTS:
        db.execute_sql(statement)
