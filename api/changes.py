"""Changes of a running subscription, without a cart."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from api.auth import needs
from api.http import Blueprint, caller, engine, guarded, keyed, keyed_request, replayable
from api.languages import told
from api.orders import OrderOut
from api.schemas import ID, INTERVALS, QuoteOut
from api.subscriptions import SubscriptionOut, shown
from core import changes
from core.quotes import quote_document
from core.rules.policies import NAMED_POLICIES

blueprint = Blueprint("changes", __name__, url_prefix="/v1/subscriptions", description="More seats, another plan, another interval")


class ChangeIn(Schema):
    """Body of POST /v1/subscriptions/{subscription}/changes/preview: what is to be different.

    `at`: `period_end` has it wait though it could take effect now. `policy`: in place of the plan's own, for staff.
    """

    plan = fields.String(validate=ID)
    interval = fields.String(validate=validate.OneOf(INTERVALS))
    seats = fields.Integer(strict=True)
    release = fields.List(fields.String(validate=ID), validate=validate.Length(max=1000))
    at = fields.String(validate=validate.OneOf(["now", "period_end"]))
    policy = fields.String(validate=validate.OneOf(list(NAMED_POLICIES)))


class NewChange(ChangeIn):
    """Body of POST /v1/subscriptions/{subscription}/changes. `quote`: of the preview, so that nothing else than was shown is charged.

    `payment_method`: a stored one, in place of the default.
    """

    quote = fields.String(validate=validate.Length(1, 100_000))
    payment_method = fields.String(validate=ID)
    purchase_order = fields.String(validate=validate.Length(1, 100))


@blueprint.post("/<subscription_id>/changes/preview")
@needs("checkout")
@blueprint.arguments(ChangeIn, example={"seats": 8})
@blueprint.response(200, QuoteOut)
@keyed()
def preview_change(body, subscription_id):
    """What a change would cost now, and what follows. Nothing is changed."""
    return told(quote_document(changes.preview_change(engine(), subscription_id, caller(), _change(body))))


@blueprint.post("/<subscription_id>/changes")
@needs("checkout")
@blueprint.arguments(NewChange, example={"seats": 8, "quote": "q1..."})
@blueprint.response(201, OrderOut)
@guarded
@keyed(required=True, whole=False)
def change_subscription(body, subscription_id, version):
    """Change a subscription, and charge what is due to a stored method.

    The order is `completed`, or `requires_action` of the buyer first, or `processing` while nobody knows. What waits for the period's
    end is in the subscription's `pending_changes`. A refused payment leaves the subscription as it was.
    """
    means = changes.Means(body.pop("payment_method", None), body.pop("purchase_order", None))
    answer = changes.order_change(
        engine(),
        subscription_id,
        caller(),
        _change(body),
        means,
        quote=body.get("quote"),
        request=keyed_request(),
        version=version,
    )
    return replayable(answer, answer.body, 201, {"Location": f"/v1/orders/{answer.body['id']}"})


@blueprint.delete("/<subscription_id>/changes/<change_id>")
@needs("checkout")
@blueprint.response(200, SubscriptionOut)
@guarded
def drop_change(subscription_id, change_id, version):
    """Take back a change that waits for the period's end.

    The answer is the subscription, with those that still wait.
    """
    return shown(changes.drop_change(engine(), subscription_id, change_id, caller(), version))


def _change(body: dict[str, Any]) -> changes.Change:
    return changes.Change(**{name: value for name, value in body.items() if name != "quote"} | {"release": tuple(body.get("release", ()))})
