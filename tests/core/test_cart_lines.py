"""Which lines may stand in a cart: what each mode needs, what is not sold so, what was tried, and what can't be changed."""

import pytest

from core.access import INTERNAL
from core.cancellations import cancel
from core.carts import Cart, CartLine, LineInput, add_line, cart_document, change_line, lines_of
from core.errors import (
    CurrencyUnsupported,
    Missing,
    PlanUnavailable,
    SeatsInUse,
    SeatsOutOfRange,
    TransitionInvalid,
    TrialNotEligible,
    ValidationFailed,
)
from puesto import Plan, Price, Product, Trial, hookimpl, money

BUY = {"mode": "buy", "plan": "gotoassist-standard", "interval": "month", "seats": 2}
TRY = {"mode": "trial", "plan": "gotowebinar-standard", "seats": 1}
MEETING = {"mode": "buy", "plan": "gotomeeting-business", "interval": "year", "seats": 10}


def pointers(error):
    return [each.pointer for each in error.value.errors]


def refusal(shop, kind, line, *, match=None):
    """The error for a cart whose second line can't stand there; nothing of the cart is written."""
    account = shop.account
    before = shop.rows()
    with pytest.raises(kind, match=match) as refused:
        shop.cart(BUY, line, account=account)
    assert shop.rows() == before
    return refused


def shown(shop, cart):
    return cart_document(shop.engine, shop.refresh(cart))


def seats_of(shop, cart):
    return [line.seats for line in lines_of(shop.engine, cart)]


@pytest.mark.parametrize(
    ("line", "pointer", "words"),
    [
        ({"mode": "buy", "interval": "month", "seats": 1}, "plan", "A line of mode buy needs plan"),
        ({"mode": "buy", "plan": "gotoassist-standard", "seats": 1}, "interval", "A line of mode buy needs interval"),
        ({"mode": "buy", "plan": "gotoassist-standard", "interval": "month"}, "seats", "A line of mode buy needs seats"),
        ({**BUY, "subscription": "sub_1"}, "subscription", "A line of mode buy has no subscription"),
        ({**BUY, "release": ("usr_1",)}, "release", "A line of mode buy has no release"),
        ({"mode": "trial", "seats": 1}, "plan", "A line of mode trial needs plan"),
        ({"mode": "trial", "plan": "gotoassist-standard"}, "seats", "A line of mode trial needs seats"),
        ({**TRY, "subscription": "sub_1"}, "subscription", "A line of mode trial has no subscription"),
        ({"mode": "change", "seats": 3}, "subscription", "A line of mode change needs subscription"),
    ],
)
def test_each_mode_needs_its_fields_and_refuses_others(shop, line, pointer, words):
    refused = refusal(shop, ValidationFailed, line, match=words)

    assert pointers(refused) == [f"/lines/1/{pointer}"]


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        *(({**BUY, "seats": seats}, (1, 100_000, 1)) for seats in (0, -1, 100_001, 10**12)),
        *(({**MEETING, "seats": seats}, (10, 100_000, 5)) for seats in (9, 12)),
        ({**BUY, "plan": "gotomeeting-essentials", "seats": 11}, (1, 10, 1)),
        ({**BUY, "plan": "rescue-enterprise", "seats": 1010}, (10, 1000, 10)),
        *(({**TRY, "seats": seats}, (1, 2, 1)) for seats in (0, 3, 10**12)),
    ],
)
def test_seats_that_are_not_sold_are_refused_with_the_rule(shop, line, rule):
    refused = refusal(shop, SeatsOutOfRange, line)

    assert pointers(refused) == ["/lines/1/seats"]
    assert refused.value.extra == dict(zip(("min", "max", "step"), rule, strict=True))


class Club:
    """Sold by the year, in yen, with a trial."""

    @hookimpl
    def register_products(self):
        price = Price.per_seat("year", money(9000, "JPY"))
        return [Product("club", {"en": "Club"}, [Plan("club-basic", {"en": "Basic"}, 1, [price], trial=Trial(7, 1))])]


@pytest.mark.parametrize(
    ("line", "kind", "pointer"),
    [
        ({**BUY, "plan": "gotonowhere-basic"}, PlanUnavailable, "plan"),
        ({**TRY, "plan": "gotonowhere-basic"}, PlanUnavailable, "plan"),
        ({**BUY, "interval": "week"}, PlanUnavailable, "interval"),
        ({**BUY, "plan": "club-basic", "interval": "year"}, CurrencyUnsupported, "plan"),
        ({**TRY, "plan": "rescue-standard"}, TrialNotEligible, "plan"),
    ],
    ids=["unknown plan", "unknown plan to try", "interval", "currency", "no trial"],
)
def test_what_is_not_sold_so_is_refused(open_shop, line, kind, pointer):
    shop = open_shop(plugins={"club": Club()})

    refused = refusal(shop, kind, line)

    assert pointers(refused) == [f"/lines/1/{pointer}"]


def test_a_trial_has_the_first_interval_that_its_plan_is_sold_by(open_shop):
    shop = open_shop(plugins={"club": Club()})

    cart = shop.cart({"mode": "trial", "plan": "club-basic", "seats": 1}, account=shop.open_account(currency="JPY"))

    assert [line["interval"] for line in shown(shop, cart)["lines"]] == ["year"]


def test_a_product_is_tried_once_in_a_cart_whatever_the_plan(shop):
    with pytest.raises(TrialNotEligible, match="The cart has a trial of gotowebinar already") as refused:
        shop.cart(TRY, {**TRY, "plan": "gotowebinar-professional"})

    assert pointers(refused) == ["/lines/1/plan"]
    assert shop.count(Cart) == 0


def test_a_product_is_tried_once_by_an_account(shop):
    shop.try_out("gotowebinar-professional")

    refused = refusal(shop, TrialNotEligible, TRY, match="The account has tried gotowebinar already")

    assert pointers(refused) == ["/lines/1/plan"]
    shop.cart(TRY, account=shop.open_account())


def test_a_product_that_was_bought_is_not_tried(shop):
    shop.buy("gotowebinar-standard")

    refused = refusal(shop, TrialNotEligible, TRY, match="The account has bought gotowebinar already")

    assert pointers(refused) == ["/lines/1/plan"]


def test_a_product_is_not_tried_while_another_order_tries_it(shop):
    waiting = shop.cart(BUY, TRY)
    shop.order(waiting, token="tok_3ds")

    refused = refusal(shop, TrialNotEligible, TRY, match="Another order of the account that tries gotowebinar is being paid")

    assert pointers(refused) == ["/lines/1/plan"]
    change_line(shop.engine, waiting.id, lines_of(shop.engine, waiting)[1].id, INTERNAL, seats=2)
    assert seats_of(shop, waiting) == [2, 2]


@pytest.mark.parametrize(
    ("changes", "kind", "pointer", "words"),
    [
        ({}, ValidationFailed, "subscription", "Nothing changes"),
        ({"seats": 2, "plan": "gotoassist-standard", "interval": "month"}, ValidationFailed, "subscription", "Nothing changes"),
        ({"plan": "rescue-standard"}, ValidationFailed, "plan", "A change stays within the product gotoassist"),
        ({"plan": "gotonowhere-basic"}, PlanUnavailable, "plan", "There is no plan"),
        ({"interval": "week"}, PlanUnavailable, "interval", "not sold by the week"),
        ({"seats": 0}, SeatsOutOfRange, "seats", "1 to 100000"),
        ({"seats": 10**12}, SeatsOutOfRange, "seats", "1 to 100000"),
        ({"seats": 3, "release": ("usr_1",)}, ValidationFailed, "release", "usr_1 has no seat"),
    ],
)
def test_a_change_must_change_something_within_its_product(shop, changes, kind, pointer, words):
    subscription = shop.buy("gotoassist-standard", seats=2)

    refused = refusal(shop, kind, {"mode": "change", "subscription": subscription.id, **changes}, match=words)

    assert pointers(refused) == [f"/lines/1/{pointer}"]


def test_another_accounts_subscription_is_missing(shop):
    theirs = shop.buy("gotoassist-standard", account=shop.open_account())

    refused = refusal(shop, Missing, {"mode": "change", "subscription": theirs.id, "seats": 3})

    assert pointers(refused) == ["/lines/1/subscription"]


def test_a_subscription_that_ends_or_has_ended_does_not_change(shop):
    ended, ending = shop.buy("gotoassist-standard"), shop.buy("gotoassist-standard")
    cancel(shop.engine, ended.id, INTERNAL, at="now")
    cancel(shop.engine, ending.id, INTERNAL, at="period_end")

    for subscription, words in ((ended, "is cancelled; only a running one"), (ending, "ends on 2026-04-01. Reactivate it")):
        refused = refusal(shop, TransitionInvalid, {"mode": "change", "subscription": subscription.id, "seats": 3}, match=words)
        assert pointers(refused) == ["/lines/1/subscription"]


def test_a_subscription_that_an_order_changes_is_not_changed_by_another(shop):
    change = {"mode": "change", "subscription": shop.buy("gotoassist-standard").id, "seats": 3}
    waiting = shop.cart(change)
    shop.order(waiting, token="tok_3ds")

    refused = refusal(shop, TransitionInvalid, {**change, "seats": 4}, match="An order that changes this subscription is being paid")

    assert pointers(refused) == ["/lines/1/subscription"]
    change_line(shop.engine, waiting.id, lines_of(shop.engine, waiting)[0].id, INTERNAL, seats=5)
    assert seats_of(shop, waiting) == [5]


def test_a_subscription_is_changed_once_in_a_cart(shop):
    change = {"mode": "change", "subscription": shop.buy("gotoassist-standard").id, "seats": 3}

    with pytest.raises(ValidationFailed, match="The cart changes this subscription already") as refused:
        shop.cart(change, {**change, "seats": 4})

    assert pointers(refused) == ["/lines/1/subscription"]


def test_seats_in_use_are_not_dropped_without_naming_who_loses_theirs(shop):
    subscription = shop.buy("gotoassist-standard", seats=3)
    users = [shop.add_user() for _ in range(3)]
    shop.assign(subscription, *users)
    change = {"mode": "change", "subscription": subscription.id, "seats": 1}

    refused = refusal(shop, SeatsInUse, {**change, "release": (users[0].id,)}, match="3 seats are assigned and 1 would be left")

    assert pointers(refused) == ["/lines/1/seats"]
    assert refused.value.extra == {"assigned": [user.id for user in users]}
    cart = shop.cart({**change, "release": (users[0].id, users[2].id)})
    assert shown(shop, cart)["lines"][0]["release"] == [users[0].id, users[2].id]


def test_a_cart_has_at_most_50_lines(shop):
    cart = shop.cart(*[BUY] * 50)

    with pytest.raises(ValidationFailed, match="at most 50 lines"):
        shop.cart(*[BUY] * 51)
    with pytest.raises(ValidationFailed, match="at most 50 lines"):
        add_line(shop.engine, cart.id, INTERNAL, LineInput(**BUY))

    assert (shop.count(Cart), shop.count(CartLine)) == (1, 50)
