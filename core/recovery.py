"""Recovery: finds what a dead process, a silent provider or a lost message left behind, and carries it on."""

from __future__ import annotations

import logging
from typing import Any

from core.checkout import retrieve, settle, settle_refund
from core.engine.engine import Engine
from core.errors import PaymentProviderUnavailable
from core.hooks.payments import PaymentResult, ProviderTimeout, ProviderUnavailable
from core.payments import GRACE, Payment, Refund

log = logging.getLogger("puesto.recovery")


def recover(engine: Engine, limit: int = 100) -> int:
    """Ask the providers about payments and refunds whose outcome is not known past their deadline; how many were settled."""
    return sum(_recover_payment(engine, payment) for payment in _overdue(engine, Payment, ("created", "processing"), limit)) + sum(
        _recover_refund(engine, refund) for refund in _overdue(engine, Refund, ("created",), limit)
    )


def _overdue(engine: Engine, model: type[Any], statuses: tuple[str, ...], limit: int) -> list[Any]:
    overdue = model.status.in_(statuses) & (model.deadline_at <= engine.clock.now())
    if model is Payment:
        overdue &= Payment.problem.is_null()
    return engine.db.all(model.select().where(overdue).order_by(model.deadline_at).limit(limit))


def _recover_payment(engine: Engine, payment: Payment) -> bool:
    """The provider's word decides. It has never heard of the key: nothing was charged, and the order is given up."""
    try:
        result = retrieve(engine, payment)
    except (ProviderUnavailable, ProviderTimeout, PaymentProviderUnavailable):
        log.warning("payment %s: %s gives no answer; asked again later", payment.id, payment.provider)
        _put_off(engine, payment)
        return False
    settle(engine, payment.id, result or PaymentResult("failed", payment.money))
    if result is not None and result.status == "processing":
        _put_off(engine, payment)
        return False
    return True


def _recover_refund(engine: Engine, refund: Refund) -> bool:
    _put_off(engine, refund)
    settle_refund(engine, refund.id)
    now = engine.db.get(Refund, refund.id)
    return now is not None and now.status != "created"


def _put_off(engine: Engine, row: Any) -> None:
    """Ask again after as long as it has been waiting: soon at first, then ever more rarely, at least daily."""
    waited = min(engine.clock.now() - row.created_at, GRACE * 17_280)
    engine.db.update(row, deadline_at=engine.clock.now() + max(waited, GRACE))
