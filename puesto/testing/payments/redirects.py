"""The further step at another page: taken, refused, given up."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from puesto import PaymentProvider
from puesto.testing.payments.kit import Kit, lost_reference, reference, settled


class RedirectCases(Kit):
    def test_a_redirect_waits_until_it_is_confirmed(self, provider: PaymentProvider) -> None:
        self.need(provider, "redirect")

        request, result = self.pay(provider, token=self.action_token)

        assert (result.status, result.amount.amount) == ("requires_action", 0)
        assert result.action is not None and (result.action.type, str(result.action.url)[:4]) == ("redirect", "http")
        assert result.action.expires_at is None or result.action.expires_at.tzinfo is not None
        assert provider.initiate_payment(request) == result
        assert provider.retrieve_payment(reference(request, result)) == result

    def test_a_redirect_confirmed_twice_charges_once(self, provider: PaymentProvider) -> None:
        self.need(provider, "redirect")
        request, result = self.pay(provider, token=self.action_token)
        came_back = self.buyer_acts(provider, result)

        confirmed = provider.confirm_payment(reference(request, result), came_back)

        assert confirmed == replace(
            result, status=settled(provider), amount=request.amount, action=None, data=confirmed.data, captured=confirmed.captured
        )
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

    def test_a_buyer_who_returns_twice_at_once_is_charged_once(self, provider: PaymentProvider) -> None:
        self.need(provider, "redirect")
        request, result = self.pay(provider, token=self.action_token)
        payment, came_back = reference(request, result), self.buyer_acts(provider, result)

        with ThreadPoolExecutor(8) as threads:
            confirmed = list(threads.map(lambda _: provider.confirm_payment(payment, came_back), range(8)))

        assert confirmed == [provider.retrieve_payment(payment)] * 8
        assert (confirmed[0].status, confirmed[0].amount) == (settled(provider), request.amount)

    def test_a_buyer_who_gives_up_has_paid_nothing(self, provider: PaymentProvider) -> None:
        self.need(provider, "redirect")
        self.need_override("buyer_gives_up")
        request, result = self.pay(provider, token=self.action_token)
        came_back = self.buyer_gives_up(provider, result)

        given_up = provider.confirm_payment(reference(request, result), came_back)

        assert (given_up.status in ("requires_action", "declined", "canceled"), given_up.amount.amount) == (True, 0)
        assert provider.retrieve_payment(reference(request, result)) == given_up
        if provider.capabilities.cancel and given_up.status == "requires_action":
            assert provider.cancel_payment(reference(request, result)).status == "canceled"

    def test_an_abandoned_redirect_is_ended_by_the_key(self, provider: PaymentProvider) -> None:
        """The buyer never comes back, and the engine never got the answer that sent them away."""
        self.need(provider, "cancel")
        self.need(provider, "redirect")
        request, _ = self.pay(provider, token=self.action_token)

        canceled = provider.cancel_payment(lost_reference(request))

        assert (canceled.status, canceled.amount.amount) == ("canceled", 0)
        assert provider.retrieve_payment(lost_reference(request)) == canceled
        assert provider.initiate_payment(request) == canceled
