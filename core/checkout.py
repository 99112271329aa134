"""Checkout: from an open cart to a completed order, so that nobody is charged twice, or charged for nothing.

Three steps, and each can be run again: write the order and the intent to pay; call the provider with no transaction open; write
the outcome with everything that follows. Whoever finds an order between two steps carries it on: the request itself, its
repetition with the same key, the buyer coming back from the bank, or recovery.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from core.access import Caller, missing
from core.accounts import Account, lock_account
from core.captures import under_way, write_capture
from core.carts import Cart, check_open, get_cart, lines_of
from core.disputes import Dispute
from core.engine.engine import Engine
from core.engine.idempotency import Answer, KeyedRequest, begin, claim, finish, release, take
from core.engine.values import new_id
from core.errors import (
    CorporateAccount,
    PaymentAmountMismatch,
    PaymentProviderUnavailable,
    PuestoError,
    TransitionInvalid,
    ValidationFailed,
)
from core.hooks.payments import PaymentLine, PaymentResult, ProviderTimeout, ProviderUnavailable
from core.invoices import Invoice
from core.orders import (
    WAITING,
    Order,
    OrderLine,
    close_order,
    complete_order,
    get_order,
    note_captured,
    order_document,
    payment_lines,
    payment_of,
    tell_received,
    waiting_order,
    write_order,
)
from core.payments import (
    FAILED,
    GRACE,
    SUCCEEDED,
    Payment,
    PaymentChoice,
    Refund,
    begin_at_provider,
    check_choice,
    new_payment,
    record_result,
    reference,
    retrieve,
)
from core.providers import call_provider, declined, find_provider, unavailable
from core.quotes import Quote, check_seal, make_quote
from core.refunds import write_refund
from core.reversals import take_in
from core.rules.money import Money
from core.subscriptions import Subscription, SubscriptionChange

log = logging.getLogger("puesto.checkout")


def quote_cart(engine: Engine, cart_id: str, caller: Caller) -> Quote:
    """What ordering this cart would cost now. Writes nothing. Raises Missing, CartNotOpen, CartExpired, and as `make_quote` does."""
    cart = get_cart(engine, cart_id, caller)
    check_open(engine, cart)
    account = engine.db.get(Account, cart.account) if cart.account else None
    waiting = waiting_order(engine, cart.id) if cart.order else None
    if account is not None and waiting is not None:
        account.balance += waiting.credit_used  # ordering anew gives the waiting order up, and its credit comes back
    return make_quote(engine, cart, lines_of(engine, cart), account, caller)


def checkout(
    engine: Engine,
    cart_id: str,
    caller: Caller,
    *,
    quote: str,
    payment: PaymentChoice | None,
    purchase_order: str | None,
    request: KeyedRequest,
) -> Answer:
    """Order a cart and pay for it; the answer's body is the order's document. The same key gets the same answer.

    Raises what `place_order` raises; PaymentDeclined and PaymentProviderUnavailable, after which the cart is open again;
    PaymentAmountMismatch. An outcome that nobody knows yet answers an order that is `processing`.
    """
    place = partial(place_order, engine, cart_id=cart_id, caller=caller, quote=quote, payment=payment, purchase_order=purchase_order)
    return order_once(engine, request, place, payment)


def order_once(engine: Engine, request: KeyedRequest, place: Callable[..., None], payment: PaymentChoice | None) -> Answer:
    """The three steps, for the first request with this key, and for one that comes back after its process has died.

    place:   the first step, given `order_id`, inside its transaction.
    payment: how the buyer wants to pay; None: nothing is due, or `place` has chosen a stored method.
    """
    with engine.db.gathered():
        order_id = new_id("ord")
        known = take(engine, request, order_id)
        if isinstance(known, Answer):
            return _respond(known)
        if resumed := known is not None:
            order_id = str(known.resource)
        else:
            place(order_id=order_id)
        placed = _placed(engine, order_id)
    return _carry_on(engine, placed, payment, request, resumed=resumed)


def place_order(
    engine: Engine, order_id: str, cart_id: str, caller: Caller, quote: str, payment: PaymentChoice | None, purchase_order: str | None
) -> None:
    """First step: turn an open cart into a pending order with an intent to pay, in one transaction. No provider is called.

    An order that waits for the buyer at the bank is given up for the new one. Where nothing has to be paid, the order is
    completed at once.
    Raises Missing, CorporateAccount, CartNotOpen, CartExpired, QuoteChanged, QuoteExpired, ValidationFailed, and as
    `make_quote` does.
    """
    account_id = get_cart(engine, cart_id, caller).account
    if account_id is None:
        raise ValidationFailed("The cart has no account yet: claim it first.", pointer="/account")
    lock_account(engine, account_id)
    had_order = get_cart(engine, cart_id, caller, lock=True).order is not None
    if had_order and (waiting := waiting_order(engine, cart_id)) is not None:
        give_up(engine, waiting)
    account, cart = lock_account(engine, account_id), get_cart(engine, cart_id, caller, lock=True)
    check_corporate(account, caller)
    check_open(engine, cart)
    current = make_quote(engine, cart, lines_of(engine, cart), account, caller)
    check_seal(current, quote)
    check_payment(engine, account, current, payment, purchase_order)
    write_order(engine, order_id, cart, account, current, payment, purchase_order=purchase_order, placed_by=caller.id)


def check_corporate(account: Account, caller: Caller) -> None:
    """Raises CorporateAccount for anybody but staff."""
    if account.kind == "corporate" and not caller.staff:
        representative = account.representative or {}
        raise CorporateAccount(
            "Orders of this account are placed by its representative{name}.",
            name=f", {representative['name']}" if representative.get("name") else "",
            extra={"representative": representative or None, "portal": representative.get("portal")},
        )


def check_payment(engine: Engine, account: Account, quote: Quote, payment: PaymentChoice | None, purchase_order: str | None) -> None:
    """Raises Missing or ValidationFailed where a quote can't be paid like that."""
    if payment is None:
        if quote.payment_required:
            raise ValidationFailed("Something is due: say how it is paid.", pointer="/payment")
        return
    if not quote.payment_required:
        raise ValidationFailed("Nothing has to be paid: leave payment out.", pointer="/payment")
    for number, attempt in enumerate(payment.attempts):
        at = f"/payment/fallbacks/{number - 1}" if number else "/payment"
        if attempt.provider in {each.provider for each in payment.attempts[:number]}:
            raise ValidationFailed("A fallback names another provider than those before it.", pointer=f"{at}/provider")
        _check_attempt(engine, quote, attempt, purchase_order, at)
        check_choice(engine, account, attempt, at)


def _check_attempt(engine: Engine, quote: Quote, payment: PaymentChoice, purchase_order: str | None, at: str) -> None:
    able = quote.payment_providers if payment.payment_method is None else (*quote.payment_providers, *quote.providers.stored)
    if payment.provider not in able:
        raise ValidationFailed(
            "This can be paid with {able}; not with {provider}.",
            pointer=f"{at}/provider",
            able=", ".join(able) or "no provider",
            provider=payment.provider[:64],
        )
    if find_provider(engine, payment.provider).capabilities.purchase_order and not purchase_order:
        raise ValidationFailed("Payment on terms needs the buyer's purchase_order.", pointer="/purchase_order")


# --- second and third step


@dataclass(frozen=True)
class _Placed:
    """An order as it was placed, with its latest payment."""

    order: Order
    account: Account
    payment: Payment | None
    lines: tuple[PaymentLine, ...]


def _placed(engine: Engine, order_id: str) -> _Placed:
    """Read in the transaction that has placed it, which knows all of it already."""
    order = engine.db.get(Order, order_id)
    assert order is not None
    account = engine.db.get(Account, order.account)
    assert account is not None
    return _Placed(order, account, payment_of(engine, order), payment_lines(engine, order))


def _carry_on(engine: Engine, placed: _Placed, choice: PaymentChoice | None, request: KeyedRequest, *, resumed: bool) -> Answer:
    """Pay a placed order where that was not done yet, and answer for it.

    resumed: the provider may have been called before its process died: it is asked first.
    """
    payment, result, attempts = placed.payment, None, choice.attempts if choice else ()
    while payment is not None and payment.status == "created" and result is None:
        token = next((each.token for each in attempts if each.provider == payment.provider), None)
        try:
            result = _ask_provider(engine, placed, payment, token, resumed=resumed)
        except ProviderUnavailable as error:
            down, resumed = payment, False
            payment = _fall_back(engine, down, attempts, request)
            if payment is None:
                raise unavailable(down.provider) from error
    with engine.db.gathered():
        if payment is not None and result is not None:
            settle_together(engine, [(payment, result)])
        answer = finish(engine, request, _outcome(engine, placed.order.id))
    return _respond(answer)


def _ask_provider(engine: Engine, placed: _Placed, payment: Payment, token: str | None, *, resumed: bool) -> PaymentResult:
    """Second step; an outcome that nobody knows is `processing`. Raises ProviderUnavailable where certainly nothing was charged."""
    order = placed.order
    try:
        known = retrieve(engine, payment) if resumed else None
        words: dict[str, Any] = {"locale": order.locale, "purchase_order": order.purchase_order, "lines": placed.lines}
        return known or begin_at_provider(engine, payment, placed.account, token=token, **words)
    except ProviderTimeout:
        return PaymentResult("processing", payment.money)


def _fall_back(engine: Engine, down: Payment, attempts: Sequence[PaymentChoice], request: KeyedRequest) -> Payment | None:
    """End an attempt whose provider is down, and write the intent of the next one in the same transaction.

    None: there is no other. The order has failed, and the request may be made anew.
    """
    providers = [each.provider for each in attempts]
    left = attempts[providers.index(down.provider) + 1 :] if down.provider in providers else ()
    with engine.db.transaction():
        account = lock_account(engine, down.account)
        order, payment = engine.db.lock(Order, down.order), engine.db.lock(Payment, down.id)
        assert order is not None and payment is not None
        for attempt in left if (order.status, payment.status) == ("pending", "created") else ():
            engine.db.update(payment, status="failed", ask_at=None)
            with suppress(PuestoError):  # its stored method is gone meanwhile
                log.warning("order %s: %s is down, %s is tried", order.id, down.provider, attempt.provider)
                return new_payment(engine, account, order.id, attempt, down.money, needs_method=down.save_method)
        settle(engine, payment, PaymentResult("failed", payment.money))
        release(engine, request)
    return None


def _outcome(engine: Engine, order_id: str) -> dict[str, Any]:
    order = engine.db.get(Order, order_id)
    assert order is not None
    payment = payment_of(engine, order)
    return {"order": order_document(engine, order), "failed": order.status == "failed", "error": payment.error if payment else None}


def _respond(answer: Answer) -> Answer:
    """The order, or the problem that it ended in: alike for the first answer and for its repetitions."""
    order: dict[str, Any] = answer.body["order"]
    error: PuestoError
    if answer.body["failed"]:
        error = declined(answer.body["error"])
    elif order["problem"] == "amount-mismatch":
        error = _mismatch(order)
    else:
        return Answer(order, answer.replayed)
    error.replayed = answer.replayed
    raise error


def _mismatch(order: dict[str, Any]) -> PaymentAmountMismatch:
    return PaymentAmountMismatch(
        "The provider reports another amount than {asked}. The order is held; nobody is asked to pay again.",
        asked=str(Money(**order["due_now"])),
        extra={"order": order["id"]},
    )


def settle(engine: Engine, asked: Payment, result: PaymentResult) -> None:
    """Write the outcome of a payment and everything that follows from it, in one transaction under the account's lock.

    May be called any number of times, by whoever learns of an outcome. Money that comes for an order or an attempt that was given up goes
    back; an amount that is not ours, or money of the other mode, holds the order. Subscribers hear of a failure that has a reason.
    """
    with engine.db.transaction():
        lock_account(engine, asked.account)
        order, payment = engine.db.lock(Order, asked.order), engine.db.lock(Payment, asked.id)
        assert order is not None and payment is not None
        current = payment_of(engine, order) == payment  # and no fallback has taken its place
        before = payment.captured
        record_result(engine, payment, result)
        if order.problem != payment.problem and (current or payment.problem):
            engine.db.update(order, problem=payment.problem, version=order.version + 1)
        if payment.status in SUCCEEDED and order.status in WAITING and current:
            complete_order(engine, order, payment)
        take_in(engine, order, payment, result)
        if payment.status in SUCCEEDED and (order.status in ("failed", "cancelled") or not current):
            _give_back(engine, order, payment)
        elif payment.status in SUCCEEDED:
            note_captured(engine, order, payment)
            tell_received(engine, order, payment, before)
        elif payment.status in FAILED and current:
            close_order(engine, order, "failed", tell=payment if payment.error else None)
        elif order.status in WAITING and order.status != payment.status and current:
            _wait(engine, order, payment.status)


def settle_together(engine: Engine, outcomes: Sequence[tuple[Payment, PaymentResult]]) -> None:
    """`settle` for payments of many accounts, in one transaction: what it will read is read at once."""
    with engine.db.gathered():
        _foresee(engine, [payment for payment, _ in outcomes])
        for payment, result in outcomes:
            settle(engine, payment, result)


def _foresee(engine: Engine, payments: Sequence[Payment]) -> None:
    """Accounts are locked before all else, in the order of their ids, as others lock one."""
    db, ids, orders = engine.db, [each.id for each in payments], [each.order for each in payments]
    db.foresee(Account.id, (each.account for each in payments), hold=True)
    db.foresee(Order.id, orders, hold=True)
    db.foresee(Payment.order, orders, hold=True)
    lines = [each.subscription for each in db.foresee(OrderLine.order, orders) if each.subscription]
    db.foresee(Subscription.id, lines, hold=True)
    db.foresee(SubscriptionChange.subscription, lines)
    db.foresee(Invoice.order, orders, credits=None)
    db.foresee(Refund.payment, ids)
    db.foresee(Dispute.payment, ids)


def _wait(engine: Engine, order: Order, status: str) -> None:
    """The order waits for the provider, or for the buyer at the bank: then its cart can be edited and paid anew meanwhile."""
    engine.db.update(order, status=status, version=order.version + 1)
    engine.db.set(Cart, order.cart, status="open" if status == "requires_action" else "ordering")


def _give_back(engine: Engine, order: Order, payment: Payment) -> None:
    """Write the refund of what came too late, or let go of what was set aside, once: it counts as soon as it is written. Recovery
    carries it out."""
    only_set_aside = payment.capturable == payment.amount > 0
    if under_way(engine, payment) or not (only_set_aside or payment.refundable):
        return
    log.error("order %s is %s, yet payment %s went through: it is given back", order.id, order.status, payment.id)
    engine.db.update(payment, problem="late-payment")
    engine.db.update(order, problem="late-payment", version=order.version + 1)
    if only_set_aside:
        write_capture(engine, payment, Money(0, payment.currency), final=True)
    else:
        write_refund(engine, payment, None, "paid after the order was given up")


# --- the buyer comes back, or does not


def confirm_order(engine: Engine, order_id: str, caller: Caller, *, data: dict[str, Any], request: KeyedRequest) -> Answer:
    """The buyer is back from the further step: ask the provider and write the outcome. The same key gets the same answer.

    Raises Missing, TransitionInvalid for an order that waits for nothing, PaymentDeclined, PaymentProviderUnavailable.
    """
    with engine.db.transaction():
        order = get_order(engine, order_id, caller)
        known = begin(engine, request)
        if isinstance(known, Answer):
            return _respond(known)
        if known is None:
            if order.status != "requires_action":
                raise TransitionInvalid("The order is {status}; there is no step to confirm.", status=order.status)
            claim(engine, request, order.id)
    try:
        _ask_after_return(engine, order, data)
    except PaymentProviderUnavailable:
        with engine.db.transaction():
            release(engine, request)
        raise
    return _carry_on(engine, _placed(engine, order_id), None, request, resumed=True)


def buyer_returned(engine: Engine, order_id: str, data: dict[str, Any]) -> str:
    """The buyer's browser is back at our page: what `confirm_order` does, for nobody in particular; the order's status.

    `data` passed through the buyer's hands: it is for the provider to judge. Raises Missing.
    """
    order = engine.db.get(Order, order_id)
    if order is None:
        raise missing("order", order_id)
    try:
        _ask_after_return(engine, order, data)
    except PaymentProviderUnavailable:
        log.warning("order %s: the provider gives no answer to a returning buyer; recovery asks again", order_id)
    now = engine.db.get(Order, order_id)
    assert now is not None
    return now.status


def buyer_left(engine: Engine, order_id: str) -> tuple[str, str | None]:
    """The buyer's browser comes from a provider's page that was left undone: the order's status, and where the buyer can go on.

    Nothing changes: the cart can be edited and ordered anew, and the order is given up in its time. Raises Missing.
    """
    order = engine.db.get(Order, order_id)
    if order is None:
        raise missing("order", order_id)
    action = order_document(engine, order)["next_action"]
    return order.status, action["url"] if action else None


def _ask_after_return(engine: Engine, order: Order, data: dict[str, Any]) -> None:
    """Raises PaymentProviderUnavailable where nothing has happened; an outcome that nobody knows is `processing`."""
    payment = payment_of(engine, order)
    if order.status != "requires_action" or payment is None:
        return
    provider = find_provider(engine, payment.provider)
    try:
        result = call_provider(engine, provider, PaymentResult, lambda: provider.confirm_payment(reference(payment), data))
    except ProviderTimeout:
        result = PaymentResult("processing", payment.money)
    except ProviderUnavailable as error:
        raise unavailable(provider.name) from error
    settle(engine, payment, result)


def cancel_order(engine: Engine, order_id: str, caller: Caller, version: int | None = None) -> Order:
    """Give up an order before it is paid; its cart is open again.

    Raises Missing, PreconditionFailed, TransitionInvalid for one that is paid, or whose payment is under way.
    """
    with engine.db.transaction():
        lock_account(engine, get_order(engine, order_id, caller).account)
        order = get_order(engine, order_id, caller, lock=True, version=version)
        if order.status != "requires_action":
            raise TransitionInvalid("The order is {status}: only one that waits for the buyer can be cancelled.", status=order.status)
        give_up(engine, order)
    return order


def give_up(engine: Engine, order: Order) -> None:
    """End an order whose buyer does not come back from the bank.

    Recovery tells the provider within a minute. Should the money have come by then, it goes back (`settle`).
    """
    payment = payment_of(engine, order)
    if payment is not None:
        engine.db.update(payment, status="canceled", ask_at=engine.clock.now() + GRACE)
    close_order(engine, order, "cancelled")
