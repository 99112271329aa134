"""Changes of a running subscription: what they cost by hand, when they take effect, and how those that wait combine."""

from datetime import UTC, datetime, timedelta

import pytest

from core.access import INTERNAL
from core.accounts import update_account
from core.checkout import confirm_order
from core.engine.idempotency import KeyedRequest
from core.errors import PaymentDeclined, PlanUnavailable, QuoteChanged, SeatsOutOfRange, TransitionInvalid
from core.invoices import Invoice, invoice_document
from core.seats import assigned_users
from puesto import ChangePolicy, Plan, Price, Product, eur, hookimpl


def euros(text):
    return {"amount": eur(text).amount, "currency": "EUR"}


def bill(order):
    """Charge, credit, net, tax, total of an order's only line."""
    line = order["lines"][0]
    return tuple(line[name]["amount"] / 100 for name in ("subtotal", "credit", "net", "tax", "total"))


def formulas(order):
    return [step["formula"] for step in order["lines"][0]["explanation"] if step["rule"] != "tax"]


def period(shop, subscription):
    shown = shop.show(subscription)
    return shown["current_period"]["start"], shown["current_period"]["end"], shown["anchor_day"]


def waiting(shop, subscription):
    """What waits: (effective on, plan, interval, seats) each."""
    changes = shop.show(subscription)["pending_changes"]
    return [(each["effective_on"], each["plan"], each["interval"], each["seats"]) for each in changes]


def charges(shop):
    return [charge.amount for charge in shop.engine.providers["sandbox"].charges() if charge.status == "captured"]


def test_the_model_case_a_second_seat_after_73_of_365_days(shop):
    subscription = shop.buy("gotoassist-standard", seats=1, interval="year")
    shop.on("2026-05-13")

    order = shop.change(subscription, seats=2)

    # 120.00 x 292/365 back, 2 x 120.00 for the new year; 21 % of 240.00 less 21 % of 96.00
    assert bill(order) == (240.00, 96.00, 144.00, 30.24, 174.24)
    assert formulas(order) == ["120.00 x 292/365", "2 x 120.00"]
    assert period(shop, subscription) == ("2026-05-13", "2027-05-13", 13)
    shown = shop.show(subscription)
    assert (shown["seats"], shown["next_charge"]) == (2, {"date": "2027-05-13", "amount": euros("290.40")})
    assert charges(shop) == [eur("145.20"), eur("174.24")]
    charge, credit = invoice_document(shop.engine, shop.engine.db.get(Invoice, order["invoice"]))["lines"]
    assert (charge["kind"], charge["seats"], charge["net"], charge["tax"]) == ("charge", 2, euros("240.00"), euros("50.40"))
    assert charge["period"] == {"start": "2026-05-13", "end": "2027-05-13"}
    assert (credit["kind"], credit["seats"], credit["net"], credit["tax"]) == ("credit", 1, euros("-96.00"), euros("-20.16"))
    assert credit["period"] == {"start": "2026-05-13", "end": "2027-03-01"}
    (event,) = shop.events("subscription.changed")
    assert event["data"]["before"] == {"plan": "gotoassist-standard", "seats": 1, "interval": "year"}
    assert event["data"]["subscription"] == shown


@pytest.mark.parametrize(
    ("bought", "changes", "expected", "formula", "ends"),
    [
        # 5 x 60.00 x 21/31 = 203.2258 back; 480.00 charged; 100.80 - 42.68 tax
        (("gotoassist-professional", 5), {"seats": 8}, (480, 203.23, 276.77, 58.12, 334.89), "8 x 60.00", "2026-04-11"),
        # 3 x 12.00 x 21/31 = 24.3871 back; 4 x 60.00; 50.40 - 5.12 tax
        (
            ("gotoassist-standard", 3),
            {"plan": "gotoassist-professional", "seats": 4},
            (240, 24.39, 215.61, 45.28, 260.89),
            "4 x 60.00",
            "2026-04-11",
        ),
        # a month to a year: 12.00 x 21/31 = 8.1290 back; 120.00; 25.20 - 1.71 tax
        (("gotoassist-standard", 1), {"interval": "year"}, (120, 8.13, 111.87, 23.49, 135.36), "1 x 120.00", "2027-03-11"),
        # the interval outweighs the plan: a cheaper plan by the year begins now; 60.00 x 21/31 = 40.6452 back
        (
            ("gotoassist-professional", 1),
            {"interval": "year", "plan": "gotoassist-standard"},
            (120, 40.65, 79.35, 16.66, 96.01),
            "1 x 120.00",
            "2027-03-11",
        ),
    ],
    ids=["seats up", "plan up with seats", "interval", "interval with plan down"],
)
def test_restart_begins_a_new_period_today_and_gives_the_unused_days_back(shop, bought, changes, expected, formula, ends):
    plan, seats = bought
    subscription = shop.buy(plan, seats=seats)
    shop.on("2026-03-11")

    order = shop.change(subscription, **changes)

    assert bill(order) == expected
    assert formulas(order)[-1] == formula
    assert period(shop, subscription) == ("2026-03-11", ends, 11)


def test_prorate_charges_the_rest_and_keeps_the_billing_date(shop):
    subscription = shop.buy("rescue-standard", seats=8)
    shop.on("2026-03-11")

    order = shop.change(subscription, seats=12)

    # 8 x 99.00 x 21/31 = 536.516 back; 12 x 94.00 x 21/31 = 764.129 for the rest; 160.47 - 112.67 tax
    assert bill(order) == (764.13, 536.52, 227.61, 47.80, 275.41)
    assert formulas(order) == ["792.00 x 21/31", "12 x 94.00 x 21/31"]
    assert period(shop, subscription) == ("2026-03-01", "2026-04-01", 1)
    assert shop.show(subscription)["next_charge"] == {"date": "2026-04-01", "amount": euros("1364.88")}  # 1128.00 + 21 %


def test_a_second_prorated_change_credits_what_the_first_one_charged(shop):
    subscription = shop.buy("rescue-standard", seats=8)
    shop.on("2026-03-11")
    shop.change(subscription, seats=12)
    shop.on("2026-03-21")

    order = shop.change(subscription, plan="rescue-enterprise", seats=20)

    # 12 x 94.00 x 11/31 = 400.258 back; 20 x 139.00 x 11/31 = 986.4516; 207.15 - 84.05 tax
    assert bill(order) == (986.45, 400.26, 586.19, 123.10, 709.29)
    assert period(shop, subscription) == ("2026-03-01", "2026-04-01", 1)


@pytest.mark.parametrize(
    ("changes", "left", "following"),
    [
        ({"seats": 3}, (None, None, 3), "217.80"),  # 3 x 60.00 + 21 %
        ({"plan": "gotoassist-standard"}, ("gotoassist-standard", None, None), "72.60"),  # 5 x 12.00 + 21 %
        ({"plan": "gotoassist-standard", "seats": 9}, ("gotoassist-standard", None, 9), "130.68"),  # 9 x 12.00 + 21 %
    ],
    ids=["seats down", "plan down", "plan down with seats up"],
)
def test_downwards_nothing_is_due_and_the_change_waits_for_the_period_end(shop, changes, left, following):
    subscription = shop.buy("gotoassist-professional", seats=5)
    shop.on("2026-03-11")

    order = shop.change(subscription, **changes)

    assert (order["status"], order["total"], order["invoice"], order["payment"]) == ("completed", euros("0.00"), None, None)
    shown = shop.show(subscription)
    assert (shown["plan"], shown["seats"]) == ("gotoassist-professional", 5)
    assert shown["next_charge"] == order["lines"][0]["next_charge"] == {"date": "2026-04-01", "amount": euros(following)}
    assert waiting(shop, subscription) == [("2026-04-01", *left)]
    assert shown["pending_changes"][0]["policy"] == "next_period"
    assert (len(charges(shop)), shop.count(Invoice), shop.events("subscription.changed")) == (1, 1, [])


def test_changes_that_wait_combine_and_the_last_word_counts(shop):
    subscription = shop.buy("gotoassist-professional", seats=5)

    orders = [shop.change(subscription, **changes) for changes in ({"seats": 3}, {"plan": "gotoassist-standard"}, {"seats": 2})]

    following = [order["lines"][0]["next_charge"]["amount"] for order in orders]
    assert following == [euros("217.80"), euros("43.56"), euros("29.04")]  # 3 x 60.00, 3 x 12.00, 2 x 12.00, each + 21 %
    assert waiting(shop, subscription) == [("2026-04-01", "gotoassist-standard", None, None), ("2026-04-01", None, None, 2)]


def test_a_change_now_leaves_others_waiting_for_the_new_period_end(shop):
    subscription = shop.buy("gotoassist-professional", seats=5)
    shop.change(subscription, plan="gotoassist-standard", seats=3)
    shop.on("2026-03-11")

    order = shop.change(subscription, seats=8)

    assert waiting(shop, subscription) == [("2026-04-11", "gotoassist-standard", None, None)]
    assert bill(order)[0] == 480.00
    assert order["lines"][0]["next_charge"] == {"date": "2026-04-11", "amount": euros("116.16")}  # 8 x 12.00 + 21 %
    shop.change(subscription, plan="gotoassist-standard", interval="year")
    assert waiting(shop, subscription) == []


def test_a_change_that_what_waits_does_not_allow_is_refused(shop):
    subscription = shop.buy("gotomeeting-professional", seats=8)
    shop.change(subscription, plan="gotomeeting-essentials")

    with pytest.raises(SeatsOutOfRange, match="gotomeeting-essentials is sold with 1 to 10 seats"):
        shop.change(subscription, seats=11)

    assert shop.show(subscription)["seats"] == 8


@pytest.mark.parametrize(
    ("day", "credit"),
    [("2026-03-31", "300.00"), ("2026-04-29", "10.00")],  # all 30 days of the period, and one
    ids=["first day", "last day"],
)
def test_on_the_first_day_everything_is_given_back_and_on_the_last_one_day(shop, day, credit):
    shop.on("2026-03-31")
    subscription = shop.buy("gotoassist-professional", seats=5)
    assert period(shop, subscription) == ("2026-03-31", "2026-04-30", 31)
    shop.on(day)

    order = shop.change(subscription, seats=6)

    assert order["lines"][0]["credit"] == euros(credit)
    assert period(shop, subscription)[0] == day


def test_a_period_that_is_over_does_not_change(shop):
    subscription = shop.buy("gotoassist-professional")
    shop.on("2026-04-01")

    with pytest.raises(TransitionInvalid, match="The period ended on 2026-04-01") as refused:
        shop.change(subscription, seats=2)

    assert [error.pointer for error in refused.value.errors] == ["/lines/0/subscription"]


@pytest.mark.parametrize(
    ("zone", "instant", "first", "credit"),
    [
        ("Pacific/Kiritimati", "2026-03-11T09:59:59", "2026-03-11", "203.23"),  # 23:59:59 there: 21/31
        ("Pacific/Kiritimati", "2026-03-11T10:00:00", "2026-03-12", "193.55"),  # 00:00:00 there: 20/31
        ("Pacific/Niue", "2026-03-11T10:59:59", "2026-03-10", "212.90"),  # 23:59:59 there: 22/31
        ("Pacific/Niue", "2026-03-11T11:00:00", "2026-03-11", "203.23"),
        ("Europe/Madrid", "2026-03-28T22:59:59", "2026-03-28", "38.71"),  # 4/31; at two in the night it is three
        ("Europe/Madrid", "2026-03-28T23:00:00", "2026-03-29", "29.03"),
        ("Europe/Madrid", "2026-03-29T21:59:59", "2026-03-29", "29.03"),
        ("Europe/Madrid", "2026-03-29T22:00:00", "2026-03-30", "19.35"),
    ],
)
def test_days_are_those_of_the_accounts_zone(shop, zone, instant, first, credit):
    account = shop.open_account(time_zone=zone)
    subscription = shop.buy("gotoassist-professional", seats=5, account=account)
    start = shop.show(subscription)["current_period"]["start"]
    assert start == {"Pacific/Kiritimati": "2026-03-02"}.get(zone, "2026-03-01")
    shop.clock.move_to(datetime.fromisoformat(instant).replace(tzinfo=UTC) + timedelta(days=start == "2026-03-02"))

    order = shop.change(subscription, seats=6)

    moved = datetime.fromisoformat(first) + timedelta(days=start == "2026-03-02")
    assert period(shop, subscription)[0] == f"{moved:%Y-%m-%d}"
    assert order["lines"][0]["credit"] == euros(credit)


def test_an_account_that_moves_west_is_back_before_its_period_and_pays_from_its_first_day(shop):
    account = shop.open_account(time_zone="Pacific/Kiritimati")
    subscription = shop.buy("gotoassist-professional", account=account)
    update_account(shop.engine, account.id, INTERNAL, time_zone="Pacific/Niue")

    order = shop.change(subscription, seats=2)

    assert bill(order) == (120.00, 60.00, 60.00, 12.60, 72.60)
    assert period(shop, subscription) == ("2026-03-02", "2026-04-02", 2)


def test_a_credit_goes_back_at_the_rate_it_was_charged_at(shop):
    subscription = shop.buy("gotoassist-professional", seats=5)
    update_account(shop.engine, subscription.account, INTERNAL, country="DE")
    shop.on("2026-03-11")

    order = shop.change(subscription, seats=8)

    # 19 % of 480.00 charged, 21 % of 203.23 back: 91.20 - 42.68
    assert bill(order) == (480.00, 203.23, 276.77, 48.52, 325.29)
    assert [(part["rate"], part["amount"]) for part in order["lines"][0]["taxes"]] == [("19", euros("91.20")), ("21", euros("-42.68"))]


def test_a_change_whose_payment_fails_leaves_the_subscription_as_it_was(shop):
    subscription = shop.buy("gotoassist-professional", seats=5)
    cart = shop.cart({"mode": "change", "subscription": subscription.id, "seats": 8})
    before = shop.refresh(subscription).__data__

    with pytest.raises(PaymentDeclined):
        shop.order(cart, token="tok_card_declined")

    assert shop.refresh(subscription).__data__ == before
    shop.order(cart)
    assert shop.show(subscription)["seats"] == 8


def test_a_quote_of_a_change_does_not_survive_another_change(shop):
    subscription = shop.buy("gotoassist-professional", seats=5)
    cart = shop.cart({"mode": "change", "subscription": subscription.id, "seats": 8})
    seal = shop.quote(cart).seal
    shop.on("2026-03-11")
    shop.change(subscription, seats=6)

    with pytest.raises(QuoteChanged):
        shop.order(cart, quote=seal)

    assert shop.show(subscription)["seats"] == 6


def test_seats_that_go_are_taken_from_those_named_and_then_from_the_last_who_came(shop):
    subscription = shop.buy("gotoassist-standard", seats=4)
    users = [shop.add_user(email=f"{index}@acme.example") for index in range(4)]
    shop.assign(subscription, *users[:2])
    change = {"mode": "change", "subscription": subscription.id, "plan": "gotoassist-professional", "seats": 2, "release": [users[0].id]}
    waits = shop.order(shop.cart(change), token="tok_3ds")
    shop.assign(subscription, *users[2:])  # while the buyer is at the bank

    confirm_order(shop.engine, waits["id"], INTERNAL, data={}, request=KeyedRequest("test confirm", "key", b""))

    assert assigned_users(shop.engine, subscription) == [users[1].id, users[2].id]
    shown = shop.show(subscription)
    assert (shown["plan"], shown["seats"], shown["seats_assigned"]) == ("gotoassist-professional", 2, 2)
    released = [event["data"]["user"]["email"] for event in shop.events("seat.released")]
    assert released == ["0@acme.example", "3@acme.example"]


def test_who_loses_a_seat_at_the_period_end_keeps_it_until_then(shop):
    subscription = shop.buy("gotoassist-professional", seats=2)
    users = [shop.add_user(), shop.add_user()]
    shop.assign(subscription, *users)
    change = {"mode": "change", "subscription": subscription.id, "plan": "gotoassist-standard", "seats": 1}

    shop.order(shop.cart({**change, "release": [users[1].id]}))

    assert assigned_users(shop.engine, subscription) == [user.id for user in users]
    assert [each["release"] for each in shop.show(subscription)["pending_changes"]] == [[users[1].id]]
    assert shop.events("seat.released") == []
    shop.change(subscription, seats=3)
    assert [each["release"] for each in shop.show(subscription)["pending_changes"]] == [[]]


class Club:
    """A plan that shrinks at once and gives nothing back for it, but for a change of interval."""

    @hookimpl
    def register_products(self):
        forfeit = ChangePolicy("forfeit", "now", "keep", "none", "now")
        prices = [Price.per_seat("month", eur("10.00")), Price.per_seat("year", eur("100.00"))]
        changes = {"seats_down": "restart", "seats_up": forfeit, "interval": "next_period"}
        return [Product("club", {"en": "Club"}, [Plan("club-basic", {"en": "Basic"}, 1, prices, changes=changes)])]


@pytest.mark.parametrize(
    ("changes", "expected", "runs", "left"),
    [
        ({"seats": 1}, (10, 20.32, -10.32, -2.17, -12.49), ("2026-03-11", "2026-04-11", 11), []),  # 30.00 x 21/31; 2.10 - 4.27
        ({"seats": 6}, (40.65, 0, 40.65, 8.54, 49.19), ("2026-03-01", "2026-04-01", 1), []),  # 60.00 x 21/31
        ({"interval": "year"}, (0, 0, 0, 0, 0), ("2026-03-01", "2026-04-01", 1), [("2026-04-01", None, "year", None)]),
    ],
    ids=["down now", "up without credit", "interval later"],
)
def test_a_plan_has_policies_of_its_own(open_shop, changes, expected, runs, left):
    shop = open_shop(plugins={"club": Club()})
    subscription = shop.buy("club-basic", seats=3)
    shop.on("2026-03-11")

    order = shop.change(subscription, **changes)

    assert bill(order) == expected
    assert (period(shop, subscription), waiting(shop, subscription)) == (runs, left)


class Ladder:
    """A product that gets a plan below its first one."""

    def __init__(self, *names):
        self.names = names

    @hookimpl
    def register_products(self):
        prices = [Price.per_seat("month", eur("10.00"))]
        plans = [Plan(f"club-{name}", {"en": name}, tier, prices) for tier, name in enumerate(self.names, 1)]
        return [Product("club", {"en": "Club"}, plans)]


def test_up_and_down_go_by_the_tiers_that_plans_have_now(open_shop):
    before = open_shop(plugins={"club": Ladder("basic")})
    subscription = before.buy("club-basic")
    shop = open_shop(plugins={"club": Ladder("lite", "basic")}, folder=before.folder)

    shop.change(subscription, plan="club-lite")

    assert waiting(shop, subscription) == [("2026-04-01", "club-lite", None, None)]


def test_a_plan_that_has_left_the_catalog_is_left_by_the_tier_it_had(open_shop):
    before = open_shop(plugins={"club": Ladder("lite", "basic")})
    subscription = before.buy("club-basic")
    shop = open_shop(plugins={"club": Ladder("lite")}, folder=before.folder)

    with pytest.raises(PlanUnavailable):
        shop.change(subscription, seats=2)
    shop.change(subscription, plan="club-lite")

    assert waiting(shop, subscription) == [("2026-04-01", "club-lite", None, None)]


def test_who_gets_a_seat_after_a_smaller_number_was_agreed_has_it_until_the_day_and_is_the_first_to_go(shop):
    subscription = shop.buy("gotoassist-professional", seats=4, token="tok_ok", save=True)
    users = [shop.add_user() for _ in range(4)]
    shop.assign(subscription, users[0], users[1])
    shop.change(subscription, seats=2)
    shop.assign(subscription, users[2], users[3])
    shop.on("2026-04-01")

    shop.run()

    shown = shop.show(subscription)
    assert (shown["seats"], shown["seats_assigned"], shown["current_period"]["end"]) == (2, 2, "2026-05-01")
    assert assigned_users(shop.engine, subscription) == [users[0].id, users[1].id]
    assert {event["data"]["user"]["id"] for event in shop.events("seat.released")} == {users[2].id, users[3].id}
