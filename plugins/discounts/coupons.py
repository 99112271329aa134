"""Coupons: codes in the settings that take a part off what is bought with them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from puesto import Discount, DiscountedLine, Money, PluginContext, hookimpl


class CouponSettings(Schema):
    """One code: `percent`, or `amount` in minor units of `currency`, off each period.

    periods:  for how many, from the first on; without it, as long as the subscription runs.
    products: ids of the products that it is good for; without it, all.
    until:    the last day on which it can be used.
    """

    percent = fields.Decimal(load_default=None, validate=validate.Range(0, 100, min_inclusive=False))
    amount = fields.Integer(load_default=None, strict=True, validate=validate.Range(1))
    currency = fields.String(load_default=None, validate=validate.Length(equal=3))
    periods = fields.Integer(load_default=None, strict=True, validate=validate.Range(1, 1200))
    products = fields.List(fields.String(), load_default=None)
    until = fields.Date(load_default=None)

    @validates_schema
    def _check(self, data: Mapping[str, Any], **kwargs: Any) -> None:
        if (data["percent"] is None) == (data["amount"] is None):
            raise ValidationError("give either percent or amount", "percent")
        if (data["amount"] is None) != (data["currency"] is None):
            raise ValidationError("amount and currency go together", "currency")


class CouponsSettings(Schema):
    """codes: what each takes off. Case makes no difference."""

    codes = fields.Dict(keys=fields.String(validate=validate.Length(1, 64)), values=fields.Nested(CouponSettings), load_default=dict)


class Coupons:
    settings_schema = CouponsSettings

    def __init__(self, context: PluginContext) -> None:
        self._codes: dict[str, dict[str, Any]] = {code.upper(): coupon for code, coupon in context.settings["codes"].items()}

    @hookimpl
    def discount_line(self, coupon: str, line: DiscountedLine, on: date) -> Discount | None:
        known = self._codes.get(coupon.strip().upper())
        if known is None or not _holds(known, line, on):
            return None
        percent: Decimal | None = known["percent"]
        amount = Money(known["amount"], known["currency"]) if percent is None else None
        return Discount(coupon.strip().upper(), percent, amount, known["periods"])


def _holds(coupon: Mapping[str, Any], line: DiscountedLine, on: date) -> bool:
    in_time = coupon["until"] is None or on <= coupon["until"]
    of_these = coupon["products"] is None or line.product in coupon["products"]
    return in_time and of_these and coupon["currency"] in (None, line.amount.currency)
