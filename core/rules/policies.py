"""Policies: what a change of a running subscription does, and which one it falls under. `core.rules.planner` carries them out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from core.rules.periods import Interval

Direction = Literal["seats_up", "seats_down", "plan_up", "plan_down", "interval"]
DIRECTIONS: tuple[Direction, ...] = ("seats_up", "seats_down", "plan_up", "plan_down", "interval")


@dataclass(frozen=True, slots=True)
class ChangePolicy:
    """What a change of a running subscription does: four switches under a name.

    effective: from today, or from the next billing date.
    anchor:    `move` begins a new whole period today, which becomes the billing date; `keep` stays in the running period.
    credit:    whether the unused days of the running period are credited.
    collect:   whether the difference is due now or goes on the next invoice. What waits for the next billing date is collected then.
    """

    name: str
    effective: Literal["now", "period_end"]
    anchor: Literal["move", "keep"]
    credit: Literal["unused", "none"]
    collect: Literal["now", "next_invoice"]

    def __post_init__(self) -> None:
        if self.puts_off and self.anchor == "move":
            raise ValueError(f"policy {self.name!r}: a period that begins now is collected now")

    @property
    def puts_off(self) -> bool:
        """Whether a change takes effect now, and what it costs or gives back goes on the next invoice."""
        return self.effective == "now" and self.collect == "next_invoice"


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
