"""Voids: an order whose money was only set aside is undone as a whole, or not at all."""

from datetime import timedelta
from typing import Any

import pytest

from core.cancellations import cancel
from core.captures import Capture, capture_order, void_order
from core.checkout import settle
from core.engine.idempotency import KeyedRequest
from core.errors import Missing, TransitionInvalid
from core.invoices import Invoice, invoice_document
from core.orders import Order
from core.payments import Payment, reference, retrieve
from core.recovery import recover
from core.stuck import stuck_cases
from core.subscriptions import Subscription
from puesto import ProviderTimeout, ProviderUnavailable, eur
from puesto.testing.shop import INTERNAL
from tests.core.gateway import GatewayPlugin, raises
from tests.core.racing import at_once, kinds

SEAT = {"mode": "buy", "plan": "gotoassist-standard", "seats": 1, "interval": "month"}
WEBINAR = {"mode": "buy", "plan": "gotowebinar-standard", "seats": 3, "interval": "month"}


@pytest.fixture
def shop(open_shop):
    """A shop that takes money by hand, and whose gateway goes wrong on demand."""
    return open_shop(plugins={"sandbox": GatewayPlugin}, payments={"capture": "manual"})


@pytest.fixture
def order(shop):
    return shop.order(shop.cart(SEAT))["id"]


def void(shop: Any, order: str, key: str = "key") -> Any:
    return void_order(shop.engine, order, INTERNAL, request=KeyedRequest(f"void {order}", key, b""))


def capture(shop: Any, order: str, key: str = "key") -> Any:
    request = KeyedRequest(f"capture {order}", key, b"")
    return capture_order(shop.engine, order, INTERNAL, amount=eur("4.50"), final=False, request=request)


def gateway(shop: Any) -> Any:
    return shop.engine.providers["sandbox"]


def books(shop: Any) -> list[tuple[str, int]]:
    return [(charge.status, charge.amount.amount) for charge in gateway(shop).charges()]


def payment(shop: Any) -> Any:
    return shop.engine.db.first(Payment.select())


def standing(shop: Any, order: str) -> tuple[str, str, list[str]]:
    """The order's status, the payment's, and those of all subscriptions."""
    subscriptions = shop.engine.db.all(Subscription.select().order_by(Subscription.id))
    return shop.engine.db.get(Order, order).status, payment(shop).status, [each.status for each in subscriptions]


def invoice(shop: Any) -> dict[str, Any]:
    return invoice_document(shop.engine, shop.engine.db.first(Invoice.select().where(Invoice.credits.is_null())))


def later(shop: Any, **time: int) -> None:
    shop.clock.move_to(shop.clock.now() + timedelta(**time))
    recover(shop.engine)


def test_everything_that_the_order_brought_about_is_undone(shop):
    order = shop.order(shop.cart(SEAT, WEBINAR))

    answer = void(shop, order["id"])

    assert (answer.body["status"], answer.body["payment"]["status"]) == ("cancelled", "canceled")
    assert (standing(shop, order["id"]), books(shop)) == (("cancelled", "canceled", ["cancelled"] * 2), [("canceled", 0)])
    shown = invoice(shop)
    assert (shown["status"], shown["paid"]["amount"], shown["due"]["amount"]) == ("void", 0, 0)
    assert [note["total"]["amount"] for note in shown["credit_notes"]] == [-order["total"]["amount"]]
    [event] = shop.events("order.voided")
    assert (event["data"]["order"]["status"], event["data"]["invoice"]) == ("cancelled", shown)
    assert len(shop.events("subscription.cancelled")) == 2
    assert (shop.events("payment.captured"), shop.events("payment.refunded"), stuck_cases(shop.engine, limit=9)[0]) == ([], [], [])


def test_credit_that_paid_a_part_comes_back(shop):
    subscription = shop.buy("gotoassist-standard", interval="year")
    capture_order(
        shop.engine, shop.events("order.completed")[0]["subject"], INTERNAL, amount=None, final=True, request=KeyedRequest("c", "k", b"")
    )
    shop.change(subscription, interval="month")
    credit = shop.account.balance
    order = shop.order(shop.cart({**SEAT, "seats": 10}))

    void(shop, order["id"])

    assert (order["credit_used"]["amount"], shop.account.balance) == (credit, credit)
    assert shop.engine.db.get(Order, order["id"]).status == "cancelled"


def test_an_order_is_voided_once(shop, order):
    first, second = void(shop, order), void(shop, order)

    assert (first.replayed, second.replayed, second.body) == (False, True, first.body)
    with pytest.raises(TransitionInvalid):
        void(shop, order, "another")
    assert (shop.count(Capture), len(shop.events("order.voided")), len(invoice(shop)["credit_notes"])) == (1, 1, 1)


def test_a_void_and_a_capture_at_once_are_one_of_both(shop, order):
    calls = [lambda: void(shop, order).body["status"], lambda: capture(shop, order).body["status"]]

    answers = at_once(shop, calls)
    recover(shop.engine)

    assert kinds(answers)[TransitionInvalid] == 1
    assert (standing(shop, order), books(shop)) in [
        (("cancelled", "canceled", ["cancelled"]), [("canceled", 0)]),
        (("completed", "partially_captured", ["active"]), [("partially_captured", 4_50)]),
    ]


@pytest.mark.parametrize(
    "prepare",
    [
        lambda shop, order: capture(shop, order),
        lambda shop, order: shop.change(shop.engine.db.first(Subscription.select()), seats=2),
        lambda shop, order: shop.order(
            shop.cart({"mode": "change", "subscription": shop.engine.db.first(Subscription.select()).id, "seats": 2}), token="tok_3ds"
        ),
    ],
    ids=["taken", "changed", "being_changed"],
)
def test_what_can_not_be_undone_as_a_whole_is_left_as_it_is(shop, order, prepare):
    prepare(shop, order)
    before, stands = shop.rows(), standing(shop, order)

    with pytest.raises(TransitionInvalid):
        void(shop, order)

    assert (shop.rows(), standing(shop, order)) == (before, stands)


def test_a_change_of_what_was_there_before_is_not_undone(shop, order):
    changed = shop.change(shop.engine.db.first(Subscription.select()), seats=2)

    with pytest.raises(TransitionInvalid) as refused:
        void(shop, changed["id"])

    assert str(refused.value) == "The order changed a subscription that was there before: take the money and refund it."


def test_what_was_charged_at_once_is_refunded_instead(open_shop):
    shop = open_shop()
    order = shop.order(shop.cart(SEAT))["id"]

    with pytest.raises(TransitionInvalid) as refused:
        void(shop, order)

    assert str(refused.value) == "The order is completed and no untouched money is set aside for it: refund it instead."


def test_an_order_of_nobody_is_not_there(shop):
    with pytest.raises(Missing):
        void(shop, "ord_1")


@pytest.mark.parametrize("fault", [ProviderTimeout("silence"), ProviderUnavailable("down")])
def test_an_unanswered_void_is_carried_on_and_nothing_changes_what_it_ends_meanwhile(shop, order, fault):
    gateway(shop).instead["cancel_payment"] = raises(fault)
    subscription = shop.engine.db.first(Subscription.select())

    assert void(shop, order).body["status"] == "completed"

    with pytest.raises(TransitionInvalid):
        shop.change(subscription, seats=9)
    cancel(shop.engine, subscription.id, INTERNAL, at="now", unused="refund")
    gateway(shop).instead.clear()
    later(shop, seconds=5)
    later(shop, minutes=1)
    assert (standing(shop, order), len(shop.events("order.voided"))) == (("cancelled", "canceled", ["cancelled"]), 1)


def test_a_void_that_comes_too_late_leaves_the_order(shop, order):
    gateway(shop).instead["cancel_payment"] = lambda real, asked: gateway(shop).retrieve_payment(asked)

    assert void(shop, order).body["status"] == "completed"

    assert (standing(shop, order), shop.engine.db.first(Subscription.select()).changing) == (("completed", "authorized", ["active"]), None)
    assert (shop.events("order.voided"), invoice(shop)["credit_notes"]) == ([], [])


def test_news_that_overtake_the_answer_do_no_harm(shop, order):
    def answer_late(real, asked):
        answer = real(asked)
        settle(shop.engine, payment(shop), retrieve(shop.engine, payment(shop)))
        return answer

    gateway(shop).instead["cancel_payment"] = answer_late

    assert (void(shop, order).body["status"], shop.engine.db.get(Order, order).problem) == ("cancelled", None)


def test_an_order_whose_money_is_set_aside_no_more_can_be_undone(shop, order):
    gateway(shop).cancel_payment(reference(payment(shop)))
    settle(shop.engine, payment(shop), retrieve(shop.engine, payment(shop)))
    assert shop.engine.db.get(Order, order).problem == "authorization-lost"

    answer = void(shop, order)

    assert (answer.body["status"], answer.body["problem"], stuck_cases(shop.engine, limit=9)[0]) == ("cancelled", None, [])
    assert standing(shop, order) == ("cancelled", "canceled", ["cancelled"])
