"""Webhooks of the sandbox gateway, by Standard Webhooks: signed and sent from an outbox in the ledger, verified by the provider.

By hand, not by the package `standardwebhooks`: 1.1 takes the time of receipt from the clock, where ours is an argument, and
raises whatever comes up over a malformed header.
"""

from __future__ import annotations

import base64
import hmac
import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx

from plugins.payments.sandbox_faults import WEBHOOK_KINDS, draw_fault
from plugins.payments.sandbox_ledger import Ledger
from puesto import Money, ProviderEvent, SignatureInvalid

# Seconds that a message may be old, or ahead.
TOLERANCE = 300
STATUSES = ("requires_action", "authorized", "partially_captured", "captured", "declined", "canceled")
KNOWN = {f"payment.{status}" for status in STATUSES} | {"refund.succeeded", "refund.failed"}
KNOWN |= {"dispute.opened", "dispute.won", "dispute.lost"}
PAUSE, LONGEST_PAUSE = 0.1, 30.0
PAGE = 100


def read_secret(secret: str) -> bytes:
    """The key in `whsec_<base64>`. Raises ValueError."""
    key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    if len(key) < 24:
        raise ValueError("a webhook secret is whsec_ and base64 of 24 bytes or more")
    return key


def sign(secret: str, event_id: str, timestamp: str, body: bytes) -> str:
    mac = hmac.digest(read_secret(secret), f"{event_id}.{timestamp}.".encode() + body, "sha256")
    return f"v1,{base64.b64encode(mac).decode()}"


def parse(secrets: Iterable[str], headers: Mapping[str, str], body: bytes, received_at: datetime) -> list[ProviderEvent]:
    """The events of a webhook that one of `secrets` has signed; none for a type that is unknown here. Raises SignatureInvalid."""
    given = {name.lower(): value for name, value in headers.items()}
    event_id, timestamp, signatures = (given.get(f"webhook-{part}", "") for part in ("id", "timestamp", "signature"))
    expected = [sign(secret, event_id, timestamp, body).encode() for secret in secrets]
    if not any(hmac.compare_digest(good, each.encode()) for good in expected for each in signatures.split()):
        raise SignatureInvalid("no signature fits the message")
    if abs(received_at.timestamp() - int(timestamp)) > TOLERANCE:
        raise SignatureInvalid(f"the message is more than {TOLERANCE} s away")
    return read_event(event_id, body)


def read_event(event_id: str, body: str | bytes) -> list[ProviderEvent]:
    """The event in a document of the outbox; none for a type that is unknown here."""
    event = json.loads(body)
    if event["type"] not in KNOWN:
        return []
    data = {**event["data"], "amount": Money(**event["data"]["amount"]), "live": False}
    return [ProviderEvent(event_id, event["type"], occurred_at=datetime.fromisoformat(event["timestamp"]), **data)]


# --- the gateway's side


def note_event(books: sqlite3.Connection, type: str, data: Mapping[str, Any]) -> None:
    """Put an event into the outbox that is only listed, and not sent, in the transaction of what it tells."""
    _append(books, type, data, copies=0, due=0)


def append_event(books: sqlite3.Connection, type: str, data: Mapping[str, Any]) -> None:
    """Put an event into the outbox that is to be sent, in the transaction of what it tells."""
    fault = draw_fault(books, WEBHOOK_KINDS, type)
    copies = 2 if fault and fault.kind == "doubled" else 1
    due = time.time() + (fault.seconds if fault and fault.kind == "late" else 0)
    _append(books, type, data, copies, due)


def _append(books: sqlite3.Connection, type: str, data: Mapping[str, Any], copies: int, due: float) -> None:
    body = json.dumps({"type": type, "timestamp": datetime.now(UTC).isoformat(), "data": data})
    books.execute("INSERT INTO event VALUES (?, ?, ?, 0, ?)", (f"evt_{uuid4().hex}", body, copies, due))


def page_of_events(ledger: Ledger, since: datetime, cursor: str | None) -> tuple[list[tuple[str, str]], str | None]:
    """Ids and documents of what has happened since an instant, the oldest first, and the cursor of the next page."""
    query = "SELECT rowid, id, body FROM event WHERE rowid > ? AND json_extract(body, '$.timestamp') >= ? ORDER BY rowid LIMIT ?"
    with ledger.books() as books:
        rows = books.execute(query, (int(cursor or 0), since.astimezone(UTC).isoformat(), PAGE + 1)).fetchall()
    more = len(rows) > PAGE
    return [(event_id, body) for _, event_id, body in rows[:PAGE]], str(rows[PAGE - 1][0]) if more else None


class Sender(threading.Thread):
    """Sends what is due, the longest due first, and again what was not accepted with 2xx. What fails holds up nothing else."""

    def __init__(self, ledger: Ledger, url: str, secrets: Sequence[str]) -> None:
        super().__init__(name="sandbox-webhooks", daemon=True)
        self._ledger, self._url, self._secrets = ledger, url, secrets
        self._http = httpx.Client(timeout=10, trust_env=False, verify=httpx.URL(url).scheme != "http")  # as RemoteSandbox

    def run(self) -> None:
        while True:
            if not self._send_next():
                time.sleep(PAUSE)

    def _send_next(self) -> bool:
        """Whether anything was due. Killed before the outcome is written, the gateway sends again."""
        with self._ledger.books() as books:
            due = "SELECT id, body, failures FROM event WHERE copies > 0 AND due <= ? ORDER BY due, rowid LIMIT 1"
            row = books.execute(due, (time.time(),)).fetchone()
        if row is None:
            return False
        event_id, body, failures = row
        accepted = self._send(event_id, body.encode())
        with self._ledger.books() as books:
            if accepted:
                books.execute("UPDATE event SET copies = copies - 1 WHERE id = ?", (event_id,))
            else:
                later = time.time() + min(PAUSE * 2**failures, LONGEST_PAUSE)
                books.execute("UPDATE event SET failures = failures + 1, due = ? WHERE id = ?", (later, event_id))
        return True

    def _send(self, event_id: str, body: bytes) -> bool:
        timestamp = str(int(time.time()))
        signatures = " ".join(sign(secret, event_id, timestamp, body) for secret in self._secrets)
        headers = {"webhook-id": event_id, "webhook-timestamp": timestamp, "webhook-signature": signatures}
        try:
            return self._http.post(self._url, content=body, headers={**headers, "content-type": "application/json"}).is_success
        except httpx.TransportError:
            return False
