"""What the database itself refuses, whoever writes: each check, unique key and foreign key, tried with a raw row."""

import peewee
import pytest

from core import schema
from core.access import ApiKey, create_key
from core.accounts import User
from core.balance import BalanceEntry, post
from core.captures import Capture, write_capture
from core.checkout import settle
from core.differences import Difference, Found, keep
from core.disputes import Dispute
from core.engine.deliveries import Delivery
from core.engine.events import EventRow
from core.engine.idempotency import KeyedRequest
from core.engine.setbacks import Setback, attempt
from core.invoices import Invoice, InvoiceLine
from core.orders import Order
from core.past_due import fall_past_due
from core.payment_methods import PaymentMethod
from core.payment_webhooks import PaymentWebhookEvent
from core.payments import Payment, Refund, retrieve
from core.refunds import refund_order
from core.seats import SeatAssignment
from core.subscriptions import PastDue, Trial
from puesto import FailedAttempt, eur
from puesto.testing.shop import INTERNAL
from tests.core.test_payment_webhooks import TellingPlugin, tell
from tests.databases import CHECK, UNIQUE

FOREIGN = "FOREIGN KEY constraint failed|violates foreign key"
CHECKS = [
    ("account", "kind", "'guild'"),
    ("account", "balance", "-1"),
    ("user", "role", "'owner'"),
    ("cart", "status", "'lost'"),
    ("cart_line", "mode", "'rent'"),
    ("cart_line", "seats", "0"),
    ("cart_line", "interval", "'week'"),
    ("orders", "kind", "'gift'"),
    ("orders", "status", "'lost'"),
    ("orders", "total", "net + tax + 1"),
    ("orders", "credit_used", "-1"),
    ("orders", "due_now", "-1"),
    ("orders", "credit_left", "-1"),
    ("order_line", "total", "net + tax + 1"),
    ("payment", "status", "'lost'"),
    ("payment", "amount", "-1"),
    ("payment", "captured", "amount + 1"),
    ("payment", "captured", "-1"),
    ("payment", "refunded", "amount + 1"),
    ("payment", "refunded", "-1"),
    ("payment", "disputed", "-1"),
    ("payment", "lost", "-1"),
    ("capture", "amount", "-1"),
    ("capture", "status", "'lost'"),
    ("refund", "amount", "0"),
    ("refund", "status", "'lost'"),
    ("refund", "origin", "'theirs'"),
    ("dispute", "amount", "0"),
    ("dispute", "status", "'drawn'"),
    ("payment_webhook_event", "status", "'lost'"),
    ("subscription", "interval", "'week'"),
    ("subscription", "seats", "0"),
    ("subscription", "seats_assigned", "seats + 1"),
    ("subscription", "seats_assigned", "-1"),
    ("subscription", "status", "'lost'"),
    ("subscription", "anchor_day", "0"),
    ("subscription", "anchor_day", "32"),
    ("subscription", "period_end", "period_start"),
    ("subscription_change", "interval", "'week'"),
    ("subscription_change", "seats", "0"),
    ("past_due", "then", "'forget'"),
    ("invoice_series", "last", "-1"),
    ("invoice", "kind", "'bill'"),
    ("invoice", "status", "'lost'"),
    ("invoice", "total", "net + tax + 1"),
    ("invoice", "sequence", "0"),
    ("invoice_line", "period_end", "period_start"),
    ("delivery", "status", "'lost'"),
    ("delivery", "attempts", "-1"),
    ("balance_entry", "kind", "'gift'"),
    ("balance_entry", "amount", "0"),
    ("balance_entry", "balance", "-1"),
]
LAST = "a refund's credit note"
# A second row that has the first one's values (or the last one's), but for those named: of what may be there once.
SECONDS = [
    (User, ["id"], "account and e-mail"),
    (PaymentMethod, ["id"], "a provider's reference"),
    (Order, ["id"], "a cart's order"),
    (Payment, ["id"], "an order's live payment"),
    (Capture, ["id"], "a capture under way"),
    (Refund, ["id"], "an external refund"),
    (Dispute, ["id"], "a dispute"),
    (Difference, ["id"], "a difference"),
    (Trial, ["id"], "an account's trial of a product"),
    (PastDue, ["id"], "what a subscription is past due with"),
    (SeatAssignment, ["id"], "a user's seat"),
    (Invoice, ["id", "number", "sequence"], "an order's invoice"),
    (Invoice, ["id", "order", "sequence"], "an invoice's number"),
    (Invoice, ["id", "order", "number"], "a place in a series"),
    (Invoice, ["id", "number", "sequence"], LAST),
    (InvoiceLine, ["id"], "what is billed for a period"),
    (EventRow, ["sequence", "position"], "an event's id"),
    (EventRow, ["sequence", "id"], "a place in the feed"),
    (Delivery, ["id"], "an event's delivery to a subscriber"),
    (PaymentWebhookEvent, ["id"], "a provider's event"),
    (Setback, ["id"], "what keeps a row from being worked on"),
    (ApiKey, ["id"], "a key's hash"),
    (BalanceEntry, ["id"], "an entry of a kind for its cause"),
]
# A row that others need can't go.
NEEDED = ["account", "user", "subscription", "orders", "payment", "invoice"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory, new_shop):
    """A row in every table that these tests try to break, and don't."""
    shop = new_shop(tmp_path_factory.mktemp("shop"), plugins={"sandbox": TellingPlugin})
    subscription = shop.buy("gotoassist-standard", seats=2, token="tok_ok", save=True)
    shop.change(shop.buy("rescue-standard", seats=5), seats=2)  # when the period ends
    shop.try_out("gotomeeting-professional")
    shop.assign(subscription, shop.add_user())
    order = shop.engine.db.first(Order.select().where(Order.due_now > 0))
    request = KeyedRequest("refund", "key", b"")
    gateway, payment = shop.engine.providers["sandbox"], shop.engine.db.first(Payment.select().where(Payment.order == order.id))
    gateway.dashboard.refund(payment.id, 1_00)
    gateway.dashboard.open_dispute(payment.id, 1_00)
    settle(shop.engine, payment, retrieve(shop.engine, payment))
    refund_order(shop.engine, order.id, INTERNAL, amount=None, reason="wrong", request=request)
    with shop.engine.db.transaction():
        write_capture(shop.engine, shop.engine.db.first(Payment.select()), eur("1.00"), final=False)
    shop.cart({"mode": "buy", "plan": "rescue-standard", "seats": 1, "interval": "month"})
    create_key(shop.engine, "back end", ["staff"])
    shop.run()
    attempt(shop.engine, "end_subscription", subscription.id, subscription.account, lambda: 1 // 0)
    tell(shop, "pay_of_somebody")
    with shop.engine.db.transaction():
        keep(shop.engine, payment, [Found("payment_status", payment.id, "captured", "declined")])
        post(shop.engine, order.account, "credited", order.id, 100)
        fall_past_due(shop.engine, subscription.id, FailedAttempt(shop.clock.now(), None))
    unguard(shop)
    yield shop
    shop.close()


def unguard(shop):
    """Without the triggers that refuse every change of a document, whatever it is; tests/core/test_invoices.py tries those."""
    on = " ON {}" if shop.engine.db.url.startswith("postgresql") else ""
    for table in ("invoice", "invoice_line"):
        for event in ("update", "delete"):
            shop.engine.db.raw().execute_sql(f"DROP TRIGGER {table}_stays_{event}{on.format(table)}")


def refused(shop, sql, message, *values):
    """Run a raw statement that the database must refuse."""
    with pytest.raises(peewee.IntegrityError, match=message), shop.engine.db.transaction():
        shop.engine.db.raw().execute_sql(sql, values)


@pytest.mark.parametrize(("table", "column", "value"), CHECKS)
def test_a_value_that_can_not_be_is_refused(shop, table, column, value):
    refused(shop, f'UPDATE "{table}" SET "{column}" = {value}', CHECK)


def test_every_check_of_the_models_is_tried():
    declared = {(t._meta.table_name, f.column_name) for t in schema.TABLES for f in t._meta.sorted_fields if f.constraints}

    assert {(table, column) for table, column, _ in CHECKS} == declared


@pytest.mark.parametrize(("model", "changed", "what"), SECONDS, ids=[what for _, _, what in SECONDS])
def test_what_may_be_there_once_is_not_there_twice(shop, model, changed, what):
    key = model._meta.primary_key
    first = shop.engine.db.first(model.select().order_by(key.desc() if what == LAST else key))
    values = {**first.__data__, **{name: 999_999 if isinstance(first.__data__[name], int) else "another" for name in changed}}

    with pytest.raises(peewee.IntegrityError, match=UNIQUE):
        shop.engine.db.insert(model(**values))


def test_every_unique_key_of_the_models_is_tried():
    columns = [field for table in schema.TABLES for field in table._meta.sorted_fields if field.unique]
    indexes = [index for table in schema.TABLES for index in table._meta.fields_to_index() if index._unique]

    assert len(SECONDS) == len(indexes) >= len(columns)


@pytest.mark.parametrize("table", NEEDED)
def test_what_others_refer_to_can_not_go(shop, table):
    refused(shop, f'DELETE FROM "{table}"', FOREIGN)


def test_every_table_that_others_refer_to_is_tried():
    referred = {field.rel_model._meta.table_name for t in schema.TABLES for field in t._meta.refs if field.on_delete != "CASCADE"}

    assert set(NEEDED) == referred
