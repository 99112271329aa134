"""Orders: what was bought, as it was quoted; and the one function that completes them."""

from __future__ import annotations

from datetime import date
from typing import Any

import peewee

from core.access import INTERNAL, Caller, find
from core.accounts import Account, account_document, lock_account
from core.balance import post
from core.carts import Cart
from core.credit_notes import credit, parts_of_amount
from core.disputes import dispute_document, disputes_of
from core.engine.engine import Engine
from core.engine.events import append
from core.engine.rows import InstantField, JsonField, Row, refers_to
from core.engine.values import new_id, to_json
from core.fulfilment import apply_change, note_collected, reserve, schedule_change, start, unreserve
from core.hooks.payments import PaymentLine
from core.hooks.subscriptions import FailedAttempt
from core.invoices import Invoice, invoice_document, invoice_of, issue_invoice, move_invoice, settlement_of
from core.past_due import fall_past_due
from core.payment_methods import default_method
from core.payments import Payment, PaymentChoice, new_payment, payment_document, refund_document, refunds_of
from core.quote_lines import QuoteLine
from core.quotes import Quote
from core.rules.money import Money
from core.seats import fit_seats
from core.subscriptions import Subscription, subscription_document

WAITING = ("pending", "requires_action", "processing")


class Order(Row):
    """An order: the quote that was agreed to, and what became of it. A cart has at most one that is not failed or cancelled.

    kind:    `purchase` of a cart, `renewal` of what falls due on a day, or `change` of one subscription without a cart.
    cart:    its id; the cart itself may be gone. Of the others the own id stands here: what they reserve is reserved under it.
    problem: why a human must look, as a code; None: all is well.
    """

    id = peewee.CharField(primary_key=True, max_length=40)
    account = refers_to(Account, index=False)
    kind = peewee.CharField(max_length=8, default="purchase", constraints=[peewee.Check("kind IN ('purchase', 'renewal', 'change')")])
    cart = peewee.CharField(max_length=40, index=True)
    status = peewee.CharField(
        max_length=16,
        constraints=[peewee.Check("status IN ('pending','requires_action','processing','completed','failed','cancelled','refunded')")],
    )
    currency = peewee.CharField(max_length=3)
    net = peewee.BigIntegerField()
    tax = peewee.BigIntegerField()
    total = peewee.BigIntegerField(constraints=[peewee.Check("total = net + tax")])
    credit_used = peewee.BigIntegerField(constraints=[peewee.Check("credit_used >= 0")])
    due_now = peewee.BigIntegerField(constraints=[peewee.Check("due_now >= 0")])
    credit_left = peewee.BigIntegerField(constraints=[peewee.Check("credit_left >= 0")])
    locale = peewee.CharField(max_length=16)
    purchase_order = peewee.CharField(max_length=100, null=True)
    tax_decision = JsonField()
    placed_by = peewee.CharField(max_length=40)
    problem = peewee.CharField(max_length=32, null=True)
    version = peewee.IntegerField(default=1)
    created_at = InstantField()
    completed_at = InstantField(null=True)

    class Meta:
        table_name = "orders"
        indexes = ((("account", "id"), False),)


Order.add_index(
    Order.index(Order.cart, unique=True, name="order_of_cart").where(
        Order.status.not_in([peewee.SQL("'failed'"), peewee.SQL("'cancelled'")])
    )
)
Order.add_index(Order.index(Order.id, name="order_with_problem").where(Order.problem.is_null(False)))


class OrderLine(Row):
    """A line as it was quoted (`document`), what completing it does (`fulfilment`) and what is invoiced for it (`items`)."""

    id = peewee.CharField(primary_key=True, max_length=40)
    account = peewee.CharField(max_length=40)
    order = refers_to(Order)
    subscription = peewee.CharField(max_length=40, null=True)
    net = peewee.BigIntegerField()
    tax = peewee.BigIntegerField()
    total = peewee.BigIntegerField(constraints=[peewee.Check("total = net + tax")])
    document = JsonField()
    fulfilment = JsonField()
    items = JsonField()

    class Meta:
        table_name = "order_line"


def write_order(
    engine: Engine,
    order_id: str,
    cart: Cart | None,
    account: Account,
    quote: Quote,
    payment: PaymentChoice | None,
    *,
    purchase_order: str | None,
    placed_by: str,
    kind: str = "purchase",
) -> Order:
    """The order of a quote, inside the transaction that has made the quote: pending, with the intent to pay. What it uses and changes is
    reserved for it.

    cart:    None where `kind` is no purchase.
    payment: None where nothing has to be paid: it is completed at once.
    Raises as `new_payment` does.
    """
    holder = cart.id if cart else order_id
    for line in quote.lines:
        reserve(engine, account, holder, line.fulfilment, line.document["subscription"])
    order = Order(
        id=order_id,
        account=account.id,
        kind=kind,
        cart=holder,
        status="pending",
        currency=quote.total.currency,
        **{name: getattr(quote, name).amount for name in ("net", "tax", "total", "credit_used", "due_now", "credit_left")},
        locale=account.locale,
        purchase_order=purchase_order,
        tax_decision=to_json(quote.tax_decision),
        placed_by=placed_by,
        problem=None,
        version=1,
        created_at=engine.clock.now(),
        completed_at=None,
    )
    engine.db.insert(order)
    engine.db.insert(*(_order_line(order, line) for line in quote.lines))
    if cart is not None:
        engine.db.update(cart, status="ordering", order=order.id)
    post(engine, account.id, "used", order_id, -quote.credit_used.amount)
    if not account.ordered:
        engine.db.update(account, ordered=True)
    if payment is None:
        complete_order(engine, order, None)
    else:
        new_payment(engine, account, order.id, payment, quote.due_now, needs_method=quote.needs_method)
    return order


def _order_line(order: Order, line: QuoteLine) -> OrderLine:
    return OrderLine(
        id=new_id("oln"),
        account=order.account,
        order=order.id,
        subscription=line.document["subscription"],
        net=line.net.amount,
        tax=line.tax.amount,
        total=line.net.amount + line.tax.amount,
        document=line.document,
        fulfilment=line.fulfilment,
        items=list(line.items),
    )


# --- the end of an order


def complete_order(engine: Engine, order: Order, payment: Payment | None) -> None:
    """Do what was ordered, once: subscriptions, credit, invoice, cart, events. Called inside the transaction that has locked the
    account, by checkout, confirmation and recovery alike; any further call does nothing."""
    if order.status not in WAITING:
        return
    account = lock_account(engine, order.account)
    lines = lines_of(engine, order)
    news = [_fulfil(engine, account, line) for line in lines]
    post(engine, account.id, "credited", order.id, max(-order.total, 0))
    if order.kind == "purchase":
        engine.db.set(Cart, order.cart, status="ordered")
    engine.db.update(order, status="completed", completed_at=engine.clock.now(), version=order.version + 1)
    invoice = _invoice(engine, order, account, lines, payment)
    _tell(engine, order, account, invoice, news)


def _fulfil(engine: Engine, account: Account, line: OrderLine) -> tuple[list[str], Subscription, dict[str, Any]]:
    """Carry out one line; the events to write of it (none: nothing has changed yet), the subscription, and further data."""
    fulfilment = line.fulfilment
    if fulfilment["action"] == "start":
        subscription = start(engine, account.id, fulfilment)
        engine.db.update(line, subscription=subscription.id)
        return ["trial.started" if subscription.trial_end else "subscription.started"], subscription, {}
    changed = engine.db.lock(Subscription, line.subscription)
    assert changed is not None
    if fulfilment["action"] == "schedule":
        schedule_change(engine, changed, fulfilment)
        return [], changed, {}
    if fulfilment["action"] == "collect":
        note_collected(engine, changed)
        return [], changed, {}
    recovered = ["subscription.recovered"] if changed.status == "past_due" else []
    fit_seats(engine, changed, fulfilment["columns"]["seats"], fulfilment["release"])
    apply_change(engine, changed, fulfilment)
    if fulfilment["starts"]:
        return ["subscription.started", *recovered], changed, {}
    events = ["subscription.renewed"] if fulfilment.get("renews") else []
    if fulfilment["changed"] or not events:
        events.append("subscription.changed")
    return [*events, *recovered], changed, {"before": fulfilment["before"]}


def _invoice(engine: Engine, order: Order, account: Account, lines: list[OrderLine], payment: Payment | None) -> Invoice | None:
    own = {line.id: order.kind if order.kind == "renewal" else line.id for line in lines}
    items = [(str(line.subscription), item.get("id", own[line.id]), item) for line in lines for item in line.items]
    if not items:
        return None
    due_on = date.fromisoformat(payment.due_on) if payment is not None and payment.due_on else None
    return issue_invoice(
        engine,
        account,
        order.id,
        items,
        currency=order.currency,
        locale=order.locale,
        due_on=due_on,
        purchase_order=order.purchase_order,
        settlement=settlement_of(payment, Money(order.total, order.currency), Money(order.credit_used, order.currency)),
    )


def note_captured(engine: Engine, order: Order, payment: Payment) -> None:
    """The invoice of an order is paid once nothing of its payment is left to take, and nothing was lost in a
    dispute; what was let go of it is credited. On terms it is open for as long as something is owed, also where that had come in before."""
    invoice = invoice_of(engine, order.id)
    if invoice is not None and payment.due_on is not None:
        move_invoice(engine, invoice, _status_on_terms(engine, invoice, payment))
        return
    if invoice is None or invoice.status == "paid" or payment.status != "captured" or payment.lost:
        return
    move_invoice(engine, invoice, "paid")
    if rest := payment.amount - payment.captured:
        credit(engine, order.id, payment.id, parts_of_amount(engine, order.id, rest), "reduced")


def _status_on_terms(engine: Engine, invoice: Invoice, payment: Payment) -> str:
    """What is credited as a whole, before anything has come in for it, is void rather than paid: once that is certain."""
    if payment.owed:
        return "open"
    if payment.captured or payment.amount != invoice.total:
        return "paid"
    certain = all(refund.status in ("succeeded", "failed") for refund in refunds_of(engine, payment.id))
    return "void" if certain else "open"


def tell_received(engine: Engine, order: Order, payment: Payment, before: int) -> None:
    """News of money on terms, where more has come in than before, or some of it was returned."""
    if payment.due_on is None or payment.captured == before:
        return
    account, invoice = engine.db.get(Account, order.account), invoice_of(engine, order.id)
    assert account is not None
    data = {
        "order": order_document(engine, order),
        "account": account_document(account),
        "amount": to_json(Money(abs(payment.captured - before), payment.currency)),
        "invoice": invoice_document(engine, invoice) if invoice else None,
    }
    kind = "payment.received" if payment.captured > before else "payment.returned"
    append(engine, kind, account=account.id, subject=order.id, data=data)


def _tell(engine: Engine, order: Order, account: Account, invoice: Invoice | None, news: list[Any]) -> None:
    ordered, buyer = order_document(engine, order), account_document(account)
    subscriptions = [subscription_document(engine, subscription, order.locale) for _, subscription, _ in news]
    data = {
        "order": ordered,
        "account": buyer,
        "invoice": invoice_document(engine, invoice) if invoice else None,
        "subscriptions": subscriptions,
    }
    append(engine, "order.completed", account=account.id, subject=order.id, data=data)
    for (events, _, further), subscription in zip(news, subscriptions, strict=True):
        data = {"subscription": subscription, "account": buyer, "order": ordered, **further}
        for event_type in events:
            append(engine, event_type, account=account.id, subject=subscription["id"], data=data)


def close_order(engine: Engine, order: Order, status: str, *, tell: Payment | None = None) -> None:
    """End an order that came to nothing (`failed` or `cancelled`): its credit goes back, what it reserved is free, its cart is open;
    what it was to renew is past due, unless the buyer has only tried to pay for it.

    tell: the payment whose failure subscribers hear of. Called inside the transaction that has locked the account.
    """
    if order.status not in WAITING:
        return
    engine.db.update(order, status=status, version=order.version + 1)
    post(engine, order.account, "given_back", order.id, order.credit_used)
    engine.db.set(Cart, order.cart, status="open", order=None)
    unreserve(engine, order.cart)
    renews = order.kind == "renewal" and any(line.fulfilment.get("renews") for line in lines_of(engine, order))
    if renews and order.placed_by == INTERNAL.id:
        _fall_past_due(engine, order)
    if tell is not None:
        account = engine.db.get(Account, order.account)
        assert account is not None
        document = order_document(engine, order)
        concerned = [engine.db.get(Subscription, each) for each in document["subscriptions"]]
        data = {
            "order": document,
            "account": account_document(account),
            "payment": payment_document(tell),
            "subscriptions": [subscription_document(engine, each, order.locale) for each in concerned if each is not None],
        }
        append(engine, "payment.failed", account=order.account, subject=order.id, data=data)


def _fall_past_due(engine: Engine, order: Order) -> None:
    """To be tried again at once where another method has been stored while this one was being charged."""
    tried, usable = payment_of(engine, order), default_method(engine, order.account)
    another = tried is not None and usable is not None and tried.method not in (None, usable.id)
    document, failed = order_document(engine, order), _failed_attempt(engine, tried)
    for line in document["lines"]:
        fall_past_due(engine, line["subscription"], failed, document, at_once=another)


def _failed_attempt(engine: Engine, payment: Payment | None) -> FailedAttempt:
    """Why a renewal was not paid. One that was given up had waited for a buyer who was not there."""
    now = engine.clock.now()
    if payment is not None and payment.error is not None:
        return FailedAttempt(now, payment.error["code"], payment.error["retryable"])
    if payment is not None and payment.status == "canceled":
        return FailedAttempt(now, "authentication_failed")
    return FailedAttempt(now, "provider_error", retryable=True)


# --- reading


def get_order(engine: Engine, order_id: str, caller: Caller, *, lock: bool = False, version: int | None = None) -> Order:
    """Raises Missing, also for another account's, and PreconditionFailed for another version than was read."""
    return find(engine, Order, order_id, caller, lock=lock, version=version)


def lines_of(engine: Engine, order: Order) -> list[OrderLine]:
    return engine.db.having(OrderLine.order, order.id)


def waiting_order(engine: Engine, cart: str) -> Order | None:
    """The order of a cart whose buyer is at the bank; the cart can be edited and ordered anew meanwhile."""
    return next(iter(engine.db.having(Order.cart, cart, status="requires_action")), None)


def payment_of(engine: Engine, order: Order) -> Payment | None:
    """The order's latest attempt to pay; None where nothing had to be paid."""
    return next(reversed(engine.db.having(Payment.order, order.id)), None)


def payment_lines(engine: Engine, order: Order) -> tuple[PaymentLine, ...]:
    """What is paid for, as a provider's pages may show it."""
    items = [item for line in lines_of(engine, order) for item in line.items]
    return tuple(PaymentLine(each["description"], Money(each["net"]["amount"] + each["tax"]["amount"], order.currency)) for each in items)


def order_document(engine: Engine, order: Order) -> dict[str, Any]:
    """The order as the API, events and messages show it."""
    lines, payment, invoice = lines_of(engine, order), payment_of(engine, order), invoice_of(engine, order.id)
    same = ("id", "account", "kind", "status", "locale", "purchase_order", "problem", "created_at", "completed_at")
    amounts = {
        name: Money(getattr(order, name), order.currency) for name in ("net", "tax", "total", "credit_used", "due_now", "credit_left")
    }
    action = payment.action if payment is not None and order.status == "requires_action" else None
    return {
        **{name: to_json(getattr(order, name)) for name in same},
        "cart": order.cart if order.kind == "purchase" else None,
        "lines": [{**line.document, "id": line.id, "subscription": line.subscription} for line in lines],
        **{name: to_json(amount) for name, amount in amounts.items()},
        "payment": _shown_payment(engine, payment) if payment else None,
        "next_action": action,
        "invoice": invoice.id if invoice else None,
        "subscriptions": list(dict.fromkeys(line.subscription for line in lines if line.subscription)),
    }


def _shown_payment(engine: Engine, payment: Payment) -> dict[str, Any]:
    """The payment with what went back of it, or may."""
    return {
        **payment_document(payment),
        "refunds": [refund_document(refund) for refund in refunds_of(engine, payment.id)],
        "disputes": [dispute_document(dispute) for dispute in disputes_of(engine, payment.id)],
    }
