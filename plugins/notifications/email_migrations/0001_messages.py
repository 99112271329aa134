"""What was handed over."""

from peewee import AutoField, CharField, Database, DateTimeField, Model, SchemaManager


class EmailMessage(Model):
    id = AutoField()
    event = CharField(max_length=40)
    kind = CharField(max_length=40)
    account = CharField(max_length=40)
    recipient = CharField(max_length=254)
    sent_at = DateTimeField()

    class Meta:
        legacy_table_names = False
        table_name = "email_message"
        indexes = ((("event", "kind"), True),)


def up(migrator: object, db: Database) -> None:
    SchemaManager(EmailMessage, db).create_all(safe=False)
