"""Stripe's objects, as values of the payment contract. Pure functions of dictionaries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from puesto import (
    Action,
    Dispute,
    Money,
    PaymentError,
    PaymentResult,
    ProviderRefund,
    RefundResult,
    SavedMethod,
)

Shape = Mapping[str, Any]

# https://docs.stripe.com/declines/codes and https://docs.stripe.com/error-codes; what is not named here is card_declined.
DECLINES = {
    "insufficient_funds": "insufficient_funds",
    "withdrawal_count_limit_exceeded": "insufficient_funds",
    "card_velocity_exceeded": "insufficient_funds",
    "expired_card": "expired_card",
    "invalid_expiry_month": "expired_card",
    "invalid_expiry_year": "expired_card",
    "authentication_required": "authentication_failed",
    "authentication_not_handled": "authentication_failed",
    "payment_intent_authentication_failure": "authentication_failed",
    "setup_intent_authentication_failure": "authentication_failed",
    "offline_pin_required": "authentication_failed",
    "online_or_offline_pin_required": "authentication_failed",
    "amount_too_small": "amount_too_small",
    "currency_not_supported": "currency_unsupported",
    "payment_method_currency_mismatch": "currency_unsupported",
    "invalid_currency": "currency_unsupported",
    "fraudulent": "fraud_suspected",
    "highest_risk_level": "fraud_suspected",
    "merchant_blacklist": "fraud_suspected",
    "lost_card": "fraud_suspected",
    "stolen_card": "fraud_suspected",
    "pickup_card": "fraud_suspected",
    "restricted_card": "fraud_suspected",
    "security_violation": "fraud_suspected",
    "processing_error": "provider_error",
    "issuer_not_available": "provider_error",
    "reenter_transaction": "provider_error",
    "try_again_later": "provider_error",
}
# The same card may pay another day.
RETRYABLE = {"insufficient_funds", "provider_error"}
WAITING = {"requires_action", "processing", "requires_capture", "succeeded"}


def payment_result(intent: Shape, *, publishable_key: str | None = None, disputes: list[Shape] | None = None) -> PaymentResult:
    """A PaymentIntent that was confirmed, with `payment_method` and `latest_charge.refunds` expanded."""
    currency = intent["currency"].upper()
    status = _status(intent)
    held = intent["amount"] if status in ("authorized", "partially_captured", "captured") else 0
    taken = intent.get("amount_received") or 0
    return PaymentResult(
        status,  # type: ignore[arg-type]
        Money(held, currency),
        intent["id"],
        action=_action(intent, publishable_key) if status == "requires_action" else None,
        error=_failure(intent.get("last_payment_error")) if status == "declined" else None,
        saved_method=_saved(intent) if intent.get("setup_future_usage") and intent["status"] in WAITING - {"requires_action"} else None,
        data=_mandate(intent),
        captured=Money(taken, currency) if 0 < taken < held else None,
        refunds=tuple(provider_refund(refund) for refund in _refunds(intent)),
        disputes=tuple(dispute_of(dispute) for dispute in disputes or ()),
        live=intent.get("livemode"),
    )


def setup_result(intent: Shape, currency: str, *, publishable_key: str | None = None) -> PaymentResult:
    """A SetupIntent that was confirmed, with `payment_method` expanded: a method that was stored, or is not."""
    status = _status({**intent, "last_payment_error": intent.get("last_setup_error")})
    return PaymentResult(
        status,  # type: ignore[arg-type]
        Money(0, currency),
        intent["id"],
        action=_action(intent, publishable_key) if status == "requires_action" else None,
        error=_failure(intent.get("last_setup_error")) if status == "declined" else None,
        saved_method=_saved(intent) if status == "captured" else None,
        live=intent.get("livemode"),
    )


def declined(currency: str, code: str | None, decline_code: str | None = None, provider_ref: str | None = None) -> PaymentResult:
    return PaymentResult("declined", Money(0, currency), provider_ref, error=payment_error(code, decline_code))


def payment_error(code: str | None, decline_code: str | None) -> PaymentError:
    """The finer `decline_code` decides where there is one."""
    said = decline_code or code
    ours = DECLINES.get(decline_code or "") or DECLINES.get(code or "", "card_declined")
    return PaymentError(ours, ours in RETRYABLE, said)  # type: ignore[arg-type]


def never_confirmed(intent: Shape) -> bool:
    """It was made, and the request that would have charged it has not come."""
    bare = intent["status"] in ("requires_payment_method", "requires_confirmation")
    return bare and not intent.get("last_payment_error") and not intent.get("last_setup_error")


def refund_result(refund: Shape) -> RefundResult:
    status = _refund_status(refund)
    currency = refund["currency"].upper()
    return RefundResult(status, Money(0 if status == "failed" else refund["amount"], currency), refund["id"])  # type: ignore[arg-type]


def provider_refund(refund: Shape) -> ProviderRefund:
    ours = (refund.get("metadata") or {}).get("refund_id")
    amount = Money(refund["amount"], refund["currency"].upper())
    return ProviderRefund(refund["id"], amount, _refund_status(refund), ours)  # type: ignore[arg-type]


def dispute_of(dispute: Shape) -> Dispute:
    """An inquiry (`warning_...`) counts as a dispute that may yet be one, and is won where it was closed without becoming one."""
    status = {"won": "won", "warning_closed": "won", "prevented": "won", "lost": "lost"}.get(dispute["status"], "opened")
    amount = Money(dispute["amount"], dispute["currency"].upper())
    return Dispute(dispute["id"], amount, status, dispute.get("reason") or "")  # type: ignore[arg-type]


def _status(intent: Shape) -> str:
    match intent["status"]:
        case "succeeded":
            return "captured"
        case "requires_capture":
            return "partially_captured" if intent.get("amount_received") else "authorized"
        case "requires_payment_method" | "requires_confirmation":
            return "declined"
        case "processing" | "requires_action" | "canceled" as same:
            return str(same)
        case unknown:
            raise ValueError(f"an intent of Stripe is {unknown}")


def _action(intent: Shape, publishable_key: str | None) -> Action:
    step = intent.get("next_action") or {}
    if step.get("type") == "redirect_to_url":
        return Action("redirect", step["redirect_to_url"]["url"])
    return Action("client_sdk", data={"client_secret": intent["client_secret"], "publishable_key": publishable_key})


def _failure(error: Shape | None) -> PaymentError:
    return payment_error((error or {}).get("code"), (error or {}).get("decline_code"))


def _saved(intent: Shape) -> SavedMethod | None:
    """Charged later as customer and method together: Stripe wants both."""
    method, customer = intent.get("payment_method"), intent.get("customer")
    if not isinstance(method, Mapping) or not customer:
        return None
    kind = method["type"]
    shown = method.get(kind) or {}
    expires = f"{shown['exp_year']}-{shown['exp_month']:02}" if shown.get("exp_year") else None
    return SavedMethod(f"{customer}/{method['id']}", shown.get("brand") or kind, shown.get("last4") or "", expires)


def _mandate(intent: Shape) -> dict[str, Any]:
    """What the debtor's bank is shown as the reason of a debit."""
    charge = intent.get("latest_charge")
    details = (charge.get("payment_method_details") or {}) if isinstance(charge, Mapping) else {}
    mandate = (details.get("sepa_debit") or {}).get("mandate")
    return {"mandate": mandate} if mandate else {}


def _refunds(intent: Shape) -> list[Shape]:
    """The oldest first."""
    charge = intent.get("latest_charge")
    refunds = charge.get("refunds") if isinstance(charge, Mapping) else None
    return sorted(refunds["data"], key=lambda refund: refund["created"]) if refunds else []


def _refund_status(refund: Shape) -> str:
    status = refund.get("status")
    return {"succeeded": "succeeded", "failed": "failed", "canceled": "failed"}.get(status or "", "processing")
