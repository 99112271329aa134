"""The feed has positions of its own; what fails in a round is kept with why; payments and refunds count how often they were asked about."""

from typing import Any

from peewee import BigIntegerField, CharField, DateTimeField, IntegerField, Model, SchemaManager, TextField


class Feed(Model):
    id = IntegerField(primary_key=True)
    position = BigIntegerField()


class Setback(Model):
    id = CharField(primary_key=True, max_length=40)
    account = CharField(max_length=40)
    work = CharField(max_length=32)
    subject = CharField(max_length=40)
    tries = IntegerField()
    error = TextField()
    since = DateTimeField()
    next_at = DateTimeField(null=True)

    class Meta:
        indexes = ((("work", "subject"), True),)


Setback.add_index(Setback.index(Setback.id, name="setback_parked").where(Setback.next_at.is_null()))

# The events that are there were shown in the order of writing: the feed goes on after them.
STATEMENTS = """
    ALTER TABLE event ADD COLUMN position BIGINT;
    UPDATE event SET position = sequence WHERE fanned_out = TRUE;
    INSERT INTO feed (id, position) SELECT 1, COALESCE(MAX(position), 0) FROM event;
    DROP INDEX event_to_fan_out;
    DROP INDEX event_account;
    ALTER TABLE event DROP COLUMN fanned_out;
    CREATE UNIQUE INDEX event_position ON event (position);
    CREATE INDEX event_account_position ON event (account, position);
    CREATE INDEX event_to_fan_out ON event (sequence) WHERE position IS NULL;
    CREATE INDEX delivery_parked ON delivery (id) WHERE status = 'parked';
    ALTER TABLE payment ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE payment ADD COLUMN trouble TEXT;
    ALTER TABLE refund ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE refund ADD COLUMN trouble TEXT;
    CREATE INDEX payment_open ON payment (id) WHERE ask_at IS NOT NULL;
    CREATE INDEX refund_open ON refund (id) WHERE ask_at IS NOT NULL;
    CREATE INDEX order_with_problem ON orders (id) WHERE problem IS NOT NULL;
""".split(";")[:-1]  # noqa: SIM905


def up(migrator: object, db: Any) -> None:
    for table in (Feed, Setback):
        SchemaManager(table, db).create_all()
    for statement in STATEMENTS:
        db.execute_sql(statement)
