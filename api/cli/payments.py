"""puesto payments: what providers know, held against what we know."""

from __future__ import annotations

import click

from api.cli.reconcile import reconcile


@click.group()
def payments() -> None:
    """Compare payments with the books of their providers."""


payments.add_command(reconcile)
