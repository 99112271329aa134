"""Captures: what was set aside as an order was placed is taken, in one part or several, never more, whatever the provider does."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from core.access import Caller
from core.captures import Capture, capture_order, settle_capture
from core.checkout import cancel_order, settle
from core.engine.idempotency import KeyedRequest
from core.errors import CaptureExceedsPayment, IdempotencyKeyReused, Missing, RefundExceedsPayment, TransitionInvalid
from core.invoices import Invoice, invoice_document
from core.orders import Order
from core.payment_methods import PaymentMethod, delete_method
from core.payments import Payment, Refund, reference, retrieve
from core.recovery import recover
from core.refunds import refund_order
from core.stuck import retry, stuck_cases
from puesto import Money, PaymentResult, PaymentUnknown, ProviderTimeout, ProviderUnavailable, eur, usd
from puesto.testing.shop import INTERNAL
from tests.core.gateway import GatewayPlugin, answers, raises
from tests.core.racing import at_once, kinds

SEAT = {"mode": "buy", "plan": "gotoassist-standard", "seats": 1, "interval": "month"}
SET_ASIDE = eur("14.52")  # 12.00 x 1.21


@pytest.fixture
def shop(open_shop):
    """A shop that takes money by hand, and whose gateway goes wrong on demand."""
    return open_shop(plugins={"sandbox": GatewayPlugin}, payments={"capture": "manual"})


@pytest.fixture
def order(shop):
    return shop.order(shop.cart(SEAT))["id"]


def capture(shop: Any, order: str, amount: Money | None = None, *, final: bool = False, key: str = "key", caller: Caller = INTERNAL) -> Any:
    request = KeyedRequest(f"capture {order}", key, f"{amount} {final}".encode())
    return capture_order(shop.engine, order, caller, amount=amount, final=final, request=request)


def refund(shop: Any, order: str, amount: Money | None = None, *, key: str = "key") -> Any:
    request = KeyedRequest(f"refund {order}", key, str(amount).encode())
    return refund_order(shop.engine, order, INTERNAL, amount=amount, reason="wrong", request=request)


def gateway(shop: Any) -> Any:
    return shop.engine.providers["sandbox"]


def books(shop: Any) -> list[tuple[str, int]]:
    """Status and what was taken of every charge, by the gateway's books."""
    return [(charge.status, charge.amount.amount) for charge in gateway(shop).charges()]


def payment(shop: Any) -> Any:
    return shop.engine.db.first(Payment.select())


def counted(shop: Any) -> tuple[str, int]:
    """The same by the shop's books."""
    return payment(shop).status, payment(shop).captured


def captures(shop: Any) -> list[str]:
    return [row.status for row in shop.engine.db.all(Capture.select().order_by(Capture.id))]


def invoice(shop: Any) -> tuple[str, int, int]:
    """Status, paid and due."""
    shown = invoice_document(shop.engine, shop.engine.db.first(Invoice.select()))
    return shown["status"], shown["paid"]["amount"], shown["due"]["amount"]


def later(shop: Any, **time: int) -> None:
    shop.clock.move_to(shop.clock.now() + timedelta(**time))
    recover(shop.engine)


# --- setting aside


def test_access_is_immediate_and_the_invoice_open_until_the_money_is_taken(shop):
    order = shop.order(shop.cart(SEAT))

    assert (order["status"], order["payment"]["status"], order["payment"]["captured"]["amount"]) == ("completed", "authorized", 0)
    assert [subscription["status"] for event in shop.events("order.completed") for subscription in event["data"]["subscriptions"]] == [
        "active"
    ]
    assert (books(shop), invoice(shop), shop.events("payment.captured")) == ([("authorized", 0)], ("open", 0, 14_52), [])


def test_after_the_bank_money_is_set_aside_too(shop):
    shop.order(shop.cart(SEAT), token="tok_3ds")
    gateway(shop).confirm_payment(reference(payment(shop)), {})

    later(shop, hours=1)

    assert (books(shop), counted(shop)) == ([("authorized", 0)], ("authorized", 0))


def test_a_provider_that_can_not_set_aside_charges_at_once(shop):
    gateway(shop).capabilities = replace(gateway(shop).capabilities, authorize=False)

    shop.order(shop.cart(SEAT))

    assert (books(shop), counted(shop), invoice(shop)) == ([("captured", 14_52)], ("captured", 14_52), ("paid", 14_52, 0))


def test_a_method_is_stored_as_ever(shop):
    shop.try_out("gotomeeting-essentials", token="tok_ok")

    assert (books(shop), counted(shop)) == ([], ("captured", 0))


# --- taking


def test_without_an_amount_everything_is_taken(shop, order):
    before = shop.rows()

    answer = capture(shop, order)

    assert answer.body == {
        "id": shop.engine.db.first(Capture.select()).id,
        "order": order,
        "amount": {"amount": 14_52, "currency": "EUR"},
        "final": True,
        "status": "succeeded",
        "created_at": "2026-03-01T12:00:00.000Z",
    }
    assert (books(shop), counted(shop), invoice(shop)) == ([("captured", 14_52)], ("captured", 14_52), ("paid", 14_52, 0))
    assert shop.rows() == {**before, **{name: before[name] + 1 for name in ("capture", "event", "idempotency_key")}}
    [event] = shop.events("payment.captured")
    assert (event["data"]["capture"], event["data"]["invoice"]["status"]) == (answer.body, "paid")


def test_parts_are_taken_until_nothing_is_left(shop, order):
    capture(shop, order, eur("4.50"), key="first")
    assert (books(shop), counted(shop)) == ([("partially_captured", 4_50)], ("partially_captured", 4_50))
    assert invoice(shop) == ("open", 4_50, 10_02)

    last = capture(shop, order, key="second")

    assert last.body["amount"] == {"amount": 10_02, "currency": "EUR"}
    assert (books(shop), counted(shop), invoice(shop)) == ([("captured", 14_52)], ("captured", 14_52), ("paid", 14_52, 0))


def test_a_final_part_lets_go_of_the_rest(shop, order):
    capture(shop, order, eur("4.50"), final=True)

    assert (books(shop), counted(shop), invoice(shop)) == ([("captured", 4_50)], ("captured", 4_50), ("paid", 4_50, 0))
    with pytest.raises(TransitionInvalid) as refused:
        capture(shop, order, key="more")
    assert str(refused.value) == "The order is completed and no money is set aside for it."


@pytest.mark.parametrize("amount", [eur("10.03"), eur("14.52"), Money(0, "EUR"), eur("-1.00"), usd("1.00")])
def test_more_than_is_set_aside_is_refused_and_says_how_much_is(shop, order, amount):
    capture(shop, order, eur("4.50"), key="first")
    before = shop.rows()

    with pytest.raises(CaptureExceedsPayment) as refused:
        capture(shop, order, amount, key="second")

    assert str(refused.value) == f"{amount} can't be taken: 10.02 EUR is set aside."
    assert refused.value.extra == {"capturable": {"amount": 10_02, "currency": "EUR"}}
    assert (shop.rows(), books(shop)) == (before, [("partially_captured", 4_50)])


def test_a_provider_that_takes_all_at_once_is_asked_for_no_part(shop, order):
    gateway(shop).capabilities = replace(gateway(shop).capabilities, partial_capture=False)

    with pytest.raises(TransitionInvalid) as refused:
        capture(shop, order, eur("4.50"))

    assert str(refused.value) == "sandbox takes what is set aside at once: 14.52 EUR."
    assert capture(shop, order, key="all").body["status"] == "succeeded"


def test_what_was_charged_at_once_is_not_set_aside(open_shop):
    shop = open_shop(plugins={"sandbox": GatewayPlugin})
    order = shop.order(shop.cart(SEAT))["id"]

    with pytest.raises(TransitionInvalid):
        capture(shop, order)

    assert (shop.count(Capture), gateway(shop).calls) == (0, ["initiate_payment"])


def test_another_accounts_order_is_not_there(shop, order):
    stranger = Caller("usr_1", frozenset({"staff"}), account=shop.open_account().id)

    with pytest.raises(Missing):
        capture(shop, order, caller=stranger)

    assert books(shop) == [("authorized", 0)]


# --- giving back what was taken


def test_what_was_not_taken_can_not_be_given_back(shop, order):
    with pytest.raises(RefundExceedsPayment) as refused:
        refund(shop, order)
    assert refused.value.extra == {"refundable": {"amount": 0, "currency": "EUR"}}

    capture(shop, order, eur("4.50"))

    with pytest.raises(RefundExceedsPayment) as refused:
        refund(shop, order, eur("4.51"))
    assert refused.value.extra == {"refundable": {"amount": 4_50, "currency": "EUR"}}
    assert shop.count(Refund) == 0


@pytest.mark.parametrize(("final", "status"), [(True, "refunded"), (False, "completed")])
def test_an_order_is_refunded_once_all_that_will_ever_be_taken_went_back(shop, order, final, status):
    capture(shop, order, eur("4.50"), final=final)

    refund(shop, order)

    assert (gateway(shop).charges()[0].refunded, shop.engine.db.get(Order, order).status) == (eur("4.50"), status)


# --- the same request again, and another at the same time


def test_a_repeated_request_gets_the_first_answer_and_takes_once(shop, order):
    first, second = capture(shop, order, eur("4.50")), capture(shop, order, eur("4.50"))

    assert (first.replayed, second.replayed, second.body) == (False, True, first.body)
    assert (books(shop), captures(shop)) == ([("partially_captured", 4_50)], ["succeeded"])
    with pytest.raises(IdempotencyKeyReused):
        capture(shop, order, eur("5.00"))


def test_ten_at_once_take_no_more_than_was_set_aside(shop, order):
    calls = [lambda n=n: capture(shop, order, eur("10.00"), key=f"key {n}").body["status"] for n in range(10)]

    done = at_once(shop, calls)
    recover(shop.engine)

    assert set(kinds(done)) <= {str, CaptureExceedsPayment, TransitionInvalid}
    assert (books(shop), counted(shop)) == ([("partially_captured", 10_00)], ("partially_captured", 10_00))
    assert captures(shop) == ["succeeded"]


def test_a_capture_and_recovery_of_it_at_once_take_once(shop, order):
    gateway(shop).instead["capture_payment"] = raises(ProviderTimeout("silence"))
    capture_id = capture(shop, order, eur("4.50")).body["id"]
    gateway(shop).instead.clear()

    at_once(shop, [lambda: settle_capture(shop.engine, capture_id)] * 8)

    assert (books(shop), counted(shop), captures(shop)) == ([("partially_captured", 4_50)], ("partially_captured", 4_50), ["succeeded"])
    assert len(shop.events("payment.captured")) == 1


# --- a provider that goes wrong


def lost(real: Any, request: Any) -> Any:
    """The money is taken, and the answer gets lost."""
    real(request)
    raise ProviderTimeout("silence")


@pytest.mark.parametrize(
    "fault",
    [
        lost,
        answers(None),
        answers(PaymentResult("processing", SET_ASIDE)),
        answers(PaymentResult("partially_captured", SET_ASIDE, captured=eur("1.00"))),
        answers(PaymentResult("captured", eur("4.50"))),
        answers(PaymentResult("captured", SET_ASIDE, captured=usd("4.50"))),
        raises(ProviderUnavailable("down")),
        raises(PaymentUnknown("never heard of it")),
        raises(SystemExit(1)),
    ],
    ids=["lost", "none", "processing", "less", "another_total", "another_currency", "down", "unknown", "exits"],
)
def test_a_capture_without_an_end_is_asked_about_again_and_made_once(shop, order, fault):
    gateway(shop).instead["capture_payment"] = fault

    answer = capture(shop, order, eur("4.50"))

    assert (answer.body["status"], shop.events("payment.captured")) == ("created", [])
    with pytest.raises(TransitionInvalid):
        capture(shop, order, eur("1.00"), key="another")
    later(shop, seconds=5)
    gateway(shop).instead.clear()
    later(shop, minutes=1)
    later(shop, days=1)
    assert (books(shop), counted(shop), captures(shop)) == ([("partially_captured", 4_50)], ("partially_captured", 4_50), ["succeeded"])
    assert (len(shop.events("payment.captured")), shop.engine.db.get(Order, order).problem) == (1, None)
    assert 2 <= gateway(shop).calls.count("capture_payment") <= 3  # a look at the payment may have told what became of it


def test_a_request_that_died_before_the_call_is_carried_on_when_repeated(shop, order):
    class PowerCut(BaseException):
        pass

    def die(real, request):
        raise PowerCut

    gateway(shop).instead["capture_payment"] = die
    with pytest.raises(PowerCut):
        capture(shop, order, eur("4.50"))
    gateway(shop).instead.clear()
    shop.clock.move_to(shop.clock.now() + timedelta(seconds=60))

    answer = capture(shop, order, eur("4.50"))

    assert (answer.body["status"], answer.replayed, captures(shop)) == ("succeeded", False, ["succeeded"])
    assert books(shop) == [("partially_captured", 4_50)]


def test_a_capture_that_the_provider_refuses_may_be_asked_for_again(shop, order, caplog):
    gateway(shop).instead["capture_payment"] = lambda real, request: gateway(shop).retrieve_payment(request.payment)

    answer = capture(shop, order, key="first")

    assert (answer.body["status"], counted(shop), shop.events("payment.captured")) == ("failed", ("authorized", 0), [])
    assert f"capture {answer.body['id']} of order {order}: sandbox refuses it" in caplog.text
    gateway(shop).instead.clear()
    assert capture(shop, order, key="second").body["status"] == "succeeded"


def test_news_that_overtake_the_answer_do_no_harm(shop, order):
    def answer_late(real, request):
        answer = real(request)
        settle(shop.engine, payment(shop), retrieve(shop.engine, payment(shop)))
        return answer

    gateway(shop).instead["capture_payment"] = answer_late

    assert capture(shop, order, eur("4.50")).body["status"] == "succeeded"
    assert (counted(shop), len(shop.events("payment.captured"))) == (("partially_captured", 4_50), 1)


def test_an_old_answer_takes_nothing_back(shop, order):
    old = retrieve(shop.engine, payment(shop))
    capture(shop, order, eur("4.50"))

    settle(shop.engine, payment(shop), old)

    assert counted(shop) == ("partially_captured", 4_50)


def test_what_was_taken_is_never_less_again(shop, order):
    capture(shop, order, eur("4.50"))

    settle(shop.engine, payment(shop), PaymentResult("captured", SET_ASIDE, captured=eur("1.00")))

    assert counted(shop) == ("captured", 4_50)


def test_a_method_that_was_deleted_before_the_capture_stays_deleted(shop):
    order = shop.order(shop.cart(SEAT), token="tok_ok", save=True)["id"]
    [method] = shop.engine.db.all(PaymentMethod.select())
    delete_method(shop.engine, shop.account.id, method.id, INTERNAL)

    capture(shop, order)

    assert [row.deleted_at for row in shop.engine.db.all(PaymentMethod.select())] == [shop.clock.now()]


def test_money_that_is_set_aside_no_more_is_told_to_staff(shop, order):
    gateway(shop).cancel_payment(reference(payment(shop)))

    answer = capture(shop, order)

    assert (answer.body["status"], counted(shop)) == ("failed", ("canceled", 0))
    [case] = stuck_cases(shop.engine, limit=10)[0]
    assert (case.kind, case.id, case.reason) == ("order", order, "authorization-lost")
    with pytest.raises(TransitionInvalid):
        capture(shop, order, key="again")


def test_money_set_aside_for_an_order_that_was_given_up_is_let_go(shop):
    order = shop.order(shop.cart(SEAT), token="tok_3ds")["id"]
    cancel_order(shop.engine, order, INTERNAL)
    gateway(shop).confirm_payment(reference(payment(shop)), {})

    later(shop, minutes=1)
    assert shop.engine.db.get(Order, order).problem == "late-payment"
    later(shop, minutes=1)

    now = shop.engine.db.get(Order, order)
    assert (now.status, now.problem, books(shop), counted(shop)) == ("cancelled", None, [("canceled", 0)], ("canceled", 0))
    assert (captures(shop), shop.count(Refund), shop.events("payment.captured")) == (["succeeded"], 0, [])


def test_a_capture_whose_end_stays_unknown_is_listed_and_can_be_asked_about_now(shop, order):
    gateway(shop).instead["capture_payment"] = raises(ProviderTimeout("silence"))
    capture_id = capture(shop, order).body["id"]
    later(shop, minutes=15)
    [case] = stuck_cases(shop.engine, limit=10)[0]

    gateway(shop).instead.clear()
    done = retry(shop.engine, case.id)
    recover(shop.engine)

    assert (case.kind, case.id, case.subject, case.reason) == ("capture", capture_id, order, "sandbox gives no answer: silence")
    assert (done, captures(shop), stuck_cases(shop.engine, limit=10)) == (1, ["succeeded"], ([], None))
