"""Prices: each model by amounts worked out by hand, and against a seat-by-seat sum."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.rules.money import Money
from core.rules.prices import PriceStep
from puesto import Price, eur, usd

TIERS = ((10, eur("9.00")), (50, eur("8.00")), (None, eur("7.00")))
SEATS = st.integers(1, 400)


@st.composite
def tiers(draw):
    """Up to six tiers, the last without an upper end, at any unit amounts."""
    ends = sorted(draw(st.sets(st.integers(1, 300), max_size=5)))
    units = draw(st.lists(st.integers(0, 10**6), min_size=len(ends) + 1, max_size=len(ends) + 1))
    return [(end, Money(unit, "EUR")) for end, unit in zip([*ends, None], units, strict=True)]


def unit_of_seat(tiers, number):
    return next(unit for end, unit in tiers if end is None or number <= end)


@pytest.mark.parametrize(
    ("price", "seats", "amount"),
    [
        (Price.per_seat("month", eur("60.00")), 1, "60.00"),
        (Price.per_seat("month", eur("60.00")), 5, "300.00"),
        (Price.graduated("month", *TIERS), 1, "9.00"),
        (Price.graduated("month", *TIERS), 10, "90.00"),
        (Price.graduated("month", *TIERS), 11, "98.00"),  # 10 x 9 + 1 x 8
        (Price.graduated("month", *TIERS), 50, "410.00"),  # 10 x 9 + 40 x 8
        (Price.graduated("month", *TIERS), 52, "424.00"),  # 10 x 9 + 40 x 8 + 2 x 7
        (Price.volume("month", *TIERS), 10, "90.00"),
        (Price.volume("month", *TIERS), 11, "88.00"),  # 11 x 8
        (Price.volume("month", *TIERS), 50, "400.00"),
        (Price.volume("month", *TIERS), 51, "357.00"),  # 51 x 7
        (Price.flat("month", eur("89.00"), 2, eur("29.00")), 1, "89.00"),
        (Price.flat("month", eur("89.00"), 2, eur("29.00")), 2, "89.00"),
        (Price.flat("month", eur("89.00"), 2, eur("29.00")), 3, "118.00"),
        (Price.flat("month", eur("89.00"), 2, eur("29.00")), 10, "321.00"),  # 89 + 8 x 29
    ],
)
def test_known_amounts(price, seats, amount):
    assert price.amount(seats) == eur(amount)


@given(tiers(), SEATS)
def test_graduated_is_the_sum_of_each_seat_at_its_own_tier(tiers, seats):
    seat_by_seat = sum(unit_of_seat(tiers, number).amount for number in range(1, seats + 1))

    assert Price.graduated("year", *tiers).amount(seats) == Money(seat_by_seat, "EUR")


@given(tiers(), SEATS)
def test_volume_is_every_seat_at_the_tier_of_the_last(tiers, seats):
    assert Price.volume("year", *tiers).amount(seats) == unit_of_seat(tiers, seats) * seats


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 200), SEATS)
def test_flat_charges_only_the_seats_beyond_those_included(fee, extra, included, seats):
    price = Price.flat("month", Money(fee, "EUR"), included, Money(extra, "EUR"))

    assert price.amount(seats) == Money(fee + extra * len(range(included, seats)), "EUR")


@given(st.integers(0, 10**6), SEATS)
def test_one_tier_without_an_end_is_a_price_per_seat(unit, seats):
    amount = Money(unit, "EUR")

    assert Price.graduated("month", (None, amount)).amount(seats) == Price.per_seat("month", amount).amount(seats)
    assert Price.volume("month", (None, amount)).amount(seats) == Price.per_seat("month", amount).amount(seats)


@pytest.mark.parametrize(
    ("price", "seats", "steps"),
    [
        (Price.per_seat("month", eur("60.00")), 5, [PriceStep(5, eur("60.00"))]),
        (Price.graduated("month", *TIERS), 10, [PriceStep(10, eur("9.00"))]),
        (Price.graduated("month", *TIERS), 52, [PriceStep(10, eur("9.00")), PriceStep(40, eur("8.00")), PriceStep(2, eur("7.00"))]),
        (Price.volume("month", *TIERS), 52, [PriceStep(52, eur("7.00"))]),
        (Price.flat("month", eur("89.00"), 2, eur("29.00")), 2, [PriceStep(1, eur("89.00"), included=2)]),
        (Price.flat("month", eur("89.00"), 2, eur("29.00")), 4, [PriceStep(1, eur("89.00"), included=2), PriceStep(2, eur("29.00"))]),
    ],
)
def test_the_steps_of_an_amount_are_told(price, seats, steps):
    assert price.steps(seats) == steps


@pytest.mark.parametrize("seats", [0, -1])
def test_seats_are_counted_from_one(seats):
    with pytest.raises(ValueError, match=f"seats is a whole number from 1, not {seats}"):
        Price.per_seat("month", eur("60.00")).amount(seats)


@pytest.mark.parametrize("model", [Price.graduated, Price.volume])
@pytest.mark.parametrize(
    ("tiers", "problem"),
    [
        ([(10, eur("9.00"))], "each has an upper end but the last"),
        ([(None, eur("9.00")), (None, eur("8.00"))], "each has an upper end but the last"),
        ([(10, eur("9.00")), (10, eur("8.00")), (None, eur("7.00"))], "upper ends rise"),
        ([(0, eur("9.00")), (None, eur("8.00"))], "upper ends rise"),
        ([(10, eur("9.00")), (None, usd("8.00"))], "amounts of one currency"),
    ],
    ids=["no open end", "two open ends", "same end twice", "empty tier", "two currencies"],
)
def test_tiers_that_leave_seats_unpriced_or_priced_twice_are_refused(model, tiers, problem):
    with pytest.raises(ValueError, match=problem):
        model("month", *tiers)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Price.per_seat("week", eur("1.00")), "interval is 'month' or 'year', not 'week'"),
        (lambda: Price.per_seat("month", eur("-1.00")), "none below zero"),
        (lambda: Price.flat("month", eur("1.00"), 1, usd("1.00")), "amounts of one currency"),
    ],
    ids=["interval", "below zero", "currencies"],
)
def test_a_price_that_means_nothing_is_refused(make, problem):
    with pytest.raises(ValueError, match=problem):
        make()
