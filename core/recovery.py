"""Recovery: finds what a dead process, a silent provider or a buyer who never came back left behind, and carries it on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

from core.accounts import lock_account
from core.captures import Capture, settle_capture
from core.checkout import give_up, settle
from core.engine.engine import Engine
from core.engine.jobs import backoff, explain
from core.errors import DatabaseUnavailable, PaymentProviderUnavailable
from core.hooks.payments import PaymentResult, ProviderTimeout
from core.orders import Order
from core.payments import FAILED, GRACE, Payment, Refund, cancel_at_provider, never_begun, retrieve, still_at_the_bank
from core.refunds import settle_refund
from core.renewals import begin_payment

log = logging.getLogger("puesto.recovery")
LONGEST_PAUSE = timedelta(days=1)
# How long the provider goes on being asked about a payment that ended without its word.
WATCH = timedelta(days=7)
R = TypeVar("R", Payment, Refund, Capture)


def recover(engine: Engine, limit: int = 100) -> None:
    """Ask the providers about payments, captures and refunds whose end is not known, each when its time has come.

    A provider that gives no answer is left alone until the next round: a hundred time-outs would take an hour.
    """
    now = engine.clock.now()
    payments = engine.db.all(Payment.select().where(Payment.ask_at <= now).order_by(Payment.ask_at).limit(limit))
    captures = engine.db.all(Capture.select().where(Capture.ask_at <= now).order_by(Capture.ask_at).limit(limit))
    refunds = engine.db.all(Refund.select().where(Refund.ask_at <= now).order_by(Refund.ask_at).limit(limit))
    silent: dict[str, str] = {}
    for payment in payments:
        _attend(engine, payment, payment.provider, silent, _recover_payment)
    for capture in captures:
        _attend(engine, capture, _provider_of(engine, capture), silent, _recover_capture)
    for refund in refunds:
        _attend(engine, refund, _provider_of(engine, refund), silent, _recover_refund)


def _provider_of(engine: Engine, row: Capture | Refund) -> str:
    payment = engine.db.get(Payment, row.payment)
    assert payment is not None
    return str(payment.provider)


def _attend(engine: Engine, row: R, provider: str, silent: dict[str, str], carry_on: Callable[[Engine, R], None]) -> None:
    """Carry one on. Whatever goes wrong with it is kept with it and holds up no other, and it has its turn again later, for ever:
    somebody's money is in it. Raises DatabaseUnavailable."""
    if not _put_off(engine, row):
        return
    trouble = silent.get(provider) or _trouble_with(engine, row, provider, silent, carry_on)
    if trouble != row.trouble:
        engine.db.update(row, trouble=trouble)


def _trouble_with(engine: Engine, row: R, provider: str, silent: dict[str, str], carry_on: Callable[[Engine, R], None]) -> str | None:
    """What goes wrong with one as it is carried on; None: nothing."""
    try:
        carry_on(engine, row)
    except DatabaseUnavailable:
        raise
    except (ProviderTimeout, PaymentProviderUnavailable) as error:
        log.warning("%s waits: %s gives no answer (%s)", row.id, provider, error)
        silent[provider] = f"{provider} gives no answer: {error}"[:500]
        return silent[provider]
    except Exception as error:
        log.exception("%s, paid with %s, can't be carried on", row.id, provider)
        return explain(error)
    return None


def _put_off(engine: Engine, row: Payment | Refund | Capture) -> bool:
    """Set when it is asked about after this time; False where somebody else has settled or taken it meanwhile."""
    model, tries = type(row), row.tries + 1
    taken = (model.id == row.id) & (model.ask_at == row.ask_at)
    return bool(engine.db.execute(model.update(ask_at=_next_time(engine, row, tries), tries=tries).where(taken)))


def _next_time(engine: Engine, row: Payment | Refund | Capture, tries: int) -> datetime | None:
    """Soon at first, then ever more rarely, at least daily. None: no more."""
    if row.status in FAILED and engine.clock.now() - row.created_at > WATCH:
        return None
    return engine.clock.now() + backoff(tries, GRACE, LONGEST_PAUSE)


def _recover_payment(engine: Engine, payment: Payment) -> None:
    """The provider's word decides. It has never heard of the key: nothing was charged, and the order is given up; a renewal, for which
    no buyer is needed, is begun."""
    result = retrieve(engine, payment) or begin_payment(engine, payment)
    if result is not None and result.status == "requires_action":
        result = _end_at_the_bank(engine, payment)
    settle(engine, payment, result or never_begun(payment))
    if result is None:
        _watch(engine, payment)


def _end_at_the_bank(engine: Engine, payment: Payment) -> PaymentResult:
    """The buyer was given long enough, or the order was given up before: the provider is told, so that nothing can be paid any more."""
    if payment.status == "requires_action":
        _give_up(engine, payment)
    now = engine.db.get(Payment, payment.id)
    assert now is not None
    return cancel_at_provider(engine, now) if now.status in FAILED else still_at_the_bank(now)


def _watch(engine: Engine, payment: Payment) -> None:
    """Go on asking about a payment that failed only because its provider had not heard of it: a call that hung may get through."""
    failed = (Payment.id == payment.id) & Payment.status.in_(FAILED)
    engine.db.execute(Payment.update(ask_at=_next_time(engine, payment, payment.tries + 1)).where(failed))


def _give_up(engine: Engine, payment: Payment) -> None:
    """An hour at the bank is long enough: what the order holds back is free again."""
    with engine.db.transaction():
        lock_account(engine, payment.account)
        order = engine.db.lock(Order, payment.order)
        if order is not None and order.status == "requires_action":
            give_up(engine, order)


def _recover_capture(engine: Engine, capture: Capture) -> None:
    settle_capture(engine, capture.id)


def _recover_refund(engine: Engine, refund: Refund) -> None:
    settle_refund(engine, refund.id)
