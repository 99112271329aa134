"""Faults of the sandbox gateway, on demand. They stand in the ledger, so that a gateway that was killed goes on with them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

# What a request meets. slow: the answer comes after `seconds`; hang: after `seconds` the connection closes with no answer, and
# with reset at once; error: 500; rate_limited: 429, and nothing is done; garbage: 200 and half a JSON document.
REQUEST_KINDS = frozenset({"slow", "hang", "reset", "error", "rate_limited", "garbage"})
# What a webhook meets. late: sent after `seconds`, so that later ones overtake it; doubled: sent twice.
WEBHOOK_KINDS = frozenset({"late", "doubled"})


@dataclass(frozen=True)
class Fault:
    """A fault that strikes requests or webhooks.

    on:          the provider's method whose requests it strikes (`initiate_payment`), or the type of webhook (`payment.captured`);
                 None: all of them.
    before:      strikes before anything is done; else when the charge stands in the ledger and only the answer suffers.
    times:       how often it strikes; None: for ever.
    probability: of striking, drawn from `seed` and the count of what came by: the same sequence in each run.
    """

    kind: str
    on: str | None = None
    before: bool = False
    times: int | None = 1
    probability: float = 1.0
    seed: int = 0
    seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.kind not in REQUEST_KINDS | WEBHOOK_KINDS:
            raise ValueError(f"there is no fault {self.kind!r}")

    def strikes(self, seen: int, hits: int) -> bool:
        return (self.times is None or hits < self.times) and Random(f"{self.seed}/{seen}").random() < self.probability


def set_faults(books: sqlite3.Connection, faults: Iterable[Fault]) -> None:
    """These from now on, and no others."""
    books.execute("DELETE FROM fault")
    books.executemany("INSERT INTO fault VALUES (?, 0, 0)", [(json.dumps(asdict(fault)),) for fault in faults])


def list_faults(books: sqlite3.Connection) -> list[dict[str, Any]]:
    """Each with what came by (`seen`) and how often it has struck (`hits`)."""
    return [{**json.loads(spec), "seen": seen, "hits": hits} for spec, seen, hits in books.execute("SELECT * FROM fault ORDER BY rowid")]


def draw_fault(books: sqlite3.Connection, kinds: frozenset[str], on: str) -> Fault | None:
    """The first fault that strikes what comes by now."""
    for row, spec, seen, hits in books.execute("SELECT rowid, * FROM fault ORDER BY rowid").fetchall():
        fault = Fault(**json.loads(spec))
        if fault.kind not in kinds or fault.on not in (None, on):
            continue
        struck = fault.strikes(seen, hits)
        books.execute("UPDATE fault SET seen = seen + 1, hits = hits + ? WHERE rowid = ?", (struck, row))
        if struck:
            return fault
    return None
