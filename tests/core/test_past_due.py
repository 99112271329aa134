"""What is past due is tried again by its schedule, ends when that says so, and is put right by whatever pays it."""

from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count

import pytest

from core.access import INTERNAL
from core.cancellations import cancel
from core.checkout import settle
from core.invoices import Invoice
from core.past_due import end_past_due, retry_past_due, warn_past_due
from core.pauses import resume
from core.payment_methods import choose_default, default_method
from core.payments import Payment, Refund
from core.renewals import renew_due
from core.seats import check_entitlement
from core.subscriptions import PastDue
from puesto import Action, FailedAttempt, PaymentError, PaymentResult, RetrySchedule, eur, hookimpl
from tests.core.gateway import GatewayPlugin
from tests.core.racing import at_once
from tests.core.test_checkout_crashes import Fuse, PowerCut, Street
from tests.core.test_renewal_payments import gateway, later, may_use, status, store, types
from tests.core.test_renewals import charged, invoice_of, on, period, renewals

DUE = "2026-04-01"
PLUGINS = ["sandbox", "gotoassist", "vat", "vat_rates", "dunning"]


@pytest.fixture
def shop(open_shop):
    """With the bundled schedule: days 1, 3, 5 and 7, then cancelled."""
    return open_shop(plugins={"sandbox": GatewayPlugin}, enabled=PLUGINS)


class Schedule:
    """A plugin that answers what it is told to, before any other is asked; `heard` is what it was asked."""

    def __init__(self, answer):
        self.answer, self.heard = answer, []

    @hookimpl(tryfirst=True)
    def retry_schedule(self, past_due):
        self.heard.append(past_due)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def scheduled(open_shop, answer):
    plugin = Schedule(answer)
    return open_shop(plugins={"sandbox": GatewayPlugin, "own": plugin}, enabled=["own", *PLUGINS[:-1]]), plugin


def refuse(shop, code="card_declined", *, retryable=False):
    """From now on the gateway declines what it is asked to charge; who asked when."""
    asked = []

    def decline(_real, request):
        asked.append((shop.clock.now().date().isoformat(), request.idempotency_key))
        return PaymentResult("declined", request.amount, error=PaymentError(code, retryable))

    gateway(shop).instead["initiate_payment"] = decline
    return asked


def fallen(shop, code="card_declined", **what):
    """A subscription that was refused on its day."""
    subscription = shop.buy("gotoassist-professional", token="tok_ok", save=True, **what)
    refuse(shop, code)
    on(shop, DUE)
    assert status(shop, subscription) == "past_due"
    return subscription


def days_until(shop, last):
    """A round of work at noon of every day."""
    while shop.clock.now().date().isoformat() < last:
        later(shop, days=1)
        shop.run()


# --- the schedule


def test_it_is_tried_on_its_days_each_with_a_key_of_its_own_and_then_ends(shop):
    subscription = shop.buy("gotoassist-professional", token="tok_ok", save=True)
    before, asked = len(shop.events()), refuse(shop)

    on(shop, DUE)
    days_until(shop, "2026-04-20")

    assert [day for day, _ in asked] == ["2026-04-01", "2026-04-02", "2026-04-04", "2026-04-06", "2026-04-08"]
    assert len({key for _, key in asked}) == 5
    assert types(shop, before) == [
        "subscription.past_due",
        *["payment.failed"] * 4,
        "past_due.ending",
        "payment.failed",
        "subscription.cancelled",
    ]
    assert [event["data"]["cause"] for event in shop.events("subscription.cancelled")] == ["unpaid"]
    shown = shop.show(subscription)
    assert (shown["status"], shown["past_due"], shown["next_charge"], shown["cancel_at"]) == ("cancelled", None, None, None)
    assert (shop.count(PastDue), charged(shop), shop.count(Invoice)) == (0, [eur("72.60")], 1)


def test_what_is_shown_says_when_it_is_tried_again_and_when_it_ends(shop):
    subscription = fallen(shop)
    on(shop, "2026-04-02")

    assert shop.show(subscription)["past_due"] == {
        "since": "2026-04-01T12:00:00.000Z",
        "attempts": 2,
        "next_try": "2026-04-04T12:00:00.000Z",
        "ends_at": "2026-04-08T12:00:00.000Z",
        "then": "cancel",
        "access_until": None,
    }
    failed = shop.events("payment.failed")[-1]["data"]
    assert failed["subscriptions"][0]["past_due"] == shop.show(subscription)["past_due"]
    assert shop.events("subscription.past_due")[0]["data"]["subscription"]["past_due"]["next_try"] == "2026-04-02T12:00:00.000Z"


def test_a_hard_decline_is_tried_no_more_with_that_method_and_ends_on_the_same_day(shop):
    subscription = shop.buy("gotoassist-professional", token="tok_ok", save=True)
    asked = refuse(shop, "expired_card")

    on(shop, DUE)
    days_until(shop, "2026-04-07")
    assert (len(asked), status(shop, subscription)) == (1, "past_due")
    assert len(shop.events("past_due.ending")) == 1
    days_until(shop, "2026-04-08")

    assert (len(asked), status(shop, subscription)) == (1, "cancelled")


def test_without_a_method_nothing_is_tried_and_it_ends_all_the_same(shop):
    subscription = shop.buy("gotoassist-professional")

    on(shop, DUE)
    shown = shop.show(subscription)["past_due"]
    days_until(shop, "2026-04-08")

    assert (shown["attempts"], shown["next_try"], shown["ends_at"]) == (1, None, "2026-04-08T12:00:00.000Z")
    assert (status(shop, subscription), renewals(shop)) == ("cancelled", [])


def test_that_there_is_still_no_method_is_no_further_attempt(shop):
    subscription = shop.buy("gotoassist-professional")
    on(shop, DUE)

    retry_past_due(shop.engine)
    shop.run()

    assert (shop.show(subscription)["past_due"]["attempts"], shop.refresh(subscription).retry_at) == (1, None)


@pytest.mark.parametrize(
    ("answer", "code", "retryable"),
    [
        (PaymentResult("failed", eur("72.60")), "provider_error", True),
        (PaymentResult("requires_action", eur("72.60"), action=Action("redirect", "https://bank.example")), "authentication_failed", False),
    ],
)
def test_a_failure_without_a_reason_has_one(shop, answer, code, retryable):
    subscription = shop.buy("gotoassist-professional", token="tok_ok", save=True)
    gateway(shop).instead |= {"initiate_payment": lambda *_: answer, "retrieve_payment": lambda *_: answer}
    on(shop, DUE)
    later(shop, hours=2)  # nobody is at the bank
    shop.run()

    row = shop.engine.db.first(PastDue.select().where(PastDue.subscription == subscription.id))
    assert [(each["code"], each["retryable"]) for each in row.attempts] == [(code, retryable)]


def test_a_try_that_is_late_comes_before_the_end(shop):
    subscription = fallen(shop)
    gateway(shop).instead.clear()
    shop.on("2026-04-20")
    assert end_past_due(shop.engine) == 0

    shop.run()

    assert (status(shop, subscription), period(shop, subscription)) == ("active", ("2026-04-01", "2026-05-01"))
    assert shop.events("subscription.cancelled") == []


def test_what_is_under_way_is_waited_for_before_it_ends(shop):
    subscription = fallen(shop)
    days_until(shop, "2026-04-07")
    pending = PaymentResult("processing", eur("72.60"))
    gateway(shop).instead |= {"initiate_payment": lambda *_: pending, "retrieve_payment": lambda *_: pending}
    days_until(shop, "2026-04-12")
    assert status(shop, subscription) == "past_due"

    refused = PaymentResult("declined", eur("72.60"), error=PaymentError("card_declined"))
    gateway(shop).instead["retrieve_payment"] = lambda *_: refused
    later(shop, days=1)
    shop.run()

    assert (status(shop, subscription), types(shop)[-2:]) == ("cancelled", ["payment.failed", "subscription.cancelled"])


def test_what_is_being_paid_does_not_end(shop):
    subscription = fallen(shop, "expired_card")
    shop.engine.db.update(shop.refresh(subscription), changing="ord_at_the_bank")
    shop.on("2026-04-20")

    assert (end_past_due(shop.engine), status(shop, subscription)) == (0, "past_due")


def test_the_plugin_is_told_what_was_tried(open_shop):
    shop, plugin = scheduled(open_shop, RetrySchedule(datetime(2026, 4, 3, 12, tzinfo=UTC)))
    account = shop.open_account(kind="corporate", time_zone="Pacific/Auckland")
    subscription = fallen(shop, "insufficient_funds", account=account)
    refuse(shop, "provider_error", retryable=True)

    on(shop, "2026-04-03")

    first, second = plugin.heard
    assert (first.subscription, first.product, first.plan, first.interval) == (
        subscription.id,
        "gotoassist",
        "gotoassist-professional",
        "month",
    )
    assert (first.account, first.account_kind, first.time_zone) == (account.id, "corporate", "Pacific/Auckland")
    fell, then = datetime(2026, 4, 1, 12, tzinfo=UTC), datetime(2026, 4, 3, 12, tzinfo=UTC)
    assert (first.since, first.attempts) == (fell, (FailedAttempt(fell, "insufficient_funds"),))
    assert (second.since, second.attempts[1:]) == (fell, (FailedAttempt(then, "provider_error", True),))


@pytest.mark.parametrize("answer", [None, RuntimeError("no schedule")])
def test_where_no_plugin_answers_it_waits_for_a_method_or_for_staff(open_shop, answer):
    shop, _ = scheduled(open_shop, answer)
    subscription = fallen(shop)
    asked = refuse(shop)

    on(shop, "2026-06-01")
    assert (asked, status(shop, subscription)) == ([], "past_due")
    assert shop.show(subscription)["past_due"] | {"attempts": 0} == {
        "since": "2026-04-01T12:00:00.000Z", "attempts": 0, "next_try": None, "ends_at": None, "then": None, "access_until": None,
    }  # fmt: skip
    retry_past_due(shop.engine)
    shop.run()

    assert len(asked) == 1


def test_a_schedule_that_knows_no_pause_gets_one(open_shop):
    shop, plugin = scheduled(open_shop, RetrySchedule(datetime(2026, 1, 1, tzinfo=UTC)))
    subscription = fallen(shop)

    assert shop.refresh(subscription).retry_at == datetime(2026, 4, 1, 13, tzinfo=UTC)
    assert len(plugin.heard) == 1


# --- put right


@pytest.mark.parametrize("on_day", ["2026-04-02", "2026-04-08"])
def test_a_try_that_is_paid_puts_all_right_and_the_dates_stay(shop, on_day):
    subscription = fallen(shop)
    days_until(shop, (datetime.fromisoformat(on_day) - timedelta(days=1)).date().isoformat())
    gateway(shop).instead.clear()
    before = len(shop.events())

    days_until(shop, on_day)

    shown = shop.show(subscription)
    assert (shown["status"], shown["past_due"], shop.count(PastDue)) == ("active", None, 0)
    assert shown["current_period"] == {"start": "2026-04-01", "end": "2026-05-01"}
    assert types(shop, before)[-3:] == ["order.completed", "subscription.renewed", "subscription.recovered"]
    assert invoice_of(shop, renewals(shop)[-1])["status"] == "paid"
    later(shop, days=10)
    shop.run()
    assert len(charged(shop)) == 2


def test_another_method_is_tried_at_once_and_its_refusal_goes_on_with_the_schedule(shop):
    subscription = fallen(shop, "fraud_suspected")
    assert shop.show(subscription)["past_due"]["next_try"] is None
    asked = refuse(shop)
    shop.on("2026-04-03")

    store(shop)
    shop.run()

    assert len(asked) == 1
    assert shop.show(subscription)["past_due"]["next_try"] == "2026-04-04T12:00:00.000Z"
    gateway(shop).instead.clear()
    on(shop, "2026-04-04")
    assert status(shop, subscription) == "active"


def test_the_default_method_that_is_chosen_once_more_is_not_tried_again(shop):
    fallen(shop, "expired_card")
    asked = refuse(shop)

    choose_default(shop.engine, shop.account.id, default_method(shop.engine, shop.account.id).id, INTERNAL)
    shop.run()

    assert asked == []


def test_after_it_has_been_put_right_the_next_time_begins_at_nothing(shop):
    subscription = fallen(shop)
    on(shop, "2026-04-02")
    gateway(shop).instead.clear()
    on(shop, "2026-04-04")
    refuse(shop)

    on(shop, "2026-05-01")

    shown = shop.show(subscription)["past_due"]
    assert (shown["since"], shown["attempts"], shown["next_try"]) == ("2026-05-01T12:00:00.000Z", 1, "2026-05-02T12:00:00.000Z")
    assert len(shop.events("subscription.past_due")) == 2


def test_what_is_cancelled_meanwhile_is_neither_tried_nor_warned_of(shop):
    subscription = fallen(shop)
    asked = refuse(shop)

    cancel(shop.engine, subscription.id, INTERNAL, at="now")
    days_until(shop, "2026-04-10")

    assert (asked, shop.count(PastDue), shop.events("past_due.ending")) == ([], 0, [])
    assert [event["data"]["cause"] for event in shop.events("subscription.cancelled")] == [None]


def test_money_that_comes_after_the_end_goes_back(shop):
    subscription = fallen(shop)
    days_until(shop, "2026-04-08")
    assert status(shop, subscription) == "cancelled"
    payment = shop.engine.db.all(Payment.select().order_by(Payment.id))[-1]

    settle(shop.engine, payment, PaymentResult("captured", payment.money, "ref_late"))

    [refund] = shop.engine.db.all(Refund.select())
    assert (refund.payment, refund.amount, status(shop, subscription)) == (payment.id, 7260, "cancelled")
    assert shop.count(Invoice) == 1


# --- paused in the end


@pytest.mark.parametrize(
    ("grace", "paused_on", "billed_from"),
    [
        (None, "2026-04-08", "2026-05-01"),
        (30, "2026-04-08", "2026-05-01"),
        (3, "2026-04-04", "2026-05-05"),
        (0, "2026-04-01", "2026-05-08"),
    ],
)
def test_it_may_be_paused_in_the_end_and_goes_on_with_the_days_that_could_be_used(open_shop, grace, paused_on, billed_from):
    tables = {"dunning": {"then": "pause", "grace_days": grace}}
    shop = open_shop(plugins={"sandbox": GatewayPlugin}, enabled=PLUGINS, tables=tables)
    subscription = fallen(shop)
    assert shop.show(subscription)["past_due"]["then"] == "pause"
    days_until(shop, "2026-04-08")
    [event] = shop.events("subscription.paused")
    assert (status(shop, subscription), event["data"]["cause"], event["data"]["pause"]["paused_on"]) == ("paused", "unpaid", paused_on)
    assert (shop.count(PastDue), shop.refresh(subscription).retry_at) == (0, None)

    gateway(shop).instead.clear()
    shop.on("2026-05-08")
    resume(shop.engine, subscription.id, INTERNAL)
    shop.run()

    assert (status(shop, subscription), period(shop, subscription)[0]) == ("active", billed_from)
    assert len(charged(shop)) == 2


def test_what_is_paused_is_not_tried_for_a_method_that_is_stored(open_shop):
    shop = open_shop(plugins={"sandbox": GatewayPlugin}, enabled=PLUGINS, tables={"dunning": {"then": "pause"}})
    subscription = fallen(shop)
    days_until(shop, "2026-04-08")
    asked = refuse(shop)

    store(shop)
    shop.run()

    assert (asked, status(shop, subscription)) == ([], "paused")


# --- access


@pytest.mark.parametrize(
    ("grace", "yes", "no"),
    [(None, "2026-04-07", None), (3, "2026-04-03", "2026-04-04"), (0, None, "2026-04-01")],
)
def test_for_how_long_the_product_can_be_used_is_a_setting(open_shop, grace, yes, no):
    shop = open_shop(plugins={"sandbox": GatewayPlugin}, enabled=PLUGINS, tables={"dunning": {"grace_days": grace}})
    subscription, user = shop.buy("gotoassist-professional", token="tok_ok", save=True), shop.add_user()
    shop.assign(subscription, user)
    refuse(shop, "expired_card")
    on(shop, DUE)

    for day, entitled in ((yes, True), (no, False)):
        if day is not None:
            shop.on(day)
            answer = check_entitlement(shop.engine, user.id, "gotoassist", INTERNAL)
            assert (answer.entitled, answer.reason) == (entitled, "seat_assigned" if entitled else "past_due")
    store(shop)
    gateway(shop).instead.clear()
    shop.run()
    assert may_use(shop, user, "gotoassist")


# --- the last warning


def test_it_is_warned_of_once_whoever_looks_and_not_again_after_another_try(shop):
    fallen(shop)
    shop.on("2026-04-07")

    for _ in range(2):
        warn_past_due(shop.engine)
    renew_due(shop.engine)  # the tries of former days, late
    later(shop, hours=2)
    warn_past_due(shop.engine)

    [event] = shop.events("past_due.ending")
    assert (event["data"]["subscription"]["past_due"]["ends_at"], event["data"]["account"]["id"]) == (
        "2026-04-08T12:00:00.000Z",
        shop.account.id,
    )


def test_of_an_end_that_has_come_nobody_is_warned(shop):
    fallen(shop, "expired_card")
    shop.on("2026-04-20")

    warn_past_due(shop.engine)

    assert shop.events("past_due.ending") == []


def test_who_has_cancelled_is_not_warned(shop):
    subscription = fallen(shop, "expired_card")
    shop.on("2026-04-07")
    cancel(shop.engine, subscription.id, INTERNAL, at="period_end")

    warn_past_due(shop.engine)

    assert shop.events("past_due.ending") == []


# --- at once, and killed


def test_a_method_that_is_stored_as_it_ends_is_charged_or_comes_too_late(open_shop):
    first = open_shop(enabled=PLUGINS)
    other = open_shop(enabled=PLUGINS, folder=first.folder)
    bought = [first.buy("gotoassist-standard", account=first.open_account()) for _ in range(4)]
    on(first, DUE)
    for each in (first, other):
        each.on("2026-04-08")
    accounts = {each.id: each.account for each in bought}

    def pay(account):
        store(other, account=first.engine.db.get(type(first.account), account))

    at_once(first, [lambda: end_past_due(first.engine), *(partial(pay, account) for account in accounts.values())])
    renew_due(first.engine)

    for each in bought:
        paid = [order for order in renewals(first) if order["account"] == each.account]
        assert (status(first, each), len(paid)) in (("active", 1), ("cancelled", 0))
    assert first.count(PastDue) == 0


def test_retries_at_once_charge_once(open_shop):
    first = open_shop(enabled=PLUGINS)
    others = [open_shop(enabled=PLUGINS, folder=first.folder) for _ in range(2)]
    subscription = first.buy("gotoassist-standard")
    on(first, DUE)
    store(first)

    at_once(first, [lambda each=each: renew_due(each.engine) for each in (first, *others) * 2])

    assert (status(first, subscription), len(charged(first))) == ("active", 2)
    assert len(first.events("subscription.recovered")) == 1


@pytest.mark.parametrize("statements", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_run_that_dies_at_any_point_is_carried_on_by_the_next(tmp_path, new_shop, statements):
    street = Street(partial(new_shop, tmp_path, enabled=PLUGINS))

    for at in count(1):
        account = street.shop.open_account()
        subscription = street.shop.buy("gotoassist-standard", account=account)
        fuse = Fuse(street.shop, at, statements=statements)
        for days in (31, 6, 1):
            street.shop.clock.move_to(street.shop.clock.now() + timedelta(days=days))
            try:
                work(street.shop)
            except PowerCut:
                street.restart()
                work(street.shop)

        told = [event["type"] for event in street.shop.events() if event["account"] == account.id]
        assert told[2:] == ["subscription.past_due", "past_due.ending", "subscription.cancelled"]
        assert (street.shop.refresh(subscription).status, street.shop.count(PastDue)) == ("cancelled", 0)
        if not fuse.blown:
            assert at > 3
            return


def work(shop):
    """What a worker does for what is past due."""
    for piece in (renew_due, end_past_due, warn_past_due):
        piece(shop.engine)
