"""Stored methods: kept without a charge, charged with nobody there, forgotten."""

from __future__ import annotations

from puesto import PaymentProvider
from puesto.testing.payments.kit import Kit, settled


class MethodCases(Kit):
    def test_a_method_is_stored_without_a_charge_and_then_pays(self, provider: PaymentProvider) -> None:
        self.need(provider, "save_method")

        stored = provider.save_method(self.request(amount=self.amount(0)))
        assert (stored.status, stored.amount.amount) == ("captured", 0)
        assert stored.saved_method is not None
        request, result = self.paid(provider, token=None, method=stored.saved_method.reference)

        assert (result.status, result.amount) == (settled(provider), request.amount)

    def test_storing_under_the_same_key_stores_once(self, provider: PaymentProvider) -> None:
        self.need(provider, "save_method")
        request = self.request(amount=self.amount(0))

        assert provider.save_method(request) == provider.save_method(request)

    def test_a_token_is_stored_while_it_pays(self, provider: PaymentProvider) -> None:
        self.need(provider, "save_method")

        _, first = self.paid(provider, save_method=True)
        assert first.saved_method is not None
        _, second = self.paid(provider, token=None, method=first.saved_method.reference)

        assert (first.status, second.status) == (settled(provider), settled(provider))

    def test_a_stored_method_pays_with_nobody_there(self, provider: PaymentProvider) -> None:
        self.need(provider, "off_session")

        _, result = self.paid(provider, token=None, method=self.store(provider), on_session=False)

        assert (result.status, result.amount) == (settled(provider), self.amount())

    def test_a_deleted_method_is_declined(self, provider: PaymentProvider) -> None:
        self.need(provider, "save_method")
        method = self.store(provider)

        provider.delete_method(method)
        provider.delete_method(method)
        _, result = self.pay(provider, token=None, method=method)

        assert (result.status, result.amount.amount) == ("declined", 0)

    def test_a_declining_token_is_not_stored(self, provider: PaymentProvider) -> None:
        self.need(provider, "save_method")
        self.need_declined_tokens()

        results = [provider.save_method(self.request(token=token, amount=self.amount(0))) for token in self.declined_tokens]

        assert [(r.status, r.saved_method) for r in results] == [("declined", None)] * len(self.declined_tokens)
