"""Sharing an amount out in whole minor units, so that all parts together are the whole, to the cent."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from core.rules.money import round_half_away


def spread(amount: int, left: Sequence[int]) -> list[int]:
    """`amount` over lines of which `left` is left, in proportion; no line gets more than its rest, and the last part takes all rests.

    amount: between 0 and the sum of `left`. A line may be negative (a credit), and so is its share then.
    """
    whole, shares, reached, given = sum(left), [], 0, 0
    for each in left:
        reached += each
        until_here = round_half_away(Fraction(amount * reached, whole)) if whole else 0
        shares.append(until_here - given)
        given = until_here
    return shares


def net_of(part: int, net: int, total: int, before: int, net_before: int) -> int:
    """The net in a further `part` of a line, of which `before` was given back already, and `net_before` in it.

    By the line's own net and total, never by a rate: what was rounded once is not rounded otherwise the second time, and the parts of a
    line that has gone back as a whole are its net to the cent.
    """
    return round_half_away(Fraction(net * (before + part), total)) - net_before if total else 0
