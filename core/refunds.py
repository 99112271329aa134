"""Refunds: money back to the buyer, all of a payment or part of it, never more than was taken."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress

from core.access import Caller
from core.accounts import Account, account_document, lock_account
from core.balance import entry_of, post
from core.credit_notes import LineRefund, Parts, credit, left_of, parts_of_amount, parts_of_lines
from core.disputes import disputes_of
from core.engine.engine import Engine
from core.engine.events import append
from core.engine.idempotency import Answer, IdempotencyKey, KeyedRequest, begin, claim, finish
from core.engine.values import new_id, to_json
from core.errors import RefundExceedsPayment, TransitionInvalid, ValidationFailed
from core.hooks.payments import ProviderTimeout, ProviderUnavailable, RefundRequest, RefundResult
from core.invoices import Invoice, InvoiceLine, invoice_document
from core.orders import Order, get_order, lines_of, note_captured, order_document, payment_of
from core.payments import GRACE, SUCCEEDED, Payment, Refund, reference, refund_document, refunds_of
from core.providers import call_provider, find_provider
from core.rules.money import Money

log = logging.getLogger("puesto.refunds")
UNSETTLED = ("created", "processing")
# The problem of a payment of which more went back than was paid, or another currency.
MISMATCH = "reversal-mismatch"


def refund_order(
    engine: Engine,
    order_id: str,
    caller: Caller,
    *,
    amount: Money | None,
    reason: str,
    request: KeyedRequest,
    lines: Sequence[LineRefund] = (),
) -> Answer:
    """Give back what was paid for an order, all that is left or `amount` of it; the answer's body is the refund's document.

    lines: what of the order it is for; none: all lines in proportion. A credit note is issued once the money has gone back.
    Raises Missing, TransitionInvalid for an order that was not paid, ValidationFailed for lines that are not the order's or another
    amount than theirs, RefundExceedsPayment, PaymentProviderUnavailable.
    """
    with engine.db.transaction():
        lock_account(engine, get_order(engine, order_id, caller).account)
        order = get_order(engine, order_id, caller, lock=True)
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
            parts = _parts(engine, order, lines, amount)
            whole = Money(sum(parts.values()), payment.currency) if parts else amount
            refund_id = write_refund(engine, payment, whole, reason, parts).id
            claim(engine, request, refund_id)
    with suppress(ProviderTimeout):  # recovery asks again
        settle_refund(engine, refund_id)
    with engine.db.transaction():
        refund = engine.db.get(Refund, refund_id)
        assert refund is not None
        return finish(engine, request, refund_document(refund))


def _parts(engine: Engine, order: Order, lines: Sequence[LineRefund], amount: Money | None) -> Parts | None:
    """None: no lines are named."""
    if not lines:
        return None
    parts = parts_of_lines(engine, order.id, {line.id: line.subscription for line in lines_of(engine, order)}, lines)
    whole = Money(sum(parts.values()), order.currency)
    if amount not in (None, whole):
        raise ValidationFailed("The lines add up to {whole}: leave amount out, or give that.", pointer="/amount", whole=str(whole))
    return parts


def _parts_of_all(engine: Engine, payment: Payment, amount: Money) -> Parts:
    """Of all lines in proportion; of none where the money came too late, since the invoice is paid otherwise, or there is none."""
    return {} if payment.problem == "late-payment" else parts_of_amount(engine, payment.order, amount.amount)


def write_refund(engine: Engine, payment: Payment, amount: Money | None, reason: str, parts: Parts | None = None) -> Refund:
    """The intent to refund: what it takes is counted as refunded at once, so that two at a time never exceed the payment.

    amount: None: all that is left, also of the invoice: what was credited to the account is not refunded as well.
    Raises RefundExceedsPayment.
    """
    left = Money(_refundable(engine, payment, parts), payment.currency)
    wanted = left if amount is None else amount
    if wanted.currency != left.currency or not 0 < wanted.amount <= left.amount:
        raise _exceeding(wanted, left, Money(payment.disputed + payment.lost, payment.currency))
    now = engine.clock.now()
    refund = Refund(
        id=new_id("ref"),
        account=payment.account,
        order=payment.order,
        payment=payment.id,
        amount=wanted.amount,
        currency=wanted.currency,
        status="created",
        origin="ours",
        reason=reason,
        parts=_parts_of_all(engine, payment, wanted) if parts is None else parts,
        credit_note=None,
        provider_ref=None,
        ask_at=now + GRACE,
        created_at=now,
    )
    engine.db.insert(refund)
    engine.db.update(payment, refunded=payment.refunded + wanted.amount)
    return refund


def _refundable(engine: Engine, payment: Payment, parts: Parts | None) -> int:
    """What of a payment can go back; parts {}: nothing of its invoice does with it."""
    if parts == {} or payment.problem == "late-payment":
        return payment.refundable
    left = left_of(engine, payment.order)
    return payment.refundable if left is None else min(payment.refundable, left)


# --- credit that is paid out


def payments_for(engine: Engine, subscription: str) -> list[Payment]:
    """The payments whose orders charged a subscription, the newest first."""
    charged = InvoiceLine.select(Invoice.order).join(Invoice).where(InvoiceLine.subscription == subscription)
    sound = Payment.status.in_(SUCCEEDED) & Payment.problem.is_null()
    return engine.db.all(Payment.select().where(sound & Payment.order.in_(charged)).order_by(Payment.id.desc()))


def refund_credit(engine: Engine, payments: Sequence[Payment], amount: int, reason: str, *, owed_only: bool = False) -> list[Refund]:
    """Pay out that much of the account's balance by refunding these payments one after the other, as far as each can take it; the rest
    stays. Inside a transaction that has locked the account; recovery asks the providers, and what one refuses comes back to the balance.

    amount:    minor units, credited already: no credit note is issued for it.
    owed_only: lower only what is still owed on terms.
    """
    refunds = []
    for payment in payments:
        part = min(amount, _payable(engine, payment, owed_only))
        if part > 0:
            refund = write_refund(engine, payment, Money(part, payment.currency), reason, {})
            engine.db.update(refund, ask_at=engine.clock.now())
            post(engine, payment.account, "refunded", refund.id, -part)
            refunds.append(refund)
            amount -= part
    return refunds


def _payable(engine: Engine, payment: Payment, owed_only: bool) -> int:
    """How much of its credit a payment can take back; 0 where its provider is gone or gives nothing back."""
    provider = engine.providers.get(payment.provider)
    if provider is None or not provider.capabilities.partial_refund:
        return 0
    return min(payment.owed, payment.refundable) if owed_only else payment.refundable


def _take_back(engine: Engine, refund: Refund) -> None:
    """A refund has failed: credit that it was to pay out is there again."""
    paid_out = entry_of(engine, "refunded", refund.id)
    if paid_out is not None:
        post(engine, refund.account, "refund_failed", refund.id, -paid_out.amount)


def _exceeding(wanted: Money, left: Money, disputed: Money) -> RefundExceedsPayment:
    extra = {"refundable": to_json(left)}
    if not disputed.amount:
        return RefundExceedsPayment(
            "{wanted} can't be refunded: {left} of the payment is left.", pointer="/amount", wanted=str(wanted), left=str(left), extra=extra
        )
    return RefundExceedsPayment(
        "{wanted} can't be refunded: {left} of the payment is left, and {disputed} is disputed.",
        pointer="/amount",
        wanted=str(wanted),
        left=str(left),
        disputed=str(disputed),
        extra={**extra, "disputed": to_json(disputed)},
    )


def settle_refund(engine: Engine, refund_id: str) -> None:
    """Ask the provider to refund, with the refund's own key, and write the outcome. Asked again, it says how the refund stands.

    Raises ProviderTimeout where the outcome stays unknown, PaymentProviderUnavailable where the provider's plugin is gone.
    """
    refund = engine.db.get(Refund, refund_id)
    payment = engine.db.get(Payment, refund.payment) if refund else None
    if refund is None or payment is None or refund.status not in UNSETTLED or refund.origin == "external":
        return
    provider = find_provider(engine, payment.provider)
    amount = Money(refund.amount, refund.currency)
    asked = RefundRequest(reference(payment), refund.id, amount, refund.reason, refund.id)
    try:
        result = call_provider(engine, provider, RefundResult, lambda: provider.refund_payment(asked))
    except ProviderUnavailable as error:
        raise ProviderTimeout(str(error)) from error
    if result.status != "failed" and result.amount != amount:
        log.error("refund %s: %s reports %s instead of %s", refund.id, provider.name, result.amount, amount)
        raise ProviderTimeout(f"{provider.name} refunds another amount than it was asked for")
    _record_refund(engine, refund, result)


def _record_refund(engine: Engine, asked: Refund, result: RefundResult) -> None:
    with engine.db.transaction():
        lock_account(engine, asked.account)
        order, payment = engine.db.lock(Order, asked.order), engine.db.lock(Payment, asked.payment)
        refund = engine.db.lock(Refund, asked.id)
        assert order is not None and payment is not None and refund is not None
        if refund.status in UNSETTLED:
            finish_refund(engine, order, payment, refund, result)


def finish_refund(engine: Engine, order: Order, payment: Payment, refund: Refund, result: RefundResult) -> None:
    """Write how an unsettled refund stands, and tell of it, in the transaction that has locked the account."""
    ask_at = refund.ask_at if result.status == "processing" else None
    engine.db.update(refund, status=result.status, provider_ref=refund.provider_ref or result.provider_ref, ask_at=ask_at)
    recount(engine, order, payment)
    if payment.due_on is not None:
        note_captured(engine, order, payment)
    if result.status == "failed":
        log.error("refund %s of order %s: %s refuses it", refund.id, order.id, payment.provider)
        _take_back(engine, refund)
    elif result.status == "succeeded":
        _tell(engine, order, payment, refund)


def recount(engine: Engine, order: Order, payment: Payment) -> None:
    """What went back of a payment, or may, anew from its refunds and disputes. Where more is gone than came in, by the provider's books,
    or another currency, that is a problem until it fits."""
    refunds = [row for row in refunds_of(engine, payment.id) if row.status != "failed"]
    disputes = [row for row in disputes_of(engine, payment.id) if row.status != "won"]
    refunded = sum(row.amount for row in refunds if row.currency == payment.currency)
    opened, lost = (
        sum(row.amount for row in disputes if row.currency == payment.currency and row.status == status) for status in ("opened", "lost")
    )
    strange = ({row.currency for row in refunds} | {row.currency for row in disputes}) - {payment.currency}
    problem = payment.problem
    if problem in (None, MISMATCH):
        problem = MISMATCH if strange or refunded + lost > payment.came_in else None
    engine.db.update(payment, refunded=min(refunded, payment.amount), disputed=opened, lost=lost, problem=problem)
    if order.problem in (None, MISMATCH) and order.problem != problem:
        engine.db.update(order, problem=problem, version=order.version + 1)


def _tell(engine: Engine, order: Order, payment: Payment, refund: Refund) -> None:
    account = engine.db.get(Account, refund.account)
    assert account is not None
    # What came twice and goes back leaves order and invoice as they are: another payment has paid for them.
    paid_with_it = payment_of(engine, order) == payment
    note = _credit(engine, order, payment, refund) if paid_with_it else None
    if order.status == "completed" and paid_with_it and not payment.capturable and _given_back(engine, payment) >= payment.came_in:
        engine.db.update(order, status="refunded", version=order.version + 1)
    data = {
        "order": order_document(engine, order),
        "account": account_document(account),
        "refund": refund_document(refund),
        "credit_note": invoice_document(engine, note) if note else None,
    }
    append(engine, "payment.refunded", account=account.id, subject=order.id, data=data)


def _credit(engine: Engine, order: Order, payment: Payment, refund: Refund) -> Invoice | None:
    """Its credit note; None where there is no invoice, or where it was in another currency."""
    parts = refund.parts
    if parts is None:
        parts = parts_of_amount(engine, order.id, refund.amount) if refund.currency == order.currency else {}
    owed = payment.due_on is not None and payment.captured + payment.refunded <= payment.amount  # so that nothing had to go back
    note = credit(engine, order.id, refund.id, parts, "reduced" if owed else "refunded")
    if note is not None:
        engine.db.update(refund, credit_note=note.id)
    return note


def _given_back(engine: Engine, payment: Payment) -> int:
    """What has reached the buyer; `payment.refunded` also counts what is on its way and may fail."""
    arrived = [row.amount for row in refunds_of(engine, payment.id) if row.status == "succeeded" and row.currency == payment.currency]
    return sum(arrived)
