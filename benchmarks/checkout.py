"""Checkouts per second, over HTTP, held against the floor: `python -m benchmarks.checkout --database sqlite`.

Both servers run all the time, each on a database of its own, and are loaded in turns: a pair of rounds gives a ratio, and the
median of the pairs' ratios is what counts, since a machine is never as fast twice.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import click

from benchmarks.counting import Counts, count
from benchmarks.servers import WORKERS, Server, serving
from benchmarks.shops import DATABASES, Databases, MadeShop, databases
from benchmarks.tables import table

PUESTO, FLOOR = "api.app:from_settings", "benchmarks.floor.app:from_environment"
SEATS = 5


@dataclass(frozen=True)
class Round:
    """rate: checkouts a second; cpu, driver: milliseconds of CPU per checkout of server and driver; p50 to p99: milliseconds of one."""

    rate: float
    cpu: float
    driver: float
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True)
class Side:
    """One of the two that are compared."""

    shop: MadeShop
    server: Server

    def load(self, clients: int, seconds: float) -> Round:
        before = self.server.cpu()
        given = {"port": self.server.port, "key": self.shop.key, "accounts": self.shop.accounts[:clients], "seats": SEATS}
        command = [sys.executable, "-m", "benchmarks.driver"]
        text = json.dumps({**given, "seconds": seconds})
        done = subprocess.run(command, input=text, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False)
        if done.returncode:
            raise click.ClickException(f"the driver met a wrong answer:\n{done.stderr}")
        return _round(json.loads(done.stdout), self.server.cpu() - before)


def _round(report: dict[str, list[float] | float], cpu: float) -> Round:
    seconds = report["seconds"]
    cuts = quantiles([1000 * each for each in seconds], n=100, method="inclusive") if len(seconds) > 1 else [1000 * seconds[0]] * 99
    number = len(seconds)
    rate = number / (report["ended"] - report["began"])
    return Round(rate, 1000 * cpu / number, 1000 * report["cpu"] / number, cuts[49], cuts[94], cuts[98])


@contextmanager
def both(made: Databases, clients: int) -> Iterator[tuple[Side, Side]]:
    """Puesto and the floor, served."""
    ours, theirs = made.shop(clients), made.shop(clients)
    count_first(theirs)
    floor = floor_environment(theirs)
    with serving(PUESTO, ours.environment) as puesto, serving(FLOOR, floor) as bare:
        yield Side(ours, puesto), Side(theirs, bare)


def floor_environment(shop: MadeShop) -> dict[str, str]:
    return {"FLOOR_DATABASE": shop.database, "FLOOR_GATEWAY": f"sqlite:///{shop.gateway}"}


def count_first(shop: MadeShop) -> None:
    """Have Puesto check out once, so that the gateway's books are there."""
    count(shop, "puesto", SEATS, times=1)


def measure(sides: tuple[Side, Side], clients: int, rounds: int, seconds: float) -> list[tuple[Round, Round]]:
    """Pairs of rounds, after one that warms both up."""
    for side in sides:
        side.load(clients, min(seconds, 1))
    return [(sides[0].load(clients, seconds), sides[1].load(clients, seconds)) for _ in range(rounds)]


def rows_of(database: str, clients: int, pairs: list[tuple[Round, Round]]) -> list[list[str]]:
    """Two rows of the table: medians of each side, and the ratio of the pairs."""
    ratio = median(ours.rate / floor.rate for ours, floor in pairs)
    cost = median(ours.cpu / floor.cpu for ours, floor in pairs)
    rows = []
    for name, rounds, times, by in (
        ("Puesto", [ours for ours, _ in pairs], f"{ratio:.2f}", f"{cost:.2f}"),
        ("floor", [floor for _, floor in pairs], "1", "1"),
    ):
        shown = [median(getattr(each, what) for each in rounds) for what in ("rate", "cpu", "p50", "p95", "p99", "driver")]
        rate, cpu, *latencies, driver = shown
        times_ms = [f"{each:.1f}" for each in latencies]
        rows.append([database, str(clients), name, f"{rate:.0f}", times, f"{cpu:.2f}", by, *times_ms, f"{driver:.2f}"])
    return rows


HEAD = ["database", "clients", "", "a second", "x floor", "server CPU, ms", "x floor", "p50, ms", "p95, ms", "p99, ms", "driver CPU, ms"]


def statement_rows(kind: str, made: Databases) -> list[list[str]]:
    """Statements and commits of a checkout of 5 and of 500 seats."""
    shop = made.shop(1)
    rows = []
    for seats in (SEATS, 500):
        ours, floor = (count(shop, which, seats) for which in ("puesto", "floor"))
        rows.append([kind, str(seats), _shown(ours), _shown(floor), f"{ours.statements / floor.statements:.2f}"])
    return rows


def _shown(counts: Counts) -> str:
    return f"{counts.statements:g}, of these {counts.commits:g} COMMIT"


@click.command()
@click.option("--database", "kinds", multiple=True, type=click.Choice(DATABASES), default=DATABASES, show_default=True)
@click.option("--clients", multiple=True, type=int, default=(1, 8), show_default=True)
@click.option("--rounds", default=5, show_default=True, help="Pairs of rounds.")
@click.option("--seconds", default=2.0, show_default=True, help="Of each round.")
def main(kinds: tuple[str, ...], clients: tuple[int, ...], rounds: int, seconds: float) -> None:
    """Checkouts over HTTP against the floor."""
    rows, counted = [], []
    for kind in kinds:
        with databases(kind) as made:
            counted += statement_rows(kind, made)
            with both(made, max(clients)) as sides:
                for number in clients:
                    rows += rows_of(kind, number, measure(sides, number, rounds, seconds))
    click.echo(f"### Checkout: cart, quote and payment of {SEATS} seats; {WORKERS} server processes\n")
    click.echo(table(HEAD, rows))
    click.echo("\n### Statements of a checkout\n")
    click.echo(table(["database", "seats", "Puesto", "floor", "x floor"], counted))


if __name__ == "__main__":
    main()
