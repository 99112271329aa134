"""Invoice terms: a corporate account pays later, against the invoice, within a number of days."""

from __future__ import annotations

from datetime import date, timedelta
from hashlib import sha256

from marshmallow import Schema, fields, validate

from puesto import (
    Capabilities,
    Money,
    PayableCart,
    PaymentError,
    PaymentProvider,
    PaymentReference,
    PaymentRequest,
    PaymentResult,
    PaymentUnknown,
    PluginContext,
    RefundRequest,
    RefundResult,
    hookimpl,
)


class InvoiceTermsSettings(Schema):
    """net_days:  days from the order to the day by which the invoice is to be paid.
    preferred: whether terms come first among the providers, wherever they are granted.
    """

    net_days = fields.Integer(load_default=30, validate=validate.OneOf([14, 30]))
    preferred = fields.Boolean(load_default=False)


class InvoiceTerms(PaymentProvider):
    """Credit for corporate accounts whose order the seller's staff places, with the buyer's purchase-order number.

    No money moves here and no books are kept: every answer follows from the request, so that repeating it is harmless.
    """

    name = "invoice_terms"
    capabilities = Capabilities(on_terms=True, purchase_order=True, refund=True, partial_refund=True)

    def __init__(self, context: PluginContext) -> None:
        self._context = context

    def refusal(self, cart: PayableCart) -> str | None:
        if not cart.corporate:
            return "corporate_accounts_only"
        return None if cart.staff else "staff_only"

    def initiate_payment(self, request: PaymentRequest) -> PaymentResult:
        """Grant the credit; due_on counts from the UTC day of this call. `failed` without a purchase-order number."""
        if not request.customer.purchase_order:
            error = PaymentError("provider_error", provider_code="purchase_order_missing")
            return PaymentResult("failed", Money(0, request.amount.currency), error=error)
        due_on = self._context.now().date() + timedelta(days=self._context.settings["net_days"])
        return _authorized(request.amount, request.idempotency_key, due_on)

    def retrieve_payment(self, payment: PaymentReference) -> PaymentResult:
        """The answer given before, from the reference's own data.

        Raises PaymentUnknown where no answer of ours was stored: nothing is written down here, so nothing can have been charged.
        """
        if payment.provider_ref != _ref("terms", payment.idempotency_key):
            raise PaymentUnknown(f"no terms were granted for payment {payment.payment_id}")
        return _authorized(payment.amount, payment.idempotency_key, date.fromisoformat(payment.data["due_on"]))

    def refund_payment(self, request: RefundRequest) -> RefundResult:
        """A credit on an open invoice. One refund can't exceed the payment; their sum is for the engine to watch, which has the books."""
        asked, paid = request.amount, request.payment.amount
        fits = asked.currency == paid.currency and 0 < asked.amount <= paid.amount
        if request.payment.provider_ref is None or not fits:
            return RefundResult("failed", Money(0, asked.currency))
        return RefundResult("succeeded", asked, _ref("credit", request.idempotency_key))


class InvoiceTermsPlugin:
    """Brings the provider `invoice_terms`."""

    settings_schema = InvoiceTermsSettings

    def __init__(self, context: PluginContext) -> None:
        self._context = context

    @hookimpl
    def register_payment_providers(self) -> list[PaymentProvider]:
        return [InvoiceTerms(self._context)]

    @hookimpl
    def find_payment_providers(self, providers: tuple[str, ...]) -> list[str] | None:
        terms = InvoiceTerms.name
        if terms not in providers or not self._context.settings["preferred"]:
            return None
        return [terms, *(name for name in providers if name != terms)]


def _authorized(amount: Money, key: str, due_on: date) -> PaymentResult:
    return PaymentResult("authorized", amount, _ref("terms", key), data={"due_on": due_on.isoformat()}, due_on=due_on)


def _ref(kind: str, key: str) -> str:
    return f"{kind}_{sha256(key.encode()).hexdigest()[:24]}"
