"""Invoices and credit notes."""

from __future__ import annotations

from functools import partial

from marshmallow import fields

from api.auth import needs
from api.http import Blueprint, caller, engine, listed
from api.schemas import TAX_CATEGORIES, AccountPageQuery, Address, Amount, Answer, Choice, Day, PeriodOut, TaxIdOut, paged
from core import invoices
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


class InvoiceLineOut(Answer):
    """What is charged or credited for a subscription and a period."""

    kind = Choice("charge", "credit")
    description = fields.String(required=True)
    seats = fields.Integer(required=True)
    subscription = fields.String(required=True)
    period = fields.Nested(PeriodOut, required=True)
    net = Amount()
    tax = Amount()
    total = Amount()
    rate = fields.String(required=True, metadata={"description": "percent"})
    category = Choice(*TAX_CATEGORIES)


class CreditNoteOut(Answer):
    """What corrects an invoice, in short. Read it at its own address, by its id."""

    id = fields.String(required=True)
    number = fields.String(required=True)
    issued_on = Day()
    total = Amount("negative")


class InvoiceOut(Answer):
    id = fields.String(required=True)
    account = fields.String(required=True)
    order = fields.String(required=True)
    kind = Choice("invoice", "credit_note")
    number = fields.String(required=True)
    status = Choice("open", "paid")
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
    payment_instructions = fields.Dict(
        keys=fields.String(), required=True, allow_none=True, metadata={"description": "what the buyer needs to pay what is due"}
    )
    lines = fields.List(fields.Nested(InvoiceLineOut), required=True)
    credits = fields.String(required=True, allow_none=True, metadata={"description": "id of the invoice that this credit note corrects"})
    credit_notes = fields.List(fields.Nested(CreditNoteOut), required=True)


@blueprint.get("")
@needs("billing")
@blueprint.arguments(AccountPageQuery, location="query")
@blueprint.response(200, paged(InvoiceOut))
def list_invoices(query):
    """List invoices and credit notes, the newest first."""
    return listed(invoices.Invoice, query, partial(invoices.invoice_document, engine()))


@blueprint.get("/<invoice_id>")
@needs("billing")
@blueprint.response(200, InvoiceOut)
def get_invoice(invoice_id):
    """Read an invoice or credit note."""
    return invoices.invoice_document(engine(), find(engine(), invoices.Invoice, invoice_id, caller()))
