"""How renewals are paid with nobody there, and what becomes of what could not be paid."""

from datetime import timedelta
from threading import Barrier

import pytest

import core.renewals
from core.access import INTERNAL
from core.cancellations import cancel
from core.checkout import confirm_order
from core.credit_notes import LineRefund
from core.engine.idempotency import KeyedRequest
from core.invoices import Invoice
from core.orders import Order
from core.payment_methods import add_method, choose_default, delete_method, save_at_provider
from core.payments import GRACE, Payment
from core.recovery import recover
from core.refunds import refund_order
from core.renewals import due_accounts, renew
from core.seats import check_entitlement
from core.subscriptions import Subscription
from puesto import PaymentResult, ProviderTimeout, ProviderUnavailable, eur
from tests.core.gateway import GatewayPlugin, raises
from tests.core.test_renewals import buy, charged, euros, invoice_of, on, renewals, reopened

__all__ = ["reopened"]
YEAR = {"mode": "buy", "plan": "rescue-standard", "seats": 1, "interval": "year"}


@pytest.fixture
def shop(open_shop):
    """A shop whose gateway goes wrong on demand, and in which nothing is tried again by itself."""
    return open_shop(plugins={"sandbox": GatewayPlugin}, disabled=["dunning"])


def gateway(shop):
    return shop.engine.providers["sandbox"]


def store(shop, token="tok_ok", account=None):
    account = account or shop.account
    return add_method(shop.engine, account.id, INTERNAL, "sandbox", save_at_provider(shop.engine, account.id, INTERNAL, "sandbox", token))


def store_one_that_is_refused(shop):
    """From the second time on; the first pays for something else."""
    shop.order(shop.cart(YEAR), payment_method=store(shop, "tok_ok_then_declined").id)


def status(shop, subscription):
    return shop.show(subscription)["status"]


def may_use(shop, user, product):
    return check_entitlement(shop.engine, user.id, product, INTERNAL).entitled


def later(shop, **time):
    shop.clock.move_to(shop.clock.now() + timedelta(**time))


def types(shop, before=0):
    return [event["type"] for event in shop.events()][before:]


# --- refused


def test_what_is_declined_is_past_due_once_and_access_stays(shop):
    subscription, user = shop.buy("gotoassist-professional", token="tok_ok_then_declined", save=True), shop.add_user()
    shop.assign(subscription, user)
    before = len(shop.events())

    on(shop, "2026-04-01")
    on(shop, "2026-05-02")

    [order] = renewals(shop)
    shown = shop.show(subscription)
    assert (order["status"], order["payment"]["error"]["code"], order["invoice"]) == ("failed", "card_declined", None)
    assert (shown["status"], shown["current_period"]["end"]) == ("past_due", "2026-04-01")
    assert shown["next_charge"] == {"date": "2026-04-01", "amount": euros("72.60")}
    assert may_use(shop, user, "gotoassist")
    assert types(shop, before) == ["subscription.past_due", "payment.failed"]
    assert (charged(shop), shop.count(Invoice)) == ([eur("72.60")], 1)


def test_nobody_is_there_to_confirm_at_the_bank(shop):
    order = shop.order(shop.cart({**YEAR, "interval": "month"}), token="tok_3ds", save=True)
    confirm_order(shop.engine, order["id"], INTERNAL, data={}, request=KeyedRequest("test confirm", order["id"], b""))
    [subscription] = shop.engine.db.all(Subscription.select())

    on(shop, "2026-04-01")

    assert (renewals(shop)[0]["payment"]["error"]["code"], status(shop, subscription)) == ("authentication_failed", "past_due")


def test_a_new_method_settles_what_is_past_due_up_to_today(shop):
    subscription = shop.buy("gotoassist-professional", token="tok_ok_then_declined", save=True)
    on(shop, "2026-04-01")
    shop.on("2026-05-02")

    store(shop)
    shop.run()

    assert [order["status"] for order in renewals(shop)] == ["failed", "completed", "completed"]
    assert charged(shop) == [eur("72.60")] * 3
    shown = shop.show(subscription)
    assert (shown["status"], shown["current_period"]) == ("active", {"start": "2026-05-01", "end": "2026-06-01"})
    assert shop.refresh(subscription).retry_at is None


def test_another_stored_method_that_is_made_the_default_pays_what_is_past_due(shop):
    good = store(shop)
    subscription = shop.buy("gotoassist-professional", token="tok_ok_then_declined", save=True)
    on(shop, "2026-04-01")
    assert status(shop, subscription) == "past_due"

    choose_default(shop.engine, shop.account.id, good.id, INTERNAL)
    shop.run()

    assert (status(shop, subscription), charged(shop)) == ("active", [eur("72.60")] * 2)


def test_one_method_that_is_refused_after_the_other_is_not_tried_twice(shop):
    shop.buy("gotoassist-professional", token="tok_ok_then_declined", save=True)
    on(shop, "2026-04-01")

    store_one_that_is_refused(shop)
    shop.run()
    shop.run()

    assert [order["status"] for order in renewals(shop)] == ["failed", "failed"]
    assert (len(shop.events("subscription.past_due")), len(shop.events("payment.failed"))) == (1, 2)


def test_a_method_that_is_stored_while_the_old_one_is_refused_is_tried_at_once(shop):
    subscription = shop.buy("gotoassist-professional", token="tok_ok_then_declined", save=True)

    def refuse(real, *arguments):
        del gateway(shop).instead["initiate_payment"]
        answer = real(*arguments)
        store(shop)
        return answer

    gateway(shop).instead["initiate_payment"] = refuse
    on(shop, "2026-04-01")

    assert [order["status"] for order in renewals(shop)] == ["failed", "completed"]
    assert status(shop, subscription) == "active"


def test_without_a_method_it_is_past_due_and_no_order_is_made(shop):
    subscription = shop.buy("gotoassist-professional")
    orders = shop.count(Order)

    on(shop, "2026-04-01")
    on(shop, "2026-04-02")

    assert (status(shop, subscription), shop.count(Order), types(shop)[2:]) == ("past_due", orders, ["subscription.past_due"])
    store(shop)
    shop.run()
    assert (status(shop, subscription), charged(shop)) == ("active", [eur("72.60")] * 2)


def test_a_method_of_a_provider_that_is_gone_is_none(open_shop, shop, reopened):
    subscription = buy(shop)

    again = reopened(shop, disabled=["sandbox", "dunning"])
    on(again, "2026-04-01")

    assert (status(again, subscription), renewals(again)) == ("past_due", [])


def test_a_deleted_method_is_none(shop):
    subscription = shop.buy("gotoassist-professional")
    delete_method(shop.engine, shop.account.id, store(shop).id, INTERNAL)

    on(shop, "2026-04-01")

    assert (status(shop, subscription), renewals(shop)) == ("past_due", [])


def test_what_is_past_due_can_be_ended_and_is_not_charged_any_more(shop):
    subscription = shop.buy("gotoassist-professional")
    on(shop, "2026-04-01")

    cancel(shop.engine, subscription.id, INTERNAL, at="period_end")
    store(shop)
    shop.run()

    assert (status(shop, subscription), renewals(shop)) == ("cancelled", [])


def test_credit_that_was_to_pay_a_part_comes_back_when_the_rest_is_refused(shop):
    shop.buy("gotoassist-professional", token="tok_ok_then_declined", save=True)
    shop.engine.db.update(shop.account, balance=1000)

    on(shop, "2026-04-01")

    assert (renewals(shop)[0]["credit_used"], shop.account.balance) == (euros("10.00"), 1000)


# --- trials


def test_a_trial_whose_first_payment_is_refused_is_used_no_more_until_it_is_paid(shop):
    store_one_that_is_refused(shop)
    subscription, user = shop.try_out("gotomeeting-professional", seats=3), shop.add_user()
    shop.assign(subscription, user)

    on(shop, "2026-03-15")
    assert (status(shop, subscription), may_use(shop, user, "gotomeeting")) == ("past_due", False)
    store(shop)
    shop.run()

    assert (status(shop, subscription), may_use(shop, user, "gotomeeting")) == ("active", True)
    assert shop.show(subscription)["current_period"] == {"start": "2026-03-15", "end": "2026-04-15"}
    assert types(shop)[-3:] == ["order.completed", "subscription.started", "subscription.recovered"]


def test_a_trial_whose_method_was_deleted_ends(shop):
    method = store(shop)
    subscription = shop.try_out("gotomeeting-professional", seats=3)
    delete_method(shop.engine, shop.account.id, method.id, INTERNAL)

    on(shop, "2026-03-15")

    assert (status(shop, subscription), renewals(shop)) == ("cancelled", [])
    assert types(shop)[-1] == "subscription.cancelled"


# --- on terms


def on_terms(shop, account):
    line = {"mode": "buy", "plan": "gotoassist-professional", "seats": 5, "interval": "month"}
    return shop.order(shop.cart(line, account=account), provider="invoice_terms", purchase_order="PO-7")


def test_an_account_on_terms_goes_on_on_terms(shop):
    account = shop.open_account(kind="corporate")
    on_terms(shop, account)
    store(shop, account=account)

    on(shop, "2026-04-01")

    [order] = renewals(shop)
    invoice = invoice_of(shop, order)
    assert (order["status"], order["payment"]["provider"], order["purchase_order"]) == ("completed", "invoice_terms", "PO-7")
    assert (invoice["status"], invoice["due_on"], invoice["total"]) == ("open", "2026-05-01", euros("363.00"))
    assert charged(shop) == []


def test_where_terms_are_no_longer_granted_the_stored_method_pays(shop):
    account = shop.open_account(kind="corporate")
    on_terms(shop, account)
    store(shop, account=account)
    shop.engine.db.update(account, kind="self_service")

    on(shop, "2026-04-01")

    assert (renewals(shop)[0]["payment"]["provider"], charged(shop)) == ("sandbox", [eur("363.00")])


# --- no answer


@pytest.mark.parametrize("silence", [ProviderUnavailable("down"), ProviderTimeout("silence")])
def test_a_provider_that_was_away_is_asked_again_with_the_same_key(shop, silence):
    subscription = buy(shop)
    gateway(shop).instead["initiate_payment"] = raises(silence)
    on(shop, "2026-04-01")
    assert [order["status"] for order in renewals(shop)] == ["pending"]
    gateway(shop).instead.clear()

    later(shop, seconds=gateway(shop).deadline + GRACE.total_seconds())
    shop.run()

    assert [order["status"] for order in renewals(shop)] == ["completed"]
    assert (status(shop, subscription), charged(shop)) == ("active", [eur("72.60")] * 2)
    assert "subscription.past_due" not in types(shop)


def test_a_charge_whose_answer_got_lost_is_found_and_not_repeated(shop):
    subscription = buy(shop)

    def charge_and_hang(real, *arguments):
        real(*arguments)
        raise ProviderTimeout("silence")

    gateway(shop).instead["initiate_payment"] = charge_and_hang
    on(shop, "2026-04-01")
    later(shop, minutes=1)
    recover(shop.engine)

    assert (status(shop, subscription), charged(shop)) == ("active", [eur("72.60")] * 2)
    assert gateway(shop).calls.count("initiate_payment") == 2  # the purchase, and the renewal once


def test_a_provider_that_gives_no_answer_is_left_alone_for_the_rest_of_the_run(shop, monkeypatch):
    for _ in range(3):
        buy(shop, account=shop.open_account())
    gateway(shop).instead["initiate_payment"] = raises(ProviderUnavailable("down"))
    gateway(shop).calls.clear()
    shop.on("2026-04-01")

    monkeypatch.setattr(core.renewals, "TOGETHER", 2)
    monkeypatch.setattr(core.renewals, "AT_ONCE", 1)
    monkeypatch.setattr(shop.engine.db, "writers", 1)
    renew(shop.engine, due_accounts(shop.engine))

    assert (gateway(shop).calls, len(renewals(shop))) == (["initiate_payment"], 2)  # the third is not even ordered
    gateway(shop).instead.clear()
    later(shop, minutes=1)
    shop.run()
    assert [order["status"] for order in renewals(shop)] == ["completed"] * 3


@pytest.mark.only_on("postgresql", reason="SQLite has one writer at a time")
def test_while_one_batch_waits_another_goes_on(shop, monkeypatch):
    for _ in range(5):
        buy(shop, account=shop.open_account())
    two = Barrier(2)

    def charge_when_another_batch_does(real, *arguments):
        if len(charged(shop)) < 7:  # the fifth and last has nobody to wait for
            two.wait(10)
        return real(*arguments)

    gateway(shop).instead["initiate_payment"] = charge_when_another_batch_does
    shop.on("2026-04-01")
    monkeypatch.setattr(core.renewals, "TOGETHER", 1)
    told = []

    renewed = renew(shop.engine, due_accounts(shop.engine), tell=lambda: told.append(1))

    assert (len(renewed), len(told)) == (5, 5)
    assert charged(shop) == [eur("72.60")] * 10
    assert [order["status"] for order in renewals(shop)] == ["completed"] * 5


def test_several_renewals_are_charged_at_a_time(shop):
    for _ in range(3):
        buy(shop, account=shop.open_account())
    together = Barrier(3)

    def charge_when_all_are_here(real, *arguments):
        together.wait(10)
        return real(*arguments)

    gateway(shop).instead["initiate_payment"] = charge_when_all_are_here
    on(shop, "2026-04-01")

    assert charged(shop) == [eur("72.60")] * 6
    assert [order["status"] for order in renewals(shop)] == ["completed"] * 3


def test_what_is_under_way_at_the_provider_is_waited_for(shop):
    subscription = buy(shop)
    pending = PaymentResult("processing", eur("72.60"))
    gateway(shop).instead |= {"initiate_payment": lambda *_: pending, "retrieve_payment": lambda *_: pending}

    on(shop, "2026-04-01")
    later(shop, days=3)
    shop.run()

    assert ([order["status"] for order in renewals(shop)], status(shop, subscription)) == (["processing"], "active")
    gateway(shop).instead.clear()
    later(shop, days=1)
    recover(shop.engine)
    assert ([order["status"] for order in renewals(shop)], status(shop, subscription)) == (["completed"], "active")


def test_an_amount_that_is_not_ours_holds_the_renewal(shop):
    subscription = buy(shop)
    other = PaymentResult("captured", eur("1.00"), "ref_1")
    gateway(shop).instead |= {"initiate_payment": lambda *_: other, "retrieve_payment": lambda *_: other}

    on(shop, "2026-04-01")

    [order] = renewals(shop)
    assert (order["status"], order["problem"], status(shop, subscription)) == ("processing", "amount-mismatch", "active")


def test_a_renewal_is_asked_for_with_nobody_there(shop):
    buy(shop)
    asked = []
    gateway(shop).instead["initiate_payment"] = lambda real, request: asked.append(request) or real(request)

    on(shop, "2026-04-01")

    [request] = asked
    [payment] = shop.engine.db.all(Payment.select().where(Payment.order == renewals(shop)[0]["id"]))
    assert (request.on_session, request.token, request.idempotency_key) == (False, None, payment.id)


def test_without_an_answer_on_tax_nothing_is_charged_and_it_is_tried_again(open_shop, reopened):
    first = open_shop()
    subscription = buy(first)

    silent = reopened(first, disabled=["vat"])
    on(silent, "2026-04-01")
    assert (renewals(silent), charged(silent)) == ([], [eur("72.60")])
    shop = reopened(silent)
    later(shop, minutes=2)
    shop.run()

    assert (status(shop, subscription), len(charged(shop))) == ("active", 2)


def test_a_renewal_is_refunded_and_credited_like_any_order(shop):
    buy(shop)
    second = shop.buy("rescue-standard")
    on(shop, "2026-04-01")
    [order] = renewals(shop)
    line = next(line["id"] for line in order["lines"] if line["subscription"] == second.id)
    request = KeyedRequest("test refund", "1", b"")

    back = refund_order(shop.engine, order["id"], INTERNAL, amount=None, lines=[LineRefund(line)], reason="goodwill", request=request)

    [renewed] = [each for each in order["lines"] if each["id"] == line]
    assert back.body["amount"] == renewed["total"]
    [note] = shop.engine.db.all(Invoice.select().where(Invoice.kind == "credit_note"))
    assert (note.total, note.order) == (-renewed["total"]["amount"], order["id"])
    assert gateway(shop).charges()[-1].refunded == eur(str(renewed["total"]["amount"] / 100))
