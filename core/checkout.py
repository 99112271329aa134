"""Checkout: from an open cart to a completed order, so that nobody is charged twice, or charged for nothing.

Three steps, and each can be run again: write the order and the intent to pay; call the provider with no transaction open; write
the outcome with everything that follows. Whoever finds an order between two steps carries it on: the request itself, its
repetition with the same key, the buyer coming back from the bank, or recovery.
"""

from __future__ import annotations

import logging
from typing import Any

from core.access import Caller
from core.accounts import Account
from core.carts import Cart, check_open, get_cart, lines_of
from core.engine.engine import Engine
from core.engine.events import append
from core.engine.idempotency import Answer, IdempotencyKey, KeyedRequest, begin, claim, finish, release
from core.engine.values import new_id, to_json
from core.errors import CorporateAccount, PaymentAmountMismatch, RefundExceedsPayment, TransitionInvalid, ValidationFailed
from core.hooks.payments import PaymentResult, PaymentUnknown, ProviderTimeout, ProviderUnavailable, RefundRequest
from core.orders import Order, close_order, complete_order, get_order, order_document, payment_of, write_order
from core.payments import (
    GRACE,
    Payment,
    PaymentChoice,
    Refund,
    begin_at_provider,
    call_provider,
    declined,
    find_provider,
    new_payment,
    record_result,
    reference,
    unavailable,
)
from core.quotes import Quote, check_seal, make_quote
from core.rules.money import Money

log = logging.getLogger("puesto.checkout")


def quote_cart(engine: Engine, cart_id: str, caller: Caller) -> Quote:
    """What ordering this cart would cost now. Writes nothing. Raises Missing, CartNotOpen, CartExpired, and as `make_quote` does."""
    cart = get_cart(engine, cart_id, caller)
    check_open(engine, cart)
    account = engine.db.get(Account, cart.account) if cart.account else None
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
    with engine.db.transaction():
        known = begin(engine, request)
        if isinstance(known, Answer):
            return _repeat(engine, known)
        if isinstance(known, IdempotencyKey) and known.resource is not None:
            order_id, resumed = known.resource, True
        else:
            order = place_order(engine, cart_id, caller, quote=quote, payment=payment, purchase_order=purchase_order)
            claim(engine, request, order.id)
            if order.status == "completed":
                return finish(engine, request, order_document(engine, order))
            order_id, resumed = order.id, False
    return _carry_on(engine, order_id, payment.token if payment else None, request, resumed=resumed)


def place_order(
    engine: Engine, cart_id: str, caller: Caller, *, quote: str, payment: PaymentChoice | None, purchase_order: str | None
) -> Order:
    """First step: turn an open cart into a pending order with an intent to pay, in one transaction. No provider is called.

    An order that waits for the buyer at the bank is given up for the new one. Where nothing has to be paid, the order is
    completed at once.
    Raises Missing, CorporateAccount, CartNotOpen, CartExpired, QuoteChanged, QuoteExpired, ValidationFailed, and as
    `make_quote` does.
    """
    cart = get_cart(engine, cart_id, caller, lock=True)
    if cart.account is None:
        raise ValidationFailed("The cart has no account yet: claim it first.", pointer="/account")
    account = engine.db.lock(Account, cart.account)
    assert account is not None
    _check_corporate(account, caller)
    _give_up_waiting(engine, cart)
    check_open(engine, cart)
    current = make_quote(engine, cart, lines_of(engine, cart), account, caller)
    check_seal(current, quote)
    _check_choice(engine, current, payment, purchase_order)
    order = write_order(engine, cart, account, current, purchase_order=purchase_order, placed_by=caller.id)
    if payment is None:
        complete_order(engine, order, None)
    else:
        new_payment(engine, account, order.id, payment, current.due_now, needs_method=current.needs_method)
    return order


def _check_corporate(account: Account, caller: Caller) -> None:
    if account.kind == "corporate" and not caller.staff:
        representative = account.representative or {}
        raise CorporateAccount(
            "Orders of this account are placed by its representative{name}.",
            name=f", {representative['name']}" if representative.get("name") else "",
            extra={"representative": representative or None, "portal": representative.get("portal")},
        )


def _give_up_waiting(engine: Engine, cart: Cart) -> None:
    """A buyer who left the bank's page pays again: the waiting order makes room. Should its money come after all, it is reported."""
    waiting = engine.db.first(Order.select().where((Order.cart == cart.id) & (Order.status == "requires_action")))
    if waiting is None:
        return
    left = payment_of(engine, waiting)
    if left is not None:
        engine.db.update(left, status="canceled")
    close_order(engine, waiting, "cancelled")
    cart.status = "open"


def _check_choice(engine: Engine, quote: Quote, payment: PaymentChoice | None, purchase_order: str | None) -> None:
    if payment is None:
        if quote.payment_required:
            raise ValidationFailed("Something is due: say how it is paid.", pointer="/payment")
        return
    if not quote.payment_required:
        raise ValidationFailed("Nothing has to be paid: leave payment out.", pointer="/payment")
    if payment.provider not in quote.payment_providers:
        raise ValidationFailed(
            "This cart can be paid with {able}; not with {provider}.",
            pointer="/payment/provider",
            able=", ".join(quote.payment_providers) or "no provider",
            provider=payment.provider[:64],
        )
    if find_provider(engine, payment.provider).capabilities.on_terms and not purchase_order:
        raise ValidationFailed("Payment on terms needs the buyer's purchase_order.", pointer="/purchase_order")


def _repeat(engine: Engine, answer: Answer) -> Answer:
    if "declined" in answer.body:
        raise declined(answer.body["declined"])
    return answer


# --- second and third step


def _carry_on(engine: Engine, order_id: str, token: str | None, request: KeyedRequest, *, resumed: bool) -> Answer:
    """Pay a placed order and answer for it."""
    try:
        pay(engine, order_id, token, resumed=resumed)
    except ProviderUnavailable as error:
        with engine.db.transaction():
            release(engine, request)
        order = engine.db.get(Order, order_id)
        payment = payment_of(engine, order) if order else None
        raise unavailable(payment.provider if payment else "?") from error
    with engine.db.transaction():
        order = engine.db.lock(Order, order_id)
        assert order is not None
        payment = payment_of(engine, order)
        if order.status == "failed" and payment is not None:
            finish(engine, request, {"declined": payment.error})
        else:
            answer = finish(engine, request, order_document(engine, order))
    if order.status == "failed" and payment is not None:
        raise declined(payment.error)
    if order.problem == "amount-mismatch":
        raise mismatch(order)
    return answer


def mismatch(order: Order) -> PaymentAmountMismatch:
    return PaymentAmountMismatch(
        "The provider reports another amount than {asked}. The order is held; nobody is asked to pay again.",
        asked=str(Money(order.due_now, order.currency)),
        extra={"order": order.id},
    )


def pay(engine: Engine, order_id: str, token: str | None, *, resumed: bool) -> None:
    """Second and third step: call the provider, then write what came of it.

    resumed: the call may have been made before: the provider is asked first.
    Raises ProviderUnavailable where certainly nothing was charged; the order has then failed and its cart is open.
    """
    order = engine.db.get(Order, order_id)
    assert order is not None
    payment, account = payment_of(engine, order), engine.db.get(Account, order.account)
    assert payment is not None and account is not None
    if payment.status != "created":
        return
    try:
        result = retrieve(engine, payment) if resumed else None
        if result is None:
            result = begin_at_provider(engine, payment, account, token=token, locale=order.locale, purchase_order=order.purchase_order)
    except ProviderTimeout:
        result = PaymentResult("processing", payment.money)
    except ProviderUnavailable:
        settle(engine, payment.id, PaymentResult("failed", payment.money))
        raise
    settle(engine, payment.id, result)


def retrieve(engine: Engine, payment: Payment) -> PaymentResult | None:
    """What the provider knows of a payment; None: it has never heard of it. Raises ProviderUnavailable, ProviderTimeout."""
    provider = find_provider(engine, payment.provider)
    try:
        return call_provider(engine, provider, lambda: provider.retrieve_payment(reference(payment)))
    except PaymentUnknown:
        return None


def settle(engine: Engine, payment_id: str, result: PaymentResult) -> Order:
    """Write the outcome of a payment and everything that follows from it, in one transaction under the order's lock.

    May be called any number of times, by whoever learns of an outcome.
    """
    with engine.db.transaction():
        payment = engine.db.lock(Payment, payment_id)
        assert payment is not None
        order = engine.db.lock(Order, payment.order)
        assert order is not None
        record_result(engine, payment, result)
        if payment.problem:
            engine.db.update(order, status="processing", problem=payment.problem, version=order.version + 1)
        elif payment.status in ("authorized", "captured"):
            _succeed(engine, order, payment)
        elif payment.status in ("declined", "failed", "canceled"):
            close_order(engine, order, "failed", tell=payment if payment.status == "declined" else None)
        elif order.status in ("pending", "requires_action", "processing") and order.status != payment.status:
            engine.db.update(order, status=payment.status, version=order.version + 1)
            # The buyer is at the bank: should they come back another way, the cart can be edited and paid anew.
            engine.db.execute(
                Cart.update(status="open" if payment.status == "requires_action" else "ordering").where(Cart.id == order.cart)
            )
            engine.db.after_commit(engine.jobs.nudge)
    return order


def _succeed(engine: Engine, order: Order, payment: Payment) -> None:
    if order.status in ("failed", "cancelled"):
        log.error("order %s is %s, yet payment %s went through: refund it", order.id, order.status, payment.id)
        engine.db.update(payment, problem="late-payment")
        engine.db.update(order, problem="late-payment", version=order.version + 1)
        return
    complete_order(engine, order, payment)


# --- the buyer comes back


def confirm_order(engine: Engine, order_id: str, caller: Caller, *, data: dict[str, Any], request: KeyedRequest) -> Answer:
    """The buyer is back from the further step: ask the provider and write the outcome. The same key gets the same answer.

    Raises Missing, TransitionInvalid for an order that waits for nothing, PaymentDeclined, PaymentProviderUnavailable.
    """
    with engine.db.transaction():
        order = get_order(engine, order_id, caller)
        known = begin(engine, request)
        if isinstance(known, Answer):
            return _repeat(engine, known)
        payment = payment_of(engine, order)
        if known is None:
            if order.status != "requires_action" or payment is None:
                raise TransitionInvalid("The order is {status}; there is no step to confirm.", status=order.status)
            claim(engine, request, order.id)
    assert payment is not None
    provider = find_provider(engine, payment.provider)
    try:
        result = call_provider(engine, provider, lambda: provider.confirm_payment(reference(payment), data))
    except (ProviderUnavailable, ProviderTimeout) as error:
        with engine.db.transaction():
            release(engine, request)
        raise unavailable(provider.name) from error
    settle(engine, payment.id, result)
    return _carry_on(engine, order_id, None, request, resumed=True)


def cancel_order(engine: Engine, order_id: str, caller: Caller) -> Order:
    """Give up an order before it is paid; its cart is open again.

    Raises TransitionInvalid for one that is paid, or whose payment is under way.
    """
    with engine.db.transaction():
        order = get_order(engine, order_id, caller)
        if order.status != "requires_action":
            raise TransitionInvalid("The order is {status}: only one that waits for the buyer can be cancelled.", status=order.status)
        payment = payment_of(engine, order)
        if payment is not None:
            engine.db.update(payment, status="canceled")
        close_order(engine, order, "cancelled")
    return order


# --- refunds


def refund_order(engine: Engine, order_id: str, caller: Caller, *, amount: Money | None, reason: str, request: KeyedRequest) -> Answer:
    """Give back what was paid for an order, all that is left or `amount` of it; the answer's body is the refund's document.

    Raises Missing, TransitionInvalid for an order that was not paid, RefundExceedsPayment, PaymentProviderUnavailable.
    """
    with engine.db.transaction():
        order = get_order(engine, order_id, caller)
        known = begin(engine, request)
        if isinstance(known, Answer):
            return known
        if isinstance(known, IdempotencyKey):
            refund = engine.db.get(Refund, known.resource)
            assert refund is not None
        else:
            refund = _write_refund(engine, order, amount, reason)
            claim(engine, request, refund.id)
    settle_refund(engine, refund.id)
    with engine.db.transaction():
        refund = engine.db.get(Refund, refund.id)
        assert refund is not None
        return finish(engine, request, refund_document(refund))


def _write_refund(engine: Engine, order: Order, amount: Money | None, reason: str) -> Refund:
    """The intent to refund: what it takes is counted as refunded at once, so that two at a time never exceed the payment."""
    payment = payment_of(engine, order)
    if payment is None or payment.status not in ("captured", "authorized") or not payment.amount:
        raise TransitionInvalid("The order is {status} and nothing was paid for it.", status=order.status)
    left = Money(payment.amount - payment.refunded, payment.currency)
    wanted = left if amount is None else amount
    if wanted.currency != left.currency or not 0 < wanted.amount <= left.amount:
        raise RefundExceedsPayment(
            "{wanted} can't be refunded: {left} of the payment is left.",
            pointer="/amount",
            wanted=str(wanted),
            left=str(left),
            extra={"refundable": to_json(left)},
        )
    now = engine.clock.now()
    refund = Refund(
        id=new_id("ref"),
        account=order.account,
        order=order.id,
        payment=payment.id,
        amount=wanted.amount,
        currency=wanted.currency,
        status="created",
        reason=reason,
        provider_ref=None,
        deadline_at=now + GRACE,
        created_at=now,
    )
    engine.db.insert(refund)
    engine.db.update(payment, refunded=payment.refunded + wanted.amount)
    return refund


def settle_refund(engine: Engine, refund_id: str) -> None:
    """Ask the provider to refund, with the refund's own key, and write the outcome. A refund whose outcome is unknown stays
    `created`, and recovery asks again with the same key."""
    refund = engine.db.get(Refund, refund_id)
    payment = engine.db.get(Payment, refund.payment) if refund else None
    if refund is None or payment is None or refund.status != "created":
        return
    provider = find_provider(engine, payment.provider)
    amount = Money(refund.amount, refund.currency)
    asked = RefundRequest(reference(payment), refund.id, amount, refund.reason, refund.id)
    try:
        result = call_provider(engine, provider, lambda: provider.refund_payment(asked))
    except (ProviderUnavailable, ProviderTimeout):
        log.warning("refund %s waits: %s gave no answer", refund.id, provider.name)
        return
    with engine.db.transaction():
        refund, payment = engine.db.lock(Refund, refund_id), engine.db.lock(Payment, payment.id)
        assert refund is not None and payment is not None
        if refund.status != "created":
            return
        engine.db.update(refund, status=result.status, provider_ref=result.provider_ref)
        if result.status == "failed":
            engine.db.update(payment, refunded=payment.refunded - refund.amount)
            return
        _refunded(engine, refund, payment)


def _refunded(engine: Engine, refund: Refund, payment: Payment) -> None:
    order, account = engine.db.lock(Order, refund.order), engine.db.get(Account, refund.account)
    assert order is not None and account is not None
    if payment.refunded == payment.amount and order.status == "completed":
        engine.db.update(order, status="refunded", version=order.version + 1)
    from core.accounts import account_document

    data = {"order": order_document(engine, order), "account": account_document(account), "refund": refund_document(refund)}
    append(engine, "payment.refunded", account=account.id, subject=order.id, data=data)


def refund_document(refund: Refund) -> dict[str, Any]:
    amount = Money(refund.amount, refund.currency)
    shown = {"id": refund.id, "order": refund.order, "amount": amount, "status": refund.status, "reason": refund.reason}
    return dict(to_json({**shown, "created_at": refund.created_at}))
