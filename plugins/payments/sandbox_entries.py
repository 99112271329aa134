"""An attempt in the books of the simulated gateway, and what the gateway decides about it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import uuid4

from puesto import Action, Money, PaymentError, PaymentRequest, PaymentResult, SavedMethod

DECLINING = {
    "tok_card_declined": "card_declined",
    "tok_insufficient_funds": "insufficient_funds",
    "tok_expired_card": "expired_card",
    "tok_fraud_suspected": "fraud_suspected",
}
CHALLENGED = {"tok_3ds", "tok_3ds_fails"}
HOLDING = {"authorized", "partially_captured", "captured"}
ACCEPTED = {"tok_ok", "tok_slow", "tok_timeout", "tok_ok_then_declined"}


@dataclass(frozen=True)
class Charge:
    """A payment attempt as the gateway's dashboard would show it: what really happened, whatever the shop believes.

    amount: what was taken from the buyer. `refunded` is the part that went back.
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
    manual: it is only set aside, and `taken` says how much of it was taken by captures.
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
    status: Literal["requires_action", "authorized", "partially_captured", "captured", "declined", "canceled"] = "captured"
    code: str | None = None
    provider_code: str | None = None
    manual: bool = False
    cancel_url: str | None = None
    taken: int = 0

    @property
    def charged(self) -> int:
        """Minor units taken from the buyer."""
        whole = self.status == "captured" and not self.manual
        return self.amount if whole else self.taken

    @property
    def held(self) -> int:
        """Minor units that the buyer can't spend otherwise: taken, or set aside."""
        return self.amount if self.status in HOLDING else 0

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
            Money(self.held, self.currency),
            self.ref,
            action=Action("redirect", self.way_back) if self.status == "requires_action" else None,
            error=PaymentError(self.code, self.code == "insufficient_funds", self.provider_code) if self.code else None,  # type: ignore[arg-type]
            saved_method=SavedMethod(self.method, "visa", "4242", "2099-12") if self.saves and self.method else None,
            captured=Money(self.taken, self.currency) if self.manual and self.held else None,
            live=False,
        )


def opened(request: PaymentRequest, token: str | None, setup: bool) -> Entry:
    manual = request.capture_mode == "manual" and not setup
    return Entry(
        request.idempotency_key,
        new_id("sbp"),
        request.payment_id,
        setup,
        token,
        request.method,
        request.method is None and (setup or request.save_method),
        request.amount.amount,
        request.amount.currency,
        request.return_url,
        "authorized" if manual else "captured",
        manual=manual,
        cancel_url=request.cancel_url,
    )


def decide(entry: Entry, uses: int, on_session: bool) -> Entry:
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


def new_id(prefix: str) -> str:
    return f"{prefix}_{uuid4().hex}"
