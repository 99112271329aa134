"""What a start or a change costs, to the cent and with its derivation."""

from dataclasses import replace
from datetime import date, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.rules.billing_plan import DIRECTIONS, NAMED_POLICIES, Derivation, bill_change, bill_renewal, bill_start, direction_of
from core.rules.money import Money
from core.rules.periods import Period
from puesto import ChangePolicy, Price, eur

RESTART, PRORATE, NEXT_PERIOD = (NAMED_POLICIES[name] for name in ("restart", "prorate", "next_period"))
YEARLY = Price.per_seat("year", eur("120.00"))
MONTHLY = Price.per_seat("month", eur("60.00"))
NOTHING = eur("0.00")


def change(term, price, seats, policy, on, interval="month", *, interval_changes=False):
    return bill_change(term, price, seats, interval, policy, on, interval_changes=interval_changes)


def whole(formula, amount):
    return Derivation("charge", eur(amount), formula, None, None, str(eur(amount).amount), "none")


@pytest.fixture
def march():
    """Five seats of 60.00 from 2026-03-01, monthly."""
    return bill_start(MONTHLY, 5, "month", date(2026, 3, 1)).term


@pytest.mark.parametrize(
    ("interval", "on", "end"),
    [
        ("month", date(2026, 3, 11), date(2026, 4, 11)),
        ("month", date(2027, 1, 31), date(2027, 2, 28)),
        ("year", date(2028, 2, 29), date(2029, 2, 28)),
    ],
)
def test_a_start_charges_one_whole_period_anchored_on_its_day(interval, on, end):
    billing = bill_start(MONTHLY, 5, interval, on)

    assert (billing.effective_on, billing.term.period, billing.term.anchor_day) == (on, Period(on, end), on.day)
    assert (billing.charge, billing.credit, billing.term.full_amount) == (eur("300.00"), NOTHING, eur("300.00"))
    assert billing.derivations == (whole("5 x 60.00", "300.00"),)


def test_the_model_case_a_second_seat_after_73_days_of_a_year():
    term = bill_start(YEARLY, 1, "year", date(2026, 1, 1)).term
    on = date(2026, 1, 1) + timedelta(days=73)

    billing = change(term, YEARLY, 2, RESTART, on, "year")

    assert (billing.credit, billing.charge, billing.charge - billing.credit) == (eur("96.00"), eur("240.00"), eur("144.00"))
    assert billing.effective_on == on == date(2026, 3, 15)
    assert billing.term.period == Period(date(2026, 3, 15), date(2027, 3, 15))
    assert (billing.term.anchor_day, billing.term.full_amount) == (15, eur("240.00"))
    assert billing.derivations == (
        Derivation("credit_unused", eur("96.00"), "120.00 x 292/365", 292, 365, "9600", "none"),
        whole("2 x 120.00", "240.00"),
    )


def test_restart_credits_21_of_31_days_and_moves_the_billing_date(march):
    billing = change(march, MONTHLY, 8, RESTART, date(2026, 3, 11))

    assert (billing.credit, billing.charge) == (eur("203.23"), eur("480.00"))
    assert billing.term.period == Period(date(2026, 3, 11), date(2026, 4, 11))
    assert billing.term.anchor_day == 11
    assert billing.derivations == (
        Derivation("credit_unused", eur("203.23"), "300.00 x 21/31", 21, 31, "630000/31", "half_away_from_zero"),
        whole("8 x 60.00", "480.00"),
    )


def test_prorate_charges_the_rest_and_keeps_the_period(march):
    billing = change(march, MONTHLY, 8, PRORATE, date(2026, 3, 11))

    assert (billing.credit, billing.charge) == (eur("203.23"), eur("325.16"))  # 480 x 21/31 = 325.1612...
    assert billing.term == replace(march, full_amount=eur("480.00"))
    assert billing.derivations == (
        Derivation("credit_unused", eur("203.23"), "300.00 x 21/31", 21, 31, "630000/31", "half_away_from_zero"),
        Derivation("charge_rest", eur("325.16"), "8 x 60.00 x 21/31", 21, 31, "1008000/31", "half_away_from_zero"),
    )


def test_next_period_charges_nothing_now_and_waits_for_the_billing_date(march):
    billing = change(march, MONTHLY, 2, NEXT_PERIOD, date(2026, 3, 11))

    assert (billing.effective_on, billing.term) == (date(2026, 4, 1), None)
    assert (billing.charge, billing.credit, billing.derivations) == (NOTHING, NOTHING, ())


def test_a_new_interval_begins_a_new_period_even_under_prorate(march):
    billing = change(march, YEARLY, 5, PRORATE, date(2026, 3, 11), "year", interval_changes=True)

    assert (billing.credit, billing.charge) == (eur("203.23"), eur("600.00"))
    assert billing.term.period == Period(date(2026, 3, 11), date(2027, 3, 11))
    assert billing.term.anchor_day == 11


def test_a_policy_without_credit_gives_none(march):
    forfeit = ChangePolicy("forfeit", "now", "move", "none", "now")

    billing = change(march, MONTHLY, 8, forfeit, date(2026, 3, 11))

    assert (billing.credit, billing.charge) == (NOTHING, eur("480.00"))
    assert billing.derivations == (whole("8 x 60.00", "480.00"),)


def test_on_the_first_day_everything_is_credited_and_on_the_last_one_day(march):
    first, last = (change(march, MONTHLY, 8, RESTART, day) for day in (date(2026, 3, 1), date(2026, 3, 31)))

    assert (first.credit, first.derivations[0].rounding) == (eur("300.00"), "none")
    assert (last.credit, last.derivations[0].formula) == (eur("9.68"), "300.00 x 1/31")


@pytest.mark.parametrize("policy", NAMED_POLICIES.values(), ids=NAMED_POLICIES)
@pytest.mark.parametrize("on", [date(2026, 2, 28), date(2026, 4, 1)])
def test_a_day_outside_the_running_period_is_refused(march, policy, on):
    with pytest.raises(ValueError, match=f"{on} is not a day of"):
        change(march, MONTHLY, 8, policy, on)


@pytest.mark.parametrize(
    ("price", "seats", "formula"),
    [
        (Price.graduated("month", (2, eur("9.00")), (None, eur("8.00"))), 5, "(2 x 9.00 + 3 x 8.00) x 21/31"),
        (Price.volume("month", (2, eur("9.00")), (None, eur("8.00"))), 5, "5 x 8.00 x 21/31"),
        (Price.flat("month", eur("89.00"), 2, eur("29.00")), 2, "89.00 (includes 2) x 21/31"),
        (Price.flat("month", eur("89.00"), 2, eur("29.00")), 3, "(89.00 (includes 2) + 1 x 29.00) x 21/31"),
    ],
)
def test_the_formula_writes_out_each_price_model(march, price, seats, formula):
    rest = change(march, price, seats, PRORATE, date(2026, 3, 11)).derivations[-1]

    assert rest.formula == formula


UNITS = st.integers(1, 10**6)
SEATS = st.integers(1, 500)
DAYS = st.dates(date(2024, 1, 1), date(2034, 1, 1))
INTERVALS = st.sampled_from(["month", "year"])


@st.composite
def running(draw):
    """A subscription, its price, and a day of its running period."""
    interval = draw(INTERVALS)
    price = Price.per_seat(interval, Money(draw(UNITS), "EUR"))
    term = bill_start(price, draw(SEATS), interval, draw(DAYS)).term
    on = term.period.start + timedelta(days=draw(st.integers(0, term.period.days - 1)))
    return term, price, on


def unused(term, on):
    """The exact worth of the unused days of a term, in minor units."""
    return Fraction(term.full_amount.amount * (term.period.end - on).days, (term.period.end - term.period.start).days)


def nearest(value):
    """Rounded half up, which for amounts from zero is half away from zero."""
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)


@given(running(), SEATS)
def test_restart_is_a_whole_new_period_less_the_unused_days(subscription, seats):
    term, price, on = subscription

    billing = change(term, price, seats, RESTART, on, price.interval)

    assert billing.charge == price.unit_amount * seats
    assert billing.credit.amount == nearest(unused(term, on))
    assert (billing.term.period.start, billing.term.anchor_day) == (on, on.day)


@given(running(), SEATS)
def test_prorate_is_never_more_than_a_cent_from_the_exact_difference(subscription, seats):
    term, price, on = subscription

    billing = change(term, price, seats, PRORATE, on, price.interval)

    exact = unused(replace(term, full_amount=price.amount(seats)), on) - unused(term, on)
    assert abs((billing.charge - billing.credit).amount - exact) <= 1
    assert billing.term.period == term.period


@given(running(), st.lists(SEATS, min_size=1, max_size=8))
def test_many_prorated_changes_on_a_day_cost_what_one_would(subscription, steps):
    start, price, on = subscription

    term, due = start, 0
    for seats in steps:
        billing = change(term, price, seats, PRORATE, on, price.interval)
        term, due = billing.term, due + (billing.charge - billing.credit).amount

    at_once = change(start, price, steps[-1], PRORATE, on, price.interval)
    assert due == (at_once.charge - at_once.credit).amount


@given(running(), SEATS, st.sampled_from([RESTART, PRORATE]))
def test_every_amount_follows_from_its_derivation(subscription, seats, policy):
    term, price, on = subscription

    billing = change(term, price, seats, policy, on, price.interval)

    credit, charge = billing.derivations
    assert (credit.rule, credit.amount, charge.amount) == ("credit_unused", billing.credit, billing.charge)
    for step in billing.derivations:
        exact = Fraction(step.unrounded)
        assert step.amount.amount == nearest(exact)
        assert step.rounding == ("none" if exact.denominator == 1 else "half_away_from_zero")


@pytest.mark.parametrize(
    ("seats", "tiers", "intervals", "direction"),
    [
        ((5, 8), (1, 1), ("month", "month"), "seats_up"),
        ((8, 5), (1, 1), ("month", "month"), "seats_down"),
        ((8, 5), (1, 2), ("month", "month"), "plan_up"),
        ((5, 8), (2, 1), ("month", "month"), "plan_down"),
        ((8, 5), (2, 1), ("month", "year"), "interval"),
        ((5, 5), (1, 1), ("year", "year"), None),
    ],
)
def test_interval_outweighs_plan_and_plan_outweighs_seats(seats, tiers, intervals, direction):
    assert direction_of(seats=seats, tiers=tiers, intervals=intervals) == direction
    assert direction is None or direction in DIRECTIONS


def test_a_change_that_takes_effect_now_is_not_collected_later():
    with pytest.raises(ValueError, match="policy 'odd': a change that takes effect now is collected now"):
        ChangePolicy("odd", "now", "keep", "unused", "next_invoice")


# --- the period that follows


def ends(on, interval, number):
    """The ends of so many periods, the first of which begins on that day."""
    term = bill_start(MONTHLY, 1, interval, on).term
    days = [term.period.end]
    for _ in range(number - 1):
        term = bill_renewal(term, MONTHLY, 1, interval).term
        days.append(term.period.end)
    return days


@pytest.mark.parametrize(
    ("on", "days"),
    [
        ("2027-01-28", ["02-28", "03-28", "04-28", "05-28", "06-28", "07-28", "08-28", "09-28", "10-28", "11-28", "12-28", "01-28"]),
        ("2027-01-29", ["02-28", "03-29", "04-29", "05-29", "06-29", "07-29", "08-29", "09-29", "10-29", "11-29", "12-29", "01-29"]),
        ("2027-01-30", ["02-28", "03-30", "04-30", "05-30", "06-30", "07-30", "08-30", "09-30", "10-30", "11-30", "12-30", "01-30"]),
        ("2027-01-31", ["02-28", "03-31", "04-30", "05-31", "06-30", "07-31", "08-31", "09-30", "10-31", "11-30", "12-31", "01-31"]),
        ("2028-01-28", ["02-28", "03-28", "04-28"]),
        ("2028-01-29", ["02-29", "03-29", "04-29"]),
        ("2028-01-30", ["02-29", "03-30", "04-30"]),
        ("2028-01-31", ["02-29", "03-31", "04-30"]),
        ("2028-02-29", ["03-29", "04-29", "05-29"]),
        ("2027-02-28", ["03-28", "04-28", "05-28"]),
    ],
)
def test_months_follow_each_other_on_their_anchor_or_on_the_last_day_before_it(on, days):
    assert [f"{day:%m-%d}" for day in ends(date.fromisoformat(on), "month", len(days))] == days


def test_years_that_began_on_a_leap_day_come_back_to_it():
    days = [day.isoformat() for day in ends(date(2028, 2, 29), "year", 5)]

    assert days == ["2029-02-28", "2030-02-28", "2031-02-28", "2032-02-29", "2033-02-28"]


def test_the_period_that_follows_is_charged_whole_at_the_terms_that_hold_then(march):
    billing = bill_renewal(march, Price.per_seat("year", eur("600.00")), 3, "year")

    assert (billing.effective_on, billing.term.period) == (date(2026, 4, 1), Period(date(2026, 4, 1), date(2027, 4, 1)))
    assert (billing.charge, billing.credit, billing.term.full_amount) == (eur("1800.00"), NOTHING, eur("1800.00"))
    assert billing.derivations == (whole("3 x 600.00", "1800.00"),)


@given(st.dates(date(2020, 1, 1), date(2040, 12, 31)), st.sampled_from(["month", "year"]), st.integers(2, 60))
def test_each_period_begins_where_the_one_before_it_ends(on, interval, number):
    term = bill_start(MONTHLY, 1, interval, on).term

    for _ in range(number):
        following = bill_renewal(term, MONTHLY, 1, interval).term
        assert (following.period.start, following.anchor_day) == (term.period.end, on.day)
        assert following.period.end.day == on.day or (following.period.end + timedelta(days=1)).day == 1
        term = following
