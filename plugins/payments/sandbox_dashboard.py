"""What people do at the simulated gateway's dashboard, and buyers at their banks: refunds and disputes that no shop has begun."""

from __future__ import annotations

from typing import Any, Literal

from flask import Blueprint, current_app, request
from werkzeug.exceptions import BadRequest

from plugins.payments.sandbox_entries import new_id
from plugins.payments.sandbox_ledger import Ledger
from puesto import Money

# The gateway serves it behind its secret.
dashboard = Blueprint("dashboard", __name__)
STATUSES = ("won", "lost")


class Dashboard:
    """By the payment's id of the shop, or the gateway's reference. amount: minor units; None: all that is left."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def refund(self, payment: str, amount: int | None = None) -> str:
        """Give money back; the refund's reference. Raises ValueError for more than is left."""
        with self._ledger.books() as books:
            entry, left = self._ledger.find_charge(books, payment)
            wanted, ref = left if amount is None else amount, new_id("sbr")
            if not 0 < wanted <= left:
                raise ValueError(f"{Money(left, entry.currency)} of {payment} is left")
            row = (ref, ref, entry.ref, "succeeded", wanted, None)
            books.execute("INSERT INTO refund VALUES (?, ?, ?, ?, ?, ?)", row)
            self._ledger.tell(books, "refund.succeeded", entry, wanted)
            return ref

    def open_dispute(self, payment: str, amount: int | None = None, reason: str = "fraudulent") -> str:
        """The buyer asks their bank for the money back; the dispute's reference. Raises ValueError for more than is left."""
        with self._ledger.books() as books:
            entry, left = self._ledger.find_charge(books, payment)
            wanted, ref = left if amount is None else amount, new_id("sbd")
            if not 0 < wanted <= left:
                raise ValueError(f"{Money(left, entry.currency)} of {payment} is left")
            books.execute("INSERT INTO dispute VALUES (?, ?, ?, 'opened', ?)", (ref, entry.ref, wanted, reason))
            self._ledger.tell(books, "dispute.opened", entry, wanted)
            return ref

    def close_dispute(self, dispute: str, status: Literal["won", "lost"]) -> None:
        """The bank has decided, for the seller (`won`) or the buyer. Raises ValueError for one that is not open."""
        with self._ledger.books() as books:
            row = books.execute("SELECT payment, amount FROM dispute WHERE ref = ? AND status = 'opened'", (dispute,)).fetchone()
            if row is None or status not in STATUSES:
                raise ValueError(f"there is no open dispute {dispute}, or no end {status}")
            books.execute("UPDATE dispute SET status = ? WHERE ref = ?", (status, dispute))
            entry, _ = self._ledger.find_charge(books, row[0])
            self._ledger.tell(books, f"dispute.{status}", entry, row[1])


# --- the gateway's endpoints


def _dashboard() -> Dashboard:
    return Dashboard(current_app.config["LEDGER"])


@dashboard.errorhandler(ValueError)
@dashboard.errorhandler(TypeError)
def refuse(error: Exception) -> Any:
    return {"error": str(error)}, BadRequest.code


@dashboard.post("/dashboard/refunds")
def refund() -> Any:
    """{payment, amount?}"""
    return {"ref": _dashboard().refund(**request.get_json())}


@dashboard.post("/dashboard/disputes")
def open_dispute() -> Any:
    """{payment, amount?, reason?}"""
    return {"ref": _dashboard().open_dispute(**request.get_json())}


@dashboard.post("/dashboard/disputes/<dispute>/close")
def close_dispute(dispute: str) -> Any:
    """{status}: `won` or `lost`."""
    _dashboard().close_dispute(dispute, **request.get_json())
    return "", 204
