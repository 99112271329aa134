"""A subscriber to all news, which writes down what it hears: to see afterwards what was delivered, how often, and by whom."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from puesto import Event, PluginContext, hookimpl

ROOT = Path(__file__).parents[1]
LEDGER = Path("witness", "ledger")


class Witness:
    """One line for each delivery, in one write: a process that dies leaves no half of one."""

    def __init__(self, context: PluginContext) -> None:
        self._ledger = context.data_dir / LEDGER.name

    @hookimpl
    def order_completed(self, event: Event) -> None:
        with self._ledger.open("ab", buffering=0) as ledger:
            ledger.write(f"{event.id} {os.getpid()}\n".encode())

    payment_received = payment_returned = order_completed
    order_voided = payment_failed = payment_captured = payment_refunded = payment_disputed = payment_dispute_closed = order_completed
    trial_started = subscription_started = subscription_changed = subscription_cancelled = order_completed
    trial_extended = trial_ending = renewal_coming = order_completed
    subscription_renewed = subscription_past_due = past_due_ending = subscription_recovered = order_completed
    subscription_paused = subscription_resumed = order_completed
    seat_assigned = seat_released = payment_method_expiring = credit_note_issued = order_completed


def install_witness(folder: Path) -> dict[str, str]:
    """Make it a distribution of its own in `folder`; the variables with which a process finds it."""
    metadata = folder / "site" / "witness-1.0.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: witness\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[puesto]\nwitness = tests.witness:Witness\n")
    return {"PYTHONPATH": os.pathsep.join([str(folder / "site"), str(ROOT)])}


def heard(data: Path) -> Counter[str]:
    """How often the witness that keeps its ledger in the folder `data` has heard of each event, by id."""
    return Counter(event for event, _ in _lines(data))


def hearers(folders: Iterable[Path]) -> set[int]:
    """The processes that delivered."""
    return {int(pid) for data in folders for _, pid in _lines(data)}


def _lines(data: Path) -> list[list[str]]:
    ledger = data / LEDGER
    return [line.split() for line in ledger.read_text().splitlines()] if ledger.exists() else []
