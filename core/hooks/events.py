"""News: what subscribers are told after commit, at least once, in order per subject."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Event:
    """Something that happened, as it was when it happened.

    type:    `order.completed` reaches the hook `order_completed`, and so on for each type.
    account: id of the account it belongs to.
    subject: id of the order or subscription whose events are delivered in order.
    data:    JSON documents of the same shape as the HTTP API serves, snapshots of that moment.
    """

    id: str
    type: str
    account: str
    subject: str
    occurred_at: datetime
    data: dict[str, Any]
