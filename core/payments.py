"""Payments: attempts to pay an order, and refunds, as rows; and how an attempt is begun and its outcome recorded."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import peewee

from core.accounts import Account
from core.engine.engine import Engine
from core.engine.rows import InstantField, JsonField, Row, refers_to
from core.engine.settings import base_url_of
from core.engine.values import new_id, to_json
from core.errors import PaymentProviderUnavailable, ValidationFailed
from core.hooks.payments import (
    CaptureMode,
    PaymentError,
    PaymentLine,
    PaymentProvider,
    PaymentReference,
    PaymentRequest,
    PaymentResult,
    PaymentUnknown,
    ProviderTimeout,
    ProviderUnavailable,
    SavedMethod,
)
from core.payment_methods import PaymentMethod, customer_of, find_method, keep_method, make_default, method_document
from core.providers import begin_call, call_provider, find_provider
from core.rules.money import Money

log = logging.getLogger("puesto.payments")
LIVE = ("created", "requires_action", "processing", "authorized", "partially_captured", "captured")
# In the order in which they can follow each other.
SUCCEEDED = ("authorized", "partially_captured", "captured")
FAILED = ("declined", "failed", "canceled")
# Problems that hold an order: the provider's books are not what was asked for, and nothing counts until they are.
HOLDING = ("amount-mismatch", "test-payment")
# The problem of a payment on terms for which more came in than is owed.
OVERPAID = "overpaid"
# How long after its call's deadline a payment is left alone before recovery asks what became of it.
GRACE = timedelta(seconds=5)
# How long a buyer may take at the bank before the order is given up.
ACTION_LIFETIME = timedelta(hours=1)


class Payment(Row):
    """One attempt to pay an order: its own amount, state and idempotency key (its id).

    amount:      what is asked, in minor units; 0 where a method is only stored.
    captured:    what of it was taken, by the provider's books; less than `amount` once `captured`: the rest was let go.
    due_on:      the day by which it is to be paid, where it is on terms; None: it is not.
    method:      id of the stored method that is charged.
    ask_at:      when recovery asks the provider how it stands; None: its end is known.
    tries:       how often recovery has asked; `trouble`: why it got no answer the last time, None where it did.
    live:        whether real money is asked for: the mode of the shop when it was written.
    problem:     why a human must look: `amount-mismatch`, `test-payment` (money of the other mode), `late-payment`, `authorization-lost`
                 (what was set aside is gone, untaken), `reversal-mismatch` (more went back than came in, or another currency), `overpaid`
                 (on terms, and it has to go back).
    refunded:    what went back or is on its way. disputed: what open disputes hold back; lost: what lost ones have taken.
    """

    id = peewee.CharField(primary_key=True, max_length=40)
    account = refers_to(Account, index=False)
    order = peewee.CharField(max_length=40, index=True)
    provider = peewee.CharField(max_length=64)
    status = peewee.CharField(
        max_length=20,
        constraints=[
            peewee.Check(
                "status IN ('created','requires_action','processing','authorized','partially_captured','captured','declined','failed',"
                "'canceled')"
            )
        ],
    )
    amount = peewee.BigIntegerField(constraints=[peewee.Check("amount >= 0")])
    captured = peewee.BigIntegerField(default=0, constraints=[peewee.Check("captured BETWEEN 0 AND amount")])
    refunded = peewee.BigIntegerField(default=0, constraints=[peewee.Check("refunded BETWEEN 0 AND amount")])
    disputed = peewee.BigIntegerField(default=0, constraints=[peewee.Check("disputed >= 0")])
    lost = peewee.BigIntegerField(default=0, constraints=[peewee.Check("lost >= 0")])
    currency = peewee.CharField(max_length=3)
    method = peewee.CharField(max_length=40, null=True)
    save_method = peewee.BooleanField(default=False)
    provider_ref = peewee.CharField(max_length=255, null=True)
    action = JsonField(null=True)
    error = JsonField(null=True)
    data = JsonField()
    shown_method = JsonField(null=True)
    due_on = peewee.CharField(max_length=10, null=True)
    problem = peewee.CharField(max_length=32, null=True)
    ask_at = InstantField(null=True)
    tries = peewee.IntegerField(default=0)
    trouble = peewee.TextField(null=True)
    live = peewee.BooleanField(default=False)
    created_at = InstantField()

    @property
    def money(self) -> Money:
        return Money(self.amount, self.currency)

    @property
    def capturable(self) -> int:
        """What was set aside and can still be taken."""
        set_aside = self.status in ("authorized", "partially_captured") and self.due_on is None
        return self.amount - self.captured if set_aside else 0

    @property
    def instructions(self) -> dict[str, Any] | None:
        """What the buyer needs to pay what is owed."""
        return self.action["data"] if self.action and self.action["type"] == "display" else None

    @property
    def owed(self) -> int:
        """On terms: what is still to come in."""
        return max(0, self.amount - self.captured + self.lost - self.refunded) if self.due_on is not None else 0

    @property
    def refundable(self) -> int:
        """What can still be given back."""
        return max(0, self.came_in - self.refunded - self.disputed - self.lost)

    @property
    def came_in(self) -> int:
        """What was taken; on terms, what is owed or paid."""
        return self.captured if self.due_on is None else self.amount


_live = Payment.status.in_([peewee.SQL(f"'{status}'") for status in LIVE])
Payment.add_index(Payment.index(Payment.order, unique=True, name="payment_live").where(_live & Payment.problem.is_null()))
Payment.add_index(Payment.index(Payment.ask_at, name="payment_to_ask_about").where(Payment.ask_at.is_null(False)))
Payment.add_index(Payment.account, Payment.id)
Payment.add_index(Payment.provider, Payment.provider_ref)
Payment.add_index(Payment.provider, Payment.created_at)
Payment.add_index(Payment.index(Payment.id, name="payment_open").where(Payment.ask_at.is_null(False)))


class Refund(Row):
    """Money on its way back: its own amount, state and idempotency key (its id). `ask_at`, `tries` and `trouble` as of a payment.

    origin:      `external`: begun at the provider, which is never asked for it; one row per `provider_ref`.
    parts:       what it gives back of each invoice line, tax included, by the line's id; None: over all of them, once it has succeeded.
    credit_note: id of the one that was issued for it.
    """

    id = peewee.CharField(primary_key=True, max_length=40)
    account = refers_to(Account, index=False)
    order = peewee.CharField(max_length=40)
    payment = refers_to(Payment)
    amount = peewee.BigIntegerField(constraints=[peewee.Check("amount > 0")])
    currency = peewee.CharField(max_length=3)
    status = peewee.CharField(max_length=12, constraints=[peewee.Check("status IN ('created','processing','succeeded','failed')")])
    origin = peewee.CharField(max_length=8, default="ours", constraints=[peewee.Check("origin IN ('ours', 'external')")])
    reason = peewee.CharField(max_length=500)
    parts = JsonField(null=True)
    credit_note = peewee.CharField(max_length=40, null=True)
    provider_ref = peewee.CharField(max_length=255, null=True)
    ask_at = InstantField(null=True)
    tries = peewee.IntegerField(default=0)
    trouble = peewee.TextField(null=True)
    created_at = InstantField()


Refund.add_index(Refund.order)
Refund.add_index(Refund.index(Refund.ask_at, name="refund_to_ask_about").where(Refund.ask_at.is_null(False)))
Refund.add_index(Refund.index(Refund.id, name="refund_open").where(Refund.ask_at.is_null(False)))
_external = Refund.origin == peewee.SQL("'external'")
Refund.add_index(Refund.index(Refund.payment, Refund.provider_ref, unique=True, name="refund_external").where(_external))


@dataclass(frozen=True)
class PaymentChoice:
    """How the buyer wants to pay: a provider, with a token from it or a stored method of the account.

    fallbacks: other ways, tried one after the other where a provider is down and has certainly not charged. `save` goes for them too.
    """

    provider: str
    token: str | None = None
    payment_method: str | None = None
    save: bool = False
    fallbacks: tuple[PaymentChoice, ...] = ()

    @property
    def attempts(self) -> tuple[PaymentChoice, ...]:
        """Every way to pay, in the order in which they are tried."""
        return (self, *(replace(each, save=self.save) for each in self.fallbacks))


# --- an attempt


def new_payment(engine: Engine, account: Account, order: str, choice: PaymentChoice, amount: Money, *, needs_method: bool) -> Payment:
    """The intent to pay, written in the order's transaction before any provider is called.

    Raises Missing for a stored method that is not the account's, ValidationFailed for a choice that does not fit the provider.
    """
    method = check_choice(engine, account, choice)
    now = engine.clock.now()
    payment = Payment(
        id=new_id("pay"),
        account=account.id,
        order=order,
        provider=choice.provider,
        status="created",
        amount=amount.amount,
        captured=0,
        refunded=0,
        disputed=0,
        lost=0,
        currency=amount.currency,
        method=method.id if method else None,
        save_method=choice.save or needs_method,
        provider_ref=None,
        action=None,
        error=None,
        data={},
        shown_method=method_document(method) if method else None,
        due_on=None,
        problem=None,
        live=not engine.sandbox,
        ask_at=now + timedelta(seconds=find_provider(engine, choice.provider).deadline) + GRACE,
        created_at=now,
    )
    engine.db.insert(payment)
    return payment


def check_choice(engine: Engine, account: Account, choice: PaymentChoice, at: str = "/payment") -> PaymentMethod | None:
    """The stored method that was chosen, if one was. Raises as `new_payment` does; `at`: where the choice stands in the request."""
    can = find_provider(engine, choice.provider).capabilities
    method = find_method(engine, choice.payment_method, account.id, f"{at}/payment_method") if choice.payment_method else None
    if method is not None and method.provider != choice.provider:
        raise ValidationFailed("The method belongs to the provider {provider}.", pointer=f"{at}/provider", provider=method.provider)
    if can.on_terms and (choice.token or method):
        raise ValidationFailed("{provider} takes no token.", pointer=f"{at}/token", provider=choice.provider)
    if not can.on_terms and (choice.token is None) == (method is None):
        raise ValidationFailed("Give either a token from the provider or a stored payment_method.", pointer=f"{at}/token")
    if choice.save and not can.save_method:
        raise ValidationFailed("{provider} can't store methods.", pointer=f"{at}/save", provider=choice.provider)
    return method


def begin_at_provider(engine: Engine, payment: Payment, account: Account, **words: Any) -> PaymentResult:
    """Do what `prepare_at_provider` prepares, outside any transaction. Raises as `call_provider` does."""
    return prepare_at_provider(engine, payment, account, **words)()()


def prepare_at_provider(
    engine: Engine,
    payment: Payment,
    account: Account,
    *,
    token: str | None,
    locale: str,
    purchase_order: str | None,
    lines: tuple[PaymentLine, ...],
    on_session: bool = True,
) -> Callable[[], Callable[[], PaymentResult]]:
    """What asks the provider to charge, or only to store the method where nothing is due, as `begin_call` does.

    token: what the client got from the provider; it is handed through and stored nowhere. on_session: whether the buyer is there.
    """
    page = f"{base_url_of(engine.settings)}/v1/orders/{payment.order}"
    provider = find_provider(engine, payment.provider)
    method = engine.db.get(PaymentMethod, payment.method) if payment.method else None
    if method is not None and not payment.amount:
        return lambda: partial(PaymentResult, "captured", payment.money)  # it is stored already
    request = PaymentRequest(
        payment_id=payment.id,
        amount=payment.money,
        customer=customer_of(account, purchase_order),
        idempotency_key=payment.id,
        return_url=f"{page}/return",
        cancel_url=f"{page}/cancelled",
        locale=locale,
        token=token,
        method=method.reference if method else None,
        save_method=payment.save_method,
        on_session=on_session,
        lines=lines,
        capture_mode=_capture_mode(engine, provider, payment, on_session),
    )
    call = provider.initiate_payment if payment.amount else provider.save_method
    return partial(begin_call, engine, provider, PaymentResult, partial(call, request))


def _capture_mode(engine: Engine, provider: PaymentProvider, payment: Payment, on_session: bool) -> CaptureMode:
    """As the seller wants it, of a provider that can. Storing a method takes nothing anyway, and renewals, which nobody looks at one
    by one, are charged at once."""
    can = provider.capabilities.authorize and payment.amount and on_session
    return "manual" if can and engine.settings["payments"]["capture"] == "manual" else "automatic"


def retrieve(engine: Engine, payment: Payment) -> PaymentResult | None:
    """What the provider knows of a payment; None: it has never heard of it.

    Raises ProviderTimeout where it gives no answer, or where its plugin is gone.
    """
    try:
        provider = find_provider(engine, payment.provider)
        return call_provider(engine, provider, PaymentResult, lambda: provider.retrieve_payment(reference(payment)), looks_up=True)
    except PaymentUnknown:
        return None
    except (ProviderUnavailable, PaymentProviderUnavailable) as error:
        raise ProviderTimeout(str(error)) from error


def cancel_at_provider(engine: Engine, payment: Payment) -> PaymentResult:
    """End a payment that waits for the buyer; how it stands then. Where the provider can't do that, it goes on waiting.

    Raises ProviderTimeout where it gives no answer.
    """
    provider = find_provider(engine, payment.provider)
    if not provider.capabilities.cancel:
        return still_at_the_bank(payment)
    try:
        return call_provider(engine, provider, PaymentResult, lambda: provider.cancel_payment(reference(payment)))
    except ProviderUnavailable as error:
        raise ProviderTimeout(str(error)) from error


def still_at_the_bank(payment: Payment) -> PaymentResult:
    """How a payment stands that waits for the buyer."""
    return PaymentResult("requires_action", payment.money)


def reference(payment: Payment) -> PaymentReference:
    """A payment, as its provider sees it."""
    return PaymentReference(payment.id, payment.money, payment.id, payment.provider_ref, payment.data, payment.account)


def never_begun(payment: Payment) -> PaymentResult:
    """The end of a payment that its provider has never heard of: the call got lost on its way."""
    return PaymentResult("failed", payment.money, error=PaymentError("provider_error", retryable=True))


def record_result(engine: Engine, payment: Payment, result: PaymentResult) -> None:
    """Write what the provider answered, in the transaction of what follows from it.

    An end stays, but for money that arrives after we had given the payment up: that is always written down. What its provider says
    has failed is not asked about any more. An amount that is not ours, or money of the other mode, is a `problem`: the
    payment counts as nothing until the provider's books say what was asked.
    """
    captured = captured_by(result)
    if not _is_news(payment, result, captured.amount):
        if (payment.status in FAILED and result.status in FAILED) or (payment.due_on is not None and payment.status in SUCCEEDED):
            engine.db.update(payment, ask_at=None)
        return
    held = _reason_to_hold(payment, result, captured) if result.status in SUCCEEDED else None
    if held is not None:
        figures = (result.amount, payment.money, captured, held)
        log.error("payment %s: %s reports %s instead of %s, and %s taken (%s)", payment.id, payment.provider, *figures)
    status = "processing" if held else result.status
    lost = payment.status == "authorized" and status in FAILED
    late = status in SUCCEEDED and payment.amount > 0 and (payment.status in FAILED or payment.problem == "late-payment")
    problem = held or ("authorization-lost" if lost else "late-payment" if late else OVERPAID if _overpays(result) else None)
    had_succeeded = payment.status in SUCCEEDED
    engine.db.update(
        payment,
        status=status,
        captured=payment.captured if held else captured.amount if payment.due_on else max(payment.captured, captured.amount),
        problem=problem,
        provider_ref=result.provider_ref or payment.provider_ref,
        action=to_json(result.action),
        error=to_json(result.error),
        data=dict(result.data) or payment.data,
        due_on=result.due_on.isoformat() if result.due_on else payment.due_on,
        ask_at=_ask_at(engine, payment, status),
    )
    if payment.save_method and status in SUCCEEDED and not had_succeeded:
        _keep_method(engine, payment, result.saved_method)


def captured_by(result: PaymentResult) -> Money:
    """What was taken, as the provider has it."""
    if result.status not in SUCCEEDED:
        return Money(0, result.amount.currency)
    return result.captured or (result.amount if result.status == "captured" else Money(0, result.amount.currency))


def _reason_to_hold(payment: Payment, result: PaymentResult, captured: Money) -> str | None:
    """Which of HOLDING a provider's books are; None: they say what was asked."""
    if result.live not in (None, payment.live):
        return "test-payment"
    ours = result.amount == payment.money and captured.currency == payment.currency and 0 <= captured.amount <= payment.amount
    return None if ours else "amount-mismatch"


def _overpays(result: PaymentResult) -> bool:
    return result.excess is not None and result.excess.amount > 0


def _is_news(payment: Payment, result: PaymentResult, captured: int) -> bool:
    """Whether a payment can go on to what is reported; answers may come late, and out of order."""
    status, reported = payment.status, result.status
    if status in FAILED:
        return reported in SUCCEEDED
    if status not in SUCCEEDED:
        return True
    if reported in SUCCEEDED and payment.due_on is not None:
        now = (status, payment.captured, payment.action, payment.problem == OVERPAID)
        return (reported, captured, to_json(result.action), _overpays(result)) != now
    if reported in SUCCEEDED:
        return (SUCCEEDED.index(reported), captured) > (SUCCEEDED.index(status), payment.captured)
    return status == "authorized" and payment.due_on is None and reported in FAILED


def _ask_at(engine: Engine, payment: Payment, status: str) -> datetime | None:
    """When to ask about a payment that is in `status` now."""
    if status == "requires_action":
        return engine.clock.now() + ACTION_LIFETIME
    if status == "processing":
        return payment.ask_at if payment.status == status else engine.clock.now() + GRACE
    if payment.due_on is not None and payment.status in SUCCEEDED:
        return engine.clock.now() + GRACE  # two answers may have come in the wrong order: until the next says the same
    return None


def _keep_method(engine: Engine, payment: Payment, saved: SavedMethod | None) -> None:
    """Store the method for what is charged from now on: the new one, or the stored one that was chosen."""
    if saved is not None:
        method = keep_method(engine, payment.account, payment.provider, saved)
        engine.db.update(payment, method=method.id, shown_method=method_document(method))
    elif payment.method is not None:
        make_default(engine, payment.account, payment.method)


# --- documents


def payment_document(payment: Payment) -> dict[str, Any]:
    """What may be shown of a payment: no token, no reference."""
    shown = payment.shown_method
    return {
        "id": payment.id,
        "provider": payment.provider,
        "status": payment.status,
        "live": payment.live,
        "amount": to_json(payment.money),
        "captured": to_json(Money(payment.captured, payment.currency)),
        "refunded": to_json(Money(payment.refunded, payment.currency)),
        "disputed": to_json(Money(payment.disputed, payment.currency)),
        "lost": to_json(Money(payment.lost, payment.currency)),
        "method": {"brand": shown["brand"], "last4": shown["last4"]} if shown else None,
        "error": payment.error,
        "instructions": payment.instructions,
    }


def refunds_of(engine: Engine, payment: str) -> list[Refund]:
    """The refunds of a payment, whoever began them, the oldest first."""
    return engine.db.having(Refund.payment, payment)


def refund_document(refund: Refund) -> dict[str, Any]:
    """The refund as the API and events show it."""
    amount = Money(refund.amount, refund.currency)
    names = ("id", "order", "status", "origin", "reason", "credit_note", "created_at")
    return dict(to_json({**{name: getattr(refund, name) for name in names}, "amount": amount}))
