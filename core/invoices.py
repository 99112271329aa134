"""Invoices: immutable documents, numbered without gaps per series.

A negative total is a credit note, in a series of its own. A number is taken as the last write but the document itself, in the
transaction that completes the order: a rollback gives it back. What is not issued yet, a quote, is no row and has no number. Only the
status of one that is moves on; triggers of the database keep everything else as it was printed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import peewee

from core.accounts import Account, account_document
from core.engine.clock import day_in
from core.engine.engine import Engine
from core.engine.events import append
from core.engine.rows import DayField, InstantField, JsonField, Row, refers_to
from core.engine.values import new_id, to_json
from core.hooks.products import text
from core.payments import FAILED, Payment
from core.rules.money import Money
from core.rules.periods import Period

# What can follow each status.
TRANSITIONS = {"open": ("paid", "void", "uncollectible"), "paid": ("open",), "uncollectible": ("paid", "void"), "void": ()}


class InvoiceSeries(Row):
    """A row of numbers: `last` is the last one given."""

    id = peewee.CharField(primary_key=True, max_length=16)
    last = peewee.IntegerField(constraints=[peewee.Check("last >= 0")])

    class Meta:
        table_name = "invoice_series"


class Invoice(Row):
    """An invoice, or a credit note. seller, buyer and notes are what was printed.

    status:     `open` until nothing of it is owed: then `paid`, or `void` where nothing had come in and all of it was credited.
                `uncollectible`: it is owed, but nobody expects the money any more.
    settlement: how it was to be settled as it was issued (`Settlement`); None for those that are older than this column.
    credits:    id of the invoice that a credit note corrects; None for what an order itself has brought about.
    cause:      id of the refund for which it does, of the payment whose rest was let go, or of the subscription that
                has ended.
    """

    id = peewee.CharField(primary_key=True, max_length=40)
    account = refers_to(Account, index=False)
    order = peewee.CharField(max_length=40)
    kind = peewee.CharField(max_length=12, constraints=[peewee.Check("kind IN ('invoice', 'credit_note')")])
    series = peewee.CharField(max_length=16)
    sequence = peewee.IntegerField(constraints=[peewee.Check("sequence > 0")])
    number = peewee.CharField(max_length=32, unique=True)
    status = peewee.CharField(max_length=16, constraints=[peewee.Check("status IN ('open', 'paid', 'void', 'uncollectible')")])
    currency = peewee.CharField(max_length=3)
    net = peewee.BigIntegerField()
    tax = peewee.BigIntegerField()
    total = peewee.BigIntegerField(constraints=[peewee.Check("total = net + tax")])
    seller = JsonField()
    buyer = JsonField()
    notes = JsonField()
    locale = peewee.CharField(max_length=16)
    purchase_order = peewee.CharField(max_length=100, null=True)
    issued_on = DayField()
    due_on = DayField(null=True)
    settlement = JsonField(null=True)
    credits = peewee.CharField(max_length=40, null=True)
    cause = peewee.CharField(max_length=40, null=True)
    created_at = InstantField()

    class Meta:
        indexes = ((("series", "sequence"), True), (("account", "id"), False))


_own = Invoice.credits.is_null()
Invoice.add_index(Invoice.index(Invoice.order, unique=True, name="invoice_order").where(_own))
Invoice.add_index(Invoice.index(Invoice.cause, unique=True, name="invoice_cause").where(Invoice.cause.is_null(False)))
Invoice.add_index(Invoice.index(Invoice.credits, name="invoice_credits").where(Invoice.credits.is_null(False)))


class InvoiceLine(Row):
    """What is charged or credited for a subscription and a period.

    item: what is billed: an order line, or `renewal`. The unique key is the promise that it is billed once for a period.
    prices: what a whole interval costs: steps of {count, unit_amount, included}, which add up; None on lines older than this column.
    explanation: how net and tax came about (`Derivation`); None on older lines, and on those of credit notes that correct a line.
    discount: what was taken off the line's part of `prices`; None where `explanation` is.
    credits: id of the line that a line of a credit note gives back; its own id is its `item`.
    """

    id = peewee.CharField(primary_key=True, max_length=40)
    account = peewee.CharField(max_length=40)
    invoice = refers_to(Invoice)
    subscription = peewee.CharField(max_length=40)
    item = peewee.CharField(max_length=40)
    kind = peewee.CharField(max_length=8)
    description = peewee.CharField(max_length=500)
    seats = peewee.IntegerField()
    period_start = DayField()
    period_end = DayField(constraints=[peewee.Check("period_start < period_end")])
    net = peewee.BigIntegerField()
    tax = peewee.BigIntegerField()
    rate = peewee.CharField(max_length=12)
    category = peewee.CharField(max_length=16)
    interval = peewee.CharField(max_length=8, null=True)
    prices = JsonField(null=True)
    explanation = JsonField(null=True)
    discount = peewee.BigIntegerField(null=True)
    credits = peewee.CharField(max_length=40, null=True)

    class Meta:
        table_name = "invoice_line"
        indexes = ((("subscription", "item", "period_start", "kind"), True),)


InvoiceLine.add_index(InvoiceLine.index(InvoiceLine.credits, name="invoice_line_credits").where(InvoiceLine.credits.is_null(False)))


@dataclass(frozen=True)
class Settlement:
    """How a document is settled, as it is printed.

    kind:         `paid`; `set_aside`: reserved at the buyer's bank and taken later; `on_terms`: to be paid by its due day; `credit`: the
                  account's credit covers it, or grows by it; of a credit note also `refunded`, or `reduced`: less is owed, or taken.
    amount:       what is paid, set aside, owed or given back.
    credit_used:  what the account's credit has paid of it.
    instructions: what the buyer needs to pay it.
    """

    kind: Literal["paid", "set_aside", "on_terms", "credit", "refunded", "reduced"]
    amount: Money
    credit_used: Money
    instructions: dict[str, Any] | None = None


def settlement_of(payment: Payment | None, total: Money, credit_used: Money) -> Settlement:
    """That of an order's document, by its payment as it is now; None: nothing had to be paid."""
    if payment is None or not payment.amount:
        return Settlement("credit", max(total, -total), credit_used)
    taken: Literal["paid", "set_aside"] = "paid" if payment.status == "captured" else "set_aside"
    return Settlement("on_terms" if payment.due_on else taken, payment.money, credit_used, payment.instructions)


def issue_invoice(
    engine: Engine,
    account: Account,
    order: str,
    items: Sequence[tuple[str, str, dict[str, Any]]],
    *,
    currency: str,
    locale: str,
    due_on: date | None,
    purchase_order: str | None,
    settlement: Settlement,
) -> Invoice:
    """Write and number the invoice of an order, inside the transaction that completes it. Dated by the seller's day, so that within
    a series dates rise with the numbers.

    items:  (subscription, order line, item) as the quote made them.
    due_on: the day by which it is to be paid, on terms.
    """
    net = sum(item["net"]["amount"] for _, _, item in items)
    tax = sum(item["tax"]["amount"] for _, _, item in items)
    buyer = account_document(account)
    invoice = Invoice(
        **_numbered(engine, net, tax),
        account=account.id,
        order=order,
        status="open" if settlement.kind in ("set_aside", "on_terms") else "paid",
        currency=currency,
        seller=dict(engine.settings["seller"]),
        buyer={name: buyer[name] for name in ("name", "address", "country", "tax_id")},
        notes=list(dict.fromkeys(text(item["note"], locale) for _, _, item in items if item["note"])),
        locale=locale,
        purchase_order=purchase_order,
        due_on=due_on,
        settlement=to_json(settlement),
        credits=None,
        cause=None,
    )
    engine.db.insert(invoice)
    engine.db.insert(*(_line(invoice, subscription, order_line, item) for subscription, order_line, item in items))
    return invoice


def issue_credit_note(
    engine: Engine,
    invoice: Invoice,
    cause: str,
    credited: Sequence[tuple[InvoiceLine, int, int]],
    kind: Literal["refunded", "reduced", "credit"],
) -> Invoice:
    """Write, number and announce a credit note of an invoice, in the transaction that records why, for the buyer as the invoice has them.

    credited: (line of the invoice, net, tax) of what is given back.
    kind:     where the amount goes, as `Settlement` has it.
    """
    same = ("account", "order", "currency", "seller", "buyer", "notes", "locale", "purchase_order")
    net, tax = -sum(net for _, net, _ in credited), -sum(tax for _, _, tax in credited)
    note = Invoice(
        **_numbered(engine, net, tax),
        **{name: getattr(invoice, name) for name in same},
        status="paid",
        due_on=None,
        settlement=to_json(Settlement(kind, Money(-net - tax, invoice.currency), Money(0, invoice.currency))),
        credits=invoice.id,
        cause=cause,
    )
    engine.db.insert(note)
    engine.db.insert(*(_credit_line(note, line, net, tax) for line, net, tax in credited))
    account = engine.db.get(Account, note.account)
    assert account is not None
    data = {"account": account_document(account), "credit_note": invoice_document(engine, note)}
    append(engine, "credit_note.issued", account=account.id, subject=note.order, data=data)
    return note


def _numbered(engine: Engine, net: int, tax: int) -> dict[str, Any]:
    """The columns that every new document has of itself."""
    today = day_in(engine.clock.now(), engine.settings["seller"]["time_zone"])
    kind = "credit_note" if net + tax < 0 else "invoice"
    own, year = engine.settings["seller"]["series"], str(today.year)
    series = of_invoices = "-".join(filter(None, (own, year)))
    if kind == "credit_note":
        series = "-".join(filter(None, (own, "CN", year)))
        _series(engine, of_invoices)  # of two who need both, neither waits for the other with one of them in hand
    sequence = _next_number(engine, series)
    return {
        "id": new_id("inv"),
        "kind": kind,
        "series": series,
        "sequence": sequence,
        "number": f"{series}-{sequence:06d}",
        "net": net,
        "tax": tax,
        "total": net + tax,
        "issued_on": today,
        "created_at": engine.clock.now(),
    }


def _next_number(engine: Engine, series: str) -> int:
    row = _series(engine, series)
    engine.db.update(row, last=row.last + 1)
    return int(row.last)


def _series(engine: Engine, series: str) -> InvoiceSeries:
    """Its row, locked until the transaction ends, so that nobody takes the same number."""
    row = engine.db.lock(InvoiceSeries, series)
    if row is None:
        engine.db.execute(InvoiceSeries.insert(id=series, last=0).on_conflict_ignore().as_rowcount())  # type: ignore[arg-type]
        row = engine.db.lock(InvoiceSeries, series)
    assert row is not None
    return row


def _line(invoice: Invoice, subscription: str, order_line: str, item: dict[str, Any]) -> InvoiceLine:
    return InvoiceLine(
        id=new_id("inl"),
        account=invoice.account,
        invoice=invoice.id,
        subscription=subscription,
        item=order_line,
        kind=item["kind"],
        description=item["description"],
        seats=item["seats"],
        period_start=date.fromisoformat(item["period"]["start"]),
        period_end=date.fromisoformat(item["period"]["end"]),
        net=item["net"]["amount"],
        tax=item["tax"]["amount"],
        rate=item["rate"],
        category=item["category"],
        interval=item.get("interval"),
        prices=item.get("prices"),
        discount=item["discount"]["amount"] if "discount" in item else None,
        explanation=item.get("explanation"),
        credits=None,
    )


def move_invoice(engine: Engine, invoice: Invoice, status: str) -> None:
    """Let the status follow what became of the money; nothing happens where that can't follow: what is void stays so."""
    if status in TRANSITIONS[invoice.status]:
        engine.db.update(invoice, status=status)


def reopen_invoice(engine: Engine, order: str) -> None:
    """What was paid for an order is gone again: its invoice is owed anew."""
    invoice = invoice_of(engine, order)
    if invoice is not None:
        move_invoice(engine, invoice, "open")


def _credit_line(note: Invoice, line: InvoiceLine, net: int, tax: int) -> InvoiceLine:
    own = new_id("inl")
    changed = {"id": own, "invoice": note.id, "item": own, "kind": "credit", "net": -net, "tax": -tax, "credits": line.id}
    return InvoiceLine(**{**vars(line), **changed, "explanation": None, "discount": None})


def invoice_of(engine: Engine, order: str) -> Invoice | None:
    """The invoice of an order; None where nothing was charged or credited."""
    return next(iter(engine.db.having(Invoice.order, order, credits=None)), None)


def charged_line(engine: Engine, subscription: str, period_end: date) -> InvoiceLine | None:
    """What was charged last for the period of a subscription that ends on that day; None: nothing."""
    charged = (InvoiceLine.subscription == subscription) & (InvoiceLine.kind == "charge") & (InvoiceLine.period_end == period_end)
    line: InvoiceLine | None = engine.db.first(InvoiceLine.select().where(charged).order_by(InvoiceLine.id.desc()))
    return line


def lines_of_invoice(engine: Engine, invoice: Invoice) -> list[InvoiceLine]:
    return engine.db.having(InvoiceLine.invoice, invoice.id)


def lines_of_subscription(engine: Engine, subscription: str) -> list[tuple[InvoiceLine, str]]:
    """What was ever charged or credited for a subscription, in the order in which it was, each with its document's number."""
    lines = engine.db.all(InvoiceLine.select().where(InvoiceLine.subscription == subscription).order_by(InvoiceLine.id))
    documents = engine.db.all(Invoice.select().where(Invoice.id.in_({line.invoice for line in lines}))) if lines else []
    numbers = {document.id: document.number for document in documents}
    return [(line, numbers[line.invoice]) for line in lines]


def credit_notes_of(engine: Engine, invoice: Invoice) -> list[Invoice]:
    """The credit notes of an invoice, the oldest first."""
    return engine.db.having(Invoice.credits, invoice.id)


def corrected_by(engine: Engine, note: Invoice) -> list[Invoice]:
    """The invoices that a credit note corrects. One that an order brought about, in which credits outweigh charges, corrects those that
    charged for the same subscriptions last; an invoice corrects none."""
    if note.kind == "invoice":
        return []
    if note.credits is not None:
        return engine.db.all(Invoice.select().where(Invoice.id == note.credits))
    credited = {line.subscription for line in lines_of_invoice(engine, note) if line.kind == "credit"}
    charged = {_charged_last(engine, note, subscription) for subscription in credited}
    return engine.db.all(Invoice.select().where(Invoice.id.in_(charged - {None})).order_by(Invoice.id)) if charged else []


def _charged_last(engine: Engine, note: Invoice, subscription: str) -> str | None:
    charges = (InvoiceLine.subscription == subscription) & (InvoiceLine.kind == "charge") & (InvoiceLine.invoice < note.id)
    found: InvoiceLine | None = engine.db.first(InvoiceLine.select().where(charges).order_by(InvoiceLine.invoice.desc()))
    return found.invoice if found else None


def invoice_document(engine: Engine, invoice: Invoice) -> dict[str, Any]:
    """The invoice as the API, events and messages show it."""
    same = (
        "id", "account", "order", "kind", "number", "status", "currency", "seller", "buyer", "notes", "locale",
        "purchase_order", "settlement", "credits",
    )  # fmt: skip
    amounts = {name: Money(getattr(invoice, name), invoice.currency) for name in ("net", "tax", "total")}
    payment = _payment_for(engine, invoice)
    paid, due = _paid_and_due(invoice, payment)
    return {
        **{name: getattr(invoice, name) for name in same},
        **to_json({"issued_on": invoice.issued_on, "due_on": invoice.due_on, **amounts, "paid": paid, "due": due}),
        "payment_instructions": payment.instructions if payment and due else None,
        "lines": [_line_document(line, invoice.currency) for line in lines_of_invoice(engine, invoice)],
        "corrects": [_note_document(each) for each in corrected_by(engine, invoice)],
        "credit_notes": [_note_document(note) for note in credit_notes_of(engine, invoice)],
    }


def _note_document(note: Invoice) -> dict[str, Any]:
    dated: dict[str, Any] = to_json({"issued_on": note.issued_on, "total": Money(note.total, note.currency)})
    return {"id": note.id, "number": note.number, **dated}


def _payment_for(engine: Engine, invoice: Invoice) -> Payment | None:
    """The latest attempt to pay an invoice; a credit note has none."""
    if invoice.kind == "credit_note":
        return None
    return next(reversed(engine.db.having(Payment.order, invoice.order)), None)


def _paid_and_due(invoice: Invoice, payment: Payment | None) -> tuple[Money, Money]:
    """What has come in for it, credit of the account included, and what is still owed."""
    nothing = Money(0, invoice.currency)
    if invoice.kind == "credit_note":
        return nothing, nothing
    if payment is not None and payment.status in FAILED:  # what was set aside for it was let go
        return nothing, nothing
    missing = payment.amount - payment.captured + payment.lost if payment else 0
    credited = payment.refunded if payment and payment.due_on else 0
    due = max(missing - credited, 0) if invoice.status in ("open", "uncollectible") else 0
    return Money(invoice.total - missing, invoice.currency), Money(due, invoice.currency)


def _line_document(line: InvoiceLine, currency: str) -> dict[str, Any]:
    names = ("kind", "description", "seats", "subscription", "rate", "category", "interval", "prices", "explanation")
    amounts = {"net": line.net, "tax": line.tax, "total": line.net + line.tax, "discount": line.discount or 0}
    return {
        **{name: getattr(line, name) for name in names},
        "period": to_json(Period(line.period_start, line.period_end)),
        **{name: to_json(Money(amount, currency)) for name, amount in amounts.items()},
    }
