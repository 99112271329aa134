"""What can go wrong, by what the caller can do about it.

Seven bases say how to react (`Invalid`: mend the input; `Missing`: it is not there; `Conflict`: look again,
then retry; `Forbidden`: ask somebody else; `Unauthorized`: show a valid key; `Declined`: pay otherwise;
`Unavailable`: try again later). Each concrete error has a public `code`, which is also its documentation page.
Messages are English templates; whoever shows them may translate the template and fill it afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True)
class Message:
    """A sentence to show: an English template and its parameters. Raises KeyError at once where one is missing."""

    template: str
    params: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        str(self)

    def __str__(self) -> str:
        return self.template.format(**self.params) if self.params else self.template


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field: `pointer` is an RFC 6901 JSON pointer into the request body."""

    pointer: str
    message: Message


class PuestoError(Exception):
    """Base of every error that a caller is meant to see.

    pointer: the field at fault, as a JSON pointer, where there is exactly one; `errors` where there are several.
    extra:   JSON-safe members that the error carries besides its text, such as the new quote.
    params:  what fills the template.
    replayed: set where the error repeats the stored answer of an earlier request with the same Idempotency-Key.
    """

    code: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Something went wrong on our side"
    replayed = False

    def __init__(
        self,
        template: str,
        *,
        pointer: str | None = None,
        errors: tuple[FieldError, ...] = (),
        extra: dict[str, Any] | None = None,
        **params: Any,
    ) -> None:
        self.message = Message(template, params)
        self.errors = errors or ((FieldError(pointer, self.message),) if pointer is not None else ())
        self.extra = extra or {}
        super().__init__(str(self.message))


class Invalid(PuestoError):
    """The input is wrong; the same request will fail again."""


class Missing(PuestoError):
    """The thing named does not exist, or not for this caller."""

    code = "not-found"
    title = "Not found"


class Conflict(PuestoError):
    """The state of things does not allow it now; read again, then decide."""


class Forbidden(PuestoError):
    """This caller may not do it; somebody else may."""

    code = "forbidden"
    title = "Not allowed"


class Unauthorized(PuestoError):
    """No key or token was shown, or it is unknown, expired or revoked."""

    code = "unauthorized"
    title = "A valid key or token is needed"


class Declined(PuestoError):
    """The payment was refused; another card or method may work."""


class Unavailable(PuestoError):
    """Something this needs is away; the same request may work later."""


class SettingsInvalid(PuestoError):
    """A setting is unknown, missing or malformed: the engine does not start. Never shows a value."""

    code = "settings-invalid"
    title = "A setting is wrong"


# --- input


class ValidationFailed(Invalid):
    """A field is missing, unknown, of the wrong type or out of bounds. `errors` names each field and what to do."""

    code = "validation-failed"
    title = "The request has invalid fields"


class PlanUnavailable(Invalid):
    """The plan does not exist, or is not sold in this interval, or not in this mode."""

    code = "plan-unavailable"
    title = "This plan is not available"


class SeatsOutOfRange(Invalid):
    """The number of seats is below the plan's minimum, above its maximum, or off its step.

    The members `min`, `max` and `step` say what is allowed.
    """

    code = "seats-out-of-range"
    title = "That number of seats is not sold"


class CurrencyUnsupported(Invalid):
    """The plan has no price in this currency, or the account is billed in another one."""

    code = "currency-unsupported"
    title = "Not sold in this currency"


class TaxIdRejected(Invalid):
    """The VAT number has a wrong format or wrong check digits, or belongs to another country than the account."""

    code = "tax-id-rejected"
    title = "This VAT number can't be right"


class IdempotencyKeyReused(Invalid):
    """The same Idempotency-Key came with another body. Take a new key for a new request."""

    code = "idempotency-key-reused"
    title = "This Idempotency-Key was used for another request"


class IdempotencyKeyMissing(Invalid):
    """Money moves here: send an `Idempotency-Key` header with a fresh random value, and repeat it on retries."""

    code = "idempotency-key-missing"
    title = "An Idempotency-Key is needed"


class CaptureExceedsPayment(Invalid):
    """More would be taken than is set aside. The member `capturable` says how much is left."""

    code = "capture-exceeds-payment"
    title = "More than is set aside can't be taken"


class RefundExceedsPayment(Invalid):
    """More would be refunded than was paid. The member `refundable` says how much is left, and `disputed` what a dispute holds back."""

    code = "refund-exceeds-payment"
    title = "More than was paid can't be refunded"


# --- state


class CartNotOpen(Conflict):
    """The cart was already ordered or merged, or an order of it is being paid right now."""

    code = "cart-not-open"
    title = "This cart is no longer open"


class CartExpired(Conflict):
    """The cart has expired. Make a new one."""

    code = "cart-expired"
    title = "This cart has expired"


class PreconditionFailed(Conflict):
    """The resource has changed since you read it (If-Match). Read it again and repeat your change."""

    code = "precondition-failed"
    title = "It has changed since you read it"


class RequestInProgress(Conflict):
    """A request with this Idempotency-Key is still running. Repeat it after `Retry-After` seconds."""

    code = "request-in-progress"
    title = "This request is still running"


class QuoteChanged(Conflict):
    """Something has moved since the quote was shown. `changes` lists what, `quote` is the new one: show it, then retry."""

    code = "quote-changed"
    title = "The amounts have changed"


class QuoteExpired(Conflict):
    """The quote is too old to be ordered. Read the cart's quote again."""

    code = "quote-expired"
    title = "This quote has expired"


class TrialNotEligible(Conflict):
    """The plan has no trial, or this account has already tried or bought the product."""

    code = "trial-not-eligible"
    title = "No trial is possible"


class SeatsInUse(Conflict):
    """Fewer seats than are assigned. Name in `release` the users who lose theirs; `assigned` lists who has one."""

    code = "seats-in-use"
    title = "These seats are in use"


class NoSeatLeft(Conflict):
    """Every seat of the subscription is assigned. Release one, or buy more."""

    code = "no-seat-left"
    title = "No seat is left"


class TransitionInvalid(Conflict):
    """The thing is in a state that does not allow this, for example a change of a cancelled subscription."""

    code = "transition-invalid"
    title = "Not possible in this state"


class EmailTaken(Conflict):
    """The account has a user with this e-mail address already."""

    code = "email-taken"
    title = "This e-mail address is taken"


class LocationConflict(Conflict):
    """The pieces of evidence for the buyer's country contradict each other. Ask the buyer which is right."""

    code = "location-conflict"
    title = "The buyer's country is not clear"


class PaymentAmountMismatch(Conflict):
    """The provider reports another amount or currency than was asked for. The order is held and reported."""

    code = "payment-amount-mismatch"
    title = "The provider reports another amount"


# --- permission


class CorporateAccount(Forbidden):
    """A corporate account does not check out by itself. `representative` and `portal` say who places its orders."""

    code = "corporate-account"
    title = "Your representative places orders for this account"


# --- payment


class PaymentDeclined(Declined):
    """The payment was refused. `decline_code` says why, `retryable` whether the same method may work later.

    The cart stays open: pay with another method.
    """

    code = "payment-declined"
    title = "The payment was declined"


class PaymentActionRequired(Declined):
    """The bank wants the buyer to confirm (3-D Secure), which storing a method alone can't wait for.

    `next_action` says which step. Pay an order with the method instead, with `save: true`: the order waits for the buyer.
    """

    code = "payment-action-required"
    title = "A further step is needed to pay"


# --- elsewhere


class PaymentProviderUnavailable(Unavailable):
    """The payment provider gave no answer before anything was charged. The cart stays open; try again."""

    code = "payment-provider-unavailable"
    title = "The payment provider is away"


class TaxUnavailable(Unavailable):
    """Tax could not be determined, and nothing is sold without it."""

    code = "tax-unavailable"
    title = "Tax can't be determined"


class PluginFailed(Unavailable):
    """A plugin raised, hung or answered nonsense. `plugin` and `hook` name it; nothing was written."""

    code = "plugin-failed"
    title = "A plugin failed"


class DatabaseUnavailable(Unavailable):
    """The database can't be reached or written. Nothing was changed."""

    code = "database-unavailable"
    title = "The database is away"


class RateLimited(Unavailable):
    """Too many requests. Wait `Retry-After` seconds."""

    code = "rate-limited"
    title = "Too many requests"
