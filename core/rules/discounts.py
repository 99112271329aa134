"""Discounts: what is taken off the price of a whole period, and for how many periods."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

from core.rules.money import Money, round_half_away


@dataclass(frozen=True, slots=True)
class Discount:
    """Either `percent` of the price, or an `amount` of a whole period, whatever its length; never more than the price.

    coupon:  what it was granted for.
    periods: how many periods it holds, the running one included, if one runs; None: as long as the subscription.
    """

    coupon: str
    percent: Decimal | None = None
    amount: Money | None = None
    periods: int | None = None

    def __post_init__(self) -> None:
        if (self.percent is None) == (self.amount is None):
            raise ValueError(f"discount {self.coupon}: give either percent or amount")
        if self.percent is not None and not 0 < self.percent <= 100:
            raise ValueError(f"discount {self.coupon}: percent is above 0 and at most 100")
        if (self.amount is not None and self.amount.amount <= 0) or (self.periods is not None and self.periods < 1):
            raise ValueError(f"discount {self.coupon}: amount and periods are above 0")

    def rest(self, full: Money) -> Fraction:
        """What is left of the price of a whole period, in minor units, not rounded."""
        if self.percent is not None:
            return full.amount * (100 - Fraction(self.percent)) / 100
        assert self.amount is not None
        return Fraction(max(full.amount - self.amount.amount, 0))

    def following(self) -> Discount | None:
        """What holds for the next period."""
        if self.periods is None:
            return self
        return replace(self, periods=self.periods - 1) if self.periods > 1 else None

    @property
    def written(self) -> str:
        """As it stands in a formula: "20 %" or "10.00"."""
        return f"{self.percent.normalize():f} %" if self.percent is not None else str(self.amount.decimal() if self.amount else "")


def reduced(full: Money, discount: Discount | None) -> Money:
    """The price of a whole period less the discount, rounded once."""
    return Money(round_half_away(discount.rest(full)), full.currency) if discount else full
