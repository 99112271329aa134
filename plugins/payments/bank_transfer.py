"""Bank transfer: the order completes at once, and the buyer transfers the money with a reference, which a bank statement then shows."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import click
from marshmallow import Schema, ValidationError, fields, post_load, validate
from stdnum import bic as bics
from stdnum import iban as ibans
from stdnum.exceptions import ValidationError as NumberInvalid

from plugins.payments.bank_transfer_commands import bank_transfer_commands
from plugins.payments.bank_transfer_csv import CsvSettings
from plugins.payments.bank_transfer_desk import Desk, credit_event, payment_event
from plugins.payments.bank_transfer_ledger import TABLES, BankRefund, ExpectedPayment, Ledger
from plugins.payments.bank_transfer_matching import show_reference
from puesto import (
    Action,
    Capabilities,
    Money,
    PayableCart,
    PaymentProvider,
    PaymentReference,
    PaymentRequest,
    PaymentResult,
    PaymentUnknown,
    PluginContext,
    ProviderChanges,
    ProviderRefund,
    RefundRequest,
    RefundResult,
    Tables,
    hookimpl,
    money,
)

PAGE = 100


class BankTransferSettings(Schema):
    """Without `iban` there is no such provider.

    net_days:   days from the order to the day by which the money is to be there.
    accounts:   who may pay so: `corporate` accounts, whose orders staff places; or `all`.
    currency:   of the bank account; max_amount: of one payment, in that currency: "5000.00".
    csv:        which column of a CSV statement is which, where the bank gives no CAMT.053.
    """

    iban = fields.String(load_default=None)
    bic = fields.String(load_default=None)
    account_name = fields.String(load_default=None, validate=validate.Length(1, 70))
    net_days = fields.Integer(load_default=14, validate=validate.Range(0, 90))
    accounts = fields.String(load_default="corporate", validate=validate.OneOf(["corporate", "all"]))
    currency = fields.String(load_default="EUR")
    max_amount = fields.String(load_default=None)
    csv = fields.Nested(CsvSettings, load_default=None)

    @post_load
    def _read(self, data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        if data["iban"] is not None:
            data["iban"] = _number(ibans, "iban", data["iban"])
            if data["account_name"] is None:
                raise ValidationError("buyers need the account holder's name", "account_name")
        if data["bic"] is not None:
            data["bic"] = _number(bics, "bic", data["bic"])
        try:
            limit = data["max_amount"] and money(data["max_amount"], data["currency"])
        except ValueError as error:
            raise ValidationError(str(error), "max_amount") from None
        return data | {"max_amount": limit}


def _number(kind: Any, name: str, value: str) -> str:
    try:
        return str(kind.validate(value))
    except NumberInvalid as error:
        raise ValidationError(f"{value!r} is no {name.upper()}: {error}", name) from None


class BankTransfer(PaymentProvider):
    """Payments by transfer, on terms. What has come in is known from statements, which staff imports (`puesto bank-transfer`)."""

    name = "bank_transfer"

    def __init__(self, context: PluginContext, ledger: Ledger) -> None:
        self._context, self._settings, self._ledger = context, context.settings, ledger
        limit: Money | None = self._settings["max_amount"]
        self.capabilities = Capabilities(
            currencies=frozenset({self._settings["currency"]}),
            maximum={limit.currency: limit.amount} if limit else {},
            on_terms=True,
            refund=True,
            partial_refund=True,
            list_changes=True,
        )

    def refusal(self, cart: PayableCart) -> str | None:
        if self._settings["accounts"] == "corporate" and not cart.corporate:
            return "corporate_accounts_only"
        if cart.corporate and not cart.staff:
            return "staff_only"
        return super().refusal(cart)

    def initiate_payment(self, request: PaymentRequest) -> PaymentResult:
        """Give the payment a reference; due_on counts from the UTC day of this call."""
        due_on = self._context.now().date() + timedelta(days=self._settings["net_days"])
        return self._result(self._ledger.expect(request, due_on))

    def retrieve_payment(self, payment: PaymentReference) -> PaymentResult:
        return self._result(self._found(payment))

    def _found(self, payment: PaymentReference) -> ExpectedPayment:
        found = self._ledger.find(payment)
        if found is None:
            raise PaymentUnknown(f"no transfer is expected for payment {payment.payment_id}")
        return found

    def _result(self, payment: ExpectedPayment) -> PaymentResult:
        """Returned money makes it less again; what came in beyond the payment is not part of it."""
        received = max(0, min(self._ledger.received(payment), payment.amount))
        excess = self._ledger.excess(payment)
        return PaymentResult(
            "authorized" if not received else "partially_captured" if received < payment.amount else "captured",
            Money(payment.amount, payment.currency),
            provider_ref=payment.reference,
            action=self._instructions(payment, -excess) if excess < 0 else None,
            due_on=payment.due_on,
            captured=Money(received, payment.currency) if received else None,
            excess=Money(excess, payment.currency) if excess > 0 else None,
            refunds=tuple(map(self._refund, self._ledger.refunds_of(payment))),
        )

    def _instructions(self, payment: ExpectedPayment, due: int) -> Action:
        """Where to send the money that is still due."""
        data: dict[str, Any] = {
            "account_name": self._settings["account_name"],
            "iban": ibans.format(self._settings["iban"]),
            "bic": self._settings["bic"],
            "reference": show_reference(payment.reference),
            "amount": {"amount": due, "currency": payment.currency},
        }
        return Action("display", data={name: value for name, value in data.items() if value is not None})

    def refund_payment(self, request: RefundRequest) -> RefundResult:
        """A credit on what is owed; what was received beyond that is `processing` until somebody has sent it back.

        One refund can't exceed the payment; their sum is for the engine to watch.
        """
        asked, payment = request.amount, self._ledger.find(request.payment)
        fits = asked.currency == request.payment.amount.currency and 0 < asked.amount <= request.payment.amount.amount
        if payment is None or not fits:
            return RefundResult("failed", Money(0, asked.currency))
        row = self._ledger.refund(request, payment)
        self._context.report(self.name, [credit_event(row)])  # less is owed now
        refund = self._refund(row)
        return RefundResult(refund.status, refund.amount, refund.provider_ref)

    def _refund(self, refund: BankRefund) -> ProviderRefund:
        amount = Money(refund.amount, refund.currency)
        return ProviderRefund(refund.reference, amount, "succeeded" if self._ledger.is_sent(refund) else "processing", refund.id)

    def list_changes(self, since: datetime, cursor: str | None) -> ProviderChanges:
        at, _, last = (cursor or since.isoformat()).partition(" ")
        found = self._ledger.changed_since(datetime.fromisoformat(at), last, PAGE)
        more = f"{found[-1].changed_at.isoformat()} {found[-1].id}" if len(found) == PAGE else None
        return ProviderChanges(tuple(map(payment_event, found)), more)


class BankTransferPlugin:
    """Brings the provider `bank_transfer` where an IBAN is set, and the commands that feed it."""

    settings_schema = BankTransferSettings

    def __init__(self, context: PluginContext) -> None:
        self._context = context
        self._ledger = Ledger(context.db, context.now)
        self.idle = None if self._is_set else "rests until plugins.bank_transfer.iban is set"

    @property
    def _is_set(self) -> bool:
        return self._context.settings["iban"] is not None

    @hookimpl
    def register_tables(self) -> Tables:
        return TABLES

    @hookimpl
    def register_payment_providers(self) -> list[PaymentProvider]:
        return [BankTransfer(self._context, self._ledger)] if self._is_set else []

    @hookimpl
    def register_commands(self) -> list[click.Command]:
        desk = Desk(self._ledger, lambda events: self._context.report(BankTransfer.name, events))
        return [bank_transfer_commands(desk, self._context.settings)]
