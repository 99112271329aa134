"""A payment that needs nobody: taken at once, declined, looked up."""

from __future__ import annotations

import pytest

from puesto import PaymentProvider, PaymentUnknown
from puesto.testing.payments.kit import Kit, lost_reference, reference, settled


class PayingCases(Kit):
    def test_a_payment_is_settled_in_full(self, provider: PaymentProvider) -> None:
        request, result = self.paid(provider)

        assert (result.status, result.amount, result.error) == (settled(provider), request.amount, None)
        assert result.action is None or (provider.capabilities.on_terms and result.action.type == "display")
        assert result.provider_ref

    def test_another_key_is_another_payment(self, provider: PaymentProvider) -> None:
        (_, first), (_, second) = self.pay(provider), self.pay(provider)

        assert first.provider_ref != second.provider_ref

    def test_each_declining_token_is_declined_with_its_code(self, provider: PaymentProvider) -> None:
        self.need_declined_tokens()

        results = {token: self.pay(provider, token=token)[1] for token in self.declined_tokens}

        assert {token: result.error and result.error.code for token, result in results.items()} == dict(self.declined_tokens)
        assert {(result.status, result.amount.amount) for result in results.values()} == {("declined", 0)}

    def test_a_decline_is_remembered(self, provider: PaymentProvider) -> None:
        self.need_declined_tokens()

        request, result = self.pay(provider, token=next(iter(self.declined_tokens)))

        assert provider.initiate_payment(request) == result
        assert provider.retrieve_payment(reference(request, result)) == result

    def test_looking_up_by_reference_answers_the_result(self, provider: PaymentProvider) -> None:
        request, result = self.pay(provider)

        assert provider.retrieve_payment(reference(request, result)) == result

    def test_an_unknown_key_is_unknown(self, provider: PaymentProvider) -> None:
        request = self.request()

        with pytest.raises(PaymentUnknown):
            provider.retrieve_payment(lost_reference(request))

    def test_confirming_what_is_settled_already_changes_nothing(self, provider: PaymentProvider) -> None:
        request, result = self.paid(provider)

        assert provider.confirm_payment(reference(request, result), {}) == result
        assert provider.retrieve_payment(reference(request, result)) == result

    def test_what_is_paid_can_not_be_canceled(self, provider: PaymentProvider) -> None:
        self.need(provider, "cancel")
        request, result = self.paid(provider)

        assert provider.cancel_payment(reference(request, result)) == result

    def test_canceling_what_the_provider_never_heard_of_says_so(self, provider: PaymentProvider) -> None:
        self.need(provider, "cancel")

        with pytest.raises(PaymentUnknown):
            provider.cancel_payment(lost_reference(self.request()))
