"""Voids: an order whose money was only set aside is undone. What it started ends, its credit comes back, its invoice is credited."""

from __future__ import annotations

from core.accounts import Account, account_document
from core.balance import post
from core.credit_notes import credit, parts_of_amount
from core.engine.engine import Engine
from core.engine.events import append
from core.errors import TransitionInvalid
from core.invoices import InvoiceLine, invoice_document, invoice_of, move_invoice
from core.orders import Order, lines_of, order_document
from core.payments import Payment
from core.subscriptions import RUNNING, Subscription, check_changeable, end, subscription_document


def check_voidable(engine: Engine, order: Order, payment: Payment | None) -> list[Subscription]:
    """The subscriptions that voiding the order would end, locked.

    Raises TransitionInvalid where money was taken, or where more than what the order started would have to be undone.
    """
    lost = order.problem == "authorization-lost"
    untaken = payment is not None and not payment.captured and (payment.capturable or lost)
    if order.status != "completed" or not untaken:
        raise TransitionInvalid("The order is {status} and no untouched money is set aside for it: refund it instead.", status=order.status)
    lines, invoice = lines_of(engine, order), invoice_of(engine, order.id)
    if any(line.fulfilment["action"] != "start" for line in lines):
        raise TransitionInvalid("The order changed a subscription that was there before: take the money and refund it.")
    started = [row for line in lines if (row := engine.db.lock(Subscription, line.subscription)) is not None]
    theirs = InvoiceLine.subscription.in_([row.id for row in started]) & InvoiceLine.credits.is_null()
    if invoice is None or engine.db.first(InvoiceLine.select().where(theirs & (InvoiceLine.invoice != invoice.id))):
        raise TransitionInvalid("Another order has changed what this one started: take the money and refund it.")
    for row in started:
        if row.status in RUNNING:
            check_changeable(row)
    return started


def undo_order(engine: Engine, order: Order, payment: Payment) -> None:
    """End what the order started, in the transaction that has locked the account and records that the money was let go."""
    account = engine.db.lock(Account, order.account)
    assert account is not None
    started = [row for line in lines_of(engine, order) if (row := engine.db.lock(Subscription, line.subscription)) is not None]
    for subscription in started:
        engine.db.update(subscription, changing=None)
        if subscription.status != "cancelled":
            end(engine, subscription)
    post(engine, account.id, "given_back", order.id, order.credit_used)
    engine.db.update(order, status="cancelled", version=order.version + 1)
    invoice = invoice_of(engine, order.id)
    if invoice is not None:
        move_invoice(engine, invoice, "void")
        credit(engine, order.id, payment.id, parts_of_amount(engine, order.id, invoice.total), "reduced")
    data = {
        "order": order_document(engine, order),
        "account": account_document(account),
        "invoice": invoice_document(engine, invoice) if invoice else None,
        "subscriptions": [subscription_document(engine, subscription, order.locale) for subscription in started],
    }
    append(engine, "order.voided", account=account.id, subject=order.id, data=data)
