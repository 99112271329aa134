"""What is billed for a subscription and when: the start, a change while it runs, and the period that follows.

One function for the quote and for the invoice, so that the preview is the bill. Every amount comes with its derivation.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Literal

from core.rules.money import Money, zero
from core.rules.periods import Interval, Period, period_from
from core.rules.prices import Price

Rounding = Literal["none", "half_away_from_zero"]
Direction = Literal["seats_up", "seats_down", "plan_up", "plan_down", "interval"]
DIRECTIONS: tuple[Direction, ...] = ("seats_up", "seats_down", "plan_up", "plan_down", "interval")


@dataclass(frozen=True, slots=True)
class ChangePolicy:
    """What a change of a running subscription does: four switches under a name.

    effective: from today, or from the next billing date.
    anchor:    `move` begins a new whole period today, which becomes the billing date; `keep` stays in the running period.
    credit:    whether the unused days of the running period are credited.
    collect:   whether the difference is due now or goes on the next invoice.
    """

    name: str
    effective: Literal["now", "period_end"]
    anchor: Literal["move", "keep"]
    credit: Literal["unused", "none"]
    collect: Literal["now", "next_invoice"]

    def __post_init__(self) -> None:
        if self.effective == "now" and self.collect == "next_invoice":
            raise ValueError(f"policy {self.name!r}: a change that takes effect now is collected now")


RESTART = ChangePolicy("restart", "now", "move", "unused", "now")
PRORATE = ChangePolicy("prorate", "now", "keep", "unused", "now")
NEXT_PERIOD = ChangePolicy("next_period", "period_end", "keep", "none", "next_invoice")
NAMED_POLICIES = {policy.name: policy for policy in (RESTART, PRORATE, NEXT_PERIOD)}
DEFAULT_POLICIES: dict[Direction, ChangePolicy] = {
    "seats_up": RESTART,
    "seats_down": NEXT_PERIOD,
    "plan_up": RESTART,
    "plan_down": NEXT_PERIOD,
    "interval": RESTART,
}


@dataclass(frozen=True, slots=True)
class Derivation:
    """How one amount came about.

    rule:      `charge`, `credit_unused`, `charge_rest` or `tax`.
    formula:   the amount before rounding, written out: "5 x 60.00 x 21/31".
    days:      days billed or credited, of `denominator` days in the whole period; both None for a whole period.
    unrounded: the exact value in minor units, a fraction such as "630000/31" where it is no whole number.
    rounding:  `none` where it is exact, else `half_away_from_zero`.
    """

    rule: str
    amount: Money
    formula: str
    days: int | None
    denominator: int | None
    unrounded: str
    rounding: Rounding


@dataclass(frozen=True, slots=True)
class Term:
    """The period that runs: its days, the anchor, and what the whole of it costs at the terms that hold now."""

    period: Period
    anchor_day: int
    full_amount: Money


@dataclass(frozen=True, slots=True)
class Billing:
    """The outcome: the term that runs from `effective_on`, what is charged and credited now, and why.

    term is None where the change waits for `effective_on`, the end of the running period.
    """

    effective_on: date
    term: Term | None
    charge: Money
    credit: Money
    derivations: tuple[Derivation, ...]


def bill_start(price: Price, seats: int, interval: Interval, on: date) -> Billing:
    """A subscription that begins on `on`: one whole period, anchored on that day of the month."""
    term = Term(period_from(on, interval, on.day), on.day, price.amount(seats))
    return Billing(on, term, term.full_amount, zero(price.currency), (_whole(price, seats),))


def bill_change(
    term: Term, price: Price, seats: int, interval: Interval, policy: ChangePolicy, on: date, *, interval_changes: bool
) -> Billing:
    """A change of the running `term` to `seats` seats at `price`, on a day of it.

    A change of interval always begins a new period: a month can't be kept inside a year.
    Raises ValueError where `on` lies outside the term.
    """
    if on not in term.period:
        raise ValueError(f"{on} is not a day of {term.period}")
    nothing = zero(price.currency)
    if policy.effective == "period_end":
        return Billing(term.period.end, None, nothing, nothing, ())
    left, whole = term.period.days_from(on), term.period.days
    credit, derivations = nothing, []
    if policy.credit == "unused":
        derivations.append(_share("credit_unused", term.full_amount, str(term.full_amount.decimal()), left, whole))
        credit = derivations[0].amount
    if policy.anchor == "move" or interval_changes:
        new_term = Term(period_from(on, interval, on.day), on.day, price.amount(seats))
        derivations.append(_whole(price, seats))
    else:
        new_term = Term(term.period, term.anchor_day, price.amount(seats))
        derivations.append(_share("charge_rest", new_term.full_amount, _written(price, seats), left, whole))
    return Billing(on, new_term, derivations[-1].amount, credit, tuple(derivations))


def bill_renewal(term: Term, price: Price, seats: int, interval: Interval) -> Billing:
    """The period that follows `term`, whole. It begins where that ends and keeps the anchor: a 31st comes back after February.

    Whoever is late bills one period after the other, each with the days it would have had in time.
    """
    period = period_from(term.period.end, interval, term.anchor_day)
    new_term = Term(period, term.anchor_day, price.amount(seats))
    return Billing(period.start, new_term, new_term.full_amount, zero(price.currency), (_whole(price, seats),))


def direction_of(*, seats: tuple[int, int], tiers: tuple[int, int], intervals: tuple[Interval, Interval]) -> Direction | None:
    """Which policy a change falls under; each pair is (before, after). Interval outweighs plan, plan outweighs seats.

    None: nothing changes.
    """
    if intervals[0] != intervals[1]:
        return "interval"
    if tiers[0] != tiers[1]:
        return "plan_up" if tiers[1] > tiers[0] else "plan_down"
    if seats[0] != seats[1]:
        return "seats_up" if seats[1] > seats[0] else "seats_down"
    return None


def _written(price: Price, seats: int) -> str:
    def step(count: int, unit: Money, included: int | None) -> str:
        return f"{unit.decimal()} (includes {included})" if included is not None else f"{count} x {unit.decimal()}"

    return " + ".join(step(s.count, s.unit_amount, s.included) for s in price.steps(seats))


def _whole(price: Price, seats: int) -> Derivation:
    amount = price.amount(seats)
    return Derivation("charge", amount, _written(price, seats), None, None, str(amount.amount), "none")


def _share(rule: str, full: Money, written: str, days: int, denominator: int) -> Derivation:
    part = Fraction(days, denominator)
    exact = full.amount * part
    formula = f"({written}) x {days}/{denominator}" if " + " in written else f"{written} x {days}/{denominator}"
    rounding: Rounding = "none" if exact.denominator == 1 else "half_away_from_zero"
    return Derivation(rule, full.times(part), formula, days, denominator, str(exact), rounding)
