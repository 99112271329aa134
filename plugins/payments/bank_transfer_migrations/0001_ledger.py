"""What is expected, what the bank has booked, what is to be sent back."""

from peewee import BigIntegerField, CharField, Check, Database, DateField, DateTimeField, IntegerField, Model, SchemaManager, TextField


class Table(Model):
    class Meta:
        legacy_table_names = False


class Payment(Table):
    id = CharField(primary_key=True, max_length=40)
    account = CharField(max_length=40)
    key = CharField(max_length=255, unique=True)
    reference = CharField(max_length=25, unique=True)
    amount = BigIntegerField()
    currency = CharField(max_length=3)
    due_on = DateField()
    created_at = DateTimeField()

    class Meta:
        table_name = "bank_transfer_payment"


class Entry(Table):
    id = CharField(primary_key=True, max_length=40)
    account = CharField(max_length=40, null=True)
    payment = CharField(max_length=40, null=True, index=True)
    refund = CharField(max_length=40, null=True, index=True)
    amount = BigIntegerField()
    currency = CharField(max_length=3)
    booked_on = DateField()
    text = TextField()
    party = CharField(max_length=140)
    party_iban = CharField(max_length=34)
    status = CharField(max_length=9, index=True, constraints=[Check("status IN ('matched','unmatched','put_aside')")])
    why = TextField(null=True)
    version = IntegerField()
    changed_at = DateTimeField(index=True)

    class Meta:
        table_name = "bank_transfer_entry"


class Refund(Table):
    id = CharField(primary_key=True, max_length=40)
    account = CharField(max_length=40)
    payment = CharField(max_length=40, index=True)
    reference = CharField(max_length=25, unique=True)
    amount = BigIntegerField()
    transfer = BigIntegerField()
    currency = CharField(max_length=3)
    created_at = DateTimeField()
    paid_at = DateTimeField(null=True)

    class Meta:
        table_name = "bank_transfer_refund"


def up(migrator: object, db: Database) -> None:
    for table in (Payment, Entry, Refund):
        SchemaManager(table, db).create_all(safe=False)
