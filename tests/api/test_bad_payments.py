"""Payments, seals and refunds that can't be, and times: nothing is charged, and nothing is written."""

import pytest

from tests.api.scene import CARD, quoted, state
from tests.api.shared_shop import shared_shop
from tests.conftest import problem

shop, client, scene = shared_shop()


PAYMENTS = {
    "no payment": (None, "/payment"),
    "payment null": ("null", "/payment"),
    "empty payment": ({}, "/payment/provider"),
    "unknown provider": ({**CARD, "provider": "paypal"}, "/payment/provider"),
    "provider for others": ({"provider": "invoice_terms"}, "/payment/provider"),
    "neither token nor method": ({"provider": "sandbox"}, "/payment/token"),
    "token and method": ({**CARD, "payment_method": "pm_1"}, "/payment/payment_method"),
    "unknown method": ({"provider": "sandbox", "payment_method": "pm_1"}, "/payment/payment_method"),
    "save as a text": ({**CARD, "save": "yes"}, "/payment/save"),
    "save null": ({**CARD, "save": None}, "/payment/save"),
    "token of 501 characters": ({**CARD, "token": "t" * 501}, "/payment/token"),
    "card number": ({**CARD, "number": "4242424242424242"}, "/payment/number"),
}


@pytest.mark.parametrize(("payment", "pointer"), PAYMENTS.values(), ids=PAYMENTS)
def test_a_payment_that_can_not_be_is_refused(client, shop, scene, payment, pointer):
    cart = scene.cart["id"]
    body = {"quote": quoted(client, cart), **({} if payment is None else {"payment": None if payment == "null" else payment})}
    before = state(shop)

    answer = client.post(f"/v1/carts/{cart}/checkout", body)

    assert problem(answer)[2:] == (pointer,)
    assert problem(answer)[0] in (404, 422)
    assert state(shop) == before
    assert client.get(f"/v1/carts/{cart}").json["status"] == "open"


QUOTES = {
    "left out": None,
    "null": "null",
    "empty": "",
    "nonsense": "q1.nonsense.nonsense",
    "number": 5,
    "emoji": "🛒",
    "100,001 characters": "q" * 100_001,
    "of another version": "q9.{0[1]}.{0[2]}",
    "cut off": "{0[0]}.{0[1]}",
    "changed": "{0[0]}.A{0[1]}.{0[2]}",
}


@pytest.mark.parametrize("seal", QUOTES.values(), ids=QUOTES)
def test_what_is_no_seal_of_a_quote_orders_nothing(client, shop, scene, seal):
    cart = scene.cart["id"]
    parts = quoted(client, cart).split(".")
    quote = seal.format(parts) if isinstance(seal, str) else seal
    before = state(shop)

    body = {"payment": CARD, "quote": None if seal == "null" else quote}
    answer = client.post(f"/v1/carts/{cart}/checkout", {name: body[name] for name in body if name != "quote" or seal is not None})

    assert problem(answer) == (422, "validation-failed", "/quote")
    assert state(shop) == before


REFUNDS = {
    "more than was paid": ({"amount": {"amount": 8471, "currency": "EUR"}}, "refund-exceeds-payment", "/amount"),
    "another currency": ({"amount": {"amount": 100, "currency": "USD"}}, "refund-exceeds-payment", "/amount"),
    "unknown currency": ({"amount": {"amount": 100, "currency": "ABC"}}, "validation-failed", "/amount/currency"),
    "no currency": ({"amount": {"amount": 100}}, "validation-failed", "/amount/currency"),
    "nothing": ({"amount": {"amount": 0, "currency": "EUR"}}, "validation-failed", "/amount/amount"),
    "negative": ({"amount": {"amount": -1, "currency": "EUR"}}, "validation-failed", "/amount/amount"),
    "fraction": ({"amount": {"amount": 1.5, "currency": "EUR"}}, "validation-failed", "/amount/amount"),
    "text": ({"amount": {"amount": "100", "currency": "EUR"}}, "validation-failed", "/amount/amount"),
    "thirty digits": ({"amount": {"amount": 10**30, "currency": "EUR"}}, "validation-failed", "/amount/amount"),
    "a number for money": ({"amount": 100}, "validation-failed", "/amount"),
    "no line of the order": ({"lines": [{"line": "oln_1"}]}, "validation-failed", "/lines/0/line"),
    "a line without an id": ({"lines": [{"amount": {"amount": 100, "currency": "EUR"}}]}, "validation-failed", "/lines/0/line"),
    "nothing of a line": (
        {"lines": [{"line": "x", "amount": {"amount": 0, "currency": "EUR"}}]},
        "validation-failed",
        "/lines/0/amount/amount",
    ),
    "too many lines": ({"lines": [{"line": "x"}] * 101}, "validation-failed", "/lines"),
    "no reason": ({"reason": None}, "validation-failed", "/reason"),
    "reason of 501 characters": ({"reason": "x" * 501}, "validation-failed", "/reason"),
}


@pytest.mark.parametrize(("fields", "code", "pointer"), REFUNDS.values(), ids=REFUNDS)
def test_a_refund_that_can_not_be_is_refused(client, shop, scene, fields, code, pointer):
    path = f"/v1/orders/{scene.paid['id']}"
    before = state(shop)

    answer = client.post(f"{path}/refunds", {"reason": "goodwill", **fields})

    assert problem(answer) == (422, code, pointer)
    assert state(shop) == before


@pytest.mark.parametrize(
    "now",
    [
        "2026-03-01T11:59:59Z",
        "2026-03-01",
        "2026-03-01T13:00:00",
        "9999-12-31T23:59:59Z",
        "2200-01-01T00:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "tomorrow",
        1772366400,
        None,
    ],
)
def test_a_time_that_can_not_come_leaves_the_clock_alone(client, shop, now):
    answer = client.post("/v1/test-clock", {"now": now})

    assert problem(answer) == (422, "validation-failed", "/now")
    assert shop.engine.clock.now().isoformat() == "2026-03-01T12:00:00+00:00"
