"""Documents on paper: what was issued, printed by a plugin."""

from __future__ import annotations

from typing import Any

from core.access import Caller, find, missing
from core.engine.engine import Engine
from core.errors import Missing
from core.invoices import Invoice, invoice_document

# What changes after a document was issued, and is never printed.
LATER = ("status", "paid", "due", "payment_instructions", "credit_notes")


def print_invoice(engine: Engine, invoice_id: str, caller: Caller) -> tuple[str, bytes]:
    """Number and PDF of an invoice or credit note, in the language it was issued in.

    Raises Missing, also where no plugin prints it, and PluginFailed.
    """
    invoice = find(engine, Invoice, invoice_id, caller)
    return invoice.number, _print(engine, invoice)


def print_numbered(engine: Engine, number: str) -> bytes:
    """The PDF of the document with that number. Raises as `print_invoice` does."""
    invoice = engine.db.first(Invoice.select().where(Invoice.number == number))
    if invoice is None:
        raise missing("invoice", number)
    return _print(engine, invoice)


def _print(engine: Engine, invoice: Invoice) -> bytes:
    pdf: bytes | None = engine.plugins.first("render_invoice", document=issued(engine, invoice), locale=invoice.locale)
    if pdf is None:
        raise Missing("No plugin prints documents: enable one, such as pdf.")
    return pdf


def issued(engine: Engine, invoice: Invoice) -> dict[str, Any]:
    """The document without what became of it later."""
    return {name: value for name, value in invoice_document(engine, invoice).items() if name not in LATER}
