"""What becomes of the unused days of a subscription that is cancelled now, and of a cancellation that meets an order being paid."""

from functools import partial

import pytest

from core.access import INTERNAL, SCOPES, Caller
from core.balance import BalanceEntry
from core.cancellations import cancel, end_due, reactivate
from core.checkout import cancel_order
from core.engine.idempotency import KeyedRequest
from core.errors import Forbidden, RefundExceedsPayment, TransitionInvalid, ValidationFailed
from core.invoices import Invoice, invoice_document
from core.pauses import pause, pause_due, resume
from core.payments import Payment, Refund
from core.put_off import collect_put_off
from core.recovery import recover
from core.refunds import refund_order
from core.renewals import renew_due
from core.seats import check_entitlement
from puesto import ChangePolicy, Plan, Price, Product, ProviderTimeout, RefundResult, eur, hookimpl
from tests.core.gateway import GatewayPlugin
from tests.core.racing import at_once
from tests.core.test_balance import check_sums
from tests.core.test_subscriptions import change_at_the_bank, confirm

CONTACT = Caller("usr_1", frozenset(SCOPES) - {"staff"})


LATER = {"seats_up": ChangePolicy("later", "now", "keep", "unused", "next_invoice")}


class Club:
    """A plan whose unused days are refunded, at 60.00 a seat and month."""

    @hookimpl
    def register_products(self):
        plan = Plan("club-basic", {"en": "Basic"}, 1, [Price.per_seat("month", eur("60.00"))], changes=LATER, unused="refund")
        return [Product("club", {"en": "Club"}, [plan])]


def euros(text):
    return {"amount": eur(text).amount, "currency": "EUR"}


def work(shop):
    """What a round does about it."""
    end_due(shop.engine)
    recover(shop.engine)


def end_now(shop, subscription, **how):
    return cancel(shop.engine, subscription.id, INTERNAL, at="now", **how)


def unused(shop, subscription):
    return shop.show(subscription)["unused"]


def amounts(shop, subscription):
    shown = unused(shop, subscription)
    return tuple(shown[name]["amount"] for name in ("net", "tax", "total"))


def movements(shop):
    return [(entry.kind, entry.amount) for entry in shop.engine.db.all(BalanceEntry.select().order_by(BalanceEntry.id))]


def refunds(shop):
    return [(refund.status, refund.amount) for refund in shop.engine.db.all(Refund.select().order_by(Refund.id))]


def given_back(shop):
    return [charge.refunded.amount for charge in shop.engine.providers["sandbox"].charges()]


def settled(shop):
    """payments - refunds = invoices - credit notes + what is on the balance."""
    payments = sum(row.captured - row.refunded for row in shop.engine.db.all(Payment.select()))
    documents = sum(row.total for row in shop.engine.db.all(Invoice.select()))
    check_sums(shop)
    return payments == documents + shop.account.balance


# --- how much: 5 seats at 60.00 a month or 600.00 a year, 21 % of tax


@pytest.mark.parametrize(
    ("interval", "bought", "ends", "net", "tax", "formula"),
    [
        ("month", "2026-05-01", "2026-05-11", 203_23, 42_68, "300.00 x 21/31"),  # 203.2258...; 63.00 x 203.23/300.00 = 42.6783
        ("month", "2027-02-01", "2027-02-15", 150_00, 31_50, "300.00 x 14/28"),
        ("month", "2028-02-01", "2028-02-15", 155_17, 32_59, "300.00 x 15/29"),  # 155.1724...; 32.5857
        ("month", "2026-04-01", "2026-04-30", 10_00, 2_10, "300.00 x 1/30"),
        ("month", "2026-04-01", "2026-04-01", 300_00, 63_00, "300.00 x 30/30"),
        ("month", "2027-01-31", "2027-02-27", 10_71, 2_25, "300.00 x 1/28"),  # to 28 February: 10.7142...; 2.2491
        ("year", "2026-05-01", "2026-07-13", 2400_00, 504_00, "3000.00 x 292/365"),
        ("year", "2027-03-01", "2027-03-02", 2991_80, 628_28, "3000.00 x 365/366"),  # 2991.8032...; 628.278
    ],
)
def test_the_unused_days_are_credited_by_the_day(shop, interval, bought, ends, net, tax, formula):
    shop.on(bought)
    subscription = shop.buy("gotoassist-professional", seats=5, interval=interval)

    shop.on(ends)
    end_now(shop, subscription, unused="credit")

    assert amounts(shop, subscription) == (net, tax, net + tax)
    (step,) = unused(shop, subscription)["explanation"]
    assert (step["rule"], step["formula"], step["amount"]["amount"]) == ("credit_unused", formula, net)
    assert (shop.account.balance, settled(shop)) == (net + tax, True)


def test_the_credit_note_corrects_the_line_that_charged_the_days(shop):
    order = shop.order(shop.cart(*({"mode": "buy", "plan": plan, "seats": 1, "interval": "month"} for plan in PLANS)))
    first, _ = order["subscriptions"]

    shop.on("2026-03-16")
    cancel(shop.engine, first, INTERNAL, at="now", unused="credit")

    invoice = invoice_document(shop.engine, shop.engine.db.get(Invoice, order["invoice"]))
    [event] = shop.events("subscription.cancelled")
    outcome = event["data"]["subscription"]["unused"]
    note = invoice_document(shop.engine, shop.engine.db.get(Invoice, outcome["credit_note"]))
    assert [each["id"] for each in invoice["credit_notes"]] == [note["id"]]
    assert (note["kind"], note["credits"], note["status"]) == ("credit_note", invoice["id"], "paid")
    [line] = note["lines"]
    assert (line["subscription"], line["net"], line["tax"]) == (first, euros("-30.97"), euros("-6.50"))  # 60.00 x 16/31 = 30.9677
    assert movements(shop) == [("credited", 37_47)]
    assert (outcome["policy"], outcome["refunds"], outcome["total"]) == ("credit", [], euros("37.47"))


PLANS = ("gotoassist-professional", "rescue-standard")


def test_the_next_order_uses_the_credit(shop):
    subscription = shop.buy("gotoassist-professional", seats=5)
    end_now(shop, subscription, unused="credit")

    order = shop.order(shop.cart({"mode": "buy", "plan": "gotoassist-professional", "seats": 5, "interval": "month"}))

    assert (order["credit_used"], order["due_now"], settled(shop)) == (euros("363.00"), euros("0.00"), True)


def test_a_trial_and_what_is_past_due_have_nothing_unused(shop):
    trial, late = shop.try_out("gotowebinar-standard"), shop.buy("gotoassist-professional")
    shop.on("2026-04-02")
    shop.engine.db.update(late, status="past_due")

    for subscription in (trial, late):
        end_now(shop, subscription, unused="refund")
        assert amounts(shop, subscription) == (0, 0, 0)

    assert (movements(shop), refunds(shop), shop.count(Invoice)) == ([], [], 1)


# --- refunded


def test_a_refund_goes_to_the_payments_the_newest_first(shop):
    subscription = shop.buy("gotoassist-professional", seats=1)  # 72.60 paid
    shop.on("2026-03-16")
    upgrade = shop.change(subscription, seats=2)  # 120.00 - 30.97 = 89.03 and 18.70 of tax
    assert upgrade["due_now"] == euros("107.73")

    end_now(shop, subscription, unused="refund")  # the same day: 120.00 and 25.20

    assert amounts(shop, subscription) == (120_00, 25_20, 145_20)
    assert (refunds(shop), given_back(shop)) == ([("created", 107_73), ("created", 37_47)], [0, 0])
    work(shop)
    assert (refunds(shop), given_back(shop)) == ([("succeeded", 107_73), ("succeeded", 37_47)], [37_47, 107_73])
    assert movements(shop) == [("credited", 145_20), ("refunded", -107_73), ("refunded", -37_47)]
    assert (shop.count(Invoice), shop.account.balance, settled(shop)) == (3, 0, True)
    assert [event["data"]["credit_note"] for event in shop.events("payment.refunded")] == [None, None]


def test_what_credit_has_paid_goes_back_to_the_balance(shop):
    with_credit = shop.buy("gotoassist-professional", seats=1)
    end_now(shop, with_credit, unused="credit")  # 72.60
    subscription = shop.buy("gotoassist-professional", seats=2)  # 145.20, of which 72.60 by card

    end_now(shop, subscription, unused="refund")
    work(shop)

    assert (refunds(shop), shop.account.balance, settled(shop)) == ([("succeeded", 72_60)], 72_60, True)


def test_what_the_provider_does_not_give_back_is_on_the_balance_again(open_shop):
    shop = open_shop(plugins={"sandbox": GatewayPlugin})
    subscription = shop.buy("gotoassist-professional")
    shop.engine.providers["sandbox"].instead["refund_payment"] = lambda _real, request: RefundResult("failed", request.amount)

    end_now(shop, subscription, unused="refund")
    assert shop.account.balance == 0
    for _ in range(2):
        work(shop)

    assert (refunds(shop), shop.account.balance, settled(shop)) == ([("failed", 72_60)], 72_60, True)
    assert movements(shop) == [("credited", 72_60), ("refunded", -72_60), ("refund_failed", 72_60)]


@pytest.mark.parametrize("done", [False, True])
def test_a_refund_that_died_on_its_way_is_made_once(open_shop, done):
    shop = open_shop(plugins={"sandbox": GatewayPlugin})
    subscription = shop.buy("gotoassist-professional")
    gateway = shop.engine.providers["sandbox"]

    def dies(real, request):
        if done:
            real(request)
        raise ProviderTimeout("silence")

    gateway.instead["refund_payment"] = dies
    end_now(shop, subscription, unused="refund")
    work(shop)
    assert (refunds(shop), given_back(shop)) == ([("created", 72_60)], [72_60 if done else 0])
    gateway.instead.clear()
    shop.on("2026-03-02")
    work(shop)

    assert (refunds(shop), given_back(shop), gateway.calls.count("refund_payment")) == ([("succeeded", 72_60)], [72_60], 2)
    assert (movements(shop), settled(shop)) == ([("credited", 72_60), ("refunded", -72_60)], True)


def refund(shop, amount=None):
    order = shop.engine.db.first(Payment.select().order_by(Payment.id)).order
    return refund_order(shop.engine, order, INTERNAL, amount=amount, reason="x", request=KeyedRequest("r", str(amount), b""))


def test_what_was_credited_is_not_refunded_as_well(shop):
    subscription = shop.buy("gotoassist-professional")  # 72.60
    shop.on("2026-03-16")
    end_now(shop, subscription, unused="credit")  # 37.47

    with pytest.raises(RefundExceedsPayment, match=r"35\.14 EUR can't be refunded: 35\.13 EUR of the payment is left"):
        refund(shop, eur("35.14"))
    refund(shop)

    assert (refunds(shop), shop.account.balance, settled(shop)) == ([("succeeded", 35_13)], 37_47, True)


def test_what_was_refunded_is_not_credited_as_well(shop):
    subscription = shop.buy("gotoassist-professional")
    refund(shop, eur("72.00"))

    end_now(shop, subscription, unused="credit")

    assert amounts(shop, subscription)[2] == 60
    assert (shop.account.balance, settled(shop)) == (60, True)


@pytest.mark.parametrize("refunded_first", [True, False])
def test_of_a_term_and_its_changes_no_more_goes_back_than_was_paid_for_them(shop, refunded_first):
    subscription = shop.buy("gotoassist-professional", seats=1)  # 72.60
    shop.on("2026-03-16")
    shop.change(subscription, seats=2)  # 107.73, since 37.47 of that is used for it

    if refunded_first:
        refund(shop)
    end_now(shop, subscription, unused="refund")
    recover(shop.engine)
    if not refunded_first:
        with pytest.raises(RefundExceedsPayment):
            refund(shop, eur("35.14"))
        refund(shop, eur("35.13"))

    assert amounts(shop, subscription)[2] == (107_73 if refunded_first else 145_20)
    assert (sum(given_back(shop)), shop.account.balance, settled(shop)) == (72_60 + 107_73, 0, True)


def test_all_orders_of_a_term_can_be_refunded_in_full(shop):
    subscription = shop.buy("gotoassist-professional", seats=1)
    shop.on("2026-03-16")
    shop.change(subscription, seats=2)

    for payment in shop.engine.db.all(Payment.select().order_by(Payment.id)):
        request = KeyedRequest("r", payment.id, b"")
        refund_order(shop.engine, payment.order, INTERNAL, amount=None, reason="x", request=request)

    assert given_back(shop) == [72_60, 107_73]


def test_what_was_put_off_is_refunded_with_the_order_that_collects_it(open_shop):
    shop = open_shop(plugins={"club": Club()})
    subscription = shop.buy("club-basic", token="tok_ok", save=True)
    shop.on("2026-03-11")
    shop.change(subscription, seats=2)
    shop.on("2026-04-01")
    renew_due(shop.engine)
    last = shop.engine.db.all(Payment.select().order_by(Payment.id))[-1]

    refund_order(shop.engine, last.order, INTERNAL, amount=None, reason="x", request=KeyedRequest("r", last.id, b""))

    assert given_back(shop) == [0, 145_20 + 49_17]


def test_on_terms_what_is_owed_is_lowered_first(shop):
    account = shop.open_account(kind="corporate")
    line = {"mode": "buy", "plan": "gotoassist-professional", "seats": 1, "interval": "month"}
    order = shop.order(shop.cart(line, account=account), provider="invoice_terms", purchase_order="PO-7")
    shop.on("2026-03-16")

    cancel(shop.engine, order["subscriptions"][0], INTERNAL, at="now", unused="credit")
    work(shop)

    invoice = invoice_document(shop.engine, shop.engine.db.get(Invoice, order["invoice"]))
    assert (invoice["status"], invoice["due"], shop.refresh(account).balance) == ("open", euros("35.13"), 0)
    assert len(invoice["credit_notes"]) == 1


# --- who decides


def test_the_plan_decides_where_nobody_says_and_the_setting_where_the_plan_does_not(open_shop):
    shop = open_shop(plugins={"club": Club()}, subscriptions={"unused": "credit"})
    plans, defaults = shop.buy("club-basic"), shop.buy("gotoassist-professional")

    for subscription in (plans, defaults):
        cancel(shop.engine, subscription.id, CONTACT, at="now")

    assert [unused(shop, each)["policy"] for each in (plans, defaults)] == ["refund", "credit"]
    assert (refunds(shop), shop.account.balance) == ([("created", 72_60)], 72_60)


def test_staff_may_decide_otherwise_and_nobody_else(open_shop):
    shop = open_shop(plugins={"club": Club()})
    subscription = shop.buy("club-basic")
    before = shop.contents()

    with pytest.raises(Forbidden):
        cancel(shop.engine, subscription.id, CONTACT, at="now", unused="credit")
    with pytest.raises(ValidationFailed) as refused:
        cancel(shop.engine, subscription.id, INTERNAL, at="period_end", unused="credit")

    assert (refused.value.errors[0].pointer, shop.contents()) == ("/unused", before)
    end_now(shop, subscription, unused="none")
    assert (amounts(shop, subscription), shop.account.balance, shop.count(Refund)) == ((0, 0, 0), 0, 0)


def test_a_plan_with_another_policy_is_no_plan():
    with pytest.raises(ValueError, match="unused is none, credit, refund or None, not 'half'"):
        Plan("club-basic", {"en": "Basic"}, 1, [Price.per_seat("month", eur("60.00"))], unused="half")


# --- while an order is being paid


@pytest.fixture
def renewing(open_shop):
    """renewing(act, declined=False): a subscription, and what a renewal made of it that `act` met while it was being charged."""
    shop = open_shop(plugins={"sandbox": GatewayPlugin})

    def renew(act, token="tok_ok"):
        subscription = shop.buy("gotoassist-professional", token=token, save=True)

        def meanwhile(real, *arguments):
            act(shop, subscription)
            return real(*arguments)

        shop.engine.providers["sandbox"].instead["initiate_payment"] = meanwhile
        shop.on("2026-04-01")
        renew_due(shop.engine)
        return shop, subscription

    return renew


def at_period_end(shop, subscription):
    cancel(shop.engine, subscription.id, INTERNAL, at="period_end", reason="too dear")


def test_a_renewal_that_wins_is_used_up(renewing):
    shop, subscription = renewing(at_period_end)

    shown = shop.show(subscription)
    assert (shown["status"], shown["cancel_at"], shown["next_charge"]) == ("active", "2026-05-01", None)
    work(shop)
    assert shop.show(subscription)["status"] == "active"
    shop.on("2026-05-01")
    work(shop)
    assert (shop.show(subscription)["status"], shop.count(Invoice)) == ("cancelled", 2)


@pytest.mark.parametrize("unused", ["refund", "credit"])
def test_cancelled_now_a_renewal_that_wins_is_given_back(renewing, unused):
    shop, subscription = renewing(partial(end_now, unused=unused))
    assert shop.show(subscription)["cancel_at"] == "2026-04-01"
    work(shop)
    work(shop)

    assert (shop.show(subscription)["status"], amounts(shop, subscription)) == ("cancelled", (60_00, 12_60, 72_60))
    assert given_back(shop) == ([0, 72_60] if unused == "refund" else [0, 0])
    assert (shop.account.balance, settled(shop)) == (0 if unused == "refund" else 72_60, True)


def test_where_nothing_is_given_back_it_goes_on_to_the_end_of_what_was_paid(renewing):
    shop, subscription = renewing(end_now)

    shown = shop.show(subscription)
    assert (shown["status"], shown["cancel_at"], shown["unused"]) == ("active", "2026-05-01", None)


@pytest.mark.parametrize("act", [at_period_end, end_now, partial(end_now, unused="refund")])
def test_where_the_renewal_fails_it_ends(renewing, act):
    shop, subscription = renewing(act, "tok_ok_then_declined")
    work(shop)

    assert (shop.show(subscription)["status"], shop.count(Invoice), refunds(shop)) == ("cancelled", 1, [])
    assert shop.events("subscription.past_due") == []


def test_access_ends_with_the_call_though_an_order_is_being_paid(shop):
    subscription, user = shop.buy("gotoassist-professional", seats=2), shop.add_user()
    shop.assign(subscription, user)
    order = change_at_the_bank(shop, subscription, seats=3)

    end_now(shop, subscription, unused="refund")

    assert check_entitlement(shop.engine, user.id, "gotoassist", INTERNAL).reason == "cancelled"
    assert (shop.show(subscription)["status"], end_due(shop.engine)) == ("active", 0)
    cancel_order(shop.engine, order["id"], INTERNAL)
    assert (end_due(shop.engine), amounts(shop, subscription)[2]) == (1, 145_20)


def test_a_cancellation_that_waits_for_an_order_is_taken_back(shop):
    subscription = shop.buy("gotoassist-professional")
    order = change_at_the_bank(shop, subscription, seats=2)
    end_now(shop, subscription, unused="refund")

    reactivate(shop.engine, subscription.id, INTERNAL)
    confirm(shop, order)
    work(shop)

    shown = shop.show(subscription)
    assert (shown["status"], shown["cancel_at"], shown["unused"], shown["seats"]) == ("active", None, None, 2)


# --- while it is paused


def test_what_a_pause_has_kept_is_given_back_by_the_term_that_was_paid(shop):
    subscription = shop.buy("gotoassist-professional", seats=5)  # 300.00 and 63.00 for 31 days
    shop.on("2026-03-11")
    pause(shop.engine, subscription.id, INTERNAL, at="now")
    shop.on("2026-05-20")
    resume(shop.engine, subscription.id, INTERNAL)
    shop.on("2026-05-30")
    pause(shop.engine, subscription.id, INTERNAL, at="now")
    shop.on("2026-07-01")

    end_now(shop, subscription, unused="credit")

    assert amounts(shop, subscription) == (106_45, 22_35, 128_80)  # 300.00 x 11/31 = 106.4516; 63.00 x 106.45/300.00 = 22.3545
    assert (unused(shop, subscription)["explanation"][0]["days"], settled(shop)) == (11, True)


def test_at_the_end_of_a_paused_term_it_ends_once_that_has_gone_on(shop):
    subscription = shop.buy("gotoassist-professional")
    shop.on("2026-03-11")
    pause(shop.engine, subscription.id, INTERNAL, at="now")
    at_period_end(shop, subscription)
    shop.on("2026-04-10")
    assert (end_due(shop.engine), shop.show(subscription)["status"]) == (0, "paused")

    resume(shop.engine, subscription.id, INTERNAL)

    assert (shop.show(subscription)["status"], shop.show(subscription)["cancel_at"]) == ("active", "2026-05-01")
    shop.on("2026-05-01")
    assert (end_due(shop.engine), shop.show(subscription)["status"]) == (1, "cancelled")


@pytest.mark.parametrize(("unused", "total"), [("none", 0), ("credit", 98_36)])
def test_what_was_put_off_is_collected_before_a_paused_one_ends(open_shop, unused, total):
    shop = open_shop(plugins={"club": Club()})
    subscription = shop.buy("club-basic", token="tok_ok", save=True)
    shop.on("2026-03-11")
    shop.change(subscription, seats=2)  # put off: 81.29 - 40.65, and 17.07 - 8.54 of tax
    pause(shop.engine, subscription.id, INTERNAL, at="now")

    end_now(shop, subscription, unused=unused)
    collect_put_off(shop.engine)
    end_due(shop.engine)

    assert (shop.show(subscription)["status"], unused_total(shop, subscription)) == ("cancelled", total)
    assert [charge.amount.amount for charge in shop.engine.providers["sandbox"].charges()] == [72_60, 49_17]
    assert settled(shop)


def unused_total(shop, subscription):
    return amounts(shop, subscription)[2]


def test_where_no_day_is_left_it_ends_at_once(shop):
    subscription = shop.buy("gotoassist-professional")
    pause(shop.engine, subscription.id, INTERNAL, at="period_end")
    shop.on("2026-04-01")
    pause_due(shop.engine)

    at_period_end(shop, subscription)

    assert (shop.show(subscription)["status"], amounts(shop, subscription)) == ("cancelled", (0, 0, 0))


# --- at once


def test_a_cancellation_and_a_renewal_at_once_bill_each_day_once(open_shop):
    shop = open_shop()
    bought = [shop.buy("gotoassist-professional", token="tok_ok", save=True, account=shop.open_account()) for _ in range(4)]
    other = open_shop(folder=shop.folder)
    for each in (shop, other):
        each.on("2026-04-01")

    cancelling = [partial(cancel, other.engine, each.id, INTERNAL, at="now", unused="refund") for each in bought]
    at_once(shop, [partial(renew_due, shop.engine), *cancelling])
    for _ in range(2):
        work(shop)

    assert {shop.show(each)["status"] for each in bought} == {"cancelled"}
    kept = [charge.amount.amount - charge.refunded.amount for charge in shop.engine.providers["sandbox"].charges()]
    assert sorted(amount for amount in kept if amount) == [72_60] * 4  # March; a charge for April has gone back
    check_sums(shop)


def test_of_two_that_cancel_at_once_one_does(open_shop):
    shop = open_shop()
    subscription = shop.buy("gotoassist-professional")
    workers = [shop, open_shop(folder=shop.folder)]

    answers = at_once(shop, [partial(end_now, worker, subscription, unused="credit") for worker in workers * 2])

    assert sorted(type(answer).__name__ for answer in answers) == ["Subscription", *["TransitionInvalid"] * 3]
    assert TransitionInvalid in {type(answer) for answer in answers}
    assert (movements(shop), shop.count(Invoice)) == ([("credited", 72_60)], 2)


def test_over_the_api(shop, client):
    subscription, user = shop.buy("gotoassist-professional"), shop.add_user(role="billing_contact")
    path, token = f"/v1/subscriptions/{subscription.id}/cancel", client.token(user)

    refused = client.post(path, {"at": "now", "unused": "refund"}, bearer=token)
    ended = client.post(path, {"at": "now", "unused": "refund"})

    assert refused.status_code == 403
    assert (ended.status_code, ended.json["status"], ended.json["unused"]["total"]) == (200, "cancelled", euros("72.60"))
    work(shop)
    assert given_back(shop) == [72_60]
