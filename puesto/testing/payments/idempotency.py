"""One key is one charge, whoever asks how often; a lost answer is found by the key, which is all that the engine has then."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from puesto import PaymentProvider, PaymentUnknown, ProviderTimeout, ProviderUnavailable
from puesto.testing.payments.kit import Kit, lost_reference, settled


class IdempotencyCases(Kit):
    def test_the_same_key_twice_charges_once(self, provider: PaymentProvider) -> None:
        request, first = self.pay(provider)

        assert provider.initiate_payment(request) == first

    def test_the_same_key_from_many_threads_charges_once(self, provider: PaymentProvider) -> None:
        request = self.request()

        with ThreadPoolExecutor(8) as threads:
            refs = {result.provider_ref for result in threads.map(provider.initiate_payment, [request] * 8)}

        assert len(refs) == 1

    def test_the_same_refund_from_many_threads_gives_back_once(self, provider: PaymentProvider) -> None:
        self.need(provider, "refund")
        refund = self.refund(*self.paid(provider), self.amount())

        with ThreadPoolExecutor(8) as threads:
            refs = {result.provider_ref for result in threads.map(provider.refund_payment, [refund] * 8)}

        assert len(refs) == 1

    def test_lost_answers_are_found_by_the_key(self, provider: PaymentProvider) -> None:
        self.need_books(provider)

        asked = [self.pay(provider, token=token) for token in (self.good_token, *self.declined_tokens)]

        assert [provider.retrieve_payment(lost_reference(request)) for request, _ in asked] == [result for _, result in asked]

    def test_a_lost_redirect_is_found_and_confirmed_by_the_key(self, provider: PaymentProvider) -> None:
        self.need(provider, "redirect")
        request, result = self.pay(provider, token=self.action_token)

        found = provider.retrieve_payment(lost_reference(request))
        confirmed = provider.confirm_payment(lost_reference(request), self.buyer_acts(provider, found))

        assert found == result
        assert (confirmed.status, confirmed.amount, confirmed.provider_ref) == (settled(provider), request.amount, result.provider_ref)

    def test_a_method_whose_answer_was_lost_is_found_by_the_key(self, provider: PaymentProvider) -> None:
        self.need(provider, "save_method")
        request = self.request(amount=self.amount(0))

        stored = provider.save_method(request)

        assert provider.retrieve_payment(lost_reference(request)) == stored

    def test_a_payment_whose_answer_was_lost_can_be_refunded(self, provider: PaymentProvider) -> None:
        self.need(provider, "refund")
        self.need_books(provider)
        refund = self.refund(*self.paid(provider), self.amount())

        result = provider.refund_payment(replace(refund, payment=replace(refund.payment, provider_ref=None, data={})))

        assert (result.status in ("succeeded", "processing"), result.amount) == (True, self.amount())
        assert provider.refund_payment(refund) == result

    def test_an_answer_that_never_comes_may_have_charged(self, provider: PaymentProvider) -> None:
        self.need_token("lost_token")
        request = self.request(token=self.lost_token)

        with pytest.raises(ProviderTimeout):
            provider.initiate_payment(request)

        found = provider.retrieve_payment(lost_reference(request))
        assert (found.status, found.amount) == (settled(provider), request.amount)

    def test_an_unavailable_provider_has_charged_nothing(self, provider: PaymentProvider) -> None:
        self.need_token("unavailable_token")
        request = self.request(token=self.unavailable_token)

        with pytest.raises(ProviderUnavailable):
            provider.initiate_payment(request)

        with pytest.raises(PaymentUnknown):
            provider.retrieve_payment(lost_reference(request))
