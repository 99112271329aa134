"""Accounts, their users, VAT number, stored payment methods and tokens."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from api.auth import needs
from api.http import Blueprint, caller, engine, expected_version, keyed, paged, store_once, tag
from api.schemas import ID, Instant, PageQuery
from core import accounts, payment_methods, seats
from core.access import create_token, page
from core.engine.values import to_json
from core.errors import Forbidden

blueprint = Blueprint("accounts", __name__, url_prefix="/v1/accounts", description="Customer organisations and their users")
NAME = validate.Length(1, 200)


class AddressSchema(Schema):
    line1 = fields.String(validate=validate.Length(max=200))
    line2 = fields.String(validate=validate.Length(max=200))
    city = fields.String(validate=validate.Length(max=100))
    region = fields.String(validate=validate.Length(max=100))
    postcode = fields.String(validate=validate.Length(max=16))


class RepresentativeSchema(Schema):
    """Who places the orders of a corporate account, and where."""

    name = fields.String(validate=NAME)
    email = fields.Email()
    phone = fields.String(validate=validate.Length(max=40))
    portal = fields.Url(require_tld=False)


class AccountChanges(Schema):
    """Body of PATCH /v1/accounts/{account}."""

    name = fields.String(validate=NAME)
    email = fields.Email(validate=validate.Length(max=254))
    kind = fields.String(validate=validate.OneOf(accounts.KINDS))
    country = fields.String(validate=validate.Length(equal=2))
    address = fields.Nested(AddressSchema, allow_none=True)
    currency = fields.String(validate=validate.Length(equal=3))
    locale = fields.String(validate=validate.Length(2, 16))
    time_zone = fields.String(validate=validate.Length(1, 64))
    representative = fields.Nested(RepresentativeSchema, allow_none=True)


class NewAccount(AccountChanges):
    """Body of POST /v1/accounts. What is left out takes the seller's country, currency and time zone, and English."""

    name = fields.String(required=True, validate=NAME)
    email = fields.Email(required=True, validate=validate.Length(max=254))
    tax_id = fields.String(validate=validate.Length(4, 32))


class TaxIdOut(Schema):
    value = fields.String(required=True)
    country = fields.String(required=True)
    status = fields.String(required=True, metadata={"description": "valid, invalid or unverified"})
    checked_at = Instant(allow_none=True)
    consultation_number = fields.String(required=True, allow_none=True)


class AccountOut(Schema):
    id = fields.String(required=True)
    name = fields.String(required=True)
    email = fields.String(required=True)
    kind = fields.String(required=True)
    country = fields.String(required=True)
    address = fields.Dict(required=True, allow_none=True)
    currency = fields.String(required=True)
    locale = fields.String(required=True)
    time_zone = fields.String(required=True)
    representative = fields.Dict(required=True, allow_none=True)
    tax_id = fields.Nested(TaxIdOut, required=True, allow_none=True)
    created_at = Instant()


class TaxIdValue(Schema):
    """Body of PUT /v1/accounts/{account}/tax-id."""

    value = fields.String(required=True, validate=validate.Length(4, 32))


class NewUser(Schema):
    """Body of POST /v1/accounts/{account}/users."""

    email = fields.Email(required=True, validate=validate.Length(max=254))
    name = fields.String(required=True, validate=NAME)
    role = fields.String(load_default="member", validate=validate.OneOf(accounts.ROLES))


class UserChanges(Schema):
    """Body of PATCH /v1/accounts/{account}/users/{user}."""

    email = fields.Email(validate=validate.Length(max=254))
    name = fields.String(validate=NAME)
    role = fields.String(validate=validate.OneOf(accounts.ROLES))


class UserOut(Schema):
    id = fields.String(required=True)
    email = fields.String(required=True)
    name = fields.String(required=True)
    role = fields.String(required=True)


class NewMethod(Schema):
    """Body of POST /v1/accounts/{account}/payment-methods: what the provider's own form gave the client."""

    provider = fields.String(required=True, validate=ID)
    token = fields.String(required=True, validate=validate.Length(1, 500))


class MethodOut(Schema):
    id = fields.String(required=True)
    provider = fields.String(required=True)
    brand = fields.String(required=True)
    last4 = fields.String(required=True)
    expires = fields.String(required=True, allow_none=True)
    default = fields.Boolean(required=True)


class NewToken(Schema):
    """Body of POST /v1/accounts/{account}/tokens."""

    user = fields.String(required=True, validate=ID)


class TokenOut(Schema):
    token = fields.String(required=True)
    expires_at = Instant()


@blueprint.post("")
@needs("accounts")
@blueprint.arguments(NewAccount)
@blueprint.response(201, AccountOut)
@keyed(whole=False)
def create_account(body):
    """Open an account."""
    _back_end_only()
    value = body.pop("tax_id", None)
    tax_id = accounts.check_tax_id(engine(), value, body.get("country"), "/tax_id") if value else None
    return store_once(lambda: _shown(accounts.create_account(engine(), tax_id, **body), 201))


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
def change_account(body, account_id):
    """Change an account. Its kind and representative are the seller's business: a back end's key is needed for them."""
    if {"kind", "representative"} & set(body):
        _back_end_only()
    return _shown(accounts.update_account(engine(), account_id, caller(), expected_version(), **body))


@blueprint.put("/<account_id>/tax-id")
@needs("accounts")
@blueprint.arguments(TaxIdValue)
@blueprint.response(200, TaxIdOut)
def put_tax_id(body, account_id):
    """Give the VAT number. It is checked at once, and counts from the next quote on."""
    account = accounts.get_account(engine(), account_id, caller())
    tax_id = accounts.check_tax_id(engine(), body["value"], account.country, "/value")
    account = accounts.set_tax_id(engine(), account_id, caller(), tax_id, expected_version())
    return accounts.tax_id_document(account.tax_id), 200, tag(account.version)


@blueprint.post("/<account_id>/users")
@needs("accounts")
@blueprint.arguments(NewUser)
@blueprint.response(201, UserOut)
@keyed()
def add_user(body, account_id):
    """Add a user."""
    return _user_shown(accounts.add_user(engine(), account_id, caller(), **body), 201)


@blueprint.get("/<account_id>/users")
@needs("accounts")
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, paged(UserOut))
def list_users(query, account_id):
    """List the users of an account, the newest first."""
    account = accounts.get_account(engine(), account_id, caller())
    rows, cursor = page(engine(), accounts.User, caller(), account=account.id, **query)
    return {"data": [accounts.user_document(row) for row in rows], "next_cursor": cursor}


@blueprint.patch("/<account_id>/users/<user_id>")
@needs("accounts")
@blueprint.arguments(UserChanges)
@blueprint.response(200, UserOut)
def change_user(body, account_id, user_id):
    """Change a user."""
    return _user_shown(accounts.update_user(engine(), account_id, user_id, caller(), expected_version(), **body))


@blueprint.delete("/<account_id>/users/<user_id>")
@needs("accounts")
@blueprint.response(204)
def remove_user(account_id, user_id):
    """Remove a user; their seats are free again."""
    seats.remove_user(engine(), account_id, user_id, caller(), expected_version())


@blueprint.post("/<account_id>/payment-methods")
@needs("billing")
@blueprint.arguments(NewMethod)
@blueprint.response(201, MethodOut)
@keyed(whole=False)
def add_method(body, account_id):
    """Store a payment method for later. It becomes the default."""
    saved = payment_methods.save_at_provider(engine(), account_id, caller(), body["provider"], body["token"])
    return store_once(lambda: _method_shown(payment_methods.add_method(engine(), account_id, caller(), body["provider"], saved)))


@blueprint.get("/<account_id>/payment-methods")
@needs("billing")
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, paged(MethodOut))
def list_methods(query, account_id):
    """List the stored payment methods of an account, the newest first."""
    account, method = accounts.get_account(engine(), account_id, caller()), payment_methods.PaymentMethod
    rows, cursor = page(engine(), method, caller(), method.deleted_at.is_null(), account=account.id, **query)
    return {"data": [payment_methods.method_document(row) for row in rows], "next_cursor": cursor}


@blueprint.delete("/<account_id>/payment-methods/<method_id>")
@needs("billing")
@blueprint.response(204)
def delete_method(account_id, method_id):
    """Forget a stored payment method, here and at its provider."""
    payment_methods.delete_method(engine(), account_id, method_id, caller())


@blueprint.post("/<account_id>/tokens")
@needs("accounts")
@blueprint.arguments(NewToken)
@blueprint.response(201, TokenOut)
def add_token(body, account_id):
    """Make a short-lived token for a user of the account. A billing contact may buy with it, a member only look.

    An Idempotency-Key is ignored: a token is told once, and stored nowhere in the clear.
    """
    _back_end_only()
    user = accounts.find_user(engine(), account_id, body["user"], caller())
    token, expires_at = create_token(engine(), account_id, user.id, user.role)
    return {"token": token, "expires_at": to_json(expires_at)}


def _shown(account: accounts.Account, status: int = 200) -> tuple[dict[str, Any], int, dict[str, str]]:
    return accounts.account_document(account), status, {**_at(f"/v1/accounts/{account.id}", status), **tag(account.version)}


def _user_shown(user: accounts.User, status: int = 200) -> tuple[dict[str, Any], int, dict[str, str]]:
    return accounts.user_document(user), status, {**_at(f"/v1/accounts/{user.account}/users/{user.id}", status), **tag(user.version)}


def _method_shown(method: payment_methods.PaymentMethod) -> tuple[dict[str, Any], int, dict[str, str]]:
    return payment_methods.method_document(method), 201, _at(f"/v1/accounts/{method.account}/payment-methods/{method.id}", 201)


def _at(path: str, status: int) -> dict[str, str]:
    return {"Location": path} if status == 201 else {}


def _back_end_only() -> None:
    if caller().account is not None:
        raise Forbidden("This needs a secret key of a back end; an account token can't do it.")
