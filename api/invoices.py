"""Invoices and credit notes."""

from __future__ import annotations

from typing import Any

from flask import Response
from marshmallow import Schema, fields, validate

from api.auth import needs
from api.http import Blueprint, caller, engine, keyed, keyed_request, listed, replayable
from api.schemas import (
    INTERVALS,
    TAX_CATEGORIES,
    AccountPageQuery,
    Address,
    Amount,
    Answer,
    Choice,
    Day,
    DerivationOut,
    PeriodOut,
    TaxIdOut,
    paged,
)
from core import documents, invoices, write_offs
from core.access import find

blueprint = Blueprint("invoices", __name__, url_prefix="/v1/invoices", description="Invoices and credit notes, numbered without gaps")


class SellerOut(Answer):
    """The seller as it was printed."""

    name = fields.String(required=True)
    country = fields.String(required=True)
    address = fields.String(required=True)
    email = fields.String(required=True)
    tax_id = fields.String(required=True)


class BuyerOut(Answer):
    """The account as it was printed."""

    name = fields.String(required=True)
    country = fields.String(required=True)
    address = fields.Nested(Address, required=True, allow_none=True)
    tax_id = fields.Nested(TaxIdOut, required=True, allow_none=True)


class PriceStepOut(Answer):
    """`count` times `unit_amount`; a flat fee counts once, with the seats that it includes in `included`."""

    count = fields.Integer(required=True)
    unit_amount = Amount("tax excluded")
    included = fields.Integer(required=True, allow_none=True)


class SettlementOut(Answer):
    """How a document is settled, as it was when it was issued."""

    kind = Choice(
        "paid",
        "set_aside",
        "on_terms",
        "credit",
        "refunded",
        "reduced",
        metadata={
            "description": "`set_aside`: reserved at the buyer's bank and taken later; `credit`: the account's credit covers it, or grows "
            "by it; of a credit note also `refunded`, or `reduced`: less is owed, or taken"
        },
    )
    amount = Amount("what is paid, set aside, owed or given back")
    credit_used = Amount("what the account's credit has paid")
    instructions = fields.Dict(
        keys=fields.String(), required=True, allow_none=True, metadata={"description": "what the buyer needs to pay it"}
    )


class InvoiceLineOut(Answer):
    """What is charged or credited for a subscription and a period."""

    kind = Choice("charge", "credit")
    description = fields.String(required=True)
    seats = fields.Integer(required=True)
    subscription = fields.String(required=True)
    period = fields.Nested(PeriodOut, required=True)
    discount = Amount("what was taken off `prices`; below zero where a line is credited that had one")
    net = Amount()
    tax = Amount()
    total = Amount()
    rate = fields.String(required=True, metadata={"description": "percent"})
    category = Choice(*TAX_CATEGORIES)
    interval = fields.String(required=True, allow_none=True, validate=validate.OneOf(INTERVALS))
    prices = fields.List(
        fields.Nested(PriceStepOut),
        required=True,
        allow_none=True,
        metadata={"description": "what a whole interval costs; the steps add up"},
    )
    explanation = fields.List(
        fields.Nested(DerivationOut),
        required=True,
        allow_none=True,
        metadata={"description": "how net and tax came about; null on the lines of a credit note that corrects an invoice"},
    )


class DocumentOut(Answer):
    """Another invoice or credit note, in short. Read it at its own address, by its id."""

    id = fields.String(required=True)
    number = fields.String(required=True)
    issued_on = Day()
    total = Amount("negative for a credit note")


class InvoiceOut(Answer):
    id = fields.String(required=True)
    account = fields.String(required=True)
    order = fields.String(required=True)
    kind = Choice("invoice", "credit_note")
    number = fields.String(required=True)
    status = Choice(*invoices.TRANSITIONS)
    currency = fields.String(required=True)
    seller = fields.Nested(SellerOut, required=True)
    buyer = fields.Nested(BuyerOut, required=True)
    notes = fields.List(fields.String(), required=True, metadata={"description": "words that the law wants"})
    locale = fields.String(required=True)
    purchase_order = fields.String(required=True, allow_none=True)
    issued_on = Day()
    due_on = Day(allow_none=True)
    net = Amount()
    tax = Amount()
    total = Amount()
    paid = Amount("what has come in, credit of the account included")
    due = Amount("what is still owed")
    settlement = fields.Nested(SettlementOut, required=True, allow_none=True)
    payment_instructions = fields.Dict(
        keys=fields.String(), required=True, allow_none=True, metadata={"description": "what the buyer needs to pay what is due"}
    )
    lines = fields.List(fields.Nested(InvoiceLineOut), required=True)
    credits = fields.String(required=True, allow_none=True, metadata={"description": "id of the invoice that this credit note corrects"})
    corrects = fields.List(
        fields.Nested(DocumentOut), required=True, metadata={"description": "the invoices that this credit note corrects"}
    )
    credit_notes = fields.List(fields.Nested(DocumentOut), required=True)


# An invoice knows more of its seller than its reader is told.
SHOWN = InvoiceOut()


class GivenUp(Schema):
    """Body of POST /v1/invoices/{invoice}/void and /uncollectible: why, for the seller's own books."""

    reason = fields.String(required=True, validate=validate.Length(1, 500))


@blueprint.get("")
@needs("billing")
@blueprint.arguments(AccountPageQuery, location="query")
@blueprint.response(200, paged(InvoiceOut))
def list_invoices(query):
    """List invoices and credit notes, the newest first."""
    return listed(invoices.Invoice, query, _shown)


@blueprint.get("/<invoice_id>")
@needs("billing")
@blueprint.response(200, InvoiceOut)
def get_invoice(invoice_id):
    """Read an invoice or credit note."""
    return _shown(find(engine(), invoices.Invoice, invoice_id, caller()))


@blueprint.get("/<invoice_id>.pdf")
@needs("billing")
@blueprint.response(200, {"type": "string", "format": "binary"}, content_type="application/pdf")
def print_invoice(invoice_id):
    """Print an invoice or credit note, as it was issued: the same bytes each time.

    Not found where no plugin prints documents.
    """
    number, pdf = documents.print_invoice(engine(), invoice_id, caller())
    headers = {"Content-Disposition": f'inline; filename="{number}.pdf"'}
    return Response(pdf, mimetype="application/pdf", headers=headers)


@blueprint.post("/<invoice_id>/void")
@needs("staff")
@blueprint.arguments(GivenUp)
@blueprint.response(200, InvoiceOut)
@keyed(required=True, whole=False)
def void_invoice(body, invoice_id):
    """Credit all that is owed for an invoice on terms of which nothing has come in.

    A credit note corrects it. What was sold goes on: cancel the subscription to end it. Until the provider has answered it stays `open`.
    """
    answer = write_offs.void_invoice(engine(), invoice_id, caller(), reason=body["reason"], request=keyed_request())
    return replayable(answer, SHOWN.dump(answer.body), 200)


@blueprint.post("/<invoice_id>/uncollectible")
@needs("staff")
@blueprint.arguments(GivenUp)
@blueprint.response(200, InvoiceOut)
@keyed()
def write_off_invoice(body, invoice_id):
    """Say that nobody expects the money of an invoice on terms any more.

    It goes on being owed: money that comes in all the same makes it paid.
    """
    return SHOWN.dump(write_offs.write_off_invoice(engine(), invoice_id, caller(), reason=body["reason"]))


def _shown(invoice: invoices.Invoice) -> Any:
    return SHOWN.dump(invoices.invoice_document(engine(), invoice))
