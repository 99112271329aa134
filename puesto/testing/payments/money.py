"""Amounts are minor units of their currency, whatever its decimals."""

from __future__ import annotations

import pytest

from puesto import Money, PayableCart, PaymentProvider
from puesto.testing.payments.kit import Kit


class MoneyCases(Kit):
    @pytest.mark.parametrize("currency", ["JPY", "EUR", "KWD"])  # no, two and three decimals
    def test_minor_units_are_left_as_they_are(self, provider: PaymentProvider, currency: str) -> None:
        amount = Money(12_345, currency)
        if provider.refusal(PayableCart(amount, "ES", corporate=True, staff=True)) is not None:
            assert provider.capabilities.currencies is not None and currency not in provider.capabilities.currencies
            return

        assert self.pay(provider, amount=amount)[1].amount == amount
