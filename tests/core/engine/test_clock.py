from datetime import UTC, date, datetime, timedelta

import pytest

from core.engine.clock import SystemClock, TestClock, beginning_of, day_in

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_the_system_clock_tells_utc():
    before = datetime.now(UTC)

    now = SystemClock().now()

    assert before <= now <= datetime.now(UTC)
    assert now.tzinfo is UTC


def test_a_frozen_clock_stands_still_between_moves():
    clock = TestClock(NOON, frozen=True)

    clock.move_to(NOON + timedelta(days=31))

    assert clock.now() == clock.now() == datetime(2026, 4, 1, 12, tzinfo=UTC)


def test_a_clock_that_runs_goes_on_from_where_it_was_moved():
    clock = TestClock(NOON)
    clock.move_to(datetime(2027, 1, 1, tzinfo=UTC))

    first, second = clock.now(), clock.now()

    assert datetime(2027, 1, 1, tzinfo=UTC) <= first <= second


def test_without_a_start_it_is_the_machines_time():
    assert TestClock().offset == timedelta(0)


def test_time_only_moves_forward():
    clock = TestClock(NOON, frozen=True)

    with pytest.raises(ValueError, match="the clock only moves forward: it is 2026-03-01T12:00:00Z already"):
        clock.move_to(NOON - timedelta(seconds=1))

    assert clock.now() == NOON


@pytest.mark.parametrize(
    ("instant", "time_zone", "day"),
    [
        (datetime(2026, 3, 1, 23, 30, tzinfo=UTC), "Europe/Madrid", date(2026, 3, 2)),
        (datetime(2026, 3, 1, 23, 30, tzinfo=UTC), "UTC", date(2026, 3, 1)),
        (datetime(2026, 3, 1, 0, 30, tzinfo=UTC), "America/Mexico_City", date(2026, 2, 28)),
    ],
)
def test_the_billing_day_is_that_of_the_zone(instant, time_zone, day):
    assert day_in(instant, time_zone) == day


@pytest.mark.parametrize(
    ("day", "time_zone", "instant"),
    [
        (date(2026, 3, 2), "Europe/Madrid", datetime(2026, 3, 1, 23, tzinfo=UTC)),
        (date(2026, 3, 30), "Europe/Madrid", datetime(2026, 3, 29, 22, tzinfo=UTC)),  # summer time since the day before
        (date(2026, 9, 6), "America/Santiago", datetime(2026, 9, 6, 4, tzinfo=UTC)),  # its first hour is left out
        (date(2026, 11, 1), "America/Havana", datetime(2026, 11, 1, 4, tzinfo=UTC)),  # its first hour comes twice
        (date(2026, 3, 2), "Pacific/Kiritimati", datetime(2026, 3, 1, 10, tzinfo=UTC)),
        (date(2026, 3, 2), "Pacific/Niue", datetime(2026, 3, 2, 11, tzinfo=UTC)),
    ],
)
def test_a_day_begins_when_its_zone_says(day, time_zone, instant):
    assert beginning_of(day, time_zone) == instant
    assert (day_in(instant, time_zone), day_in(instant - timedelta(microseconds=1), time_zone)) == (day, day - timedelta(days=1))
