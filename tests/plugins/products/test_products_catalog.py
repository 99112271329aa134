"""What the bundled products offer: complete prices and texts, and between them every way of selling seats."""

from pathlib import Path

import pytest

from core.engine.clock import SystemClock
from core.engine.plugins import AskHooks, Plugins
from plugins.products.gotoassist import GoToAssist
from plugins.products.gotomeeting import GoToMeeting
from plugins.products.gotowebinar import GoToWebinar
from plugins.products.rescue import Rescue
from puesto import PluginContext, eur
from tests.plugins.contexts import NO_ROWS

NO_CALLS = {"provisioning_url": None, "provisioning_token": None}
CONTEXT = PluginContext("product", NO_CALLS, "sandbox", "http://127.0.0.1:8000", AskHooks(Plugins()), NO_ROWS, SystemClock(), Path())
PRODUCTS = {
    product.id: product for plugin in (GoToAssist, GoToMeeting, GoToWebinar, Rescue) for product in plugin(CONTEXT).register_products()
}
PLANS = {plan.id: plan for product in PRODUCTS.values() for plan in product.plans}
OFFERS = {(interval, currency) for interval in ("month", "year") for currency in ("EUR", "USD", "GBP")}
each_plan = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
each_product = pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)


def allowed_seats(plan):
    return [seats for seats in range(1, 201) if plan.seats.allows(seats)]


def plans_with(price_model):
    return {plan.id for plan in PLANS.values() if {price.model for price in plan.prices} == {price_model}}


def test_the_shop_sells_these_plans():
    assert {product.id: [plan.id for plan in product.plans] for product in PRODUCTS.values()} == {
        "gotoassist": ["gotoassist-standard", "gotoassist-professional"],
        "gotomeeting": ["gotomeeting-essentials", "gotomeeting-professional", "gotomeeting-business"],
        "gotowebinar": ["gotowebinar-standard", "gotowebinar-professional"],
        "rescue": ["rescue-standard", "rescue-enterprise"],
    }


@each_product
def test_each_plan_of_a_product_ranks_above_the_one_before(product):
    assert [plan.tier for plan in product.plans] == list(range(1, len(product.plans) + 1))


@each_product
def test_a_product_is_named_and_described_in_english_and_spanish(product):
    for text in (product.name, product.description):
        assert set(text) == {"en", "es"}
        assert all(text.values())
    assert product.description["en"] != product.description["es"]


@each_plan
def test_a_plan_is_named_in_english_and_spanish(plan):
    assert set(plan.name) == {"en", "es"}
    assert plan.name["en"] != plan.name["es"]


@each_plan
def test_every_feature_is_told_in_english_and_spanish(plan):
    assert set(plan.features) == {"en", "es"}
    english, spanish = plan.features["en"], plan.features["es"]
    assert len(english) == len(spanish) > 0
    assert not set(english) & set(spanish)


@each_plan
def test_a_plan_is_sold_by_month_and_year_in_three_currencies(plan):
    assert {(price.interval, price.currency) for price in plan.prices} == OFFERS
    assert len(plan.prices) == 6
    assert len({price.model for price in plan.prices}) == 1


@each_plan
@pytest.mark.parametrize("currency", ["EUR", "USD", "GBP"])
def test_a_year_costs_ten_months_for_every_number_of_seats(plan, currency):
    month, year = plan.price("month", currency), plan.price("year", currency)

    assert [year.amount(seats) for seats in allowed_seats(plan)] == [month.amount(seats) * 10 for seats in allowed_seats(plan)]


@each_plan
def test_more_seats_always_cost_more_or_are_included(plan):
    for price in plan.prices:
        amounts = [price.amount(seats) for seats in allowed_seats(plan)]
        assert amounts == sorted(amounts)
        assert amounts[0].amount > 0


def test_each_price_model_is_sold_by_one_product_or_more():
    assert plans_with("per_seat") == {
        "gotoassist-standard",
        "gotoassist-professional",
        "gotomeeting-essentials",
        "gotomeeting-professional",
    }
    assert plans_with("graduated") == {"gotomeeting-business"}
    assert plans_with("flat") == {"gotowebinar-standard", "gotowebinar-professional"}
    assert plans_with("volume") == {"rescue-standard", "rescue-enterprise"}


@pytest.mark.parametrize(
    ("plan", "interval", "seats", "amount"),
    [
        ("gotoassist-standard", "year", 1, "120.00"),
        ("gotoassist-standard", "month", 1, "12.00"),
        ("gotoassist-professional", "month", 5, "300.00"),
        ("gotomeeting-professional", "month", 5, "70.00"),
        ("gotomeeting-business", "month", 25, "465.00"),  # 20 x 19 + 5 x 17
        ("gotowebinar-standard", "month", 2, "89.00"),
        ("gotowebinar-standard", "month", 4, "147.00"),  # 89 + 2 x 29
        ("rescue-standard", "month", 9, "891.00"),  # 9 x 99
        ("rescue-standard", "month", 10, "940.00"),  # 10 x 94
    ],
)
def test_known_prices_in_euro(plan, interval, seats, amount):
    assert PLANS[plan].price(interval, "EUR").amount(seats) == eur(amount)


def test_only_these_plans_limit_how_many_seats_are_bought():
    rules = {plan.id: (plan.seats.min, plan.seats.max, plan.seats.step) for plan in PLANS.values()}

    assert {plan: rule for plan, rule in rules.items() if rule != (1, None, 1)} == {
        "gotomeeting-essentials": (1, 10, 1),
        "gotomeeting-business": (10, None, 5),
        "rescue-enterprise": (10, 1000, 10),
    }


def test_trials_are_free_of_payment_details_or_need_them_or_there_are_none():
    trials = {plan.id: plan.trial and (plan.trial.days, plan.trial.seats, plan.trial.requires_payment_method) for plan in PLANS.values()}

    assert trials == {
        "gotoassist-standard": (30, 5, False),
        "gotoassist-professional": (30, 5, False),
        "gotomeeting-essentials": (14, 5, True),
        "gotomeeting-professional": (14, 5, True),
        "gotomeeting-business": None,
        "gotowebinar-standard": (7, 2, False),
        "gotowebinar-professional": (7, 5, False),
        "rescue-standard": None,
        "rescue-enterprise": None,
    }


def test_additions_are_prorated_for_rescue_and_restart_the_period_elsewhere():
    upwards = {plan.id: (plan.policy("seats_up").name, plan.policy("plan_up").name) for plan in PLANS.values()}

    assert {plan for plan, policies in upwards.items() if policies == ("prorate", "prorate")} == {"rescue-standard", "rescue-enterprise"}
    assert {policies for plan, policies in upwards.items() if not plan.startswith("rescue-")} == {("restart", "restart")}


@each_plan
def test_reductions_wait_for_the_next_period(plan):
    assert (plan.policy("seats_down").name, plan.policy("plan_down").name) == ("next_period", "next_period")
