"""What payment providers call."""

from __future__ import annotations

from flask import request

from api.http import Blueprint, engine
from core.payment_webhooks import receive

blueprint = Blueprint("payment_webhooks", __name__, url_prefix="/v1/payment-webhooks", description="What payment providers call")


@blueprint.post("/<provider>")
@blueprint.response(204)
def receive_webhook(provider):
    """Tell what became of a payment: signed by the provider, in its own format.

    Stored before it is answered, and acted on after; sent again, it does nothing more.
    """
    receive(engine(), provider, request.headers, request.get_data())


receive_webhook.signed_otherwise = True
