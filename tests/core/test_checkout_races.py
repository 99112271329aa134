"""Many at once, with real threads on one database file: each cart becomes one order, each order is charged once."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from core.carts import Cart
from core.checkout import buyer_returned, cancel_order, checkout, confirm_order
from core.engine.idempotency import KeyedRequest
from core.errors import CartNotOpen, RefundExceedsPayment, RequestInProgress, TransitionInvalid
from core.invoices import Invoice
from core.orders import Order
from core.payment_webhooks import PaymentWebhookEvent, apply_events
from core.payments import Payment, PaymentChoice, Refund, reference
from core.recovery import recover
from core.refunds import refund_order, settle_refund
from core.subscriptions import Subscription, Trial
from puesto import ProviderTimeout
from puesto.testing.shop import INTERNAL
from tests.core.gateway import GatewayPlugin, raises
from tests.core.racing import at_once, kinds
from tests.core.test_payment_webhooks import TellingPlugin, tell

SEAT = {"mode": "buy", "plan": "gotoassist-standard", "seats": 1, "interval": "month"}
FREE_TRIAL = {"mode": "trial", "plan": "gotoassist-standard", "seats": 1}


def ordering(shop: Any, cart: Cart, key: str, token: str | None = "tok_ok") -> Callable[[], Any]:
    """A call that orders the cart as it is quoted now; it answers the order's id."""
    quote, request = shop.quote(cart).seal, KeyedRequest(f"checkout {cart.id}", key, b"")
    payment = PaymentChoice("sandbox", token=token) if token else None
    return lambda: checkout(shop.engine, cart.id, INTERNAL, quote=quote, payment=payment, purchase_order=None, request=request).body["id"]


def charged(shop: Any) -> list[int]:
    return [charge.amount.amount for charge in shop.engine.providers["sandbox"].charges() if charge.amount.amount]


def test_sixteen_carts_at_once_become_sixteen_orders(shop):
    calls = [ordering(shop, shop.cart(SEAT, account=shop.open_account()), "key") for _ in range(16)]

    orders = at_once(shop, calls)

    assert {order.status for order in shop.engine.db.all(Order.select())} == {"completed"}
    assert {order.id for order in shop.engine.db.all(Order.select())} == set(orders)
    assert sorted(invoice.sequence for invoice in shop.engine.db.all(Invoice.select())) == list(range(1, 17))
    assert charged(shop) == [14_52] * 16  # 12.00 x 1.21
    assert Counter(event["type"] for event in shop.events()) == {"order.completed": 16, "subscription.started": 16}


@pytest.mark.parametrize("token", ["tok_ok", "tok_timeout"])
def test_one_cart_under_fifty_keys_becomes_one_order(shop, token):
    cart = shop.cart(SEAT)

    answers = at_once(shop, [ordering(shop, cart, f"key {n}", token) for n in range(50)])

    assert kinds(answers) == {str: 1, CartNotOpen: 49}
    assert (shop.count(Order), charged(shop)) == (1, [14_52])


def test_one_cart_whose_buyer_is_at_the_bank_is_charged_for_one_order(shop):
    cart = shop.cart(SEAT)

    answers = at_once(shop, [ordering(shop, cart, f"key {n}", "tok_3ds") for n in range(4)] + [ordering(shop, cart, "key", "tok_ok")])
    shop.on("2026-03-02")
    recover(shop.engine)

    assert set(kinds(answers)) <= {str, CartNotOpen}
    assert Counter(order.status for order in shop.engine.db.all(Order.select()))["completed"] <= 1
    assert len(charged(shop)) == shop.count(Subscription) == shop.count(Invoice) <= 1


def test_one_request_sent_fifty_times_becomes_one_order(shop):
    cart = shop.cart(SEAT)
    call = ordering(shop, cart, "key")

    answers = at_once(shop, [call] * 50)

    assert kinds(answers)[str] + kinds(answers)[RequestInProgress] == 50
    assert {answer for answer in answers if isinstance(answer, str)} == {shop.engine.db.first(Order.select()).id}
    assert (shop.count(Order), charged(shop)) == (1, [14_52])


def test_an_account_that_tries_a_product_in_two_carts_tries_it_once(shop):
    calls = [ordering(shop, shop.cart(FREE_TRIAL), "key", token=None) for _ in range(4)]

    answers = at_once(shop, calls)

    assert kinds(answers)[str] == 1
    assert (shop.count(Subscription), shop.count(Trial), shop.count(Order)) == (1, 1, 1)


def test_credit_is_used_once_by_two_carts_at_once(shop):
    shop.change(shop.buy("gotoassist-standard", interval="year"), interval="month")
    calls = [ordering(shop, shop.cart({**SEAT, "seats": 10}), "key") for _ in range(2)]  # 145.20 each, 130.68 of it credit

    answers = at_once(shop, calls)

    assert sum(isinstance(answer, str) for answer in answers) == 1  # the other one's quote has changed
    assert (shop.account.balance, charged(shop)) == (0, [145_20, 14_52])


def test_confirmation_webhook_return_page_and_recovery_complete_an_order_once(open_shop):
    shop = open_shop(plugins={"sandbox": TellingPlugin})
    order = shop.order(shop.cart(SEAT), token="tok_3ds")["id"]
    payment = shop.engine.db.first(Payment.select())
    shop.engine.providers["sandbox"].confirm_payment(reference(payment), {})  # the buyer has agreed at the bank
    shop.on("2026-03-02")
    confirm = [
        lambda key=key: confirm_order(shop.engine, order, INTERNAL, data={}, request=KeyedRequest("confirm", key, b"")).body["status"]
        for key in "ab"
    ]

    others = [lambda: tell(shop, payment.id), lambda: buyer_returned(shop.engine, order, {}), lambda: recover(shop.engine)]
    answers = at_once(shop, [*confirm, *others * 2, lambda: apply_events(shop.engine)])
    apply_events(shop.engine)

    assert {answer for answer in answers if isinstance(answer, str)} == {"completed"}
    assert set(kinds(answers)) <= {str, type(None), TransitionInvalid}  # whose confirmation comes last has nothing to confirm
    assert (shop.engine.db.get(Order, order).status, charged(shop), shop.count(Invoice)) == ("completed", [14_52], 1)
    assert [event["type"] for event in shop.events()] == ["order.completed", "subscription.started"]
    assert [event.status for event in shop.engine.db.all(PaymentWebhookEvent.select())] == ["done"]


@pytest.mark.parametrize("attempt", range(3))
def test_a_buyer_who_confirms_while_the_order_is_given_up_never_pays_for_nothing(shop, attempt):
    order = shop.order(shop.cart(SEAT), token="tok_3ds")["id"]

    at_once(shop, [lambda: buyer_returned(shop.engine, order, {}), lambda: cancel_order(shop.engine, order, INTERNAL)])
    for day in ("2026-03-02", "2026-03-03"):
        shop.on(day)
        recover(shop.engine)

    kept = [charge.amount.amount - charge.refunded.amount for charge in shop.engine.providers["sandbox"].charges()]
    assert (shop.engine.db.get(Order, order).status, kept) in [("completed", [14_52]), ("cancelled", [0])]
    assert shop.count(Subscription) == (1 if kept == [14_52] else 0)


def test_refunds_at_once_never_exceed_the_payment(shop):
    order = shop.order(shop.cart(SEAT))["id"]
    refund = [
        lambda key=key: refund_order(
            shop.engine, order, INTERNAL, amount=None, reason="wrong", request=KeyedRequest("refund", key, b"")
        ).body["amount"]["amount"]
        for key in "abcd"
    ]

    answers = at_once(shop, refund)

    assert kinds(answers) == {int: 1, RefundExceedsPayment: 3}
    assert [charge.refunded.amount for charge in shop.engine.providers["sandbox"].charges()] == [14_52]
    assert (shop.count(Refund), shop.engine.db.first(Payment.select()).refunded) == (1, 14_52)


def test_a_refund_that_many_settle_at_once_is_settled_once(open_shop):
    shop = open_shop(plugins={"sandbox": GatewayPlugin})
    gateway = shop.engine.providers["sandbox"]
    order = shop.order(shop.cart(SEAT))["id"]
    gateway.instead["refund_payment"] = raises(ProviderTimeout("silence"))
    refund_order(shop.engine, order, INTERNAL, amount=None, reason="wrong", request=KeyedRequest("refund", "key", b""))
    gateway.instead.clear()
    refund = shop.engine.db.first(Refund.select()).id

    at_once(shop, [lambda: settle_refund(shop.engine, refund)] * 4)

    assert [charge.refunded.amount for charge in gateway.charges()] == [14_52]
    assert len(shop.events("payment.refunded")) == 1


def test_two_workers_recover_an_order_once(open_shop):
    shop = open_shop(plugins={"sandbox": GatewayPlugin})
    for _ in range(4):
        shop.order(shop.cart(SEAT), token="tok_timeout")
    shop.on("2026-03-02")

    at_once(shop, [lambda: recover(shop.engine)] * 4)

    assert {order.status for order in shop.engine.db.all(Order.select())} == {"completed"}
    assert (len(charged(shop)), shop.count(Invoice)) == (4, 4)
    assert shop.engine.providers["sandbox"].calls.count("retrieve_payment") == 4  # each asked about by one of them
