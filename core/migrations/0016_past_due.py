"""What is past due: what was tried, and what follows."""

from typing import Any

from peewee import BooleanField, CharField, Check, DateTimeField, ForeignKeyField, Model, SchemaManager, TextField


class Subscription(Model):
    id = CharField(primary_key=True, max_length=40)


class PastDue(Model):
    id = CharField(primary_key=True, max_length=40)
    account = CharField(max_length=40)
    subscription = ForeignKeyField(Subscription, column_name="subscription", unique=True)
    since = DateTimeField()
    attempts = TextField()
    ends_at = DateTimeField(null=True)
    then = CharField(max_length=6, null=True, constraints=[Check("\"then\" IN ('cancel', 'pause')")])
    warn_at = DateTimeField(null=True)
    warned = BooleanField()
    access_until = DateTimeField(null=True)

    class Meta:
        table_name = "past_due"
        legacy_table_names = False


for column in (PastDue.ends_at, PastDue.warn_at):
    PastDue.add_index(PastDue.index(column, name=f"past_due_{column.name}").where(column.is_null(False)))


def up(migrator: object, db: Any) -> None:
    SchemaManager(PastDue, db).create_all()
