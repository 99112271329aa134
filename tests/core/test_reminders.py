"""Before a trial ends and before a year is renewed the account is told, once, of what is still so."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from core.access import INTERNAL
from core.cancellations import cancel, reactivate
from core.reminders import next_reminder, remind_of_charges
from core.time_machine import travel
from tests.core.racing import at_once
from tests.core.test_renewal_payments import store
from tests.core.test_renewals import buy, on

PLUGINS = ["sandbox", "gotoassist", "gotomeeting", "vat", "vat_rates"]


@pytest.fixture
def shop(open_shop):
    return open_shop(enabled=PLUGINS)


def told(shop):
    """Of whom, of which kind, and what comes then."""
    events = shop.events("trial.ending", "renewal.coming")
    return [(event["subject"], event["type"], event["data"]["subscription"]["next_charge"]) for event in events]


def remind(shop, day):
    shop.on(day)
    remind_of_charges(shop.engine)


def next_charge(day, amount):
    return {"date": day, "amount": {"amount": amount, "currency": "EUR"}}


@pytest.mark.parametrize(
    ("day", "reminds"),
    [("2026-03-27", False), ("2026-03-28", True), ("2026-03-30", True), ("2026-03-31", False)],
)
def test_of_a_trial_that_ends_it_is_told_in_its_last_three_days(shop, day, reminds):
    trial = shop.try_out("gotoassist-standard")  # thirty days, and nothing follows

    remind(shop, day)

    assert told(shop) == ([(trial.id, "trial.ending", None)] if reminds else [])


def test_of_a_trial_that_goes_on_it_says_what_it_will_cost(shop):
    store(shop)
    trial = shop.try_out("gotomeeting-professional", seats=3)  # fourteen days

    remind(shop, "2026-03-12")

    assert told(shop) == [(trial.id, "trial.ending", shop.show(trial)["next_charge"])]
    assert shop.show(trial)["next_charge"]["date"] == "2026-03-15"


@pytest.mark.parametrize(
    ("day", "reminds"),
    [("2027-02-14", False), ("2027-02-15", True), ("2027-02-28", True)],
)
def test_of_a_year_that_is_renewed_it_is_told_in_the_last_fortnight(shop, day, reminds):
    subscription = buy(shop, interval="year")

    remind(shop, day)

    assert told(shop) == ([(subscription.id, "renewal.coming", next_charge("2027-03-01", 72600))] if reminds else [])


def test_each_period_is_told_of_once_however_often_anybody_looks(shop):
    subscription = buy(shop, interval="year")
    for day in ("2027-02-15", "2027-02-16", "2027-03-01", "2027-03-02", "2028-02-16", "2028-02-16"):
        on(shop, day)

    assert [(subject, charge["date"]) for subject, _, charge in told(shop)] == [
        (subscription.id, "2027-03-01"),
        (subscription.id, "2028-03-01"),
    ]


def test_of_a_month_nothing_is_told(shop):
    buy(shop)

    remind(shop, "2026-03-25")

    assert told(shop) == []


def test_what_is_cancelled_is_told_of_once_that_is_taken_back(shop):
    subscription = buy(shop, interval="year")
    cancel(shop.engine, subscription.id, INTERNAL, at="period_end")
    remind(shop, "2027-02-20")
    assert told(shop) == []

    reactivate(shop.engine, subscription.id, INTERNAL)
    remind_of_charges(shop.engine)

    assert [subject for subject, _, _ in told(shop)] == [subscription.id]


def test_what_was_ended_is_told_of_no_more(shop):
    cancel(shop.engine, buy(shop, interval="year").id, INTERNAL, at="now")

    remind(shop, "2027-02-20")

    assert told(shop) == []


def test_a_day_that_has_moved_is_told_of_anew(shop):
    subscription = buy(shop, interval="year")
    remind(shop, "2027-02-15")

    shop.change(subscription, seats=2)  # begins a new year that day
    remind(shop, "2027-02-16")
    remind(shop, "2028-02-01")

    assert [charge["date"] for _, _, charge in told(shop)] == ["2027-03-01", "2028-02-15"]


def test_a_change_that_waits_for_the_renewal_is_in_the_amount(shop):
    subscription = buy(shop, interval="year", seats=3)
    shop.change(subscription, seats=1)

    remind(shop, "2027-02-15")

    assert [charge for _, _, charge in told(shop)] == [next_charge("2027-03-01", 72600)]


@pytest.mark.parametrize(
    ("settings", "day", "kinds"),
    [
        ({"trial_ending_days": 0}, "2026-03-30", []),
        ({"trial_ending_days": 6}, "2026-03-25", ["trial.ending"]),
        ({"trial_ending_days": 40}, "2026-03-01", []),  # not on the day on which it began
        ({"trial_ending_days": 40}, "2026-03-02", ["trial.ending"]),
        ({"renewal_coming_days": 0}, "2027-02-28", []),
        ({"renewal_coming_days": 30}, "2027-01-30", ["renewal.coming"]),
    ],
)
def test_how_long_before_is_a_setting(open_shop, settings, day, kinds):
    shop = open_shop(enabled=PLUGINS, subscriptions=settings)
    shop.try_out("gotoassist-standard")
    buy(shop, "gotomeeting-professional", interval="year")

    remind(shop, day)

    assert [kind for _, kind, _ in told(shop)] == kinds


@pytest.mark.parametrize(
    ("zone", "before", "after"),
    [
        ("Pacific/Kiritimati", "2026-03-28T09:59:59", "2026-03-28T10:00:00"),  # bought on the 2nd there
        ("Pacific/Niue", "2026-03-28T10:59:59", "2026-03-28T11:00:00"),
    ],
)
def test_days_are_those_of_the_account(shop, zone, before, after):
    shop.try_out("gotoassist-standard", account=shop.open_account(time_zone=zone))

    for instant, number in ((before, 0), (after, 1)):
        assert next_reminder(shop.engine, shop.clock.now()) == datetime.fromisoformat(after).replace(tzinfo=UTC)
        shop.clock.move_to(datetime.fromisoformat(instant).replace(tzinfo=UTC))
        remind_of_charges(shop.engine)
        assert len(told(shop)) == number
    assert next_reminder(shop.engine, shop.clock.now()) is None


def test_the_time_machine_stops_for_it(open_shop):
    shop = open_shop(enabled=PLUGINS)
    shop.try_out("gotoassist-standard")
    buy(shop, "gotomeeting-professional", interval="year")

    journey = travel(shop.engine, shop.clock.now() + timedelta(days=380))

    days = {str(day): events for day, events in journey.days.items() if events["trial.ending"] or events["renewal.coming"]}
    assert list(days) == ["2026-03-28", "2027-02-15"]


def test_workers_at_once_tell_of_each_once(open_shop):
    first = open_shop(enabled=PLUGINS)
    others = [open_shop(enabled=PLUGINS, folder=first.folder) for _ in range(2)]
    trials = {first.try_out("gotoassist-standard", account=first.open_account()).id for _ in range(4)}
    for each in (first, *others):
        each.on("2026-03-29")

    at_once(first, [partial(remind_of_charges, each.engine) for each in (first, *others) * 2])

    assert sorted(subject for subject, _, _ in told(first)) == sorted(trials)
