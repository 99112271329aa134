"""Credit notes: what an invoice is corrected by, from its own lines with their own net and tax, so that all of them together are never
a cent more than the invoice.

What a refund is for is fixed as it is written, in parts of the invoice's lines, and credited once the money has gone back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from core.engine.engine import Engine
from core.engine.values import to_json
from core.errors import RefundExceedsPayment, ValidationFailed
from core.invoices import Invoice, InvoiceLine, invoice_of, issue_credit_note, lines_of_invoice
from core.payments import Refund
from core.rules.money import Money
from core.rules.shares import net_of, spread

# Amounts, tax included, by the id of the invoice line that they are part of.
Parts = dict[str, int]
# Where the amount of a credit note goes, as `core.invoices.Settlement` has it.
Way = Literal["refunded", "reduced", "credit"]


@dataclass(frozen=True)
class LineRefund:
    """A line of an order to be refunded; amount: tax included; None: all that is left of it."""

    line: str
    amount: Money | None = None


def parts_of_amount(engine: Engine, order: str, amount: int) -> Parts:
    """An amount over all lines of the order's invoice, in proportion to what is left of each; as much as is left, where it is more."""
    invoice = invoice_of(engine, order)
    return _share(_left(engine, invoice), amount) if invoice else {}


def parts_of_lines(engine: Engine, order: str, subscriptions: dict[str, str | None], wanted: Sequence[LineRefund]) -> Parts:
    """What is asked of single lines. subscriptions: those of the order's lines, by the line's id.

    Raises ValidationFailed for a line that is not the order's, and RefundExceedsPayment for more than is left of one.
    """
    invoice = invoice_of(engine, order)
    rows, left = lines_of_invoice(engine, invoice) if invoice else [], _left(engine, invoice) if invoice else {}
    parts: Parts = {}
    for position, each in enumerate(wanted):
        if each.line not in subscriptions or each.line in [other.line for other in wanted[:position]]:
            raise ValidationFailed("Name each line of the order at most once, by its id.", pointer=f"/lines/{position}/line")
        mine = {row.id: left[row.id] for row in rows if row.subscription == subscriptions[each.line]}
        parts |= _share(mine, _checked(each, sum(mine.values()), invoice, f"/lines/{position}/amount"))
    return parts


def _checked(wanted: LineRefund, left: int, invoice: Invoice | None, pointer: str) -> int:
    rest = Money(max(left, 0), invoice.currency if invoice else "EUR")
    amount = rest if wanted.amount is None else wanted.amount
    if invoice is None or amount.currency != rest.currency or not 0 < amount.amount <= rest.amount:
        raise RefundExceedsPayment(
            "{wanted} of this line can't be refunded: {left} is left.",
            pointer=pointer,
            wanted=str(amount),
            left=str(rest),
            extra={"refundable": to_json(rest)},
        )
    return amount.amount


def _share(left: Parts, amount: int) -> Parts:
    most = max(sum(left.values()), 0)
    shares = spread(min(amount, most), list(left.values()))
    return {line: share for line, share in zip(left, shares, strict=True) if share}


def _left(engine: Engine, invoice: Invoice) -> Parts:
    """What is left of each line, tax included, after what was credited and what refunds under way will credit."""
    left = Counter({row.id: row.net + row.tax for row in lines_of_invoice(engine, invoice)})
    for row in _credited(engine, left):
        left[str(row.credits)] += row.net + row.tax
    mine = (Refund.order == invoice.order) & Refund.status.in_(("created", "processing"))
    for refund in engine.db.all(Refund.select().where(mine)):
        left.subtract(refund.parts or {})
    return dict(left)


def credit_net(engine: Engine, line: InvoiceLine, cause: str, net: int, kind: Way) -> Invoice | None:
    """Credit so much of one line, with the tax that is in it, or as much as is left; None: nothing is. As `credit` otherwise.

    net: minor units, tax excluded; the last part of the line takes the rest of its tax.
    """
    invoice = engine.db.get(Invoice, line.invoice)
    assert invoice is not None
    earlier, left = _credited(engine, [line.id]), _left(engine, invoice)[line.id]
    net_before, tax_before = -sum(row.net for row in earlier), -sum(row.tax for row in earlier)
    net = min(net, line.net - net_before)
    tax = net_of(net, line.tax, line.net, net_before, tax_before)
    if net + tax > left:  # refunds under way will credit a part
        net = net_of(left, line.net, line.net + line.tax, net_before + tax_before, net_before)
        tax = left - net
    return issue_credit_note(engine, invoice, cause, [(line, net, tax)], kind) if net > 0 else None


def left_of(engine: Engine, order: str) -> int | None:
    """What is left of an order's invoice, tax included, as `_left` has it; None: there is no invoice."""
    invoice = invoice_of(engine, order)
    return max(sum(_left(engine, invoice).values()), 0) if invoice else None


def _credited(engine: Engine, lines: Any) -> list[InvoiceLine]:
    return engine.db.all(InvoiceLine.select().where(InvoiceLine.credits.in_(list(lines))))


def credit(engine: Engine, order: str, cause: str, parts: Parts, kind: Way = "refunded") -> Invoice | None:
    """Issue the credit note of what has gone back, or will never be taken, in the transaction that records it.

    cause: id of the refund or payment that it is for, which has one only: further calls do nothing. None: there is nothing to credit.
    kind:  where the amount goes, as `Settlement` has it.
    """
    invoice = invoice_of(engine, order)
    if invoice is None or not parts or engine.db.first(Invoice.select().where(Invoice.cause == cause)):
        return None
    earlier = _credited(engine, parts)
    credited = []
    for row in lines_of_invoice(engine, invoice):
        if part := parts.get(row.id):
            before = -sum(each.net + each.tax for each in earlier if each.credits == row.id)
            net_before = -sum(each.net for each in earlier if each.credits == row.id)
            net = net_of(part, row.net, row.net + row.tax, before, net_before)
            credited.append((row, net, part - net))
    return issue_credit_note(engine, invoice, cause, credited, kind)
