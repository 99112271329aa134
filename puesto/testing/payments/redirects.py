"""The further step at another page: taken, refused, given up."""

from __future__ import annotations

from dataclasses import replace

from puesto import PaymentProvider
from puesto.testing.payments.kit import Kit, lost_reference, reference, settled


class RedirectCases(Kit):
    def test_a_redirect_waits_until_it_is_confirmed(self, provider: PaymentProvider) -> None:
        self.need(provider, "redirect")

        request, result = self.pay(provider, token=self.action_token)

        assert (result.status, result.amount.amount) == ("requires_action", 0)
        assert result.action is not None and (result.action.type, str(result.action.url)[:4]) == ("redirect", "http")
        assert provider.initiate_payment(request) == result
        assert provider.retrieve_payment(reference(request, result)) == result

    def test_a_redirect_confirmed_twice_charges_once(self, provider: PaymentProvider) -> None:
        self.need(provider, "redirect")
        request, result = self.pay(provider, token=self.action_token)
        came_back = self.buyer_acts(provider, result)

        confirmed = provider.confirm_payment(reference(request, result), came_back)

        assert confirmed == replace(result, status=settled(provider), amount=request.amount, action=None, data=confirmed.data)
        assert provider.confirm_payment(reference(request, confirmed), came_back) == confirmed
        assert provider.initiate_payment(request) == confirmed
        assert provider.retrieve_payment(reference(request, confirmed)) == confirmed

    def test_a_redirect_that_the_bank_refuses_is_declined_for_good(self, provider: PaymentProvider) -> None:
        self.need(provider, "redirect")
        self.need_token("refused_action_token")
        request, result = self.pay(provider, token=self.refused_action_token)
        came_back = self.buyer_acts(provider, result)

        declined = provider.confirm_payment(reference(request, result), came_back)

        assert (result.status, declined.status, declined.amount.amount) == ("requires_action", "declined", 0)
        assert declined.error is not None and declined.error.code == "authentication_failed"
        assert provider.confirm_payment(reference(request, result), came_back) == declined
        assert provider.retrieve_payment(reference(request, result)) == declined

    def test_a_canceled_payment_can_not_be_paid_any_more(self, provider: PaymentProvider) -> None:
        self.need(provider, "cancel")
        self.need(provider, "redirect")
        request, result = self.pay(provider, token=self.action_token)

        canceled = provider.cancel_payment(reference(request, result))
        came_back = self.buyer_acts(provider, result)

        assert (canceled.status, canceled.amount.amount, canceled.action) == ("canceled", 0, None)
        assert provider.confirm_payment(reference(request, result), came_back) == canceled
        assert provider.cancel_payment(lost_reference(request)) == canceled
        assert provider.retrieve_payment(reference(request, result)) == canceled
