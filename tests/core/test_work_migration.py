"""From the first schema, with data in it, to the one whose feed has positions of its own."""

import shutil

import pytest

from core import schema
from core.engine.deliveries import Delivery, drain
from core.engine.engine import Engine
from core.engine.events import append, events_after
from core.engine.settings import CoreSettings, check_settings
from core.payments import Payment

# sequence, id, fanned_out: the last one had reached nobody when the shop was stopped.
EVENTS = [(2, "evt_a", True), (5, "evt_b", True), (7, "evt_c", False)]
PAYMENT = """
    INSERT INTO payment (id, account, "order", provider, status, amount, refunded, currency, save_method, data, created_at)
    VALUES ('pay_1', 'acc_1', 'ord_1', 'sandbox', 'captured', 100, 0, 'EUR', FALSE, '{}', '2026-03-01 12:00:00')
"""


@pytest.fixture
def old(empty_database, tmp_path, monkeypatch):
    """An engine on a database of the first schema."""
    engine = Engine(check_settings(CoreSettings(), {"database": empty_database, "data": str(tmp_path / "data")}))
    first = tmp_path / "first"
    first.mkdir()
    shutil.copy(schema.MIGRATIONS / "0001_initial.py", first)
    with monkeypatch.context() as before:
        before.setattr(schema, "MIGRATIONS", first)
        schema.upgrade(engine)
    yield engine
    engine.close()


def execute(engine, *statements):
    for statement in statements:
        engine.db.raw().execute_sql(statement)


def write_event(sequence, id_, fanned_out):
    return f"""
        INSERT INTO event (sequence, id, account, type, subject, data, occurred_at, fanned_out)
        VALUES ({sequence}, '{id_}', 'acc_1', 'seat.assigned', 'sub_1', '{{}}', '2026-03-01 12:00:00', {str(fanned_out).upper()})
    """


def feed(engine, after=None):
    return [event["id"] for event in events_after(engine, None, after, 100)]


def test_the_feed_goes_on_where_it_was(old):
    execute(old, *(write_event(*event) for event in EVENTS))

    schema.upgrade(old)

    assert (feed(old), feed(old, "evt_a")) == (["evt_a", "evt_b"], ["evt_b"])
    drain(old)
    assert feed(old, "evt_b") == ["evt_c"]
    assert old.db.count(Delivery.select().where(Delivery.event != 7)) == 0


def test_an_empty_shop_has_a_feed_that_begins(old):
    schema.upgrade(old)

    with old.db.transaction():
        append(old, "seat.released", account="acc_1", subject="sub_1", data={})
    drain(old)

    assert len(feed(old)) == 1


def test_payments_were_taken_and_have_not_been_asked_about(old):
    execute(
        old,
        """INSERT INTO account (id, name, email, kind, country, currency, locale, time_zone, balance, ordered, version, created_at)
        VALUES ('acc_1', 'A', 'a@a.example', 'self_service', 'ES', 'EUR', 'en', 'Europe/Madrid', 0, TRUE, 1, '2026-03-01 12:00:00')""",
        PAYMENT,
    )

    schema.upgrade(old)

    payment = old.db.get(Payment, "pay_1")
    assert (payment.tries, payment.trouble, payment.captured) == (0, None, 100)
