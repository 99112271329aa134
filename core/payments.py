"""Payments: attempts to pay an order, stored methods, refunds; and the call to a provider, outside any transaction."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import peewee

from core.access import Caller, find, missing
from core.accounts import Account
from core.engine.database import InstantField, JsonField, Row, refers_to
from core.engine.engine import Engine
from core.engine.values import new_id, to_json
from core.errors import PaymentDeclined, PaymentProviderUnavailable, ValidationFailed
from core.hooks.payments import (
    Customer,
    PaymentProvider,
    PaymentReference,
    PaymentRequest,
    PaymentResult,
    PaymentUnknown,
    ProviderMisconfigured,
    ProviderTimeout,
    ProviderUnavailable,
    SavedMethod,
)
from core.rules.money import Money, zero

log = logging.getLogger("puesto.payments")
LIVE = ("created", "requires_action", "processing", "authorized", "captured")
# How long after its call's deadline a payment is left alone before recovery asks what became of it.
GRACE = timedelta(seconds=5)
T = TypeVar("T")


class PaymentMethod(Row):
    """A stored method of an account: the provider's reference, and what may be shown of it."""

    id = peewee.CharField(primary_key=True, max_length=40)
    account = refers_to(Account)
    provider = peewee.CharField(max_length=64)
    reference = peewee.CharField(max_length=255)
    brand = peewee.CharField(max_length=40)
    last4 = peewee.CharField(max_length=4)
    expires = peewee.CharField(max_length=7, null=True)
    default = peewee.BooleanField(default=False)
    created_at = InstantField()
    deleted_at = InstantField(null=True)

    class Meta:
        table_name = "payment_method"
        indexes = ((("account", "provider", "reference"), True),)


class Payment(Row):
    """One attempt to pay an order: its own amount, state and idempotency key (its id).

    amount:      what is asked, in minor units; 0 where a method is only stored.
    method:      id of the stored method that is charged.
    deadline_at: when recovery asks the provider, if no answer is in by then.
    problem:     why a human must look: `amount-mismatch`, `late-payment`.
    """

    id = peewee.CharField(primary_key=True, max_length=40)
    account = refers_to(Account)
    order = peewee.CharField(max_length=40, index=True)
    provider = peewee.CharField(max_length=64)
    status = peewee.CharField(max_length=16)
    amount = peewee.BigIntegerField(constraints=[peewee.Check("amount >= 0")])
    refunded = peewee.BigIntegerField(default=0, constraints=[peewee.Check("refunded BETWEEN 0 AND amount")])
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
    deadline_at = InstantField()
    created_at = InstantField()

    @property
    def money(self) -> Money:
        return Money(self.amount, self.currency)


_live = Payment.status.in_([peewee.SQL(f"'{status}'") for status in LIVE])
Payment.add_index(Payment.index(Payment.order, unique=True, name="payment_live").where(_live))
Payment.add_index(
    Payment.index(Payment.deadline_at, name="payment_waiting").where(
        Payment.status.in_([peewee.SQL("'created'"), peewee.SQL("'processing'")])
    )
)


class Refund(Row):
    """Money on its way back: its own amount, state and idempotency key (its id)."""

    id = peewee.CharField(primary_key=True, max_length=40)
    account = refers_to(Account)
    order = peewee.CharField(max_length=40, index=True)
    payment = refers_to(Payment)
    amount = peewee.BigIntegerField(constraints=[peewee.Check("amount > 0")])
    currency = peewee.CharField(max_length=3)
    status = peewee.CharField(max_length=12)
    reason = peewee.CharField(max_length=500)
    provider_ref = peewee.CharField(max_length=255, null=True)
    deadline_at = InstantField()
    created_at = InstantField()


Refund.add_index(Refund.index(Refund.deadline_at, name="refund_waiting").where(Refund.status == peewee.SQL("'created'")))


@dataclass(frozen=True)
class PaymentChoice:
    """How the buyer wants to pay: a provider, with a token from it or a stored method of the account."""

    provider: str
    token: str | None = None
    payment_method: str | None = None
    save: bool = False


# --- beginning a payment


def new_payment(engine: Engine, account: Account, order: str, choice: PaymentChoice, amount: Money, *, needs_method: bool) -> Payment:
    """The intent to pay, written in the order's transaction before any provider is called.

    Raises Missing for a stored method that is not the account's, ValidationFailed for a choice that does not fit the provider.
    """
    provider = find_provider(engine, choice.provider)
    method = find_method(engine, choice.payment_method, account.id, choice.provider) if choice.payment_method else None
    if not provider.capabilities.on_terms and (choice.token is None) == (method is None):
        raise ValidationFailed("Give either a token from the provider or a stored payment_method.", pointer="/payment/token")
    if provider.capabilities.on_terms and (choice.token or method):
        raise ValidationFailed("{provider} takes no token.", pointer="/payment/token", provider=provider.name)
    if choice.save and not provider.capabilities.save_method:
        raise ValidationFailed("{provider} can't store methods.", pointer="/payment/save", provider=provider.name)
    now = engine.clock.now()
    payment = Payment(
        id=new_id("pay"),
        account=account.id,
        order=order,
        provider=choice.provider,
        status="created",
        amount=amount.amount,
        refunded=0,
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
        deadline_at=_deadline(engine, provider),
        created_at=now,
    )
    engine.db.insert(payment)
    return payment


def find_provider(engine: Engine, name: str) -> PaymentProvider:
    """Raises PaymentProviderUnavailable where its plugin is not enabled (any more)."""
    provider = engine.providers.get(name)
    if provider is None:
        raise PaymentProviderUnavailable("The payment provider {name} is not enabled.", name=name[:64])
    return provider


def _deadline(engine: Engine, provider: PaymentProvider) -> datetime:
    return engine.clock.now() + timedelta(seconds=provider.deadline) + GRACE


# --- calling the provider: never inside a transaction


def call_provider(engine: Engine, provider: PaymentProvider, call: Callable[[], T]) -> T:
    """Run a provider's method under its deadline.

    Raises ProviderUnavailable (certainly nothing happened) or ProviderTimeout (nobody knows): whatever else a provider raises
    counts as the latter.
    """
    if engine.db.in_transaction():
        raise RuntimeError("a provider is called outside any transaction")
    try:
        return engine.plugins.with_deadline(provider.deadline, call)  # type: ignore[no-any-return]
    except ProviderMisconfigured as error:
        log.error("provider %s is misconfigured: %s", provider.name, error)
        raise ProviderUnavailable(str(error)) from error
    except (ProviderUnavailable, ProviderTimeout, PaymentUnknown):
        raise
    except TimeoutError as error:
        raise ProviderTimeout(str(error)) from error
    except Exception as error:
        log.exception("provider %s raised", provider.name)
        raise ProviderTimeout(f"{provider.name} raised {type(error).__name__}") from error


def begin_at_provider(
    engine: Engine, payment: Payment, account: Account, *, token: str | None, locale: str, purchase_order: str | None
) -> PaymentResult:
    """Ask the provider to charge, or only to store the method where nothing is due. Raises as `call_provider` does.

    token: what the client got from the provider; it is handed through and stored nowhere.
    """
    provider = find_provider(engine, payment.provider)
    method = engine.db.get(PaymentMethod, payment.method) if payment.method else None
    request = PaymentRequest(
        payment_id=payment.id,
        amount=payment.money,
        customer=Customer(account.id, account.name, account.email, account.country, purchase_order),
        idempotency_key=payment.id,
        return_url=f"{engine.settings['base_url']}/v1/orders/{payment.order}/return",
        locale=locale,
        token=token,
        method=method.reference if method else None,
        save_method=payment.save_method,
    )
    call = provider.initiate_payment if payment.amount else provider.save_method
    return call_provider(engine, provider, lambda: call(request))


def reference(payment: Payment) -> PaymentReference:
    """A payment, as its provider sees it."""
    return PaymentReference(payment.id, payment.money, payment.id, payment.provider_ref, payment.data)


def record_result(engine: Engine, payment: Payment, result: PaymentResult) -> None:
    """Write what the provider answered, in the transaction of what follows from it. Ends are never left again.

    An amount that is not ours is kept as a `problem`; the payment then counts as nothing.
    """
    if payment.status in ("captured", "declined", "failed", "canceled"):
        return
    mismatch = result.status in ("authorized", "captured") and result.amount != payment.money
    if mismatch:
        log.error("payment %s: the provider reports %s instead of %s", payment.id, result.amount, payment.money)
    engine.db.update(
        payment,
        status="processing" if mismatch else result.status,
        problem="amount-mismatch" if mismatch else payment.problem,
        provider_ref=result.provider_ref or payment.provider_ref,
        action=to_json(result.action),
        error=to_json(result.error),
        data=dict(result.data) or payment.data,
        due_on=result.due_on.isoformat() if result.due_on else None,
        deadline_at=engine.clock.now() + GRACE,
    )
    if result.saved_method is not None and result.status in ("authorized", "captured") and not mismatch:
        method = keep_method(engine, payment.account, payment.provider, result.saved_method)
        engine.db.update(payment, method=method.id, shown_method=method_document(method))


# --- stored methods


def save_method(engine: Engine, account_id: str, caller: Caller, provider_name: str, token: str) -> PaymentMethod:
    """Store a method for later, without charging it. The first one, and each newer one, is the default.

    Raises PaymentDeclined, PaymentProviderUnavailable, ValidationFailed for a provider that is unknown or can't store methods.
    """
    account = find(engine, Account, account_id, caller)
    provider = engine.providers.get(provider_name)
    if provider is None or not provider.capabilities.save_method:
        able = ", ".join(p.name for p in engine.providers.values() if p.capabilities.save_method)
        raise ValidationFailed("Choose a provider that stores methods: {able}.", pointer="/provider", able=able)
    setup = new_id("set")
    request = PaymentRequest(
        payment_id=setup,
        amount=zero(account.currency),
        customer=Customer(account.id, account.name, account.email, account.country),
        idempotency_key=setup,
        return_url=engine.settings["base_url"],
        locale=account.locale,
        token=token,
        save_method=True,
    )
    try:
        result = call_provider(engine, provider, lambda: provider.save_method(request))
    except (ProviderUnavailable, ProviderTimeout) as error:
        raise unavailable(provider_name) from error
    if result.saved_method is None:
        raise declined(to_json(result.error))
    with engine.db.transaction():
        return keep_method(engine, account_id, provider_name, result.saved_method)


def keep_method(engine: Engine, account: str, provider: str, saved: SavedMethod) -> PaymentMethod:
    """Write a stored method and make it the default, inside a transaction. One that is known already is not doubled."""
    of_account = PaymentMethod.account == account
    engine.db.execute(PaymentMethod.update(default=False).where(of_account))
    same = of_account & (PaymentMethod.provider == provider) & (PaymentMethod.reference == saved.reference)
    known: PaymentMethod | None = engine.db.first(PaymentMethod.select().where(same))
    if known is not None:
        engine.db.update(known, default=True, deleted_at=None)
        return known
    method = PaymentMethod(
        id=new_id("pm"),
        account=account,
        provider=provider,
        reference=saved.reference,
        brand=saved.brand,
        last4=saved.last4,
        expires=saved.expires,
        default=True,
        created_at=engine.clock.now(),
        deleted_at=None,
    )
    engine.db.insert(method)
    return method


def find_method(engine: Engine, method_id: str, account: str, provider: str | None = None) -> PaymentMethod:
    """Raises Missing, also for another account's, ValidationFailed for one of another provider."""
    method = engine.db.get(PaymentMethod, method_id)
    if method is None or method.account != account or method.deleted_at is not None:
        raise missing("payment method", method_id, "/payment/payment_method")
    if provider is not None and method.provider != provider:
        raise ValidationFailed("The method belongs to the provider {provider}.", pointer="/payment/provider", provider=method.provider)
    return method


def default_method(engine: Engine, account: str) -> PaymentMethod | None:
    """The method that renewals are charged to, if there is one."""
    usable = (PaymentMethod.account == account) & (PaymentMethod.default == True) & PaymentMethod.deleted_at.is_null()  # noqa: E712
    method: PaymentMethod | None = engine.db.first(PaymentMethod.select().where(usable))
    return method


def delete_method(engine: Engine, account_id: str, method_id: str, caller: Caller) -> None:
    """Forget a stored method, here and at its provider, where that is still installed."""
    find(engine, Account, account_id, caller)
    method = find_method(engine, method_id, account_id)
    provider = engine.providers.get(method.provider)
    if provider is not None:
        try:
            call_provider(engine, provider, lambda: provider.delete_method(method.reference))
        except (ProviderUnavailable, ProviderTimeout) as error:
            raise unavailable(provider.name) from error
    with engine.db.transaction():
        engine.db.update(method, deleted_at=engine.clock.now(), default=False)


# --- errors and documents


def declined(error: dict[str, Any] | None) -> PaymentDeclined:
    """The problem for a refused payment, from the error that was stored with it."""
    code = (error or {}).get("code", "provider_error")
    retryable = bool((error or {}).get("retryable"))
    return PaymentDeclined(
        "The payment was declined: {code}. Pay with another method.",
        code=code,
        extra={"decline_code": code, "retryable": retryable},
    )


def unavailable(provider: str) -> PaymentProviderUnavailable:
    return PaymentProviderUnavailable(
        "{provider} can't be reached. Nothing was charged; try again, or pay otherwise.", provider=provider, extra={"provider": provider}
    )


def method_document(method: PaymentMethod) -> dict[str, Any]:
    names = ("id", "provider", "brand", "last4", "expires", "default")
    return {name: getattr(method, name) for name in names}


def payment_document(payment: Payment) -> dict[str, Any]:
    """What may be shown of a payment: no token, no reference."""
    shown = payment.shown_method
    return {
        "id": payment.id,
        "provider": payment.provider,
        "status": payment.status,
        "amount": to_json(payment.money),
        "refunded": to_json(Money(payment.refunded, payment.currency)),
        "method": {"brand": shown["brand"], "last4": shown["last4"]} if shown else None,
        "error": payment.error,
    }
