"""Recovery: silent providers, buyers who never come back, money that comes too late, and amounts that are not ours."""

import threading
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from core.carts import Cart
from core.checkout import buyer_returned, cancel_order, checkout, settle
from core.engine.idempotency import KeyedRequest
from core.errors import PaymentAmountMismatch
from core.orders import Order, OrderLine
from core.payments import Payment, PaymentChoice, Refund, reference
from core.recovery import recover
from core.subscriptions import Subscription, Trial
from puesto import Money, PaymentResult, ProviderTimeout, ProviderUnavailable, eur, usd
from puesto.testing.shop import INTERNAL
from tests.core.gateway import Gateway, GatewayPlugin, answers, raises

SEAT = {"mode": "buy", "plan": "gotoassist-standard", "seats": 1, "interval": "month"}
DUE = eur("14.52")  # 12.00 x 1.21
CARD_TRIAL = {"mode": "trial", "plan": "gotomeeting-essentials", "seats": 1}
PENDING = PaymentResult("processing", DUE)


# What a payment keeps of a provider's silence.
SAID = {ProviderTimeout: "silence", ProviderUnavailable: "down", ZeroDivisionError: "sandbox raised ZeroDivisionError"}


class PowerCut(BaseException):
    """The process is gone."""


@pytest.fixture
def shop(open_shop):
    """A shop whose gateway goes wrong on demand."""
    return open_shop(plugins={"sandbox": GatewayPlugin})


def gateway(shop: Any) -> Any:
    return shop.engine.providers["sandbox"]


def later(shop: Any, **time: int) -> None:
    """Recovery, when so much time has passed."""
    shop.clock.move_to(shop.clock.now() + timedelta(**time))
    recover(shop.engine)


def status(shop: Any, order: dict[str, Any]) -> str:
    return str(shop.engine.db.get(Order, order["id"]).status)


def payment_of(shop: Any, order: dict[str, Any]) -> Any:
    return shop.engine.db.first(Payment.select().where(Payment.order == order["id"]))


def books(shop: Any) -> list[tuple[str, int, int]]:
    """Status, amount and what was given back of every charge."""
    return [(charge.status, charge.amount.amount, charge.refunded.amount) for charge in gateway(shop).charges()]


def approve_at_the_bank(shop: Any, order: dict[str, Any]) -> None:
    """The bank and the gateway know that the buyer has agreed; the shop does not."""
    gateway(shop).confirm_payment(reference(payment_of(shop, order)), {})


# --- what became of it


def test_a_charge_that_was_never_answered_is_found_and_completed(shop):
    cart = shop.cart(SEAT)
    order = shop.order(cart, token="tok_timeout")

    later(shop, seconds=5)
    later(shop, days=1)

    assert (status(shop, order), shop.refresh(cart).status) == ("completed", "ordered")
    assert [event["type"] for event in shop.events()] == ["order.completed", "subscription.started"]
    assert books(shop) == [("captured", 14_52, 0)]


def test_a_request_that_died_after_the_charge_finds_it_when_repeated(shop):
    def die_after_it(real, request):
        real(request)
        raise PowerCut

    cart, calls = shop.cart(SEAT), gateway(shop).calls
    payment, request = PaymentChoice("sandbox", token="tok_ok"), KeyedRequest("checkout", "key", b"")
    call = partial(checkout, shop.engine, cart.id, INTERNAL, quote=shop.quote(cart).seal, payment=payment, purchase_order=None)
    gateway(shop).instead["initiate_payment"] = die_after_it
    with pytest.raises(PowerCut):
        call(request=request)
    shop.clock.move_to(shop.clock.now() + timedelta(seconds=60))

    answer = call(request=request)

    assert (answer.body["status"], answer.replayed) == ("completed", False)
    assert calls == ["initiate_payment", "retrieve_payment"]
    assert books(shop) == [("captured", 14_52, 0)]


def test_a_payment_that_the_provider_never_heard_of_has_failed(shop):
    cart = shop.cart(CARD_TRIAL)
    gateway(shop).instead["save_method"] = raises(ProviderTimeout("the line is dead"))
    order = shop.order(cart)

    later(shop, seconds=5)

    assert (status(shop, order), shop.refresh(cart).status) == ("failed", "open")
    assert payment_of(shop, order).error == {"code": "provider_error", "retryable": True, "provider_code": None}
    assert [event["type"] for event in shop.events()] == ["payment.failed"]
    assert (shop.count(Trial), shop.count(Subscription)) == (0, 0)


def test_recovery_waits_until_the_call_must_be_over(shop):
    order = shop.order(shop.cart(SEAT), token="tok_timeout")
    gateway(shop).calls.clear()

    later(shop, seconds=4)

    assert (status(shop, order), gateway(shop).calls) == ("processing", [])


def test_a_buyer_has_an_hour_at_the_bank(shop):
    shop.change(shop.buy("gotoassist-standard", interval="year"), interval="month")
    cart = shop.cart({**SEAT, "seats": 10})
    order = shop.order(cart, token="tok_3ds")

    later(shop, minutes=59)
    assert (status(shop, order), shop.account.balance) == ("requires_action", 0)
    later(shop, minutes=1)

    assert (status(shop, order), shop.refresh(cart).status) == ("cancelled", "open")
    assert shop.account.balance == 130_68  # (120.00 - 12.00) x 1.21
    assert books(shop)[-1] == ("canceled", 0, 0)


def test_a_buyer_who_agreed_but_never_came_back_has_bought(shop):
    order = shop.order(shop.cart(SEAT), token="tok_3ds")
    approve_at_the_bank(shop, order)

    later(shop, hours=1)

    assert status(shop, order) == "completed"
    assert books(shop) == [("captured", 14_52, 0)]


def test_a_buyer_who_comes_back_while_recovery_asks_has_bought(shop):
    order = shop.order(shop.cart(SEAT), token="tok_3ds")

    def answer_late(real, payment):
        answer = real(payment)
        assert buyer_returned(shop.engine, order["id"], {}) == "completed"
        return answer

    gateway(shop).instead["retrieve_payment"] = answer_late
    later(shop, hours=1)

    assert (status(shop, order), payment_of(shop, order).status) == ("completed", "captured")


# --- asking again


def test_a_payment_under_way_is_asked_about_ever_more_rarely_but_daily(shop):
    gateway(shop).instead |= {"initiate_payment": answers(PENDING), "retrieve_payment": answers(PENDING)}
    order = shop.order(shop.cart(SEAT))

    waits = []
    for _ in range(18):
        waits.append(payment_of(shop, order).ask_at - shop.clock.now())
        shop.clock.move_to(payment_of(shop, order).ask_at)
        recover(shop.engine)

    full = [timedelta(seconds=5 * 2 ** max(n - 1, 0)) for n in range(18)]
    for wait, longest in zip(waits[1:], full[1:], strict=True):
        assert min(longest, timedelta(days=1)) / 2 <= wait <= min(longest, timedelta(days=1))
    assert (status(shop, order), payment_of(shop, order).tries, payment_of(shop, order).trouble) == ("processing", 18, None)
    del gateway(shop).instead["retrieve_payment"]
    later(shop, days=1)
    assert status(shop, order) == "completed"


@pytest.mark.parametrize("silence", [ProviderTimeout("silence"), ProviderUnavailable("down"), ZeroDivisionError("a bug")])
def test_a_silent_provider_is_asked_once_a_round(shop, caplog, silence):
    orders = [shop.order(shop.cart(SEAT), token="tok_timeout") for _ in range(3)]
    gateway(shop).instead["retrieve_payment"] = raises(silence)
    gateway(shop).calls.clear()

    later(shop, seconds=5)

    assert gateway(shop).calls == ["retrieve_payment"]
    assert "sandbox gives no answer" in caplog.text
    for order in orders:
        payment = payment_of(shop, order)
        assert (payment.tries, payment.trouble) == (1, f"sandbox gives no answer: {SAID[type(silence)]}")
    gateway(shop).instead.clear()
    later(shop, minutes=1)
    assert [status(shop, order) for order in orders] == ["completed"] * 3


def test_an_order_that_can_not_be_completed_holds_up_no_other(shop, caplog):
    first, second = (shop.order(shop.cart(SEAT), token="tok_timeout") for _ in range(2))
    broken = shop.engine.db.first(OrderLine.select().where(OrderLine.order == first["id"]))
    shop.engine.db.update(broken, fulfilment={})

    later(shop, seconds=5)

    assert [status(shop, order) for order in (first, second)] == ["processing", "completed"]
    assert f"{payment_of(shop, first).id}, paid with sandbox, can't be carried on" in caplog.text
    payment = payment_of(shop, first)
    assert (payment.status, payment.tries, payment.trouble) == ("processing", 1, "KeyError: 'action'")
    assert (payment_of(shop, second).tries, payment_of(shop, second).trouble) == (1, None)


def test_money_whose_end_is_unknown_is_asked_about_for_ever(shop):
    order = shop.order(shop.cart(SEAT), token="tok_timeout")
    gateway(shop).instead["retrieve_payment"] = raises(ProviderTimeout("silence"))

    for _ in range(60):
        later(shop, days=1)

    payment = payment_of(shop, order)
    assert (payment.status, payment.tries) == ("processing", 60)
    assert timedelta(hours=12) <= payment.ask_at - shop.clock.now() <= timedelta(days=1)
    gateway(shop).instead.clear()
    later(shop, days=1)
    assert (status(shop, order), payment_of(shop, order).trouble) == ("completed", None)


def test_a_payment_whose_plugin_has_gone_waits_and_says_so(open_shop, shop):
    order = shop.order(shop.cart(SEAT), token="tok_timeout")
    without = open_shop(folder=shop.folder, disabled=["sandbox"])

    later(without, days=1)

    payment = payment_of(shop, order)
    assert (payment.tries, payment.trouble) == (1, "sandbox gives no answer: The payment provider sandbox is not enabled.")
    shop.clock.move_to(without.clock.now())
    later(shop, days=1)
    assert status(shop, order) == "completed"


# --- orders that are given up, and money that comes too late


def cancelled(shop: Any, cart: Cart, order: dict[str, Any]) -> None:
    cancel_order(shop.engine, order["id"], INTERNAL)


def left_for_an_hour(shop: Any, cart: Cart, order: dict[str, Any]) -> None:
    later(shop, hours=1)


def ordered_anew(shop: Any, cart: Cart, order: dict[str, Any]) -> None:
    shop.order(cart)


@pytest.mark.parametrize("give_up", [cancelled, left_for_an_hour, ordered_anew])
def test_an_order_that_was_given_up_can_not_be_paid_at_the_bank(shop, give_up):
    cart = shop.cart(SEAT)
    order = shop.order(cart, token="tok_3ds")
    give_up(shop, cart, order)
    later(shop, minutes=1)
    ended = payment_of(shop, order)

    approve_at_the_bank(shop, order)
    gateway(shop).calls.clear()
    later(shop, days=1)

    assert (ended.status, ended.ask_at, books(shop)[0]) == ("canceled", None, ("canceled", 0, 0))
    assert (status(shop, order), shop.count(Refund), gateway(shop).calls) == ("cancelled", 0, [])


def test_a_provider_that_can_not_end_a_payment_is_asked_for_a_week(shop, monkeypatch):
    monkeypatch.setattr(Gateway, "capabilities", replace(Gateway.capabilities, cancel=False))
    order = shop.order(shop.cart(SEAT), token="tok_3ds")
    cancel_order(shop.engine, order["id"], INTERNAL)

    for _ in range(8):
        later(shop, days=1)

    assert set(gateway(shop).calls[1:]) == {"retrieve_payment"}
    assert (payment_of(shop, order).ask_at, books(shop)) == (None, [("requires_action", 0, 0)])


@pytest.mark.parametrize(("give_up", "charged"), [(cancelled, 1), (left_for_an_hour, 1), (ordered_anew, 2)])
def test_money_for_an_order_that_was_given_up_goes_back_once(shop, caplog, give_up, charged):
    cart = shop.cart(SEAT)
    order = shop.order(cart, token="tok_3ds")
    gateway(shop).instead["cancel_payment"] = raises(ProviderTimeout("silence"))  # the buyer is faster
    give_up(shop, cart, order)

    approve_at_the_bank(shop, order)
    for _ in range(10):
        later(shop, days=1)

    assert books(shop) == [("captured", 14_52, 14_52), ("captured", 14_52, 0)][:charged]
    payment = payment_of(shop, order)
    assert (payment.status, payment.refunded, payment.problem) == ("captured", 14_52, "late-payment")
    assert (status(shop, order), shop.engine.db.get(Order, order["id"]).problem) == ("cancelled", "late-payment")
    assert (shop.count(Refund), shop.count(Subscription)) == (1, charged - 1)
    assert [event["subject"] for event in shop.events("payment.refunded")] == [order["id"]]
    assert f"order {order['id']} is cancelled, yet payment {payment.id} went through" in caplog.text


def test_it_goes_back_once_however_often_it_is_reported(shop):
    order = shop.order(shop.cart(SEAT), token="tok_3ds")
    cancel_order(shop.engine, order["id"], INTERNAL)
    approve_at_the_bank(shop, order)

    for _ in range(3):
        settle(shop.engine, payment_of(shop, order), PaymentResult("captured", DUE))
        later(shop, minutes=1)

    assert (shop.count(Refund), books(shop)) == (1, [("captured", 14_52, 14_52)])


def test_a_card_that_is_stored_too_late_gives_nothing_back(shop):
    order = shop.order(shop.cart(CARD_TRIAL), token="tok_3ds")
    cancel_order(shop.engine, order["id"], INTERNAL)
    approve_at_the_bank(shop, order)

    later(shop, hours=1)

    assert (status(shop, order), payment_of(shop, order).status) == ("cancelled", "captured")
    assert (shop.engine.db.get(Order, order["id"]).problem, shop.count(Refund), shop.count(Subscription)) == (None, 0, 0)


def test_a_call_that_got_through_after_all_is_paid_back(shop):
    over, paid = threading.Event(), threading.Event()

    def stuck(real, request):
        over.wait(30)
        real(request)
        paid.set()

    gateway(shop).deadline, gateway(shop).instead["initiate_payment"] = 0.05, stuck
    order = shop.order(shop.cart(SEAT))
    gateway(shop).deadline = 20.0
    later(shop, seconds=5)
    assert (status(shop, order), books(shop)) == ("failed", [])

    over.set()
    paid.wait(30)
    later(shop, minutes=1)
    later(shop, minutes=1)

    assert (status(shop, order), books(shop)) == ("failed", [("captured", 14_52, 14_52)])


def test_after_a_week_nobody_asks_about_a_given_up_order_any_more(shop):
    order = shop.order(shop.cart(SEAT), token="tok_3ds")
    for _ in range(9):
        later(shop, days=1)
    gateway(shop).calls.clear()

    later(shop, days=30)

    assert (payment_of(shop, order).ask_at, gateway(shop).calls) == (None, [])


# --- another amount than was asked for


def order_at(shop: Any, cart: Cart, seal: str) -> PaymentAmountMismatch:
    """The problem that ordering the cart ends in, under one key."""
    choice, request = PaymentChoice("sandbox", token="tok_ok"), KeyedRequest("checkout", "key", b"")
    with pytest.raises(PaymentAmountMismatch) as held:
        checkout(shop.engine, cart.id, INTERNAL, quote=seal, payment=choice, purchase_order=None, request=request)
    return held.value


def hold(shop: Any, cart: Cart, amount: Money) -> Any:
    """An order of which the gateway says that another amount was charged."""
    wrong = answers(PaymentResult("captured", amount))
    gateway(shop).instead |= {"initiate_payment": wrong, "retrieve_payment": wrong}
    problem = order_at(shop, cart, shop.quote(cart).seal)
    return shop.engine.db.get(Order, problem.extra["order"])


@pytest.mark.parametrize("amount", [eur("1.00"), usd("14.52"), eur("145.20")])
def test_another_amount_holds_the_order(shop, caplog, amount):
    cart = shop.cart(SEAT)

    order = hold(shop, cart, amount)
    for _ in range(3):
        later(shop, days=1)

    order = shop.refresh(order)
    assert (order.status, order.problem, shop.refresh(cart).status) == ("processing", "amount-mismatch", "ordering")
    assert (shop.events(), shop.count(Subscription), shop.count(Refund)) == ([], 0, 0)
    assert f"sandbox reports {amount} instead of {DUE}" in caplog.text


def test_a_held_order_answers_a_repeated_request_with_the_same_problem(shop):
    cart = shop.cart(SEAT)
    seal = shop.quote(cart).seal
    gateway(shop).instead["initiate_payment"] = answers(PaymentResult("captured", eur("1.00")))

    first, second = (order_at(shop, cart, seal) for _ in range(2))

    assert (first.replayed, second.replayed, str(first)) == (False, True, str(second))
    assert first.extra == second.extra == {"order": shop.engine.db.first(Order.select()).id}
    assert len(books(shop)) == 1


@pytest.mark.parametrize(
    ("corrected", "order_status", "cart_status"),
    [(PaymentResult("captured", DUE), "completed", "ordered"), (PaymentResult("canceled", eur("0.00")), "failed", "open")],
)
def test_a_held_order_goes_on_once_the_providers_books_are_put_right(shop, corrected, order_status, cart_status):
    cart = shop.cart(SEAT)
    order = hold(shop, cart, eur("1.00"))

    gateway(shop).instead["retrieve_payment"] = answers(corrected)
    later(shop, days=1)

    order = shop.refresh(order)
    assert (order.status, order.problem, shop.refresh(cart).status) == (order_status, None, cart_status)


def test_a_late_payment_of_another_amount_is_written_down_for_a_human(shop):
    cart = shop.cart(SEAT)
    order = shop.order(cart, token="tok_3ds")
    shop.order(cart)
    approve_at_the_bank(shop, order)

    gateway(shop).instead["retrieve_payment"] = answers(PaymentResult("captured", eur("1.00")))
    later(shop, days=1)

    assert (status(shop, order), shop.engine.db.get(Order, order["id"]).problem) == ("cancelled", "amount-mismatch")
    assert shop.count(Refund) == 0


def test_what_the_provider_says_late_does_not_undo_what_is_known(shop):
    order = shop.order(shop.cart(SEAT))
    before = shop.engine.db.first(Payment.select()).__data__

    for stale in ("requires_action", "processing", "declined", "failed", "canceled"):
        settle(shop.engine, payment_of(shop, order), PaymentResult(stale, eur("0.00")))

    assert shop.engine.db.first(Payment.select()).__data__ == before
    assert status(shop, order) == "completed"
