"""Schemas that several resources share. Each resource's own stand beside its routes."""

from __future__ import annotations

from typing import Any

from babel.numbers import is_currency
from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from core.carts import MODES
from core.quote_lines import FINAL, RENEWAL

INTERVALS = ("month", "year")
TAX_CATEGORIES = ("standard", "reverse_charge", "exempt", "out_of_scope")
ID = validate.Length(1, 64)
NAME = validate.Length(1, 200)


class Answer(Schema):
    """What is sent out, as a view returns it. It may gain members: whoever reads it passes over those that they don't know."""

    class Meta:
        unknown = EXCLUDE


def Choice(*values: str, **options: Any) -> fields.String:
    """One of a closed list of codes."""
    return fields.String(required=True, validate=validate.OneOf(values), **options)


def Instant(**options: Any) -> fields.String:
    """RFC 3339 in UTC, as documents have it already."""
    return fields.String(required=True, metadata={"format": "date-time"}, **options)


def Day(**options: Any) -> fields.String:
    """A calendar day, YYYY-MM-DD."""
    return fields.String(required=True, metadata={"format": "date"}, **options)


def Amount(description: str = "", **options: Any) -> fields.Nested:
    """Money; `description` says what it is for."""
    return fields.Nested(MoneyOut, required=True, metadata={"description": description} if description else {}, **options)


def check_currency(code: str) -> None:
    if not is_currency(code):
        raise ValidationError("write an ISO 4217 code such as EUR")


class MoneyOut(Answer):
    """An amount in minor units of an ISO 4217 currency."""

    amount = fields.Integer(required=True)
    currency = fields.String(required=True)


class PeriodOut(Answer):
    """Billing days from `start` to the day before `end`."""

    start = Day()
    end = Day()


class TaxPartOut(Answer):
    """The tax of a line at one rate, for one reason."""

    rate = fields.String(required=True, metadata={"description": "percent"})
    amount = Amount()
    category = Choice(*TAX_CATEGORIES)
    reason = fields.String(required=True, metadata={"description": "a code of the tax plugin"})


class NextChargeOut(Answer):
    date = Day()
    amount = Amount("tax included")


class DerivationOut(Answer):
    """How an amount came about."""

    rule = fields.String(required=True)
    amount = Amount()
    formula = fields.String(required=True)
    days = fields.Integer(required=True, allow_none=True)
    denominator = fields.Integer(required=True, allow_none=True)
    unrounded = fields.String(required=True, metadata={"description": "minor units, a fraction where it is no whole number"})
    rounding = fields.String(required=True)


class TotalsOut(Answer):
    """Net and tax make the total; what credit leaves of it is due now."""

    net = Amount()
    tax = Amount()
    total = Amount()
    credit_used = Amount("credit of the account that pays a part")
    due_now = Amount()
    credit_left = Amount("credit that stays on the account")


class PricedLineOut(Answer):
    """A line of a quote or an order."""

    id = fields.String(required=True)
    mode = Choice(*MODES, RENEWAL, FINAL)
    product = fields.String(required=True)
    product_name = fields.String(required=True)
    plan = fields.String(required=True)
    plan_name = fields.String(required=True)
    interval = Choice(*INTERVALS)
    seats = fields.Integer(required=True)
    subscription = fields.String(required=True, allow_none=True)
    period = fields.Nested(PeriodOut, required=True)
    unit_amount = Amount("the price of a seat, where all seats cost the same", allow_none=True)
    subtotal = Amount()
    discount = Amount()
    credit = Amount("for the unused rest of what is changed")
    net = Amount()
    tax = Amount()
    total = Amount()
    taxes = fields.List(fields.Nested(TaxPartOut), required=True)
    put_off = Amount("what goes on the next invoice, tax included; below zero where more is given back than charged")
    next_charge = fields.Nested(NextChargeOut, required=True, allow_none=True)
    explanation = fields.List(fields.Nested(DerivationOut), required=True)


class WarningOut(Answer):
    """What is no error, but worth knowing."""

    code = fields.String(required=True)
    pointer = fields.String(required=True)
    detail = fields.String(required=True)


class ActionOut(Answer):
    """The buyer's next step. `redirect`: send them to `url`; `client_sdk`: hand `data` to the provider's script, then confirm the order;
    `display`: show `data`, such as the account to send money to."""

    type = Choice("redirect", "client_sdk", "display")
    url = fields.String(required=True, allow_none=True)
    data = fields.Dict(required=True)
    expires_at = Instant(allow_none=True)


class Address(Schema):
    line1 = fields.String(validate=validate.Length(max=200))
    line2 = fields.String(validate=validate.Length(max=200))
    city = fields.String(validate=validate.Length(max=100))
    region = fields.String(validate=validate.Length(max=100))
    postcode = fields.String(validate=validate.Length(max=16))


class Representative(Schema):
    """Who places the orders of a corporate account, and where."""

    name = fields.String(validate=NAME)
    email = fields.Email()
    phone = fields.String(validate=validate.Length(max=40))
    portal = fields.Url(require_tld=False)


class TaxIdOut(Answer):
    value = fields.String(required=True, metadata={"description": "as it was given"})
    country = fields.String(required=True)
    status = Choice("valid", "invalid", "unverified")
    checked_at = Instant(allow_none=True)
    consultation_number = fields.String(required=True, allow_none=True, metadata={"description": "the registry's proof, if it gave one"})


class QuoteOut(TotalsOut):
    """The review of a cart."""

    lines = fields.List(fields.Nested(PricedLineOut), required=True)
    payment_required = fields.Boolean(required=True)
    payment_providers = fields.List(fields.String(), required=True)
    warnings = fields.List(fields.Nested(WarningOut), required=True)
    quote = fields.String(required=True, metadata={"description": "the seal to hand back at checkout"})
    expires_at = Instant()


class PageQuery(Schema):
    """Which part of a list. `cursor` is what the page before called next_cursor."""

    limit = fields.Integer(load_default=25, validate=validate.Range(1, 100))
    cursor = fields.String(load_default=None, validate=ID)


class AccountPageQuery(PageQuery):
    """A back end may narrow a list to one account."""

    account = fields.String(load_default=None, validate=ID)


def paged(schema: type[Schema]) -> type[Schema]:
    """The schema of a list of `schema`."""
    members: dict[str, fields.Field[Any]] = {
        "data": fields.List(fields.Nested(schema), required=True),
        "next_cursor": fields.String(required=True, allow_none=True),
    }
    return Answer.from_dict(members, name=f"{schema.__name__.removesuffix('Out')}List")
