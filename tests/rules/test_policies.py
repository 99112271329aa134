"""Which policy a change falls under, and what a policy may say."""

import pytest

from core.rules.billing_plan import DIRECTIONS, direction_of
from puesto import ChangePolicy


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


def test_a_change_that_takes_effect_now_is_not_collected_later():
    with pytest.raises(ValueError, match="policy 'odd': a change that takes effect now is collected now"):
        ChangePolicy("odd", "now", "keep", "unused", "next_invoice")
