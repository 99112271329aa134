"""Shares: whatever the figures, the parts are the whole."""

from hypothesis import given
from hypothesis import strategies as st

from core.rules.shares import net_of, spread

CENTS = st.integers(1, 10**9)


def test_a_remainder_goes_where_it_falls():
    assert spread(100, [100, 100, 100]) == [33, 34, 33]
    assert spread(1, [100, 100, 100]) == [0, 1, 0]
    assert spread(300, [100, 100, 100]) == [100, 100, 100]


def test_a_credit_takes_its_share_back():
    assert spread(144_00, [240_00, -96_00]) == [240_00, -96_00]
    assert spread(72_00, [240_00, -96_00]) == [120_00, -48_00]


def test_nothing_of_nothing():
    assert (spread(0, []), spread(0, [0, 0]), net_of(0, 0, 0, 0, 0)) == ([], [0, 0], 0)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=20), st.data())
def test_shares_are_the_amount_and_none_is_more_than_is_left(left, data):
    amount = data.draw(st.integers(0, sum(left)))

    shares = spread(amount, left)

    assert sum(shares) == amount
    assert all(0 <= share <= rest for share, rest in zip(shares, left, strict=True))


@given(CENTS, st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=20), st.data())
def test_credits_among_the_lines_stay_within_themselves(first, others, data):
    left = [first, *others]
    if sum(left) <= 0:
        left[0] -= sum(left) - 1
    amount = data.draw(st.integers(0, sum(left)))

    shares = spread(amount, left)

    assert sum(shares) == amount
    assert all(min(0, rest) <= share <= max(0, rest) for share, rest in zip(shares, left, strict=True))


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.booleans(), st.data())
def test_the_parts_of_a_line_have_its_net_and_its_tax_to_the_cent(net, tax, negative, data):
    total, sign = net + tax, -1 if negative else 1
    cuts = sorted(data.draw(st.lists(st.integers(0, total), max_size=8)))
    parts = [end - start for start, end in zip([0, *cuts], [*cuts, total], strict=True)]

    gone, nets = 0, []
    for part in parts:
        nets.append(net_of(sign * part, sign * net, sign * total, sign * gone, sum(nets)))
        gone += part

    taxes = [sign * part - each for part, each in zip(parts, nets, strict=True)]
    assert (sum(nets), sum(taxes)) == (sign * net, sign * tax)
    assert all(sign * each >= 0 for each in (*nets, *taxes))
