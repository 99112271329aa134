"""Accounts (customer organisations) and their users."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import peewee
from babel.core import Locale, UnknownLocaleError
from babel.numbers import is_currency

from core.access import Caller, create_token, find, missing, revoke_tokens
from core.engine.clock import day_in
from core.engine.engine import Engine
from core.engine.rows import InstantField, JsonField, Row, refers_to
from core.engine.values import new_id, to_json
from core.errors import EmailTaken, FieldError, Message, TaxIdRejected, TransitionInvalid, ValidationFailed
from core.hooks.tax import TaxId

KINDS = ("self_service", "corporate")
ROLES = ("billing_contact", "member")
# In CLDR's list of territories, and yet no country that a buyer is in.
NO_COUNTRIES = {"EU", "EZ", "QO", "UN", "XA", "XB", "ZZ"}
# Whose VAT numbers a country uses that gives out none (Directive 2006/112/EC, art. 7).
NUMBERS_OF = {"MC": "FR", "IM": "GB"}


class Account(Row):
    """A customer organisation. `tax_id` is {value, country, number, status, checked_at, consultation_number} or null.

    balance: credit in minor units of `currency` that the next order uses up; changed by `core.balance.post` only.
    ordered: whether it has ever ordered anything, after which its currency stays.
    """

    id = peewee.CharField(primary_key=True, max_length=40)
    name = peewee.CharField(max_length=200)
    email = peewee.CharField(max_length=254)
    kind = peewee.CharField(max_length=16, constraints=[peewee.Check("kind IN ('self_service', 'corporate')")])
    country = peewee.CharField(max_length=2)
    address = JsonField(null=True)
    currency = peewee.CharField(max_length=3)
    locale = peewee.CharField(max_length=16)
    time_zone = peewee.CharField(max_length=64)
    tax_id = JsonField(null=True)
    representative = JsonField(null=True)
    balance = peewee.BigIntegerField(default=0, constraints=[peewee.Check("balance >= 0")])
    ordered = peewee.BooleanField(default=False)
    version = peewee.IntegerField(default=1)
    created_at = InstantField()

    def today(self, engine: Engine) -> date:
        """The calendar day it is for this account."""
        return day_in(engine.clock.now(), self.time_zone)


class User(Row):
    """A person of an account."""

    id = peewee.CharField(primary_key=True, max_length=40)
    account = refers_to(Account, index=False)
    email = peewee.CharField(max_length=254)
    name = peewee.CharField(max_length=200)
    role = peewee.CharField(max_length=16, constraints=[peewee.Check("role IN ('billing_contact', 'member')")])
    version = peewee.IntegerField(default=1)
    created_at = InstantField()

    class Meta:
        indexes = ((("account", "email"), True), (("account", "id"), False))


def create_account(engine: Engine, tax_id: dict[str, Any] | None = None, **given: Any) -> Account:
    """A new account. What is left out takes the seller's country, currency and time zone, and English.

    tax_id: as `check_tax_id` answered it for the account's country. Raises ValidationFailed.
    """
    values = check_fields(_with_defaults(engine, given))
    account = Account(id=new_id("acc"), tax_id=tax_id, balance=0, ordered=False, version=1, created_at=engine.clock.now(), **values)
    engine.db.insert(account)
    return account


def _with_defaults(engine: Engine, given: dict[str, Any]) -> dict[str, Any]:
    seller = engine.settings["seller"]
    defaults = {name: seller[name] for name in ("country", "currency", "time_zone")}
    return {"kind": "self_service", "locale": "en", "address": None, "representative": None, **defaults, **given}


def get_account(engine: Engine, account_id: str, caller: Caller) -> Account:
    """Raises Missing, also for another's account."""
    return find(engine, Account, account_id, caller)


def lock_account(engine: Engine, account_id: str) -> Account:
    """The account, held until the transaction ends. Whatever orders, pays, refunds, gives up or assigns seats for an account begins
    with it, so that no two such transactions wait for each other in a circle."""
    account = engine.db.lock(Account, account_id)
    assert account is not None
    return account


def update_account(engine: Engine, account_id: str, caller: Caller, version: int | None = None, **changes: Any) -> Account:
    """Change an account. A new country drops a VAT number of the old one.

    Raises Missing, PreconditionFailed, ValidationFailed, and TransitionInvalid for another currency once anything was ordered.
    """
    changes = check_fields(changes)
    with engine.db.transaction():
        account = find(engine, Account, account_id, caller, lock=True, version=version)
        if changes.get("currency", account.currency) != account.currency and account.ordered:
            raise TransitionInvalid(
                "The account has orders in {currency}: its currency can't change. Open another account for another currency.",
                pointer="/currency",
                currency=account.currency,
            )
        if account.tax_id and account.tax_id["country"] != issuer_of(changes.get("country", account.country)):
            changes["tax_id"] = None
        if changes:
            engine.db.update(account, version=account.version + 1, **changes)
    return account


def set_tax_id(engine: Engine, account_id: str, caller: Caller, tax_id: dict[str, Any], version: int | None = None) -> Account:
    """Keep a VAT number that was checked for the account; it counts from the next quote on. Raises Missing, PreconditionFailed,
    TaxIdRejected where the account has moved to another country meanwhile."""
    with engine.db.transaction():
        account = find(engine, Account, account_id, caller, lock=True, version=version)
        _check_country(tax_id["country"], account.country, "/value")
        engine.db.update(account, tax_id=tax_id, version=account.version + 1)
    return account


def seller_tax_id(engine: Engine) -> TaxId:
    """The seller's own VAT number, as registries and tax plugins want it."""
    seller = engine.settings["seller"]
    country, number = split_tax_id(seller["tax_id"], seller["country"])
    return TaxId(country, number, "valid")


@lru_cache
def split_tax_id(value: str, country: str) -> tuple[str, str]:
    """Country and number of a VAT number as written: "EL 094014201" is ("GR", "094014201"); no prefix: the account's country.

    Greece writes EL (Directive 2006/112/EC, art. 215).
    """
    compact = "".join(c for c in value.upper() if c.isalnum())
    prefix = "GR" if compact[:2] == "EL" else compact[:2]
    # XI is Northern Ireland, EU the non-Union scheme: prefixes that are no countries.
    if prefix in Locale("en").territories or prefix in ("XI", "EU"):
        return prefix, compact[2:]
    return country, compact


def check_tax_id(engine: Engine, value: str, country: str | None, pointer: str) -> dict[str, Any]:
    """What is known of a VAT number, as an account keeps it. Asks the registry: outside any transaction.

    country: the account's; None: the seller's. Raises TaxIdRejected for a number that can't be right or is another country's.
    """
    country = country or engine.settings["seller"]["country"]
    prefix, number = split_tax_id(value, country)
    _check_country(prefix, country, pointer)
    try:
        check = engine.plugins.first("validate_tax_id", country=prefix, number=number, requester=seller_tax_id(engine))
    except TaxIdRejected as error:
        error.errors = (FieldError(pointer, error.message),)
        raise
    found: dict[str, Any] = {"value": value, "country": prefix, "number": number, "status": "unverified", "name": None}
    found |= {"checked_at": None, "consultation_number": None, "source": ""}
    return found if check is None else found | to_json(check)


def issuer_of(country: str) -> str:
    """The country whose VAT numbers the businesses of `country` have."""
    return NUMBERS_OF.get(country, country)


def _check_country(theirs: str, ours: str, pointer: str) -> None:
    if theirs != issuer_of(ours):
        raise TaxIdRejected(
            "This number belongs to {theirs}, the account to {ours}. Give the number of the account's country, or change the country.",
            pointer=pointer,
            theirs=theirs,
            ours=ours,
        )


def check_fields(values: dict[str, Any]) -> dict[str, Any]:
    """The values, the language tag in CLDR's writing. Raises ValidationFailed for what no account or cart can have, with pointers."""
    rules: dict[str, tuple[Callable[[str], object], str]] = {
        "country": (_is_country, "write an ISO 3166-1 code such as ES"),
        "currency": (is_currency, "write an ISO 4217 code such as EUR"),
        "locale": (_locale, "write a language tag such as es or es-MX"),
        "time_zone": (_is_time_zone, "write an IANA name such as Europe/Madrid"),
        "kind": (lambda kind: kind in KINDS, "self_service or corporate"),
    }
    errors = tuple(
        FieldError(f"/{name}", Message(remedy)) for name, (fits, remedy) in rules.items() if name in values and not fits(values[name])
    )
    if errors:
        raise ValidationFailed("Some fields can't be right.", errors=errors)
    return values | {"locale": _locale(values["locale"])} if "locale" in values else values


def _is_country(code: str) -> bool:
    return len(code) == 2 and code.isalpha() and code in Locale("en").territories and code not in NO_COUNTRIES


def _locale(tag: str) -> str | None:
    """The tag in CLDR's writing: es-MX for ES-mx. None for one that means nothing."""
    try:
        return str(Locale.parse(tag, sep="-")).replace("_", "-")
    except (UnknownLocaleError, ValueError):
        return None


def _is_time_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


# --- users


def add_user(engine: Engine, account_id: str, caller: Caller, *, email: str, name: str, role: str = "member") -> User:
    """A new user of the account. Raises EmailTaken where the account has one with this address."""
    find(engine, Account, account_id, caller)
    user = User(id=new_id("usr"), account=account_id, email=email, name=name, role=role, version=1, created_at=engine.clock.now())
    with engine.db.transaction(), _unique_address():
        engine.db.insert(user)
    return user


def update_user(engine: Engine, account_id: str, user_id: str, caller: Caller, version: int | None = None, **changes: Any) -> User:
    """Change a user; tokens of a role that changes end at once. Raises Missing, PreconditionFailed, EmailTaken."""
    with engine.db.transaction(), _unique_address():
        user = find_user(engine, account_id, user_id, caller, version)
        if changes.get("role", user.role) != user.role:
            revoke_tokens(engine, user.id)
        if changes:
            engine.db.update(user, version=user.version + 1, **changes)
    return user


@contextmanager
def _unique_address() -> Iterator[None]:
    try:
        yield
    except peewee.IntegrityError:
        raise EmailTaken("The account has a user with this e-mail address already.", pointer="/email") from None


def find_user(engine: Engine, account_id: str, user_id: str, caller: Caller, version: int | None = None) -> User:
    """Raises Missing, also for a user of another account, and PreconditionFailed."""
    find(engine, Account, account_id, caller)
    user = find(engine, User, user_id, caller, version=version)
    if user.account != account_id:
        raise missing("user", user_id)
    return user


def make_token(engine: Engine, account_id: str, user_id: str, caller: Caller) -> tuple[str, datetime]:
    """A token of a user, as `core.access.create_token` makes it; one who leaves meanwhile has none. Raises Missing."""
    with engine.db.transaction():
        user = find_user(engine, account_id, user_id, caller)
        return create_token(engine, account_id, user.id, user.role)


def account_document(account: Account) -> dict[str, Any]:
    """The account as the API, events and messages show it."""
    names = ("id", "name", "email", "kind", "country", "address", "currency", "locale", "time_zone", "representative", "created_at")
    return {name: to_json(getattr(account, name)) for name in names} | {"tax_id": tax_id_document(account.tax_id)}


def tax_id_document(tax_id: dict[str, Any] | None) -> dict[str, Any] | None:
    names = ("value", "country", "status", "checked_at", "consultation_number")
    return None if tax_id is None else {name: tax_id[name] for name in names}


def user_document(user: User) -> dict[str, Any]:
    return {"id": user.id, "email": user.email, "name": user.name, "role": user.role}
