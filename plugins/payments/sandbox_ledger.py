"""The books of the simulated gateway: an SQLite file of its own, apart from the shop's database, as a real gateway's is.

Every operation is one transaction that begins IMMEDIATE and is on disk when it returns. Threads and processes may use the
file at once.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, astuple, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import uuid4

from puesto import (
    Action,
    Money,
    PaymentError,
    PaymentReference,
    PaymentRequest,
    PaymentResult,
    PaymentUnknown,
    RefundRequest,
    RefundResult,
    SavedMethod,
)

SCHEMA = """
    CREATE TABLE payment (
        key TEXT PRIMARY KEY, ref TEXT NOT NULL UNIQUE, payment_id TEXT NOT NULL, setup INTEGER NOT NULL, token TEXT, method TEXT,
        saves INTEGER NOT NULL, amount INTEGER NOT NULL, currency TEXT NOT NULL, return_url TEXT NOT NULL,
        status TEXT NOT NULL, code TEXT, provider_code TEXT);
    CREATE TABLE refund (key TEXT PRIMARY KEY, ref TEXT NOT NULL, payment TEXT, status TEXT NOT NULL, amount INTEGER NOT NULL);
    CREATE TABLE method (reference TEXT PRIMARY KEY, token TEXT NOT NULL, uses INTEGER NOT NULL);
    CREATE TABLE event (id TEXT PRIMARY KEY, body TEXT NOT NULL, copies INTEGER NOT NULL, failures INTEGER NOT NULL, due REAL NOT NULL);
    CREATE INDEX event_to_send ON event (copies) WHERE copies > 0;
    CREATE TABLE fault (spec TEXT NOT NULL, seen INTEGER NOT NULL, hits INTEGER NOT NULL);
"""
# Called in the transaction of a change, with the open books, the event's type and what it says.
Announce = Callable[[sqlite3.Connection, str, Mapping[str, Any]], None]
DECLINING = {
    "tok_card_declined": "card_declined",
    "tok_insufficient_funds": "insufficient_funds",
    "tok_expired_card": "expired_card",
    "tok_fraud_suspected": "fraud_suspected",
}
CHALLENGED = {"tok_3ds", "tok_3ds_fails"}
ACCEPTED = {"tok_ok", "tok_slow", "tok_timeout", "tok_ok_then_declined"}


@dataclass(frozen=True)
class Charge:
    """A payment attempt as the gateway's dashboard would show it: what really happened, whatever the shop believes.

    amount: what was taken from the buyer; zero unless status is `captured`. `refunded` is the part that went back.
    """

    key: str
    payment_id: str
    amount: Money
    status: str
    refunded: Money


@dataclass(frozen=True)
class Entry:
    """A line of the books, as in table `payment`: a payment, or with `setup` the storing of a method without a charge.

    method: the stored method that pays; with `saves` the one that was stored, None until then.
    """

    key: str
    ref: str
    payment_id: str
    setup: bool
    token: str | None = field(repr=False)
    method: str | None = field(repr=False)
    saves: bool
    amount: int
    currency: str
    return_url: str
    status: Literal["requires_action", "captured", "declined", "canceled"] = "captured"
    code: str | None = None
    provider_code: str | None = None

    @property
    def charged(self) -> int:
        """Minor units taken from the buyer."""
        return self.amount if self.status == "captured" else 0

    @property
    def way_back(self) -> str:
        """Where the bank sends the buyer."""
        parts = urlsplit(self.return_url)
        query = [*parse_qsl(parts.query, keep_blank_values=True), ("sandbox_3ds", self.ref)]
        return parts._replace(query=urlencode(query)).geturl()

    def declined(self, code: str, provider_code: str | None = None) -> Entry:
        return replace(self, status="declined", code=code, provider_code=provider_code)

    def result(self) -> PaymentResult:
        return PaymentResult(
            self.status,
            Money(self.charged, self.currency),
            self.ref,
            action=Action("redirect", self.way_back) if self.status == "requires_action" else None,
            error=PaymentError(self.code, self.code == "insufficient_funds", self.provider_code) if self.code else None,  # type: ignore[arg-type]
            saved_method=SavedMethod(self.method, "visa", "4242", "2099-12") if self.saves and self.method else None,
        )


class Ledger:
    """The gateway: what it decides about an attempt, and what it has written down. `announce`: who is told of every change."""

    def __init__(self, path: Path, announce: Announce | None = None) -> None:
        self._path = path
        self._announce = announce
        # SQLite makes writers wait by sleeping; within one process a lock wakes the next one at once.
        self._turn = threading.Lock()

    def begin(self, request: PaymentRequest, *, setup: bool) -> Entry:
        """Decide about an attempt and write it down; a key that is in the books already is answered from there."""
        with self.books() as books:
            if known := _find(books, "key", request.idempotency_key):
                return known
            token, uses = (request.token, 0) if request.method is None else _stored(books, request.method)
            entry = _capture(books, _decide(_opened(request, token, setup), uses, request.on_session))
            books.execute(f"INSERT INTO payment VALUES ({','.join('?' * 13)})", astuple(entry))
            self._tell(books, f"payment.{entry.status}", entry, entry.charged)
            return entry

    def settle(self, payment: PaymentReference, *, approved: bool) -> Entry:
        """The buyer has decided at the bank: settle what waits for that; what is settled stays. Raises PaymentUnknown."""
        with self.books() as books:
            entry = _known(books, payment)
            if entry.status != "requires_action":
                return entry
            paid = approved and entry.token == "tok_3ds"
            agreed = replace(entry, status="captured") if paid else entry.declined("authentication_failed")
            settled = _capture(books, agreed)
            books.execute(
                "UPDATE payment SET status = ?, code = ?, method = ? WHERE key = ?",
                (settled.status, settled.code, settled.method, settled.key),
            )
            self._tell(books, f"payment.{settled.status}", settled, settled.charged)
            return settled

    def cancel(self, payment: PaymentReference) -> Entry:
        """End what waits for the buyer; what is settled stays. Raises PaymentUnknown."""
        with self.books() as books:
            entry = _known(books, payment)
            if entry.status != "requires_action":
                return entry
            books.execute("UPDATE payment SET status = 'canceled' WHERE key = ?", (entry.key,))
            self._tell(books, "payment.canceled", entry, 0)
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

    def delete_method(self, reference: str) -> None:
        with self.books() as books:
            books.execute("DELETE FROM method WHERE reference = ?", (reference,))

    def charges(self) -> list[Charge]:
        """Every payment attempt that reached the gateway, oldest first."""
        with self.books() as books:
            entries = [Entry(*row) for row in books.execute("SELECT * FROM payment WHERE NOT setup ORDER BY rowid")]
            return [
                Charge(e.key, e.payment_id, Money(e.charged, e.currency), e.status, Money(_refunded(books, e), e.currency)) for e in entries
            ]

    def _give_back(self, books: sqlite3.Connection, request: RefundRequest) -> tuple[Literal["succeeded", "failed"], int, str]:
        """Status, amount and reference of a fresh refund."""
        entry, asked, ref = _look_up(books, request.payment), request.amount, _new_id("sbr")
        left = entry.charged - _refunded(books, entry) if entry and entry.currency == asked.currency else 0
        fits = 0 < asked.amount <= left
        status: Literal["succeeded", "failed"] = "succeeded" if fits else "failed"
        amount = asked.amount if fits else 0
        books.execute("INSERT INTO refund VALUES (?, ?, ?, ?, ?)", (request.idempotency_key, ref, entry and entry.ref, status, amount))
        if entry:
            self._tell(books, f"refund.{status}", entry, amount, request.refund_id)
        return status, amount, ref

    def _tell(self, books: sqlite3.Connection, type: str, entry: Entry, amount: int, refund_id: str | None = None) -> None:
        if self._announce:
            money = asdict(Money(amount, entry.currency))
            data = {"payment_id": entry.payment_id, "provider_ref": entry.ref, "refund_id": refund_id, "amount": money}
            self._announce(books, type, data)

    @contextmanager
    def books(self) -> Iterator[sqlite3.Connection]:
        """The open books, in one transaction."""
        with self._turn:
            _create(self._path)
            with closing(sqlite3.connect(self._path, timeout=30, isolation_level=None)) as books:
                books.execute("PRAGMA synchronous = FULL")
                books.execute("BEGIN IMMEDIATE")
                with books:  # commits, or rolls back what raised
                    yield books


def _opened(request: PaymentRequest, token: str | None, setup: bool) -> Entry:
    return Entry(
        request.idempotency_key,
        _new_id("sbp"),
        request.payment_id,
        setup,
        token,
        request.method,
        request.method is None and (setup or request.save_method),
        request.amount.amount,
        request.amount.currency,
        request.return_url,
    )


def _decide(entry: Entry, uses: int, on_session: bool) -> Entry:
    """What the gateway says to a fresh attempt. `uses` counts the earlier charges of the stored method."""
    if not entry.setup and entry.amount <= 0:
        return entry.declined("amount_too_small")
    if entry.token in DECLINING:
        return entry.declined(DECLINING[entry.token])
    if entry.token in CHALLENGED:
        return replace(entry, status="requires_action") if on_session else entry.declined("authentication_failed")
    if entry.token not in ACCEPTED:
        return entry.declined("card_declined", "unknown_token" if entry.method is None else "unknown_method")
    return entry.declined("card_declined") if entry.token == "tok_ok_then_declined" and uses else entry


def _capture(books: sqlite3.Connection, entry: Entry) -> Entry:
    """What a success brings about: a stored method that paid is used once more, one that is to be stored gets its reference."""
    if entry.status == "captured" and entry.saves:
        entry = replace(entry, method=_new_id("sbm"))
        books.execute("INSERT INTO method VALUES (?, ?, ?)", (entry.method, entry.token, 0 if entry.setup else 1))
    elif entry.status == "captured" and entry.method:
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
    row = books.execute(f"SELECT * FROM payment WHERE {column} = ?", (value,)).fetchone()
    return Entry(*row) if row else None


def _refunded(books: sqlite3.Connection, entry: Entry) -> int:
    amount: int = books.execute("SELECT coalesce(sum(amount), 0) FROM refund WHERE payment = ?", (entry.ref,)).fetchone()[0]
    return amount


def _create(path: Path) -> None:
    """Make the file aside and put it in place in one step: processes that switch a new file to WAL at once lock each other out."""
    if path.exists():
        return
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        aside = Path(folder) / path.name
        with closing(sqlite3.connect(aside)) as books:
            books.execute("PRAGMA journal_mode = WAL")
            books.executescript(SCHEMA)
        with suppress(FileExistsError):
            os.link(aside, path)


def _new_id(prefix: str) -> str:
    return f"{prefix}_{uuid4().hex}"
