"""Payments on a Stripe account, by one kind of payment method: PaymentIntents, SetupIntents, Customers, refunds.

A payment is made in two requests, each with a key of its own: one makes the PaymentIntent, the next confirms it, which charges. So one
that the engine asks about and that was never confirmed can be abandoned: then it is certain that nothing will be charged by it, however
late a request comes through, and who tries again under the same key makes another. Stripe keeps
keys for 24 hours (https://docs.stripe.com/api/idempotent_requests); whatever may be repeated later is looked up by our ids, which
are in the metadata of what we make. Lists are used for that, not the search: it lags behind by minutes
(https://docs.stripe.com/search#data-freshness).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from typing import Any

from plugins.payments.stripe_client import StripeApi, StripeRefused
from plugins.payments.stripe_customers import customer_of
from plugins.payments.stripe_events import TYPES, read, verify
from plugins.payments.stripe_results import (
    Shape,
    declined,
    never_confirmed,
    payment_result,
    refund_result,
    setup_result,
)
from puesto import (
    Capabilities,
    CaptureRequest,
    Money,
    PayableCart,
    PaymentProvider,
    PaymentReference,
    PaymentRequest,
    PaymentResult,
    PaymentUnknown,
    ProviderChanges,
    ProviderEvent,
    RefundRequest,
    RefundResult,
)

ABANDONED = "abandoned"
EXPAND = ["payment_method", "latest_charge.refunds"]
# https://docs.stripe.com/currencies#three-decimal: what is sent must end in a zero.
THREE_DECIMALS = {"BHD", "JOD", "KWD", "OMR", "TND"}
# https://docs.stripe.com/currencies#special-cases: kept at two decimals by Stripe, but what is sent must end in two zeros.
WHOLE_UNITS = {"ISK", "UGX"}


@dataclass(frozen=True)
class Method:
    """A kind of payment method, in Stripe's words.

    confirm: further parameters of what confirms a payment, or a setup, with it. manual: those of one whose money is only set aside.
    mandate: what says that the buyer has agreed to be debited. None: this kind needs no mandate.
    """

    type: str
    capabilities: Capabilities
    confirm: Mapping[str, Any] = field(default_factory=dict)
    manual: Mapping[str, Any] = field(default_factory=dict)
    mandate: Mapping[str, Any] | None = None


class StripeProvider(PaymentProvider):
    """name: of the provider. settings: those of the plugin, with `secret_key`."""

    def __init__(self, name: str, method: Method, settings: Mapping[str, Any]) -> None:
        self.name = name  # type: ignore[misc]
        self.capabilities = replace(method.capabilities, webhooks=bool(settings["webhook_secrets"]), list_changes=True)
        self.deadline = 2 * settings["timeout"] + 10
        self._method, self._settings = method, settings
        self._api = StripeApi(settings)
        self._v1 = self._api.v1

    def refusal(self, cart: PayableCart) -> str | None:
        step = 10 if cart.amount.currency in THREE_DECIMALS else 100 if cart.amount.currency in WHOLE_UNITS else 1
        return super().refusal(cart) or ("amount_not_whole" if cart.amount.amount % step else None)

    def check_health(self) -> None:
        self._api.call(self._v1.balance.retrieve)

    # --- paying

    def initiate_payment(self, request: PaymentRequest) -> PaymentResult:
        try:
            intent = self._begin(request)
        except StripeRefused as refused:
            return _decline(refused, request.amount.currency)
        return self._result(intent)

    def save_method(self, request: PaymentRequest) -> PaymentResult:
        params = {
            **self._common(request),
            **self._how(request),
            "confirm": True,
            "usage": "off_session",
            "return_url": request.return_url,
            "expand": ["payment_method"],
            **self._method.confirm,
        }
        try:
            intent, replayed = self._api.answer(self._v1.setup_intents.create, params, key=request.idempotency_key)
        except StripeRefused as refused:
            return _decline(refused, request.amount.currency)
        return self._result(self._fresh(intent) if replayed else intent, request.amount.currency)

    def confirm_payment(self, payment: PaymentReference, client_data: Mapping[str, Any]) -> PaymentResult:
        """What came back through the buyer's hands proves nothing, so Stripe is asked."""
        return self.retrieve_payment(payment)

    def retrieve_payment(self, payment: PaymentReference) -> PaymentResult:
        intent = self._find(payment)
        if never_confirmed(intent):
            intent = self._cancel(intent, ABANDONED)
        if _is_abandoned(intent):
            raise PaymentUnknown(f"{payment.payment_id} was never confirmed, and can't be any more")
        return self._result(intent, payment.amount.currency)

    def cancel_payment(self, payment: PaymentReference) -> PaymentResult:
        intent = self._find(payment)
        of_which_was_taken = intent.get("amount_received")
        return self._result(intent if of_which_was_taken else self._cancel(intent), payment.amount.currency)

    # --- money set aside

    def capture_payment(self, request: CaptureRequest) -> PaymentResult:
        """The intent's metadata remembers each capture, for when Stripe has forgotten its key."""
        intent, mark = self._find(request.payment), f"capture_{request.capture_id}"
        left = intent.get("amount_capturable") or 0
        if mark in intent["metadata"] or intent["status"] != "requires_capture" or request.amount.amount > left:
            return self._result(intent)
        params: dict[str, Any] = {"amount_to_capture": request.amount.amount, "metadata": {mark: request.amount.amount}, "expand": EXPAND}
        if not request.final and request.amount.amount < left:
            params["final_capture"] = False
        try:
            self._api.call(self._v1.payment_intents.capture, intent["id"], params, key=request.idempotency_key)
        except StripeRefused as refused:
            if refused.status != 400:
                raise
        return self._result(self._fresh(intent))

    # --- money back

    def refund_payment(self, request: RefundRequest) -> RefundResult:
        intent = self._find(request.payment)
        for refund in self._api.pages(self._v1.refunds.list, {"payment_intent": intent["id"]}):
            if refund["metadata"].get("refund_id") == request.refund_id:  # by now Stripe may have forgotten the key
                return refund_result(refund)
        params = {
            "payment_intent": intent["id"],
            "amount": request.amount.amount,
            "metadata": {"refund_id": request.refund_id, "payment_id": request.payment.payment_id, "provider": self.name},
        }
        try:
            return refund_result(self._api.call(self._v1.refunds.create, params, key=request.idempotency_key))
        except StripeRefused as refused:
            if refused.status == 404:
                raise
            return RefundResult("failed", Money(0, request.amount.currency))

    # --- stored methods

    def delete_method(self, reference: str) -> None:
        try:
            self._api.call(self._v1.payment_methods.detach, reference.rpartition("/")[2])
        except StripeRefused as refused:
            if refused.status not in (400, 404):
                raise

    # --- what Stripe tells

    def parse_webhook(self, headers: Mapping[str, str], body: bytes, received_at: datetime) -> list[ProviderEvent]:
        event = read(verify(self._settings["webhook_secrets"], headers, body, received_at), self.name, self._method.type)
        return [event] if event else []

    def list_changes(self, since: datetime, cursor: str | None) -> ProviderChanges:
        """All at once: Stripe lists the newest first, for 30 days, and the oldest is wanted first."""
        params = {"types": list(TYPES), "created": {"gte": int(since.timestamp())}}
        found = [read(event, self.name, self._method.type) for event in self._api.pages(self._v1.events.list, params)]
        return ProviderChanges(tuple(event for event in reversed(found) if event))

    # --- how it is done

    def _begin(self, request: PaymentRequest) -> dict[str, Any]:
        """Raises StripeRefused where not even an intent was made."""
        params = {
            **self._common(request),
            "amount": request.amount.amount,
            "currency": request.amount.currency.lower(),
            "capture_method": request.capture_mode,
        }
        if request.capture_mode == "manual":
            params |= self._method.manual
        if request.save_method and request.method is None:
            params["setup_future_usage"] = "off_session"
        for number in count():
            key = f"{request.idempotency_key}-{number}" if number else request.idempotency_key
            intent, repeated = self._api.answer(self._v1.payment_intents.create, params, key=key)
            confirmed = self._confirm(intent, request)
            now = self._fresh(intent) if repeated or confirmed is None else confirmed
            # Ours was abandoned while we were on our way: we are late, and nobody waits. An earlier one was: we are asked once more.
            if not (repeated and _is_abandoned(now)):
                return now
        raise AssertionError("count() does not end")

    def _confirm(self, intent: Shape, request: PaymentRequest) -> dict[str, Any] | None:
        """Charge. None: Stripe has declined, or the intent is beyond that; how it stands says which."""
        params = {**self._how(request), **self._method.confirm, "return_url": request.return_url, "expand": EXPAND}
        if not request.on_session:
            del params["return_url"]
            params["off_session"] = True
        try:
            return self._api.call(self._v1.payment_intents.confirm, intent["id"], params, key=f"confirm-{intent['id']}")
        except StripeRefused as refused:
            if refused.intent is None:
                raise
            return None

    def _common(self, request: PaymentRequest) -> dict[str, Any]:
        customer = request.method.rpartition("/")[0] if request.method else customer_of(self._api, request.customer)
        metadata = {"payment_id": request.payment_id, "provider": self.name}
        return {"customer": customer, "payment_method_types": [self._method.type], "metadata": metadata}

    def _how(self, request: PaymentRequest) -> dict[str, Any]:
        """What pays: a stored method, which has its mandate, or what the browser got: a PaymentMethod, or a ConfirmationToken."""
        if request.method is not None:
            return {"payment_method": request.method.rpartition("/")[2]}
        if (request.token or "").startswith("ctoken_"):
            return {"confirmation_token": request.token}
        mandate = {"mandate_data": self._method.mandate} if self._method.mandate else {}
        return {"payment_method": request.token, **mandate}

    def _find(self, payment: PaymentReference) -> dict[str, Any]:
        """The intent of a payment as it stands now. Raises PaymentUnknown."""
        if payment.provider_ref is not None:
            return self._fresh({"id": payment.provider_ref})
        if payment.account is None:
            raise PaymentUnknown(f"nobody is named who may have paid {payment.payment_id}")
        service, expand = (self._v1.payment_intents, EXPAND) if payment.amount.amount else (self._v1.setup_intents, ["payment_method"])
        # What is looked for is among the youngest.
        params = {"customer": customer_of(self._api, payment.account), "expand": [f"data.{name}" for name in expand], "limit": 20}
        for intent in self._api.pages(service.list, params):
            if intent["metadata"].get("payment_id") == payment.payment_id and not _is_abandoned(intent):
                return intent
        raise PaymentUnknown(f"Stripe has no payment {payment.payment_id}")

    def _fresh(self, intent: Shape) -> dict[str, Any]:
        if intent["id"].startswith("seti_"):
            return self._api.call(self._v1.setup_intents.retrieve, intent["id"], {"expand": ["payment_method"]})
        return self._api.call(self._v1.payment_intents.retrieve, intent["id"], {"expand": EXPAND})

    def _cancel(self, intent: Shape, reason: str = "requested_by_customer") -> dict[str, Any]:
        """End it, or how it stands where it has ended already."""
        service = self._v1.setup_intents if intent["id"].startswith("seti_") else self._v1.payment_intents
        try:
            self._api.call(service.cancel, intent["id"], {"cancellation_reason": reason})
        except StripeRefused as refused:
            if refused.status != 400:
                raise
        return self._fresh(intent)

    def _result(self, intent: Shape, currency: str = "") -> PaymentResult:
        key = self._settings["publishable_key"]
        if intent["id"].startswith("seti_"):
            return setup_result(intent, currency, publishable_key=key)
        charge = intent.get("latest_charge")
        charge = dict(charge) if isinstance(charge, Mapping) else {}
        whose, disputes = {"payment_intent": intent["id"]}, []
        if charge.get("disputed"):
            disputes = list(self._api.pages(self._v1.disputes.list, whose))
        if (charge.get("refunds") or {}).get("has_more"):
            intent = {**intent, "latest_charge": {**charge, "refunds": {"data": list(self._api.pages(self._v1.refunds.list, whose))}}}
        return payment_result(intent, publishable_key=key, disputes=disputes)


def _is_abandoned(intent: Shape) -> bool:
    return intent["status"] == "canceled" and intent.get("cancellation_reason") == ABANDONED


def _decline(refused: StripeRefused, currency: str) -> PaymentResult:
    """Raises it again where it is no decline but a mistake of ours."""
    at_fault = refused.intent is not None or refused.status == 402
    about_method = (refused.param or "").startswith(("payment_method", "confirmation_token"))
    about_amount = refused.code in ("amount_too_small", "amount_too_large", "invalid_currency")
    if not (at_fault or about_method or about_amount):
        raise refused
    ref = refused.intent["id"] if refused.intent else None
    return declined(currency, refused.code, refused.decline_code, ref)
