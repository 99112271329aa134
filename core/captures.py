"""Captures: taking the money that a provider has set aside, all of it or in parts, never more; or letting go of it.

Three steps, as at checkout: the intent is written, the provider is called with no transaction open, the outcome is written. One capture
of a payment is under way at a time, so that the provider's figures say what became of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import peewee

from core.access import Caller
from core.accounts import Account, account_document, lock_account
from core.engine.engine import Engine
from core.engine.events import append
from core.engine.idempotency import Answer, IdempotencyKey, KeyedRequest, begin, claim, finish
from core.engine.rows import InstantField, Row, refers_to
from core.engine.values import new_id, to_json
from core.errors import CaptureExceedsPayment, TransitionInvalid
from core.fulfilment import unreserve
from core.hooks.payments import CaptureRequest, PaymentProvider, PaymentResult, ProviderTimeout, ProviderUnavailable
from core.invoices import invoice_document, invoice_of
from core.orders import Order, get_order, note_captured, order_document, payment_of
from core.payments import FAILED, GRACE, HOLDING, SUCCEEDED, Payment, record_result, reference
from core.providers import call_provider, find_provider
from core.rules.money import Money
from core.voids import check_voidable, undo_order

log = logging.getLogger("puesto.captures")


class Capture(Row):
    """Taking a part of a payment: its own amount, state and idempotency key (its id). `ask_at`, `tries` and `trouble` as of a payment.

    amount: 0: all of it is let go.
    before: what had been taken when it was asked for.
    final:  the rest is let go.
    """

    id = peewee.CharField(primary_key=True, max_length=40)
    account = refers_to(Account, index=False)
    order = peewee.CharField(max_length=40)
    payment = refers_to(Payment)
    amount = peewee.BigIntegerField(constraints=[peewee.Check("amount >= 0")])
    before = peewee.BigIntegerField()
    currency = peewee.CharField(max_length=3)
    final = peewee.BooleanField()
    status = peewee.CharField(max_length=10, constraints=[peewee.Check("status IN ('created','succeeded','failed')")])
    ask_at = InstantField(null=True)
    tries = peewee.IntegerField(default=0)
    trouble = peewee.TextField(null=True)
    created_at = InstantField()

    @property
    def money(self) -> Money:
        return Money(self.amount, self.currency)


UNDER_WAY = Capture.status == peewee.SQL("'created'")
Capture.add_index(Capture.index(Capture.payment, unique=True, name="capture_under_way").where(UNDER_WAY))
Capture.add_index(Capture.index(Capture.ask_at, name="capture_to_ask_about").where(Capture.ask_at.is_null(False)))
Capture.add_index(Capture.index(Capture.id, name="capture_open").where(Capture.ask_at.is_null(False)))


def capture_order(engine: Engine, order_id: str, caller: Caller, *, amount: Money | None, final: bool, request: KeyedRequest) -> Answer:
    """Take what was set aside for an order, all that is left or `amount` of it; the answer's body is the capture's document.

    final: let go of the rest. Raises Missing, TransitionInvalid where nothing is set aside or a capture is under way,
    CaptureExceedsPayment, PaymentProviderUnavailable.
    """
    return _carry_out(engine, order_id, caller, request, lambda order: _intend(engine, order, amount, final), capture_document)


def void_order(engine: Engine, order_id: str, caller: Caller, *, request: KeyedRequest) -> Answer:
    """Let go of what was set aside for an order, and undo the order once it is; the answer's body is the order's document.

    Raises Missing, PaymentProviderUnavailable, and TransitionInvalid where money was taken, a capture is under way, or the order can't be
    undone.
    """
    return _carry_out(engine, order_id, caller, request, lambda order: _intend_to_void(engine, order), lambda _: _shown(engine, order_id))


def _carry_out(
    engine: Engine,
    order_id: str,
    caller: Caller,
    request: KeyedRequest,
    intend: Callable[[Order], Capture],
    show: Callable[[Capture], dict[str, Any]],
) -> Answer:
    """The three steps, or what is left of them."""
    with engine.db.transaction():
        lock_account(engine, get_order(engine, order_id, caller).account)
        order = get_order(engine, order_id, caller, lock=True)
        known = begin(engine, request)
        if isinstance(known, Answer):
            return known
        if isinstance(known, IdempotencyKey):
            capture_id = str(known.resource)
        else:
            capture_id = intend(order).id
            claim(engine, request, capture_id)
    with suppress(ProviderTimeout):  # recovery asks again
        settle_capture(engine, capture_id)
    with engine.db.transaction():
        capture = engine.db.get(Capture, capture_id)
        assert capture is not None
        return finish(engine, request, show(capture))


def _intend(engine: Engine, order: Order, amount: Money | None, final: bool) -> Capture:
    payment = payment_of(engine, order)
    if payment is None or not payment.capturable:
        raise TransitionInvalid("The order is {status} and no money is set aside for it.", status=order.status)
    provider = find_provider(engine, payment.provider)
    left = Money(payment.capturable, payment.currency)
    wanted = left if amount is None else amount
    if wanted.currency != left.currency or not 0 < wanted.amount <= left.amount:
        raise CaptureExceedsPayment(
            "{wanted} can't be taken: {left} is set aside.",
            pointer="/amount",
            wanted=str(wanted),
            left=str(left),
            extra={"capturable": to_json(left)},
        )
    if wanted != left and not provider.capabilities.partial_capture:
        raise TransitionInvalid("{provider} takes what is set aside at once: {left}.", provider=provider.name, left=str(left))
    _check_idle(engine, payment)
    return write_capture(engine, payment, wanted, final=final or wanted == left)


def _intend_to_void(engine: Engine, order: Order) -> Capture:
    payment = payment_of(engine, order)
    started = check_voidable(engine, order, payment)
    assert payment is not None
    find_provider(engine, payment.provider)
    _check_idle(engine, payment)
    capture = write_capture(engine, payment, Money(0, payment.currency), final=True)
    for subscription in started:
        engine.db.update(subscription, changing=capture.id)
    return capture


def _check_idle(engine: Engine, payment: Payment) -> None:
    if under_way(engine, payment):
        raise TransitionInvalid("A capture of this payment is under way. Wait for it.")


def _shown(engine: Engine, order_id: str) -> dict[str, Any]:
    order = engine.db.get(Order, order_id)
    assert order is not None
    return order_document(engine, order)


def under_way(engine: Engine, payment: Payment) -> bool:
    return engine.db.first(Capture.select().where(UNDER_WAY & (Capture.payment == payment.id))) is not None


def write_capture(engine: Engine, payment: Payment, amount: Money, *, final: bool) -> Capture:
    """The intent to capture, or with an amount of nothing to let go; its caller holds the account and has seen that none is under way."""
    now = engine.clock.now()
    capture = Capture(
        id=new_id("cap"),
        account=payment.account,
        order=payment.order,
        payment=payment.id,
        amount=amount.amount,
        before=payment.captured,
        currency=amount.currency,
        final=final,
        status="created",
        ask_at=now + GRACE,
        created_at=now,
    )
    engine.db.insert(capture)
    return capture


def settle_capture(engine: Engine, capture_id: str) -> None:
    """Ask the provider to capture, with the capture's own key, and write the outcome. Asked again, it says how the payment stands.

    Raises ProviderTimeout where the outcome stays unknown, PaymentProviderUnavailable where the provider's plugin is gone.
    """
    capture = engine.db.get(Capture, capture_id)
    payment = engine.db.get(Payment, capture.payment) if capture else None
    if capture is None or payment is None or capture.status != "created":
        return
    provider = find_provider(engine, payment.provider)
    try:
        result = call_provider(engine, provider, PaymentResult, lambda: _ask(provider, payment, capture))
    except ProviderUnavailable as error:
        raise ProviderTimeout(str(error)) from error
    if result.status not in (*SUCCEEDED, *FAILED):
        raise ProviderTimeout(f"{provider.name} calls it {result.status}")
    _record(engine, capture, result)


def _ask(provider: PaymentProvider, payment: Payment, capture: Capture) -> PaymentResult:
    if not capture.amount:
        return provider.cancel_payment(reference(payment))
    return provider.capture_payment(CaptureRequest(reference(payment), capture.id, capture.money, capture.final, capture.id))


def _record(engine: Engine, asked: Capture, result: PaymentResult) -> None:
    """Raises ProviderTimeout where the provider has taken another amount than it was asked for: what it says is kept, the capture stays."""
    with engine.db.transaction():
        lock_account(engine, asked.account)
        order, payment = engine.db.lock(Order, asked.order), engine.db.lock(Payment, asked.payment)
        capture = engine.db.lock(Capture, asked.id)
        assert order is not None and payment is not None and capture is not None
        if capture.status != "created":
            return
        record_result(engine, payment, result)
        outcome = _outcome(payment, capture)
        if outcome is not None:
            engine.db.update(capture, status=outcome, ask_at=None)
        if outcome == "failed":
            log.error("capture %s of order %s: %s refuses it", capture.id, order.id, payment.provider)
            unreserve(engine, capture.id)
        if outcome == "succeeded" and not capture.amount:
            engine.db.update(payment, problem=None)
        if order.problem != payment.problem:
            engine.db.update(order, problem=payment.problem, version=order.version + 1)
        if payment_of(engine, order) == payment:  # and no fallback has taken its place: what came twice leaves the order as it is
            note_captured(engine, order, payment)
            if outcome == "succeeded":
                _follow(engine, order, payment, capture)
    if outcome is None:
        raise ProviderTimeout(f"{payment.provider} has taken another amount than it was asked for")


def _follow(engine: Engine, order: Order, payment: Payment, capture: Capture) -> None:
    if capture.amount:
        _tell(engine, order, capture)
    elif order.status == "completed":
        undo_order(engine, order, payment)


def _outcome(payment: Payment, capture: Capture) -> str | None:
    """What became of a capture, by what was taken since it was asked for; None: that is another amount, and nobody knows."""
    if not capture.amount:
        return "succeeded" if payment.status in FAILED else "failed"
    if payment.captured == capture.before:
        return None if payment.problem in HOLDING else "failed"
    return "succeeded" if payment.captured - capture.before >= capture.amount else None


def _tell(engine: Engine, order: Order, capture: Capture) -> None:
    account, invoice = engine.db.get(Account, capture.account), invoice_of(engine, order.id)
    assert account is not None
    data = {
        "order": order_document(engine, order),
        "account": account_document(account),
        "capture": capture_document(capture),
        "invoice": invoice_document(engine, invoice) if invoice else None,
    }
    append(engine, "payment.captured", account=account.id, subject=order.id, data=data)


def capture_document(capture: Capture) -> dict[str, Any]:
    """The capture as the API and events show it."""
    shown = {"id": capture.id, "order": capture.order, "amount": capture.money, "final": capture.final, "status": capture.status}
    return dict(to_json({**shown, "created_at": capture.created_at}))
