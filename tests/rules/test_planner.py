"""What a start, a change, a renewal and an end cost, to the cent and why; no day is billed twice or left out."""

from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.rules.derivations import Derivation
from core.rules.discounts import Discount
from core.rules.money import Money
from core.rules.periods import Period
from core.rules.planner import Change, DayBilledTwice, DaySkipped, Deal, End, Life, Line, check_days, plan, postpone
from core.rules.policies import NAMED_POLICIES
from puesto import ChangePolicy, Price, eur

RESTART, PRORATE, NEXT_PERIOD = (NAMED_POLICIES[name] for name in ("restart", "prorate", "next_period"))
YEARLY = Price.per_seat("year", eur("120.00"))
MONTHLY = Price.per_seat("month", eur("60.00"))
NOTHING = eur("0.00")


def start(price, seats, on):
    """The life of a subscription that began on that day."""
    return plan(Life(Deal(price, seats)), on).life


def change(life, price, seats, policy, on):
    return plan(life, on, Change(Deal(price, seats), policy))


def plans(life, until):
    """What falls due by that day if nothing else happens, in order."""
    while (due := life.due_on) is not None and due <= until:
        billing = plan(life, due)
        yield billing
        life = billing.life


def derivations(billing):
    return tuple(line.derivation for line in billing.lines)


def whole(formula, amount):
    return Derivation("charge", eur(amount), formula, None, None, str(eur(amount).amount), "none")


@pytest.fixture
def march():
    """Five seats of 60.00 from 2026-03-01, monthly."""
    return start(MONTHLY, 5, date(2026, 3, 1))


# --- the start


@pytest.mark.parametrize(
    ("price", "on", "end"),
    [
        (MONTHLY, date(2026, 3, 11), date(2026, 4, 11)),
        (MONTHLY, date(2027, 1, 31), date(2027, 2, 28)),
        (YEARLY, date(2028, 2, 29), date(2029, 2, 28)),
    ],
)
def test_a_start_charges_one_whole_period_anchored_on_its_day(price, on, end):
    billing = plan(Life(Deal(price, 5)), on)

    term, amount = billing.life.term, price.unit_amount * 5
    assert (billing.effective_on, term.period, term.anchor_day) == (on, Period(on, end), on.day)
    assert (billing.charge, billing.credit, term.full_amount) == (amount, NOTHING, amount)
    assert billing.lines == (Line("charge", Period(on, end), 5, whole(f"5 x {price.unit_amount.decimal()}", amount.decimal())),)


# --- a change


def test_the_model_case_a_second_seat_after_73_days_of_a_year():
    life = start(YEARLY, 1, date(2026, 1, 1))
    on = date(2026, 1, 1) + timedelta(days=73)

    billing = change(life, YEARLY, 2, RESTART, on)

    assert (billing.credit, billing.charge, billing.charge - billing.credit) == (eur("96.00"), eur("240.00"), eur("144.00"))
    assert billing.effective_on == on == date(2026, 3, 15)
    assert billing.life.term.period == Period(date(2026, 3, 15), date(2027, 3, 15))
    assert (billing.life.term.anchor_day, billing.life.term.full_amount) == (15, eur("240.00"))
    assert billing.lines == (
        Line(
            "credit",
            Period(date(2026, 3, 15), date(2027, 1, 1)),
            1,
            Derivation("credit_unused", eur("96.00"), "120.00 x 292/365", 292, 365, "9600", "none"),
        ),
        Line("charge", Period(date(2026, 3, 15), date(2027, 3, 15)), 2, whole("2 x 120.00", "240.00")),
    )


def test_restart_credits_21_of_31_days_and_moves_the_billing_date(march):
    billing = change(march, MONTHLY, 8, RESTART, date(2026, 3, 11))

    assert (billing.credit, billing.charge) == (eur("203.23"), eur("480.00"))
    assert billing.life.term.period == Period(date(2026, 3, 11), date(2026, 4, 11))
    assert billing.life.term.anchor_day == 11
    assert derivations(billing) == (
        Derivation("credit_unused", eur("203.23"), "300.00 x 21/31", 21, 31, "630000/31", "half_away_from_zero"),
        whole("8 x 60.00", "480.00"),
    )


def test_prorate_charges_the_rest_and_keeps_the_period(march):
    billing = change(march, MONTHLY, 8, PRORATE, date(2026, 3, 11))

    assert (billing.credit, billing.charge) == (eur("203.23"), eur("325.16"))  # 480 x 21/31 = 325.1612...
    assert billing.life == Life(Deal(MONTHLY, 8), replace(march.term, full_amount=eur("480.00")))
    assert [line.period for line in billing.lines] == [Period(date(2026, 3, 11), date(2026, 4, 1))] * 2
    assert derivations(billing) == (
        Derivation("credit_unused", eur("203.23"), "300.00 x 21/31", 21, 31, "630000/31", "half_away_from_zero"),
        Derivation("charge_rest", eur("325.16"), "8 x 60.00 x 21/31", 21, 31, "1008000/31", "half_away_from_zero"),
    )


def test_next_period_charges_nothing_now_and_waits_for_the_billing_date(march):
    billing = change(march, MONTHLY, 2, NEXT_PERIOD, date(2026, 3, 11))

    assert (billing.effective_on, billing.waits, billing.lines) == (date(2026, 4, 1), True, ())
    assert billing.life == replace(march, waiting=Deal(MONTHLY, 2))


def test_what_waits_is_what_the_next_period_is_billed_at(march):
    waiting = change(march, Price.per_seat("year", eur("600.00")), 3, NEXT_PERIOD, date(2026, 3, 11)).life

    billing = plan(waiting, date(2026, 4, 1))

    period = Period(date(2026, 4, 1), date(2027, 4, 1))
    assert billing.lines == (Line("charge", period, 3, whole("3 x 600.00", "1800.00")),)
    assert (billing.life.term.period, billing.life.deal.seats, billing.life.waiting) == (period, 3, None)


def test_a_change_now_leaves_what_waits_for_the_end_of_the_period_that_then_runs(march):
    waiting = Deal(MONTHLY, 2)

    life = plan(march, date(2026, 3, 11), Change(Deal(MONTHLY, 8), RESTART, waiting)).life

    assert (life.deal.seats, life.following, life.due_on) == (8, waiting, date(2026, 4, 11))


def test_a_new_interval_begins_a_new_period_even_under_prorate(march):
    billing = change(march, Price.per_seat("year", eur("60.00")), 5, PRORATE, date(2026, 3, 11))

    assert (billing.credit, billing.charge) == (eur("203.23"), eur("300.00"))
    assert billing.life.term.period == Period(date(2026, 3, 11), date(2027, 3, 11))
    assert billing.life.term.anchor_day == 11


@pytest.mark.parametrize("anchor", ["move", "keep"])
def test_a_policy_without_credit_gives_none_and_says_so(march, anchor):
    forfeit = ChangePolicy("forfeit", "now", anchor, "none", "now")

    billing = change(march, MONTHLY, 8, forfeit, date(2026, 3, 11))

    lost = Line(
        "forfeit", Period(date(2026, 3, 11), date(2026, 4, 1)), 5, Derivation("forfeit_unused", NOTHING, "0.00", 21, 31, "0", "none")
    )
    assert (billing.lines[0], billing.credit) == (lost, NOTHING)
    assert billing.charge == (eur("480.00") if anchor == "move" else eur("325.16"))


def test_on_the_first_day_everything_is_credited_and_on_the_last_one_day(march):
    first, last = (change(march, MONTHLY, 8, RESTART, day) for day in (date(2026, 3, 1), date(2026, 3, 31)))

    assert (first.credit, first.lines[0].derivation.rounding) == (eur("300.00"), "none")
    assert (last.credit, last.lines[0].derivation.formula) == (eur("9.68"), "300.00 x 1/31")


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
    assert derivations(change(march, price, seats, PRORATE, date(2026, 3, 11)))[-1].formula == formula


# --- proration, worked out by hand


@pytest.mark.parametrize(
    ("price", "begun", "on", "left", "days", "credit"),
    [
        # a tenth of each month's days is used: 100.00 x left / days
        ("month", "2027-02-01", "2027-02-11", 18, 28, "64.29"),  # 64.2857
        ("month", "2028-02-01", "2028-02-11", 19, 29, "65.52"),  # 65.5172
        ("month", "2026-04-01", "2026-04-11", 20, 30, "66.67"),  # 66.6667
        ("month", "2026-03-01", "2026-03-11", 21, 31, "67.74"),  # 67.7419
        ("year", "2026-01-01", "2026-01-11", 355, 365, "97.26"),  # 97.2603
        ("year", "2028-01-01", "2028-01-11", 356, 366, "97.27"),  # 97.2678
        ("month", "2027-01-31", "2027-02-27", 1, 28, "3.57"),  # 3.5714: the last day before the 28th, on which a 31st is billed
        ("year", "2028-02-29", "2029-02-27", 1, 365, "0.27"),  # 0.2740: it comes back on the 28th
        ("year", "2027-03-01", "2028-02-29", 1, 366, "0.27"),  # 29 February is a day of it
    ],
)
def test_the_unused_days_of_periods_of_every_length(price, begun, on, left, days, credit):
    life = start(Price.per_seat(price, eur("100.00")), 1, date.fromisoformat(begun))

    [given_back, _] = change(life, Price.per_seat(price, eur("0.00")), 1, RESTART, date.fromisoformat(on)).lines

    assert (given_back.derivation.days, given_back.derivation.denominator) == (left, days)
    assert given_back.amount == eur(credit)


@pytest.mark.parametrize(
    ("full", "left", "credit", "half_even", "of_floats"),
    [
        ("149.97", 14, "74.99", "74.98", "74.98"),  # 74.985
        ("699.86", 1, "25.00", "25.00", "24.99"),  # 24.995
        ("299.94", 21, "224.96", "224.96", "224.95"),  # 224.955
        ("0.01", 14, "0.01", "0.00", "0.01"),  # 0.005
        ("0.10", 7, "0.03", "0.02", "0.03"),  # 0.025
    ],
)
def test_ties_are_rounded_away_from_zero_in_exact_arithmetic(full, left, credit, half_even, of_floats):
    life = start(Price.per_seat("month", eur(full)), 1, date(2027, 2, 1))

    billing = change(life, MONTHLY, 1, RESTART, date(2027, 3, 1) - timedelta(days=left))

    assert billing.credit == eur(credit)
    assert str((Decimal(full) * left / 28).quantize(Decimal("0.01"), ROUND_HALF_EVEN)) == half_even
    assert f"{round(float(full) * (left / 28), 2):.2f}" == of_floats


STANDARD, PROFESSIONAL = Price.per_seat("month", eur("30.00")), Price.per_seat("month", eur("60.00"))
A_YEAR = Price.per_seat("year", eur("300.00"))
FORFEIT = ChangePolicy("forfeit", "now", "move", "none", "now")


@pytest.mark.parametrize(
    ("policy", "price", "seats", "credit", "charge", "period"),
    [
        # 4 seats of 30.00 from 1 to 30 April; on the 11th 20 of 30 days are left: 120.00 x 20/30 = 80.00
        (RESTART, STANDARD, 6, "80.00", "180.00", ("2026-04-11", "2026-05-11")),  # seats up
        (PRORATE, STANDARD, 6, "80.00", "120.00", ("2026-04-01", "2026-05-01")),  # 180 x 20/30
        (RESTART, STANDARD, 3, "80.00", "90.00", ("2026-04-11", "2026-05-11")),  # seats down
        (PRORATE, STANDARD, 3, "80.00", "60.00", ("2026-04-01", "2026-05-01")),  # 90 x 20/30
        (RESTART, PROFESSIONAL, 4, "80.00", "240.00", ("2026-04-11", "2026-05-11")),  # upgrade
        (PRORATE, PROFESSIONAL, 4, "80.00", "160.00", ("2026-04-01", "2026-05-01")),  # 240 x 20/30
        (RESTART, Price.per_seat("month", eur("12.00")), 4, "80.00", "48.00", ("2026-04-11", "2026-05-11")),  # downgrade
        (PRORATE, Price.per_seat("month", eur("12.00")), 4, "80.00", "32.00", ("2026-04-01", "2026-05-01")),  # 48 x 20/30
        (RESTART, A_YEAR, 4, "80.00", "1200.00", ("2026-04-11", "2027-04-11")),  # interval
        (PRORATE, A_YEAR, 4, "80.00", "1200.00", ("2026-04-11", "2027-04-11")),
        (FORFEIT, STANDARD, 6, "0.00", "180.00", ("2026-04-11", "2026-05-11")),
        (FORFEIT, A_YEAR, 4, "0.00", "1200.00", ("2026-04-11", "2027-04-11")),
        (NEXT_PERIOD, STANDARD, 3, "0.00", "0.00", ("2026-04-01", "2026-05-01")),
        (NEXT_PERIOD, PROFESSIONAL, 6, "0.00", "0.00", ("2026-04-01", "2026-05-01")),
        (NEXT_PERIOD, A_YEAR, 4, "0.00", "0.00", ("2026-04-01", "2026-05-01")),
    ],
)
def test_changes_under_each_policy(policy, price, seats, credit, charge, period):
    life = start(STANDARD, 4, date(2026, 4, 1))

    billing = change(life, price, seats, policy, date(2026, 4, 11))

    assert (billing.credit, billing.charge) == (eur(credit), eur(charge))
    assert (str(billing.life.term.period.start), str(billing.life.term.period.end)) == period


# --- discounts


@pytest.mark.parametrize(
    ("discount", "whole_period", "formula", "rest", "formula_of_rest"),
    [
        # 3 seats of 14.99 are 44.97; the rest are 15 of 30 days
        (Discount("x", percent=Decimal(20)), "35.98", "3 x 14.99 - 20 %", "17.99", "35.98 x 15/30"),  # 35.976; 17.99
        (Discount("x", percent=Decimal("33.3")), "29.99", "3 x 14.99 - 33.3 %", "15.00", "29.99 x 15/30"),  # 29.99499; 14.995
        (Discount("x", percent=Decimal(100)), "0.00", "3 x 14.99 - 100 %", "0.00", "(3 x 14.99 - 100 %) x 15/30"),
        (Discount("x", amount=eur("10.00")), "34.97", "3 x 14.99 - 10.00", "17.49", "(3 x 14.99 - 10.00) x 15/30"),  # 17.485
        (Discount("x", amount=eur("50.00")), "0.00", "3 x 14.99 - 50.00", "0.00", "(3 x 14.99 - 50.00) x 15/30"),
    ],
)
def test_a_discount_is_taken_off_the_price_of_the_whole_period(discount, whole_period, formula, rest, formula_of_rest):
    deal = Deal(Price.per_seat("month", eur("14.99")), 3, discount)
    first = plan(Life(deal), date(2026, 4, 1))

    changed = plan(start(MONTHLY, 1, date(2026, 4, 1)), date(2026, 4, 16), Change(deal, PRORATE))

    assert (first.charge, derivations(first)[0].formula) == (eur(whole_period), formula)
    assert (changed.charge, derivations(changed)[1].formula) == (eur(rest), formula_of_rest)


def test_a_discount_for_two_periods_is_gone_from_the_third():
    life = plan(Life(Deal(MONTHLY, 1, Discount("x", percent=Decimal(50), periods=2))), date(2026, 4, 1)).life

    assert [str(billing.charge) for billing in plans(life, date(2026, 7, 1))] == ["30.00 EUR", "60.00 EUR", "60.00 EUR"]


def test_a_share_of_a_rounded_price_is_written_as_such():
    """0.01 less 50 % is 0.005, rounded 0.01; half of the period is 0.005 of that, rounded 0.01: the formula has the rounded price."""
    deal = Deal(Price.per_seat("month", eur("0.01")), 1, Discount("x", percent=Decimal(50)))

    changed = plan(start(MONTHLY, 1, date(2026, 4, 1)), date(2026, 4, 16), Change(deal, PRORATE))

    assert (changed.charge, derivations(changed)[1].formula) == (eur("0.01"), "0.01 x 15/30")


# --- the period that follows


def ends(on, interval, number):
    """The ends of so many periods, the first of which begins on that day."""
    life = start(Price.per_seat(interval, eur("60.00")), 1, on)
    days = [life.due_on]
    while len(days) < number:
        life = plan(life, life.due_on).life
        days.append(life.due_on)
    return days


COMMON = {  # 2027: from January, the month after
    28: "02-28 03-28 04-28 05-28 06-28 07-28 08-28 09-28 10-28 11-28 12-28 01-28",
    29: "02-28 03-29 04-29 05-29 06-29 07-29 08-29 09-29 10-29 11-29 12-29 01-29",
    30: "02-28 03-30 04-30 05-30 06-30 07-30 08-30 09-30 10-30 11-30 12-30 01-30",
    31: "02-28 03-31 04-30 05-31 06-30 07-31 08-31 09-30 10-31 11-30 12-31 01-31",
}
LEAP = {  # 2028
    28: "02-28 03-28 04-28 05-28 06-28 07-28 08-28 09-28 10-28 11-28 12-28 01-28",
    29: "02-29 03-29 04-29 05-29 06-29 07-29 08-29 09-29 10-29 11-29 12-29 01-29",
    30: "02-29 03-30 04-30 05-30 06-30 07-30 08-30 09-30 10-30 11-30 12-30 01-30",
    31: "02-29 03-31 04-30 05-31 06-30 07-31 08-31 09-30 10-31 11-30 12-31 01-31",
}
MONTHS = [(f"{year}-01-{anchor}", dates.split()) for year, table in (("2027", COMMON), ("2028", LEAP)) for anchor, dates in table.items()]
YEARS = {
    "2028-02-28": "2029-02-28 2030-02-28 2031-02-28 2032-02-28 2033-02-28",
    "2028-02-29": "2029-02-28 2030-02-28 2031-02-28 2032-02-29 2033-02-28",
    "2027-02-28": "2028-02-28 2029-02-28 2030-02-28 2031-02-28 2032-02-28",
    "2027-01-31": "2028-01-31 2029-01-31 2030-01-31 2031-01-31 2032-01-31",
    "2027-12-31": "2028-12-31 2029-12-31 2030-12-31 2031-12-31 2032-12-31",
}


@pytest.mark.parametrize(
    ("on", "days"),
    [
        *MONTHS,
        ("2028-02-29", ["03-29", "04-29", "05-29"]),  # anchored on the 29th, though it is the month's last
        ("2027-02-28", ["03-28", "04-28", "05-28"]),
        ("2027-04-30", ["05-30", "06-30", "07-30"]),
    ],
)
def test_months_follow_each_other_on_their_anchor_or_on_the_last_day_before_it(on, days):
    assert [f"{day:%m-%d}" for day in ends(date.fromisoformat(on), "month", len(days))] == days


@pytest.mark.parametrize(("on", "days"), YEARS.items())
def test_years_come_back_to_the_day_they_began_on_a_leap_day_included(on, days):
    assert [day.isoformat() for day in ends(date.fromisoformat(on), "year", 5)] == days.split()


def test_what_was_put_off_stands_on_the_next_invoice_before_its_own_line(march):
    late = Line("charge", Period(date(2026, 3, 11), date(2026, 4, 1)), 3, whole("3 x 10.00", "30.00"))

    billing = plan(replace(march, put_off=(late,)), date(2026, 4, 1))

    assert (billing.lines[0], len(billing.lines), billing.charge) == (late, 2, eur("330.00"))
    assert billing.life.put_off == ()


LATER = ChangePolicy("later", "now", "keep", "unused", "next_invoice")


def test_a_change_whose_cost_is_put_off_bills_nothing_until_the_next_invoice(march):
    billing = change(march, MONTHLY, 8, LATER, date(2026, 3, 11))

    assert (billing.effective_on, billing.waits, billing.lines) == (date(2026, 3, 11), False, ())
    assert (billing.life.deal.seats, billing.life.term.period) == (8, march.term.period)
    credit, charge = billing.life.put_off
    assert (credit.kind, credit.amount, charge.kind, charge.amount) == ("credit", eur("203.23"), "charge", eur("325.16"))  # x 21/31
    second = change(billing.life, MONTHLY, 9, LATER, date(2026, 3, 21))
    assert [line.amount for line in second.life.put_off] == [eur("203.23"), eur("325.16"), eur("170.32"), eur("191.61")]  # x 11/31
    renewed = plan(second.life, date(2026, 4, 1))
    assert ([*renewed.lines[:4]], renewed.lines[4].amount) == ([*second.life.put_off], eur("540.00"))


def test_another_interval_is_collected_at_once_with_what_was_put_off(march):
    life = change(march, MONTHLY, 8, LATER, date(2026, 3, 11)).life

    billing = change(life, YEARLY, 8, LATER, date(2026, 3, 11))

    assert (billing.lines[:2], len(billing.lines), billing.life.put_off) == (life.put_off, 4, ())


def test_a_change_that_waits_leaves_what_was_put_off_for_the_next_invoice(march):
    late = Line("charge", Period(date(2026, 3, 11), date(2026, 4, 1)), 3, whole("3 x 10.00", "30.00"))

    billing = change(replace(march, put_off=(late,)), MONTHLY, 2, NEXT_PERIOD, date(2026, 3, 11))

    assert (billing.lines, billing.life.put_off) == ((), (late,))


def test_what_is_to_come_until_a_day_that_day_included(march):
    found = [billing.effective_on.isoformat() for billing in plans(march, date(2026, 6, 1))]

    assert found == ["2026-04-01", "2026-05-01", "2026-06-01"]


@pytest.mark.parametrize(("ends_on", "number"), [(date(2026, 4, 1), 0), (date(2026, 5, 1), 1), (date(2026, 5, 15), 2)])
def test_nothing_is_billed_from_the_day_of_the_end_on(march, ends_on, number):
    assert len(list(plans(replace(march, ends_on=ends_on), date(2027, 1, 1)))) == number


# --- trials, ends and pauses


def trial(seats=2):
    return Life(Deal(MONTHLY, seats), trial=Period(date(2026, 3, 20), date(2026, 4, 3)))


def test_the_day_after_a_trial_begins_the_first_period_at_what_waits_for_it():
    [billing] = plans(replace(trial(), waiting=Deal(MONTHLY, 5)), date(2026, 4, 3))

    assert billing.lines == (Line("charge", Period(date(2026, 4, 3), date(2026, 5, 3)), 5, whole("5 x 60.00", "300.00")),)
    assert (billing.life.trial, billing.life.term.anchor_day) == (None, 3)


def test_a_trial_that_is_bought_begins_its_first_period_that_day_and_the_rest_of_it_is_let_go():
    billing = change(trial(), YEARLY, 3, RESTART, date(2026, 3, 25))

    assert billing.lines == (Line("charge", Period(date(2026, 3, 25), date(2027, 3, 25)), 3, whole("3 x 120.00", "360.00")),)
    assert billing.life.trial is None


def test_what_is_to_hold_after_the_first_period_of_a_trial_that_is_bought_waits():
    waiting = Deal(MONTHLY, 2)

    assert plan(trial(), date(2026, 3, 25), Change(Deal(MONTHLY, 8), RESTART, waiting)).life.following == waiting


@pytest.mark.parametrize(("credit", "amount"), [("unused", "203.23"), ("none", "0.00")])
def test_an_end_today_gives_the_unused_days_back_or_not(march, credit, amount):
    billing = plan(replace(march, waiting=Deal(MONTHLY, 2)), date(2026, 3, 11), End(credit))

    assert (billing.credit, billing.charge, [line.derivation.days for line in billing.lines]) == (eur(amount), NOTHING, [21])
    assert (billing.life.ends_on, billing.life.due_on, billing.life.waiting) == (date(2026, 3, 11), None, None)


@pytest.mark.parametrize("day", [date(2026, 3, 25), date(2026, 5, 1)])
def test_the_end_of_a_trial_costs_nothing(day):
    assert plan(trial(), day, End("unused")).lines == ()


def test_an_end_after_the_paid_days_gives_nothing_back(march):
    assert plan(march, date(2026, 4, 20), End("unused")).lines == ()


def test_a_pause_of_sixty_days_moves_the_billing_date_by_sixty_days_and_what_is_left_stays_left():
    life = start(Price.per_seat("year", eur("365.00")), 1, date(2026, 1, 1))

    resumed = postpone(life, 60)  # from day 100 to day 160

    on = date(2026, 1, 1) + timedelta(days=160)
    assert resumed.term.period == Period(date(2026, 3, 2), date(2027, 3, 2))
    assert (resumed.due_on, resumed.term.anchor_day) == (date(2027, 3, 2), 2)
    assert plan(resumed, on, End("unused")).credit == plan(life, on - timedelta(days=60), End("unused")).credit == eur("265.00")


def test_a_pause_of_no_days_moves_nothing_not_even_the_anchor():
    life = start(MONTHLY, 1, date(2027, 1, 31))

    assert postpone(life, 0) == life
    assert postpone(life, 3).term == replace(life.term, period=Period(date(2027, 2, 3), date(2027, 3, 3)), anchor_day=3)


def test_a_paused_trial_ends_later():
    assert postpone(trial(), 7).due_on == date(2026, 4, 10)


# --- the days are counted


def test_a_period_that_would_begin_inside_the_last_one_is_refused(march):
    with pytest.raises(DayBilledTwice, match="2026-03-31 would be paid for twice"):
        plan(march, date(2026, 3, 31))


def test_a_period_that_would_leave_a_day_out_is_refused(march):
    with pytest.raises(DaySkipped, match="2026-04-01 would not be paid for"):
        plan(march, date(2026, 4, 2))


def test_a_first_period_that_does_not_begin_as_the_trial_ends_is_refused():
    with pytest.raises(DaySkipped, match="2026-04-03"):
        plan(trial(), date(2026, 4, 4))
    with pytest.raises(DayBilledTwice, match="2026-04-02"):
        plan(trial(), date(2026, 4, 2))


def days(first, last):
    return Period(date(2026, 1, first), date(2026, 1, last))


@pytest.mark.parametrize(
    ("spans", "error"),
    [
        ([(days(1, 9), 1), (days(9, 11), 1)], None),
        ([(days(1, 9), 1), (days(5, 9), -1), (days(5, 11), 1)], None),
        ([(days(1, 9), 1)], "2026-01-09 would not"),
        ([(days(1, 9), 1), (days(8, 11), 1)], "2026-01-08 would be paid for twice"),
        ([(days(1, 12), 1)], "2026-01-11 would be paid for twice, or though the subscription does not run"),
        ([(days(1, 11), 1), (days(5, 9), -1)], "2026-01-05 would not"),
        ([], "2026-01-01 would not"),
    ],
)
def test_each_day_of_a_stretch_is_covered_once_and_no_other(spans, error):
    with pytest.raises((DayBilledTwice, DaySkipped), match=error) if error else nullcontext():
        check_days(spans, date(2026, 1, 1), date(2026, 1, 11))


# --- any life


UNITS = st.integers(1, 10**6)
SEATS = st.integers(1, 500)
DAYS = st.dates(date(2024, 1, 1), date(2034, 1, 1))
INTERVALS = st.sampled_from(["month", "year"])


@st.composite
def running(draw):
    """A life, its price, and a day of its running period."""
    price = Price.per_seat(draw(INTERVALS), Money(draw(UNITS), "EUR"))
    life = start(price, draw(SEATS), draw(DAYS))
    return life, price, life.term.period.start + timedelta(days=draw(st.integers(0, life.term.period.days - 1)))


def unused(term, on):
    """The exact worth of the unused days of a term, in minor units."""
    return Fraction(term.full_amount.amount * (term.period.end - on).days, (term.period.end - term.period.start).days)


def nearest(value):
    """Rounded half up, which for amounts from zero is half away from zero."""
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)


@given(running(), SEATS)
def test_restart_is_a_whole_new_period_less_the_unused_days(subscription, seats):
    life, price, on = subscription

    billing = change(life, price, seats, RESTART, on)

    assert billing.charge == price.unit_amount * seats
    assert billing.credit.amount == nearest(unused(life.term, on))
    assert (billing.life.term.period.start, billing.life.term.anchor_day) == (on, on.day)


@given(running(), SEATS)
def test_prorate_is_never_more_than_a_cent_from_the_exact_difference(subscription, seats):
    life, price, on = subscription

    billing = change(life, price, seats, PRORATE, on)

    exact = unused(replace(life.term, full_amount=price.amount(seats)), on) - unused(life.term, on)
    assert abs((billing.charge - billing.credit).amount - exact) <= 1
    assert billing.life.term.period == life.term.period


@given(running(), st.lists(SEATS, min_size=1, max_size=8))
def test_many_prorated_changes_on_a_day_cost_what_one_would(subscription, steps):
    begun, price, on = subscription

    life, due = begun, 0
    for seats in steps:
        billing = change(life, price, seats, PRORATE, on)
        life, due = billing.life, due + (billing.charge - billing.credit).amount

    at_once = change(begun, price, steps[-1], PRORATE, on)
    assert due == (at_once.charge - at_once.credit).amount


@given(running(), SEATS, st.sampled_from([RESTART, PRORATE]))
def test_every_amount_follows_from_its_derivation(subscription, seats, policy):
    life, price, on = subscription

    billing = change(life, price, seats, policy, on)

    credit, charge = derivations(billing)
    assert (credit.rule, credit.amount, charge.amount) == ("credit_unused", billing.credit, billing.charge)
    for step in (credit, charge):
        exact = Fraction(step.unrounded)
        assert step.amount.amount == nearest(exact)
        assert step.rounding == ("none" if exact.denominator == 1 else "half_away_from_zero")


SWITCHES = product(("now", "period_end"), ("move", "keep"), ("unused", "none"), ("now", "next_invoice"))
POLICIES = st.sampled_from(
    [ChangePolicy("drawn", *each) for each in SWITCHES if (each[0], each[1], each[3]) != ("now", "move", "next_invoice")]
)
HAPPENINGS = st.lists(st.tuples(st.integers(0, 500), UNITS, INTERVALS, SEATS, POLICIES), max_size=12)


@settings(max_examples=40)
@given(DAYS, INTERVALS, HAPPENINGS, st.integers(0, 400))
def test_over_any_life_each_day_is_paid_for_once_and_its_lines_sum_to_what_the_days_are_worth(begun, interval, happenings, rest):
    first = plan(Life(Deal(Price.per_seat(interval, Money(1000, "EUR")), 1)), begun)
    life, lines = first.life, list(first.lines)

    def come(day):
        nonlocal life
        for billing in plans(life, day):
            lines.extend(billing.lines)
            life = billing.life

    day = begun
    for wait, unit, new_interval, seats, policy in happenings:
        day += timedelta(days=wait)
        come(day)
        billing = change(life, Price.per_seat(new_interval, Money(unit, "EUR")), seats, policy, day)
        lines.extend(billing.lines)
        life = billing.life
    come(day + timedelta(days=rest))
    lines.extend(life.put_off)

    paid = Counter()
    for line in lines:
        step = 1 if line.kind == "charge" else -1
        for offset in range(line.period.days):
            paid[line.period.start + timedelta(days=offset)] += step
    assert set(paid.values()) <= {0, 1}
    assert [day for day, times in sorted(paid.items()) if times] == [
        begun + timedelta(days=offset) for offset in range((life.term.period.end - begun).days)
    ]
    for line in lines:
        assert line.amount.amount == nearest(Fraction(line.derivation.unrounded))


@given(st.dates(date(2020, 1, 1), date(2040, 12, 31)), INTERVALS, st.integers(2, 60))
def test_each_period_begins_where_the_one_before_it_ends(on, interval, number):
    life = start(Price.per_seat(interval, eur("60.00")), 1, on)

    for _ in range(number):
        following = plan(life, life.due_on).life
        assert (following.term.period.start, following.term.anchor_day) == (life.term.period.end, on.day)
        assert following.due_on.day == on.day or (following.due_on + timedelta(days=1)).day == 1
        life = following
