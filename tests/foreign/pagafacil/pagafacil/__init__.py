"""Payments through Paga Facil, for Puesto: cards, with a page of the bank where it wants one, refunds and stored cards."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urljoin

import httpx
from marshmallow import Schema, fields, validate

from puesto import (
    Action,
    Capabilities,
    PaymentError,
    PaymentProvider,
    PaymentReference,
    PaymentRequest,
    PaymentResult,
    PaymentUnknown,
    PluginContext,
    ProviderEvent,
    ProviderMisconfigured,
    ProviderRefund,
    ProviderTimeout,
    ProviderUnavailable,
    RefundRequest,
    RefundResult,
    SavedMethod,
    SecretField,
    SignatureInvalid,
    hookimpl,
    money,
)

TOLERANCE = 300  # seconds that a message may be old
STATES = {"pendiente": "requires_action", "cobrado": "captured", "rechazado": "declined", "anulado": "canceled"}
REFUSALS = {
    "FONDOS": PaymentError("insufficient_funds", retryable=True, provider_code="FONDOS"),
    "CADUCADA": PaymentError("expired_card", provider_code="CADUCADA"),
    "FRAUDE": PaymentError("fraud_suspected", provider_code="FRAUDE"),
    "AUTENTICACION": PaymentError("authentication_failed", provider_code="AUTENTICACION"),
}
EVENTS = {
    "cobro.cobrado": "payment.captured",
    "cobro.rechazado": "payment.declined",
    "cobro.anulado": "payment.canceled",
    "devolucion.hecha": "refund.succeeded",
}


class PagaFacilSettings(Schema):
    """url: of the gateway. merchant, password: ours there. webhook_secrets: the new one and, while they are rotated, the old one."""

    url = fields.Url(load_default="https://api.pagafacil.example", require_tld=False, schemes={"http", "https"})
    merchant = fields.String(required=True)
    password = SecretField(required=True)
    webhook_secrets = fields.List(SecretField(), required=True, validate=validate.Length(1, 2))
    timeout = fields.Float(load_default=20.0, validate=validate.Range(min=0.1, max=25))


class PagaFacil(PaymentProvider):
    name = "pagafacil"
    capabilities = Capabilities(
        currencies=frozenset({"EUR", "JPY", "KWD"}),
        redirect=True,
        cancel=True,
        refund=True,
        partial_refund=True,
        save_method=True,
        off_session=True,
        webhooks=True,
        sandbox=True,
    )

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._url, self._webhook_secrets = settings["url"], settings["webhook_secrets"]
        self._http = httpx.Client(
            base_url=self._url,
            auth=(settings["merchant"], settings["password"].reveal()),
            timeout=settings["timeout"],
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def initiate_payment(self, request: PaymentRequest) -> PaymentResult:
        return self._begin(request, store=request.save_method)

    def save_method(self, request: PaymentRequest) -> PaymentResult:
        """A charge of nothing that stores the card."""
        return self._begin(request, store=True)

    def _begin(self, request: PaymentRequest, *, store: bool) -> PaymentResult:
        body = {
            "referencia": request.payment_id,
            "importe": str(request.amount.decimal()),
            "divisa": request.amount.currency,
            "tarjeta": request.token,
            "guardada": request.method,
            "guardar": store,
            "presente": request.on_session,
            "volver": request.return_url,
        }
        return self._result(self._call("POST", "/v2/cobros", key=request.idempotency_key, json=body))

    def delete_method(self, reference: str) -> None:
        self._call("POST", "/v2/olvidos", json={"guardada": reference})

    def retrieve_payment(self, payment: PaymentReference) -> PaymentResult:
        return self._result(self._call("GET", "/v2/cobros", params=_by(payment)))

    def cancel_payment(self, payment: PaymentReference) -> PaymentResult:
        return self._result(self._call("POST", "/v2/anulaciones", json=_by(payment)))

    def refund_payment(self, request: RefundRequest) -> RefundResult:
        body = {**_by(request.payment), "referencia": request.refund_id, "importe": str(request.amount.decimal())}
        answer = self._call("POST", "/v2/devoluciones", key=request.idempotency_key, json=body)
        with _Reading():
            status = {"hecha": "succeeded", "rechazada": "failed"}[answer["estado"]]
            return RefundResult(status, money(answer["importe"], answer["divisa"]), answer["id"])

    def parse_webhook(self, headers: Mapping[str, str], body: bytes, received_at: datetime) -> list[ProviderEvent]:
        """`Paga-Signature: t=<seconds>,v1=<hex HMAC-SHA256 of "<seconds>.<body>">`."""
        given = {name.lower(): value for name, value in headers.items()}.get("paga-signature", "")
        parts = dict(part.partition("=")[::2] for part in given.split(","))
        signed = f"{parts.get('t')}.".encode() + body
        good = [hmac.digest(secret.reveal().encode(), signed, "sha256").hex().encode() for secret in self._webhook_secrets]
        if not any(hmac.compare_digest(each, parts.get("v1", "").encode()) for each in good):
            raise SignatureInvalid("no signature fits the message")
        if abs(received_at.timestamp() - int(parts["t"])) > TOLERANCE:
            raise SignatureInvalid("the message is too old")
        news = json.loads(body)
        if news["tipo"] not in EVENTS:
            return []
        amount, at = money(news["importe"], news["divisa"]), datetime.fromtimestamp(news["momento"], UTC)
        event = EVENTS[news["tipo"]]
        return [ProviderEvent(news["id"], event, news["referencia"], news["cobro"], news["devolucion"], amount, at)]

    def _call(self, method: str, path: str, *, key: str = "", **request: Any) -> Any:
        try:
            response = self._http.request(method, path, headers={"Paga-Clave": key} if key else {}, **request)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise ProviderUnavailable("Paga Facil can't be reached") from error
        except httpx.RequestError as error:
            raise ProviderTimeout(f"Paga Facil gave no answer: {type(error).__name__}") from error
        if response.status_code == 404 and "cobro_desconocido" in response.text:
            raise PaymentUnknown("Paga Facil has no such charge")
        if response.status_code == 429:
            raise ProviderUnavailable("Paga Facil has too much to do")
        if response.status_code >= 500:
            raise ProviderTimeout(f"Paga Facil answered {response.status_code}")
        if not response.is_success:
            raise ProviderMisconfigured(f"Paga Facil refuses our requests with {response.status_code}: see merchant and password")
        with _Reading():
            return response.json()

    def _result(self, answer: Any) -> PaymentResult:
        with _Reading():
            refused, page, stored = answer["motivo"], answer["pagina"], answer["guardada"]
            return PaymentResult(
                STATES[answer["estado"]],
                money(answer["cobrado"], answer["divisa"]),
                answer["id"],
                action=Action("redirect", urljoin(self._url, page)) if page else None,
                error=REFUSALS.get(refused, PaymentError("card_declined", provider_code=refused)) if refused else None,
                saved_method=SavedMethod(stored, "card", "0000") if stored else None,
                refunds=tuple(_refund(each, answer["divisa"]) for each in answer["devoluciones"]),
            )


class _Reading:
    """What can't be read is no answer."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (ValueError, TypeError, LookupError, AttributeError)):
            raise ProviderTimeout("Paga Facil answered nonsense") from error


def _refund(answer: Any, currency: str) -> ProviderRefund:
    return ProviderRefund(answer["id"], money(answer["importe"], currency), "succeeded", answer["referencia"])


def _by(payment: PaymentReference) -> dict[str, str]:
    return {"id": payment.provider_ref} if payment.provider_ref else {"clave": payment.idempotency_key}


class PagaFacilPlugin:
    settings_schema = PagaFacilSettings

    def __init__(self, context: PluginContext) -> None:
        self._settings = context.settings

    @hookimpl
    def register_payment_providers(self) -> list[PaymentProvider]:
        return [PagaFacil(self._settings)]
