"""Recovery: finds what a dead process, a silent provider or a buyer who never came back left behind, and carries it on."""

from __future__ import annotations

import logging

from core.checkout import give_up, settle
from core.engine.engine import Engine
from core.errors import PaymentProviderUnavailable
from core.hooks.payments import PaymentResult, ProviderTimeout, ProviderUnavailable
from core.orders import Order
from core.payments import GRACE, Payment, Refund, retrieve
from core.refunds import settle_refund

log = logging.getLogger("puesto.recovery")
AWAY = (ProviderUnavailable, ProviderTimeout, PaymentProviderUnavailable)


def recover(engine: Engine, limit: int = 100) -> int:
    """Ask the providers about payments and refunds whose outcome is not known past their deadline; how many were settled."""
    now = engine.clock.now()
    unknown = Payment.status.in_(("created", "requires_action", "processing")) & (Payment.deadline_at <= now) & Payment.problem.is_null()
    payments = engine.db.all(Payment.select().where(unknown).order_by(Payment.deadline_at).limit(limit))
    unsettled = (Refund.status == "created") & (Refund.deadline_at <= now)
    refunds = engine.db.all(Refund.select().where(unsettled).order_by(Refund.deadline_at).limit(limit))
    return sum(_recover_payment(engine, payment) for payment in payments) + sum(_recover_refund(engine, refund) for refund in refunds)


def _recover_payment(engine: Engine, payment: Payment) -> bool:
    """The provider's word decides. It has never heard of the key: nothing was charged, and the order is given up."""
    try:
        result = retrieve(engine, payment)
    except AWAY:
        log.warning("payment %s: %s gives no answer; asked again later", payment.id, payment.provider)
        _put_off(engine, payment)
        return False
    if result is not None and result.status == "requires_action" == payment.status:
        return _buyer_is_gone(engine, payment)
    settle(engine, payment.id, result or PaymentResult("failed", payment.money))
    if result is not None and result.status == "processing":
        _put_off(engine, payment)
        return False
    return True


def _buyer_is_gone(engine: Engine, payment: Payment) -> bool:
    """An hour at the bank is long enough: what the order holds back is free again."""
    with engine.db.transaction():
        order = engine.db.lock(Order, payment.order)
        if order is None or order.status != "requires_action":
            return False
        give_up(engine, order)
    return True


def _recover_refund(engine: Engine, refund: Refund) -> bool:
    _put_off(engine, refund)
    try:
        settle_refund(engine, refund.id)
    except PaymentProviderUnavailable:
        log.warning("refund %s waits for its provider's plugin", refund.id)
    now = engine.db.get(Refund, refund.id)
    return now is not None and now.status != "created"


def _put_off(engine: Engine, row: Payment | Refund) -> None:
    """Ask again after as long as it has been waiting: soon at first, then ever more rarely, at least daily."""
    waited = min(engine.clock.now() - row.created_at, GRACE * 17_280)
    engine.db.update(row, deadline_at=engine.clock.now() + max(waited, GRACE))
