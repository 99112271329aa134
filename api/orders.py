"""Orders: read, confirm after 3-D Secure, cancel, refund."""

from __future__ import annotations

from typing import Any

from flask import request
from marshmallow import Schema, fields, validate

from api.auth import needs
from api.http import Blueprint, caller, engine, expected_version, keyed, keyed_request, page_of, paged, replayable, tag
from api.schemas import AccountPageQuery, ActionOut, Instant, MoneyOut, PricedLineOut
from core import checkout, orders, refunds
from core.access import page
from core.rules.money import Money

blueprint = Blueprint("orders", __name__, url_prefix="/v1/orders", description="What was bought")


class PaymentOut(Schema):
    id = fields.String(required=True)
    provider = fields.String(required=True)
    status = fields.String(required=True)
    amount = fields.Nested(MoneyOut, required=True)
    refunded = fields.Nested(MoneyOut, required=True)
    method = fields.Dict(required=True, allow_none=True)
    error = fields.Dict(required=True, allow_none=True)


class OrderOut(Schema):
    id = fields.String(required=True)
    account = fields.String(required=True)
    cart = fields.String(required=True)
    status = fields.String(required=True)
    locale = fields.String(required=True)
    purchase_order = fields.String(required=True, allow_none=True)
    lines = fields.List(fields.Nested(PricedLineOut), required=True)
    net = fields.Nested(MoneyOut, required=True)
    tax = fields.Nested(MoneyOut, required=True)
    total = fields.Nested(MoneyOut, required=True)
    credit_used = fields.Nested(MoneyOut, required=True)
    due_now = fields.Nested(MoneyOut, required=True)
    credit_left = fields.Nested(MoneyOut, required=True)
    payment = fields.Nested(PaymentOut, required=True, allow_none=True)
    next_action = fields.Nested(ActionOut, required=True, allow_none=True)
    invoice = fields.String(required=True, allow_none=True)
    subscriptions = fields.List(fields.String(), required=True)
    problem = fields.String(required=True, allow_none=True)
    created_at = Instant()
    completed_at = Instant(allow_none=True)


class Confirm(Schema):
    """Body of POST /v1/orders/{order}/confirm: what the provider's own script gave the client, if anything."""

    data = fields.Dict(keys=fields.String(), load_default=dict)


class MoneyIn(Schema):
    amount = fields.Integer(required=True, strict=True, validate=validate.Range(1, 10**15))
    currency = fields.String(required=True, validate=validate.Length(equal=3))


class NewRefund(Schema):
    """Body of POST /v1/orders/{order}/refunds; without amount, all that is left."""

    amount = fields.Nested(MoneyIn)
    reason = fields.String(required=True, validate=validate.Length(1, 500))


class RefundOut(Schema):
    id = fields.String(required=True)
    order = fields.String(required=True)
    amount = fields.Nested(MoneyOut, required=True)
    status = fields.String(required=True)
    reason = fields.String(required=True)
    created_at = Instant()


@blueprint.get("")
@needs("checkout")
@blueprint.arguments(AccountPageQuery, location="query")
@blueprint.response(200, paged(OrderOut))
def list_orders(query):
    """List orders, the newest first."""
    rows, cursor = page(engine(), orders.Order, caller(), **query)
    return {"data": [orders.order_document(engine(), row) for row in rows], "next_cursor": cursor}


@blueprint.get("/<order_id>")
@needs("checkout")
@blueprint.response(200, OrderOut)
def get_order(order_id):
    """Read an order."""
    return _shown(orders.get_order(engine(), order_id, caller()))


@blueprint.post("/<order_id>/confirm")
@needs("checkout")
@blueprint.arguments(Confirm)
@blueprint.response(200, OrderOut)
@keyed(required=True, whole=False)
def confirm(body, order_id):
    """Carry on after the buyer's step at the provider."""
    answer = checkout.confirm_order(engine(), order_id, caller(), data=body["data"], request=keyed_request())
    return replayable(answer, answer.body, 200)


@blueprint.post("/<order_id>/cancel")
@needs("checkout")
@blueprint.response(200, OrderOut)
@keyed()
def cancel(order_id):
    """Give up an order that waits for the buyer; its cart is open again."""
    return _shown(checkout.cancel_order(engine(), order_id, caller(), expected_version()))


@blueprint.post("/<order_id>/refunds")
@needs("staff")
@blueprint.arguments(NewRefund)
@blueprint.response(201, RefundOut)
@keyed(required=True, whole=False)
def refund(body, order_id):
    """Give money back."""
    amount = Money(**body["amount"]) if "amount" in body else None
    answer = refunds.refund_order(engine(), order_id, caller(), amount=amount, reason=body["reason"], request=keyed_request())
    return replayable(answer, answer.body, 201, {"Location": f"/v1/orders/{order_id}"})


@blueprint.get("/<order_id>/return")
@blueprint.response(200, content_type="text/html", description="A page for the buyer's browser")
def come_back(order_id):
    """Where the provider sends the buyer's browser back to. Shows how the payment stands, and nothing else of the order."""
    status = checkout.buyer_returned(engine(), order_id, dict(request.args))
    return page_of("return.html", status=status)


def _shown(order: orders.Order) -> tuple[dict[str, Any], int, dict[str, str]]:
    return orders.order_document(engine(), order), 200, tag(order.version)
