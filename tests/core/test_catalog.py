"""The catalog: what is sold, in which language, at which price; and what a plan refuses."""

import pytest

from core.catalog import (
    check_seats,
    check_trial_seats,
    find_plan,
    find_price,
    get_product,
    list_products,
    price_document,
    price_from_document,
)
from core.errors import CurrencyUnsupported, Missing, PlanUnavailable, SeatsOutOfRange
from puesto import Plan, Price, Product, SeatRule, Trial, eur, gbp, hookimpl, usd

PLANS = {
    "gotoassist": ["gotoassist-standard", "gotoassist-professional"],
    "gotomeeting": ["gotomeeting-essentials", "gotomeeting-professional", "gotomeeting-business"],
    "gotowebinar": ["gotowebinar-standard", "gotowebinar-professional"],
    "rescue": ["rescue-standard", "rescue-enterprise"],
}


def plan_of(shop, plan_id):
    return find_plan(shop.engine, plan_id, "/plan")[1]


def plan_with(rule, trial=None):
    return Plan("club-basic", {"en": "Basic"}, 1, [Price.per_seat("month", gbp("9.00"))], seats=rule, trial=trial)


def pointers(error):
    return [each.pointer for each in error.value.errors]


def test_the_four_bundled_products_are_sold_plans_by_tier(shop):
    sold = {product["id"]: [plan["id"] for plan in product["plans"]] for product in list_products(shop.engine, "en")}

    assert sold == PLANS


@pytest.mark.parametrize("plan_id", [plan for plans in PLANS.values() for plan in plans])
@pytest.mark.parametrize("interval", ["month", "year"])
@pytest.mark.parametrize("currency", ["EUR", "USD", "GBP"])
def test_each_bundled_plan_is_sold_by_month_and_year_in_three_currencies(shop, plan_id, interval, currency):
    price = find_price(plan_of(shop, plan_id), interval, currency, "")

    assert (price.interval, price.currency) == (interval, currency)


@pytest.mark.parametrize(
    ("plan_id", "interval", "currency", "document"),
    [
        (
            "gotoassist-standard",
            "year",
            "EUR",
            {"model": "per_seat", "unit_amount": {"amount": 12000, "currency": "EUR"}},
        ),
        (
            "gotowebinar-standard",
            "month",
            "GBP",
            {
                "model": "flat",
                "flat_amount": {"amount": 7700, "currency": "GBP"},
                "included_seats": 2,
                "unit_amount": {"amount": 2500, "currency": "GBP"},
            },
        ),
        (
            "rescue-enterprise",
            "month",
            "USD",
            {
                "model": "volume",
                "tiers": [
                    {"up_to": 49, "unit_amount": {"amount": 14900, "currency": "USD"}},
                    {"up_to": None, "unit_amount": {"amount": 13900, "currency": "USD"}},
                ],
            },
        ),
    ],
    ids=["per seat", "flat", "tiers"],
)
def test_a_price_is_shown_with_what_its_model_uses_and_nothing_else(shop, plan_id, interval, currency, document):
    price = find_price(plan_of(shop, plan_id), interval, currency, "")

    assert price_document(price) == {"interval": interval, "currency": currency, **document}


def test_every_price_can_be_read_back_from_its_document(shop):
    prices = [price for _, plan in shop.engine.products.plans.values() for price in plan.prices]

    assert len(prices) == 54  # 9 plans x 2 intervals x 3 currencies
    assert [price_from_document(price_document(price)) for price in prices] == prices


@pytest.mark.parametrize(
    ("locale", "name", "feature"),
    [
        ("en", "Professional", "Session recording"),
        ("en-GB", "Professional", "Session recording"),
        ("es", "Profesional", "Grabación de sesiones"),
        ("es-MX", "Profesional", "Grabación de sesiones"),
        ("de", "Professional", "Session recording"),
    ],
)
def test_names_and_features_follow_the_locale_then_its_language_then_english(shop, locale, name, feature):
    product = get_product(shop.engine, "gotoassist", locale)

    professional = product["plans"][1]
    assert (professional["name"], professional["features"][-1]) == (name, feature)


class Mole:
    """A product whose Mexican name differs from the Spanish one, and which says no more than it must."""

    @hookimpl
    def register_products(self):
        plan = Plan("mole-one", {"en": "One"}, 1, [Price.per_seat("month", eur("1.00"))])
        return [Product("mole", {"en": "Sauce", "es": "Salsa", "es-MX": "Mole"}, [plan])]


@pytest.mark.parametrize(("locale", "name"), [("es-MX", "Mole"), ("es-AR", "Salsa"), ("fr", "Sauce")])
def test_a_name_of_a_country_comes_before_that_of_its_language(open_shop, locale, name):
    shop = open_shop(plugins={"mole": Mole()})

    product = get_product(shop.engine, "mole", locale)

    assert (product["name"], product["description"], product["plans"][0]["features"]) == (name, "", [])


def test_a_product_shows_its_trial_and_seat_rule(shop):
    essentials, _, business = get_product(shop.engine, "gotomeeting", "en")["plans"]

    assert essentials["trial"] == {"days": 14, "seats": 5, "requires_payment_method": True}
    assert essentials["seats"] == {"min": 1, "max": 10, "step": 1}
    assert (business["trial"], business["seats"]) == (None, {"min": 10, "max": None, "step": 5})


def test_what_is_not_sold_is_missing_or_unavailable(shop):
    with pytest.raises(Missing, match="There is no product gotonowhere"):
        get_product(shop.engine, "gotonowhere", "en")
    with pytest.raises(PlanUnavailable, match="There is no plan gotonowhere-basic") as unknown:
        find_plan(shop.engine, "gotonowhere-basic", "/lines/3/plan")

    assert pointers(unknown) == ["/lines/3/plan"]


MONTHLY_ONLY = Plan("club-basic", {"en": "Basic"}, 1, [Price.per_seat("month", eur("9.00")), Price.per_seat("month", usd("9.00"))])


def test_an_interval_that_the_plan_lacks_is_refused_with_those_it_has():
    with pytest.raises(PlanUnavailable, match="club-basic is not sold by the year; choose month") as refused:
        find_price(MONTHLY_ONLY, "year", "EUR", "/lines/0")

    assert pointers(refused) == ["/lines/0/interval"]


def test_a_currency_that_the_plan_lacks_is_refused_with_those_it_has():
    with pytest.raises(CurrencyUnsupported, match="club-basic is not sold in GBP; its currencies are EUR, USD") as refused:
        find_price(MONTHLY_ONLY, "month", "GBP", "/lines/0")

    assert pointers(refused) == ["/lines/0/plan"]
    assert refused.value.extra == {"currencies": ["EUR", "USD"]}


@pytest.mark.parametrize(
    ("rule", "seats"),
    [
        (SeatRule(), 1),
        (SeatRule(), 100_000),
        (SeatRule(max=10), 10),
        (SeatRule(max=200_000), 200_000),
        (SeatRule(min=10, step=5), 10),
        (SeatRule(min=10, step=5), 15),
    ],
)
def test_seats_are_sold_from_a_minimum_to_a_maximum_in_steps(rule, seats):
    check_seats(plan_with(rule), seats, "/seats")


@pytest.mark.parametrize(
    ("rule", "seats"),
    [
        (SeatRule(), 0),
        (SeatRule(), -1),
        (SeatRule(), 100_001),
        (SeatRule(), 10**12),
        (SeatRule(max=10), 11),
        (SeatRule(min=10, step=5), 9),
        (SeatRule(min=10, step=5), 12),
    ],
)
def test_other_numbers_of_seats_are_refused_with_the_rule(rule, seats):
    with pytest.raises(SeatsOutOfRange) as refused:
        check_seats(plan_with(rule), seats, "/seats")

    assert pointers(refused) == ["/seats"]
    assert refused.value.extra == {"min": rule.min, "max": rule.max or 100_000, "step": rule.step}


def test_a_trial_has_from_one_seat_to_its_own_limit_whatever_the_plan_is_sold_with():
    trial = Trial(days=14, seats=3)
    plan = plan_with(SeatRule(min=10), trial=trial)

    for seats in (1, 2, 3):
        check_trial_seats(plan, trial, seats, "/seats")
    for seats in (0, 4):
        with pytest.raises(SeatsOutOfRange) as refused:
            check_trial_seats(plan, trial, seats, "/seats")
        assert (pointers(refused), refused.value.extra) == (["/seats"], {"min": 1, "max": 3, "step": 1})


def test_two_plans_of_a_product_never_share_a_tier():
    twin = Plan("club-plus", {"en": "Plus"}, 1, [Price.per_seat("month", eur("9.00"))])

    with pytest.raises(ValueError, match="product club: at least one plan, each of a tier of its own"):
        Product("club", {"en": "Club"}, [MONTHLY_ONLY, twin])
