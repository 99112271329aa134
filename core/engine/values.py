"""Small values that everything uses: ids, and values as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
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


def to_json(value: Any) -> Any:
    """A value as JSON on the wire, in events and in stored documents: money as {amount, currency}, days as YYYY-MM-DD.

    Raises TypeError for what has no such form.
    """
    kind = type(value)
    return value if kind in PLAIN else _WRITER[kind](value)


def _mapping(value: Mapping[Any, Any]) -> dict[str, Any]:
    # Much of it is JSON already: this is `to_json` of each, without the call.
    return {str(k): v if (kind := type(v)) in PLAIN else _WRITER[kind](v) for k, v in value.items()}


def _list(value: Iterable[Any]) -> list[Any]:
    return [v if (kind := type(v)) in PLAIN else _WRITER[kind](v) for v in value]


def _set(value: Iterable[Any]) -> list[Any]:
    return sorted(map(to_json, value))  # alike in every process, since documents are sealed by their hash


_FORMS: tuple[tuple[tuple[type, ...], Callable[[Any], Any]], ...] = (
    ((str, int), lambda value: value),
    ((Money,), lambda money: {"amount": money.amount, "currency": money.currency}),
    ((Period,), lambda period: {"start": period.start.isoformat(), "end": period.end.isoformat()}),
    ((datetime,), instant_text),
    ((date,), date.isoformat),
    ((Decimal,), lambda number: format(number, "f")),
    ((Mapping,), _mapping),
    ((list, tuple), _list),
    ((set, frozenset), _set),
)


class _Writer(dict[type, Callable[[Any], Any]]):
    """By class, what writes its values; found when one is first met."""

    def __missing__(self, kind: type) -> Callable[[Any], Any]:
        self[kind] = found = next((write for kinds, write in _FORMS if issubclass(kind, kinds)), None) or _of_dataclass(kind)
        return found


def _of_dataclass(kind: Any) -> Callable[[Any], Any]:
    if not is_dataclass(kind):
        raise TypeError(f"{kind.__name__} has no JSON form")
    names = tuple(field.name for field in fields(kind))
    return lambda value: _mapping({name: getattr(value, name) for name in names})


_WRITER = _Writer()
