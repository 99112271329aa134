"""Discounts: what they leave of a price, rounded once, and for how long."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.rules.discounts import Discount, reduced
from core.rules.money import Money, eur
from core.rules.planner import Change, Deal, Life, plan
from core.rules.policies import PRORATE
from core.rules.prices import Price


@pytest.mark.parametrize(
    ("full", "percent", "left"),
    [
        ("300.00", "20", "240.00"),
        ("0.05", "50", "0.03"),  # 2.5 cents: a half goes away from zero
        ("0.15", "50", "0.08"),  # 7.5, where half-even is 8 as well
        ("0.25", "50", "0.13"),  # 12.5, where half-even is 12
        ("9.99", "33.3", "6.66"),  # 6.66333
        ("10.00", "100", "0.00"),
        ("0.01", "99.9", "0.00"),
    ],
)
def test_a_percentage_leaves_a_rounded_rest(full, percent, left):
    assert reduced(eur(full), Discount("X", Decimal(percent))) == eur(left)


def test_an_amount_leaves_nothing_rather_than_less():
    assert [reduced(eur(full), Discount("X", amount=eur("10.00"))) for full in ("12.00", "10.00", "9.99")] == [
        eur("2.00"),
        eur("0.00"),
        eur("0.00"),
    ]


def test_periods_run_out_or_never():
    third = Discount("X", Decimal(5), periods=3)

    assert [third.following().periods, third.following().following().following()] == [2, None]
    assert Discount("X", Decimal(5)).following() == Discount("X", Decimal(5))


@given(st.integers(0, 10**7), st.integers(1, 1000), st.integers(1, 40), st.integers(1, 40), st.integers(1, 27))
def test_what_a_reduced_period_gives_back_is_never_more_than_it_cost(unit, permille, seats, more, day):
    price, discount = Price.per_seat("month", Money(unit, "EUR")), Discount("X", Decimal(permille) / 10)
    bought = plan(Life(Deal(price, seats, discount)), date(2026, 3, 1))

    changed = plan(bought.life, date(2026, 3, day), Change(Deal(price, more, discount), PRORATE))

    assert Money(0, "EUR") <= changed.credit <= bought.charge <= price.amount(seats)
    assert changed.charge <= price.amount(more)
