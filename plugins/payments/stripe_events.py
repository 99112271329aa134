"""What Stripe tells of its own accord: webhooks, checked and read, and the events in its list, which look alike."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import stripe

from plugins.payments.stripe_results import Shape
from puesto import Money, ProviderEvent, Secret, SignatureInvalid

# Seconds that a message may be old, or ahead: what Stripe's libraries allow.
TOLERANCE = 300
# Stripe's types, and ours. Accounts whose webhooks are older than refund.* hear of a refund by the charge.
TYPES = {
    "payment_intent.amount_capturable_updated": "payment.authorized",
    "payment_intent.canceled": "payment.canceled",
    "payment_intent.payment_failed": "payment.declined",
    "payment_intent.processing": "payment.processing",
    "payment_intent.requires_action": "payment.requires_action",
    "payment_intent.succeeded": "payment.captured",
    "charge.refunded": "payment.refunded",
    "refund.created": "refund.created",
    "refund.updated": "refund.updated",
    "refund.failed": "refund.failed",
    "charge.dispute.created": "dispute.opened",
    "charge.dispute.updated": "dispute.updated",
    "charge.dispute.closed": "dispute.closed",
}


def verify(secrets: Iterable[Secret], headers: Mapping[str, str], body: bytes, received_at: datetime) -> dict[str, Any]:
    """The event of a webhook that one of `secrets` has signed. Raises SignatureInvalid.

    The SDK checks the signature; its own check of the age asks the machine's clock, where ours is an argument.
    """
    header = next((value for name, value in headers.items() if name.lower() == "stripe-signature"), "")
    if not any(_signed(secret, header, body) for secret in secrets):
        raise SignatureInvalid("no signature fits the message")
    # The same `t` that the SDK has signed for: the first one.
    signed_at = next(int(part[2:]) for part in header.split(",") if part.startswith("t="))
    if abs(received_at.timestamp() - signed_at) > TOLERANCE:
        raise SignatureInvalid(f"the message is more than {TOLERANCE} s away")
    event: dict[str, Any] = json.loads(body)
    return event


def _signed(secret: Secret, header: str, body: bytes) -> bool:
    if not header.isascii():  # the SDK can't compare it
        return False
    try:
        return bool(stripe.WebhookSignature.verify_header(body, header, secret.reveal(), tolerance=None))
    except (stripe.SignatureVerificationError, UnicodeError):
        return False


def read(event: Shape, provider: str, method: str) -> ProviderEvent | None:
    """None for what says nothing about a payment of this provider: the account's other providers have endpoints of their own.

    method: the kind of payment method that `provider` takes, in Stripe's words.
    """
    it = event["data"]["object"]
    if event["type"] not in TYPES or not _is_ours(it, provider, method):
        return None
    kind, metadata = it["object"], it.get("metadata") or {}
    ref = it["id"] if kind == "payment_intent" else it.get("payment_intent")
    if ref is None and "payment_id" not in metadata:
        return None  # of a charge that was made without a PaymentIntent, and so not by us
    return ProviderEvent(
        event["id"],
        TYPES[event["type"]],
        metadata.get("payment_id"),
        ref,
        metadata.get("refund_id") if kind == "refund" else None,
        _amount(event["type"], it),
        datetime.fromtimestamp(event["created"], UTC),
        event.get("livemode"),
    )


def _is_ours(it: Shape, provider: str, method: str) -> bool:
    """Each intent and refund of ours names its provider. What was begun in the dashboard may name the kind of method, or nothing."""
    named = (it.get("metadata") or {}).get("provider")
    if named is not None:
        return bool(named == provider)
    details = it.get("payment_method_details") or {}
    types = it.get("payment_method_types") or [details.get("type", method)]
    return method in types


def _amount(type: str, it: Shape) -> Money | None:
    units = it.get("amount_received") if type == "payment_intent.succeeded" else it["amount"] if it["object"] == "refund" else None
    return Money(units, it["currency"].upper()) if units is not None else None
