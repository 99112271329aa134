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
    for refund in _under_way(engine, [invoice.order]):
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
    left = min(left, _chain_left(engine, _chain(engine, line)))
    if net + tax > left:  # a part went back otherwise, or refunds under way will take it
        net = net_of(left, line.net, line.net + line.tax, net_before + tax_before, net_before)
        tax = left - net
    return issue_credit_note(engine, invoice, cause, [(line, net, tax)], kind) if net > 0 else None


def left_of(engine: Engine, order: str) -> int | None:
    """What is left of an order's invoice, tax included, and of the terms that it is a part of; None: there is no invoice."""
    invoice = invoice_of(engine, order)
    if invoice is None:
        return None
    chains = {chain[0].id: chain for line in lines_of_invoice(engine, invoice) for chain in [_chain(engine, line)]}
    return max(min(sum(_left(engine, invoice).values()), sum(_chain_left(engine, chain) for chain in chains.values())), 0)


def _chain_left(engine: Engine, chain: Sequence[InvoiceLine]) -> int:
    """What is left, tax included, of all that was charged and credited for a term and its changes, each of which has used up a part of
    what was paid for before: the lines of several orders, of which no more goes back together than was paid for them together."""
    ids = [each.id for each in chain]
    left = sum(each.net + each.tax for each in (*chain, *_credited(engine, ids)))
    return int(left - sum((refund.parts or {}).get(each, 0) for refund in _under_way(engine, _orders_of(engine, chain)) for each in ids))


def _orders_of(engine: Engine, lines: Sequence[InvoiceLine]) -> list[str]:
    theirs = Invoice.select(Invoice.order).where(Invoice.id.in_({line.invoice for line in lines}))
    return [invoice.order for invoice in engine.db.all(theirs)]


def _under_way(engine: Engine, orders: Sequence[str]) -> list[Refund]:
    theirs = Refund.order.in_(orders) & Refund.status.in_(("created", "processing"))
    return engine.db.all(Refund.select().where(theirs))


def _chain(engine: Engine, line: InvoiceLine) -> list[InvoiceLine]:
    """The own lines of a subscription that belong together with one of them: a charge, what a change gave back of it, the charge of that
    change, and so on. A charge with which nothing is given back begins a new term."""
    own = (InvoiceLine.subscription == line.subscription) & InvoiceLine.credits.is_null()
    lines = engine.db.all(InvoiceLine.select().where(own).order_by(InvoiceLine.id))
    chains: list[list[InvoiceLine]] = []
    for each, following in zip(lines, [*lines[1:], None], strict=True):
        gives_back = following is not None and following.kind == "credit" and following.period_start == each.period_start
        if not chains or (each.kind == "charge" and not gives_back):
            chains.append([])
        chains[-1].append(each)
    return next(chain for chain in chains if any(each.id == line.id for each in chain))


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
