"""Money: integer minor units of an ISO 4217 currency, and the one rounding rule.

Nothing here ever sees a float. Exponents come from CLDR, through Babel.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import cache

from babel.numbers import format_currency, get_currency_precision, is_currency


@cache
def exponent(currency: str) -> int:
    """Digits after the point of a currency: 2 for EUR, 0 for JPY, 3 for KWD. Raises ValueError for an unknown code."""
    if not is_currency(currency):
        raise ValueError(f"unknown currency {currency!r}: use an ISO 4217 code such as EUR")
    return get_currency_precision(currency)


def round_half_away(value: Fraction) -> int:
    """Nearest integer, ties away from zero: 0.5 -> 1, -0.5 -> -1 (commercial rounding, as tax offices expect)."""
    magnitude = (abs(value.numerator) * 2 + value.denominator) // (value.denominator * 2)
    return magnitude if value >= 0 else -magnitude


@dataclass(frozen=True, slots=True, order=False)
class Money:
    """An exact amount in minor units: Money(12100, "EUR") is 121.00 euro."""

    amount: int
    currency: str

    def __post_init__(self) -> None:
        if type(self.amount) is not int:
            raise TypeError(f"amount is a whole number of minor units, not {self.amount!r}")

    def _same(self, other: Money) -> int:
        if self.currency != other.currency:
            raise ValueError(f"{self.currency} and {other.currency} don't mix")
        return other.amount

    def __add__(self, other: Money) -> Money:
        return Money(self.amount + self._same(other), self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.amount - self._same(other), self.currency)

    def __neg__(self) -> Money:
        return Money(-self.amount, self.currency)

    def __mul__(self, count: int) -> Money:
        return Money(self.amount * count, self.currency)

    __rmul__ = __mul__

    def __lt__(self, other: Money) -> bool:
        return self.amount < self._same(other)

    def __le__(self, other: Money) -> bool:
        return self.amount <= self._same(other)

    def __gt__(self, other: Money) -> bool:
        return self.amount > self._same(other)

    def __ge__(self, other: Money) -> bool:
        return self.amount >= self._same(other)

    def __bool__(self) -> bool:
        return self.amount != 0

    def times(self, factor: Fraction) -> Money:
        """This amount times an exact factor, rounded once, half away from zero."""
        return Money(round_half_away(self.amount * factor), self.currency)

    def split(self, weights: Sequence[int]) -> list[Money]:
        """Shares in proportion to `weights` that sum to exactly this amount (largest remainder; first wins a tie).

        Raises ValueError where no weight is positive.
        """
        total = sum(weights)
        if total <= 0 or min(weights) < 0:
            raise ValueError("weights are whole numbers from 0, at least one above 0")
        sign = -1 if self.amount < 0 else 1
        exact = [abs(self.amount) * weight for weight in weights]
        shares = [value // total for value in exact]
        by_remainder = sorted(range(len(weights)), key=lambda i: -(exact[i] % total))
        for index in by_remainder[: abs(self.amount) - sum(shares)]:
            shares[index] += 1
        return [Money(sign * share, self.currency) for share in shares]

    def format(self, locale: str = "en") -> str:
        """As a reader of `locale` writes it, by CLDR: Money(12100, "EUR").format("es") is '121,00 €'."""
        return format_currency(self.decimal(), self.currency, locale=locale.replace("-", "_"))

    def decimal(self) -> Decimal:
        """In major units, for display and documents only."""
        return Decimal(self.amount).scaleb(-exponent(self.currency))

    def __str__(self) -> str:
        return f"{self.decimal()} {self.currency}"


def zero(currency: str) -> Money:
    return Money(0, currency)


def total(amounts: Iterable[Money], currency: str) -> Money:
    """The sum; zero of `currency` for no amounts."""
    return sum(amounts, zero(currency))


def money(value: str | int | Decimal, currency: str) -> Money:
    """Money from major units written out: money("121.00", "EUR"). Refuses floats and digits beyond the minor unit."""
    if isinstance(value, float):
        raise TypeError("write amounts as strings: 0.1 is not a tenth in binary")
    try:
        minor = Decimal(value).scaleb(exponent(currency))
    except InvalidOperation:
        minor = Decimal("NaN")
    if not minor.is_finite():
        raise ValueError(f"{value!r} is not an amount: write it like '12.50'")
    if minor != minor.to_integral_value():
        raise ValueError(f"{value} has more digits than {currency} has")
    return Money(int(minor), currency)


def eur(value: str | int | Decimal) -> Money:
    """eur("12.50") is 12 euro 50."""
    return money(value, "EUR")


def usd(value: str | int | Decimal) -> Money:
    """usd("12.50") is 12 US dollars 50."""
    return money(value, "USD")


def gbp(value: str | int | Decimal) -> Money:
    """gbp("12.50") is 12 pounds sterling 50."""
    return money(value, "GBP")
