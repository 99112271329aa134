"""What may be claimed, written down and shown."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from puesto import PaymentProvider
from puesto.testing.payments.kit import Kit, lost_reference
from puesto.testing.payments.table import report_of

# What a provider implements, by what it claims.
ALWAYS = ("initiate_payment", "retrieve_payment")
NEEDED = {
    "authorize": ("capture_payment", "cancel_payment"),
    "cancel": ("cancel_payment",),
    "refund": ("refund_payment",),
    "save_method": ("save_method", "delete_method"),
    "webhooks": ("parse_webhook",),
    "list_changes": ("list_changes",),
}


class ContractCases(Kit):
    def test_capabilities_fit_together(self, provider: PaymentProvider) -> None:
        can = provider.capabilities

        assert can.refund or not can.partial_refund
        assert can.authorize or not can.partial_capture
        assert can.save_method or not can.off_session
        assert self.action_token is not None or not can.redirect
        assert self.script_token is not None or not can.client_confirm

    def test_what_is_claimed_is_implemented(self, provider: PaymentProvider, pytestconfig: pytest.Config) -> None:
        claimed = [(claim, method) for claim, methods in NEEDED.items() if getattr(provider.capabilities, claim) for method in methods]
        wanted = [("every provider", method) for method in ALWAYS] + claimed

        missing = [f"{claim} needs {method}" for claim, method in wanted if not _implements(provider, method)]

        assert missing == [], f"{provider.name} claims what it does not implement: {', '.join(missing)}"
        report_of(pytestconfig).met[provider.name] = provider

    def test_results_are_json_safe(self, provider: PaymentProvider) -> None:
        _, result = self.pay(provider, save_method=provider.capabilities.save_method)

        data, action = dict(result.data), dict(result.action.data) if result.action else {}

        assert json.loads(json.dumps([data, action])) == [data, action]
        assert json.dumps(asdict(replace(result, data=data, action=None, due_on=None)))

    def test_no_secret_shows_in_a_repr(self, provider: PaymentProvider) -> None:
        request, result = self.pay(provider, save_method=provider.capabilities.save_method)
        method = result.saved_method.reference if result.saved_method else None
        shown = repr([provider, provider.capabilities, request, replace(request, token=None, method=method), result])

        assert [secret for secret in (*self.secrets, self.good_token, method) if secret and secret in shown] == []

    def test_no_secret_shows_in_what_the_buyer_gets(self, provider: PaymentProvider) -> None:
        results = [self.pay(provider, token=token)[1] for token in (self.good_token, self.action_token, self.script_token) if token]

        shown = repr([(result.action and asdict(result.action), result.error) for result in results])

        assert [secret for secret in self.secrets if secret in shown] == []

    def test_no_secret_shows_in_logs_and_exceptions(self, provider: PaymentProvider, caplog: pytest.LogCaptureFixture) -> None:
        """Where all goes well, and where it does not. Logs of every library count, down to DEBUG."""
        with caplog.at_level(logging.DEBUG):
            told = [_told(self.pay, provider, token=token) for token in self._tokens()]
            told.append(_told(provider.retrieve_payment, lost_reference(self.request())))
            told.append(_told(provider.parse_webhook, {"signature": "none"}, b"{}", datetime.now(UTC)))
            method = self.store(provider) if provider.capabilities.save_method else None
            if method is not None:
                told += [_told(self.pay, provider, token=None, method=method), _told(provider.delete_method, method)]

        shown = "\n".join([*told, *(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)])
        assert [secret for secret in (*self.secrets, *self._tokens(), method) if secret and secret in shown] == []

    def _tokens(self) -> list[str]:
        """Each of those that are named."""
        ours = (self.good_token, self.action_token, self.script_token, self.lost_token, self.unavailable_token, *self.declined_tokens)
        return [token for token in ours if token is not None]


def _implements(provider: PaymentProvider, method: str) -> bool:
    return getattr(type(provider), method, None) is not getattr(PaymentProvider, method)


def _told(call: Callable[..., object], *arguments: Any, **named: Any) -> str:
    """What a caller learns from the exception, with its causes; nothing where none is raised."""
    try:
        call(*arguments, **named)
    except Exception as error:
        return "".join(traceback.format_exception(error)) + repr(error)
    return ""
