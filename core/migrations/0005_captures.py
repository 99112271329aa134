"""Captures: what is taken of money that a provider has set aside. A payment knows how much of it was taken."""

from __future__ import annotations

from typing import Any

from peewee import (
    SQL,
    BigIntegerField,
    BooleanField,
    CharField,
    Check,
    DateTimeField,
    ForeignKeyField,
    IntegerField,
    Model,
    SchemaManager,
    SqliteDatabase,
    TextField,
)

OLD = "('created','requires_action','processing','authorized','captured','declined','failed','canceled')"
NEW = OLD.replace("'authorized',", "'authorized','partially_captured',")
LIVE = "('created', 'requires_action', 'processing', 'authorized', 'partially_captured', 'captured')"
WIDER = f"""
    ALTER TABLE payment ALTER COLUMN status TYPE VARCHAR(20);
    ALTER TABLE payment DROP CONSTRAINT payment_status_check;
    ALTER TABLE payment ADD CONSTRAINT payment_status_check CHECK (status IN {NEW});
""".split(";")[:-1]
STATEMENTS = f"""
    ALTER TABLE payment ADD COLUMN captured BIGINT NOT NULL DEFAULT 0 CHECK (captured BETWEEN 0 AND amount);
    UPDATE payment SET captured = amount WHERE status = 'captured';
    DROP INDEX payment_live;
    CREATE UNIQUE INDEX payment_live ON payment ("order") WHERE status IN {LIVE};
""".split(";")[:-1]


class Payment(Model):
    id = CharField(primary_key=True, max_length=40)


class Account(Model):
    id = CharField(primary_key=True, max_length=40)


class Capture(Model):
    id = CharField(primary_key=True, max_length=40)
    account = ForeignKeyField(Account, column_name="account", index=False)
    order = CharField(max_length=40)
    payment = ForeignKeyField(Payment, column_name="payment")
    amount = BigIntegerField(constraints=[Check("amount >= 0")])
    before = BigIntegerField()
    currency = CharField(max_length=3)
    final = BooleanField()
    status = CharField(max_length=10, constraints=[Check("status IN ('created','succeeded','failed')")])
    ask_at = DateTimeField(null=True)
    tries = IntegerField()
    trouble = TextField(null=True)
    created_at = DateTimeField()

    class Meta:
        legacy_table_names = False


Capture.add_index(Capture.index(Capture.payment, unique=True, name="capture_under_way").where(Capture.status == SQL("'created'")))
for name, column in (("to_ask_about", Capture.ask_at), ("open", Capture.id)):
    Capture.add_index(Capture.index(column, name=f"capture_{name}").where(Capture.ask_at.is_null(False)))


def up(migrator: object, db: Any) -> None:
    if isinstance(db, SqliteDatabase):
        _rebuild(db)
    else:
        for statement in WIDER:
            db.execute_sql(statement)
    for statement in STATEMENTS:
        db.execute_sql(statement)
    SchemaManager(Capture, db).create_all()


def _rebuild(db: Any) -> None:
    """SQLite can't change a column: the table is made anew beside, filled, and put in place, as its own manual has it."""
    (made,) = db.execute_sql("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'payment'").fetchone()
    indexes = db.execute_sql("SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'payment' AND sql IS NOT NULL").fetchall()
    wider = made.replace('"payment"', '"payment_new"', 1).replace('"status" VARCHAR(16)', '"status" VARCHAR(20)').replace(OLD, NEW)
    for statement in (wider, "INSERT INTO payment_new SELECT * FROM payment", "DROP TABLE payment"):
        db.execute_sql(statement)
    db.execute_sql("ALTER TABLE payment_new RENAME TO payment")
    for (index,) in indexes:
        db.execute_sql(index)
