"""Invoices and credit notes."""

from __future__ import annotations

from marshmallow import Schema, fields

from api.auth import needs
from api.http import Blueprint, caller, engine, paged
from api.schemas import AccountPageQuery, Day, MoneyOut, PeriodOut
from core import invoices
from core.access import find, page

blueprint = Blueprint("invoices", __name__, url_prefix="/v1/invoices", description="Documents, numbered without gaps")


class InvoiceLineOut(Schema):
    kind = fields.String(required=True)
    description = fields.String(required=True)
    seats = fields.Integer(required=True)
    subscription = fields.String(required=True)
    period = fields.Nested(PeriodOut, required=True)
    net = fields.Nested(MoneyOut, required=True)
    tax = fields.Nested(MoneyOut, required=True)
    total = fields.Nested(MoneyOut, required=True)
    rate = fields.String(required=True)
    category = fields.String(required=True)


class InvoiceOut(Schema):
    id = fields.String(required=True)
    account = fields.String(required=True)
    order = fields.String(required=True)
    kind = fields.String(required=True)
    number = fields.String(required=True)
    status = fields.String(required=True)
    currency = fields.String(required=True)
    seller = fields.Dict(required=True)
    buyer = fields.Dict(required=True)
    notes = fields.List(fields.String(), required=True)
    locale = fields.String(required=True)
    purchase_order = fields.String(required=True, allow_none=True)
    issued_on = Day()
    due_on = Day(allow_none=True)
    net = fields.Nested(MoneyOut, required=True)
    tax = fields.Nested(MoneyOut, required=True)
    total = fields.Nested(MoneyOut, required=True)
    lines = fields.List(fields.Nested(InvoiceLineOut), required=True)


@blueprint.get("")
@needs("billing")
@blueprint.arguments(AccountPageQuery, location="query")
@blueprint.response(200, paged(InvoiceOut))
def list_invoices(query):
    """List invoices and credit notes, the newest first."""
    rows, cursor = page(engine(), invoices.Invoice, caller(), **query)
    return {"data": [invoices.invoice_document(engine(), row) for row in rows], "next_cursor": cursor}


@blueprint.get("/<invoice_id>")
@needs("billing")
@blueprint.response(200, InvoiceOut)
def get_invoice(invoice_id):
    """Read an invoice."""
    return invoices.invoice_document(engine(), find(engine(), invoices.Invoice, invoice_id, caller()))
