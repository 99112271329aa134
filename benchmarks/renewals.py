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
from collections.abc import Sequence
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
from core.engine.memory import collect_by_the_batch, keep_for_good
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
    collect_by_the_batch()
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
    """By month, Puesto and the floor."""
    pairs = []
    with databases(kind) as every:
        ours, theirs = every.shop(0), every.shop(0)
        for shop in (ours, theirs):
            made(shop, size)
        _begin_series(theirs)
        for month in range(1, months + 1):
            by_us = _whole(size, one("puesto", ours.database, str(ours.data), str(month)))
            by_hand = _whole(size, one("floor", theirs.database, ours.database, str(month)))
            pairs.append((by_us, by_hand))
    return pairs


def measure_alone(kind: str, size: int, months: int) -> list[Run]:
    """By month, Puesto; for how its cost grows."""
    with databases(kind) as every:
        shop = every.shop(0)
        made(shop, size)
        return [_whole(size, one("puesto", shop.database, str(shop.data), str(month))) for month in range(1, months + 1)]


def _whole(size: int, run: Run) -> Run:
    if run.number != size:
        raise click.ClickException(f"of {size}, {run.number} were renewed")
    return run


def _begin_series(shop: MadeShop) -> None:
    connection, _ = connect(shop.database)
    connection.cursor().execute("INSERT INTO invoice_series (id, last) VALUES ('2026', 0)")
    connection.commit()


def rows_of(kind: str, size: int, months: int, *, alone: bool) -> list[list[str]]:
    if alone:
        return [_row(kind, size, "Puesto", "", measure_alone(kind, size, months))]
    pairs = measure(kind, size, months)
    ratio = median(floor.micros / ours.micros for ours, floor in pairs)
    ours, floors = zip(*pairs, strict=True)
    return [_row(kind, size, "Puesto", f"{ratio:.2f}", ours), _row(kind, size, "floor", "1", floors)]


def _row(kind: str, size: int, name: str, times: str, runs: Sequence[Run]) -> list[str]:
    each, cpu, memory = (median(getattr(run, what) for run in runs) for what in ("micros", "cpu_micros", "memory"))
    return [kind, f"{size:,}", name, f"{1e6 / each:,.0f}", times, f"{each:.0f}", f"{cpu:.0f}", f"{memory:.0f}"]


HEAD = ["database", "due", "", "a second", "x floor", "us each", "CPU us each", "peak memory, MB"]


@click.command()
@click.option("--database", "kinds", multiple=True, type=click.Choice(DATABASES), default=DATABASES, show_default=True)
@click.option("--size", "sizes", multiple=True, type=int, default=(1_000, 10_000), show_default=True, help="Subscriptions that are due.")
@click.option("--months", default=2, show_default=True, help="Pairs of runs.")
@click.option("--alone", is_flag=True, help="Without the floor: for how the cost grows with the size.")
@click.option("--run", "side", type=click.Choice(["puesto", "floor"]), hidden=True)
@click.option("--with", "arguments", multiple=True, hidden=True)
def main(kinds: tuple[str, ...], sizes: tuple[int, ...], months: int, alone: bool, side: str | None, arguments: tuple[str, ...]) -> None:
    """Renewals against the floor."""
    if side is not None:
        click.echo(json.dumps(measured(side, arguments)))
        return
    rows = [row for kind in kinds for size in sizes for row in rows_of(kind, size, months, alone=alone)]
    click.echo("### Renewals: one subscription to an account, a stored method, a provider that answers at once\n")
    click.echo(table(HEAD, rows))


if __name__ == "__main__":
    main()
