"""Tax: nothing is sold without it, and a plugin that answers another question is named."""

from dataclasses import replace
from decimal import Decimal

import pytest

from core.access import INTERNAL
from core.checkout import checkout
from core.engine.idempotency import KeyedRequest
from core.errors import PluginFailed, TaxUnavailable
from puesto import LineTax, Money, TaxDecision, eur, hookimpl, usd

BUY = {"mode": "buy", "plan": "gotoassist-standard", "seats": 3, "interval": "month"}


class Tax:
    """A tax plugin that answers what it is told to, and remembers what it was asked."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    @hookimpl
    def calculate_tax(self, request):
        self.asked.append(request)
        return self.answer(request)


def ten_percent(request):
    return TaxDecision(tuple(_line(line) for line in request.lines), (("flat", "yes"),))


def _line(line):
    return LineTax(line.id, Decimal(10), Money(line.net.amount // 10, line.net.currency), "standard", "ES", "flat", "a test")


def twisted(**changes):
    def answer(request):
        first, *others = ten_percent(request).lines
        return TaxDecision((replace(first, **changes), *others))

    return answer


def nothing_sold(shop, kind, cart):
    before = shop.rows()
    with pytest.raises(kind) as refused:
        shop.quote(cart)
    with pytest.raises(kind):
        checkout(shop.engine, cart.id, INTERNAL, quote="q", payment=None, purchase_order=None, request=KeyedRequest("checkout", "key", b""))
    assert (shop.rows(), shop.events(), shop.engine.providers["sandbox"].charges()) == (before, [], [])
    return refused.value


def test_where_no_plugin_decides_nothing_is_sold(open_shop):
    silent = Tax(lambda request: None)
    shop = open_shop(plugins={"silent": silent}, disabled=["vat"])

    error = nothing_sold(shop, TaxUnavailable, shop.cart(BUY))

    assert str(error) == "No tax plugin decides a sale from ES to ES."
    assert len(silent.asked) == 2


def test_without_any_tax_plugin_nothing_is_sold(open_shop):
    shop = open_shop(disabled=["vat"])

    nothing_sold(shop, TaxUnavailable, shop.cart(BUY))


def test_the_first_plugin_that_answers_decides(open_shop):
    silent, first, second = Tax(lambda request: None), Tax(ten_percent), Tax(twisted(rate=Decimal(99)))
    names = ["gotoassist", "sandbox", "silent", "first", "second"]
    shop = open_shop(plugins={"second": second, "first": first, "silent": silent}, enabled=names)

    quote = shop.quote(shop.cart(BUY))

    assert (quote.net, quote.tax) == (eur("36.00"), eur("3.60"))
    assert (len(silent.asked), len(first.asked), second.asked) == (1, 1, [])


def test_a_plugin_is_asked_once_for_all_lines_now_and_next(open_shop):
    tax = Tax(ten_percent)
    shop = open_shop(plugins={"flat": tax}, disabled=["vat"])
    account = shop.open_account(country="GR", tax_id="EL094259216", address={"postcode": "10431"})
    cart = shop.cart(BUY, {"mode": "trial", "plan": "gotoassist-standard", "seats": 1}, account=account)

    quote = shop.quote(cart)

    (asked,) = tax.asked
    first, second = (line.document["id"] for line in quote.lines)
    assert [(line.id, line.tax_category, line.net) for line in asked.lines] == [
        (first, "electronic_service", eur("36.00")),
        (f"{first}/next", "electronic_service", eur("36.00")),
        (second, "electronic_service", eur("0.00")),
        (f"{second}/next", "electronic_service", eur("0.00")),
    ]
    assert (asked.seller.country, asked.seller.tax_id.number, asked.currency, str(asked.on)) == ("ES", "B99286320", "EUR", "2026-03-01")
    assert (asked.buyer.country, asked.buyer.postcode) == ("GR", "10431")
    assert (asked.buyer.tax_id.country, asked.buyer.tax_id.number, asked.buyer.tax_id.status) == ("GR", "094259216", "valid")


@pytest.mark.parametrize(
    "answer",
    [
        twisted(line="another"),
        twisted(tax=usd("3.60")),
        twisted(tax=360),
        twisted(rate=21.0),
        lambda request: TaxDecision(()),
        lambda request: TaxDecision(ten_percent(request).lines[::-1]),
        lambda request: TaxDecision(ten_percent(request).lines * 2),
        lambda request: TaxDecision(("21 %",) * len(request.lines)),
        lambda request: TaxDecision(None),
        lambda request: {"tax": 0},
        lambda request: 1 / 0,
    ],
    ids=["line", "currency", "number", "float", "none", "order", "twice", "text", "null", "dictionary", "raises"],
)
def test_a_plugin_that_answers_another_question_is_named_alone(open_shop, answer):
    shop = open_shop(plugins={"odd": Tax(answer)}, enabled=["gotoassist", "sandbox", "odd", "vat", "vat_rates"])

    error = nothing_sold(shop, PluginFailed, shop.cart(BUY))

    assert error.extra == {"plugin": "odd", "hook": "calculate_tax"}
