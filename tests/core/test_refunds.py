"""Refunds: all of a payment or part of it, once, never more than was paid, whatever the provider does."""

from datetime import timedelta
from typing import Any

import pytest

from core.access import Caller
from core.engine.idempotency import KeyedRequest
from core.errors import IdempotencyKeyReused, Missing, RefundExceedsPayment, TransitionInvalid
from core.invoices import Invoice, invoice_document
from core.orders import Order
from core.payments import Payment, Refund
from core.recovery import recover
from core.refunds import refund_order
from puesto import Money, PaymentUnknown, ProviderTimeout, ProviderUnavailable, RefundResult, eur, usd
from puesto.testing.shop import INTERNAL
from tests.core.gateway import GatewayPlugin, answers, raises

SEAT = {"mode": "buy", "plan": "gotoassist-standard", "seats": 1, "interval": "month"}
PAID = eur("14.52")  # 12.00 x 1.21
FREE_TRIAL = {"mode": "trial", "plan": "gotoassist-standard", "seats": 1}
CARD_TRIAL = {"mode": "trial", "plan": "gotomeeting-essentials", "seats": 1}


@pytest.fixture
def shop(open_shop):
    """A shop whose gateway goes wrong on demand."""
    return open_shop(plugins={"sandbox": GatewayPlugin})


@pytest.fixture
def order(shop):
    return shop.order(shop.cart(SEAT))["id"]


def refund(shop: Any, order: str, amount: Money | None = None, *, key: str = "key", caller: Caller = INTERNAL) -> Any:
    request = KeyedRequest(f"refund {order}", key, str(amount).encode())
    return refund_order(shop.engine, order, caller, amount=amount, reason="wrong", request=request)


def gateway(shop: Any) -> Any:
    return shop.engine.providers["sandbox"]


def given_back(shop: Any) -> list[int]:
    """What went back to the buyer of every charge, by the gateway's books."""
    return [charge.refunded.amount for charge in gateway(shop).charges()]


def refunded(shop: Any) -> int:
    """What the shop counts as given back."""
    return int(shop.engine.db.first(Payment.select()).refunded)


def status(shop: Any, order: str) -> str:
    return str(shop.engine.db.get(Order, order).status)


def refunds(shop: Any) -> list[str]:
    return [row.status for row in shop.engine.db.all(Refund.select().order_by(Refund.id))]


def notes(shop: Any) -> list[dict[str, Any]]:
    """Every credit note, the oldest first."""
    rows = shop.engine.db.all(Invoice.select().where(Invoice.credits.is_null(False)).order_by(Invoice.id))
    return [invoice_document(shop.engine, row) for row in rows]


def later(shop: Any, **time: int) -> None:
    shop.clock.move_to(shop.clock.now() + timedelta(**time))
    recover(shop.engine)


# --- how much


def test_without_an_amount_everything_goes_back(shop, order):
    before = shop.rows()

    answer = refund(shop, order)

    assert answer.body == {
        "id": shop.engine.db.first(Refund.select()).id,
        "order": order,
        "amount": {"amount": 14_52, "currency": "EUR"},
        "status": "succeeded",
        "origin": "ours",
        "reason": "wrong",
        "credit_note": notes(shop)[0]["id"],
        "created_at": "2026-03-01T12:00:00.000Z",
    }
    assert (given_back(shop), refunded(shop), status(shop, order)) == ([14_52], 14_52, "refunded")
    written = ("refund", "invoice", "invoice_line", "invoice_series", "idempotency_key")
    assert shop.rows() == {**before, **{name: before[name] + 1 for name in written}, "event": before["event"] + 2}
    assert [event["data"]["refund"] for event in shop.events("payment.refunded")] == [answer.body]


def test_parts_go_back_until_nothing_is_left(shop, order):
    refund(shop, order, eur("4.50"), key="first")
    refund(shop, order, eur("10.00"), key="second")
    assert (given_back(shop), status(shop, order)) == ([14_50], "completed")

    last = refund(shop, order, key="third")

    assert last.body["amount"] == {"amount": 2, "currency": "EUR"}  # 14.52 - 4.50 - 10.00
    assert (given_back(shop), refunds(shop), status(shop, order)) == ([14_52], ["succeeded"] * 3, "refunded")


@pytest.mark.parametrize("amount", [eur("10.03"), eur("14.52"), Money(0, "EUR"), eur("-1.00"), usd("1.00")])
def test_more_than_is_left_is_refused_and_says_how_much_is(shop, order, amount):
    refund(shop, order, eur("4.50"), key="first")
    before = shop.rows()

    with pytest.raises(RefundExceedsPayment) as refused:
        refund(shop, order, amount, key="second")

    assert str(refused.value) == f"{amount} can't be refunded: 10.02 EUR of the payment is left."
    assert refused.value.extra == {"refundable": {"amount": 10_02, "currency": "EUR"}}
    assert (shop.rows(), given_back(shop)) == (before, [4_50])


def test_nothing_is_left_of_a_payment_that_went_back(shop, order):
    refund(shop, order)

    with pytest.raises(RefundExceedsPayment) as refused:
        refund(shop, order, key="again")

    assert refused.value.extra == {"refundable": {"amount": 0, "currency": "EUR"}}
    assert given_back(shop) == [14_52]


@pytest.mark.parametrize(
    ("line", "payment", "order_status"),
    [
        (FREE_TRIAL, {}, "completed"),
        (CARD_TRIAL, {"token": "tok_ok"}, "completed"),
        (SEAT, {"token": "tok_3ds"}, "requires_action"),
        (SEAT, {"token": "tok_timeout"}, "processing"),
    ],
    ids=["free", "method_stored", "at_the_bank", "unknown"],
)
def test_an_order_that_was_not_paid_can_not_be_refunded(shop, line, payment, order_status):
    order = shop.order(shop.cart(line), **payment)["id"]
    before = shop.rows()

    with pytest.raises(TransitionInvalid) as refused:
        refund(shop, order)

    assert str(refused.value) == f"The order is {order_status} and nothing was paid for it."
    assert shop.rows() == before


def test_another_accounts_order_is_not_there(shop, order):
    stranger = Caller("usr_1", frozenset({"staff"}), account=shop.open_account().id)

    with pytest.raises(Missing):
        refund(shop, order, caller=stranger)

    assert given_back(shop) == [0]


# --- the same request again


def test_a_repeated_request_gets_the_first_answer_and_refunds_once(shop, order):
    first, second = refund(shop, order, eur("4.50")), refund(shop, order, eur("4.50"))

    assert (first.replayed, second.replayed, second.body) == (False, True, first.body)
    assert (given_back(shop), refunds(shop)) == ([4_50], ["succeeded"])


def test_the_same_key_for_another_amount_is_refused(shop, order):
    refund(shop, order, eur("4.50"))

    with pytest.raises(IdempotencyKeyReused):
        refund(shop, order, eur("5.00"))

    assert given_back(shop) == [4_50]


# --- a provider that goes wrong


def lost(real: Any, request: Any) -> Any:
    """The money goes back, and the answer gets lost."""
    real(request)
    raise ProviderTimeout("silence")


@pytest.mark.parametrize(
    "fault",
    [
        lost,
        answers(None),
        answers(RefundResult("done", PAID)),
        answers(RefundResult("succeeded", eur("1.00"))),
        answers(RefundResult("processing", PAID)),
        raises(ProviderUnavailable("down")),
        raises(PaymentUnknown("never heard of it")),
        raises(SystemExit(1)),
    ],
    ids=["lost", "none", "no_status", "other_amount", "processing", "down", "unknown", "exits"],
)
def test_a_refund_without_an_end_is_asked_about_again_and_made_once(shop, order, fault):
    gateway(shop).instead["refund_payment"] = fault

    answer = refund(shop, order)

    assert answer.body["status"] in ("created", "processing")
    assert (refunded(shop), status(shop, order), shop.events("payment.refunded")) == (14_52, "completed", [])
    later(shop, seconds=5)
    gateway(shop).instead.clear()
    later(shop, minutes=1)
    later(shop, days=1)
    assert (given_back(shop), refunds(shop), status(shop, order)) == ([14_52], ["succeeded"], "refunded")
    assert len(shop.events("payment.refunded")) == 1
    assert gateway(shop).calls.count("refund_payment") == 3


def test_what_is_on_its_way_back_counts_as_refunded(shop, order):
    gateway(shop).instead["refund_payment"] = raises(ProviderTimeout("silence"))
    refund(shop, order, eur("10.00"), key="first")
    gateway(shop).instead.clear()

    with pytest.raises(RefundExceedsPayment) as refused:
        refund(shop, order, eur("5.00"), key="second")

    assert refused.value.extra == {"refundable": {"amount": 4_52, "currency": "EUR"}}


def test_an_order_is_refunded_when_the_last_part_has_arrived(shop, order):
    gateway(shop).instead["refund_payment"] = raises(ProviderTimeout("silence"))
    refund(shop, order, eur("10.00"), key="first")
    gateway(shop).instead.clear()

    refund(shop, order, eur("4.52"), key="second")

    assert status(shop, order) == "completed"
    later(shop, minutes=1)
    assert (status(shop, order), given_back(shop)) == ("refunded", [14_52])


def test_a_refund_that_the_provider_refuses_may_be_asked_for_again(shop, order, caplog):
    gateway(shop).instead["refund_payment"] = lambda real, request: RefundResult("failed", eur("0.00"))

    answer = refund(shop, order, key="first")

    assert answer.body["status"] == "failed"
    assert (refunded(shop), status(shop, order), shop.events("payment.refunded")) == (0, "completed", [])
    assert f"refund {answer.body['id']} of order {order}: sandbox refuses it" in caplog.text
    gateway(shop).instead.clear()
    assert refund(shop, order, key="second").body["status"] == "succeeded"
    assert given_back(shop) == [14_52]
