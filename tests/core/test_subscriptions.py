"""Subscriptions: cancelled now or later, taken back, ended by the account's day; and reserved while an order is being paid."""

from datetime import UTC, datetime

import pytest

from core.access import INTERNAL, SCOPES, Caller
from core.cancellations import cancel, end_due, reactivate
from core.checkout import cancel_order, confirm_order
from core.engine.idempotency import KeyedRequest
from core.engine.setbacks import LONGEST_PAUSE, MOST_TRIES, Setback, retry
from core.errors import Missing, PaymentDeclined, PreconditionFailed, TransitionInvalid
from core.seats import assigned_users
from core.subscriptions import SubscriptionChange


def states(shop, *subscriptions):
    return [shop.refresh(subscription).status for subscription in subscriptions]


def change_at_the_bank(shop, subscription, **changes):
    """An order of a change whose buyer is at the bank."""
    cart = shop.cart({"mode": "change", "subscription": subscription.id, **changes})
    return shop.order(cart, token="tok_3ds")


def confirm(shop, order):
    return confirm_order(shop.engine, order["id"], INTERNAL, data={}, request=KeyedRequest("test confirm", order["id"], b""))


def test_a_subscription_is_shown_with_what_it_has_and_what_follows(shop):
    subscription = shop.buy("gotoassist-professional", seats=5, interval="year", account=shop.open_account(locale="es"))

    assert shop.show(subscription) == {
        "id": subscription.id,
        "account": subscription.account,
        "product": "gotoassist",
        "product_name": "GoToAssist Remote Support",
        "plan": "gotoassist-professional",
        "plan_name": "Professional",
        "seats": 5,
        "seats_assigned": 0,
        "interval": "year",
        "currency": "EUR",
        "status": "active",
        "current_period": {"start": "2026-03-01", "end": "2027-03-01"},
        "anchor_day": 1,
        "trial_end": None,
        "cancel_at": None,
        "pause_at": None,
        "paused_on": None,
        "next_charge": {"date": "2027-03-01", "amount": {"amount": 363000, "currency": "EUR"}},  # 5 x 600.00 + 21 %
        "put_off": {"amount": 0, "currency": "EUR"},
        "discount": None,
        "past_due": None,
        "unused": None,
        "pending_changes": [],
    }
    (event,) = shop.events("subscription.started")
    assert event["data"]["subscription"]["plan_name"] == "Profesional"


# --- cancelling


def test_cancelled_at_the_period_end_it_runs_until_then_and_nothing_follows(shop):
    subscription = shop.buy("gotoassist-standard")
    rows = shop.rows()

    cancel(shop.engine, subscription.id, INTERNAL, at="period_end", reason="too dear")

    shown = shop.show(subscription)
    assert (shown["status"], shown["cancel_at"], shown["next_charge"]) == ("active", "2026-04-01", None)
    assert shop.refresh(subscription).cancel_reason == "too dear"
    assert (shop.rows(), shop.events("subscription.cancelled")) == (rows, [])


def test_cancelled_now_it_ends_at_once_and_nothing_is_given_back(shop):
    subscription = shop.buy("gotoassist-professional", seats=3)
    shop.change(subscription, seats=2)
    balance = shop.account.balance

    cancel(shop.engine, subscription.id, INTERNAL, at="now")

    shown = shop.show(subscription)
    assert (shown["status"], shown["next_charge"], shown["pending_changes"]) == ("cancelled", None, [])
    assert shop.refresh(subscription).cancelled_at == shop.clock.now()
    assert (shop.account.balance, shop.count(SubscriptionChange)) == (balance, 0)
    (event,) = shop.events("subscription.cancelled")
    assert event["data"]["subscription"] == shown


@pytest.mark.parametrize("at", ["now", "period_end"])
def test_an_ended_subscription_is_not_cancelled_again(shop, at):
    subscription = shop.buy("gotoassist-standard")
    cancel(shop.engine, subscription.id, INTERNAL, at="now")

    with pytest.raises(TransitionInvalid, match="The subscription is cancelled"):
        cancel(shop.engine, subscription.id, INTERNAL, at=at)

    assert len(shop.events("subscription.cancelled")) == 1


def test_a_cancellation_that_waits_is_taken_back(shop):
    subscription = shop.buy("gotoassist-standard")
    cancel(shop.engine, subscription.id, INTERNAL, at="period_end", reason="too dear")

    reactivate(shop.engine, subscription.id, INTERNAL)

    shown = shop.show(subscription)
    assert (shown["cancel_at"], shown["next_charge"]["date"]) == (None, "2026-04-01")
    assert shop.refresh(subscription).cancel_reason is None
    shop.on("2026-04-02")
    assert end_due(shop.engine) == 0


def test_where_no_cancellation_waits_none_is_taken_back(shop):
    running, ended = shop.buy("gotoassist-standard"), shop.buy("gotoassist-standard")
    cancel(shop.engine, ended.id, INTERNAL, at="now")

    for subscription in (running, ended):
        with pytest.raises(TransitionInvalid, match="no cancellation waits"):
            reactivate(shop.engine, subscription.id, INTERNAL)

    assert states(shop, running, ended) == ["active", "cancelled"]


@pytest.mark.parametrize("act", [lambda *a: cancel(*a, at="now"), lambda *a: cancel(*a, at="period_end"), reactivate])
def test_another_accounts_subscription_is_missing_and_a_version_that_moved_on_is_refused(shop, act):
    subscription = shop.buy("gotoassist-standard")
    cancel(shop.engine, subscription.id, INTERNAL, at="period_end")
    before = shop.show(subscription)

    with pytest.raises(Missing):
        act(shop.engine, subscription.id, Caller("usr_1", frozenset(SCOPES), account=shop.open_account().id))
    with pytest.raises(PreconditionFailed):
        act(shop.engine, subscription.id, INTERNAL, 1)

    assert shop.show(subscription) == before
    act(shop.engine, subscription.id, INTERNAL, 2)
    assert shop.refresh(subscription).version > 2


@pytest.mark.parametrize(
    ("zone", "still", "over"),
    [
        ("Europe/Madrid", "2026-03-31T21:59:59", "2026-03-31T22:00:00"),  # summer time since the 29th
        ("Pacific/Kiritimati", "2026-04-01T09:59:59", "2026-04-01T10:00:00"),  # begun on the 2nd there
        ("Pacific/Niue", "2026-04-01T10:59:59", "2026-04-01T11:00:00"),
    ],
)
def test_it_ends_as_the_day_begins_in_the_accounts_zone(shop, zone, still, over):
    subscription = shop.buy("gotoassist-standard", account=shop.open_account(time_zone=zone))
    cancel(shop.engine, subscription.id, INTERNAL, at="period_end")
    shop.clock.move_to(datetime.fromisoformat(still).replace(tzinfo=UTC))
    assert end_due(shop.engine) == 0

    shop.clock.move_to(datetime.fromisoformat(over).replace(tzinfo=UTC))

    assert [end_due(shop.engine) for _ in range(2)] == [1, 0]
    assert states(shop, subscription) == ["cancelled"]
    assert len(shop.events("subscription.cancelled")) == 1


def test_a_round_of_background_work_ends_what_is_due_and_nothing_else(shop):
    running = shop.buy("gotoassist-standard", interval="year")
    ending, tried = shop.buy("rescue-standard"), shop.try_out("gotowebinar-standard")
    cancel(shop.engine, ending.id, INTERNAL, at="period_end")

    shop.on("2026-03-08")
    shop.run()
    assert states(shop, running, ending, tried) == ["active", "active", "cancelled"]
    shop.on("2026-04-01")
    shop.run()

    assert states(shop, running, ending, tried) == ["active", "cancelled", "cancelled"]


# --- reserved for an order


def test_one_that_can_not_be_ended_holds_up_no_other_and_is_parked_in_the_end(shop):
    broken, whole = (shop.buy("gotoassist-standard", account=shop.open_account()) for _ in range(2))
    for subscription in (broken, whole):
        cancel(shop.engine, subscription.id, INTERNAL, at="period_end")
    shop.engine.db.update(broken, product_name=[])
    shop.on("2026-04-01")

    ended = []
    for _ in range(2 * MOST_TRIES):
        ended.append(end_due(shop.engine))
        shop.clock.move_to(shop.clock.now() + LONGEST_PAUSE)

    [setback] = shop.engine.db.all(Setback.select())
    assert ended == [1] + [0] * (2 * MOST_TRIES - 1)
    assert [shop.refresh(each).status for each in (broken, whole)] == ["active", "cancelled"]
    assert (setback.work, setback.subject, setback.account) == ("end_subscription", broken.id, broken.account)
    assert (setback.tries, setback.next_at) == (MOST_TRIES, None)
    shop.engine.db.update(broken, product_name=whole.product_name)
    retry(shop.engine)
    assert (end_due(shop.engine), shop.refresh(broken).status, shop.count(Setback)) == (1, "cancelled", 0)


@pytest.mark.parametrize("at", ["now", "period_end"])
def test_while_an_order_changes_it_a_cancellation_waits(shop, at):
    subscription = shop.buy("gotoassist-standard")
    order = change_at_the_bank(shop, subscription, seats=2)

    cancel(shop.engine, subscription.id, INTERNAL, at=at)

    assert (end_due(shop.engine), shop.events("subscription.cancelled")) == (0, [])
    shop.on("2026-03-02")
    confirm(shop, order)
    assert (shop.show(subscription)["seats"], shop.show(subscription)["cancel_at"]) == (2, "2026-04-01")


def test_of_two_orders_that_change_it_the_first_gets_through(shop):
    subscription = shop.buy("gotoassist-standard")
    second = shop.cart({"mode": "change", "subscription": subscription.id, "seats": 3})
    quote = shop.quote(second).seal
    first = change_at_the_bank(shop, subscription, seats=2)
    rows = shop.rows()

    with pytest.raises(TransitionInvalid, match="An order that changes this subscription is being paid"):
        shop.order(second, quote=quote)

    assert shop.rows() == rows
    confirm(shop, first)
    assert shop.show(subscription)["seats"] == 2
    assert shop.order(second)["lines"][0]["seats"] == 3


def test_an_order_that_comes_to_nothing_frees_all_that_it_would_have_changed(shop):
    first, second, third = (shop.buy("gotoassist-standard") for _ in range(3))
    changes = [{"mode": "change", "subscription": each.id, "seats": 2} for each in (first, second)]
    cart = shop.cart(*changes)
    bystander = change_at_the_bank(shop, third, seats=2)

    with pytest.raises(PaymentDeclined):
        shop.order(cart, token="tok_card_declined")
    waits = shop.order(cart, token="tok_3ds")
    assert [shop.refresh(each).changing for each in (first, second)] == [cart.id, cart.id]
    cancel_order(shop.engine, waits["id"], INTERNAL)

    assert [shop.refresh(each).changing for each in (first, second)] == [None, None]
    assert shop.refresh(third).changing == bystander["cart"]
    cancel(shop.engine, first.id, INTERNAL, at="now")
    assert states(shop, first, second, third) == ["cancelled", "active", "active"]


def test_an_order_given_up_for_a_new_one_hands_over_what_it_had_reserved(shop):
    subscription = shop.buy("gotoassist-standard")
    cart = shop.cart({"mode": "change", "subscription": subscription.id, "seats": 2})
    shop.order(cart, token="tok_3ds")

    order = shop.order(cart)

    assert (order["status"], shop.show(subscription)["seats"]) == ("completed", 2)
    assert shop.refresh(subscription).changing is None


def test_seats_are_assigned_while_an_order_changes_it(shop):
    subscription = shop.buy("gotoassist-standard", seats=2)
    user = shop.add_user()
    order = change_at_the_bank(shop, subscription, seats=3)

    shop.assign(subscription, user)
    confirm(shop, order)

    assert assigned_users(shop.engine, subscription) == [user.id]
    assert (shop.show(subscription)["seats"], shop.show(subscription)["seats_assigned"]) == (3, 1)
