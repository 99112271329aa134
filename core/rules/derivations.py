"""Derivations: how an amount came about, so that "why is this 203.23?" has an answer that can be worked out by hand."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from core.rules.discounts import Discount, reduced
from core.rules.money import Money
from core.rules.prices import Price

Rounding = Literal["none", "half_away_from_zero"]


@dataclass(frozen=True, slots=True)
class Derivation:
    """How one amount came about.

    rule:      `charge`, `credit_unused`, `charge_rest`, `forfeit_unused` or `tax`.
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


def whole(price: Price, seats: int, discount: Discount | None = None) -> Derivation:
    """The price of a whole period; exact, but for what a percentage leaves of it."""
    full = price.amount(seats)
    exact = discount.rest(full) if discount else Fraction(full.amount)
    return Derivation("charge", reduced(full, discount), written(price, seats, discount), None, None, str(exact), _rounding(exact))


def share(rule: str, full: Money, formula: str, days: int, denominator: int) -> Derivation:
    """So many of the days of a period whose whole costs `full`, which `formula` writes out."""
    exact = full.amount * Fraction(days, denominator)
    formula = f"({formula}) x {days}/{denominator}" if " + " in formula or " - " in formula else f"{formula} x {days}/{denominator}"
    return Derivation(rule, full.times(Fraction(days, denominator)), formula, days, denominator, str(exact), _rounding(exact))


def tax(net: Money, rate: str, amount: Money) -> Derivation:
    """The tax `amount` on `net` at a rate in percent, written as a decimal."""
    exact = net.amount * Fraction(Decimal(rate)) / 100
    return Derivation("tax", amount, f"{net.decimal()} x {rate} %", None, None, str(exact), _rounding(exact))


def written(price: Price, seats: int, discount: Discount | None = None) -> str:
    """The price of so many seats as a formula: "2 x 9.00 + 3 x 8.00", and "5 x 60.00 - 20 %" where something is taken off."""

    def step(count: int, unit: Money, included: int | None) -> str:
        return f"{unit.decimal()} (includes {included})" if included is not None else f"{count} x {unit.decimal()}"

    full = " + ".join(step(s.count, s.unit_amount, s.included) for s in price.steps(seats))
    if discount is None:
        return full
    return f"({full}) - {discount.written}" if " + " in full else f"{full} - {discount.written}"


def _rounding(exact: Fraction) -> Rounding:
    return "none" if exact.denominator == 1 else "half_away_from_zero"
