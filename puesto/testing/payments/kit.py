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
    script_token:    asks for the provider's script, then pays. Needed where `client_confirm` is claimed.
    failing_token:   `processing` like the good one, and then the money does not come. For `async_settlement`.
    lost_token:      pays, and then no answer comes: ProviderTimeout.
    unavailable_token: the provider can't be reached: ProviderUnavailable.
    currency:        of the amounts that most cases use.
    secrets:         what may show nowhere: the provider's keys. Tokens and stored methods are looked for in any case.
    """

    good_token: ClassVar[str | None] = None
    declined_tokens: ClassVar[Mapping[str, str]] = {}
    action_token: ClassVar[str | None] = None
    refused_action_token: ClassVar[str | None] = None
    script_token: ClassVar[str | None] = None
    failing_token: ClassVar[str | None] = None
    lost_token: ClassVar[str | None] = None
    unavailable_token: ClassVar[str | None] = None
    currency: ClassVar[str] = "EUR"
    secrets: ClassVar[Iterable[str]] = ()

    # --- what happens outside the provider: override what its capabilities need

    def buyer_acts(self, provider: PaymentProvider, result: PaymentResult) -> Mapping[str, Any]:
        """Do what the buyer does at `result.action`, its page or its script, and answer what they bring back: `client_data`."""
        return {}

    def buyer_gives_up(self, provider: PaymentProvider, result: PaymentResult) -> Mapping[str, Any]:
        """Press the page's way out, and answer what the buyer brings back."""
        raise NotImplementedError

    def money_arrives(self, provider: PaymentProvider, request: PaymentRequest, result: PaymentResult) -> None:
        """Let the bank settle what waits for it, or with `failing_token` send it back. Needed where `async_settlement` is claimed."""
        raise NotImplementedError("async_settlement is claimed: override `money_arrives`")

    def webhook(
        self,
        provider: PaymentProvider,
        request: PaymentRequest,
        result: PaymentResult,
        *,
        type: str | None = None,
        old_secret: bool = False,
    ) -> tuple[Mapping[str, str], bytes]:
        """Headers and body that the provider sends of a payment, signed just now. Needed where `webhooks` is claimed.

        type:       in place of the one that fits the result: something that the provider has never heard of.
        old_secret: sign with the secret that was good before the keys were rotated.
        """
        raise NotImplementedError("webhooks is claimed: override `webhook`")

    def refund_outside(self, provider: PaymentProvider, request: PaymentRequest, result: PaymentResult, amount: Money) -> None:
        """Give money back in the provider's own dashboard."""
        raise NotImplementedError

    def dispute(self, provider: PaymentProvider, request: PaymentRequest, result: PaymentResult, status: str) -> None:
        """Let the buyer's bank open a dispute about the whole payment (`opened`), or decide it (`won`, `lost`: by the seller)."""
        raise NotImplementedError

    # --- helpers, also for a provider's own cases

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

    def paid(self, provider: PaymentProvider, **changes: Any) -> tuple[PaymentRequest, PaymentResult]:
        """A payment with all that follows, to its end."""
        request, result = self.pay(provider, **changes)
        return request, self.finish(provider, request, result)

    def finish(self, provider: PaymentProvider, request: PaymentRequest, result: PaymentResult) -> PaymentResult:
        """What becomes of a payment once the buyer has taken the further step, and the bank has settled it."""
        if result.action is not None and result.action.type != "display":
            result = provider.confirm_payment(reference(request, result), self.buyer_acts(provider, result))
        if not provider.capabilities.async_settlement or result.status not in ("processing", "requires_action"):
            return result
        self.money_arrives(provider, request, result)
        return provider.retrieve_payment(reference(request, result))

    def store(self, provider: PaymentProvider, **changes: Any) -> str:
        """Store a method and answer its reference."""
        request = self.request(amount=self.amount(0), **changes)
        stored = self.finish(provider, request, provider.save_method(request)).saved_method
        assert stored is not None
        return stored.reference

    def refund(self, request: PaymentRequest, result: PaymentResult, amount: Money) -> RefundRequest:
        key = uuid4().hex
        return RefundRequest(reference(request, result), f"ref_{key}", amount, "requested by the buyer", key)

    def need(self, provider: PaymentProvider, capability: str) -> None:
        if not getattr(provider.capabilities, capability):
            pytest.skip(f"{provider.name} does not claim {capability}")

    def need_override(self, name: str) -> None:
        if getattr(type(self), name) is getattr(Kit, name):
            pytest.skip(f"{name} is not overridden")

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
    return replace(lost_reference(request), provider_ref=result.provider_ref, data=result.data)


def lost_reference(request: PaymentRequest) -> PaymentReference:
    """The payment as the engine asks for it when the answer never arrived."""
    return PaymentReference(request.payment_id, request.amount, request.idempotency_key, account=request.customer.account)


def settled(provider: PaymentProvider) -> Any:
    """The status of a payment that went well: `authorized` on terms, else `captured`."""
    return "authorized" if provider.capabilities.on_terms else "captured"
