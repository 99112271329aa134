"""What may be claimed, written down and shown."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

from puesto import PaymentProvider
from puesto.testing.payments.kit import Kit


class ContractCases(Kit):
    def test_capabilities_fit_together(self, provider: PaymentProvider) -> None:
        can = provider.capabilities

        assert can.refund or not can.partial_refund
        assert can.save_method or not can.off_session
        assert self.action_token is not None or not can.redirect

    def test_results_are_json_safe(self, provider: PaymentProvider) -> None:
        _, result = self.pay(provider, save_method=provider.capabilities.save_method)

        data = dict(result.data)

        assert json.loads(json.dumps(data)) == data
        assert json.dumps(asdict(replace(result, data=data, due_on=None)))

    def test_no_secret_shows_in_a_repr(self, provider: PaymentProvider) -> None:
        request, result = self.pay(provider, save_method=provider.capabilities.save_method)
        method = result.saved_method.reference if result.saved_method else None
        shown = repr([provider, provider.capabilities, request, replace(request, token=None, method=method), result])

        assert [secret for secret in (*self.secrets, self.good_token, method) if secret and secret in shown] == []
