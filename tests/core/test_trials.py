"""Trials: once per account and product, free, and what becomes of them: bought, changed, cancelled, or over."""

from datetime import UTC, date, datetime, timedelta

import pytest

from core.access import INTERNAL, SCOPES, Caller
from core.cancellations import cancel, end_due
from core.carts import lines_of
from core.checkout import cancel_order
from core.errors import Forbidden, PaymentDeclined, SeatsOutOfRange, TransitionInvalid, TrialNotEligible, ValidationFailed
from core.invoices import Invoice
from core.pauses import pause, resume
from core.quotes import quote_document
from core.renewals import renew_due
from core.subscriptions import Subscription, Trial
from core.trials import extend_trial
from puesto import Plan, Price, Product, SeatRule, eur, hookimpl
from puesto import Trial as Offer

FREE = {"mode": "trial", "plan": "gotoassist-standard", "seats": 3}
CARD = {"mode": "trial", "plan": "gotomeeting-professional", "seats": 3}


def euros(text):
    return {"amount": eur(text).amount, "currency": "EUR"}


def utc(instant):
    return datetime.fromisoformat(instant).replace(tzinfo=UTC)


def ledger(shop):
    return [(trial.product, trial.ordering, str(trial.started_on)) for trial in shop.engine.db.all(Trial.select())]


def test_a_trial_is_free_for_its_days_and_nothing_follows(shop):
    quote = quote_document(shop.quote(shop.cart(FREE)))

    line = quote["lines"][0]
    assert (quote["total"], quote["due_now"], quote["payment_required"]) == (euros("0.00"), euros("0.00"), False)
    assert (line["period"], line["next_charge"]) == ({"start": "2026-03-01", "end": "2026-03-31"}, None)
    assert (line["net"], line["explanation"]) == (euros("0.00"), [])


def test_a_trial_that_needs_a_method_says_what_follows(shop):
    quote = quote_document(shop.quote(shop.cart(CARD)))

    assert (quote["due_now"], quote["payment_required"], quote["payment_providers"]) == (euros("0.00"), True, ["sandbox"])
    assert quote["lines"][0]["period"] == {"start": "2026-03-01", "end": "2026-03-15"}
    assert quote["lines"][0]["next_charge"] == {"date": "2026-03-15", "amount": euros("50.82")}  # 3 x 14.00 + 21 %


def test_an_account_with_a_stored_method_need_not_give_one(shop):
    shop.order(shop.cart({**FREE, "mode": "buy", "interval": "month"}), token="tok_ok", save=True)

    assert shop.quote(shop.cart(CARD)).payment_required is False
    assert shop.try_out("gotomeeting-professional").status == "trialing"


def test_a_trial_begins_at_once_and_is_written_in_the_ledger(shop):
    order = shop.order(shop.cart(FREE))

    subscription = shop.engine.db.get(Subscription, order["subscriptions"][0])
    shown = shop.show(subscription)
    assert (order["status"], order["invoice"], order["payment"]) == ("completed", None, None)
    assert (shown["status"], shown["trial_end"], shown["seats"], shown["next_charge"]) == ("trialing", "2026-03-31", 3, None)
    assert shown["current_period"] == {"start": "2026-03-01", "end": "2026-03-31"}
    assert ledger(shop) == [("gotoassist", None, "2026-03-01")]
    assert [event["type"] for event in shop.events()] == ["order.completed", "trial.started"]
    assert (shop.count(Invoice), shop.engine.providers["sandbox"].charges()) == (0, [])


@pytest.mark.parametrize("end", ["declined", "cancelled"])
def test_an_order_that_comes_to_nothing_leaves_the_trial_for_later(shop, end):
    cart = shop.cart(CARD)
    if end == "declined":
        with pytest.raises(PaymentDeclined):
            shop.order(cart, token="tok_card_declined")
    else:
        cancel_order(shop.engine, shop.order(cart, token="tok_3ds")["id"], INTERNAL)

    assert ledger(shop) == []
    assert shop.try_out("gotomeeting-professional").status == "trialing"


def test_a_product_is_tried_once_even_where_two_carts_were_filled_before(shop):
    carts = [shop.cart(FREE), shop.cart({**FREE, "plan": "gotoassist-professional"})]
    quotes = [shop.quote(cart).seal for cart in carts]
    shop.order(carts[0], quote=quotes[0])

    with pytest.raises(TrialNotEligible, match="The account has tried gotoassist already"):
        shop.order(carts[1], quote=quotes[1])

    assert (shop.count(Subscription), len(ledger(shop))) == (1, 1)


# --- changing one


@pytest.mark.parametrize(
    ("changes", "net", "tax", "ends"),
    [
        ({"interval": "month"}, "36.00", "7.56", "2026-04-11"),
        ({"interval": "year", "seats": 10}, "1200.00", "252.00", "2027-03-11"),
        ({"interval": "month", "plan": "gotoassist-professional", "seats": 1}, "60.00", "12.60", "2026-04-11"),
    ],
    ids=["as it is", "a year with more seats", "another plan"],
)
def test_a_trial_for_which_an_interval_is_named_is_bought_from_today(shop, changes, net, tax, ends):
    subscription = shop.try_out("gotoassist-standard", seats=3)
    shop.on("2026-03-11")

    order = shop.change(subscription, **changes)

    line, shown = order["lines"][0], shop.show(subscription)
    assert (line["subtotal"], line["credit"], line["tax"]) == (euros(net), euros("0.00"), euros(tax))
    assert (shown["status"], shown["trial_end"], shown["anchor_day"]) == ("active", None, 11)
    assert shown["current_period"] == {"start": "2026-03-11", "end": ends}
    assert [event["type"] for event in shop.events()][2:] == ["order.completed", "subscription.started"]
    shop.on("2026-03-31")
    assert end_due(shop.engine) == 0
    with pytest.raises(TrialNotEligible):
        shop.try_out("gotoassist-standard")


def test_seats_and_plan_of_a_trial_change_for_nothing_while_it_goes_on(shop):
    subscription = shop.try_out("gotoassist-standard", seats=3)
    shop.on("2026-03-11")

    order = shop.change(subscription, seats=5, plan="gotoassist-professional")

    shown = shop.show(subscription)
    assert (order["total"], order["payment"], order["invoice"]) == (euros("0.00"), None, None)
    assert (shown["plan"], shown["seats"], shown["status"]) == ("gotoassist-professional", 5, "trialing")
    assert (shown["trial_end"], shown["next_charge"], shown["pending_changes"]) == ("2026-03-31", None, [])


def test_seats_of_a_trial_that_is_charged_afterwards_change_what_follows(shop):
    subscription = shop.try_out("gotomeeting-professional", seats=3)

    shop.change(subscription, seats=2)

    assert shop.show(subscription)["next_charge"] == {"date": "2026-03-15", "amount": euros("33.88")}  # 2 x 14.00 + 21 %


@pytest.mark.parametrize(
    ("changes", "kind", "pointer"),
    [
        ({"seats": 6}, SeatsOutOfRange, "seats"),
        ({"plan": "gotomeeting-business"}, TrialNotEligible, "plan"),
        ({"seats": 3}, ValidationFailed, "subscription"),
        ({"interval": "month", "plan": "gotomeeting-business"}, SeatsOutOfRange, "seats"),
    ],
    ids=["beyond the trial", "a plan without trial", "nothing", "bought with too few seats"],
)
def test_a_trial_stays_within_what_is_tried(shop, changes, kind, pointer):
    subscription = shop.try_out("gotomeeting-professional", seats=3)

    with pytest.raises(kind) as refused:
        shop.cart({"mode": "change", "subscription": subscription.id, **changes})

    assert [error.pointer for error in refused.value.errors] == [f"/lines/0/{pointer}"]


class Club:
    """Sold from ten seats on. The trial of the first plan needs no method, that of the second does."""

    @hookimpl
    def register_products(self):
        prices, seats = [Price.per_seat("month", eur("10.00"))], SeatRule(min=10)
        basic = Plan("club-basic", {"en": "Basic"}, 1, prices, seats=seats, trial=Offer(14, 3))
        plus = Plan("club-plus", {"en": "Plus"}, 2, prices, seats=seats, trial=Offer(14, 3, requires_payment_method=True))
        return [Product("club", {"en": "Club"}, [basic, plus])]


def test_after_a_trial_at_least_as_many_seats_are_charged_as_the_plan_is_sold_with(open_shop):
    shop = open_shop(plugins={"club": Club()})
    subscription = shop.try_out("club-plus", seats=2)

    shop.change(subscription, seats=3)

    assert shop.show(subscription)["next_charge"]["amount"] == euros("121.00")  # 10 x 10.00 + 21 %


def test_a_trial_that_changes_to_a_plan_which_needs_a_method_needs_one(open_shop):
    shop = open_shop(plugins={"club": Club()})
    subscription = shop.try_out("club-basic", seats=2)
    cart = shop.cart({"mode": "change", "subscription": subscription.id, "plan": "club-plus"})

    quote = shop.quote(cart)

    assert (quote.due_now, quote.payment_required) == (eur("0.00"), True)
    assert quote_document(quote)["lines"][0]["next_charge"]["amount"] == euros("121.00")


# --- the end of one


@pytest.mark.parametrize(
    ("zone", "last", "first"),
    [
        ("Europe/Madrid", "2026-03-30T21:59:59", "2026-03-30T22:00:00"),
        ("Pacific/Niue", "2026-03-31T10:59:59", "2026-03-31T11:00:00"),
        ("Pacific/Kiritimati", "2026-03-31T09:59:59", "2026-03-31T10:00:00"),  # begun on the 2nd there
    ],
)
def test_a_trial_ends_as_its_last_day_does_in_the_accounts_zone(shop, zone, last, first):
    subscription = shop.try_out("gotoassist-standard", account=shop.open_account(time_zone=zone))
    shop.clock.move_to(utc(last))
    assert end_due(shop.engine) == 0

    shop.clock.move_to(utc(first))
    ended = [end_due(shop.engine) for _ in range(2)]

    shown = shop.show(subscription)
    assert ended == [1, 0]
    assert (shown["status"], shown["next_charge"]) == ("cancelled", None)
    assert len(shop.events("subscription.cancelled")) == 1


def test_a_trial_that_is_over_is_not_changed_but_still_bought(shop):
    subscription = shop.try_out("gotoassist-standard", seats=1)
    shop.on("2026-04-01")

    with pytest.raises(TransitionInvalid, match="The period ended on 2026-03-31"):
        shop.change(subscription, seats=2)
    shop.change(subscription, interval="month")

    assert shop.show(subscription)["status"] == "active"


def test_a_trial_that_is_being_bought_is_not_ended(shop):
    subscription = shop.try_out("gotoassist-standard")
    cart = shop.cart({"mode": "change", "subscription": subscription.id, "interval": "month"})
    order = shop.order(cart, token="tok_3ds")
    shop.on("2026-04-01")

    assert end_due(shop.engine) == 0
    cancel_order(shop.engine, order["id"], INTERNAL)
    assert end_due(shop.engine) == 1

    assert [line.mode for line in lines_of(shop.engine, cart)] == ["change"]


def test_a_cancelled_trial_runs_to_its_end(shop):
    subscription = shop.try_out("gotoassist-standard")

    cancel(shop.engine, subscription.id, INTERNAL, at="period_end")

    shown = shop.show(subscription)
    assert (shown["status"], shown["cancel_at"]) == ("trialing", "2026-03-31")
    shop.on("2026-03-31")
    assert end_due(shop.engine) == 1


# --- longer, by staff


def extend(shop, subscription, **how):
    return extend_trial(shop.engine, subscription.id, INTERNAL, **how)


@pytest.mark.parametrize("how", [{"days": 7}, {"until": date(2026, 4, 7)}])
def test_staff_extend_a_trial_by_days_or_to_a_day(shop, how):
    subscription = shop.try_out("gotoassist-standard")
    shop.on("2026-03-20")

    extend(shop, subscription, **how, reason="illness")

    shown = shop.show(subscription)
    assert (shown["status"], shown["trial_end"]) == ("trialing", "2026-04-07")
    assert shown["current_period"] == {"start": "2026-03-01", "end": "2026-04-07"}
    (event,) = shop.events("trial.extended")
    assert (event["data"]["before"], event["data"]["reason"]) == ({"trial_end": "2026-03-31"}, "illness")
    assert event["data"]["subscription"] == shown
    shop.on("2026-03-31")
    assert end_due(shop.engine) == 0
    shop.on("2026-04-07")
    assert end_due(shop.engine) == 1
    with pytest.raises(TrialNotEligible):
        shop.try_out("gotoassist-standard")


def test_what_follows_an_extended_trial_follows_later(shop):
    subscription = shop.try_out("gotomeeting-professional", token="tok_ok")
    end = shop.refresh(subscription).trial_end
    later = end + timedelta(days=3)

    extend(shop, subscription, days=3)

    shop.on(str(end))
    renew_due(shop.engine)
    assert (shop.show(subscription)["status"], shop.show(subscription)["next_charge"]["date"]) == ("trialing", str(later))
    shop.on(str(later))
    renew_due(shop.engine)
    shown = shop.show(subscription)
    assert (shown["status"], shown["current_period"]["start"], shown["anchor_day"]) == ("active", str(later), later.day)


def test_a_trial_is_never_endless(open_shop):
    shop = open_shop(subscriptions={"trial_days_at_most": 40})
    subscription = shop.try_out("gotoassist-standard")  # 30 days
    extend(shop, subscription, days=4)

    for how, pointer in [
        ({"days": 7}, "/days"),
        ({"until": date(2026, 4, 11)}, "/until"),
        ({"until": date(2026, 4, 4)}, "/until"),  # no later than it is
        ({}, "/days"),
        ({"days": 1, "until": date(2026, 4, 5)}, "/days"),
    ]:
        with pytest.raises(ValidationFailed) as refused:
            extend(shop, subscription, **how)
        assert refused.value.errors[0].pointer == pointer
    extend(shop, subscription, days=6)
    assert shop.show(subscription)["trial_end"] == "2026-04-10"


def test_the_days_of_a_pause_are_no_free_days(open_shop):
    shop = open_shop(subscriptions={"trial_days_at_most": 40})
    subscription = shop.try_out("gotoassist-standard")
    pause(shop.engine, subscription.id, INTERNAL, at="now")
    shop.on("2026-05-01")
    resume(shop.engine, subscription.id, INTERNAL)

    extend(shop, subscription, days=10)

    assert shop.show(subscription)["trial_end"] == "2026-06-10"  # 40 days from 1 May
    with pytest.raises(ValidationFailed):
        extend(shop, subscription, days=1)


def test_only_a_trial_that_runs_is_extended_and_only_by_staff(shop):
    bought, over, ending = shop.buy("rescue-standard"), shop.try_out("gotowebinar-standard"), shop.try_out("gotoassist-standard")
    cancel(shop.engine, ending.id, INTERNAL, at="period_end")
    contact = Caller("usr_1", frozenset(SCOPES) - {"staff"}, account=bought.account)
    shop.on("2026-03-25")
    before = shop.contents()

    for subscription, why in [(bought, "is active and no trial runs"), (over, "is trialing and no trial"), (ending, "Reactivate it")]:
        with pytest.raises(TransitionInvalid, match=why):
            extend(shop, subscription, days=1)
    with pytest.raises(Forbidden):
        extend_trial(shop.engine, ending.id, contact, days=1)

    assert shop.contents() == before


def test_a_trial_becomes_paid_at_the_terms_it_was_sold_under_though_its_plan_is_gone(open_shop):
    shop = open_shop()
    subscription = shop.try_out("gotomeeting-professional", token="tok_ok")
    price = shop.show(subscription)["next_charge"]["amount"]
    later = open_shop(folder=shop.folder, disabled=["gotomeeting"])
    later.on(str(shop.refresh(subscription).trial_end))

    renew_due(later.engine)

    shown = later.show(subscription)
    assert (shown["status"], shown["next_charge"]["amount"]) == ("active", price)
    assert [charge.amount.amount for charge in later.engine.providers["sandbox"].charges() if charge.amount] == [price["amount"]]
