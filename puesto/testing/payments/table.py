"""What providers claim, side by side: printed where the kit has run, and kept in docs/payments.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields

import pytest

from puesto import Capabilities, PaymentProvider


def capability_table(providers: Iterable[PaymentProvider]) -> str:
    """A table in Markdown: a line per capability, a column per provider."""
    claims = {provider.name: provider.capabilities for provider in providers}
    rows = [["", *claims]] + [[each.name, *(_shown(getattr(can, each.name)) for can in claims.values())] for each in fields(Capabilities)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows]
    return "\n".join([lines[0], "| " + " | ".join("-" * max(width, 3) for width in widths) + " |", *lines[1:]])


def _shown(claim: object) -> str:
    if isinstance(claim, bool):
        return "yes" if claim else ""
    if isinstance(claim, Mapping) and len(claim) > 3:
        return f"in {len(claim)} currencies"
    if isinstance(claim, Mapping):
        return ", ".join(f"{amount} {currency}" for currency, amount in sorted(claim.items()))
    return ", ".join(sorted(claim)) if isinstance(claim, frozenset) else "any"


class CapabilityReport:
    """A plugin of pytest's that prints the table of the providers that the kit has met. One per run; not under xdist."""

    def __init__(self) -> None:
        self.met: dict[str, PaymentProvider] = {}

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("payment providers: what they claim, and the kit has tried")
        terminalreporter.write_line(capability_table(self.met.values()))


def report_of(config: pytest.Config) -> CapabilityReport:
    report = config.pluginmanager.get_plugin("puesto-capabilities")
    if report is None:
        report = CapabilityReport()
        config.pluginmanager.register(report, "puesto-capabilities")
    assert isinstance(report, CapabilityReport)
    return report
