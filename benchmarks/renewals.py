"""Renewals per second, held against the floor: `python -m benchmarks.renewals --database sqlite --size 100000`.

Each side runs in a process of its own, on a database of its own, a month at a time and in turns: a month's pair gives a ratio. The
provider answers at once, so that what it takes is not measured; both sides call it.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median

import click
from dateutil.relativedelta import relativedelta

from benchmarks.floor.renewals import Pattern, Renewals, connect
from benchmarks.lives import START, open_at, subscribe
from benchmarks.shops import DATABASES, MadeShop, databases
from benchmarks.tables import table
from core.engine.memory import keep_for_good
from core.renewals import due_accounts, renew
from core.worker import equip


@dataclass(frozen=True)
class Run:
    """Of a month: how many were renewed, in how many seconds, with how much CPU; and the process's peak memory, in MB."""

    number: int
    seconds: float
    cpu: float
    memory: float

    @property
    def micros(self) -> float:
        return 1e6 * self.seconds / self.number

    @property
    def cpu_micros(self) -> float:
        return 1e6 * self.cpu / self.number


def puesto(database: str, data: str, month: int) -> int:
    """What `puesto bill` does on a day."""
    engine = open_at(database, data, day_of(month))
    equip(engine)
    keep_for_good()
    renewed = 0
    while accounts := due_accounts(engine):
        renewed += len(renew(engine, accounts))
    engine.close()
    return renewed


def floor(database: str, pattern_of: str, month: int) -> int:
    """pattern_of: the database in which Puesto has renewed that month."""
    pattern = Pattern(connect(pattern_of)[0])
    return Renewals(*connect(database), pattern, lambda payment: f"instant-{payment}").renew(day_of(month), day_of(month + 1))


def day_of(month: int) -> date:
    """The day on which the period of so many months ends: 1 is the first that is due."""
    return START + relativedelta(months=month)


def one(side: str, *arguments: str) -> Run:
    command = [sys.executable, "-m", "benchmarks.renewals", "--run", side, *(each for name in arguments for each in ("--with", name))]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"{side} failed:\n{done.stderr}")
    return Run(**json.loads(done.stdout))


def measured(side: str, arguments: tuple[str, ...]) -> dict[str, float]:
    began, cpu, first, month = time.perf_counter(), time.process_time(), arguments[0], int(arguments[-1])
    number = {"puesto": puesto, "floor": floor}[side](first, arguments[1], month)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"number": number, "seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu, "memory": peak}


def made(shop: MadeShop, size: int) -> None:
    engine = open_at(shop.database, str(shop.data), START)
    subscribe(engine, size)
    engine.close()


def measure(kind: str, size: int, months: int) -> list[tuple[Run, Run]]:
    """The first month is not counted: the floor's series of invoices begins with Puesto's row of it."""
    pairs = []
    with databases(kind) as every:
        ours, theirs = every.shop(0), every.shop(0)
        for shop in (ours, theirs):
            made(shop, size)
        _begin_series(theirs)
        for month in range(1, months + 1):
            by_us = one("puesto", ours.database, str(ours.data), str(month))
            by_hand = one("floor", theirs.database, ours.database, str(month))
            if {by_us.number, by_hand.number} != {size}:
                raise click.ClickException(f"of {size}, Puesto renewed {by_us.number}, the floor {by_hand.number}")
            pairs.append((by_us, by_hand))
    return pairs


def _begin_series(shop: MadeShop) -> None:
    connection, _ = connect(shop.database)
    connection.cursor().execute("INSERT INTO invoice_series (id, last) VALUES ('2026', 0)")
    connection.commit()


def rows_of(kind: str, size: int, pairs: list[tuple[Run, Run]]) -> list[list[str]]:
    ratio = median(floor.micros / ours.micros for ours, floor in pairs)
    rows = []
    for name, runs, times in (("Puesto", [ours for ours, _ in pairs], f"{ratio:.2f}"), ("floor", [floor for _, floor in pairs], "1")):
        each, cpu, memory = (median(getattr(run, what) for run in runs) for what in ("micros", "cpu_micros", "memory"))
        rows.append([kind, f"{size:,}", name, f"{1e6 / each:,.0f}", times, f"{each:.0f}", f"{cpu:.0f}", f"{memory:.0f}"])
    return rows


HEAD = ["database", "due", "", "a second", "x floor", "us each", "CPU us each", "peak memory, MB"]


@click.command()
@click.option("--database", "kinds", multiple=True, type=click.Choice(DATABASES), default=DATABASES, show_default=True)
@click.option("--size", "sizes", multiple=True, type=int, default=(1_000, 10_000), show_default=True, help="Subscriptions that are due.")
@click.option("--months", default=2, show_default=True, help="Pairs of runs.")
@click.option("--run", "side", type=click.Choice(["puesto", "floor"]), hidden=True)
@click.option("--with", "arguments", multiple=True, hidden=True)
def main(kinds: tuple[str, ...], sizes: tuple[int, ...], months: int, side: str | None, arguments: tuple[str, ...]) -> None:
    """Renewals against the floor."""
    if side is not None:
        click.echo(json.dumps(measured(side, arguments)))
        return
    rows = [row for kind in kinds for size in sizes for row in rows_of(kind, size, measure(kind, size, months))]
    click.echo("### Renewals: one subscription to an account, a stored method, a provider that answers at once\n")
    click.echo(table(HEAD, rows))


if __name__ == "__main__":
    main()
