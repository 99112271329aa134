"""The sandbox provider over HTTP, where the gateway is a process of its own (`puesto sandbox-gateway`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote

import httpx

from plugins.payments.sandbox_entries import Charge
from plugins.payments.sandbox_webhooks import parse, read_event
from puesto import (
    Action,
    Capabilities,
    CaptureRequest,
    Dispute,
    Money,
    PaymentError,
    PaymentProvider,
    PaymentReference,
    PaymentRequest,
    PaymentResult,
    PaymentUnknown,
    ProviderChanges,
    ProviderEvent,
    ProviderMisconfigured,
    ProviderRefund,
    ProviderTimeout,
    ProviderUnavailable,
    RefundRequest,
    RefundResult,
    SavedMethod,
)

T = TypeVar("T")


class RemoteSandbox(PaymentProvider):
    """Tokens do what they do in process, but for 3-D Secure: the payment waits until the buyer decides on the gateway's page.

    settings: those of the plugin `sandbox`, with `gateway_url`.
    """

    name = "sandbox"

    def __init__(self, settings: Mapping[str, Any], capabilities: Capabilities) -> None:
        self._webhook_secrets = settings["webhook_secrets"]
        self.capabilities = replace(capabilities, webhooks=bool(self._webhook_secrets))
        # No connection is kept: one that the gateway has closed meanwhile would leave an outcome unknown for nothing.
        self._http = httpx.Client(
            base_url=settings["gateway_url"],
            headers={"Authorization": f"Bearer {settings['gateway_secret'].reveal()}"},
            timeout=httpx.Timeout(settings["gateway_timeout"], connect=min(5, settings["gateway_timeout"])),
            limits=httpx.Limits(max_keepalive_connections=0),
            trust_env=False,
            verify=httpx.URL(settings["gateway_url"]).scheme != "http",  # for plain HTTP no certificates need be read
        )

    def initiate_payment(self, request: PaymentRequest) -> PaymentResult:
        return self._call(_result, "POST", "/payments", json=asdict(request))

    def save_method(self, request: PaymentRequest) -> PaymentResult:
        return self._call(_result, "POST", "/methods", json=asdict(request))

    def delete_method(self, reference: str) -> None:
        self._call(lambda _: None, "POST", "/methods/delete", json={"reference": reference})  # addresses get into logs

    def retrieve_payment(self, payment: PaymentReference) -> PaymentResult:
        by = {"ref": payment.provider_ref} if payment.provider_ref else {"key": payment.idempotency_key}
        return self._call(_result, "GET", "/payments", params=by)

    def confirm_payment(self, payment: PaymentReference, client_data: Mapping[str, Any]) -> PaymentResult:
        if payment.provider_ref is None:
            return self.retrieve_payment(payment)
        return self._call(_result, "POST", f"/payments/{quote(payment.provider_ref, safe='')}/confirm")

    def capture_payment(self, request: CaptureRequest) -> PaymentResult:
        return self._call(_result, "POST", "/captures", json=_about(request.payment) | _body(request))

    def cancel_payment(self, payment: PaymentReference) -> PaymentResult:
        by = {"ref": payment.provider_ref, "key": payment.idempotency_key}
        return self._call(_result, "POST", "/payments/cancel", json=by)

    def refund_payment(self, request: RefundRequest) -> RefundResult:
        body = _about(request.payment) | _body(request)
        return self._call(lambda it: RefundResult(**{**it, "amount": Money(**it["amount"])}), "POST", "/refunds", json=body)

    def parse_webhook(self, headers: Mapping[str, str], body: bytes, received_at: datetime) -> list[ProviderEvent]:
        """Raises SignatureInvalid. `received_at`: real time, as the gateway's is, however the shop's clock was moved."""
        return parse([secret.reveal() for secret in self._webhook_secrets], headers, body, received_at)

    def list_changes(self, since: datetime, cursor: str | None) -> ProviderChanges:
        by = {"since": since.isoformat()} | ({"cursor": cursor} if cursor else {})
        return self._call(_changes, "GET", "/changes", params=by)

    def charges(self) -> list[Charge]:
        """What the gateway's dashboard would show, for tests that ask what was really charged: every attempt, oldest first."""
        return self._call(lambda them: [_charge(it) for it in them], "GET", "/charges")

    def _call(self, read: Callable[[Any], T], method: str, path: str, **request: Any) -> T:
        try:
            response = self._http.request(method, path, **request)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise ProviderUnavailable("the sandbox gateway can't be reached") from error
        except httpx.RequestError as error:
            raise ProviderTimeout(f"the sandbox gateway gave no answer: {type(error).__name__}") from error
        _check(response)
        try:
            return read(response.json() if response.content else None)
        except (ValueError, TypeError, KeyError) as error:
            raise ProviderTimeout("the sandbox gateway answered nonsense") from error


def _about(payment: PaymentReference) -> dict[str, Any]:
    return {"ref": payment.provider_ref, "payment_key": payment.idempotency_key}


def _body(request: CaptureRequest | RefundRequest) -> dict[str, Any]:
    return {name: value for name, value in asdict(request).items() if name != "payment"}


def _check(response: httpx.Response) -> None:
    """Raise what a status other than 2xx means."""
    status = response.status_code
    if status == 404 and "payment_unknown" in response.text:  # and not just any 404, as of another server at that address
        raise PaymentUnknown("the sandbox gateway has no such payment")
    if status == 429:
        raise ProviderUnavailable("the sandbox gateway has too much to do")
    if status >= 500:
        raise ProviderTimeout(f"the sandbox gateway answered {status}")
    if not response.is_success:
        raise ProviderMisconfigured(f"the sandbox gateway refuses our requests with {status}: see gateway_url and gateway_secret")


def _result(document: Any) -> PaymentResult:
    return PaymentResult(
        document["status"],
        Money(**document["amount"]),
        document["provider_ref"],
        action=document["action"] and Action(**document["action"]),
        error=document["error"] and PaymentError(**document["error"]),
        saved_method=document["saved_method"] and SavedMethod(**document["saved_method"]),
        captured=document["captured"] and Money(**document["captured"]),
        refunds=tuple(ProviderRefund(**{**each, "amount": Money(**each["amount"])}) for each in document["refunds"]),
        disputes=tuple(Dispute(**{**each, "amount": Money(**each["amount"])}) for each in document["disputes"]),
        live=False,
    )


def _changes(document: Any) -> ProviderChanges:
    return ProviderChanges(tuple(event for each in document["events"] for event in read_event(*each)), document["cursor"])


def _charge(document: Any) -> Charge:
    return Charge(**{**document, "amount": Money(**document["amount"]), "refunded": Money(**document["refunded"])})
