"""Reconciliation: once a night, by one worker; what no webhook told of is taken in, and what differs all the same is kept."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from core.differences import Difference
from core.errors import PaymentDeclined
from core.hooks.payments import ProviderChanges
from core.orders import Order
from core.payment_webhooks import PaymentWebhookEvent
from core.payments import Payment, Refund
from core.reconciliation import LIFETIME, Reconciliation, reconcile, reconcile_due
from core.stuck import stuck_cases
from puesto import Dispute, Money, PaymentUnknown, ProviderEvent, ProviderRefund, ProviderTimeout, eur, usd
from tests.core.gateway import GatewayPlugin, raises
from tests.core.test_refunds import refund, refunded

SEAT = {"mode": "buy", "plan": "gotoassist-standard", "seats": 1, "interval": "month"}
PAID = eur("14.52")  # 12.00 x 1.21
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def shop(open_shop):
    shop = open_shop(plugins={"sandbox": GatewayPlugin})
    reconcile_due(shop.engine)  # the shop has seen its provider
    return shop


@pytest.fixture
def gateway(shop):
    return shop.engine.providers["sandbox"]


@pytest.fixture
def payment(shop):
    order = shop.order(shop.cart(SEAT))
    return shop.engine.db.first(Payment.select().where(Payment.order == order["id"]))


def night(shop, nights=1):
    """It is noon of the next day, and a worker has looked once."""
    for _ in range(nights):
        shop.clock.move_to(shop.clock.now() + timedelta(days=1))
        reconcile_due(shop.engine)


def found(shop):
    return [(row.kind, row.subject, row.ours, row.theirs) for row in shop.engine.db.all(Difference.select().order_by(Difference.id))]


def said(gateway, **changes):
    """From now on the provider answers so of every payment."""
    gateway.instead["retrieve_payment"] = lambda real, asked: replace(real(asked), **changes)


def lists(gateway, *pages):
    """The provider lists these pages; what it was asked for."""
    asked = []

    def list_changes(since, cursor):
        asked.append((since, cursor))
        return pages[int(cursor or 0)]

    gateway.list_changes = list_changes
    return asked


def event(number, payment_id, type="payment.captured"):
    return ProviderEvent(f"evt_{number}", type, payment_id, f"sbp_{number}", None, PAID, datetime(2026, 3, 1, 12, tzinfo=UTC))


# --- when


def test_it_is_done_once_a_night(shop, gateway):
    asked = lists(gateway, ProviderChanges(()))

    reconcile_due(shop.engine)
    by_day = len(asked)
    night(shop)
    reconcile_due(shop.engine)

    state = shop.engine.db.get(Reconciliation, "sandbox")
    assert (by_day, len(asked)) == (0, 1)
    assert (state.through, state.next_at) == (shop.clock.now(), datetime(2026, 3, 3, 2, tzinfo=UTC))  # three in Madrid
    assert asked[0] == (datetime(2026, 2, 28, 12, tzinfo=UTC), None)  # a day before the last time


def test_of_two_workers_one_does_it(shop, gateway, open_shop):
    other = open_shop(plugins={"sandbox": GatewayPlugin}, folder=shop.folder)
    for each in (shop, other):
        each.clock.move_to(each.clock.now() + timedelta(days=1))
    theirs = lists(other.engine.providers["sandbox"], ProviderChanges(()))
    ours = []

    def list_changes(since, cursor):
        ours.append(since)
        reconcile_due(other.engine)
        return ProviderChanges(())

    gateway.list_changes = list_changes
    reconcile_due(shop.engine)

    assert (len(ours), theirs) == (1, [])


def test_a_provider_without_an_answer_is_asked_again_from_where_it_began(shop, gateway):
    def silent(since, cursor):
        raise ProviderTimeout("silence")

    gateway.list_changes = silent
    before = shop.engine.db.get(Reconciliation, "sandbox").through
    night(shop)
    failed = shop.engine.db.get(Reconciliation, "sandbox")
    asked = lists(gateway, ProviderChanges(()))
    shop.clock.move_to(shop.clock.now() + timedelta(minutes=59))
    reconcile_due(shop.engine)
    too_early = list(asked)
    shop.clock.move_to(shop.clock.now() + timedelta(minutes=1))
    reconcile_due(shop.engine)

    assert (failed.through, failed.trouble, failed.next_at - shop.clock.now()) == (before, "ProviderTimeout: silence", timedelta(0))
    assert (too_early, asked) == ([], [(before - timedelta(days=1), None)])
    assert shop.engine.db.get(Reconciliation, "sandbox").trouble is None


def test_every_page_is_read_and_a_circle_is_left(shop, gateway, payment):
    lists(gateway, ProviderChanges((event(1, payment.id),), "1"), ProviderChanges((event(2, payment.id),)))
    reconcile(shop.engine, gateway)
    inbox = [row.event_id for row in shop.engine.db.all(PaymentWebhookEvent.select().order_by(PaymentWebhookEvent.id))]
    lists(gateway, ProviderChanges((), "1"), ProviderChanges((), "1"))

    with pytest.raises(ProviderTimeout, match="in a circle"):
        reconcile(shop.engine, gateway)

    assert inbox == ["evt_1", "evt_2"]


@pytest.mark.parametrize("nonsense", [None, ProviderChanges(({"event_id": "evt_1"},)), ProviderChanges((), 7)])
def test_nonsense_is_no_answer(shop, gateway, nonsense):
    lists(gateway, nonsense)
    before = shop.rows()

    night(shop)

    assert shop.engine.db.get(Reconciliation, "sandbox").trouble == "ProviderTimeout: sandbox answered nonsense"
    assert shop.rows() == before


# --- what is mended


def test_what_no_webhook_told_of_is_taken_in(shop, gateway, payment):
    gateway.dashboard.refund(payment.id, 4_52)
    gateway.dashboard.open_dispute(payment.id, 5_00)

    night(shop)

    now = shop.refresh(payment)
    assert (now.refunded, now.disputed, found(shop)) == (4_52, 5_00, [])
    assert [row.origin for row in shop.engine.db.all(Refund.select())] == ["external"]
    assert [each["type"] for each in shop.events("payment.refunded", "payment.disputed")] == ["payment.refunded", "payment.disputed"]


def test_of_an_old_payment_as_well(shop, gateway, payment):
    night(shop, 3)
    gateway.dashboard.refund(payment.id, 4_52)

    night(shop)

    assert (refunded(shop), found(shop)) == (4_52, [])


def test_a_refund_of_ours_is_the_same_there(shop, gateway, payment):
    refund(shop, payment.order, eur("4.52"))

    night(shop)

    assert (found(shop), refunded(shop), shop.count(Refund)) == ([], 4_52, 1)


def test_the_storing_of_a_method_is_no_payment(shop, gateway):
    lists(gateway, ProviderChanges((event(1, "set_0123"),)))

    night(shop)

    assert (shop.count(PaymentWebhookEvent), found(shop)) == (0, [])


# --- what differs all the same


REFUND, DISPUTE = ProviderRefund("re_1", eur("2.00"), "succeeded"), Dispute("dp_1", eur("2.00"), "won")


@pytest.mark.parametrize(
    ("first", "then", "differs"),
    [
        ({}, {"status": "declined"}, ("payment_status", None, "captured", "declined")),
        ({}, {"amount": eur("10.00")}, ("payment_amount", None, "14.52 EUR", "10.00 EUR")),
        ({}, {"captured": eur("10.00")}, ("payment_amount", None, "14.52 EUR", "10.00 EUR")),
        ({}, {"amount": usd("14.52")}, ("payment_amount", None, "14.52 EUR", "14.52 USD")),
        ({}, {"refunds": (replace(REFUND, amount=Money(0, "EUR")),)}, ("refund_only_there", "re_1", None, "succeeded 0.00 EUR")),
        ({"refunds": (REFUND,)}, {}, ("refund_only_here", "re_1", "succeeded 2.00 EUR", None)),
        (
            {"refunds": (REFUND,)},
            {"refunds": (replace(REFUND, amount=eur("3.00")),)},
            ("refund_amount", "re_1", "succeeded 2.00 EUR", "succeeded 3.00 EUR"),
        ),
        (
            {"refunds": (REFUND,)},
            {"refunds": (replace(REFUND, status="processing"),)},
            ("refund_status", "re_1", "succeeded 2.00 EUR", "processing 2.00 EUR"),
        ),
        ({"disputes": (DISPUTE,)}, {}, ("dispute_only_here", "dp_1", "won 2.00 EUR", None)),
        (
            {"disputes": (DISPUTE,)},
            {"disputes": (replace(DISPUTE, status="lost"),)},
            ("dispute_status", "dp_1", "won 2.00 EUR", "lost 2.00 EUR"),
        ),
    ],
)
def test_what_can_not_be_mended_is_kept_until_the_books_agree(shop, gateway, payment, first, then, differs):
    said(gateway, **first)
    night(shop)
    agreed = found(shop)
    said(gateway, **then)

    reconcile(shop.engine, gateway, LONG_AGO)
    reconcile(shop.engine, gateway, LONG_AGO)
    kept = found(shop)
    [case] = stuck_cases(shop.engine, limit=10)[0]
    said(gateway, **first)
    reconcile(shop.engine, gateway, LONG_AGO)

    kind, subject, ours, theirs = differs
    assert (agreed, kept, found(shop)) == ([], [(kind, subject or payment.id, ours, theirs)], [])
    assert (case.kind, case.account, case.subject) == ("difference", payment.account, payment.id)
    assert case.reason == f"sandbox, {kind}: {ours or '-'} here, {theirs or '-'} there"
    assert shop.engine.db.get(Order, payment.order).status == "completed"


def test_a_payment_that_the_provider_has_never_heard_of(shop, gateway, payment):
    gateway.instead["retrieve_payment"] = raises(PaymentUnknown("never heard of it"))

    night(shop)

    assert found(shop) == [("payment_only_here", payment.id, "captured 14.52 EUR", None)]
    assert shop.engine.db.get(Order, payment.order).status == "completed"


def test_a_payment_of_nobody_here_is_kept_for_a_month(shop, gateway):
    lists(gateway, ProviderChanges((event(1, "pay_of_somebody"),)))
    night(shop)
    night(shop)
    kept = found(shop)
    lists(gateway, ProviderChanges(()))

    shop.clock.move_to(shop.clock.now() + LIFETIME - timedelta(days=1))
    night(shop)
    still = found(shop)
    night(shop)

    assert (kept, still) == ([("payment_only_there", "sbp_1", None, "payment.captured 14.52 EUR")],) * 2
    assert found(shop) == []


def test_a_payment_that_recovery_asks_about_is_left_to_it(shop, gateway):
    shop.order(shop.cart(SEAT), token="tok_timeout")
    gateway.calls.clear()

    night(shop)

    assert (gateway.calls, found(shop)) == ([], [])


def test_a_declined_payment_is_declined_on_both_sides(shop, gateway, payment):
    with pytest.raises(PaymentDeclined):
        shop.order(shop.cart(SEAT), token="tok_card_declined")

    night(shop)

    assert (shop.count(Payment), found(shop)) == (2, [])
