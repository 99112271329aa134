"""The command `puesto`."""

from __future__ import annotations

from contextlib import suppress
from copy import copy
from typing import Any

import click

from api.cli.bill import bill
from api.cli.clock import clock
from api.cli.database import db
from api.cli.demo import demo
from api.cli.invoices import invoice
from api.cli.jobs import jobs
from api.cli.keys import keys
from api.cli.output import Failure
from api.cli.payments import payments
from api.cli.plugins import plugins
from api.cli.serve import serve
from api.cli.shop import get_ready
from api.cli.subscription import subscription
from api.cli.worker import worker
from core.engine.engine import Engine
from core.errors import PuestoError
from core.worker import equip


class Commands(click.Group):
    """Commands in the order in which a newcomer needs them, and behind them those of plugins."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        with suppress(PuestoError):  # what is wrong with the settings is no reason to show no help
            return [*self.commands, *of_plugins(ctx)]
        return list(self.commands)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return self.commands.get(name) or of_plugins(ctx).get(name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PuestoError as error:
            raise Failure(str(error)) from error


def of_plugins(ctx: click.Context) -> dict[str, click.Command]:
    """What `plugin_commands` finds, looked up once in a run; their engine is closed at its end."""
    if "plugin commands" not in ctx.meta:
        engine = Engine()
        equip(engine)
        ctx.call_on_close(engine.close)
        ctx.meta["plugin commands"] = plugin_commands(engine)
    found: dict[str, click.Command] = ctx.meta["plugin commands"]
    return found


def plugin_commands(engine: Engine) -> dict[str, click.Command]:
    """The commands of the enabled plugins, by name. Raises PluginFailed."""
    return {
        command.name: _with_rows(command, engine) if plugin in engine.tables else command
        for plugin, commands in engine.plugins.collect("register_commands").answers
        for command in commands
        if isinstance(command, click.Command) and command.name
    }


def _with_rows(command: click.Command, engine: Engine) -> click.Command:
    """The command, whose plugin keeps rows: before it runs, the tables are there and the clock is the shop's."""

    def invoke(ctx: click.Context) -> Any:
        get_ready(engine)
        return command.invoke(ctx)

    ready = copy(command)  # the plugin's own object may serve another shop
    ready.invoke = invoke  # type: ignore[method-assign]
    return ready


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="puesto", prog_name="puesto")
def main() -> None:
    """Puesto sells software by the seat: a commerce engine behind an HTTP API.

    Settings are read from puesto.toml in the current directory (or the file that PUESTO_CONFIG names), and over it from the
    environment: PUESTO_DATABASE, PUESTO_MODE, ... Without any, everything runs on SQLite in the current directory, in sandbox mode.
    """


for command in (demo, serve, worker, bill, clock, payments, subscription, invoice, jobs, keys, plugins, db):
    main.add_command(command)

if __name__ == "__main__":
    main(prog_name="puesto")
