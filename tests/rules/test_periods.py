"""Billing periods cover the calendar without gap or overlap, and never drift from their anchor day."""

from calendar import monthrange
from datetime import date, timedelta
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.rules.periods import Period, next_boundary, period_from, periods

YEARS = 40
ANCHORS = range(1, 32)


def starts(first, interval, anchor, count):
    return [period.start for period in islice(periods(first, interval, anchor), count)]


def on_anchor(year, month, anchor):
    return date(year, month, min(anchor, monthrange(year, month)[1]))


@pytest.mark.parametrize("anchor", ANCHORS)
def test_monthly_bill_dates_are_the_anchor_or_the_months_last_day_for_40_years(anchor):
    expected = [on_anchor(2026 + month // 12, month % 12 + 1, anchor) for month in range(12 * YEARS)]

    assert starts(expected[0], "month", anchor, 12 * YEARS) == expected


@pytest.mark.parametrize("anchor", ANCHORS)
@pytest.mark.parametrize("month", [1, 2, 4])
def test_yearly_bill_dates_are_the_anchor_or_the_months_last_day_for_40_years(anchor, month):
    expected = [on_anchor(year, month, anchor) for year in range(2026, 2026 + YEARS)]

    assert starts(expected[0], "year", anchor, YEARS) == expected


@pytest.mark.parametrize("interval", ["month", "year"])
@pytest.mark.parametrize("anchor", ANCHORS)
def test_every_day_of_40_years_belongs_to_exactly_one_period(interval, anchor):
    count = {"month": 12 * YEARS, "year": YEARS}[interval]
    row = list(islice(periods(on_anchor(2026, 1, anchor), interval, anchor), count))

    assert all(before.end == after.start for before, after in pairwise(row))
    assert row[-1].end == on_anchor(2026 + YEARS, 1, anchor)
    assert sum(period.days for period in row) == (row[-1].end - row[0].start).days


@given(
    st.dates(date(2000, 1, 1), date(2100, 1, 1)),
    st.sampled_from(["month", "year"]),
    st.sampled_from(ANCHORS),
    st.integers(0, 60),
)
def test_a_row_begun_on_any_day_moves_on_and_meets_its_anchor(first, interval, anchor, position):
    period = next(islice(periods(first, interval, anchor), position, None))

    assert period.end == on_anchor(period.end.year, period.end.month, anchor)
    assert period.end not in period
    assert period.end - timedelta(days=1) in period


def test_anchored_on_the_31st_it_bills_on_short_months_last_days_and_returns():
    assert starts(date(2027, 1, 31), "month", 31, 5) == [
        date(2027, 1, 31),
        date(2027, 2, 28),
        date(2027, 3, 31),
        date(2027, 4, 30),
        date(2027, 5, 31),
    ]


def test_in_a_leap_year_it_bills_on_29_february():
    assert starts(date(2028, 1, 30), "month", 30, 3) == [date(2028, 1, 30), date(2028, 2, 29), date(2028, 3, 30)]


def test_a_year_from_29_february_returns_to_it_in_the_next_leap_year():
    assert starts(date(2028, 2, 29), "year", 29, 5) == [
        date(2028, 2, 29),
        date(2029, 2, 28),
        date(2030, 2, 28),
        date(2031, 2, 28),
        date(2032, 2, 29),
    ]


@pytest.mark.parametrize(
    ("start", "interval", "days"),
    [
        (date(2027, 2, 1), "month", 28),
        (date(2028, 2, 1), "month", 29),
        (date(2026, 1, 1), "year", 365),
        (date(2028, 1, 1), "year", 366),
        (date(2027, 3, 1), "year", 366),
    ],
)
def test_a_period_has_the_days_of_the_calendar(start, interval, days):
    assert period_from(start, interval, 1).days == days


@given(st.dates(date(2020, 1, 1), date(2040, 1, 1)), st.integers(1, 400), st.data())
def test_days_used_and_days_left_make_the_whole_period(start, length, data):
    period = Period(start, start + timedelta(days=length))
    used = data.draw(st.integers(0, length))

    assert period.days_from(start + timedelta(days=used)) == length - used


def test_days_left_count_today_and_stop_at_both_ends():
    march = Period(date(2026, 3, 1), date(2026, 4, 1))

    left = [march.days_from(day) for day in (date(2026, 2, 1), date(2026, 3, 1), date(2026, 3, 31), date(2026, 4, 1), date(2026, 5, 1))]

    assert left == [31, 31, 1, 0, 0]


@pytest.mark.parametrize("anchor", [0, 32, -1])
def test_an_anchor_is_a_day_of_the_month(anchor):
    with pytest.raises(ValueError, match=f"1 to 31, not {anchor}"):
        next_boundary(date(2026, 1, 1), "month", anchor)


@pytest.mark.parametrize("end", [date(2026, 3, 1), date(2026, 2, 28)])
def test_an_empty_period_is_refused(end):
    with pytest.raises(ValueError, match="a period has at least one day"):
        Period(date(2026, 3, 1), end)
