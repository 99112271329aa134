"""Payment providers: one object per provider, addressed by name, and the values that go in and out.

A decline is a result; an exception means "no answer". A provider never sees a database row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, ClassVar, Literal

from core.hooks import hookspec
from core.hooks.events import Event
from core.rules.money import Money

CONTRACT_VERSION = 1

PaymentStatus = Literal[
    "requires_action", "processing", "authorized", "partially_captured", "captured", "declined", "failed", "canceled"
]
CaptureMode = Literal["automatic", "manual"]
RefundStatus = Literal["succeeded", "processing", "failed"]
DisputeStatus = Literal["opened", "won", "lost"]
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

    currencies:     ISO 4217 codes; None: any.
    countries:      of buyers, ISO 3166-1 alpha-2; None: any.
    minimum, maximum: of one payment, in minor units by currency; a currency that is not named has no bound.
    redirect:       may answer `requires_action` with an address to send the buyer to.
    client_confirm: may answer `requires_action` with data for the provider's own script in the buyer's browser.
    authorize:      can set money aside that is taken later: capture_mode `manual`, `capture_payment`, `cancel_payment`.
    partial_capture: can take it in several parts, and let go of the rest.
    cancel:         can end a payment that waits for the buyer, so that it can't be paid any more.
    save_method:    can store a method (and `off_session`: charge it later with nobody present).
    async_settlement: a payment may be `processing` for days before it is known to be captured or to have failed.
    on_terms:       the seller grants credit: `authorized` completes the order and the invoice stays open until it is paid.
    purchase_order: takes no order without the buyer's purchase-order number.
    webhooks:       tells of its own accord what became of a payment: `parse_webhook`.
    list_changes:   can be asked for the same news: refunds and disputes that were begun at the provider.
    sandbox:        moves no money: for tests, and refused in live mode.
    """

    currencies: frozenset[str] | None = None
    countries: frozenset[str] | None = None
    minimum: Mapping[str, int] = field(default_factory=dict)
    maximum: Mapping[str, int] = field(default_factory=dict)
    redirect: bool = False
    client_confirm: bool = False
    authorize: bool = False
    partial_capture: bool = False
    cancel: bool = False
    refund: bool = False
    partial_refund: bool = False
    save_method: bool = False
    off_session: bool = False
    async_settlement: bool = False
    on_terms: bool = False
    purchase_order: bool = False
    webhooks: bool = False
    list_changes: bool = False
    sandbox: bool = False


@dataclass(frozen=True)
class PayableCart:
    """What is looked at to say who may be asked to pay a cart.

    corporate: what kind of account it is; staff: the order is placed by the seller's staff.
    account:   its id; None: the cart has no account yet.
    """

    amount: Money
    country: str
    corporate: bool
    staff: bool
    account: str | None = None


def beyond(bounds: Capabilities, cart: PayableCart) -> str | None:
    """A reason code why a cart is outside the currencies, countries and amounts of `bounds`; None: it is inside."""
    amount, currency = cart.amount.amount, cart.amount.currency
    if bounds.currencies is not None and currency not in bounds.currencies:
        return "currency_unsupported"
    if bounds.countries is not None and cart.country not in bounds.countries:
        return "country_unsupported"
    if amount and amount < bounds.minimum.get(currency, amount):
        return "amount_too_small"
    return "amount_too_large" if amount > bounds.maximum.get(currency, amount) else None


@dataclass(frozen=True)
class Customer:
    """Who pays: the account, as the provider may see it. `purchase_order` is the buyer's own reference."""

    account: str
    name: str
    email: str
    country: str
    purchase_order: str | None = None


@dataclass(frozen=True)
class PaymentLine:
    """What is paid for, as the provider's pages and receipts may show it; tax included."""

    description: str
    amount: Money


@dataclass(frozen=True)
class PaymentRequest:
    """One attempt to pay.

    return_url, cancel_url: where the buyer's browser is sent once the further step is done, or given up.
    lines:        what is paid for; they add up to the amount, unless credit was used.
    capture_mode: `manual` only sets the money aside (`authorized`). Asked only of who claims `authorize`.
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
    cancel_url: str | None = None
    capture_mode: CaptureMode = "automatic"
    lines: tuple[PaymentLine, ...] = ()


@dataclass(frozen=True)
class PaymentReference:
    """A payment that was begun. `provider_ref` is None while the provider's answer never arrived.

    account: who pays, as in `Customer`: for a provider that finds a payment by its payer. None: nobody knows any more.
    """

    payment_id: str
    amount: Money
    idempotency_key: str
    provider_ref: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)
    account: str | None = None


@dataclass(frozen=True)
class Action:
    """The further step of the buyer.

    type: `redirect`: send the buyer to `url`; they come back to the request's return_url. `client_sdk`: hand `data` to the provider's
          script in the buyer's browser, then confirm. `display`: show `data`, such as the account to send money to: names and texts,
          and an amount as {amount, currency}. With `authorized` on terms it says how the buyer pays the open invoice.
    data: JSON-safe, and for the buyer's eyes.
    """

    type: Literal["redirect", "client_sdk", "display"]
    url: str | None = field(default=None, repr=False)
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)
    expires_at: datetime | None = None


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
class ProviderRefund:
    """A refund in the provider's books. refund_id: ours; None: it was begun at the provider."""

    provider_ref: str
    amount: Money
    status: RefundStatus
    refund_id: str | None = None


@dataclass(frozen=True)
class Dispute:
    """The buyer has asked their bank for the money back. `reason` is the provider's own word."""

    provider_ref: str
    amount: Money
    status: DisputeStatus
    reason: str = ""


@dataclass(frozen=True)
class PaymentResult:
    """What became of a payment, in full: `retrieve_payment` answers the same value as the call that began it.

    amount:   what the provider really charged or authorised; the engine compares it with what was asked.
    captured: what of it has been taken; None: all of it where the status is `captured`, else nothing.
    data:     private to the provider, JSON-safe, handed back in PaymentReference.
    due_on:   for `authorized` on terms: the day by which the invoice is to be paid. On terms what was captured may become less again.
    excess:   on terms: what came in beyond what is owed and has to go back; None: nothing.
    refunds, disputes: all that the provider knows of, whoever began them.
    live:     whether real money moves; None: the provider can't tell.
    """

    status: PaymentStatus
    amount: Money
    provider_ref: str | None = None
    action: Action | None = None
    error: PaymentError | None = None
    saved_method: SavedMethod | None = None
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)
    due_on: date | None = None
    captured: Money | None = None
    excess: Money | None = None
    refunds: tuple[ProviderRefund, ...] = ()
    disputes: tuple[Dispute, ...] = ()
    live: bool | None = None


@dataclass(frozen=True)
class CaptureRequest:
    """Take what was set aside by `payment`: part of it or all. `final`: let go of the rest."""

    payment: PaymentReference
    capture_id: str
    amount: Money
    final: bool
    idempotency_key: str


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
    live:       whether it is about real money; None: the provider can't tell.
    """

    event_id: str
    type: str
    payment_id: str | None
    provider_ref: str | None
    refund_id: str | None
    amount: Money | None
    occurred_at: datetime
    live: bool | None = None


@dataclass(frozen=True)
class ProviderChanges:
    """A page of news, the oldest first. cursor: where the next page begins; None: that was all."""

    events: tuple[ProviderEvent, ...]
    cursor: str | None = None


class PaymentProvider:
    """Base of a provider: implement `initiate_payment` and `retrieve_payment`, and what the capabilities claim.

    Every method may raise ProviderUnavailable, ProviderTimeout or ProviderMisconfigured. Each is called outside any
    transaction, in a thread that is abandoned after `deadline` seconds, which counts as ProviderTimeout. Many threads call at once.
    """

    name: ClassVar[str]
    contract_version: ClassVar[int] = CONTRACT_VERSION
    capabilities: Capabilities
    deadline: float = 30.0

    def refusal(self, cart: PayableCart) -> str | None:
        """A reason code why this cart can't be paid with this provider; None: it can. No network calls here.

        By the capabilities; a provider with further conditions asks this first: `super().refusal(cart) or ...`.
        """
        return beyond(self.capabilities, cart)

    def check_health(self) -> None:
        """Talk to the provider in the cheapest way that proves the credentials good. By default there is nothing to ask.

        Raises as every method may.
        """

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

    def capture_payment(self, request: CaptureRequest) -> PaymentResult:
        """Take what was set aside: `partially_captured`, or `captured` once all is taken or the rest was let go (see `captured`).

        The same idempotency_key takes once. An amount beyond what is left takes nothing, and answers how the payment stands.
        Needed where `authorize` is claimed. Raises PaymentUnknown.
        """
        raise ProviderMisconfigured(f"{self.name} can't capture payments")

    def cancel_payment(self, payment: PaymentReference) -> PaymentResult:
        """End a payment that waits for the buyer, or let go of money that was set aside and of which nothing was taken: `canceled`;
        or how it stands, where its end is known already.

        Needed where `cancel` or `authorize` is claimed. Raises PaymentUnknown.
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

    def list_changes(self, since: datetime, cursor: str | None) -> ProviderChanges:
        """What has happened since an instant, as webhooks would have told it, a page at a time. Needed where `list_changes` is claimed."""
        raise ProviderMisconfigured(f"{self.name} can't list what has changed")


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

    @hookspec(failure="retry", deadline=60.0, network=True)
    def payment_method_expiring(self, event: Event) -> None:
        """A stored method expires within thirty days. Told once for each expiry; `event.subject` is the method's id.

        Called:  from the outbox after commit, once or more often.
        event:   data {payment_method, valid_until: its last day, account}; payment_method.default: renewals are charged to it.
        Returns: nothing.
        Errors:  raise anything to be called again later.
        Failure: retry - again with back-off, parked after the last attempt.
        """

    @hookspec(failure="closed")
    def find_payment_providers(self, cart: PayableCart, providers: tuple[str, ...]) -> list[str] | None:
        """Narrow or reorder the providers that a cart may be paid with: by risk, by cost, by what was agreed with a customer.

        Called:    when a cart is quoted and again when it is ordered; no network calls here.
        cart:      what is to be paid, and by whom.
        providers: names of those that take it, in the order of the settings; the last of them may be some that are not offered any
                   more, and only charge methods they have stored.
        Returns:   the names that remain, the preferred one first. A cart can be paid with what every plugin leaves, in the order
                   of the first that answers; a name that is not among `providers` counts for nothing.
        None:      nothing to say.
        Errors:    anything raised is a bug of the plugin.
        Failure:   closed - the request fails and names the plugin: a provider that it would have ruled out must not be charged.
        """
