"""The quote: what a cart costs, by hand, and why. Its seal: test_quote_seals."""

from fractions import Fraction

import pytest

from core.access import INTERNAL, Caller
from core.accounts import update_account
from core.carts import cart_document, lines_of, remove_line
from core.errors import CurrencyUnsupported, PlanUnavailable, ValidationFailed
from core.quotes import quote_document
from core.rules.money import round_half_away
from puesto import Capabilities, PaymentProvider, Plan, Price, Product, hookimpl, money

STANDARD = {"mode": "buy", "plan": "gotoassist-standard", "interval": "month", "seats": 3}  # 36.00
GERMAN = "DE136695976"


def buy(plan, seats, interval="month"):
    return {"mode": "buy", "plan": plan, "seats": seats, "interval": interval}


def quoted(shop, *lines, account=None, caller=INTERNAL):
    return quote_document(shop.quote(shop.cart(*lines, account=account), caller))


def amounts(document, *names):
    return tuple(document[name]["amount"] for name in names)


def money_of(amount):
    return {"amount": amount, "currency": "EUR"}


def pointers(error):
    return [each.pointer for each in error.value.errors]


class Club:
    """Three plans at a price of one's own each: free, one of minor units that make ties, and one in yen."""

    def __init__(self, price="1.00"):
        self.price = price

    @hookimpl
    def register_products(self):
        prices = {"free": money("0.00", "EUR"), "odd": money(self.price, "EUR"), "yen": money(101, "JPY")}
        plans = [
            Plan(f"club-{name}", {"en": name}, tier, [Price.per_seat("month", unit)]) for tier, (name, unit) in enumerate(prices.items())
        ]
        return [Product("club", {"en": "Club"}, plans)]


# --- amounts


@pytest.mark.parametrize(
    ("plan", "seats", "interval", "currency", "net", "tax"),
    [
        ("gotoassist-standard", 3, "month", "EUR", 3600, 756),  # 3 x 12
        ("gotoassist-standard", 3, "year", "USD", 39000, 8190),  # 3 x 130
        ("gotoassist-professional", 7, "month", "GBP", 36400, 7644),  # 7 x 52
        ("gotomeeting-business", 20, "month", "EUR", 38000, 7980),  # 20 x 19
        ("gotomeeting-business", 25, "month", "EUR", 46500, 9765),  # 20 x 19 + 5 x 17
        ("gotomeeting-business", 105, "month", "USD", 192000, 40320),  # 20 x 20 + 80 x 18 + 5 x 16
        ("gotomeeting-business", 25, "year", "GBP", 390000, 81900),  # 20 x 160 + 5 x 140
        ("rescue-standard", 9, "month", "EUR", 89100, 18711),  # 9 x 99
        ("rescue-standard", 10, "month", "EUR", 94000, 19740),  # 10 x 94
        ("rescue-standard", 24, "month", "USD", 249600, 52416),  # 24 x 104
        ("rescue-standard", 25, "year", "GBP", 1975000, 414750),  # 25 x 790
        ("gotowebinar-standard", 1, "month", "EUR", 8900, 1869),  # 89, which includes 2
        ("gotowebinar-standard", 3, "month", "EUR", 11800, 2478),  # 89 + 1 x 29
        ("gotowebinar-standard", 5, "year", "USD", 191000, 40110),  # 950 + 3 x 320
        ("gotowebinar-professional", 6, "month", "GBP", 19500, 4095),  # 165 + 1 x 30
    ],
)
def test_each_price_model_interval_and_currency_with_spanish_vat(shop, plan, seats, interval, currency, net, tax):
    quote = quoted(shop, buy(plan, seats, interval), account=shop.open_account(currency=currency))

    line = quote["lines"][0]
    assert amounts(quote, "net", "tax", "total", "credit_used", "due_now", "credit_left") == (net, tax, net + tax, 0, net + tax, 0)
    assert amounts(line, "subtotal", "discount", "credit", "net", "tax", "total") == (net, 0, 0, net, tax, net + tax)
    assert line["period"] == {"start": "2026-03-01", "end": {"month": "2026-04-01", "year": "2027-03-01"}[interval]}
    assert line["next_charge"] == {"date": line["period"]["end"], "amount": {"amount": net + tax, "currency": currency}}
    assert {each["currency"] for each in (quote["total"], line["total"])} == {currency}


@pytest.mark.parametrize(
    ("buyer", "rate", "tax", "category", "reason"),
    [
        ({"country": "ES"}, "21", 756, "standard", "domestic"),
        ({"country": "ES", "tax_id": "ESB58378431"}, "21", 756, "standard", "domestic"),
        ({"country": "DE"}, "19", 684, "standard", "other_state_consumer"),
        ({"country": "FI"}, "25.5", 918, "standard", "other_state_consumer"),
        ({"country": "HU"}, "27", 972, "standard", "other_state_consumer"),
        ({"country": "DE", "tax_id": GERMAN}, "0", 0, "reverse_charge", "reverse_charge"),
        ({"country": "FR", "tax_id": "FR40303265045"}, "20", 720, "standard", "other_state_consumer"),
        ({"country": "IT", "tax_id": "IT00743110157"}, "22", 792, "standard", "other_state_consumer"),
        ({"country": "US"}, "0", 0, "out_of_scope", "outside_eu"),
        ({"country": "GB"}, "0", 0, "out_of_scope", "outside_eu"),
    ],
    ids=["home", "home business", "DE", "FI", "HU", "reverse charge", "number not confirmed", "number unknown", "US", "GB"],
)
def test_vat_by_the_buyers_country_and_number(open_shop, buyer, rate, tax, category, reason):
    shop = open_shop(tables={"simulated_vat_registry": {"unavailable": ["FR40303265045"], "invalid": ["IT00743110157"]}})

    quote = quoted(shop, STANDARD, account=shop.open_account(**buyer))

    assert amounts(quote, "net", "tax", "total", "due_now") == (3600, tax, 3600 + tax, 3600 + tax)
    assert quote["lines"][0]["taxes"] == [
        {"rate": rate, "amount": {"amount": tax, "currency": "EUR"}, "category": category, "reason": reason}
    ]


@pytest.mark.parametrize(
    ("plan", "currency", "seats", "net", "tax"),
    [
        ("club-odd", "EUR", 1, 100, 26),  # 1.00 x 25.5 % = 0.255
        ("club-odd", "EUR", 3, 300, 77),  # 0.765
        ("club-yen", "JPY", 1, 101, 26),  # 25.755
        ("club-yen", "JPY", 2, 202, 52),  # 51.51
    ],
)
def test_tax_rounds_half_up_at_the_currencys_minor_unit(open_shop, plan, currency, seats, net, tax):
    shop = open_shop(plugins={"club": Club()})

    quote = quoted(shop, buy(plan, seats), account=shop.open_account(country="FI", currency=currency))

    assert amounts(quote, "net", "tax", "total") == (net, tax, net + tax)


def test_the_total_is_the_sum_of_the_rounded_lines(open_shop):
    shop = open_shop(plugins={"club": Club()})

    quote = quoted(shop, buy("club-odd", 1), buy("club-odd", 1), STANDARD, account=shop.open_account(country="FI"))

    # 2 x 0.26 + 9.18; of the sum, 38.00 x 25.5 %, it would be 9.69
    assert [amounts(line, "net", "tax", "total") for line in quote["lines"]] == [(100, 26, 126), (100, 26, 126), (3600, 918, 4518)]
    assert amounts(quote, "net", "tax", "total", "due_now") == (3800, 970, 4770, 4770)


def test_nothing_is_due_for_what_is_free(open_shop):
    shop = open_shop(plugins={"club": Club()})

    quote = quoted(shop, buy("club-free", 5))

    assert amounts(quote, "net", "tax", "total", "due_now") == (0, 0, 0, 0)
    assert (quote["payment_required"], quote["lines"][0]["next_charge"]["amount"]["amount"]) == (False, 0)
    assert quote["lines"][0]["explanation"][0]["formula"] == "5 x 0.00"


def test_credit_of_the_account_is_used_first_and_what_is_over_stays(shop):
    # From yearly to monthly on the first day: 120.00 back, 12.00 charged, 21 % on both: 130.68 of credit.
    shop.change(shop.buy("gotoassist-standard", interval="year"), interval="month")

    small, large = quoted(shop, STANDARD), quoted(shop, buy("gotoassist-standard", 10))
    meeting = quoted(shop, buy("gotomeeting-essentials", 1))

    assert amounts(small, "total", "credit_used", "due_now", "credit_left") == (4356, 4356, 0, 8712)
    assert amounts(large, "total", "credit_used", "due_now", "credit_left") == (14520, 13068, 1452, 0)
    required = [quote["payment_required"] for quote in (small, large, meeting)]
    assert required == [False, True, False]  # a purchase stores no method, even where a trial would


def test_a_negative_total_is_credit_that_is_left(shop):
    yearly = shop.buy("gotoassist-standard", interval="year")
    change = {"mode": "change", "subscription": yearly.id, "interval": "month"}

    alone, with_a_purchase = quoted(shop, change), quoted(shop, change, STANDARD)

    assert amounts(alone, "net", "tax", "total", "credit_used", "due_now", "credit_left") == (-10800, -2268, -13068, 0, 0, 13068)
    assert amounts(with_a_purchase, "net", "tax", "total", "credit_left") == (-7200, -1512, -8712, 8712)  # + 36.00
    assert (alone["payment_required"], with_a_purchase["payment_required"]) == (False, False)


def test_a_quote_writes_nothing(shop):
    cart = shop.cart(STANDARD)
    before = shop.rows()

    quotes = [shop.quote(cart) for _ in range(2)]

    assert quotes[0] == quotes[1]
    assert (shop.rows(), shop.events(), shop.engine.providers["sandbox"].charges()) == (before, [], [])


# --- why


@pytest.mark.parametrize(
    ("line", "charge", "formula", "tax_formula"),
    [
        (STANDARD, 3600, "3 x 12.00", "36.00 x 25.5 %"),
        (buy("gotomeeting-business", 25), 46500, "20 x 19.00 + 5 x 17.00", "465.00 x 25.5 %"),
        (buy("rescue-standard", 10), 94000, "10 x 94.00", "940.00 x 25.5 %"),
        (buy("gotowebinar-standard", 3), 11800, "89.00 (includes 2) + 1 x 29.00", "118.00 x 25.5 %"),
    ],
)
def test_each_amount_is_explained(shop, line, charge, formula, tax_formula):
    explanation = quoted(shop, line, account=shop.open_account(country="FI"))["lines"][0]["explanation"]

    exact = Fraction(charge) * Fraction("25.5") / 100
    whole = {"days": None, "denominator": None}
    assert explanation == [
        {"rule": "charge", "amount": money_of(charge), "formula": formula, **whole, "unrounded": str(charge), "rounding": "none"},
        {
            "rule": "tax",
            "amount": money_of(round_half_away(exact)),
            "formula": tax_formula,
            **whole,
            "unrounded": str(exact),
            "rounding": "none" if exact.denominator == 1 else "half_away_from_zero",
        },
    ]


@pytest.mark.parametrize(
    ("plan", "seats", "unit"),
    [
        ("gotoassist-standard", 3, 1200),
        ("rescue-standard", 10, 9400),
        ("gotomeeting-business", 20, 1900),
        ("gotomeeting-business", 25, None),
        ("gotowebinar-standard", 1, None),
    ],
)
def test_a_unit_amount_is_shown_where_all_seats_cost_the_same(shop, plan, seats, unit):
    shown = quoted(shop, buy(plan, seats))["lines"][0]["unit_amount"]

    assert shown == (money_of(unit) if unit else None)


def test_a_quote_speaks_the_accounts_language(shop):
    line = quoted(shop, STANDARD, account=shop.open_account(locale="es-MX"))["lines"][0]

    assert (line["product_name"], line["plan_name"]) == ("GoToAssist Asistencia remota", "Estándar")


# --- who may be paid, and what is said besides


class Moody(PaymentProvider):
    name = "moody"
    capabilities = Capabilities(save_method=True)

    def refusal(self, cart):
        raise RuntimeError("not today")


class MoodyPlugin:
    @hookimpl
    def register_payment_providers(self):
        return [Moody()]


def test_a_provider_that_fails_is_left_out_with_a_warning(open_shop):
    shop = open_shop(plugins={"moody": MoodyPlugin()})

    quote = quoted(shop, STANDARD)

    assert quote["payment_providers"] == ["sandbox"]
    assert [(each["code"], each["pointer"]) for each in quote["warnings"]] == [("plugin-skipped", "/payment_providers")]
    assert quote["warnings"][0]["message"]["params"] == {"plugin": "moody"}


@pytest.mark.parametrize(
    ("kind", "scopes", "line", "providers"),
    [
        ("self_service", {"checkout", "staff"}, STANDARD, ["sandbox"]),
        ("corporate", {"checkout"}, STANDARD, ["sandbox"]),
        ("corporate", {"checkout", "staff"}, STANDARD, ["invoice_terms", "sandbox"]),
        ("corporate", {"checkout", "staff"}, {"mode": "trial", "plan": "gotomeeting-essentials", "seats": 1}, ["sandbox"]),
    ],
    ids=["self service", "not staff", "staff", "a method to store"],
)
def test_the_providers_that_take_the_cart_are_named(shop, kind, scopes, line, providers):
    account = shop.open_account(kind=kind)

    assert quoted(shop, line, account=account, caller=Caller("key_1", frozenset(scopes)))["payment_providers"] == providers


def test_a_number_that_does_not_count_is_said(open_shop):
    shop = open_shop(tables={"simulated_vat_registry": {"unavailable": [GERMAN]}})

    quote = quoted(shop, STANDARD, account=shop.open_account(country="DE", tax_id=GERMAN))

    assert [(each["code"], each["pointer"]) for each in quote["warnings"]] == [("tax-id-unverified", "/account/tax_id")]


def test_a_plan_that_has_left_the_catalog_warns_in_the_cart_and_is_not_quoted(open_shop):
    shop = open_shop(plugins={"club": Club()})
    cart = shop.cart(STANDARD, buy("club-odd", 1))
    without = open_shop(folder=shop.folder)

    with pytest.raises(PlanUnavailable) as refused:
        without.quote(cart)

    assert pointers(refused) == ["/lines/1/plan"]
    warnings = cart_document(without.engine, cart)["warnings"]
    assert [(each["code"], each["pointer"]) for each in warnings] == [("plan-unavailable", "/lines/1/plan")]


def test_an_empty_cart_is_not_quoted(shop):
    cart = shop.cart(STANDARD)
    remove_line(shop.engine, cart.id, lines_of(shop.engine, cart)[0].id, INTERNAL)

    with pytest.raises(ValidationFailed, match="The cart is empty") as refused:
        shop.quote(cart)

    assert pointers(refused) == ["/lines"]


def test_a_cart_in_a_currency_the_account_has_left_is_not_quoted(shop):
    cart = shop.cart(STANDARD)
    update_account(shop.engine, cart.account, INTERNAL, currency="USD")

    with pytest.raises(CurrencyUnsupported, match="The cart is in EUR, the account is billed in USD now") as refused:
        shop.quote(cart)

    assert pointers(refused) == ["/currency"]
