"""Coupons: what they take off, for how long, and that changes, renewals and invoices reckon with what was really charged."""

from decimal import Decimal

import pytest

from core.carts import merge_carts
from core.errors import SettingsInvalid
from core.invoices import Invoice, invoice_document
from core.timeline import timeline
from puesto import Discount, PluginFailed, eur, hookimpl, usd
from puesto.testing.shop import INTERNAL
from tests.conftest import problem

CODES = {
    "Welcome": {"percent": "20", "periods": 2},
    "FREE": {"percent": "100", "periods": 1},
    "ALWAYS": {"percent": "33.3"},
    "TENNER": {"amount": 1000, "currency": "EUR", "periods": 1},
    "MEETING": {"percent": "50", "products": ["gotomeeting"]},
    "SPRING": {"percent": "50", "until": "2026-03-31"},
    "DOLLARS": {"amount": 1000, "currency": "USD"},
}
FIVE = {"mode": "buy", "plan": "gotoassist-professional", "interval": "month", "seats": 5}  # 5 x 60.00


@pytest.fixture
def shop(open_shop):
    return open_shop(tables={"coupons": {"codes": CODES}}, disabled=["email"])


def cart_with(shop, coupon, *lines):
    return shop.cart(*(lines or [FIVE]), coupon=coupon)


def buy(shop, coupon, line=FIVE):
    """The subscription, and the line of its order."""
    order = shop.order(cart_with(shop, coupon, line), token="tok_ok", save=True)
    return shop._started(order), order["lines"][0]


def sums(line):
    return tuple(line[name]["amount"] / 100 for name in ("subtotal", "discount", "credit", "net", "tax", "total"))


def invoiced(shop):
    """Net and total of every invoice, the oldest first."""
    found = shop.engine.db.all(Invoice.select().order_by(Invoice.id))
    return [(each.net / 100, each.total / 100) for each in found]


def taken(shop):
    return [charge.amount for charge in shop.engine.providers["sandbox"].charges() if charge.amount]


def on(shop, day):
    shop.on(day)
    shop.run()


def test_a_percentage_holds_for_so_many_periods_and_then_it_costs_the_full_price(shop):
    subscription, line = buy(shop, "welcome")

    assert sums(line) == (300.00, 60.00, 0, 240.00, 50.40, 290.40)
    assert line["explanation"][0]["formula"] == "5 x 60.00 - 20 %"
    assert line["next_charge"] == shop.show(subscription)["next_charge"]
    assert shop.show(subscription)["discount"] == {"coupon": "WELCOME", "percent": "20", "amount": None, "periods": 2}
    foretold = [each["total"]["amount"] / 100 for each in timeline(shop.engine, subscription.id, INTERNAL)["invoices"][:3]]
    for day in ("2026-04-01", "2026-05-01", "2026-06-01"):
        on(shop, day)
    assert invoiced(shop) == [(240.00, 290.40), (240.00, 290.40), (300.00, 363.00), (300.00, 363.00)]
    assert foretold == [290.40, 363.00, 363.00]
    assert taken(shop) == [eur("290.40"), eur("290.40"), eur("363.00"), eur("363.00")]
    assert shop.show(subscription)["discount"] is None


def test_what_a_renewal_will_cost_is_shown_before(shop):
    subscription, _ = buy(shop, "WELCOME")
    on(shop, "2026-04-01")

    assert shop.show(subscription)["next_charge"]["amount"] == {"amount": 36300, "currency": "EUR"}
    assert shop.show(subscription)["discount"]["periods"] == 1


def test_a_change_credits_what_was_charged_and_keeps_the_discount(shop):
    subscription, _ = buy(shop, "WELCOME")
    shop.on("2026-03-11")

    line = shop.change(subscription, seats=8)["lines"][0]

    # 240.00 x 21/31 = 162.5806 back; 480.00 less 20 %; tax 80.64 - 34.14
    assert sums(line) == (480.00, 96.00, 162.58, 221.42, 46.50, 267.92)
    assert shop.show(subscription)["discount"]["periods"] == 2
    on(shop, "2026-04-11")
    on(shop, "2026-05-11")
    assert [net for net, _ in invoiced(shop)][2:] == [384.00, 480.00]


def test_a_prorated_rest_is_a_share_of_the_reduced_price(shop):
    subscription, _ = buy(shop, "ALWAYS", {**FIVE, "plan": "rescue-standard"})  # 5 x 99.00 less 33.3 % = 330.165
    shop.on("2026-03-11")

    line = shop.change(subscription, seats=6)["lines"][0]

    # 594.00 less 33.3 % = 396.198, so 396.20 a month; x 21/31 = 268.3935; back 330.17 x 21/31 = 223.6635
    assert (line["net"]["amount"], line["credit"]["amount"]) == (26839 - 22366, 22366)
    assert [step["formula"] for step in line["explanation"]][:2] == ["330.17 x 21/31", "396.20 x 21/31"]
    assert line["subtotal"]["amount"] - line["discount"]["amount"] - line["credit"]["amount"] == line["net"]["amount"]


def test_all_off_nothing_is_paid_or_invoiced_and_changes_cost_nothing_either(shop):
    order = shop.order(cart_with(shop, "FREE"))
    subscription = shop._started(order)

    assert sums(order["lines"][0]) == (300.00, 300.00, 0, 0, 0, 0)
    assert (order["status"], order["payment"], order["invoice"]) == ("completed", None, None)
    assert order["lines"][0]["next_charge"]["amount"]["amount"] == 36300
    shop.on("2026-03-11")
    changed = shop.change(subscription, seats=8)
    assert (changed["status"], sums(changed["lines"][0]), changed["payment"]) == ("completed", (480.00, 480.00, 0, 0, 0, 0), None)
    waits = shop.change(subscription, seats=2)
    assert waits["lines"][0]["next_charge"]["amount"]["amount"] == 14520  # 2 x 60.00 + 21 %
    assert (invoiced(shop), taken(shop)) == ([], [])


@pytest.mark.parametrize(("seats", "net"), [(1, 0), (2, 14.00)], ids=["more than it costs", "less"])
def test_an_amount_is_taken_off_each_period_never_more_than_it_costs(open_shop, seats, net):
    codes = {"X": {"amount": 1000 if seats == 2 else 2000, "currency": "EUR", "periods": 1}}
    shop = open_shop(tables={"coupons": {"codes": codes}}, disabled=["email"])

    _, line = buy(shop, "X", {**FIVE, "plan": "gotoassist-standard", "seats": seats})  # 12.00 a seat

    assert line["net"]["amount"] / 100 == net
    assert line["explanation"][0]["formula"] == f"{seats} x 12.00 - {'10.00' if seats == 2 else '20.00'}"


def test_the_invoice_has_the_reduced_net(shop):
    buy(shop, "TENNER")

    [line] = invoice_document(shop.engine, shop.engine.db.first(Invoice.select()))["lines"]
    assert (line["net"]["amount"], line["tax"]["amount"]) == (29000, 6090)
    assert line["description"].endswith("– Professional (TENNER: −10.00)")
    assert [(step["count"], step["unit_amount"]["amount"]) for step in line["prices"]] == [(5, 6000)]


@pytest.mark.parametrize("coupon", ["nothing", "MEETING", "DOLLARS"])
def test_a_coupon_that_takes_nothing_off_is_no_error_and_says_so(shop, coupon):
    quote = shop.quote(cart_with(shop, coupon))

    assert [(each.code, each.pointer) for each in quote.warnings] == [("coupon-unused", "/coupon")]
    assert (quote.net, quote.lines[0].document["discount"]["amount"]) == (eur("300.00"), 0)


def test_it_is_good_until_its_last_day_and_what_was_bought_keeps_it(shop):
    shop.on("2026-03-31")
    subscription, line = buy(shop, "SPRING")
    shop.on("2026-04-01")

    assert line["discount"]["amount"] == 15000
    assert shop.quote(cart_with(shop, "SPRING")).net == eur("300.00")
    on(shop, "2026-04-30")
    assert invoiced(shop)[-1][0] == 150.00
    assert shop.show(subscription)["discount"]["periods"] is None


def test_it_reduces_the_lines_that_it_is_good_for_and_no_trial(shop):
    meeting, trial = {**FIVE, "plan": "gotomeeting-professional"}, {"mode": "trial", "plan": "gotowebinar-standard", "seats": 1}

    quote = shop.quote(cart_with(shop, "MEETING", FIVE, meeting, trial))

    assert [line.document["discount"]["amount"] > 0 for line in quote.lines] == [False, True, False]
    assert quote.warnings == ()


def test_a_cart_that_takes_in_another_keeps_its_own_coupon(shop):
    cart = cart_with(shop, "FREE")

    merge_carts(shop.engine, cart.id, cart_with(shop, "WELCOME").id, INTERNAL, "sum")

    assert (shop.refresh(cart).coupon, shop.quote(cart).net) == ("FREE", eur("0.00"))


def test_over_http_a_coupon_is_given_with_the_cart_or_later_and_taken_off_again(shop, client):
    cart = client.post("/v1/carts", {"account": shop.account.id, "lines": [FIVE], "coupon": "welcome"}).json
    path = f"/v1/carts/{cart['id']}"

    assert (cart["coupon"], cart["warnings"]) == ("welcome", [])
    quote = client.get(f"{path}/quote").json
    assert (quote["lines"][0]["discount"]["amount"], quote["net"]["amount"]) == (6000, 24000)
    taken_off = client.patch(path, {"coupon": None}).json
    assert (taken_off["coupon"], client.get(f"{path}/quote").json["net"]["amount"]) == (None, 30000)
    refused = client.post(f"{path}/checkout", {"quote": quote["quote"], "payment": {"provider": "sandbox", "token": "tok_ok"}})
    assert problem(refused) == (409, "quote-changed")
    assert client.patch(path, {"coupon": "free"}).status_code == 200
    bought = client.check_out(cart["id"]).json["subscriptions"][0]
    assert client.get(f"/v1/subscriptions/{bought}").json["discount"]["coupon"] == "FREE"
    assert problem(client.patch(path, {"coupon": ""})) == (422, "validation-failed", "/coupon")
    english, spanish = (
        client.post("/v1/carts", {"account": shop.account.id, "lines": [FIVE], "coupon": "x"}, headers=headers).json
        for headers in ({}, {"Accept-Language": "es"})
    )
    assert english["warnings"][0]["detail"] == "The coupon x takes nothing off this cart."
    assert spanish["warnings"][0]["detail"] == "El cupón x no descuenta nada de este carrito."


@pytest.mark.parametrize(
    "coupon",
    [
        {},
        {"percent": "0"},
        {"percent": "101"},
        {"percent": "5", "amount": 5, "currency": "EUR"},
        {"amount": 5},
        {"percent": "5", "periods": 0},
    ],
    ids=str,
)
def test_a_coupon_that_makes_no_sense_stops_the_start(open_shop, coupon):
    with pytest.raises(SettingsInvalid, match="coupons"):
        open_shop(tables={"coupons": {"codes": {"X": coupon}}})


class Careless:
    """Takes dollars off everything."""

    @hookimpl(tryfirst=True)
    def discount_line(self, coupon):
        return Discount(coupon, amount=usd("5.00"))


def test_a_plugin_that_takes_off_another_currency_is_named(open_shop):
    shop = open_shop(plugins={"careless": Careless()}, disabled=["email"])

    with pytest.raises(PluginFailed, match="careless"):
        shop.quote(cart_with(shop, "X"))


@pytest.mark.parametrize(
    "what",
    [
        {},
        {"percent": Decimal(5), "amount": eur("1.00")},
        {"percent": Decimal(0)},
        {"amount": eur("0.00")},
        {"percent": Decimal(5), "periods": 0},
    ],
    ids=str,
)
def test_a_discount_takes_something_off_for_a_while(what):
    with pytest.raises(ValueError, match="discount X"):
        Discount("X", **what)
