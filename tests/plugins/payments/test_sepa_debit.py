"""SEPA debits through Stripe, against localstripe. The IBANs are Stripe's own for tests."""

from functools import cache

import pytest

from plugins.payments.sepa_debit import SepaDebitPlugin
from puesto import Dispute, PayableCart, PaymentError, eur, usd
from puesto.testing.payments import PaymentProviderContract, lost_reference, reference
from tests.plugins.payments.localstripe import OnLocalstripe, localstripe, stripe_plugin

__all__ = ["localstripe"]
RETURNED = "pm_iban_DE35370400440532013002"


@pytest.fixture(scope="module")
def made(tmp_path_factory, localstripe):
    @cache
    def make():
        plugin = stripe_plugin(tmp_path_factory.mktemp("sepa"), localstripe, SepaDebitPlugin, "sepa_debit")
        [provider] = plugin.register_payment_providers()
        return provider

    return make


class TestSepaDebit(OnLocalstripe, PaymentProviderContract):
    good_token = "pm_iban_DE89370400440532013000"
    failing_token = "pm_iban_DE62370400440532013001"

    @pytest.fixture
    def provider(self, made):
        return made()

    def test_it_takes_euros_only(self, provider):
        carts = [PayableCart(amount, "ES", corporate=False, staff=False) for amount in (eur("0.50"), eur("0.49"), usd("10.00"))]

        assert [provider.refusal(cart) for cart in carts] == [None, "amount_too_small", "currency_unsupported"]

    def test_the_mandate_is_kept_with_the_payment(self, provider):
        request, result = self.pay(provider)

        assert (result.status, result.amount, result.data["mandate"][:8]) == ("processing", eur(0), "mandate_")
        assert provider.retrieve_payment(lost_reference(request)).data == result.data

    def test_money_that_does_not_come_says_why(self, provider):
        _, result = self.paid(provider, token=self.failing_token)

        assert (result.status, result.amount) == ("declined", eur(0))
        assert result.error == PaymentError("insufficient_funds", retryable=True, provider_code="insufficient_funds")

    def test_a_debit_that_is_returned_is_a_dispute_that_is_lost(self, provider):
        request, result = self.paid(provider, token=RETURNED)

        found = provider.retrieve_payment(reference(request, result))

        [dispute] = found.disputes
        assert (found.status, found.amount) == ("captured", eur("100.00"))
        assert dispute == Dispute(dispute.provider_ref, eur("100.00"), "lost", "fraudulent")

    def test_an_account_kept_for_later_is_shown_by_the_end_of_its_iban(self, provider):
        saved = provider.save_method(self.request(amount=self.amount(0))).saved_method

        assert (saved.brand, saved.last4, saved.expires) == ("sepa_debit", "3000", None)

    def test_a_card_is_no_account_to_debit(self, provider):
        _, result = self.pay(provider, token="pm_card_visa")

        assert (result.status, result.amount) == ("declined", eur(0))

    def test_cards_have_settings_that_debits_have_not(self):
        assert {"three_d_secure", "multicapture"}.isdisjoint(SepaDebitPlugin.settings_schema().fields)


def test_without_a_key_it_rests_and_says_why(tmp_path):
    plugin = stripe_plugin(tmp_path, None, SepaDebitPlugin, "sepa_debit", secret_key=None)

    assert plugin.register_payment_providers() == []
    assert plugin.idle == "rests until plugins.sepa_debit.secret_key is set"
