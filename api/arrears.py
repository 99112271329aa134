"""What is past due, paid by the buyer."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from api.auth import needs
from api.carts import PaymentIn, payment_choice
from api.http import Blueprint, caller, engine, keyed, keyed_request, replayable
from api.orders import OrderOut
from core.arrears import pay_arrears

blueprint = Blueprint("arrears", __name__, url_prefix="/v1/subscriptions", description="What is past due")


class PayArrears(Schema):
    """Body of POST /v1/subscriptions/{subscription}/pay. `payment` is left out where credit pays for all of it."""

    payment = fields.Nested(PaymentIn)
    purchase_order = fields.String(validate=validate.Length(1, 100))


@blueprint.post("/<subscription_id>/pay")
@needs("checkout")
@blueprint.arguments(PayArrears, example={"payment": {"provider": "sandbox", "token": "tok_ok", "save": True}})
@blueprint.response(201, OrderOut)
@keyed(required=True, whole=False)
def pay_past_due(body, subscription_id):
    """Pay what is past due.

    That is the period of `next_charge`. The order is as at checkout: `completed`, or `requires_action` of the buyer first, or
    `processing` while nobody knows. A refused payment leaves the subscription as it was. What has fallen due since is charged as
    always, once this is paid.
    """
    payment = payment_choice(body["payment"]) if "payment" in body else None
    answer = pay_arrears(engine(), subscription_id, caller(), payment, body.get("purchase_order"), keyed_request())
    return replayable(answer, answer.body, 201, {"Location": f"/v1/orders/{answer.body['id']}"})
