"""puesto clock: the time of a sandbox, which can be moved forward."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, time, timedelta

import click
from rich.console import Console
from rich.progress import Progress

from api.cli.output import Failure, show_table
from api.cli.shop import open_shop
from core.engine.engine import Engine
from core.engine.values import instant_text
from core.time_machine import Journey, travel

LAST = date(2199, 12, 31)


@click.group()
def clock() -> None:
    """The time of a sandbox, which can be moved forward."""


@clock.command()
def show() -> None:
    """What time it is in the shop."""
    with open_shop() as engine:
        click.echo(instant_text(engine.clock.now()))


@clock.command()
@click.option("--to", "day", type=click.DateTime(["%Y-%m-%d"]), metavar="DATE", help="At noon, UTC: the day has begun in every zone.")
@click.option("--days", type=click.IntRange(1, 36500), metavar="N", help="So many days of 24 hours.")
def forward(day: datetime | None, days: int | None) -> None:
    """Move the time, and do what falls due on the way.

    Renewals, ends of trials, payments to try again, reminders, deliveries: each at its own instant, in the order of date, as if workers
    had run all the time. Safe to kill: run it again, and it goes on. Prints what has happened, by day of the seller.
    """
    if (day is None) == (days is None):
        raise click.UsageError("say either --to DATE or --days N")
    with open_shop() as engine:
        until = noon(day.date()) if day else engine.clock.now() + timedelta(days=days or 0)
        if until.date() > LAST:
            raise Failure(f"the clock goes up to {LAST}", exit_code=2)
        journey = move(engine, until)
        rows = [(f"{day}", _written(events)) for day, events in journey.days.items()]
        show_table(("day", "what has happened"), rows or [("-", "nothing")])
        click.echo(f"It is {instant_text(engine.clock.now())}.")


def noon(day: date) -> datetime:
    """When a day has begun everywhere."""
    return datetime.combine(day, time(12), UTC)


def move(engine: Engine, until: datetime) -> Journey:
    """Travel with a progress bar. Raises Failure in live mode, and for an instant that has passed."""
    if not engine.sandbox:
        raise Failure("the clock can be moved in sandbox mode only", exit_code=2)
    began, console = engine.clock.now(), Console(stderr=True)
    if until < began:
        raise Failure(f"the clock only moves forward: it is {instant_text(began)} already", exit_code=2)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=(until - began).total_seconds())

        def tell(instant: datetime) -> None:
            progress.update(bar, description=f"{instant:%Y-%m-%d}", completed=(instant - began).total_seconds())

        return travel(engine, until, tell)


def _written(events: Counter[str]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in sorted(events.items()))
