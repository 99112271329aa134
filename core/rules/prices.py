"""Prices of a plan: what a number of seats costs for one whole period, tax excluded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from core.rules.money import Money, zero
from core.rules.periods import INTERVALS, Interval

Model = Literal["per_seat", "graduated", "volume", "flat"]


@dataclass(frozen=True, slots=True)
class Tier:
    """A step of a tiered price: `unit_amount` per seat for seats up to and including `up_to`; None: no upper end."""

    up_to: int | None
    unit_amount: Money


@dataclass(frozen=True, slots=True)
class Price:
    """What a plan costs in one interval and currency. Build it with one of the four functions below.

    per_seat:  unit_amount x seats
    graduated: each seat at the price of the tier it falls into (the first 10 at 9.00, the next at 8.00)
    volume:    all seats at the price of the tier that the total falls into
    flat:      flat_amount, which includes `included_seats`; each further seat costs unit_amount
    """

    interval: Interval
    currency: str
    model: Model
    unit_amount: Money | None = None
    flat_amount: Money | None = None
    included_seats: int | None = None
    tiers: tuple[Tier, ...] = ()

    def __post_init__(self) -> None:
        if self.interval not in INTERVALS:
            raise ValueError(f"interval is 'month' or 'year', not {self.interval!r}")
        amounts = [a for a in (self.unit_amount, self.flat_amount, *(t.unit_amount for t in self.tiers)) if a is not None]
        if not amounts or any(a.currency != self.currency or a.amount < 0 for a in amounts):
            raise ValueError("a price has amounts of one currency, none below zero")
        if self.model in ("graduated", "volume"):
            _check_tiers(self.tiers)

    @classmethod
    def per_seat(cls, interval: Interval, unit_amount: Money) -> Price:
        return cls(interval, unit_amount.currency, "per_seat", unit_amount=unit_amount)

    @classmethod
    def graduated(cls, interval: Interval, *tiers: tuple[int | None, Money]) -> Price:
        """Price.graduated("month", (10, eur("9.00")), (None, eur("8.00")))."""
        return cls(interval, tiers[0][1].currency, "graduated", tiers=tuple(Tier(*t) for t in tiers))

    @classmethod
    def volume(cls, interval: Interval, *tiers: tuple[int | None, Money]) -> Price:
        """Price.volume("month", (10, eur("9.00")), (None, eur("8.00")))."""
        return cls(interval, tiers[0][1].currency, "volume", tiers=tuple(Tier(*t) for t in tiers))

    @classmethod
    def flat(cls, interval: Interval, flat_amount: Money, included_seats: int, extra_seat: Money) -> Price:
        """A flat fee with seats included; `extra_seat` is the price of each further one."""
        return cls(interval, flat_amount.currency, "flat", unit_amount=extra_seat, flat_amount=flat_amount, included_seats=included_seats)

    def amount(self, seats: int) -> Money:
        """The price of `seats` seats for one whole period. Exact: no rounding happens here."""
        return sum((step.amount for step in self.steps(seats)), zero(self.currency))

    def steps(self, seats: int) -> list[PriceStep]:
        """How `amount` comes about, a step per line of the derivation."""
        if seats < 1:
            raise ValueError(f"seats is a whole number from 1, not {seats}")
        if self.model == "flat":
            return _flat_steps(self, seats)
        if self.model == "per_seat":
            assert self.unit_amount is not None
            return [PriceStep(seats, self.unit_amount)]
        if self.model == "volume":
            return [PriceStep(seats, next(t.unit_amount for t in self.tiers if t.up_to is None or seats <= t.up_to))]
        return _graduated_steps(self.tiers, seats)


@dataclass(frozen=True, slots=True)
class PriceStep:
    """`count` times `unit_amount`; a flat fee counts once, with the seats that it includes in `included`."""

    count: int
    unit_amount: Money
    included: int | None = None

    @property
    def amount(self) -> Money:
        return self.unit_amount * self.count


def _flat_steps(price: Price, seats: int) -> list[PriceStep]:
    assert price.flat_amount is not None and price.unit_amount is not None and price.included_seats is not None
    steps = [PriceStep(1, price.flat_amount, included=price.included_seats)]
    extra = seats - price.included_seats
    return [*steps, PriceStep(extra, price.unit_amount)] if extra > 0 else steps


def _graduated_steps(tiers: Sequence[Tier], seats: int) -> list[PriceStep]:
    steps, below = [], 0
    for tier in tiers:
        upper = seats if tier.up_to is None else min(seats, tier.up_to)
        if upper > below:
            steps.append(PriceStep(upper - below, tier.unit_amount))
            below = upper
    return steps


def _check_tiers(tiers: Sequence[Tier]) -> None:
    ends = [t.up_to for t in tiers]
    bounded = [end for end in ends[:-1] if end is not None]
    if not tiers or ends[-1] is not None or len(bounded) != len(ends) - 1:
        raise ValueError("tiers: each has an upper end but the last, whose up_to is None")
    if any(a >= b for a, b in zip([0, *bounded], bounded, strict=False)):
        raise ValueError("tiers: upper ends rise")
