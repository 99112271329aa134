"""The dispatcher held against a bare pluggy call and a plain function, with a hook that does nothing: `python -m benchmarks.hooks`."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median

import click
import pluggy

from benchmarks.tables import table
from core.engine.plugins import Plugins
from core.hooks import PROJECT
from core.hooks.tax import TaxHooks
from puesto import hookimpl

CALLS = 5_000


class Idle:
    """Has nothing to say."""

    @hookimpl
    def calculate_tax(self, request: object) -> None:
        return None


def sides(number: int) -> dict[str, Callable[[], object]]:
    """The same call, asked of so many plugins."""
    idle = [Idle() for _ in range(number)]
    bare, plugins = pluggy.PluginManager(PROJECT), Plugins()
    bare.add_hookspecs(TaxHooks)
    for position, plugin in enumerate(idle):
        bare.register(plugin)
        plugins.register(f"idle{position}", plugin)
    plugins.finish()

    def plain() -> None:
        for plugin in idle:
            plugin.calculate_tax(request=None)

    return {
        "Puesto": partial(plugins.first, "calculate_tax", request=None),
        "bare pluggy": partial(bare.hook.calculate_tax, request=None),
        "plain function": plain,
    }


def micros(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    for _ in range(CALLS):
        call()
    return 1e6 * (time.perf_counter() - began) / CALLS


@click.command()
@click.option("--rounds", default=15, show_default=True)
def main(rounds: int) -> None:
    """A hook that does nothing."""
    rows = []
    for number in (1, 10):
        calls = sides(number)
        taken = [{name: micros(call) for name, call in calls.items()} for _ in range(rounds)]
        for name in calls:
            ratio = median(each[name] / each["bare pluggy"] for each in taken)
            rows.append([str(number), name, f"{median(each[name] for each in taken):.2f}", f"{ratio:.2f}"])
    click.echo("### A hook that does nothing\n")
    click.echo(table(["plugins", "", "us a call", "x bare pluggy"], rows))


if __name__ == "__main__":
    main()
