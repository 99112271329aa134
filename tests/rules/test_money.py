"""Money: nothing is lost in a split, ties round away from zero, and no float gets in."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.rules.money import Money, exponent, money, round_half_away, total
from puesto import eur, gbp, usd

AMOUNTS = st.integers(-(10**12), 10**12)
WEIGHTS = st.lists(st.integers(0, 10**6), min_size=1, max_size=30).filter(any)
FRACTIONS = st.builds(Fraction, st.integers(-(10**9), 10**9), st.integers(1, 10**4))


@given(AMOUNTS, WEIGHTS)
@example(-100, [1, 1, 1])
@example(1, [0, 0, 5])
def test_shares_sum_to_the_whole(amount, weights):
    shares = Money(amount, "EUR").split(weights)

    assert len(shares) == len(weights)
    assert sum(share.amount for share in shares) == amount


@given(AMOUNTS, WEIGHTS)
def test_a_share_is_less_than_a_cent_from_the_exact_one(amount, weights):
    for share, weight in zip(Money(amount, "EUR").split(weights), weights, strict=True):
        assert abs(share.amount - Fraction(amount * weight, sum(weights))) < 1


@given(AMOUNTS, WEIGHTS)
def test_a_credit_splits_as_the_charge_did(amount, weights):
    assert Money(-amount, "EUR").split(weights) == [-share for share in Money(amount, "EUR").split(weights)]


@pytest.mark.parametrize(
    ("amount", "weights", "shares"),
    [
        (100, [1, 1, 1], [34, 33, 33]),
        (-100, [1, 1, 1], [-34, -33, -33]),
        (5, [1, 2, 2], [1, 2, 2]),
        (10, [1, 0, 2], [3, 0, 7]),
        (1, [1, 1], [1, 0]),
        (0, [3, 1], [0, 0]),
    ],
)
def test_the_largest_remainder_takes_the_odd_cent_and_the_first_wins_a_tie(amount, weights, shares):
    assert [share.amount for share in Money(amount, "EUR").split(weights)] == shares


@pytest.mark.parametrize("weights", [[], [0, 0], [2, -1]])
def test_a_split_needs_weights(weights):
    with pytest.raises(ValueError, match="weights are whole numbers from 0, at least one above 0"):
        Money(100, "EUR").split(weights)


@pytest.mark.parametrize(
    ("twice", "rounded"),
    [
        ("149.97", "74.99"),  # 74.985
        ("49.99", "25.00"),  # 24.995
        ("449.91", "224.96"),  # 224.955
        ("0.01", "0.01"),  # 0.005
        ("-149.97", "-74.99"),
        ("-49.99", "-25.00"),
        ("-449.91", "-224.96"),
        ("-0.01", "-0.01"),
    ],
)
def test_an_exact_tie_rounds_away_from_zero(twice, rounded):
    assert eur(twice).times(Fraction(1, 2)) == eur(rounded)


@given(FRACTIONS)
@example(Fraction(5, 2))
@example(Fraction(-5, 2))
@example(Fraction(499999999, 10**9))
def test_rounding_is_to_the_nearest_and_only_a_tie_goes_away_from_zero(value):
    rounded = round_half_away(value)

    assert abs(rounded - value) <= Fraction(1, 2)
    if abs(rounded - value) == Fraction(1, 2):
        assert abs(rounded) > abs(value)


@given(FRACTIONS)
def test_rounding_a_credit_mirrors_rounding_a_charge(value):
    assert round_half_away(-value) == -round_half_away(value)


@pytest.mark.parametrize(
    "make",
    [lambda: Money(74.5, "EUR"), lambda: money(74.5, "EUR"), lambda: eur(74.0), lambda: Money(100, "EUR") * 1.5, lambda: 1.5 * eur("1.00")],
    ids=["minor units", "major units", "whole float", "times a float", "a float times"],
)
def test_floats_are_refused(make):
    with pytest.raises(TypeError):
        make()


@pytest.mark.parametrize(
    ("written", "currency", "minor"),
    [
        ("12.50", "EUR", 1250),
        ("-12.5", "EUR", -1250),
        (12, "EUR", 1200),
        (Decimal("0.01"), "EUR", 1),
        ("1500", "JPY", 1500),
        ("1.234", "KWD", 1234),
    ],
)
def test_major_units_become_minor_units_by_the_currency(written, currency, minor):
    assert money(written, currency) == Money(minor, currency)


@pytest.mark.parametrize(
    ("written", "currency", "problem"),
    [
        ("12.505", "EUR", "more digits than EUR has"),
        ("1.5", "JPY", "more digits than JPY has"),
        ("1.2345", "KWD", "more digits than KWD has"),
        ("twelve", "EUR", "not an amount"),
        ("Infinity", "EUR", "not an amount"),
        ("-Infinity", "EUR", "not an amount"),
        ("NaN", "EUR", "not an amount"),
        ("1.00", "EURO", "unknown currency 'EURO'"),
        ("1.00", "eur", "unknown currency 'eur'"),
    ],
)
def test_what_a_currency_cannot_hold_is_refused(written, currency, problem):
    with pytest.raises(ValueError, match=problem):
        money(written, currency)


@given(AMOUNTS, st.sampled_from(["EUR", "JPY", "KWD"]))
def test_writing_an_amount_out_and_reading_it_back_changes_nothing(amount, currency):
    written = Money(amount, currency).decimal()

    assert money(str(written), currency) == Money(amount, currency)
    assert -written.as_tuple().exponent == exponent(currency)


@pytest.mark.parametrize(
    "mix",
    [
        lambda a, b: a + b,
        lambda a, b: a - b,
        lambda a, b: a < b,
        lambda a, b: a <= b,
        lambda a, b: a > b,
        lambda a, b: a >= b,
        lambda a, b: total([a, b], a.currency),
    ],
    ids=["+", "-", "<", "<=", ">", ">=", "total"],
)
def test_currencies_do_not_mix(mix):
    with pytest.raises(ValueError, match=r"(EUR and USD|USD and EUR) don't mix"):
        mix(eur("1.00"), usd("1.00"))


def test_equal_amounts_of_two_currencies_are_not_equal():
    assert eur("1.00") != usd("1.00")


@given(AMOUNTS, AMOUNTS)
def test_sums_and_differences_undo_each_other(a, b):
    assert Money(a, "GBP") + Money(b, "GBP") - Money(b, "GBP") == Money(a, "GBP")
    assert (Money(a, "GBP") < Money(b, "GBP")) == (a < b)


def test_a_total_of_nothing_is_zero_of_the_currency():
    assert total([], "GBP") == gbp("0.00")
    assert not total([], "GBP")


@pytest.mark.parametrize(
    ("amount", "currency", "english", "spanish"),
    [
        (12100, "EUR", "€121.00", "121,00\xa0€"),
        (-123456789, "EUR", "-€1,234,567.89", "-1.234.567,89\xa0€"),
        (12100, "GBP", "£121.00", "121,00\xa0GBP"),
        (12345, "JPY", "¥12,345", "12.345\xa0JPY"),
    ],
)
def test_amounts_are_shown_as_readers_write_them(amount, currency, english, spanish):
    shown = Money(amount, currency)

    assert shown.format("en") == english
    assert shown.format("es") == shown.format("es-ES") == spanish


def test_a_currency_of_three_decimals_shows_all_three():
    assert Money(12345670, "KWD").format("es") == "12.345,670\xa0KWD"
    assert str(Money(5, "KWD")) == "0.005 KWD"
