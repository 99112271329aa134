"""What a round can't carry on waits, says why, and in the end is parked; it holds up nothing else."""

from datetime import timedelta

import pytest

from core.engine.setbacks import FIRST_PAUSE, LONGEST_PAUSE, MOST_TRIES, Setback, attempt, resting, retry
from core.errors import DatabaseUnavailable


def fails():
    raise ZeroDivisionError("a bug")


def try_out(shop, work=fails, subject="sub_1"):
    return attempt(shop.engine, "end", subject, "acc_1", work)


def kept(shop):
    return shop.engine.db.all(Setback.select().order_by(Setback.subject))


def test_what_goes_well_leaves_nothing_behind(shop):
    answers = [try_out(shop, lambda: True), try_out(shop, lambda: False)]

    assert (answers, kept(shop)) == ([True, False], [])


def test_what_fails_waits_and_says_why_and_how_often(shop):
    began = shop.clock.now()

    answers = [try_out(shop), try_out(shop)]

    [setback] = kept(shop)
    assert answers == [False, False]
    assert (setback.work, setback.subject, setback.account) == ("end", "sub_1", "acc_1")
    assert (setback.tries, setback.error, setback.since) == (2, "ZeroDivisionError: a bug", began)
    assert FIRST_PAUSE <= setback.next_at - began <= 2 * FIRST_PAUSE


def test_until_its_turn_comes_it_rests(shop):
    try_out(shop)

    before = resting(shop.engine, "end"), resting(shop.engine, "begin")
    shop.clock.move_to(kept(shop)[0].next_at)

    assert (before, resting(shop.engine, "end")) == (({"sub_1"}, set()), set())


def test_after_enough_tries_it_is_parked_until_somebody_retries_it(shop, caplog):
    for _ in range(MOST_TRIES):
        try_out(shop)
        shop.clock.move_to(shop.clock.now() + LONGEST_PAUSE)
    [parked] = kept(shop)
    shop.clock.move_to(shop.clock.now() + timedelta(days=365))
    rested = resting(shop.engine, "end")

    counts = [retry(shop.engine, "job_unknown"), retry(shop.engine, parked.id), retry(shop.engine)]

    assert (parked.next_at, parked.tries, rested) == (None, MOST_TRIES, {"sub_1"})
    assert "end of sub_1 is parked: ZeroDivisionError: a bug" in caplog.text
    assert (counts, resting(shop.engine, "end")) == ([0, 1, 0], set())


def test_what_goes_well_again_is_forgotten(shop):
    try_out(shop)
    try_out(shop, subject="sub_2")

    assert try_out(shop, lambda: True)

    assert [setback.subject for setback in kept(shop)] == ["sub_2"]


def test_a_database_that_is_away_is_no_fault_of_the_row(shop):
    def away():
        raise DatabaseUnavailable("away")

    with pytest.raises(DatabaseUnavailable):
        try_out(shop, away)

    assert kept(shop) == []


def test_two_workers_that_fail_at_once_keep_one_setback(shop):
    def fail_twice():
        try_out(shop)
        fails()

    try_out(shop, fail_twice)

    assert [setback.tries for setback in kept(shop)] == [1]
