"""Which policy a change falls under, and what a policy may say."""

import pytest

from core.rules.policies import DIRECTIONS, direction_of
from puesto import ChangePolicy, Plan, Price, eur


@pytest.mark.parametrize(
    ("seats", "tiers", "intervals", "direction"),
    [
        ((5, 8), (1, 1), ("month", "month"), "seats_up"),
        ((8, 5), (1, 1), ("month", "month"), "seats_down"),
        ((8, 5), (1, 2), ("month", "month"), "plan_up"),
        ((5, 8), (2, 1), ("month", "month"), "plan_down"),
        ((8, 5), (2, 1), ("month", "year"), "interval"),
        ((5, 5), (1, 1), ("year", "year"), None),
    ],
)
def test_interval_outweighs_plan_and_plan_outweighs_seats(seats, tiers, intervals, direction):
    assert direction_of(seats=seats, tiers=tiers, intervals=intervals) == direction
    assert direction is None or direction in DIRECTIONS


def test_a_period_that_begins_now_is_not_collected_later():
    with pytest.raises(ValueError, match="policy 'odd': a period that begins now is collected now"):
        ChangePolicy("odd", "now", "move", "unused", "next_invoice")


def test_another_interval_is_not_collected_later():
    later, prices = ChangePolicy("later", "now", "keep", "unused", "next_invoice"), [Price.per_seat("month", eur("1.00"))]

    with pytest.raises(ValueError, match="plan club: another interval begins a period"):
        Plan("club", {"en": "Club"}, 1, prices, changes={"interval": later})
    assert Plan("club", {"en": "Club"}, 1, prices, changes={"seats_up": later}).policy("seats_up").puts_off
