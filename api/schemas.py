"""Schemas that several resources share. Each resource's own stand beside its routes."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from api.languages import translate
from core.errors import Message

INTERVAL = validate.OneOf(["month", "year"])
ID = validate.Length(1, 64)


def Instant(**options: Any) -> fields.String:
    """RFC 3339 in UTC, as documents have it already."""
    return fields.String(required=True, metadata={"format": "date-time"}, **options)


def Day(**options: Any) -> fields.String:
    """A calendar day, YYYY-MM-DD."""
    return fields.String(required=True, metadata={"format": "date"}, **options)


class MoneyOut(Schema):
    """An amount in minor units of an ISO 4217 currency."""

    amount = fields.Integer(required=True)
    currency = fields.String(required=True)


class PeriodOut(Schema):
    """Billing days from `start` to the day before `end`."""

    start = Day()
    end = Day()


class TaxPartOut(Schema):
    rate = fields.String(required=True, metadata={"description": "percent"})
    amount = fields.Nested(MoneyOut, required=True)
    category = fields.String(required=True)
    reason = fields.String(required=True)


class NextChargeOut(Schema):
    date = Day()
    amount = fields.Nested(MoneyOut, required=True, metadata={"description": "tax included"})


class DerivationOut(Schema):
    """How an amount came about."""

    rule = fields.String(required=True)
    amount = fields.Nested(MoneyOut, required=True)
    formula = fields.String(required=True)
    days = fields.Integer(required=True, allow_none=True)
    denominator = fields.Integer(required=True, allow_none=True)
    unrounded = fields.String(required=True, metadata={"description": "minor units, a fraction where it is no whole number"})
    rounding = fields.String(required=True)


class PricedLineOut(Schema):
    """A line of a quote or an order."""

    id = fields.String(required=True)
    mode = fields.String(required=True)
    product = fields.String(required=True)
    product_name = fields.String(required=True)
    plan = fields.String(required=True)
    plan_name = fields.String(required=True)
    interval = fields.String(required=True)
    seats = fields.Integer(required=True)
    subscription = fields.String(required=True, allow_none=True)
    period = fields.Nested(PeriodOut, required=True, allow_none=True)
    unit_amount = fields.Nested(MoneyOut, required=True, allow_none=True)
    subtotal = fields.Nested(MoneyOut, required=True)
    discount = fields.Nested(MoneyOut, required=True)
    credit = fields.Nested(MoneyOut, required=True)
    net = fields.Nested(MoneyOut, required=True)
    tax = fields.Nested(MoneyOut, required=True)
    total = fields.Nested(MoneyOut, required=True)
    taxes = fields.List(fields.Nested(TaxPartOut), required=True)
    next_charge = fields.Nested(NextChargeOut, required=True, allow_none=True)
    explanation = fields.List(fields.Nested(DerivationOut), required=True)


class WarningOut(Schema):
    """What is no error, but worth knowing."""

    code = fields.String(required=True)
    pointer = fields.String(required=True)
    detail = fields.Function(lambda warning: translate(Message(**warning["message"])), required=True, metadata={"type": "string"})


class ActionOut(Schema):
    """The buyer's next step: send them to `url`."""

    type = fields.String(required=True)
    url = fields.String(required=True)


class QuoteOut(Schema):
    """The review of a cart."""

    lines = fields.List(fields.Nested(PricedLineOut), required=True)
    net = fields.Nested(MoneyOut, required=True)
    tax = fields.Nested(MoneyOut, required=True)
    total = fields.Nested(MoneyOut, required=True)
    credit_used = fields.Nested(MoneyOut, required=True)
    due_now = fields.Nested(MoneyOut, required=True)
    credit_left = fields.Nested(MoneyOut, required=True)
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
