"""Payment providers: one object per provider, addressed by name, and the values that go in and out.

A decline is a result; an exception means "no answer". A provider never sees a database row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, ClassVar, Literal

from core.hooks import hookspec
from core.rules.money import Money

CONTRACT_VERSION = 1

PaymentStatus = Literal["requires_action", "processing", "authorized", "captured", "declined", "failed", "canceled"]
RefundStatus = Literal["succeeded", "processing", "failed"]
DeclineCode = Literal[
    "card_declined",
    "insufficient_funds",
    "expired_card",
    "authentication_failed",
    "amount_too_small",
    "currency_unsupported",
    "fraud_suspected",
    "provider_error",
]


class ProviderUnavailable(Exception):
    """The provider could not be reached, and has certainly not charged anything."""


class ProviderTimeout(Exception):
    """No answer came in time: the outcome is unknown. The engine asks `retrieve_payment` before anything else."""


class ProviderMisconfigured(Exception):
    """The provider refused our credentials or settings."""


class PaymentUnknown(Exception):
    """`retrieve_payment`: the provider has never heard of that key. Nothing was charged, and nothing will be."""


class SignatureInvalid(Exception):
    """`parse_webhook`: nobody whom the provider knows has signed the message, or it is too old."""


@dataclass(frozen=True)
class Capabilities:
    """What a provider can do. Each claim is tested by the conformance kit.

    currencies:   ISO 4217 codes; None: any.
    on_terms:     the seller grants credit: `authorized` completes the order and the invoice stays open until its due date.
    redirect:     may answer `requires_action` with an address to send the buyer to.
    save_method:  can store a method (and `off_session`: charge it later with nobody present).
    cancel:       can end a payment that waits for the buyer, so that it can't be paid any more.
    webhooks:     tells of its own accord what became of a payment: `parse_webhook`.
    """

    currencies: frozenset[str] | None = None
    redirect: bool = False
    cancel: bool = False
    refund: bool = False
    partial_refund: bool = False
    save_method: bool = False
    off_session: bool = False
    on_terms: bool = False
    webhooks: bool = False
    sandbox: bool = False


@dataclass(frozen=True)
class PayableCart:
    """What a provider may look at to say whether it takes this cart. `staff`: the order is placed by the seller's staff."""

    amount: Money
    country: str
    corporate: bool
    staff: bool


@dataclass(frozen=True)
class Customer:
    """Who pays: the account, as the provider may see it. `purchase_order` is the buyer's own reference."""

    account: str
    name: str
    email: str
    country: str
    purchase_order: str | None = None


@dataclass(frozen=True)
class PaymentRequest:
    """One attempt to pay.

    token:        what the client got from the provider for this attempt; or
    method:       the reference of a stored method. Both None where the provider needs neither.
    on_session:   whether the buyer is there to take a further step.
    idempotency_key: the same for every repetition of this attempt, and for nothing else.
    """

    payment_id: str
    amount: Money
    customer: Customer
    idempotency_key: str
    return_url: str
    locale: str
    token: str | None = field(default=None, repr=False)
    method: str | None = field(default=None, repr=False)
    save_method: bool = False
    on_session: bool = True


@dataclass(frozen=True)
class PaymentReference:
    """A payment that was begun. `provider_ref` is None while the provider's answer never arrived."""

    payment_id: str
    amount: Money
    idempotency_key: str
    provider_ref: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Action:
    """The further step: send the buyer to `url`; they come back to the request's return_url."""

    type: Literal["redirect"]
    url: str


@dataclass(frozen=True)
class PaymentError:
    """Why it was declined. `retryable`: the same method may work later. `provider_code` is the provider's own word."""

    code: DeclineCode
    retryable: bool = False
    provider_code: str | None = None


@dataclass(frozen=True)
class SavedMethod:
    """A stored method: the reference that charges it, and what may be shown of it."""

    reference: str = field(repr=False)
    brand: str
    last4: str
    expires: str | None = None


@dataclass(frozen=True)
class PaymentResult:
    """What became of a payment, in full: `retrieve_payment` answers the same value as the call that began it.

    amount: what the provider really charged or authorised; the engine compares it with what was asked.
    data:   private to the provider, JSON-safe, handed back in PaymentReference.
    due_on: for `authorized` on terms: the day by which the invoice is to be paid.
    """

    status: PaymentStatus
    amount: Money
    provider_ref: str | None = None
    action: Action | None = None
    error: PaymentError | None = None
    saved_method: SavedMethod | None = None
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)
    due_on: date | None = None


@dataclass(frozen=True)
class RefundRequest:
    """Money back to the buyer of `payment`: part of it or all."""

    payment: PaymentReference
    refund_id: str
    amount: Money
    reason: str
    idempotency_key: str


@dataclass(frozen=True)
class RefundResult:
    status: RefundStatus
    amount: Money
    provider_ref: str | None = None


@dataclass(frozen=True)
class ProviderEvent:
    """What a provider tells of its own accord: late, doubled, in any order, and maybe before its call has answered.

    It is taken for news, not for the truth: the engine asks `retrieve_payment`, or `refund_payment` again with the same key.

    event_id:   the provider's own, alike for each repetition.
    type:       what came about, in the provider's words or ours: payment.captured, refund.succeeded, ...
    payment_id, provider_ref: the payment's id, ours and theirs; at least one of them.
    refund_id:  our id of the refund that it is about.
    amount:     what was charged, or given back.
    """

    event_id: str
    type: str
    payment_id: str | None
    provider_ref: str | None
    refund_id: str | None
    amount: Money | None
    occurred_at: datetime


class PaymentProvider:
    """Base of a provider: implement `initiate_payment` and `retrieve_payment`, and what the capabilities claim.

    Every method may raise ProviderUnavailable, ProviderTimeout or ProviderMisconfigured. Each is called outside any
    transaction, in a thread that is abandoned after `deadline` seconds, which counts as ProviderTimeout.
    """

    name: ClassVar[str]
    contract_version: ClassVar[int] = CONTRACT_VERSION
    capabilities: Capabilities
    deadline: float = 30.0

    def refusal(self, cart: PayableCart) -> str | None:
        """A reason code why this cart can't be paid with this provider; None: it can. No network calls here."""
        currencies = self.capabilities.currencies
        return "currency_unsupported" if currencies is not None and cart.amount.currency not in currencies else None

    def initiate_payment(self, request: PaymentRequest) -> PaymentResult:
        """Charge the buyer. The same idempotency_key charges once, however often it is called."""
        raise ProviderMisconfigured(f"{self.name} can't take payments")

    def confirm_payment(self, payment: PaymentReference, client_data: Mapping[str, Any]) -> PaymentResult:
        """The buyer is back from the further step. Needed where `redirect` is claimed."""
        return self.retrieve_payment(payment)

    def retrieve_payment(self, payment: PaymentReference) -> PaymentResult:
        """The whole truth about a payment, found by its idempotency key where `provider_ref` is None.

        Raises PaymentUnknown where the provider has never heard of it.
        """
        raise ProviderMisconfigured(f"{self.name} can't look up payments")

    def cancel_payment(self, payment: PaymentReference) -> PaymentResult:
        """End a payment that waits for the buyer: `canceled`; or how it stands, where its end is known already.

        Needed where `cancel` is claimed. Raises PaymentUnknown.
        """
        raise ProviderMisconfigured(f"{self.name} can't cancel payments")

    def refund_payment(self, request: RefundRequest) -> RefundResult:
        """Give money back. The same idempotency_key refunds once. Needed where `refund` is claimed."""
        raise ProviderMisconfigured(f"{self.name} can't refund")

    def save_method(self, request: PaymentRequest) -> PaymentResult:
        """Store the method behind `request.token` without charging it (request.amount is zero).

        Needed where `save_method` is claimed. Answers `captured` with saved_method, `declined`, or `requires_action`.
        """
        raise ProviderMisconfigured(f"{self.name} can't store methods")

    def delete_method(self, reference: str) -> None:
        """Forget a stored method. One that is already forgotten is no error."""

    def parse_webhook(self, headers: Mapping[str, str], body: bytes, received_at: datetime) -> list[ProviderEvent]:
        """Check who signed a webhook and read it; no events for what says nothing about a payment. Needed where `webhooks` is claimed.

        headers:     as they came; their names in any case.
        received_at: the machine's time, also where a sandbox's clock was moved.
        Raises SignatureInvalid. While keys are rotated, the new secret and the old one are both good. No network calls here.
        """
        raise ProviderMisconfigured(f"{self.name} takes no webhooks")


class PaymentHooks:
    """Hooks for payment plugins."""

    @hookspec(failure="closed")
    def register_payment_providers(self) -> list[PaymentProvider]:  # type: ignore[empty-body]
        """Name the providers that this plugin brings.

        Called:  once, when the engine starts; no network calls here.
        Returns: provider objects whose names no other plugin uses.
        Errors:  anything raised stops the start and names the plugin.
        Failure: closed - the engine does not start.
        """
