"""The inbox of payment webhooks, and payments found by their provider's reference."""

from typing import Any

from peewee import SQL, CharField, Check, DateTimeField, IntegerField, Model, SchemaManager, TextField


class PaymentWebhookEvent(Model):
    id = CharField(primary_key=True, max_length=40)
    provider = CharField(max_length=64)
    event_id = CharField(max_length=255)
    account = CharField(max_length=40, null=True)
    payment = CharField(max_length=40, null=True)
    refund = CharField(max_length=40, null=True)
    event = TextField()
    status = CharField(max_length=8, constraints=[Check("status IN ('waiting', 'done', 'parked')")])
    attempts = IntegerField()
    next_at = DateTimeField()
    error = TextField(null=True)
    received_at = DateTimeField(index=True)

    class Meta:
        legacy_table_names = False
        indexes = ((("provider", "event_id"), True),)


for name, column, status in (("due", PaymentWebhookEvent.next_at, "waiting"), ("parked", PaymentWebhookEvent.id, "parked")):
    wanted = PaymentWebhookEvent.status == SQL(f"'{status}'")
    PaymentWebhookEvent.add_index(PaymentWebhookEvent.index(column, name=f"payment_webhook_event_{name}").where(wanted))


def up(migrator: object, db: Any) -> None:
    SchemaManager(PaymentWebhookEvent, db).create_all()
    db.execute_sql("CREATE INDEX payment_provider_provider_ref ON payment (provider, provider_ref)")
