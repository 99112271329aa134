"""Open invoices that will not be paid: void, corrected by a credit note as the law wants it of whatever was issued, or uncollectible."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from core.access import Caller, find
from core.accounts import account_document, lock_account
from core.engine.engine import Engine
from core.engine.events import append
from core.engine.idempotency import Answer, IdempotencyKey, KeyedRequest, begin, claim, finish
from core.errors import TransitionInvalid
from core.hooks.payments import ProviderTimeout
from core.invoices import TRANSITIONS, Invoice, invoice_document, move_invoice
from core.orders import get_order, payment_of
from core.payments import Payment
from core.providers import find_provider
from core.refunds import settle_refund, write_refund


def void_invoice(engine: Engine, invoice_id: str, caller: Caller, *, reason: str, request: KeyedRequest) -> Answer:
    """Credit all that is owed for an invoice on terms of which nothing has come in; the answer's body is the invoice's document.

    The credit goes the way of a refund, so that a provider with books of its own knows of it. What was sold goes on.
    Raises Missing, PaymentProviderUnavailable, and TransitionInvalid where anything has come in, or nothing is owed.
    """
    with engine.db.transaction():
        lock_account(engine, find(engine, Invoice, invoice_id, caller).account)
        invoice = find(engine, Invoice, invoice_id, caller, lock=True)
        known = begin(engine, request)
        if isinstance(known, Answer):
            return known
        if isinstance(known, IdempotencyKey):
            refund_id = str(known.resource)
        else:
            payment = _owed(engine, invoice, "void", caller)
            if payment.captured or payment.amount != invoice.total:
                raise TransitionInvalid("A part of the invoice is paid: refund its order instead.")
            find_provider(engine, payment.provider)
            refund_id = write_refund(engine, payment, None, reason).id
            claim(engine, request, refund_id)
    with suppress(ProviderTimeout):  # recovery asks again
        settle_refund(engine, refund_id)
    with engine.db.transaction():
        return finish(engine, request, invoice_document(engine, find(engine, Invoice, invoice_id, caller)))


def write_off_invoice(engine: Engine, invoice_id: str, caller: Caller, *, reason: str) -> dict[str, Any]:
    """Give up the hope that an invoice on terms is paid, in one transaction; its document. It goes on being owed: money that comes
    in all the same makes it paid.

    Raises Missing, and TransitionInvalid where nothing is owed or it was given up before.
    """
    with engine.db.transaction():
        account = lock_account(engine, find(engine, Invoice, invoice_id, caller).account)
        invoice = find(engine, Invoice, invoice_id, caller, lock=True)
        _owed(engine, invoice, "uncollectible", caller)
        move_invoice(engine, invoice, "uncollectible")
        document = invoice_document(engine, invoice)
        data = {"account": account_document(account), "invoice": document, "reason": reason}
        append(engine, "invoice.uncollectible", account=account.id, subject=invoice.order, data=data)
        return document


def _owed(engine: Engine, invoice: Invoice, status: str, caller: Caller) -> Payment:
    """The payment on terms that an invoice waits for. Raises TransitionInvalid where there is none, or `status` can't follow."""
    payment = payment_of(engine, get_order(engine, invoice.order, caller)) if invoice.kind == "invoice" else None
    if payment is None or not payment.owed or status not in TRANSITIONS[invoice.status]:
        raise TransitionInvalid("The invoice is {status}: this is for one on terms that is still owed.", status=invoice.status)
    return payment
