"""Pauses: access and billing stop, what is left of the term is kept, and what follows comes so much later."""

from datetime import UTC, date, datetime
from functools import partial

import pytest

from core.access import INTERNAL, SCOPES, Caller
from core.cancellations import cancel, end_due, reactivate
from core.engine.deliveries import drain
from core.errors import Missing, PreconditionFailed, TransitionInvalid
from core.invoices import Invoice, InvoiceLine
from core.past_due import end_past_due
from core.pauses import pause, pause_due, resume
from core.renewals import due_accounts, renew_due
from core.seats import assigned_users, check_entitlement
from puesto import Plan, Price, Product, RetrySchedule, eur, hookimpl
from tests.conftest import problem
from tests.core.racing import at_once
from tests.core.test_renewal_payments import store
from tests.core.test_renewals import buy, charged, euros, period
from tests.core.test_subscriptions import change_at_the_bank


def now(shop, subscription, **how):
    return pause(shop.engine, subscription.id, INTERNAL, at="now", **how)


def later(shop, subscription):
    return pause(shop.engine, subscription.id, INTERNAL, at="period_end")


def go_on(shop, subscription):
    return resume(shop.engine, subscription.id, INTERNAL)


def work(shop, day):
    """What a round of that day does about it."""
    shop.on(day)
    end_due(shop.engine)
    pause_due(shop.engine)
    renew_due(shop.engine)


def reason(shop, user):
    return check_entitlement(shop.engine, user.id, "gotoassist", INTERNAL).reason


# --- the term is kept


@pytest.mark.parametrize(
    ("interval", "bought", "paused", "resumed", "period_then", "anchor", "next_end"),
    [
        # 21 of 31 days are left, and end 21 days after the 21st.
        ("month", "2026-03-01", "2026-03-11", "2026-03-21", ("2026-03-11", "2026-04-11"), 11, "2026-05-11"),
        ("month", "2026-03-01", "2026-03-01", "2026-03-02", ("2026-03-02", "2026-04-02"), 2, "2026-05-02"),  # all of them
        ("month", "2026-03-01", "2026-03-31", "2026-07-15", ("2026-06-15", "2026-07-16"), 16, "2026-08-16"),  # the last day
        ("month", "2027-01-31", "2027-02-10", "2027-02-11", ("2027-02-01", "2027-03-01"), 1, "2027-04-01"),  # from the 31st
        ("month", "2027-12-31", "2028-01-05", "2028-02-03", ("2028-01-29", "2028-02-29"), 29, "2028-03-29"),  # to 29 February
        ("year", "2026-03-01", "2026-05-13", "2026-08-21", ("2026-06-09", "2027-06-09"), 9, "2028-06-09"),  # 292 of 365 days, 100 later
        ("year", "2027-03-01", "2027-06-01", "2028-06-01", ("2028-03-01", "2029-03-02"), 2, "2030-03-02"),  # 274 of 366, 366 later
        ("month", "2026-03-01", "2026-03-11", "2026-03-11", ("2026-03-01", "2026-04-01"), 1, "2026-05-01"),  # the same day
        ("month", "2027-01-31", "2027-02-10", "2027-02-10", ("2027-01-31", "2027-02-28"), 31, "2027-03-31"),  # which keeps the anchor
    ],
)
def test_what_is_left_of_the_term_comes_after_the_pause(shop, interval, bought, paused, resumed, period_then, anchor, next_end):
    shop.on(bought)
    subscription = buy(shop, interval=interval)
    shop.on(paused)
    now(shop, subscription)
    shop.on(resumed)
    charges = charged(shop)

    go_on(shop, subscription)

    shown = shop.show(subscription)
    assert (shown["status"], period(shop, subscription), shown["anchor_day"]) == ("active", period_then, anchor)
    assert (shown["next_charge"]["date"], shown["paused_on"], charged(shop)) == (period_then[1], None, charges)
    work(shop, period_then[1])
    assert (period(shop, subscription), len(charged(shop))) == ((period_then[1], next_end), 2)


def test_the_days_that_are_used_and_the_days_that_are_paid_for_are_as_many(shop):
    subscription = buy(shop)
    used = 0
    for begun, ended, next_begun in [("2026-03-11", "2026-03-21", "2026-04-05"), ("2026-04-05", "2026-06-30", "2026-07-02")]:
        shop.on(begun)
        now(shop, subscription)
        shop.on(ended)
        go_on(shop, subscription)
        used += (date.fromisoformat(next_begun) - date.fromisoformat(ended)).days

    assert 10 + used + (shop.refresh(subscription).period_end - date.fromisoformat("2026-07-02")).days == 31
    assert shop.refresh(subscription).moved == 10 + 86


def test_a_change_after_a_pause_credits_by_the_length_of_the_term(shop):
    subscription = buy(shop)
    shop.on("2026-03-11")
    now(shop, subscription)
    shop.on("2026-03-21")
    go_on(shop, subscription)

    order = shop.change(subscription, seats=2)

    assert order["lines"][0]["explanation"][0]["formula"] == "60.00 x 21/31"
    assert (shop.refresh(subscription).moved, period(shop, subscription)) == (0, ("2026-03-21", "2026-04-21"))


def test_changes_that_wait_wait_for_the_new_end(shop):
    subscription = buy(shop, seats=3)
    shop.change(subscription, seats=2)
    shop.on("2026-03-11")
    now(shop, subscription)
    shop.on("2026-03-21")
    go_on(shop, subscription)
    assert [change["effective_on"] for change in shop.show(subscription)["pending_changes"]] == ["2026-04-11"]

    work(shop, "2026-04-11")

    assert (shop.show(subscription)["seats"], shop.show(subscription)["pending_changes"]) == (2, [])


# --- while it is paused


def test_nobody_may_use_it_nothing_is_billed_and_seats_stay(shop):
    subscription, user, other = buy(shop, seats=2), shop.add_user(), shop.add_user()
    shop.assign(subscription, user)
    now(shop, subscription, reason="summer")

    shown = shop.show(subscription)
    assert (shown["status"], shown["paused_on"], shown["next_charge"]) == ("paused", "2026-03-01", None)
    assert (reason(shop, user), assigned_users(shop.engine, subscription)) == ("paused", [user.id])
    work(shop, "2026-09-01")
    assert (shop.show(subscription)["status"], len(charged(shop)), due_accounts(shop.engine)) == ("paused", 1, [])
    for refused in (
        partial(shop.assign, subscription, other),
        partial(shop.change, subscription, seats=3),
        partial(now, shop, subscription),
        partial(later, shop, subscription),
    ):
        with pytest.raises(TransitionInvalid, match="The subscription is paused"):
            refused()
    go_on(shop, subscription)
    assert reason(shop, user) == "seat_assigned"


def test_its_news_say_what_is_kept(shop):
    subscription = buy(shop)
    shop.on("2026-03-11")
    now(shop, subscription, reason="summer")
    shop.on("2026-03-21")
    go_on(shop, subscription)

    (begun,), (ended,) = shop.events("subscription.paused"), shop.events("subscription.resumed")
    assert begun["data"]["pause"] == {"paused_on": "2026-03-11", "ended_on": None, "days_left": 21, "reason": "summer"}
    assert ended["data"]["pause"] == {"paused_on": "2026-03-11", "ended_on": "2026-03-21", "days": 10, "days_left": 21, "reason": "summer"}
    assert ended["data"]["subscription"] == shop.show(subscription)


class Club:
    """A product that is asked who may use it."""

    def __init__(self):
        self.asked = []

    @hookimpl
    def register_products(self):
        return [Product("club", {"en": "Club"}, [Plan("club-basic", {"en": "Basic"}, 1, [Price.per_seat("month", eur("60.00"))])])]

    @hookimpl
    def provision(self, request):
        self.asked.append((request.action, request.seats))


def test_its_product_has_no_seats_meanwhile(open_shop):
    club = Club()
    shop = open_shop(plugins={"club": club})
    subscription = shop.buy("club-basic", seats=2)
    now(shop, subscription)
    go_on(shop, subscription)

    drain(shop.engine)

    assert club.asked == [("grant", 2), ("change", 0), ("change", 2)]


@pytest.mark.parametrize("act", ["now", "period_end", "resume"])
def test_another_accounts_subscription_is_missing_and_a_version_that_moved_on_is_refused(shop, act):
    subscription, stranger = buy(shop), Caller("usr_1", frozenset(SCOPES), account=shop.open_account().id)
    call = partial(pause, shop.engine, subscription.id, at=act)
    if act == "resume":
        now(shop, subscription)
        call = partial(resume, shop.engine, subscription.id)
    before = shop.contents()

    with pytest.raises(Missing):
        call(stranger)
    with pytest.raises(PreconditionFailed):
        call(INTERNAL, version=99)

    assert shop.contents() == before


# --- at the period's end


def test_a_pause_that_waits_comes_in_place_of_the_renewal(shop):
    subscription, user = buy(shop), shop.add_user()
    shop.assign(subscription, user)
    later(shop, subscription)
    shown = shop.show(subscription)
    assert (shown["status"], shown["pause_at"], shown["next_charge"]) == ("active", "2026-04-01", None)

    shop.on("2026-04-01")
    renew_due(shop.engine)
    assert (reason(shop, user), len(charged(shop))) == ("paused", 1)
    work(shop, "2026-04-03")
    assert (shop.show(subscription)["status"], shop.show(subscription)["paused_on"]) == ("paused", "2026-04-01")
    shop.on("2026-06-20")
    go_on(shop, subscription)
    work(shop, "2026-06-20")

    assert (period(shop, subscription), charged(shop)[1:], shop.show(subscription)["anchor_day"]) == (
        ("2026-06-20", "2026-07-20"),
        charged(shop)[:1],
        20,
    )


def test_a_pause_that_waits_is_taken_back(shop):
    subscription = buy(shop)
    later(shop, subscription)

    go_on(shop, subscription)

    work(shop, "2026-04-01")
    assert (shop.show(subscription)["status"], period(shop, subscription)) == ("active", ("2026-04-01", "2026-05-01"))
    assert shop.events("subscription.paused") == shop.events("subscription.resumed") == []
    with pytest.raises(TransitionInvalid, match="The subscription is active and no pause waits"):
        go_on(shop, subscription)


def test_a_change_that_moves_the_end_moves_the_pause(shop):
    subscription = buy(shop)
    later(shop, subscription)
    shop.on("2026-03-11")

    shop.change(subscription, seats=2)

    assert (shop.show(subscription)["pause_at"], period(shop, subscription)[1]) == ("2026-04-11", "2026-04-11")


def test_a_cancellation_outdoes_a_pause_that_waits(shop):
    subscription = buy(shop)
    later(shop, subscription)
    cancel(shop.engine, subscription.id, INTERNAL, at="period_end")
    assert shop.show(subscription)["pause_at"] is None
    with pytest.raises(TransitionInvalid, match="Nothing follows on 2026-04-01"):
        later(shop, subscription)
    reactivate(shop.engine, subscription.id, INTERNAL)
    later(shop, subscription)
    assert shop.show(subscription)["pause_at"] == "2026-04-01"


def test_there_is_no_end_to_wait_for_once_it_is_over(shop):
    subscription = buy(shop)
    shop.on("2026-04-02")

    with pytest.raises(TransitionInvalid, match=r"The period ended on 2026-04-01\. Pause it now instead"):
        later(shop, subscription)

    now(shop, subscription)
    shop.on("2026-04-12")
    go_on(shop, subscription)
    work(shop, "2026-04-12")
    assert period(shop, subscription) == ("2026-04-11", "2026-05-11")  # with the day that was used before the pause


@pytest.mark.parametrize(
    ("zone", "still", "over"),
    [
        ("Europe/Madrid", "2026-03-31T21:59:59", "2026-03-31T22:00:00"),
        ("Pacific/Kiritimati", "2026-04-01T09:59:59", "2026-04-01T10:00:00"),  # begun on the 2nd there
        ("Pacific/Niue", "2026-04-01T10:59:59", "2026-04-01T11:00:00"),
    ],
)
def test_it_begins_with_the_day_in_the_accounts_zone(shop, zone, still, over):
    subscription = buy(shop, account=shop.open_account(time_zone=zone))
    later(shop, subscription)
    shop.clock.move_to(datetime.fromisoformat(still).replace(tzinfo=UTC))
    assert pause_due(shop.engine) == 0

    shop.clock.move_to(datetime.fromisoformat(over).replace(tzinfo=UTC))

    assert [pause_due(shop.engine) for _ in range(2)] == [1, 0]
    assert (len(shop.events("subscription.paused")), shop.show(subscription)["paused_on"]) == (1, period(shop, subscription)[1])


# --- trials, and what is past due


def test_a_trial_keeps_its_days(shop):
    store(shop)
    subscription = shop.try_out("gotoassist-standard")
    end = shop.refresh(subscription).trial_end
    shop.on("2026-03-03")
    now(shop, subscription)
    work(shop, "2026-05-03")
    assert shop.show(subscription)["status"] == "paused"

    go_on(shop, subscription)

    shown = shop.show(subscription)
    assert (shown["status"], (date.fromisoformat(shown["trial_end"]) - end).days) == ("trialing", 61)
    assert shown["current_period"]["end"] == shown["trial_end"]


def test_what_is_past_due_goes_on_with_what_it_owes(shop):
    subscription = buy(shop)
    shop.engine.db.update(subscription, status="past_due")
    shop.on("2026-04-05")
    now(shop, subscription)
    shop.on("2026-04-15")

    go_on(shop, subscription)
    work(shop, "2026-04-15")

    assert period(shop, subscription) == ("2026-04-11", "2026-05-11")  # the four days used since 1 April are paid for


def test_a_schedule_may_end_in_a_pause(open_shop):
    class Patient:
        @hookimpl
        def retry_schedule(self, past_due):
            return RetrySchedule(ends_at=past_due.since, then="pause")

    shop = open_shop(plugins={"patient": Patient()}, disabled=["dunning"])
    subscription = shop.buy("gotoassist-professional")  # no method is stored
    shop.on("2026-04-01")
    renew_due(shop.engine)

    end_past_due(shop.engine)

    shown = shop.show(subscription)
    assert (shown["status"], shown["paused_on"], shown["past_due"]) == ("paused", "2026-04-01", None)
    store(shop)
    go_on(shop, subscription)
    renew_due(shop.engine)
    assert period(shop, subscription) == ("2026-04-01", "2026-05-01")


# --- at once


def test_while_an_order_changes_it_it_is_not_paused(shop):
    subscription = buy(shop)
    change_at_the_bank(shop, subscription, seats=2)

    with pytest.raises(TransitionInvalid, match="An order that changes this subscription is being paid"):
        now(shop, subscription)


def two(open_shop):
    shop = open_shop()
    return shop, [shop, open_shop(folder=shop.folder)]


def test_of_many_that_pause_and_of_many_that_resume_at_once_one_does(open_shop):
    shop, workers = two(open_shop)
    subscription = buy(shop)

    paused = at_once(shop, [partial(now, worker, subscription) for worker in workers * 2])
    for worker in workers:
        worker.on("2026-03-05")
    resumed = at_once(shop, [partial(go_on, worker, subscription) for worker in workers * 2])

    for answers in (paused, resumed):
        assert sorted(type(answer).__name__ for answer in answers) == ["Subscription", *["TransitionInvalid"] * 3]
    assert period(shop, subscription) == ("2026-03-05", "2026-04-05")
    assert (len(shop.events("subscription.paused")), len(shop.events("subscription.resumed"))) == (1, 1)


def test_a_pause_and_a_renewal_at_once_charge_a_day_once(open_shop):
    shop, workers = two(open_shop)
    bought = [buy(shop, account=shop.open_account()) for _ in range(4)]
    for worker in workers:
        worker.on("2026-04-01")

    at_once(shop, [partial(renew_due, shop.engine), *(partial(now, workers[1], each) for each in bought)])

    lines = shop.engine.db.all(InvoiceLine.select())
    for each in bought:
        shown = shop.show(each)
        periods = sorted(str(line.period_end) for line in lines if line.subscription == each.id)
        assert (shown["status"] == "paused" or len(periods) == 2) and shown["current_period"]["end"] == periods[-1]
    assert len(charged(shop)) == shop.count(Invoice) == len(lines)


def test_over_the_api(shop, client):
    subscription = buy(shop)
    path = f"/v1/subscriptions/{subscription.id}"

    paused = client.post(f"{path}/pause", {"at": "now", "reason": "summer"})
    again = client.post(f"{path}/pause")
    shop.on("2026-03-11")
    resumed = client.post(f"{path}/resume")

    assert (paused.status_code, paused.json["status"], paused.json["paused_on"]) == (200, "paused", "2026-03-01")
    assert problem(again) == (409, "transition-invalid")
    assert (resumed.json["status"], resumed.json["next_charge"]) == ("active", {"date": "2026-04-11", "amount": euros("72.60")})
    assert problem(client.post(f"{path}/pause", {"at": "later"}))[:2] == (422, "validation-failed")
