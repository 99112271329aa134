"""Billing periods: half-open ranges of calendar days that keep their anchor day.

A subscription anchored on the 31st bills on the 28th or 29th of February and again on 31 March: each date is derived from the
anchor, never from the date before it, so that nothing drifts. Days are the account's; no time of day, no DST.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Literal

from dateutil.relativedelta import relativedelta

Interval = Literal["month", "year"]
INTERVALS: tuple[Interval, ...] = ("month", "year")
MONTHS: dict[str, int] = {"month": 1, "year": 12}


@dataclass(frozen=True, slots=True)
class Period:
    """The days from `start` to the day before `end`."""

    start: date
    end: date

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise ValueError(f"a period has at least one day: {self.start} to {self.end}")

    @property
    def days(self) -> int:
        return (self.end - self.start).days

    def __contains__(self, day: date) -> bool:
        return self.start <= day < self.end

    def days_from(self, day: date) -> int:
        """Days of the period that are left on `day`, that day included; 0 past the end, all of them before the start."""
        return max(0, min(self.days, (self.end - day).days))


def next_boundary(start: date, interval: Interval, anchor_day: int) -> date:
    """The billing date one interval after `start`, on `anchor_day` or the month's last day before it."""
    if not 1 <= anchor_day <= 31:
        raise ValueError(f"an anchor is a day of the month, 1 to 31, not {anchor_day}")
    # relativedelta clamps an absolute day to the month's length.
    return start + relativedelta(months=MONTHS[interval], day=anchor_day)


def period_from(start: date, interval: Interval, anchor_day: int) -> Period:
    """The period that begins on `start`."""
    return Period(start, next_boundary(start, interval, anchor_day))


def periods(start: date, interval: Interval, anchor_day: int) -> Iterator[Period]:
    """The endless row of periods that begins on `start`: each begins where the one before it ends."""
    while True:
        period = period_from(start, interval, anchor_day)
        yield period
        start = period.end
