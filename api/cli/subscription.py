"""puesto subscription: one subscription, looked at from the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from api.cli.output import Failure
from api.cli.shop import open_shop
from core.access import INTERNAL, find
from core.errors import Missing
from core.subscriptions import Subscription, subscription_document
from core.timeline import Stretch, life_of

COLOURS = {"trial": "cyan", "billed": "green", "credited": "yellow", "paused": "magenta", "to come": "bright_black"}
BLOCKS = {"trial": "░", "billed": "█", "credited": "▒", "paused": "═", "to come": "░"}
ASCII = {"trial": "t", "billed": "#", "credited": "-", "paused": "=", "to come": "."}
WIDE, NARROW = 160, 110  # columns of a line that is no terminal's; below which documents and formulas are left out
BAR, SHORT_BAR = 40, 20


@click.group()
def subscription() -> None:
    """Look at a subscription."""


@subscription.command()
@click.argument("subscription_id", metavar="ID")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), metavar="DATE", help="How far to look ahead; without, a year.")
def show(subscription_id: str, until: datetime | None) -> None:
    """Draw the life of a subscription: what was billed, credited and paused, and what is to come.

    A row for each, with its days as a bar from the first day to the last that is known. Amounts include tax.
    """
    with open_shop() as engine:
        try:
            found = find(engine, Subscription, subscription_id, INTERNAL)
        except Missing as error:
            raise Failure(str(error), exit_code=2) from error
        stretches = life_of(engine, found, until.date() if until else None)
        console = _console()
        console.print(_head(subscription_document(engine, found, "en")), highlight=False)
        console.print(table(stretches, console) if stretches else "nothing was billed, and nothing is to come", highlight=False)


def _console() -> Console:
    """That of the terminal; into a file or a pipe lines are as long as they need to be."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDE)


def _head(document: dict[str, object]) -> str:
    names = f"{document['product_name']} – {document['plan_name']}".replace("–", "-")
    seats = f"{document['seats']} seat{'' if document['seats'] == 1 else 's'} by the {document['interval']}"
    waiting = "; a change waits" if document["pending_changes"] else ""
    ends = f"; ends on {document['cancel_at']}" if document["cancel_at"] else ""
    return f"{document['id']}: {names}, {seats}: {document['status']}{waiting}{ends}"


def table(stretches: Sequence[Stretch], console: Console) -> Table:
    """A row per stretch; where there is little room, without documents and formulas."""
    narrow = console.width < NARROW
    made = Table(box=box.ASCII2 if console.options.ascii_only else box.SIMPLE_HEAD, pad_edge=False)
    for name in ("days", "what", "seats", "amount", *(() if narrow else ("how", "document")), ""):
        made.add_column(name, justify="right" if name in ("seats", "amount") else "left", no_wrap=True)
    first, last = min(s.period.start for s in stretches), max(s.period.end for s in stretches)
    for each in stretches:
        amount = str(each.total.decimal()) if each.total is not None else ""
        more = () if narrow else (each.formula, each.document)
        days = f"{each.period.start} to {each.period.end}"
        bar = _bar(each, first, last, BAR if console.width >= WIDE else SHORT_BAR, ascii_only=console.options.ascii_only)
        made.add_row(days, each.kind, str(each.seats), amount, *more, bar, style=COLOURS[each.kind] if each.kind != "billed" else "")
    return made


def _bar(stretch: Stretch, first: date, last: date, width: int, *, ascii_only: bool) -> Text:
    """Its days on the line from the first day to the last, at least one mark."""
    scale = width / (last - first).days
    begin = min(int((stretch.period.start - first).days * scale), width - 1)
    end = max(int((stretch.period.end - first).days * scale), begin + 1)
    mark = (ASCII if ascii_only else BLOCKS)[stretch.kind]
    return Text(" " * begin + mark * (end - begin), style=COLOURS[stretch.kind])
