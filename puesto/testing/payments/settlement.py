"""Payments that are known to have come only after days: `async_settlement`."""

from __future__ import annotations

from puesto import PaymentProvider
from puesto.testing.payments.kit import Kit, reference


class SettlementCases(Kit):
    def test_until_the_money_comes_nothing_counts_as_taken(self, provider: PaymentProvider) -> None:
        self.need(provider, "async_settlement")

        request, result = self.pay(provider)

        assert result.status in ("processing", "requires_action")
        assert provider.initiate_payment(request) == result
        assert provider.retrieve_payment(reference(request, result)).status == result.status

    def test_the_money_comes_and_the_payment_is_captured(self, provider: PaymentProvider) -> None:
        self.need(provider, "async_settlement")

        request, result = self.paid(provider)

        assert (result.status, result.amount, result.action) == ("captured", request.amount, None)

    def test_the_money_does_not_come_and_nothing_was_taken(self, provider: PaymentProvider) -> None:
        self.need(provider, "async_settlement")
        self.need_token("failing_token")

        _, result = self.paid(provider, token=self.failing_token)

        assert result.status in ("declined", "failed")
        assert result.error is not None
