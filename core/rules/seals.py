"""The seal of a quote: what the buyer was shown, packed into a text that the client hands back.

It holds the figures, so that checkout can say what has changed, and a digest that tells a whole seal from a broken one. What it
says is compared with what holds now, never believed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

VERSION = "q1"
LARGEST = 100_000  # bytes unpacked


@dataclass(frozen=True)
class Shown:
    """What a seal says: the figures by JSON pointer, and until when they were offered."""

    figures: dict[str, Any]
    until: datetime


def seal(shown: Shown, at: datetime) -> str:
    """The seal of what is shown at an instant; two instants give two seals."""
    document = {"at": int(at.timestamp()), "until": int(shown.until.timestamp()), "figures": shown.figures}
    packed = base64.urlsafe_b64encode(zlib.compress(json.dumps(document, separators=(",", ":")).encode(), 6)).decode().rstrip("=")
    return f"{VERSION}.{packed}.{_digest(packed)}"


def unseal(text: str) -> Shown:
    """Raises ValueError for a text that `seal` has not made."""
    try:
        version, packed, digest = text.split(".")
        if version != VERSION or digest != _digest(packed):
            raise ValueError("no seal of this version")
        unpacked = zlib.decompressobj().decompress(base64.urlsafe_b64decode(packed + "=="), LARGEST)
        document = json.loads(unpacked, parse_float=_no_float, parse_constant=_no_float)
        figures, until = document["figures"], datetime.fromtimestamp(document["until"], UTC)
        return Shown(dict(figures), until)
    except (ValueError, KeyError, TypeError, OverflowError, OSError, RecursionError, zlib.error) as error:
        raise ValueError("this is not the seal of a quote") from error


def changes(was: dict[str, Any], now: dict[str, Any]) -> list[dict[str, Any]]:
    """What differs: [{pointer, was, now}], None where a figure was not there, or is not any more."""
    return [
        {"pointer": pointer, "was": was.get(pointer), "now": now.get(pointer)}
        for pointer in dict.fromkeys([*was, *now])
        if was.get(pointer) != now.get(pointer)
    ]


def _no_float(text: str) -> NoReturn:
    raise ValueError(f"{text}: a quote has no such figure")


def _digest(packed: str) -> str:
    return hashlib.sha256(packed.encode()).hexdigest()[:16]
