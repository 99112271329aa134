"""A payment gateway to play with: the token decides what happens, and no money moves. For sandbox mode only.

It works within this process, on a file; or, with the setting `gateway_url`, as a process of its own that is talked to over HTTP.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from plugins.payments.sandbox_command import sandbox_gateway
from plugins.payments.sandbox_dashboard import Dashboard
from plugins.payments.sandbox_entries import Charge, Entry
from plugins.payments.sandbox_ledger import Ledger
from plugins.payments.sandbox_remote import RemoteSandbox
from plugins.payments.sandbox_webhooks import note_event, page_of_events, read_event, read_secret
from puesto import (
    Capabilities,
    CaptureRequest,
    PaymentProvider,
    PaymentReference,
    PaymentRequest,
    PaymentResult,
    PluginContext,
    ProviderChanges,
    ProviderTimeout,
    ProviderUnavailable,
    RefundRequest,
    RefundResult,
    Secret,
    SecretField,
    hookimpl,
)

log = logging.getLogger(__name__)


def _check_webhook_secret(secret: Secret) -> None:
    try:
        read_secret(secret.reveal())
    except ValueError:
        raise ValidationError("it must be whsec_ and the base64 of 24 bytes or more") from None


class SandboxSettings(Schema):
    """slow_seconds:    how long `tok_slow` takes to answer, where the gateway is within the process.
    gateway_url:     where `puesto sandbox-gateway` listens; None: the gateway is within the process.
    gateway_secret:  that gateway's --secret.
    gateway_timeout: seconds to wait for it, less than the provider's deadline.
    webhook_secrets: its --webhook-secret; the new and the old one while keys are rotated.
    """

    slow_seconds = fields.Float(load_default=3.0, validate=validate.Range(min=0))
    gateway_url = fields.Url(load_default=None, require_tld=False, schemes={"http", "https"})
    gateway_secret = SecretField(load_default=None)
    gateway_timeout = fields.Float(load_default=20.0, validate=validate.Range(min=0, max=25, min_inclusive=False))
    webhook_secrets = fields.List(SecretField(validate=_check_webhook_secret), load_default=list, validate=validate.Length(max=2))

    @validates_schema
    def check_gateway(self, settings: Mapping[str, Any], **kwargs: Any) -> None:
        if settings["gateway_url"] and not settings["gateway_secret"]:
            raise ValidationError("gateway_url needs it", "gateway_secret")


class SandboxProvider(PaymentProvider):
    """Does what the token says; a method saved from a token goes on behaving as that token.

    tok_ok                    captured; authorized where capture_mode is manual, as wherever it says captured below
    tok_3ds, tok_3ds_fails    requires_action; when confirmed captured, or declined with authentication_failed. The simulated bank
                              sends the buyer straight back to return_url. With nobody there: declined with authentication_failed
    tok_slow                  captured at once, answered after `slow_seconds`
    tok_timeout               captured, never answered: ProviderTimeout
    tok_unavailable           ProviderUnavailable, nothing is written down
    tok_card_declined, tok_insufficient_funds (retryable), tok_expired_card, tok_fraud_suspected    declined with that code
    tok_ok_then_declined      a stored method pays once, then card_declined
    any other                 card_declined, provider_code unknown_token (unknown_method for a stored method)
    """

    name = "sandbox"
    capabilities = Capabilities(
        redirect=True,
        authorize=True,
        partial_capture=True,
        cancel=True,
        refund=True,
        partial_refund=True,
        save_method=True,
        off_session=True,
        list_changes=True,
        sandbox=True,
    )

    def __init__(self, context: PluginContext) -> None:
        self._slow_seconds: float = context.settings["slow_seconds"]
        self._ledger = Ledger(context.data_dir / "gateway.db", note_event)
        self.dashboard = Dashboard(self._ledger)

    def initiate_payment(self, request: PaymentRequest) -> PaymentResult:
        return self._begin(request, setup=False)

    def save_method(self, request: PaymentRequest) -> PaymentResult:
        return self._begin(request, setup=True)

    def confirm_payment(self, payment: PaymentReference, client_data: Mapping[str, Any]) -> PaymentResult:
        """Settle by what the bank says, which the gateway knows; `client_data` passed through the buyer's hands and proves nothing."""
        return self._ledger.whole(self._ledger.settle(payment, approved=True))

    def retrieve_payment(self, payment: PaymentReference) -> PaymentResult:
        return self._ledger.whole(self._ledger.look_up(payment))

    def capture_payment(self, request: CaptureRequest) -> PaymentResult:
        return self._ledger.whole(self._ledger.capture(request))

    def cancel_payment(self, payment: PaymentReference) -> PaymentResult:
        return self._ledger.whole(self._ledger.cancel(payment))

    def refund_payment(self, request: RefundRequest) -> RefundResult:
        """Refunds up to the charged amount; one beyond it is answered `failed` with nothing given back."""
        return self._ledger.refund(request)

    def delete_method(self, reference: str) -> None:
        self._ledger.delete_method(reference)

    def list_changes(self, since: datetime, cursor: str | None) -> ProviderChanges:
        """`since`: real time, as the gateway's is, however the shop's clock was moved."""
        page, further = page_of_events(self._ledger, since, cursor)
        return ProviderChanges(tuple(event for each in page for event in read_event(*each)), further)

    def charges(self) -> list[Charge]:
        """What the gateway's dashboard would show, for tests that ask what was really charged: every attempt, oldest first."""
        return self._ledger.charges()

    def _begin(self, request: PaymentRequest, *, setup: bool) -> PaymentResult:
        if request.token == "tok_unavailable":
            raise ProviderUnavailable("the sandbox gateway is down")
        return self._answer(self._ledger.begin(request, setup=setup))

    def _answer(self, entry: Entry) -> PaymentResult:
        """By now the entry is on disk: a caller that gives up, or dies, can still find out."""
        if entry.token == "tok_slow":
            time.sleep(self._slow_seconds)
        if entry.token == "tok_timeout":
            raise ProviderTimeout("the sandbox gateway did not answer")
        return self._ledger.whole(entry)


class SandboxPlugin:
    """Brings the provider `sandbox`, except in live mode."""

    settings_schema = SandboxSettings

    def __init__(self, context: PluginContext) -> None:
        self._context = context

    @hookimpl
    def register_payment_providers(self) -> list[PaymentProvider]:
        if self._context.mode == "live":
            log.info("live mode: the sandbox payment provider is left out")
            return []
        if self._context.settings["gateway_url"]:
            return [RemoteSandbox(self._context.settings, SandboxProvider.capabilities)]
        return [SandboxProvider(self._context)]

    @hookimpl
    def register_commands(self) -> list[object]:
        return [] if self._context.mode == "live" else [sandbox_gateway]
