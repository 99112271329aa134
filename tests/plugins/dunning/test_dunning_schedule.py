"""When a refused renewal is tried again, for every decline code and schedule; days are the account's."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from marshmallow import ValidationError

from plugins.dunning.schedule import Dunning, DunningSettings
from puesto import FailedAttempt, PastDueView, RetrySchedule

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def ask(*attempts, since=NOON, zone="UTC", **settings):
    context = SimpleNamespace(settings=DunningSettings().load(settings))
    view = PastDueView("sub_1", "gotoassist", "gotoassist-standard", "month", "acc_1", "self_service", zone, since, attempts)
    return Dunning(context).retry_schedule(view)


def refused(code, day=0, *, retryable=False):
    return FailedAttempt(NOON + timedelta(days=day), code, retryable)


def days(instant):
    return None if instant is None else (instant - NOON) / timedelta(days=1)


@pytest.mark.parametrize(
    ("code", "retryable", "next_try"),
    [
        ("card_declined", False, 1),
        ("card_declined", True, 1),
        ("insufficient_funds", True, 1),
        ("insufficient_funds", False, None),
        ("provider_error", True, 1),
        ("provider_error", False, None),
        ("expired_card", False, None),
        ("expired_card", True, None),
        ("fraud_suspected", False, None),
        ("fraud_suspected", True, None),
        ("authentication_failed", False, None),
        ("authentication_failed", True, None),
        ("amount_too_small", True, None),
        ("currency_unsupported", True, None),
        (None, False, None),
    ],
)
def test_a_hard_decline_is_not_tried_again_and_ends_on_the_same_day(code, retryable, next_try):
    schedule = ask(refused(code, retryable=retryable))

    assert (days(schedule.next_try), days(schedule.ends_at), schedule.then, days(schedule.warn_at)) == (next_try, 7, "cancel", 6)


@pytest.mark.parametrize(
    ("schedule", "last", "next_try"),
    [
        ([1, 3, 5, 7], 0, 1),
        ([1, 3, 5, 7], 1, 3),
        ([1, 3, 5, 7], 3, 5),
        ([1, 3, 5, 7], 5, 7),
        ([1, 3, 5, 7], 7, None),
        ([1, 3, 5, 7], 2.5, 3),  # another method, stored in between, was refused as well
        ([1, 3, 5, 7], 6, 7),  # nothing ran for days
        ([1, 3, 5, 7], 30, None),
        ([2], 0, 2),
        ([2], 2, None),
        ([10, 20, 30], 10, 20),
    ],
)
def test_the_next_try_is_on_the_next_day_of_the_schedule(schedule, last, next_try):
    answer = ask(refused("insufficient_funds", retryable=True), refused("insufficient_funds", last, retryable=True), days=schedule)

    assert (days(answer.next_try), days(answer.ends_at)) == (next_try, schedule[-1])


def test_what_was_refused_before_counts_no_more_once_another_method_is_charged():
    assert days(ask(refused("expired_card"), refused("card_declined", 2)).next_try) == 3
    assert days(ask(refused("card_declined"), refused("expired_card", 1)).next_try) is None


@pytest.mark.parametrize(
    ("settings", "answer"),
    [
        ({"days": [2], "warn_days": 0}, RetrySchedule(NOON + timedelta(2), NOON + timedelta(2))),
        ({"days": [2], "warn_days": 2}, RetrySchedule(NOON + timedelta(2), NOON + timedelta(2))),
        ({"days": [2]}, RetrySchedule(NOON + timedelta(2), NOON + timedelta(2), warn_at=NOON + timedelta(1))),
        ({"days": [2], "then": "keep"}, RetrySchedule(NOON + timedelta(2))),
        ({"days": [2], "then": "pause", "warn_days": 0}, RetrySchedule(NOON + timedelta(2), NOON + timedelta(2), "pause")),
        ({"days": [2], "then": "keep", "grace_days": 0}, RetrySchedule(NOON + timedelta(2), access_until=NOON)),
        (
            {"days": [2], "warn_days": 0, "grace_days": 14},
            RetrySchedule(NOON + timedelta(2), NOON + timedelta(2), access_until=NOON + timedelta(14)),
        ),
    ],
)
def test_settings_say_how_it_ends_who_is_warned_and_for_how_long_there_is_access(settings, answer):
    assert ask(refused("card_declined"), **settings) == answer


@pytest.mark.parametrize(
    ("zone", "since", "tries"),
    [
        ("Europe/Madrid", "2026-03-27T23:00", ["2026-03-28T23:00", "2026-03-30T22:00"]),  # summer time from the 29th
        ("Europe/Madrid", "2026-10-23T22:00", ["2026-10-24T22:00", "2026-10-26T23:00"]),
        ("America/New_York", "2026-03-07T05:00", ["2026-03-08T05:00", "2026-03-10T04:00"]),
        ("Pacific/Kiritimati", "2026-12-30T10:00", ["2026-12-31T10:00", "2027-01-02T10:00"]),
        ("Pacific/Niue", "2028-02-27T11:00", ["2028-02-28T11:00", "2028-03-01T11:00"]),  # a leap year
        ("Africa/Casablanca", "2026-02-13T23:00", ["2026-02-14T23:00", "2026-02-17T00:00"]),  # an hour less in Ramadan
    ],
)
def test_it_is_tried_at_the_same_hour_of_the_accounts_day(zone, since, tries):
    fell, first, second = (datetime.fromisoformat(each).replace(tzinfo=UTC) for each in (since, *tries))

    assert ask(FailedAttempt(fell, "card_declined"), since=fell, zone=zone, days=[1, 3]).next_try == first
    assert ask(FailedAttempt(first, "card_declined"), since=fell, zone=zone, days=[1, 3]).next_try == second


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("days", []),
        ("days", [0]),
        ("days", [3, 1]),
        ("days", [1, 1]),
        ("days", list(range(1, 17))),
        ("then", "forgive"),
        ("grace_days", -1),
        ("warn_days", 31),
        ("tries", 3),
    ],
)
def test_what_is_no_schedule_stops_the_start(setting, value):
    with pytest.raises(ValidationError) as wrong:
        DunningSettings().load({setting: value})

    assert list(wrong.value.messages) == [setting]
