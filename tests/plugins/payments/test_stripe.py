"""Cards through Stripe, against localstripe."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from typing import ClassVar
from uuid import uuid4

import pytest

from puesto import PaymentError, PaymentUnknown, ProviderMisconfigured, ProviderUnavailable, eur
from puesto.testing.payments import PaymentProviderContract, lost_reference, reference
from puesto.testing.payments.faults import FaultCases
from puesto.testing.payments.network import FaultyNetwork
from puesto.testing.payments.scripts import ScriptCases
from tests.plugins.payments.localstripe import OnLocalstripe, ask, decide, localstripe, stripe_plugin

__all__ = ["localstripe"]


@pytest.fixture(scope="module")
def made_with(tmp_path_factory, localstripe):
    """The provider, with these settings; at localstripe, or what is in front of it."""

    @cache
    def make(address=localstripe, **settings):
        [provider] = stripe_plugin(tmp_path_factory.mktemp("stripe"), address, **settings).register_payment_providers()
        return provider

    return make


class TestStripe(OnLocalstripe, PaymentProviderContract):
    good_token = "pm_card_visa"
    action_token = "pm_card_authenticationRequired"
    refused_action_token = "pm_card_authenticationRefused"
    declined_tokens: ClassVar = {
        "pm_card_visa_chargeDeclined": "card_declined",
        "pm_card_visa_chargeDeclinedInsufficientFunds": "insufficient_funds",
        "pm_card_visa_chargeDeclinedStolenCard": "fraud_suspected",
        "pm_card_chargeDeclinedExpiredCard": "expired_card",
        "pm_card_chargeDeclinedProcessingError": "provider_error",
    }

    @pytest.fixture
    def provider(self, made_with):
        return made_with(multicapture=True)

    def buyer_acts(self, provider, result):
        decide(result, "approve", self.address)
        return {"payment_intent": result.provider_ref, "redirect_status": "succeeded"}

    def buyer_gives_up(self, provider, result):
        decide(result, "refuse", self.address)
        return {"payment_intent": result.provider_ref, "redirect_status": "failed"}

    def test_a_key_that_is_good_is_healthy(self, provider):
        provider.check_health()

    def test_a_capture_is_found_by_its_id_once_stripe_has_forgotten_the_key(self, provider):
        capture = self.capture(*self.set_aside(provider), self.amount(40_00))
        first = provider.capture_payment(capture)

        again = provider.capture_payment(replace(capture, idempotency_key="another"))

        assert again == first
        assert (first.status, first.captured) == ("partially_captured", self.amount(40_00))

    def test_without_multicapture_a_part_lets_go_of_the_rest(self, made_with):
        provider = made_with()
        taken = provider.capture_payment(self.capture(*self.set_aside(provider), self.amount(40_00), final=True))

        assert not provider.capabilities.partial_capture
        assert (taken.status, taken.amount, taken.captured) == ("captured", self.amount(), self.amount(40_00))

    def test_more_refunds_than_stripe_shows_at_once_are_all_in_the_books(self, provider):
        request, result = self.pay(provider)
        for _ in range(11):
            provider.refund_payment(self.refund(request, result, self.amount(1)))

        assert len(provider.retrieve_payment(reference(request, result)).refunds) == 11

    def test_a_decline_says_in_stripes_words_why(self, provider):
        errors = [self.pay(provider, token=token)[1].error for token in self.declined_tokens]

        assert errors == [
            PaymentError("card_declined", provider_code="generic_decline"),
            PaymentError("insufficient_funds", retryable=True, provider_code="insufficient_funds"),
            PaymentError("fraud_suspected", provider_code="stolen_card"),
            PaymentError("expired_card", provider_code="expired_card"),
            PaymentError("provider_error", retryable=True, provider_code="processing_error"),
        ]

    def test_a_method_that_nobody_knows_is_declined(self, provider):
        _, result = self.pay(provider, token="pm_nobody_knows")

        assert (result.status, result.amount, result.error) == (
            "declined",
            eur(0),
            PaymentError("card_declined", provider_code="resource_missing"),
        )

    def test_who_is_not_there_can_not_be_asked_by_the_bank(self, provider):
        _, result = self.pay(provider, token=self.action_token, on_session=False)

        assert result.error == PaymentError("authentication_failed", provider_code="authentication_required")

    def test_a_stored_method_is_shown_by_brand_number_and_expiry(self, provider):
        saved = provider.save_method(self.request(amount=self.amount(0))).saved_method

        assert (saved.brand, saved.last4, saved.expires) == ("visa", "4242", "2030-12")

    def test_payments_of_an_account_belong_to_one_customer(self, provider):
        first, second = (provider.save_method(self.request(amount=self.amount(0))).saved_method for _ in range(2))

        assert first.reference.startswith("cus_")
        assert first.reference.partition("/")[0] == second.reference.partition("/")[0]

    def test_an_account_that_pays_many_times_at_once_has_one_customer(self, provider):
        with ThreadPoolExecutor(6) as threads:
            results = list(threads.map(provider.initiate_payment, [self.request() for _ in range(6)]))

        params = {"query": f"metadata['account']:'{self.account}'", "limit": 100}
        [customer] = ask(self.address, "GET", "/v1/customers/search", params=params)["data"]
        assert {result.status for result in results} == {"captured"}
        assert (customer["name"], customer["email"]) == ("Example GmbH", "billing@example.com")

    def test_what_was_never_confirmed_is_unknown_and_can_be_paid_once_more(self, provider, monkeypatch):
        """The process died, or Stripe went away, between the two requests that make a payment."""
        request = self.request()
        with monkeypatch.context() as patch:
            patch.setattr(provider, "_confirm", lambda *_: (_ for _ in ()).throw(ProviderUnavailable("gone")))
            with pytest.raises(ProviderUnavailable):
                provider.initiate_payment(request)

        for _ in range(2):
            with pytest.raises(PaymentUnknown):
                provider.retrieve_payment(lost_reference(request))
        with pytest.raises(PaymentUnknown):
            provider.cancel_payment(lost_reference(request))

        again = provider.initiate_payment(request)
        assert (again.status, again.amount) == ("captured", request.amount)
        assert provider.initiate_payment(request) == again == provider.retrieve_payment(lost_reference(request))
        assert self.charge_count(provider, request.payment_id) == 1

    def test_who_comes_too_late_to_confirm_charges_nothing(self, provider, monkeypatch):
        """The engine has waited long enough, has asked and has given the payment up, before the second request goes out."""
        request, confirm = self.request(), provider._confirm

        def late(*arguments):
            with pytest.raises(PaymentUnknown):
                provider.retrieve_payment(lost_reference(request))
            return confirm(*arguments)

        monkeypatch.setattr(provider, "_confirm", late)
        result = provider.initiate_payment(request)

        assert (result.status, result.amount) == ("canceled", eur(0))
        assert self.charge_count(provider, request.payment_id) == 0

    def test_what_is_confirmed_while_it_is_asked_about_is_known(self, provider, monkeypatch):
        request = self.request()
        with monkeypatch.context() as patch:
            patch.setattr(provider, "_confirm", lambda *_: (_ for _ in ()).throw(ProviderUnavailable("gone")))
            with pytest.raises(ProviderUnavailable):
                provider.initiate_payment(request)
        cancel = provider._cancel

        monkeypatch.setattr(provider, "_cancel", lambda *arguments: (provider.initiate_payment(request), cancel(*arguments))[1])
        found = provider.retrieve_payment(lost_reference(request))

        assert (found.status, found.amount) == ("captured", request.amount)

    def test_a_reference_that_stripe_does_not_know_is_no_proof_that_nothing_was_charged(self, provider):
        request, result = self.pay(provider)

        with pytest.raises(ProviderMisconfigured):
            provider.retrieve_payment(replace(reference(request, result), provider_ref="pi_of_another_account"))

    def test_a_refund_is_found_by_its_id_once_stripe_has_forgotten_the_key(self, provider):
        request, result = self.pay(provider)
        refund = self.refund(request, result, self.amount(40_00))
        first = provider.refund_payment(refund)

        again = provider.refund_payment(replace(refund, idempotency_key="another"))

        assert again == first
        assert len(provider.retrieve_payment(reference(request, result)).refunds) == 1


class TestStripeInThePage(ScriptCases):
    """3-D Secure by Stripe.js: the setting three_d_secure."""

    good_token = "pm_card_visa"
    script_token = "pm_card_authenticationRequired"

    @pytest.fixture(autouse=True)
    def server(self, localstripe):
        self.address = localstripe

    @pytest.fixture
    def provider(self, made_with):
        return made_with(three_d_secure="client_sdk")

    def buyer_acts(self, provider, result):
        decide(result, "approve", self.address)
        return {}

    def test_the_script_gets_what_stripe_js_wants(self, provider):
        _, result = self.pay(provider, token=self.script_token)

        assert result.action.data.keys() == {"client_secret", "publishable_key"}
        assert result.action.data["client_secret"].startswith(f"{result.provider_ref}_secret_")
        assert result.action.data["client_secret"] not in repr(result)


@pytest.mark.slow
class TestStripeOverAFaultyNetwork(OnLocalstripe, FaultCases):
    good_token = "pm_card_visa"
    paying_requests = ("GET /v1/customers/search", "POST /v1/customers", "POST /v1/payment_intents", "/confirm")
    refunding_requests = ("GET /v1/refunds", "POST /v1/refunds")
    capturing_requests = ("/capture",)
    looking_up_requests = ("GET /v1/customers/search", "GET /v1/payment_intents")

    @pytest.fixture
    def network(self, localstripe):
        with FaultyNetwork(localstripe) as network:
            yield network

    @pytest.fixture
    def remote_provider(self, made_with, network):
        return made_with(network.url, timeout=1.5)

    def request(self, **changes):
        """Each of a new account, so that its customer is made as well."""
        self.account = f"acc_{uuid4().hex}"
        return super().request(**changes)
