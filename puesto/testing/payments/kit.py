"""What the cases of the kit share: what a provider's tests name, requests to pay with, and what is skipped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar
from uuid import uuid4

import pytest

from puesto import (
    Customer,
    Money,
    PaymentProvider,
    PaymentReference,
    PaymentRequest,
    PaymentResult,
    RefundRequest,
)

RETURN_URL = "https://shop.example/return?order=ord_1"


class Kit:
    """What a provider's test class says of it. Needs a fixture `provider`, fresh or shared: each case uses keys of its own.

    good_token:      pays at once; None where the provider takes no token.
    declined_tokens: token -> the code it is declined with.
    action_token:    asks for a redirect, then pays. Needed where `redirect` is claimed.
    refused_action_token: asks for a redirect, then is declined with authentication_failed.
    lost_token:      pays, and then no answer comes: ProviderTimeout.
    unavailable_token: the provider can't be reached: ProviderUnavailable.
    currency:        of the amounts that most cases use.
    secrets:         what no repr may show: the provider's keys. Tokens and stored methods are looked for in any case.
    """

    good_token: ClassVar[str | None] = None
    declined_tokens: ClassVar[Mapping[str, str]] = {}
    action_token: ClassVar[str | None] = None
    refused_action_token: ClassVar[str | None] = None
    lost_token: ClassVar[str | None] = None
    unavailable_token: ClassVar[str | None] = None
    currency: ClassVar[str] = "EUR"
    secrets: ClassVar[Iterable[str]] = ()

    def buyer_acts(self, provider: PaymentProvider, result: PaymentResult) -> Mapping[str, Any]:
        """Do what the buyer does at `result.action.url`, and answer the query parameters they bring back. Override where needed."""
        return {}

    def webhook(self, provider: PaymentProvider, request: PaymentRequest, result: PaymentResult) -> tuple[Mapping[str, str], bytes]:
        """Headers and body that the provider sends of a payment, signed just now. Override where `webhooks` is claimed."""
        raise NotImplementedError("webhooks is claimed: override `webhook`")

    def amount(self, minor_units: int = 100_00) -> Money:
        return Money(minor_units, self.currency)

    def request(self, **changes: Any) -> PaymentRequest:
        """A request for 10000 minor units with `good_token`, a key of its own, and whatever is to differ."""
        key = uuid4().hex
        request = PaymentRequest(
            payment_id=f"pay_{key}",
            amount=self.amount(),
            customer=Customer("acc_1", "Example GmbH", "billing@example.com", "DE", purchase_order="PO-7"),
            idempotency_key=key,
            return_url=RETURN_URL,
            locale="en",
            token=self.good_token,
        )
        return replace(request, **changes)

    def pay(self, provider: PaymentProvider, **changes: Any) -> tuple[PaymentRequest, PaymentResult]:
        request = self.request(**changes)
        return request, provider.initiate_payment(request)

    def store(self, provider: PaymentProvider, **changes: Any) -> str:
        """Store a method and answer its reference."""
        stored = provider.save_method(self.request(amount=self.amount(0), **changes)).saved_method
        assert stored is not None
        return stored.reference

    def refund(self, request: PaymentRequest, result: PaymentResult, amount: Money) -> RefundRequest:
        key = uuid4().hex
        return RefundRequest(reference(request, result), f"ref_{key}", amount, "requested by the buyer", key)

    def need(self, provider: PaymentProvider, capability: str) -> None:
        if not getattr(provider.capabilities, capability):
            pytest.skip(f"{provider.name} does not claim {capability}")

    def need_books(self, provider: PaymentProvider) -> None:
        if provider.capabilities.on_terms:  # a lost answer may as well be given anew
            pytest.skip(f"{provider.name} moves no money and keeps no books")

    def need_token(self, name: str) -> None:
        if getattr(self, name) is None:
            pytest.skip(f"no {name} is named")

    def need_declined_tokens(self) -> None:
        if not self.declined_tokens:
            pytest.skip("no declining tokens are named")


def reference(request: PaymentRequest, result: PaymentResult) -> PaymentReference:
    """The payment as the engine hands it back once it has an answer."""
    return PaymentReference(request.payment_id, request.amount, request.idempotency_key, result.provider_ref, result.data)


def lost_reference(request: PaymentRequest) -> PaymentReference:
    """The payment as the engine asks for it when the answer never arrived."""
    return PaymentReference(request.payment_id, request.amount, request.idempotency_key)


def settled(provider: PaymentProvider) -> Any:
    """The status of a payment that went well: `authorized` on terms, else `captured`."""
    return "authorized" if provider.capabilities.on_terms else "captured"
