"""Discounts: what a coupon takes off a line of a cart."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from core.hooks import hookspec
from core.rules.discounts import Discount
from core.rules.money import Money
from core.rules.periods import Interval


@dataclass(frozen=True)
class DiscountedLine:
    """A line that buys a plan. account: None where the cart has none yet; amount: what a whole period costs without discount, net."""

    account: str | None
    product: str
    plan: str
    interval: Interval
    seats: int
    amount: Money


class DiscountHooks:
    """Hooks that reduce prices."""

    @hookspec(failure="closed", firstresult=True)
    def discount_line(self, coupon: str, line: DiscountedLine, on: date) -> Discount | None:
        """Say what a coupon takes off a line, from its first period on.

        Called:  when a cart with a coupon is shown or quoted, and again when it is ordered; no network calls here.
        coupon:  as the buyer typed it.
        line:    a line that buys; trials and changes are not asked about.
        on:      the day in the account's zone; do not read the clock.
        Returns: the discount; an amount is in the currency of `line.amount`. The subscription keeps it: it holds for the number of periods
                 that it names, through changes, and nobody is asked again.
        None:    "not my coupon", or not for this line; the next plugin is asked.
        Errors:  anything raised is a bug of the plugin.
        Failure: closed - the request fails and names the plugin.
        """
