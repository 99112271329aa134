"""puesto payments list, check, diff: which providers there are, whether one is ready, and what a swap would leave behind."""

from __future__ import annotations

from collections.abc import Sequence

import click
from rich.console import Console
from rich.table import Table

from api.cli.output import Failure
from api.cli.shop import open_shop
from core.access import INTERNAL
from core.checkout import quote_cart
from core.engine.engine import Engine
from core.errors import Missing
from core.provider_checks import check_provider, claims, compare_providers, moves_money, webhook_address

STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}
ABLE = {True: "yes", False: "NO", None: "?"}
WIDTH = 160  # where there is no terminal that has one


@click.command("list")
@click.option("--cart", metavar="ID", help="For this cart: who may be asked to pay it, and why the others not.")
def list_providers(cart: str | None) -> None:
    """Show the payment providers, those first that new payments go to."""
    with open_shop() as engine:
        engine.refresh_clock()
        reasons = _reasons(engine, cart) if cart else {}
        rows = [_row(engine, name, reasons) for name in dict.fromkeys((*engine.offered, *engine.providers))]
    columns = ("provider", "offered", "money", "can", "currencies", "countries", "webhooks to")
    _show((*columns, "this cart") if cart else columns, rows)


def _row(engine: Engine, name: str, reasons: dict[str, str]) -> tuple[str, ...]:
    provider = engine.providers[name]
    can = provider.capabilities
    offered = str(engine.offered.index(name) + 1) if name in engine.offered else "no"
    bounds = (_named(can.currencies), _named(can.countries))
    about = (name, offered, "live" if moves_money(engine, provider) else "test", ", ".join(claims(provider)) or "-", *bounds)
    row = (*about, webhook_address(engine, provider) or "-")
    return (*row, reasons[name]) if reasons else row


def _named(codes: frozenset[str] | None) -> str:
    return "any" if codes is None else ", ".join(sorted(codes))


def _reasons(engine: Engine, cart: str) -> dict[str, str]:
    try:
        choice = quote_cart(engine, cart, INTERNAL).providers
    except Missing as error:
        raise Failure(str(error), exit_code=2) from error
    return {name: choice.left_out.get(name, "yes") for name in engine.providers}


@click.command("check")
@click.argument("name", metavar="NAME")
def check(name: str) -> None:
    """See whether a provider is ready, without charging anybody. Exit status 1 where it is not."""
    with open_shop() as engine:
        found = list(check_provider(engine, name))
    _show(("", "about", name), [(f"[{STYLES[each.level]}]{each.level}", each.about, each.detail) for each in found])
    if any(each.level == "fail" for each in found):
        raise Failure(f"{name} is not ready")


@click.command("diff")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
def diff(old: str, new: str) -> None:
    """See what a swap from OLD to NEW would leave behind: what is in use that NEW lacks, what stays at OLD, which settings are missing.

    Exit status 1 where NEW lacks something or is not set up.
    """
    with open_shop() as engine:
        swap = compare_providers(engine, old, new)
    _show((f"in use at {old}", "times", new), [(use.what, str(use.count), ABLE[use.able]) for use in swap.uses])
    _show((f"stays at {old}", "now"), [(what, str(count)) for what, count in swap.stays.items()])
    for each in swap.missing:
        click.echo(f"missing: {each}")
    lacking = [use.what for use in swap.uses if not use.able]
    if lacking or swap.missing:
        raise Failure(f"{new} does not take over yet: {'; '.join((*lacking, *swap.missing))}")


def _show(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH
    table = Table(*columns)
    for row in rows:
        table.add_row(*row)
    console.print(table)
