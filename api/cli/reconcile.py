"""puesto payments reconcile: the nightly comparison with providers, now."""

from __future__ import annotations

from datetime import UTC, datetime

import click
from rich.console import Console
from rich.table import Table

from api.cli.output import Failure
from api.cli.shop import open_shop
from core.differences import Difference, differences_of
from core.engine.engine import Engine
from core.hooks.payments import PaymentProvider, ProviderTimeout, ProviderUnavailable
from core.payment_webhooks import apply_events
from core.reconciliation import reconcilable
from core.reconciliation import reconcile as reconcile_with

DAY = click.DateTime(["%Y-%m-%d"])
COLUMNS = ("provider", "what", "about", "payment", "here", "there", "since")


@click.command()
@click.option("--provider", "name", metavar="NAME", help="With this provider alone.")
@click.option("--since", metavar="DATE", type=DAY, help="From this day on, UTC. Default: a day before the last run.")
def reconcile(name: str | None, since: datetime | None) -> None:
    """Compare payments with their providers' books.

    Takes in what began at the provider, refunds and disputes, mends what can be mended by asking, and shows what differs all the same:
    then the exit status is 1. A worker does the same each night.
    """
    with open_shop() as engine:
        providers = _chosen(engine, name)
        for provider in providers:
            _run(engine, provider, since.replace(tzinfo=UTC) if since else None)
        apply_events(engine)
        found = differences_of(engine, [provider.name for provider in providers])
    if not found:
        click.echo(f"the books agree: {', '.join(provider.name for provider in providers)}")
        return
    Console().print(_table(found))
    raise Failure(f"differences: {len(found)}")


def _chosen(engine: Engine, name: str | None) -> list[PaymentProvider]:
    able = reconcilable(engine)
    if not able or name not in (None, *(provider.name for provider in able)):
        said = ", ".join(provider.name for provider in able) or "none"
        raise Failure(f"providers that list what has changed: {said}", exit_code=2)
    return [provider for provider in able if name in (None, provider.name)]


def _run(engine: Engine, provider: PaymentProvider, since: datetime | None) -> None:
    try:
        reconcile_with(engine, provider, since)
    except (ProviderTimeout, ProviderUnavailable) as error:
        raise Failure(f"{provider.name} gives no answer, and what was not compared yet is not: {error}") from error


def _table(found: list[Difference]) -> Table:
    table = Table(*COLUMNS, title="Differences")
    for row in found:
        what = row.kind.replace("_", " ")
        since = f"{row.found_at:%Y-%m-%d}"
        table.add_row(row.provider, what, row.subject, row.payment or "-", row.ours or "-", row.theirs or "-", since)
    return table
