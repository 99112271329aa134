"""Statements as CSV, of which each bank has its own: the settings say which column is which."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from datetime import date, datetime
from io import StringIO
from typing import Any

from marshmallow import Schema, fields, validate

from plugins.payments.bank_transfer_bookings import Booking, Statement, StatementInvalid, one_line, read_amount


class CsvSettings(Schema):
    """The names of columns, as the first line has them.

    text:      one or more that may hold the reference.
    amount:    negative where money went out.
    bank_id:   the bank's own reference of the booking, which tells two alike apart.
    currency, account: where the file says them; else it is of our account, in its currency.
    status, booked: the column that says whether an entry is booked, and its word for that.
    """

    booked_on = fields.String(required=True)
    amount = fields.String(required=True)
    text = fields.List(fields.String(), required=True, validate=validate.Length(1))
    bank_id = fields.String(load_default=None)
    currency = fields.String(load_default=None)
    account = fields.String(load_default=None)
    party = fields.String(load_default=None)
    party_iban = fields.String(load_default=None)
    status = fields.String(load_default=None)
    booked = fields.String(load_default=None)
    delimiter = fields.String(load_default=";", validate=validate.Length(1, 1))
    decimal = fields.String(load_default=",", validate=validate.OneOf([",", "."]))
    date_format = fields.String(load_default="%d.%m.%Y")
    encoding = fields.String(load_default="utf-8-sig")


def read_csv(content: bytes, currency: str, columns: Mapping[str, Any]) -> Statement:
    """Every booked line; `currency` is the account's. Raises StatementInvalid."""
    try:
        text = content.decode(columns["encoding"])
    except (UnicodeDecodeError, LookupError):
        raise StatementInvalid(f"not in the encoding {columns['encoding']}") from None
    reader = csv.DictReader(StringIO(text, newline=""), delimiter=columns["delimiter"])
    try:
        _check_columns(reader.fieldnames or [], columns)
        rows = [(f"line {reader.line_num}", row) for row in reader]
    except csv.Error as error:
        raise StatementInvalid(f"line {reader.line_num}: {error}") from None
    booked = [(place, row) for place, row in rows if _is_booked(row, columns)]
    return Statement(tuple(_booking(row, currency, columns, place) for place, row in booked), pending=len(rows) - len(booked))


def _check_columns(found: Any, columns: Mapping[str, Any]) -> None:
    names = ("booked_on", "amount", "bank_id", "currency", "account", "party", "party_iban", "status")
    wanted = [*filter(None, (columns[name] for name in names)), *columns["text"]]
    missing = [name for name in wanted if name not in found]
    if missing:
        raise StatementInvalid(f"line 1: there is no column {', '.join(missing)}")


def _is_booked(row: Mapping[str, str | None], columns: Mapping[str, Any]) -> bool:
    return columns["status"] is None or row[columns["status"]] == columns["booked"]


def _booking(row: Mapping[str, str | None], currency: str, columns: Mapping[str, Any], place: str) -> Booking:
    def cell(name: str) -> str:
        return one_line(row[columns[name]]) if columns[name] else ""

    thousands = "." if columns["decimal"] == "," else ","
    figure = re.sub(rf"[ '{thousands}]", "", cell("amount")).replace(columns["decimal"], ".")
    return Booking(
        account=cell("account") or None,
        bank_id=cell("bank_id"),
        amount=read_amount(figure, cell("currency") or currency, place=place),
        booked_on=_day(cell("booked_on"), columns["date_format"], place),
        text=one_line(*(row[name] for name in columns["text"])),
        party=cell("party")[:140],
        party_iban=cell("party_iban").replace(" ", "")[:34],
    )


def _day(told: str, date_format: str, place: str) -> date:
    try:
        return datetime.strptime(told, date_format).date()
    except ValueError:
        raise StatementInvalid(f"{place}: {told[:40]!r} is no day like {date_format}") from None
