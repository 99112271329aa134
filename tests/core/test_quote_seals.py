"""The seal of a quote: nothing is ordered but what was shown."""

from datetime import timedelta

import pytest

from core.access import INTERNAL
from core.accounts import update_account
from core.carts import change_line, lines_of
from core.errors import QuoteChanged, QuoteExpired, ValidationFailed
from core.quotes import quote_document
from puesto import Plan, Price, Product, eur, hookimpl

STANDARD = {"mode": "buy", "plan": "gotoassist-standard", "interval": "month", "seats": 3}


class Club:
    """A product whose price goes up from one start of the shop to the next."""

    def __init__(self, price):
        self.price = price

    @hookimpl
    def register_products(self):
        return [Product("club", {"en": "Club"}, [Plan("club-basic", {"en": "Basic"}, 1, [Price.per_seat("month", self.price)])])]


def refused_order(shop, kind, cart, seal):
    """The error for ordering under a seal that does not hold; nothing is written, nobody is charged."""
    before = shop.rows()
    with pytest.raises(kind) as refused:
        shop.order(cart, quote=seal)
    assert (shop.rows(), shop.events(), shop.engine.providers["sandbox"].charges()) == (before, [], [])
    return refused.value


def euros(amount):
    return {"amount": amount, "currency": "EUR"}


def test_a_price_that_went_up_since_is_told_with_the_new_quote(open_shop):
    shop = open_shop(plugins={"club": Club(eur("9.00"))})
    cart = shop.cart({**STANDARD, "plan": "club-basic", "seats": 1})
    seal = shop.quote(cart).seal
    dearer = open_shop(plugins={"club": Club(eur("10.00"))}, folder=shop.folder)

    error = refused_order(dearer, QuoteChanged, cart, seal)

    tax = {"rate": "21", "category": "standard", "reason": "domestic"}
    assert error.extra["changes"] == [
        {"pointer": "/net", "was": 900, "now": 1000},
        {"pointer": "/tax", "was": 189, "now": 210},
        {"pointer": "/total", "was": 1089, "now": 1210},
        {"pointer": "/due_now", "was": 1089, "now": 1210},
        {"pointer": "/lines/0/taxes", "was": [{**tax, "amount": euros(189)}], "now": [{**tax, "amount": euros(210)}]},
        {
            "pointer": "/lines/0/next_charge",
            "was": {"date": "2026-04-01", "amount": euros(1089)},
            "now": {"date": "2026-04-01", "amount": euros(1210)},
        },
        {"pointer": "/lines/0/subtotal", "was": 900, "now": 1000},
        {"pointer": "/lines/0/net", "was": 900, "now": 1000},
        {"pointer": "/lines/0/tax", "was": 189, "now": 210},
        {"pointer": "/lines/0/total", "was": 1089, "now": 1210},
    ]
    assert error.extra["quote"] == quote_document(dearer.quote(cart))
    assert dearer.order(cart, quote=error.extra["quote"]["quote"])["total"] == euros(1210)


def move_a_day(shop, cart):
    shop.on("2026-03-02")


def add_a_seat(shop, cart):
    change_line(shop.engine, cart.id, lines_of(shop.engine, cart)[0].id, INTERNAL, seats=4)


def move_to_germany(shop, cart):
    update_account(shop.engine, cart.account, INTERNAL, country="DE")


@pytest.mark.parametrize(
    ("happens", "pointers"),
    [
        (move_a_day, {"/lines/0/period", "/lines/0/next_charge"}),
        (
            add_a_seat,
            {"/net", "/tax", "/total", "/due_now"}
            | {f"/lines/0/{name}" for name in ("seats", "taxes", "next_charge", "subtotal", "net", "tax", "total")},
        ),
        (
            move_to_germany,
            {"/tax", "/total", "/due_now", "/lines/0/taxes", "/lines/0/next_charge", "/lines/0/tax", "/lines/0/total"},
        ),
    ],
)
def test_whatever_else_has_moved_since_is_told(shop, happens, pointers):
    cart = shop.cart(STANDARD)
    seal = shop.quote(cart).seal
    happens(shop, cart)

    error = refused_order(shop, QuoteChanged, cart, seal)

    assert {change["pointer"] for change in error.extra["changes"]} == pointers


def test_a_quote_holds_for_half_an_hour(shop):
    cart = shop.cart(STANDARD)
    quote = shop.quote(cart)
    shop.clock.move_to(quote.issued_at + timedelta(minutes=30))

    error = refused_order(shop, QuoteExpired, cart, quote.seal)

    assert error.extra["quote"] == quote_document(shop.quote(cart))


def test_to_its_last_second(shop):
    cart = shop.cart(STANDARD)
    quote = shop.quote(cart)
    shop.clock.move_to(quote.issued_at + timedelta(minutes=29, seconds=59))

    assert shop.order(cart, quote=quote.seal)["status"] == "completed"


def test_an_expired_quote_that_has_changed_says_what_has_changed(shop):
    cart = shop.cart(STANDARD)
    seal = shop.quote(cart).seal
    shop.on("2026-03-05")

    assert refused_order(shop, QuoteChanged, cart, seal).extra["changes"][0]["pointer"] == "/lines/0/period"


def test_the_seal_of_another_cart_does_not_hold(shop):
    cart, other = shop.cart(STANDARD), shop.cart(STANDARD)

    error = refused_order(shop, QuoteChanged, cart, shop.quote(other).seal)

    assert [change["pointer"] for change in error.extra["changes"]] == ["/lines/0/id"]


@pytest.mark.parametrize("mangle", [lambda seal: "hello", lambda seal: "", lambda seal: seal[:-1], lambda seal: seal.replace("q1.", "q2.")])
def test_a_text_that_is_no_seal_is_pointed_at(shop, mangle):
    cart = shop.cart(STANDARD)

    error = refused_order(shop, ValidationFailed, cart, mangle(shop.quote(cart).seal))

    assert [each.pointer for each in error.errors] == ["/quote"]


def test_a_cart_of_50_lines_has_a_seal_that_is_read_again(shop):
    cart = shop.cart(*[{**STANDARD, "seats": 100 + index} for index in range(50)])

    assert shop.order(cart, quote=shop.quote(cart).seal)["status"] == "completed"
