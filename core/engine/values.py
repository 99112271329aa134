"""Small values that everything uses: ids, and values as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from typing import Any

from uuid_utils import uuid7

from core.rules.money import Money
from core.rules.periods import Period

PLAIN = frozenset((str, int, bool, type(None)))


def new_id(prefix: str) -> str:
    """A UUIDv7 behind a readable prefix: `ord_0197...`. Sorts by time of making (RFC 9562, section 5.7)."""
    return f"{prefix}_{uuid7().hex}"


def instant_text(instant: datetime) -> str:
    """RFC 3339 in UTC, with milliseconds: 2026-11-24T09:30:00.000Z."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@cache
def _fields(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def to_json(value: Any) -> Any:
    """A value as JSON on the wire, in events and in stored documents: money as {amount, currency}, days as YYYY-MM-DD."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind is dict:  # most of all that is turned into JSON, and much of it is that already
        return {str(k): v if type(v) in PLAIN else to_json(v) for k, v in value.items()}
    if isinstance(value, str | int):
        return value
    if isinstance(value, Money):
        return {"amount": value.amount, "currency": value.currency}
    if isinstance(value, Period):
        return {"start": value.start.isoformat(), "end": value.end.isoformat()}
    if isinstance(value, datetime):
        return instant_text(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(v) for v in value]
    if isinstance(value, set | frozenset):
        return sorted(to_json(v) for v in value)  # alike in every process, since documents are sealed by their hash
    if is_dataclass(value) and not isinstance(value, type):
        return {name: to_json(getattr(value, name)) for name in _fields(type(value))}
    raise TypeError(f"{type(value).__name__} has no JSON form")
