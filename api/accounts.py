"""Accounts, their users, VAT number, stored payment methods and tokens."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from api.auth import needs
from api.http import Blueprint, caller, engine, guarded, keyed, listed, store_once, tag
from api.schemas import ID, NAME, Address, Amount, Answer, Choice, Instant, PageQuery, Representative, TaxIdOut, paged
from core import accounts, balance, payment_methods, seats
from core.engine.values import to_json
from core.errors import Forbidden
from core.rules.money import Money

blueprint = Blueprint("accounts", __name__, url_prefix="/v1/accounts", description="Customer organisations and their users")
EMAIL = validate.Length(max=254)


class AccountChanges(Schema):
    """Body of PATCH /v1/accounts/{account}."""

    name = fields.String(validate=NAME)
    email = fields.Email(validate=EMAIL)
    kind = fields.String(validate=validate.OneOf(accounts.KINDS))
    country = fields.String(validate=validate.Length(equal=2))
    address = fields.Nested(Address, allow_none=True)
    currency = fields.String(validate=validate.Length(equal=3))
    locale = fields.String(validate=validate.Length(2, 16))
    time_zone = fields.String(validate=validate.Length(1, 64))
    representative = fields.Nested(Representative, allow_none=True)


class NewAccount(AccountChanges):
    """Body of POST /v1/accounts. What is left out takes the seller's country, currency and time zone, and English."""

    name = fields.String(required=True, validate=NAME)
    email = fields.Email(required=True, validate=EMAIL)
    tax_id = fields.String(validate=validate.Length(4, 32))


class AccountOut(Answer):
    id = fields.String(required=True)
    name = fields.String(required=True)
    email = fields.String(required=True)
    kind = Choice(*accounts.KINDS)
    country = fields.String(required=True)
    address = fields.Nested(Address, required=True, allow_none=True)
    currency = fields.String(required=True)
    locale = fields.String(required=True)
    time_zone = fields.String(required=True)
    representative = fields.Nested(Representative, required=True, allow_none=True)
    tax_id = fields.Nested(TaxIdOut, required=True, allow_none=True)
    created_at = Instant()


class BalanceEntryOut(Answer):
    """A movement of the balance; `balance`: what it was then."""

    id = fields.String(required=True)
    kind = Choice(*balance.KINDS)
    cause = fields.String(required=True, metadata={"description": "id of the order, credit note or refund"})
    amount = Amount("negative where credit went")
    balance = Amount()
    created_at = Instant()


class BalanceOut(paged(BalanceEntryOut)):  # type: ignore[misc]
    balance = Amount("the credit that the next order uses up: the sum of all entries")


class TaxIdValue(Schema):
    """Body of PUT /v1/accounts/{account}/tax-id."""

    value = fields.String(required=True, validate=validate.Length(4, 32))


class NewUser(Schema):
    """Body of POST /v1/accounts/{account}/users."""

    email = fields.Email(required=True, validate=EMAIL)
    name = fields.String(required=True, validate=NAME)
    role = fields.String(load_default="member", validate=validate.OneOf(accounts.ROLES))


class UserChanges(Schema):
    """Body of PATCH /v1/accounts/{account}/users/{user}."""

    email = fields.Email(validate=EMAIL)
    name = fields.String(validate=NAME)
    role = fields.String(validate=validate.OneOf(accounts.ROLES))


class UserOut(Answer):
    id = fields.String(required=True)
    email = fields.String(required=True)
    name = fields.String(required=True)
    role = Choice(*accounts.ROLES)


class NewMethod(Schema):
    """Body of POST /v1/accounts/{account}/payment-methods: what the provider's own form gave the client."""

    provider = fields.String(required=True, validate=ID)
    token = fields.String(required=True, validate=validate.Length(1, 500))


class MethodChanges(Schema):
    """Body of PATCH /v1/accounts/{account}/payment-methods/{method}. Another method takes the default away, and nothing else does."""

    default = fields.Boolean(truthy={True}, falsy={False}, validate=validate.OneOf([True]))


class MethodOut(Answer):
    id = fields.String(required=True)
    provider = fields.String(required=True)
    brand = fields.String(required=True)
    last4 = fields.String(required=True)
    expires = fields.String(required=True, allow_none=True, metadata={"description": "YYYY-MM"})
    default = fields.Boolean(required=True)


class NewToken(Schema):
    """Body of POST /v1/accounts/{account}/tokens."""

    user = fields.String(required=True, validate=ID)


class TokenOut(Answer):
    token = fields.String(required=True)
    expires_at = Instant()


@blueprint.post("")
@needs("accounts")
@blueprint.arguments(NewAccount, example={"name": "Acme, S.L.", "email": "ana@acme.example", "country": "ES", "locale": "es"})
@blueprint.response(201, AccountOut)
@keyed(whole=False)
def create_account(body):
    """Open an account."""
    _back_end_only()
    value = body.pop("tax_id", None)
    return store_once(
        lambda tax_id: _shown(accounts.create_account(engine(), tax_id, **body), 201),
        prepare=lambda: accounts.check_tax_id(engine(), value, body.get("country"), "/tax_id") if value else None,
    )


@blueprint.get("/<account_id>")
@needs("accounts")
@blueprint.response(200, AccountOut)
def get_account(account_id):
    """Read an account."""
    return _shown(accounts.get_account(engine(), account_id, caller()))


@blueprint.patch("/<account_id>")
@needs("accounts")
@blueprint.arguments(AccountChanges)
@blueprint.response(200, AccountOut)
@guarded
def change_account(body, account_id, version):
    """Change an account.

    Its kind and representative are the seller's business: they take a back end's key.
    """
    if {"kind", "representative"} & set(body):
        _back_end_only()
    return _shown(accounts.update_account(engine(), account_id, caller(), version, **body))


@blueprint.put("/<account_id>/tax-id")
@needs("accounts")
@blueprint.arguments(TaxIdValue)
@blueprint.response(200, TaxIdOut)
@guarded
def put_tax_id(body, account_id, version):
    """Give the VAT number of an account.

    It is checked at once, and counts from the next quote on.
    """
    account = accounts.get_account(engine(), account_id, caller())
    tax_id = accounts.check_tax_id(engine(), body["value"], account.country, "/value")
    account = accounts.set_tax_id(engine(), account_id, caller(), tax_id, version)
    return accounts.tax_id_document(account.tax_id), 200, tag(account.version)


@blueprint.post("/<account_id>/users")
@needs("accounts")
@blueprint.arguments(NewUser)
@blueprint.response(201, UserOut)
@keyed()
def add_user(body, account_id):
    """Add a user to an account."""
    return _user_shown(accounts.add_user(engine(), account_id, caller(), **body), 201)


@blueprint.get("/<account_id>/users")
@needs("accounts")
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, paged(UserOut))
def list_users(query, account_id):
    """List the users of an account, the newest first."""
    account = accounts.get_account(engine(), account_id, caller())
    return listed(accounts.User, {**query, "account": account.id}, accounts.user_document)


@blueprint.get("/<account_id>/users/<user_id>")
@needs("accounts")
@blueprint.response(200, UserOut)
def get_user(account_id, user_id):
    """Read a user."""
    return _user_shown(accounts.find_user(engine(), account_id, user_id, caller()))


@blueprint.patch("/<account_id>/users/<user_id>")
@needs("accounts")
@blueprint.arguments(UserChanges)
@blueprint.response(200, UserOut)
@guarded
def change_user(body, account_id, user_id, version):
    """Change a user."""
    return _user_shown(accounts.update_user(engine(), account_id, user_id, caller(), version, **body))


@blueprint.delete("/<account_id>/users/<user_id>")
@needs("accounts")
@blueprint.response(204)
@guarded
def remove_user(account_id, user_id, version):
    """Remove a user; their seats are free again."""
    seats.remove_user(engine(), account_id, user_id, caller(), version)


@blueprint.get("/<account_id>/balance")
@needs("billing")
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, BalanceOut)
def read_balance(query, account_id):
    """Read the credit of an account, and where it comes from, the newest entry first."""
    account = accounts.get_account(engine(), account_id, caller())
    entries = listed(balance.BalanceEntry, {**query, "account": account.id}, balance.entry_document)
    return {"balance": to_json(Money(account.balance, account.currency)), **entries}


@blueprint.post("/<account_id>/payment-methods")
@needs("billing")
@blueprint.arguments(NewMethod)
@blueprint.response(201, MethodOut)
@keyed(whole=False)
def add_payment_method(body, account_id):
    """Store a payment method for later. It becomes the default."""
    provider, token = body["provider"], body["token"]
    return store_once(
        lambda saved: _method_shown(payment_methods.add_method(engine(), account_id, caller(), provider, saved), 201),
        prepare=lambda: payment_methods.save_at_provider(engine(), account_id, caller(), provider, token),
    )


@blueprint.get("/<account_id>/payment-methods")
@needs("billing")
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, paged(MethodOut))
def list_payment_methods(query, account_id):
    """List the stored payment methods of an account, the newest first."""
    account, method = accounts.get_account(engine(), account_id, caller()), payment_methods.PaymentMethod
    return listed(method, {**query, "account": account.id}, payment_methods.method_document, method.deleted_at.is_null())


@blueprint.get("/<account_id>/payment-methods/<method_id>")
@needs("billing")
@blueprint.response(200, MethodOut)
def get_payment_method(account_id, method_id):
    """Read a stored payment method."""
    return _method_found(account_id, method_id)


@blueprint.patch("/<account_id>/payment-methods/<method_id>")
@needs("billing")
@blueprint.arguments(MethodChanges)
@blueprint.response(200, MethodOut)
def change_payment_method(body, account_id, method_id):
    """Make a stored payment method the default, which renewals are charged to.

    What is past due is tried again with it at once.
    """
    if not body:
        return _method_found(account_id, method_id)
    return _method_shown(payment_methods.choose_default(engine(), account_id, method_id, caller()))


@blueprint.delete("/<account_id>/payment-methods/<method_id>")
@needs("billing")
@blueprint.response(204)
def delete_payment_method(account_id, method_id):
    """Forget a stored payment method, here and at its provider."""
    payment_methods.delete_method(engine(), account_id, method_id, caller())


@blueprint.post("/<account_id>/tokens")
@needs("accounts")
@blueprint.arguments(NewToken)
@blueprint.response(201, TokenOut)
def create_token(body, account_id):
    """Make a short-lived token for a user of the account.

    A billing contact may buy with it, a member only look. An Idempotency-Key is ignored: a token is told once, and stored nowhere
    in the clear.
    """
    _back_end_only()
    token, expires_at = accounts.make_token(engine(), account_id, body["user"], caller())
    return {"token": token, "expires_at": to_json(expires_at)}


def _shown(account: accounts.Account, status: int = 200) -> tuple[dict[str, Any], int, dict[str, str]]:
    return accounts.account_document(account), status, {**_at(f"/v1/accounts/{account.id}", status), **tag(account.version)}


def _user_shown(user: accounts.User, status: int = 200) -> tuple[dict[str, Any], int, dict[str, str]]:
    return accounts.user_document(user), status, {**_at(f"/v1/accounts/{user.account}/users/{user.id}", status), **tag(user.version)}


def _method_found(account_id: str, method_id: str) -> tuple[dict[str, Any], int, dict[str, str]]:
    account = accounts.get_account(engine(), account_id, caller())
    return _method_shown(payment_methods.find_method(engine(), method_id, account.id))


def _method_shown(method: payment_methods.PaymentMethod, status: int = 200) -> tuple[dict[str, Any], int, dict[str, str]]:
    path = f"/v1/accounts/{method.account}/payment-methods/{method.id}"
    return payment_methods.method_document(method), status, _at(path, status)


def _at(path: str, status: int) -> dict[str, str]:
    return {"Location": path} if status == 201 else {}


def _back_end_only() -> None:
    if caller().account is not None:
        raise Forbidden("This needs a secret key of a back end; an account token can't do it.")
