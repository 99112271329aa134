"""What was booked on the seller's account, as every kind of statement gives it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from hashlib import sha256

from puesto import Money, money

# What no text of a booking needs, and no database takes.
CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


class StatementInvalid(Exception):
    """The file is no statement, or not of our account; in one line, which names the place."""


@dataclass(frozen=True)
class Booking:
    """One movement of money; a batch of the bank is one for each of its parts.

    account:  the IBAN that it was booked on; None: the file does not say.
    bank_id:  the bank's own reference; empty: there is none.
    amount:   negative where money went out.
    text:     all that may hold a reference.
    party:    who sent the money, or got it.
    reversal: an earlier booking of the other direction was undone.
    copy:     how many alike stand before it in the file.
    """

    account: str | None
    bank_id: str
    amount: Money
    booked_on: date
    text: str
    party: str = ""
    party_iban: str = ""
    reversal: bool = False
    copy: int = 0

    @property
    def id(self) -> str:
        """The same whenever it is read, from this file or one that overlaps it."""
        what = self.bank_id or f"{self.text}\n{self.party}\n{self.party_iban}"
        told = "\n".join([self.booked_on.isoformat(), str(self.amount.amount), self.amount.currency, what, str(self.copy)])
        return f"bte_{sha256(told.encode()).hexdigest()[:20]}"


@dataclass(frozen=True)
class Statement:
    """What a file holds. pending: entries that are left out, since they are not booked yet."""

    bookings: tuple[Booking, ...]
    pending: int = 0


def one_line(*parts: str | None) -> str:
    """The parts that say something, each once, as one line."""
    lines = [" ".join(CONTROL.sub(" ", part or "").split()) for part in parts]
    return " ".join(dict.fromkeys(filter(None, lines)))


def read_amount(figure: str, currency: str, *, place: str) -> Money:
    """Raises StatementInvalid for what is no amount of that currency."""
    try:
        return money(Decimal(figure), currency)
    except (ValueError, ArithmeticError):
        raise StatementInvalid(f"{place}: {figure[:40]!r} {currency[:10]} is no amount") from None
