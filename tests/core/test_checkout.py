"""Checkout: what each way of paying writes, what is refused, and what a repeated request is answered."""

from typing import Any

import pytest

from core.carts import Cart
from core.checkout import buyer_returned, cancel_order, checkout, confirm_order
from core.engine.idempotency import KeyedRequest
from core.errors import (
    CartNotOpen,
    PaymentDeclined,
    PaymentProviderUnavailable,
    TransitionInvalid,
    ValidationFailed,
)
from core.invoices import Invoice
from core.orders import Order
from core.payment_methods import PaymentMethod
from core.payments import PaymentChoice
from core.subscriptions import Subscription, Trial
from puesto.testing.shop import INTERNAL
from tests.core.gateway import GatewayPlugin

SEAT = {"mode": "buy", "plan": "gotoassist-standard", "seats": 1, "interval": "month"}
FREE_TRIAL = {"mode": "trial", "plan": "gotoassist-standard", "seats": 1}
CARD_TRIAL = {"mode": "trial", "plan": "gotomeeting-essentials", "seats": 1}


def eur(minor: int) -> dict[str, Any]:
    return {"amount": minor, "currency": "EUR"}


def written(shop: Any, before: dict[str, int]) -> dict[str, int]:
    return {table: count - before[table] for table, count in shop.rows().items() if count != before[table]}


def charges(shop: Any) -> list[tuple[str, int]]:
    return [(charge.status, charge.amount.amount) for charge in shop.engine.providers["sandbox"].charges()]


def check_out(shop: Any, cart: Cart, payment: PaymentChoice | None) -> Any:
    """With the same key each time, and a payment that `shop.order` would not give."""
    request, quote = KeyedRequest(f"checkout {cart.id}", "key", b""), shop.quote(cart).seal
    return checkout(shop.engine, cart.id, INTERNAL, quote=quote, payment=payment, purchase_order=None, request=request)


def confirm(shop: Any, order: str, key: str = "confirm") -> Any:
    return confirm_order(shop.engine, order, INTERNAL, data={}, request=KeyedRequest(f"confirm {order}", key, b"")).body


def token(name: str) -> PaymentChoice:
    return PaymentChoice("sandbox", token=name)


# --- what is written


def test_a_purchase_writes_each_thing_once(shop):
    cart = shop.cart({**SEAT, "seats": 3})
    before = shop.rows()

    order = shop.order(cart)

    assert written(shop, before) == {
        "orders": 1, "order_line": 1, "payment": 1, "subscription": 1, "invoice_series": 1, "invoice": 1, "invoice_line": 1,
        "event": 2, "idempotency_key": 1,
    }  # fmt: skip
    assert (order["status"], order["problem"], order["next_action"]) == ("completed", None, None)
    assert (order["net"], order["tax"], order["total"]) == (eur(36_00), eur(7_56), eur(43_56))  # 3 x 12.00, 21 %
    assert (order["credit_used"], order["due_now"], order["credit_left"]) == (eur(0), eur(43_56), eur(0))
    assert order["payment"] == {**order["payment"], "status": "captured", "amount": eur(43_56), "refunded": eur(0), "error": None}
    assert charges(shop) == [("captured", 43_56)]
    assert shop.refresh(cart).status == "ordered"
    assert [event["type"] for event in shop.events()] == ["order.completed", "subscription.started"]
    assert [event["subject"] for event in shop.events()] == [order["id"], order["subscriptions"][0]]


def test_a_token_is_stored_nowhere(shop):
    shop.buy("gotoassist-standard", token="tok_ok")

    assert b"tok_ok" not in b"".join(path.read_bytes() for path in shop.folder.glob("shop.db*"))


def test_a_free_trial_is_ordered_without_payment(shop):
    cart = shop.cart(FREE_TRIAL)
    before = shop.rows()

    order = check_out(shop, cart, None).body

    assert order["status"] == "completed"
    assert (order["payment"], order["invoice"]) == (None, None)
    assert written(shop, before) == {
        "orders": 1, "order_line": 1, "subscription": 1, "trial": 1, "event": 2, "idempotency_key": 1,
    }  # fmt: skip
    assert charges(shop) == []


def test_a_trial_that_needs_a_method_stores_it_without_a_charge(shop):
    order = shop.order(shop.cart(CARD_TRIAL))

    method = shop.engine.db.first(PaymentMethod.select())
    assert (order["status"], order["due_now"], order["invoice"]) == ("completed", eur(0), None)
    assert order["payment"] == {**order["payment"], "status": "captured", "amount": eur(0), "method": {"brand": "visa", "last4": "4242"}}
    assert (method.account, method.default) == (shop.account.id, True)
    assert charges(shop) == []


def test_a_trial_takes_a_stored_method_without_asking_its_provider(open_shop):
    shop = open_shop(plugins={"sandbox": GatewayPlugin})
    shop.buy("gotoassist-standard", token="tok_ok", save=True)
    method = shop.engine.db.first(PaymentMethod.select())
    shop.engine.db.update(method, default=False)
    gateway = shop.engine.providers["sandbox"]
    gateway.calls.clear()

    order = check_out(shop, shop.cart(CARD_TRIAL), PaymentChoice("sandbox", payment_method=method.id)).body

    assert (order["status"], order["payment"]["status"]) == ("completed", "captured")
    assert shop.refresh(method).default is True
    assert gateway.calls == []


def test_a_stored_method_pays(shop):
    shop.buy("gotoassist-standard", token="tok_ok", save=True)
    method = shop.engine.db.first(PaymentMethod.select())

    order = shop.order(shop.cart(SEAT), payment_method=method.id)

    assert order["payment"]["method"] == {"brand": "visa", "last4": "4242"}
    assert charges(shop) == [("captured", 14_52), ("captured", 14_52)]
    assert shop.count(PaymentMethod) == 1


def test_credit_is_used_before_anything_is_charged(shop):
    shop.change(shop.buy("gotoassist-standard", interval="year"), interval="month")
    assert shop.account.balance == 130_68  # (120.00 - 12.00) x 1.21

    in_part = shop.order(shop.cart({**SEAT, "seats": 10}))

    assert (in_part["credit_used"], in_part["due_now"], in_part["credit_left"]) == (eur(130_68), eur(14_52), eur(0))  # of 145.20
    assert charges(shop)[-1] == ("captured", 14_52)
    assert shop.account.balance == 0


def test_what_credit_covers_needs_no_payment(shop):
    shop.change(shop.buy("gotoassist-standard", interval="year"), interval="month")

    order = check_out(shop, shop.cart(SEAT), None).body

    assert (order["status"], order["credit_used"], order["due_now"]) == ("completed", eur(14_52), eur(0))
    assert shop.account.balance == 116_16  # 130.68 - 14.52
    assert charges(shop) == [("captured", 145_20)]


# --- what the provider answers


@pytest.mark.parametrize(
    ("name", "code", "retryable"),
    [
        ("tok_card_declined", "card_declined", False),
        ("tok_insufficient_funds", "insufficient_funds", True),
        ("tok_expired_card", "expired_card", False),
        ("tok_fraud_suspected", "fraud_suspected", False),
        ("tok_never_heard_of", "card_declined", False),
    ],
)
def test_a_decline_leaves_an_open_cart_and_nothing_else(shop, name, code, retryable):
    shop.change(shop.buy("gotoassist-standard", interval="year"), interval="month")
    cart = shop.cart({**SEAT, "seats": 10})
    before = shop.rows()

    with pytest.raises(PaymentDeclined) as declined:
        shop.order(cart, token=name)

    assert declined.value.extra == {"decline_code": code, "retryable": retryable}
    assert written(shop, before) == {"orders": 1, "order_line": 1, "payment": 1, "event": 1, "idempotency_key": 1, "balance_entry": 2}
    assert [event["data"]["payment"]["error"]["code"] for event in shop.events("payment.failed")] == [code]
    assert (shop.refresh(cart).status, shop.account.balance) == ("open", 130_68)
    assert charges(shop) == [("captured", 145_20), ("declined", 0)]
    assert shop.order(cart)["status"] == "completed"


def test_a_declined_trial_may_be_tried_again(shop):
    cart = shop.cart(CARD_TRIAL)

    with pytest.raises(PaymentDeclined):
        shop.order(cart, token="tok_card_declined")

    assert (shop.count(Trial), shop.count(Subscription), shop.count(PaymentMethod)) == (0, 0, 0)
    assert shop.order(cart)["status"] == "completed"


def test_a_declined_change_leaves_the_subscription_free_to_change(shop):
    subscription = shop.buy("gotoassist-standard")
    cart = shop.cart({"mode": "change", "subscription": subscription.id, "seats": 2})

    with pytest.raises(PaymentDeclined):
        shop.order(cart, token="tok_card_declined")

    assert (shop.refresh(subscription).seats, shop.refresh(subscription).changing) == (1, None)
    assert shop.order(cart)["status"] == "completed"


def test_while_it_is_paid_an_order_keeps_others_off(shop):
    subscription = shop.buy("gotoassist-standard")
    shop.order(shop.cart({"mode": "change", "subscription": subscription.id, "seats": 2}), token="tok_timeout")

    with pytest.raises(TransitionInvalid):
        shop.change(subscription, seats=3)

    assert shop.refresh(subscription).seats == 1


def test_a_slow_answer_is_waited_for(open_shop):
    shop = open_shop(tables={"sandbox": {"slow_seconds": 0.01}})

    order = shop.order(shop.cart(SEAT), token="tok_slow")

    assert order["status"] == "completed"
    assert charges(shop) == [("captured", 14_52)]


def test_an_answer_that_never_comes_leaves_the_order_processing(shop):
    cart = shop.cart(SEAT)

    order = shop.order(cart, token="tok_timeout")

    assert (order["status"], order["payment"]["status"], order["invoice"]) == ("processing", "processing", None)
    assert (shop.refresh(cart).status, shop.count(Subscription), shop.events()) == ("ordering", 0, [])
    with pytest.raises(CartNotOpen):
        shop.order(cart)


def test_a_provider_that_is_away_leaves_the_cart_open_and_the_key_free(open_shop):
    shop = open_shop(plugins={"sandbox": GatewayPlugin})
    cart = shop.cart(SEAT)

    with pytest.raises(PaymentProviderUnavailable) as away:
        shop.order(cart, token="tok_unavailable", key="key")

    assert away.value.extra == {"provider": "sandbox"}
    assert (shop.refresh(cart).status, shop.events(), charges(shop)) == ("open", [], [])
    assert shop.order(cart, key="key")["status"] == "completed"


# --- the bank wants to see the buyer


def test_an_order_waits_for_the_bank_and_is_completed_when_confirmed(shop):
    cart = shop.cart(SEAT)
    order = shop.order(cart, token="tok_3ds")
    assert (order["status"], order["next_action"]["type"], shop.refresh(cart).status) == ("requires_action", "redirect", "open")
    assert order["next_action"]["url"].startswith(f"http://127.0.0.1:8000/v1/orders/{order['id']}/return?sandbox_3ds=")

    confirmed = confirm(shop, order["id"])

    assert (confirmed["status"], confirmed["next_action"]) == ("completed", None)
    assert charges(shop) == [("captured", 14_52)]
    assert shop.refresh(cart).status == "ordered"


def test_a_buyer_who_comes_back_to_the_page_completes_the_order(shop):
    order = shop.order(shop.cart(SEAT), token="tok_3ds")

    statuses = [buyer_returned(shop.engine, order["id"], {}) for _ in range(2)]

    assert statuses == ["completed", "completed"]
    assert (charges(shop), shop.count(Invoice)) == ([("captured", 14_52)], 1)


def test_what_the_bank_refuses_leaves_the_cart_open(shop):
    cart = shop.cart(SEAT)
    order = shop.order(cart, token="tok_3ds_fails")

    with pytest.raises(PaymentDeclined) as declined:
        confirm(shop, order["id"])

    assert declined.value.extra["decline_code"] == "authentication_failed"
    assert (shop.refresh(cart).status, shop.count(Subscription), charges(shop)) == ("open", 0, [("declined", 0)])


@pytest.mark.parametrize(("line", "booked"), [(SEAT, [("requires_action", 0), ("captured", 14_52)]), (CARD_TRIAL, [])])
def test_ordering_anew_gives_the_waiting_order_up(shop, line, booked):
    cart = shop.cart(line)
    waiting = shop.order(cart, token="tok_3ds")

    order = shop.order(cart)

    assert order["status"] == "completed"
    assert shop.engine.db.get(Order, waiting["id"]).status == "cancelled"
    assert charges(shop) == booked
    assert (shop.count(Subscription), shop.refresh(cart).status) == (1, "ordered")


def test_ordering_anew_uses_the_credit_that_the_waiting_order_held(shop):
    shop.change(shop.buy("gotoassist-standard", interval="year"), interval="month")
    cart = shop.cart({**SEAT, "seats": 10})
    shop.order(cart, token="tok_3ds")
    assert shop.account.balance == 0

    order = shop.order(cart)

    assert (order["credit_used"], order["due_now"], shop.account.balance) == (eur(130_68), eur(14_52), 0)


def test_a_cancelled_order_gives_back_what_it_held(shop):
    shop.change(shop.buy("gotoassist-standard", interval="year"), interval="month")
    cart = shop.cart({**SEAT, "seats": 10})
    waiting = shop.order(cart, token="tok_3ds")

    order = cancel_order(shop.engine, waiting["id"], INTERNAL)

    assert (order.status, shop.refresh(cart).status, shop.account.balance) == ("cancelled", "open", 130_68)
    assert buyer_returned(shop.engine, order.id, {}) == "cancelled"
    assert charges(shop) == [("captured", 145_20), ("requires_action", 0)]


@pytest.mark.parametrize("act", [confirm, lambda shop, order: cancel_order(shop.engine, order, INTERNAL)], ids=["confirm", "cancel"])
@pytest.mark.parametrize("name", ["tok_ok", "tok_timeout"])
def test_only_an_order_that_waits_for_its_buyer_is_confirmed_or_cancelled(shop, act, name):
    order = shop.order(shop.cart(SEAT), token=name)
    before = shop.rows()

    with pytest.raises(TransitionInvalid):
        act(shop, order["id"])

    assert shop.rows() == before
    assert shop.engine.db.get(Order, order["id"]).status == order["status"]


# --- the same request again


def test_a_repeated_request_gets_the_first_answer(shop):
    cart = shop.cart(SEAT)
    request = {"quote": shop.quote(cart).seal, "payment": token("tok_ok"), "request": KeyedRequest("checkout", "key", b"")}

    first, second = (checkout(shop.engine, cart.id, INTERNAL, purchase_order=None, **request) for _ in range(2))

    assert (first.replayed, second.replayed) == (False, True)
    assert second.body == first.body
    assert shop.count(Order) == 1
    assert charges(shop) == [("captured", 14_52)]


def test_a_repeated_decline_is_the_same_problem(shop):
    cart = shop.cart(SEAT)

    problems = []
    for _ in range(2):
        with pytest.raises(PaymentDeclined) as declined:
            check_out(shop, cart, token("tok_insufficient_funds"))
        problems.append(declined.value)

    assert [problem.replayed for problem in problems] == [False, True]
    assert problems[0].extra == problems[1].extra == {"decline_code": "insufficient_funds", "retryable": True}
    assert charges(shop) == [("declined", 0)]


def test_a_refused_request_does_not_use_up_its_key(shop):
    cart = shop.cart(SEAT)

    with pytest.raises(ValidationFailed):
        check_out(shop, cart, None)

    assert check_out(shop, cart, token("tok_ok")).body["status"] == "completed"


def test_a_confirmation_may_be_repeated(shop):
    order = shop.order(shop.cart(SEAT), token="tok_3ds")["id"]

    answers = [confirm_order(shop.engine, order, INTERNAL, data={}, request=KeyedRequest("confirm", "key", b"")) for _ in range(2)]

    assert [answer.replayed for answer in answers] == [False, True]
    assert answers[0].body == answers[1].body
    assert charges(shop) == [("captured", 14_52)]
