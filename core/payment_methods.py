"""Stored payment methods of an account: the provider's reference, and what may be shown of it."""

from __future__ import annotations

import logging
from typing import Any

import peewee

from core.access import Caller, find, missing
from core.accounts import Account
from core.engine.engine import Engine
from core.engine.rows import InstantField, Row, refers_to
from core.engine.settings import base_url_of
from core.engine.values import new_id, to_json
from core.errors import PaymentActionRequired, ValidationFailed
from core.hooks.payments import Customer, PaymentRequest, PaymentResult, ProviderTimeout, ProviderUnavailable, SavedMethod
from core.past_due import retry_past_due
from core.providers import call_provider, declined, unavailable
from core.rules.money import zero

log = logging.getLogger("puesto.payments")
# Prefix of the id under which a provider stores a method on its own: no payment has it.
SETUP = "set"


class PaymentMethod(Row):
    """A stored method. `default` is the one that renewals are charged to.

    expires:     its last month, YYYY-MM. reminded_at: when its account was told that this is near; None: it was not.
    """

    id = peewee.CharField(primary_key=True, max_length=40)
    account = refers_to(Account, index=False)
    provider = peewee.CharField(max_length=64)
    reference = peewee.CharField(max_length=255)
    brand = peewee.CharField(max_length=40)
    last4 = peewee.CharField(max_length=4)
    expires = peewee.CharField(max_length=7, null=True)
    default = peewee.BooleanField(default=False)
    created_at = InstantField()
    deleted_at = InstantField(null=True)
    reminded_at = InstantField(null=True)

    class Meta:
        table_name = "payment_method"
        indexes = ((("account", "provider", "reference"), True),)


TO_REMIND_OF = PaymentMethod.deleted_at.is_null() & PaymentMethod.reminded_at.is_null()
PaymentMethod.add_index(PaymentMethod.index(PaymentMethod.expires, name="payment_method_to_remind_of").where(TO_REMIND_OF))


def save_at_provider(engine: Engine, account_id: str, caller: Caller, provider_name: str, token: str) -> SavedMethod:
    """Have a provider store the method behind a token, without charging it. Outside any transaction; `add_method` comes next.

    Raises PaymentDeclined, PaymentActionRequired, PaymentProviderUnavailable, ValidationFailed for a provider that is unknown or
    can't store methods.
    """
    account = find(engine, Account, account_id, caller)
    provider = engine.providers.get(provider_name)
    able = [name for name in engine.offered if engine.providers[name].capabilities.save_method]
    if provider is None or provider_name not in able:
        raise ValidationFailed("Choose a provider that stores methods: {able}.", pointer="/provider", able=", ".join(able))
    setup = new_id(SETUP)
    request = PaymentRequest(
        payment_id=setup,
        amount=zero(account.currency),
        customer=customer_of(account),
        idempotency_key=setup,
        return_url=base_url_of(engine.settings),
        locale=account.locale,
        token=token,
        save_method=True,
    )
    try:
        result = call_provider(engine, provider, PaymentResult, lambda: provider.save_method(request))
    except (ProviderUnavailable, ProviderTimeout) as error:
        raise unavailable(provider_name) from error
    if result.live is not None and result.live is engine.sandbox:
        log.error("%s stores methods of the other mode than this shop is in", provider_name)
        raise unavailable(provider_name)
    if result.action is not None:
        raise PaymentActionRequired(
            "The bank wants the buyer to confirm. Pay an order with this method and save it there.",
            pointer="/token",
            extra={"next_action": to_json(result.action)},
        )
    if result.saved_method is None:
        raise declined(to_json(result.error))
    return result.saved_method


def add_method(engine: Engine, account_id: str, caller: Caller, provider: str, saved: SavedMethod) -> PaymentMethod:
    """Write a method that was stored at its provider. Raises Missing."""
    with engine.db.transaction():
        account = find(engine, Account, account_id, caller, lock=True)  # a renewal that is refused now looks for another method
        return keep_method(engine, account.id, provider, saved)


def keep_method(engine: Engine, account: str, provider: str, saved: SavedMethod) -> PaymentMethod:
    """Write a stored method and make it the default, inside a transaction. One that is known already is not doubled."""
    same = (PaymentMethod.account == account) & (PaymentMethod.provider == provider) & (PaymentMethod.reference == saved.reference)
    method: PaymentMethod | None = engine.db.first(PaymentMethod.select().where(same))
    shown = {"brand": saved.brand, "last4": saved.last4, "expires": saved.expires, "default": True, "deleted_at": None}
    if method is not None:
        reminded_at = method.reminded_at if method.expires == saved.expires else None
        engine.db.update(method, **shown, reminded_at=reminded_at)
    else:
        now = engine.clock.now()
        method = PaymentMethod(id=new_id("pm"), account=account, provider=provider, reference=saved.reference, created_at=now, **shown)
        engine.db.insert(method)
    make_default(engine, account, method.id)
    return method


def choose_default(engine: Engine, account_id: str, method_id: str, caller: Caller) -> PaymentMethod:
    """From now on what falls due is charged to this method. Nothing happens where that is so already: a refused method is not tried
    again for being chosen once more. Raises Missing."""
    with engine.db.transaction():
        account = find(engine, Account, account_id, caller, lock=True)
        if not find_method(engine, method_id, account.id).default:
            make_default(engine, account.id, method_id)
        return find_method(engine, method_id, account.id)


def make_default(engine: Engine, account: str, method_id: str) -> None:
    """From now on what falls due is charged to this method and no other of the account, first of all what is past due. Inside a
    transaction."""
    engine.db.execute(PaymentMethod.update(default=PaymentMethod.id == method_id).where(PaymentMethod.account == account))
    retry_past_due(engine, account)


def find_method(engine: Engine, method_id: str, account: str, pointer: str | None = None) -> PaymentMethod:
    """A method that can be charged. Raises Missing, also for another account's; `pointer`: the field that names it."""
    method = engine.db.get(PaymentMethod, method_id)
    if method is None or method.account != account or method.deleted_at is not None:
        raise missing("payment method", method_id, pointer)
    return method


def default_method(engine: Engine, account: str) -> PaymentMethod | None:
    """The method that renewals are charged to, if there is one."""
    stored = engine.db.having(PaymentMethod.account, account)
    return next((method for method in stored if method.default and method.deleted_at is None), None)


def delete_method(engine: Engine, account_id: str, method_id: str, caller: Caller) -> None:
    """Forget a stored method, here and at its provider, where that is still installed.

    Raises Missing, PaymentProviderUnavailable.
    """
    find(engine, Account, account_id, caller)
    method = find_method(engine, method_id, account_id)
    provider = engine.providers.get(method.provider)
    if provider is not None:
        try:
            call_provider(engine, provider, type(None), lambda: provider.delete_method(method.reference))
        except (ProviderUnavailable, ProviderTimeout) as error:
            raise unavailable(provider.name) from error
    with engine.db.transaction():
        engine.db.update(method, deleted_at=engine.clock.now(), default=False)


def customer_of(account: Account, purchase_order: str | None = None) -> Customer:
    """The account, as providers see it."""
    return Customer(account.id, account.name, account.email, account.country, purchase_order)


def method_document(method: PaymentMethod) -> dict[str, Any]:
    """The method as the API shows it: never its reference."""
    names = ("id", "provider", "brand", "last4", "expires", "default")
    return {name: getattr(method, name) for name in names}
