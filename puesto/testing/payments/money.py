"""Amounts are minor units of their currency, whatever its decimals, and within the bounds that are claimed."""

from __future__ import annotations

import pytest

from puesto import Money, PayableCart, PaymentProvider
from puesto.testing.payments.kit import Kit


class MoneyCases(Kit):
    @pytest.mark.parametrize("currency", ["JPY", "EUR", "KWD"])  # no, two and three decimals
    def test_minor_units_are_left_as_they_are(self, provider: PaymentProvider, currency: str) -> None:
        amount = Money(12_340, currency)
        reason = provider.refusal(_cart(provider, amount))
        if reason is not None:
            assert provider.capabilities.currencies is None or (reason == "currency_unsupported") == (
                currency not in provider.capabilities.currencies
            )
            pytest.skip(f"{provider.name} takes no {amount}: {reason}")

        assert self.paid(provider, amount=amount)[1].amount == amount

    def test_currencies_that_are_not_named_are_refused(self, provider: PaymentProvider) -> None:
        if provider.capabilities.currencies is None:
            pytest.skip(f"{provider.name} takes any currency")

        other = "EUR" if "EUR" not in provider.capabilities.currencies else "XTS"

        assert provider.refusal(_cart(provider, Money(100_00, other))) == "currency_unsupported"

    def test_countries_that_are_not_named_are_refused(self, provider: PaymentProvider) -> None:
        if provider.capabilities.countries is None:
            pytest.skip(f"{provider.name} takes buyers of any country")

        assert provider.refusal(_cart(provider, self.amount(), country="AQ")) == "country_unsupported"

    def test_the_bounds_themselves_are_taken_and_what_is_beyond_is_refused(self, provider: PaymentProvider) -> None:
        can = provider.capabilities
        if not (can.minimum or can.maximum):
            pytest.skip(f"{provider.name} names no bounds")

        refusals = {(code, units): provider.refusal(_cart(provider, Money(units, code))) for code, units in _around(provider)}

        expected: dict[tuple[str, int], str | None] = {(code, units + step): None for code, units in can.minimum.items() for step in (0, 1)}
        expected |= {(code, units + step): None for code, units in can.maximum.items() for step in (-1, 0)}
        expected |= {(code, units - 1): "amount_too_small" for code, units in can.minimum.items() if units > 1}
        expected |= {(code, units + 1): "amount_too_large" for code, units in can.maximum.items()}
        assert refusals == expected

    def test_the_least_and_the_most_can_be_paid(self, provider: PaymentProvider) -> None:
        bounds = [
            limits[self.currency] for limits in (provider.capabilities.minimum, provider.capabilities.maximum) if self.currency in limits
        ]
        if not bounds:
            pytest.skip(f"{provider.name} names no bounds in {self.currency}")

        paid = [self.paid(provider, amount=self.amount(units))[1].amount.amount for units in bounds]

        assert paid == bounds

    def test_nothing_due_is_below_no_bound(self, provider: PaymentProvider) -> None:
        assert provider.refusal(_cart(provider, self.amount(0))) is None


def _cart(provider: PaymentProvider, amount: Money, country: str | None = None) -> PayableCart:
    countries = provider.capabilities.countries
    return PayableCart(amount, country or (sorted(countries)[0] if countries else "ES"), corporate=True, staff=True)


def _around(provider: PaymentProvider) -> list[tuple[str, int]]:
    """At each bound, a minor unit below it and one above."""
    can = provider.capabilities
    bounds = [*can.minimum.items(), *can.maximum.items()]
    return [(code, units + step) for code, units in bounds for step in (-1, 0, 1) if units + step > 0]
