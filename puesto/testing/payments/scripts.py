"""The further step in the provider's own script, in the buyer's browser: `client_confirm`."""

from __future__ import annotations

import json

from puesto import PaymentProvider
from puesto.testing.payments.kit import Kit, reference, settled


class ScriptCases(Kit):
    def test_a_script_gets_its_data_and_nothing_is_taken_before(self, provider: PaymentProvider) -> None:
        self.need(provider, "client_confirm")

        request, result = self.pay(provider, token=self.script_token)

        assert (result.status, result.amount.amount) == ("requires_action", 0)
        assert result.action is not None and (result.action.type, bool(result.action.data)) == ("client_sdk", True)
        assert json.loads(json.dumps(dict(result.action.data))) == dict(result.action.data)
        assert provider.confirm_payment(reference(request, result), {}).amount.amount == 0
        assert provider.initiate_payment(request) == result

    def test_a_script_that_has_run_is_confirmed_once(self, provider: PaymentProvider) -> None:
        self.need(provider, "client_confirm")
        request, result = self.pay(provider, token=self.script_token)
        client_data = self.buyer_acts(provider, result)

        confirmed = provider.confirm_payment(reference(request, result), client_data)

        assert (confirmed.status, confirmed.amount, confirmed.provider_ref) == (settled(provider), request.amount, result.provider_ref)
        assert provider.confirm_payment(reference(request, confirmed), client_data) == confirmed
        assert provider.retrieve_payment(reference(request, confirmed)) == confirmed

    def test_what_a_browser_claims_is_not_believed(self, provider: PaymentProvider) -> None:
        """`client_data` passes through the buyer's hands: it says where to look, and not what became of the payment."""
        self.need(provider, "client_confirm")
        request, result = self.pay(provider, token=self.script_token)

        claimed = provider.confirm_payment(reference(request, result), {"status": "succeeded", "amount": 100_00, "paid": True})

        assert (claimed.status, claimed.amount.amount) == ("requires_action", 0)
