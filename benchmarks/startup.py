"""From `puesto serve` to its first answer, alone and with 50 product plugins of 20 plans: `python -m benchmarks.startup`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import click

from benchmarks.servers import PATIENCE, free_port
from benchmarks.tables import table

PLUGINS, PLANS = 50, 20
PRODUCT = """\
from puesto import Plan, Price, Product, Trial, eur, hookimpl

PLANS = [
    Plan(f"foreign{number}-{{tier}}", {{"en": f"Tier {{tier}}"}}, tier, [Price.per_seat("month", eur(tier))], trial=Trial(days=14, seats=5))
    for tier in range(1, {plans} + 1)
]


@hookimpl
def register_products():
    return [Product("foreign{number}", {{"en": "Foreign {number}"}}, plans=PLANS)]
"""


def install(folder: Path, number: int = PLUGINS, plans: int = PLANS) -> None:
    """So many plugins of one package, as pip would have put it there."""
    points = "\n".join(f"foreign{each} = foreign_shop.product{each}" for each in range(number))
    made = {
        "foreign_shop/__init__.py": "",
        "foreign_shop-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: foreign-shop\nVersion: 1\n",
        "foreign_shop-1.dist-info/entry_points.txt": f"[puesto]\n{points}\n",
        **{f"foreign_shop/product{each}.py": PRODUCT.format(number=each, plans=plans) for each in range(number)},
    }
    for name, text in made.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


def first_answer(folder: Path, environment: Mapping[str, str], product: str) -> float:
    """Seconds until the product is told of."""
    port, began = free_port(), time.perf_counter()
    command = [sys.executable, "-m", "api.cli.main", "serve", "--port", str(port)]
    process = subprocess.Popen(command, cwd=folder, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not _answers(port, product):
            if process.poll() is not None or time.perf_counter() > began + PATIENCE:
                raise click.ClickException("the server did not start")
            time.sleep(0.005)
        return time.perf_counter() - began
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


def _answers(port: int, product: str) -> bool:
    try:
        connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        connection.request("GET", f"/v1/products/{product}")
        answer = connection.getresponse()
    except OSError:
        return False
    if answer.status != 200 or product.encode() not in answer.read():
        raise click.ClickException(f"the catalog does not know {product}")
    return True


def shops(folder: Path) -> list[tuple[str, Path, dict[str, str], str]]:
    """What is compared: its name, its folder, its environment, and a product that it sells."""
    plain, full, foreign = (folder / name for name in ("plain", "full", "foreign"))
    for each in (plain, full, foreign):
        each.mkdir()
    install(foreign)
    root = str(Path(__file__).parent.parent)
    return [
        ("bundled plugins", plain, {"PYTHONPATH": root}, "gotomeeting"),
        (f"and {PLUGINS} of {PLANS} plans each", full, {"PYTHONPATH": f"{root}{os.pathsep}{foreign}"}, f"foreign{PLUGINS - 1}"),
    ]


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Pairs of starts, after one that makes database and bytecode.")
def main(rounds: int) -> None:
    """From `puesto serve` to its first answer."""
    with TemporaryDirectory(prefix="puesto-benchmark-") as name:
        compared = shops(Path(name))
        first = [first_answer(*each[1:]) for each in compared]
        taken = [[first_answer(*each[1:]) for each in compared] for _ in range(rounds)]
    rows = []
    for position, (what, *_) in enumerate(compared):
        ratio = median(each[position] / each[0] for each in taken)
        rows.append([what, f"{median(each[position] for each in taken):.2f}", f"{ratio:.2f}", f"{first[position]:.2f}"])
    click.echo("### From `puesto serve` to the first answer\n")
    click.echo(table(["", "seconds", "x", "with a database to be made, seconds"], rows))


if __name__ == "__main__":
    main()
