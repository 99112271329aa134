"""puesto payments: the providers that there are, and their books held against ours."""

from __future__ import annotations

import click

from api.cli.providers import check, diff, list_providers
from api.cli.reconcile import reconcile


@click.group()
def payments() -> None:
    """Look over payment providers, and compare payments with their books."""


for command in (list_providers, check, diff, reconcile):
    payments.add_command(command)
