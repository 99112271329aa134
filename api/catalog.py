"""The catalog. No key is needed."""

from __future__ import annotations

from marshmallow import fields

from api.http import Blueprint, engine
from api.kept import lasting
from api.languages import locale
from api.schemas import INTERVALS, Amount, Answer, Choice, MoneyOut, PageQuery, paged
from core import catalog
from core.errors import ValidationFailed

blueprint = Blueprint("catalog", __name__, url_prefix="/v1/products", description="What can be bought")


class TierOut(Answer):
    """The price of a seat up to the number `up_to`; null: of all further ones."""

    up_to = fields.Integer(required=True, allow_none=True)
    unit_amount = Amount()


class PriceOut(Answer):
    """Which of the further members there are depends on `model`."""

    interval = Choice(*INTERVALS)
    currency = fields.String(required=True)
    model = Choice("per_seat", "graduated", "volume", "flat")
    unit_amount = fields.Nested(MoneyOut)
    flat_amount = fields.Nested(MoneyOut)
    included_seats = fields.Integer()
    tiers = fields.List(fields.Nested(TierOut))


class SeatRuleOut(Answer):
    """Sold with min, min + step, min + 2 x step ... up to max seats; null: without limit."""

    min = fields.Integer(required=True)
    max = fields.Integer(required=True, allow_none=True)
    step = fields.Integer(required=True)


class TrialOut(Answer):
    days = fields.Integer(required=True)
    seats = fields.Integer(required=True)
    requires_payment_method = fields.Boolean(required=True)


class PlanOut(Answer):
    id = fields.String(required=True)
    name = fields.String(required=True)
    tier = fields.Integer(required=True, metadata={"description": "a higher one is an upgrade"})
    features = fields.List(fields.String(), required=True)
    seats = fields.Nested(SeatRuleOut, required=True)
    trial = fields.Nested(TrialOut, required=True, allow_none=True)
    prices = fields.List(fields.Nested(PriceOut), required=True)


class ProductOut(Answer):
    id = fields.String(required=True)
    name = fields.String(required=True)
    description = fields.String(required=True)
    plans = fields.List(fields.Nested(PlanOut), required=True)


@blueprint.get("")
@lasting
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, paged(ProductOut))
def list_products(query):
    """List every product with its plans and prices."""
    products = catalog.list_products(engine(), locale())
    ids = [product["id"] for product in products]
    if query["cursor"] not in (None, *ids):
        raise ValidationFailed("This is not the next_cursor of a page.", pointer="/cursor")
    start = 0 if query["cursor"] is None else ids.index(query["cursor"]) + 1
    end = start + query["limit"]
    return {"data": products[start:end], "next_cursor": ids[end - 1] if end < len(ids) else None}


@blueprint.get("/<product_id>")
@lasting
@blueprint.response(200, ProductOut)
def get_product(product_id):
    """Read a product."""
    return catalog.get_product(engine(), product_id, locale())
