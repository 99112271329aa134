"""Bank statements: a file as the bank gives it, read whole or refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stdnum import iban

from plugins.payments.bank_transfer_bookings import Booking, Statement, StatementInvalid
from plugins.payments.bank_transfer_camt import read_camt
from plugins.payments.bank_transfer_csv import read_csv

MOST_BYTES = 100_000_000


def read_statement(path: Path, account: str, currency: str, columns: Mapping[str, Any] | None) -> Statement:
    """A CAMT.053 file, or CSV whose `columns` the settings name; of this account alone. Raises StatementInvalid, which names the file."""
    try:
        found = _read(_content(path), currency, columns)
        _check_account(found.bookings, account)
    except StatementInvalid as error:
        raise StatementInvalid(f"{path}: {error}; nothing was imported") from None
    return replace(found, bookings=tuple(_tell_apart(found.bookings)))


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise StatementInvalid(f"larger than {MOST_BYTES // 1_000_000} MB")
        return path.read_bytes()
    except OSError as error:
        raise StatementInvalid(str(error.strerror)) from None


def _read(content: bytes, currency: str, columns: Mapping[str, Any] | None) -> Statement:
    # Behind a mark of the byte order; UTF-16 has a zero beside the bracket.
    if content.lstrip(b"\xef\xbb\xbf\xfe\xff\x00 \t\r\n").startswith(b"<"):
        return read_camt(content)
    if columns is None:
        raise StatementInvalid("no XML; to read CSV, name its columns in plugins.bank_transfer.csv")
    return read_csv(content, currency, columns)


def _check_account(bookings: Sequence[Booking], account: str) -> None:
    for booking in bookings:
        if booking.account is not None and iban.compact(booking.account) != account:
            raise StatementInvalid(f"of account {booking.account}, not of {account}")


def _tell_apart(bookings: Iterable[Booking]) -> Iterable[Booking]:
    """Number those that look alike, each time in the same way: files of whole days have all of a day, in the bank's order."""
    seen: Counter[str] = Counter()
    for booking in bookings:
        yield replace(booking, copy=seen[booking.id])
        seen[booking.id] += 1
