"""Orders: read, confirm after 3-D Secure, cancel, capture, refund."""

from __future__ import annotations

from functools import partial
from typing import Any

from flask import request
from marshmallow import Schema, fields, validate

from api.auth import needs
from api.http import Blueprint, caller, engine, guarded, keyed, keyed_request, listed, page_of, replayable, tag
from api.languages import language, translate
from api.schemas import ID, AccountPageQuery, ActionOut, Amount, Answer, Choice, Instant, PricedLineOut, TotalsOut, check_currency, paged
from core import captures, checkout, orders, refunds
from core.credit_notes import LineRefund
from core.errors import Message
from core.rules.money import Money

blueprint = Blueprint("orders", __name__, url_prefix="/v1/orders", description="What was bought, and how it is paid")


class PaidWithOut(Answer):
    """What may be shown of a payment method."""

    brand = fields.String(required=True)
    last4 = fields.String(required=True)


class PaymentErrorOut(Answer):
    """Why a payment was refused; `provider_code` is the provider's own word."""

    code = fields.String(required=True)
    retryable = fields.Boolean(required=True)
    provider_code = fields.String(required=True, allow_none=True)


class RefundOut(Answer):
    """Money on its way back; `created` until the provider has answered. `origin`: `external` where it was begun at the provider."""

    id = fields.String(required=True)
    order = fields.String(required=True)
    amount = Amount()
    status = Choice("created", "processing", "succeeded", "failed")
    origin = Choice("ours", "external")
    reason = fields.String(required=True)
    credit_note = fields.String(required=True, allow_none=True, metadata={"description": "its id among the invoices, once money went back"})
    created_at = Instant()


class DisputeOut(Answer):
    """The buyer's request to their bank for the money back. `reason` is the provider's own word."""

    id = fields.String(required=True)
    order = fields.String(required=True)
    amount = Amount()
    status = Choice("opened", "won", "lost")
    reason = fields.String(required=True)
    opened_at = Instant()
    closed_at = Instant(allow_none=True)


class PaymentOut(Answer):
    """The latest attempt to pay an order. `disputed`: what open disputes hold back; `lost`: what lost ones have taken."""

    id = fields.String(required=True)
    provider = fields.String(required=True)
    live = fields.Boolean(required=True, metadata={"description": "whether real money moves"})
    status = Choice(
        "created", "requires_action", "processing", "authorized", "partially_captured", "captured", "declined", "failed", "canceled"
    )
    amount = Amount()
    captured = Amount("what of it was taken; the rest is set aside, or was let go")
    refunded = Amount()
    disputed = Amount()
    lost = Amount()
    refunds = fields.List(fields.Nested(RefundOut), required=True)
    disputes = fields.List(fields.Nested(DisputeOut), required=True)
    method = fields.Nested(PaidWithOut, required=True, allow_none=True)
    error = fields.Nested(PaymentErrorOut, required=True, allow_none=True)
    instructions = fields.Dict(
        keys=fields.String(), required=True, allow_none=True, metadata={"description": "what the buyer needs to pay an open invoice"}
    )


class OrderOut(TotalsOut):
    """An order. `kind`: the purchase of a cart; or the renewal of what falls due on a day, or the change of a subscription, which have no
    cart. `problem`: why a human must look at it, as a code."""

    id = fields.String(required=True)
    account = fields.String(required=True)
    kind = Choice("purchase", "renewal", "change")
    cart = fields.String(required=True, allow_none=True)
    status = Choice("pending", "requires_action", "processing", "completed", "failed", "cancelled", "refunded")
    locale = fields.String(required=True)
    purchase_order = fields.String(required=True, allow_none=True)
    lines = fields.List(fields.Nested(PricedLineOut), required=True)
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
    currency = fields.String(required=True, validate=check_currency)


class NewCapture(Schema):
    """Body of POST /v1/orders/{order}/captures; without amount, all that is left. `final`: let go of the rest."""

    amount = fields.Nested(MoneyIn)
    final = fields.Boolean(load_default=False)


class CaptureOut(Answer):
    """Money taken of what was set aside; `created` until the provider has answered."""

    id = fields.String(required=True)
    order = fields.String(required=True)
    amount = Amount()
    final = fields.Boolean(required=True)
    status = Choice("created", "succeeded", "failed")
    created_at = Instant()


class LineRefundIn(Schema):
    """A line of the order to give back; amount: tax included; without it, all that is left of the line."""

    line = fields.String(required=True, validate=ID)
    amount = fields.Nested(MoneyIn)


class NewRefund(Schema):
    """Body of POST /v1/orders/{order}/refunds; without amount and lines, all that is left. An amount alone is shared out over all lines."""

    amount = fields.Nested(MoneyIn)
    lines = fields.List(fields.Nested(LineRefundIn), load_default=list, validate=validate.Length(max=100))
    reason = fields.String(required=True, validate=validate.Length(1, 500))


# What a buyer reads who comes back from the provider, by the order's status.
BACK = {
    "completed": (Message("Paid"), Message("Your order is complete. You can close this page and go back to the shop.")),
    "failed": (Message("Not paid"), Message("Nothing was charged. Go back to the shop to pay another way.")),
    "waiting": (Message("One moment"), Message("The payment is being confirmed. You can close this page; the order goes on by itself.")),
}
LEFT = (Message("Not paid yet"), Message("Nothing was charged. Go back to the shop to pay another way, or go on where you were."))
BACK |= {"refunded": BACK["completed"], "cancelled": BACK["failed"]}


@blueprint.get("")
@needs("checkout")
@blueprint.arguments(AccountPageQuery, location="query")
@blueprint.response(200, paged(OrderOut))
def list_orders(query):
    """List orders, the newest first."""
    return listed(orders.Order, query, partial(orders.order_document, engine()))


@blueprint.get("/<order_id>")
@needs("checkout")
@blueprint.response(200, OrderOut)
def get_order(order_id):
    """Read an order."""
    return _shown(orders.get_order(engine(), order_id, caller()))


@blueprint.post("/<order_id>/confirm")
@needs("checkout")
@blueprint.arguments(Confirm, required=False)
@blueprint.response(200, OrderOut)
@keyed(required=True, whole=False)
def confirm_order(body, order_id):
    """Carry on after the buyer's step at the provider."""
    answer = checkout.confirm_order(engine(), order_id, caller(), data=body["data"], request=keyed_request())
    return replayable(answer, answer.body, 200)


@blueprint.post("/<order_id>/cancel")
@needs("checkout")
@blueprint.response(200, OrderOut)
@guarded
@keyed()
def cancel_order(order_id, version):
    """Give up an order that waits for the buyer; its cart is open again."""
    return _shown(checkout.cancel_order(engine(), order_id, caller(), version))


@blueprint.post("/<order_id>/captures")
@needs("staff")
@blueprint.arguments(NewCapture, required=False)
@blueprint.response(201, CaptureOut)
@keyed(required=True, whole=False)
def capture_order(body, order_id):
    """Take money that was set aside as the order was placed, all that is left or a part of it."""
    answer = captures.capture_order(engine(), order_id, caller(), amount=_money(body), final=body["final"], request=keyed_request())
    return replayable(answer, answer.body, 201, {"Location": f"/v1/orders/{order_id}"})


@blueprint.post("/<order_id>/void")
@needs("staff")
@blueprint.response(200, OrderOut)
@keyed(required=True, whole=False)
def void_order(order_id):
    """Let go of money that was set aside and of which nothing was taken, and undo the order.

    Its subscriptions end and its invoice is credited. While the provider has not answered, the order stays `completed`.
    """
    answer = captures.void_order(engine(), order_id, caller(), request=keyed_request())
    return replayable(answer, answer.body, 200)


@blueprint.post("/<order_id>/refunds")
@needs("staff")
@blueprint.arguments(NewRefund)
@blueprint.response(201, RefundOut)
@keyed(required=True, whole=False)
def refund_order(body, order_id):
    """Give money back, all that is left of a payment or a part of it.

    Once it has gone back, a credit note of the order's invoice is issued.
    """
    lines = [LineRefund(line["line"], _money(line)) for line in body["lines"]]
    answer = refunds.refund_order(
        engine(), order_id, caller(), amount=_money(body), reason=body["reason"], request=keyed_request(), lines=lines
    )
    return replayable(answer, answer.body, 201, {"Location": f"/v1/orders/{order_id}"})


@blueprint.get("/<order_id>/return")
@blueprint.response(200, {"type": "string"}, content_type="text/html", description="A page for the buyer's browser")
def return_from_provider(order_id):
    """Where the provider sends the buyer's browser back to.

    Shows how the payment stands, and nothing else of the order.
    """
    status = checkout.buyer_returned(engine(), order_id, dict(request.args))
    heading, text = BACK.get(status, BACK["waiting"])
    return page_of("return.html", language=language(), heading=translate(heading), text=translate(text))


@blueprint.get("/<order_id>/cancelled")
@blueprint.response(200, {"type": "string"}, content_type="text/html", description="A page for the buyer's browser")
def left_at_provider(order_id):
    """Where the provider sends a buyer who gives up there.

    Shows how the payment stands, and the way back to it while it waits.
    """
    status, url = checkout.buyer_left(engine(), order_id)
    heading, text = LEFT if status == "requires_action" else BACK.get(status, BACK["waiting"])
    shown = {"heading": translate(heading), "text": translate(text), "url": url, "go_on": translate(Message("Go on paying"))}
    return page_of("return.html", language=language(), **shown)


def _money(body: dict[str, Any]) -> Money | None:
    return Money(**body["amount"]) if "amount" in body else None


def _shown(order: orders.Order) -> tuple[dict[str, Any], int, dict[str, str]]:
    return orders.order_document(engine(), order), 200, tag(order.version)
