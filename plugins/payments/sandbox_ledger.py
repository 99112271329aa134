"""The books of the simulated gateway: an SQLite file of its own, apart from the shop's database, as a real gateway's is.

Every operation is one transaction that begins IMMEDIATE and is on disk when it returns. Threads and processes may use the
file at once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, astuple, replace
from pathlib import Path
from typing import Any, Literal

from plugins.payments.sandbox_books import Books
from plugins.payments.sandbox_entries import HOLDING, Charge, Entry, decide, new_id, opened
from puesto import (
    CaptureRequest,
    Dispute,
    Money,
    PaymentReference,
    PaymentRequest,
    PaymentResult,
    PaymentUnknown,
    ProviderRefund,
    RefundRequest,
    RefundResult,
)

# Rows that make an Entry.
ENTRIES = "SELECT payment.*, (SELECT coalesce(sum(amount), 0) FROM capture WHERE payment = ref) FROM payment"
# Called in the transaction of a change, with the open books, the event's type and what it says.
Announce = Callable[[sqlite3.Connection, str, Mapping[str, Any]], None]


class Ledger:
    """The gateway: what it decides about an attempt, and what it has written down. `announce`: who is told of every change."""

    def __init__(self, path: Path, announce: Announce | None = None) -> None:
        self._books, self._announce = Books(path), announce

    def begin(self, request: PaymentRequest, *, setup: bool) -> Entry:
        """Decide about an attempt and write it down; a key that is in the books already is answered from there."""
        with self.books() as books:
            if known := _find(books, "key", request.idempotency_key):
                return known
            token, uses = (request.token, 0) if request.method is None else _stored(books, request.method)
            entry = _put_to_use(books, decide(opened(request, token, setup), uses, request.on_session))
            books.execute(f"INSERT INTO payment VALUES ({','.join('?' * 15)})", astuple(entry)[:15])
            self.tell(books, f"payment.{entry.status}", entry, entry.held)
            return entry

    def settle(self, payment: PaymentReference, *, approved: bool) -> Entry:
        """The buyer has decided at the bank: settle what waits for that; what is settled stays. Raises PaymentUnknown."""
        with self.books() as books:
            entry = _known(books, payment)
            if entry.status != "requires_action":
                return entry
            paid = approved and entry.token == "tok_3ds"
            well = replace(entry, status="authorized" if entry.manual else "captured")
            settled = _put_to_use(books, well if paid else entry.declined("authentication_failed"))
            books.execute(
                "UPDATE payment SET status = ?, code = ?, method = ? WHERE key = ?",
                (settled.status, settled.code, settled.method, settled.key),
            )
            self.tell(books, f"payment.{settled.status}", settled, settled.held)
            return settled

    def capture(self, request: CaptureRequest) -> Entry:
        """Take what is set aside, once for a key; what is beyond it takes nothing, now and later. Raises PaymentUnknown."""
        with self.books() as books:
            entry, asked = _known(books, request.payment), request.amount
            if books.execute("SELECT 1 FROM capture WHERE key = ?", (request.idempotency_key,)).fetchone():
                return entry
            open_ = entry.status in ("authorized", "partially_captured") and asked.currency == entry.currency
            taken = asked.amount if open_ and 0 < asked.amount <= entry.amount - entry.taken else 0
            books.execute("INSERT INTO capture VALUES (?, ?, ?)", (request.idempotency_key, entry.ref, taken))
            if not taken:
                return entry
            whole = request.final or entry.taken + taken == entry.amount
            now = replace(entry, status="captured" if whole else "partially_captured", taken=entry.taken + taken)
            books.execute("UPDATE payment SET status = ? WHERE key = ?", (now.status, now.key))
            self.tell(books, f"payment.{now.status}", now, taken)
            return now

    def cancel(self, payment: PaymentReference) -> Entry:
        """End what waits for the buyer, or is set aside and untouched; what is settled stays. Raises PaymentUnknown."""
        with self.books() as books:
            entry = _known(books, payment)
            if entry.status not in ("requires_action", "authorized"):
                return entry
            books.execute("UPDATE payment SET status = 'canceled' WHERE key = ?", (entry.key,))
            self.tell(books, "payment.canceled", entry, 0)
            return replace(entry, status="canceled")

    def look_up(self, payment: PaymentReference) -> Entry:
        """Raises PaymentUnknown."""
        with self.books() as books:
            return _known(books, payment)

    def refund(self, request: RefundRequest) -> RefundResult:
        """Give back at most what was charged and not given back yet. A refused refund stays refused under its key."""
        with self.books() as books:
            row = books.execute("SELECT status, amount, ref FROM refund WHERE key = ?", (request.idempotency_key,)).fetchone()
            status, amount, ref = row or self._give_back(books, request)
            return RefundResult(status, Money(amount, request.amount.currency), ref)

    def whole(self, entry: Entry) -> PaymentResult:
        """All that the books know of a payment."""
        refunds = "SELECT ref, amount, status, refund_id FROM refund WHERE payment = ? AND amount > 0 ORDER BY rowid"
        disputes = "SELECT ref, amount, status, reason FROM dispute WHERE payment = ? ORDER BY rowid"
        with self.books() as books:
            given_back, disputed = (books.execute(each, (entry.ref,)).fetchall() for each in (refunds, disputes))
        return replace(
            entry.result(),
            refunds=tuple(ProviderRefund(ref, Money(amount, entry.currency), *rest) for ref, amount, *rest in given_back),
            disputes=tuple(Dispute(ref, Money(amount, entry.currency), *rest) for ref, amount, *rest in disputed),
        )

    def find_charge(self, books: sqlite3.Connection, payment: str) -> tuple[Entry, int]:
        """A payment by our id or the shop's, and what of it can still be given back. Raises ValueError."""
        row = books.execute(f"{ENTRIES} WHERE ref = ? OR payment_id = ?", (payment, payment)).fetchone()
        if row is None:
            raise ValueError(f"there is no payment {payment}")
        return Entry(*row), _left(books, Entry(*row))

    def delete_method(self, reference: str) -> None:
        with self.books() as books:
            books.execute("DELETE FROM method WHERE reference = ?", (reference,))

    def charges(self) -> list[Charge]:
        """Every payment attempt that reached the gateway, oldest first."""
        with self.books() as books:
            entries = [Entry(*row) for row in books.execute(f"{ENTRIES} WHERE NOT setup ORDER BY rowid")]
            return [
                Charge(e.key, e.payment_id, Money(e.charged, e.currency), e.status, Money(_refunded(books, e), e.currency)) for e in entries
            ]

    def _give_back(self, books: sqlite3.Connection, request: RefundRequest) -> tuple[Literal["succeeded", "failed"], int, str]:
        """Status, amount and reference of a fresh refund."""
        entry, asked, ref = _look_up(books, request.payment), request.amount, new_id("sbr")
        left = _left(books, entry) if entry and entry.currency == asked.currency else 0
        fits = 0 < asked.amount <= left
        status: Literal["succeeded", "failed"] = "succeeded" if fits else "failed"
        amount = asked.amount if fits else 0
        row = (request.idempotency_key, ref, entry and entry.ref, status, amount, request.refund_id)
        books.execute("INSERT INTO refund VALUES (?, ?, ?, ?, ?, ?)", row)
        if entry:
            self.tell(books, f"refund.{status}", entry, amount, request.refund_id)
        return status, amount, ref

    def tell(self, books: sqlite3.Connection, type: str, entry: Entry, amount: int, refund_id: str | None = None) -> None:
        if self._announce:
            money = asdict(Money(amount, entry.currency))
            data = {"payment_id": entry.payment_id, "provider_ref": entry.ref, "refund_id": refund_id, "amount": money}
            self._announce(books, type, data)

    @contextmanager
    def books(self) -> Iterator[sqlite3.Connection]:
        """The open books, in one transaction."""
        with self._books.open() as books:
            yield books


def _put_to_use(books: sqlite3.Connection, entry: Entry) -> Entry:
    """What a success brings about: a stored method that paid is used once more, one that is to be stored gets its reference."""
    if entry.status in HOLDING and entry.saves:
        entry = replace(entry, method=new_id("sbm"))
        books.execute("INSERT INTO method VALUES (?, ?, ?)", (entry.method, entry.token, 0 if entry.setup else 1))
    elif entry.status in HOLDING and entry.method:
        books.execute("UPDATE method SET uses = uses + 1 WHERE reference = ?", (entry.method,))
    return entry


def _stored(books: sqlite3.Connection, reference: str) -> tuple[str | None, int]:
    """Token and number of charges of a stored method; no token where it is unknown or deleted."""
    row = books.execute("SELECT token, uses FROM method WHERE reference = ?", (reference,)).fetchone()
    return row or (None, 0)


def _known(books: sqlite3.Connection, payment: PaymentReference) -> Entry:
    entry = _look_up(books, payment)
    if entry is None:
        raise PaymentUnknown(f"the sandbox has no payment {payment.payment_id}")
    return entry


def _look_up(books: sqlite3.Connection, payment: PaymentReference) -> Entry | None:
    return _find(books, "ref", payment.provider_ref) if payment.provider_ref else _find(books, "key", payment.idempotency_key)


def _find(books: sqlite3.Connection, column: Literal["key", "ref"], value: str) -> Entry | None:
    row = books.execute(f"{ENTRIES} WHERE {column} = ?", (value,)).fetchone()
    return Entry(*row) if row else None


def _left(books: sqlite3.Connection, entry: Entry) -> int:
    """What can still be given back: what is disputed, or was lost in a dispute, can't."""
    disputed = "SELECT coalesce(sum(amount), 0) FROM dispute WHERE payment = ? AND status <> 'won'"
    return entry.charged - _refunded(books, entry) - int(books.execute(disputed, (entry.ref,)).fetchone()[0])


def _refunded(books: sqlite3.Connection, entry: Entry) -> int:
    amount: int = books.execute("SELECT coalesce(sum(amount), 0) FROM refund WHERE payment = ?", (entry.ref,)).fetchone()[0]
    return amount
