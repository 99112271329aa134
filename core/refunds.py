"""Refunds: money back to the buyer, all of a payment or part of it, never more than was paid."""

from __future__ import annotations

import logging
from typing import Any

from core.access import Caller
from core.accounts import Account, account_document
from core.engine.engine import Engine
from core.engine.events import append
from core.engine.idempotency import Answer, IdempotencyKey, KeyedRequest, begin, claim, finish
from core.engine.values import new_id, to_json
from core.errors import RefundExceedsPayment, TransitionInvalid
from core.hooks.payments import PaymentUnknown, ProviderTimeout, ProviderUnavailable, RefundRequest, RefundResult
from core.orders import Order, get_order, order_document, payment_of
from core.payments import GRACE, SUCCEEDED, Payment, Refund, reference
from core.providers import call_provider, find_provider
from core.rules.money import Money

log = logging.getLogger("puesto.refunds")


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
            refund_id = str(known.resource)
        else:
            payment = payment_of(engine, order)
            if payment is None or payment.status not in SUCCEEDED or not payment.amount:
                raise TransitionInvalid("The order is {status} and nothing was paid for it.", status=order.status)
            find_provider(engine, payment.provider)
            refund_id = write_refund(engine, payment, amount, reason).id
            claim(engine, request, refund_id)
    settle_refund(engine, refund_id)
    with engine.db.transaction():
        refund = engine.db.get(Refund, refund_id)
        assert refund is not None
        return finish(engine, request, refund_document(refund))


def write_refund(engine: Engine, payment: Payment, amount: Money | None, reason: str) -> Refund:
    """The intent to refund: what it takes is counted as refunded at once, so that two at a time never exceed the payment.

    amount: None: all that is left. Raises RefundExceedsPayment.
    """
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
        account=payment.account,
        order=payment.order,
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
    """Ask the provider to refund, with the refund's own key, and write the outcome.

    A refund whose outcome is unknown stays `created`, and recovery asks again with the same key. Raises
    PaymentProviderUnavailable where the provider's plugin is gone.
    """
    refund = engine.db.get(Refund, refund_id)
    payment = engine.db.get(Payment, refund.payment) if refund else None
    if refund is None or payment is None or refund.status != "created":
        return
    provider = find_provider(engine, payment.provider)
    amount = Money(refund.amount, refund.currency)
    asked = RefundRequest(reference(payment), refund.id, amount, refund.reason, refund.id)
    try:
        result = call_provider(engine, provider, RefundResult, lambda: provider.refund_payment(asked))
    except (ProviderUnavailable, ProviderTimeout, PaymentUnknown):
        log.warning("refund %s waits: %s gave no answer", refund.id, provider.name)
        return
    if result.status == "succeeded" and result.amount != amount:
        log.error("refund %s: the provider reports %s instead of %s", refund.id, result.amount, amount)
        return
    _record_refund(engine, refund_id, result)


def _record_refund(engine: Engine, refund_id: str, result: RefundResult) -> None:
    with engine.db.transaction():
        refund = engine.db.lock(Refund, refund_id)
        payment = engine.db.lock(Payment, refund.payment) if refund else None
        if refund is None or payment is None or refund.status != "created":
            return
        engine.db.update(refund, status=result.status, provider_ref=result.provider_ref)
        if result.status == "failed":
            engine.db.update(payment, refunded=payment.refunded - refund.amount)
        else:
            _tell(engine, refund, payment)


def _tell(engine: Engine, refund: Refund, payment: Payment) -> None:
    order, account = engine.db.lock(Order, refund.order), engine.db.get(Account, refund.account)
    assert order is not None and account is not None
    if payment.refunded == payment.amount and order.status == "completed":
        engine.db.update(order, status="refunded", version=order.version + 1)
    data = {"order": order_document(engine, order), "account": account_document(account), "refund": refund_document(refund)}
    append(engine, "payment.refunded", account=account.id, subject=order.id, data=data)


def refund_document(refund: Refund) -> dict[str, Any]:
    """The refund as the API and events show it."""
    amount = Money(refund.amount, refund.currency)
    shown = {"id": refund.id, "order": refund.order, "amount": amount, "status": refund.status, "reason": refund.reason}
    return dict(to_json({**shown, "created_at": refund.created_at}))
