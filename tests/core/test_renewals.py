"""Renewals: what they cost and invoice, on which day, at which terms; and that a late run catches up as if it had been in time."""

from datetime import UTC, datetime

import pytest

from core.access import INTERNAL
from core.accounts import set_tax_id
from core.cancellations import cancel
from core.engine.setbacks import Setback
from core.invoices import Invoice, InvoiceLine, invoice_document
from core.orders import Order, order_document
from core.renewals import due_accounts, renew
from core.seats import assigned_users
from core.stuck import stuck_cases
from core.subscriptions import SubscriptionChange
from puesto import Plan, Price, Product, eur, hookimpl
from tests.core.test_trials import Club


def euros(text):
    return {"amount": eur(text).amount, "currency": "EUR"}


def charged(shop):
    """What was really taken, the oldest first."""
    return [charge.amount for charge in shop.engine.providers["sandbox"].charges() if charge.status == "captured" and charge.amount]


def renewals(shop):
    """The orders of renewals, the oldest first, as the API shows them."""
    rows = shop.engine.db.all(Order.select().where(Order.kind == "renewal").order_by(Order.id))
    return [order_document(shop.engine, row) for row in rows]


def invoice_of(shop, order):
    return invoice_document(shop.engine, shop.engine.db.get(Invoice, order["invoice"]))


def period(shop, subscription):
    return tuple(shop.show(subscription)["current_period"].values())


def buy(shop, plan="gotoassist-professional", **what):
    """Bought with a method that is stored."""
    return shop.buy(plan, token="tok_ok", save=True, **what)


def on(shop, day):
    """That day comes, and the worker looks for work."""
    shop.on(day)
    shop.run()


def test_the_next_period_is_charged_to_the_stored_method_and_invoiced(shop):
    subscription = buy(shop, seats=5)
    before = len(shop.events())

    on(shop, "2026-04-01")

    [order] = renewals(shop)
    invoice, shown = invoice_of(shop, order), shop.show(subscription)
    assert charged(shop) == [eur("363.00"), eur("363.00")]  # 5 x 60.00 + 21 %
    assert (order["status"], order["cart"], order["total"], order["due_now"]) == ("completed", None, euros("363.00"), euros("363.00"))
    assert (order["lines"][0]["mode"], order["lines"][0]["explanation"][0]["formula"]) == ("renewal", "5 x 60.00")
    assert (invoice["number"], invoice["status"], invoice["issued_on"]) == ("2026-000002", "paid", "2026-04-01")
    [line] = invoice["lines"]
    assert (line["kind"], line["seats"], line["period"]) == ("charge", 5, {"start": "2026-04-01", "end": "2026-05-01"})
    assert (shown["status"], shown["current_period"], shown["anchor_day"]) == ("active", line["period"], 1)
    assert shown["next_charge"] == {"date": "2026-05-01", "amount": euros("363.00")}
    assert [event["type"] for event in shop.events()][before:] == ["order.completed", "subscription.renewed"]


def test_a_second_look_on_the_same_day_and_one_on_the_day_before_do_nothing(shop):
    buy(shop)
    on(shop, "2026-03-31")
    assert renewals(shop) == []

    on(shop, "2026-04-01")
    rows = shop.rows()
    on(shop, "2026-04-30")

    assert shop.rows() | {"delivery": 0} == rows | {"delivery": 0}


@pytest.mark.parametrize(
    ("plan", "seats", "interval", "country"),
    [
        ("gotowebinar-standard", 7, "year", "ES"),
        ("gotomeeting-professional", 23, "month", "DE"),  # graduated
        ("rescue-standard", 1, "year", "FI"),  # 25.5 %
        ("gotoassist-professional", 5, "month", "US"),
    ],
)
def test_the_quote_said_what_the_renewal_charges_and_when(shop, plan, seats, interval, country):
    account = shop.open_account(country=country)
    cart = shop.cart({"mode": "buy", "plan": plan, "seats": seats, "interval": interval}, account=account)
    promised = shop.quote(cart).lines[0].document["next_charge"]
    shop.order(cart, token="tok_ok", save=True)

    on(shop, promised["date"])

    [order] = renewals(shop)
    invoice = invoice_of(shop, order)
    assert promised["amount"] == order["total"] == invoice["total"]
    assert promised["date"] == invoice["lines"][0]["period"]["start"] == invoice["issued_on"]


def test_subscriptions_that_fall_due_on_one_day_are_one_order_and_one_invoice(shop):
    first, second = buy(shop, seats=2), buy(shop, "rescue-standard")
    shop.on("2026-03-02")
    third, theirs = shop.buy("gotomeeting-professional"), buy(shop, account=shop.open_account())
    shop.on("2026-04-02")

    shop.run()

    together, later, other = sorted(renewals(shop), key=lambda order: (order["account"], order["id"]))
    assert together["subscriptions"] == [first.id, second.id]
    assert (later["subscriptions"], other["subscriptions"]) == ([third.id], [theirs.id])
    assert len(invoice_of(shop, together)["lines"]) == 2
    assert together["total"]["amount"] == sum(line["total"]["amount"] for line in together["lines"])


@pytest.mark.parametrize(
    ("zone", "before", "after"),
    [
        ("Europe/Madrid", "2026-03-31T21:59:59", "2026-03-31T22:00:00"),  # summer time since the 29th
        ("Pacific/Kiritimati", "2026-04-01T09:59:59", "2026-04-01T10:00:00"),  # begun on the 2nd there
        ("Pacific/Niue", "2026-04-01T10:59:59", "2026-04-01T11:00:00"),
    ],
)
def test_it_falls_due_as_the_day_begins_in_the_accounts_zone(shop, zone, before, after):
    buy(shop, account=shop.open_account(time_zone=zone))
    shop.clock.move_to(datetime.fromisoformat(before).replace(tzinfo=UTC))
    assert due_accounts(shop.engine) == []

    shop.clock.move_to(datetime.fromisoformat(after).replace(tzinfo=UTC))
    shop.run()

    assert len(renewals(shop)) == 1


@pytest.mark.parametrize(
    ("zone", "before", "after"),
    [
        # 14 days from 20 March; the clocks of Madrid go forward on the 29th
        ("Europe/Madrid", "2026-04-02T21:59:59", "2026-04-02T22:00:00"),
        ("Pacific/Kiritimati", "2026-04-03T09:59:59", "2026-04-03T10:00:00"),  # it was the 21st there
        ("Pacific/Niue", "2026-04-03T10:59:59", "2026-04-03T11:00:00"),
    ],
)
def test_a_trial_over_a_change_of_the_clocks_becomes_paid_as_its_day_begins(shop, zone, before, after):
    shop.on("2026-03-20")
    account = shop.open_account(time_zone=zone)
    subscription = shop.try_out("gotomeeting-professional", account=account, token="tok_ok", save=True)
    shop.clock.move_to(datetime.fromisoformat(before).replace(tzinfo=UTC))
    shop.run()
    assert renewals(shop) == []

    shop.clock.move_to(datetime.fromisoformat(after).replace(tzinfo=UTC))
    shop.run()

    begins = account.today(shop.engine).isoformat()
    assert [order["lines"][0]["period"]["start"] for order in renewals(shop)] == [begins]
    assert shop.show(subscription)["anchor_day"] == int(begins[-2:]) == (4 if zone == "Pacific/Kiritimati" else 3)


def test_a_late_run_catches_up_period_by_period_and_the_anchor_stays(shop):
    shop.on("2027-01-31")
    subscription = buy(shop)

    on(shop, "2027-05-02")

    orders = renewals(shop)
    assert [tuple(order["lines"][0]["period"].values()) for order in orders] == [
        ("2027-02-28", "2027-03-31"),
        ("2027-03-31", "2027-04-30"),
        ("2027-04-30", "2027-05-31"),
    ]
    assert [invoice_of(shop, order)["number"] for order in orders] == ["2027-000002", "2027-000003", "2027-000004"]
    assert charged(shop) == [eur("72.60")] * 4
    assert period(shop, subscription) == ("2027-04-30", "2027-05-31")


def test_what_falls_due_after_the_day_that_is_named_is_left_alone(shop):
    subscription = buy(shop)
    shop.on("2026-06-15")
    named = datetime(2026, 5, 1).date()

    renew(shop.engine, due_accounts(shop.engine, named), named)

    assert (len(renewals(shop)), period(shop, subscription)) == (2, ("2026-05-01", "2026-06-01"))
    assert due_accounts(shop.engine, named) == []


# --- the terms that hold then


def test_changes_that_wait_for_the_period_s_end_take_effect_with_it(shop):
    subscription = buy(shop, seats=5)
    users = [shop.add_user() for _ in range(3)]
    shop.assign(subscription, *users)
    shop.change(subscription, seats=2, release=[users[0].id])
    shop.change(subscription, plan="gotoassist-standard")
    promised, before = shop.show(subscription)["next_charge"], len(shop.events())

    on(shop, "2026-04-01")

    [order] = renewals(shop)
    shown = shop.show(subscription)
    assert promised == {"date": "2026-04-01", "amount": order["total"]} == {"date": "2026-04-01", "amount": euros("29.04")}  # 2 x 12.00
    assert (shown["plan"], shown["seats"], shown["pending_changes"], shown["status"]) == ("gotoassist-standard", 2, [], "active")
    assert assigned_users(shop.engine, subscription) == [users[1].id, users[2].id]
    assert shop.count(SubscriptionChange) == 0
    told = [event["type"] for event in shop.events()][before:]
    assert told == ["seat.released", "order.completed", "subscription.renewed", "subscription.changed"]
    assert shop.events("subscription.changed")[-1]["data"]["before"]["seats"] == 5


class Dearer:
    """What is sold, at a price that rises."""

    def __init__(self, price):
        self._price = price

    @hookimpl
    def register_products(self):
        prices = [Price.per_seat("month", self._price)]
        plans = [Plan(f"club-{name}", {"en": name}, tier, prices) for tier, name in enumerate(("one", "two"))]
        return [Product("club", {"en": "Club"}, plans)]


@pytest.fixture
def reopened(open_shop):
    """reopened(shop, plugins={...}): the same shop under other settings."""

    def build(shop, **settings):
        now = shop.clock.now()
        again = open_shop(folder=shop.folder, **settings)
        again.clock.move_to(now)
        return again

    return build


def test_it_goes_on_at_the_price_it_was_sold_for(open_shop, reopened):
    first = open_shop(plugins={"club": Dearer(eur("10.00"))})
    subscription = buy(first, "club-one")

    shop = reopened(first, plugins={"club": Dearer(eur("15.00"))})
    on(shop, "2026-04-01")

    assert charged(shop) == [eur("12.10"), eur("12.10")]
    assert shop.show(subscription)["next_charge"]["amount"] == euros("12.10")


def test_it_goes_on_though_its_plugin_is_gone(open_shop, reopened):
    first = open_shop(plugins={"club": Dearer(eur("10.00"))})
    subscription = buy(first, "club-one", seats=3)

    shop = reopened(first)
    on(shop, "2026-04-01")

    assert shop.show(subscription)["status"] == "active"
    assert renewals(shop)[0]["lines"][0]["product_name"] == "Club"
    assert charged(shop) == [eur("36.30"), eur("36.30")]


def test_a_change_to_what_is_no_longer_sold_is_held_back_with_why_and_the_old_terms_go_on(open_shop, reopened):
    first = open_shop(plugins={"club": Dearer(eur("10.00"))})
    subscription = buy(first, "club-two", seats=4)
    first.change(subscription, plan="club-one")
    first.change(subscription, seats=3)

    shop = reopened(first)
    on(shop, "2026-04-01")

    shown, [order] = shop.show(subscription), renewals(shop)
    assert (order["status"], order["net"], shop.count(Setback)) == ("completed", euros("30.00"), 0)
    assert (shown["plan"], shown["seats"], shown["current_period"]["end"]) == ("club-two", 3, "2026-05-01")
    [waits] = shown["pending_changes"]
    assert (waits["plan"], waits["effective_on"], waits["problem"]) == ("club-one", "2026-05-01", "plan-unavailable")
    [case], _ = stuck_cases(shop.engine, limit=10)
    assert (case.kind, case.id, case.subject, case.reason) == ("change", waits["id"], subscription.id, "club-one: plan-unavailable")
    assert shown["next_charge"] == {"date": "2026-05-01", "amount": euros("36.30")}

    sold_again = reopened(shop, plugins={"club": Dearer(eur("10.00"))})
    on(sold_again, "2026-05-01")

    shown = sold_again.show(subscription)
    assert (shown["plan"], shown["seats"], shown["pending_changes"]) == ("club-one", 3, [])
    assert stuck_cases(sold_again.engine, limit=10) == ([], None)


def test_a_change_is_held_back_as_a_whole_with_its_seats_and_who_loses_one(open_shop, reopened):
    first = open_shop(plugins={"club": Dearer(eur("10.00"))})
    subscription, users = buy(first, "club-two", seats=2), [first.add_user(), first.add_user()]
    first.assign(subscription, *users)
    first.change(subscription, plan="club-one", seats=1, release=[users[0].id])

    shop = reopened(first)
    on(shop, "2026-04-01")

    shown = shop.show(subscription)
    assert (shown["plan"], shown["seats"], shown["seats_assigned"], shop.events("seat.released")) == ("club-two", 2, 2, [])
    assert [(each["plan"], each["seats"], each["release"]) for each in shown["pending_changes"]] == [("club-one", 1, [users[0].id])]


def test_tax_is_decided_anew_on_that_day(shop):
    account = shop.open_account(country="DE")
    buy(shop, account=account)
    number = {"value": "DE136695976", "country": "DE", "number": "136695976", "status": "valid", "checked_at": None}
    set_tax_id(shop.engine, account.id, INTERNAL, {**number, "consultation_number": None, "name": None, "source": ""})

    on(shop, "2026-04-01")

    [order] = renewals(shop)
    assert charged(shop) == [eur("71.40"), eur("60.00")]
    assert order["lines"][0]["taxes"][0]["reason"] == "reverse_charge"
    assert invoice_of(shop, order)["notes"] != []


def test_credit_of_the_account_is_used_first_and_what_is_left_is_charged(shop):
    subscription = buy(shop, "gotoassist-standard", interval="year")
    shop.change(subscription, interval="month")  # (120.00 - 12.00) x 1.21 = 130.68 are left over
    shop.engine.db.update(shop.account, balance=2000)

    on(shop, "2026-05-01")

    first, second = renewals(shop)
    assert (first["credit_used"], first["due_now"], first["payment"]) == (euros("14.52"), euros("0.00"), None)
    assert (second["credit_used"], second["due_now"]) == (euros("5.48"), euros("9.04"))
    assert (charged(shop)[-1], shop.account.balance) == (eur("9.04"), 0)


class Free:
    @hookimpl
    def register_products(self):
        return [Product("gift", {"en": "Gift"}, [Plan("gift-one", {"en": "One"}, 1, [Price.per_seat("month", eur("0.00"))])])]


def test_what_costs_nothing_goes_on_for_nothing(open_shop):
    shop = open_shop(plugins={"gift": Free()})
    subscription = shop.buy("gift-one")

    on(shop, "2026-05-15")

    assert period(shop, subscription) == ("2026-05-01", "2026-06-01")
    assert [(order["status"], order["payment"], order["invoice"]) for order in renewals(shop)] == [("completed", None, None)] * 2
    assert shop.count(InvoiceLine) == 0


# --- what is not renewed


def test_what_is_cancelled_ends_and_is_not_charged(shop):
    subscription = buy(shop)
    cancel(shop.engine, subscription.id, INTERNAL, at="period_end")
    shop.on("2026-06-01")

    renew(shop.engine, [subscription.account])  # by who had found it before it was cancelled
    shop.run()

    assert (shop.show(subscription)["status"], renewals(shop), shop.count(Setback)) == ("cancelled", [], 0)


def test_while_an_order_changes_it_it_is_not_renewed_and_afterwards_it_is(shop):
    subscription = buy(shop)
    shop.on("2026-03-31")
    waiting = shop.order(shop.cart({"mode": "change", "subscription": subscription.id, "seats": 2}), token="tok_3ds")

    shop.clock.move_to(datetime(2026, 4, 1, tzinfo=UTC))
    assert due_accounts(shop.engine) == []
    renew(shop.engine, [subscription.account])
    assert (renewals(shop), shop.count(Setback)) == ([], 0)
    on(shop, "2026-04-02")

    assert shop.engine.db.get(Order, waiting["id"]).status == "cancelled"
    assert [order["status"] for order in renewals(shop)] == ["completed"]


# --- trials


def test_a_trial_with_a_method_goes_on_as_a_paid_subscription(shop):
    subscription = shop.try_out("gotomeeting-professional", seats=3, token="tok_ok", save=True)
    user = shop.add_user()
    shop.assign(subscription, user)
    promised, before = shop.show(subscription)["next_charge"], len(shop.events())

    on(shop, "2026-03-15")

    [order] = renewals(shop)
    shown = shop.show(subscription)
    assert (promised["amount"], promised["date"]) == (order["total"], "2026-03-15") == (euros("50.82"), "2026-03-15")  # 3 x 14.00 + 21 %
    assert (shown["status"], shown["trial_end"], shown["anchor_day"], shown["seats_assigned"]) == ("active", None, 15, 1)
    assert shown["current_period"] == {"start": "2026-03-15", "end": "2026-04-15"}
    assert [event["type"] for event in shop.events()][before:] == ["order.completed", "subscription.started"]


def test_after_a_trial_as_many_seats_are_billed_as_the_plan_is_sold_with(open_shop):
    shop = open_shop(plugins={"club": Club()})
    subscription = shop.try_out("club-plus", seats=2, token="tok_ok", save=True)

    on(shop, "2026-03-15")

    assert renewals(shop)[0]["lines"][0]["explanation"][0]["formula"] == "10 x 10.00"
    assert (shop.show(subscription)["status"], shop.show(subscription)["seats"], charged(shop)) == ("active", 10, [eur("121.00")])
