"""Reversals: money that goes back by what was begun at the provider, refunds in its dashboard and disputes of the buyer's bank.

The provider's answer is taken for the whole truth, and is written down also where it does not fit what we know: then the payment
has a problem. The same answer again does nothing, and one that comes late takes nothing back.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TypeVar

from core.accounts import Account, account_document
from core.disputes import Dispute, dispute_document, disputes_of
from core.engine.engine import Engine
from core.engine.events import append
from core.engine.values import new_id
from core.hooks.payments import Dispute as ReportedDispute
from core.hooks.payments import PaymentResult, ProviderRefund, RefundResult
from core.invoices import reopen_invoice
from core.orders import Order, order_document
from core.payments import Payment, Refund, refunds_of
from core.refunds import UNSETTLED, finish_refund, recount

log = logging.getLogger("puesto.reversals")
R = TypeVar("R", ProviderRefund, ReportedDispute)


def take_in(engine: Engine, order: Order, payment: Payment, result: PaymentResult) -> None:
    """Write what the provider's answer says about refunds and disputes, in the transaction of `settle`."""
    if result.refunds:
        _take_in_refunds(engine, order, payment, _sound(payment, result.refunds))
    for dispute in _sound(payment, result.disputes):
        _take_in_dispute(engine, order, payment, dispute)


def _sound(payment: Payment, reported: Iterable[R]) -> list[R]:
    """Without what can be no row; its provider has made it up."""
    sound = [each for each in reported if each.amount.amount > 0 and 0 < len(each.provider_ref) <= 255]
    for each in reported:
        if each not in sound:
            log.error("payment %s: %s reports nonsense: %s", payment.id, payment.provider, each)
    return sound


# --- refunds


def _take_in_refunds(engine: Engine, order: Order, payment: Payment, reported: list[ProviderRefund]) -> None:
    rows = refunds_of(engine, payment.id)
    named = {each.refund_id for each in reported}
    for each in reported:
        row = _find(rows, each, named)
        if row is None:
            row = _write_external(engine, payment, each)
            rows.append(row)
            recount(engine, order, payment)
        if row.provider_ref is None:
            engine.db.update(row, provider_ref=each.provider_ref)
        if row.status in UNSETTLED and each.status != "processing" and each.amount.amount == row.amount:
            finish_refund(engine, order, payment, row, RefundResult(each.status, each.amount, each.provider_ref))


def _find(rows: list[Refund], reported: ProviderRefund, named: set[str | None]) -> Refund | None:
    """Our row of a refund: by our id, else by the provider's.

    A provider may not know our id, and we not yet its: one of ours that has no reference, over the same amount, is that one.
    """
    for row in rows:
        if row.id == reported.refund_id or row.provider_ref == reported.provider_ref:
            return row
    if reported.refund_id is not None:
        return None
    unclaimed = (row for row in rows if row.provider_ref is None and row.id not in named and row.status != "failed")
    return next((row for row in unclaimed if (row.amount, row.currency) == (reported.amount.amount, reported.amount.currency)), None)


def _write_external(engine: Engine, payment: Payment, reported: ProviderRefund) -> Refund:
    """A refund that we did not begin, still under way: what became of it is recorded as with ours."""
    refund = Refund(
        id=new_id("ref"),
        account=payment.account,
        order=payment.order,
        payment=payment.id,
        amount=reported.amount.amount,
        currency=reported.amount.currency,
        status="processing",
        origin="external",
        reason="",
        provider_ref=reported.provider_ref,
        ask_at=None,
        created_at=engine.clock.now(),
    )
    engine.db.insert(refund)
    return refund


# --- disputes


def _take_in_dispute(engine: Engine, order: Order, payment: Payment, reported: ReportedDispute) -> None:
    known = {row.provider_ref: row for row in disputes_of(engine, payment.id)}
    dispute = known.get(reported.provider_ref)
    if dispute is None:
        dispute = _write_dispute(engine, payment, reported)
        recount(engine, order, payment)
        _tell(engine, "payment.disputed", order, dispute)
    if dispute.status == "opened" and reported.status != "opened":
        engine.db.update(dispute, status=reported.status, closed_at=engine.clock.now())
        if reported.status == "lost":
            reopen_invoice(engine, order.id)
        recount(engine, order, payment)
        _tell(engine, "payment.dispute_closed", order, dispute)


def _write_dispute(engine: Engine, payment: Payment, reported: ReportedDispute) -> Dispute:
    dispute = Dispute(
        id=new_id("dsp"),
        account=payment.account,
        order=payment.order,
        payment=payment.id,
        provider_ref=reported.provider_ref,
        amount=reported.amount.amount,
        currency=reported.amount.currency,
        status="opened",
        reason=reported.reason[:255],
        opened_at=engine.clock.now(),
        closed_at=None,
    )
    engine.db.insert(dispute)
    return dispute


def _tell(engine: Engine, event_type: str, order: Order, dispute: Dispute) -> None:
    account = engine.db.get(Account, dispute.account)
    assert account is not None
    data = {"order": order_document(engine, order), "account": account_document(account), "dispute": dispute_document(dispute)}
    append(engine, event_type, account=account.id, subject=order.id, data=data)
