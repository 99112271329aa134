"""How far the books of each provider were read, and what they say otherwise than ours."""

from typing import Any

from peewee import CharField, DateTimeField, Model, SchemaManager, TextField


class Reconciliation(Model):
    provider = CharField(primary_key=True, max_length=64)
    through = DateTimeField()
    next_at = DateTimeField()
    trouble = TextField(null=True)


class Difference(Model):
    id = CharField(primary_key=True, max_length=40)
    account = CharField(max_length=40, null=True)
    provider = CharField(max_length=64)
    kind = CharField(max_length=24)
    payment = CharField(max_length=40, null=True, index=True)
    subject = CharField(max_length=255)
    ours = CharField(max_length=100, null=True)
    theirs = CharField(max_length=100, null=True)
    found_at = DateTimeField()
    seen_at = DateTimeField()

    class Meta:
        indexes = ((("provider", "kind", "subject"), True),)


def up(migrator: object, db: Any) -> None:
    for table in (Reconciliation, Difference):
        SchemaManager(table, db).create_all()
    db.execute_sql("CREATE INDEX payment_provider_created_at ON payment (provider, created_at)")
