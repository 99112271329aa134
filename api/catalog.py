"""The catalog. No key is needed."""

from __future__ import annotations

from marshmallow import Schema, fields

from api.http import Blueprint, engine
from api.languages import locale
from api.schemas import MoneyOut
from core.catalog import get_product, list_products

blueprint = Blueprint("catalog", __name__, url_prefix="/v1/products", description="What can be bought")


class TierOut(Schema):
    up_to = fields.Integer(required=True, allow_none=True)
    unit_amount = fields.Nested(MoneyOut, required=True)


class PriceOut(Schema):
    interval = fields.String(required=True)
    currency = fields.String(required=True)
    model = fields.String(required=True)
    unit_amount = fields.Nested(MoneyOut)
    flat_amount = fields.Nested(MoneyOut)
    included_seats = fields.Integer()
    tiers = fields.List(fields.Nested(TierOut))


class SeatRuleOut(Schema):
    min = fields.Integer(required=True)
    max = fields.Integer(required=True, allow_none=True)
    step = fields.Integer(required=True)


class TrialOut(Schema):
    days = fields.Integer(required=True)
    seats = fields.Integer(required=True)
    requires_payment_method = fields.Boolean(required=True)


class PlanOut(Schema):
    id = fields.String(required=True)
    name = fields.String(required=True)
    tier = fields.Integer(required=True)
    features = fields.List(fields.String(), required=True)
    seats = fields.Nested(SeatRuleOut, required=True)
    trial = fields.Nested(TrialOut, required=True, allow_none=True)
    prices = fields.List(fields.Nested(PriceOut), required=True)


class ProductOut(Schema):
    id = fields.String(required=True)
    name = fields.String(required=True)
    description = fields.String(required=True)
    plans = fields.List(fields.Nested(PlanOut), required=True)


class ProductListOut(Schema):
    data = fields.List(fields.Nested(ProductOut), required=True)
    next_cursor = fields.String(required=True, allow_none=True)


@blueprint.get("")
@blueprint.response(200, ProductListOut)
def get_products():
    """List every product with its plans and prices; names follow Accept-Language."""
    return {"data": list_products(engine(), locale()), "next_cursor": None}


@blueprint.get("/<product_id>")
@blueprint.response(200, ProductOut)
def get_one_product(product_id):
    """Read one product."""
    return get_product(engine(), product_id, locale())
