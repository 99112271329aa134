"""puesto plugins: what is installed and what is wrong with it."""

from __future__ import annotations

import sys

import click

from api.cli.output import show_table
from core.engine.engine import inspect_plugins
from core.engine.plugin_loading import PluginInfo
from core.engine.settings import load_settings


@click.group(invoke_without_command=True)
@click.pass_context
def plugins(context: click.Context) -> None:
    """Show what is installed and what is wrong with it.

    Of each plugin: where it comes from, whether it is enabled, in which order it is asked, which hooks it implements.
    """
    if context.invoked_subcommand is None:
        rows = [_row(number, info) for number, info in enumerate(inspect_plugins(load_settings()), 1)]
        show_table(("name", "source", "enabled", "order", "hooks", "problem"), rows)


@plugins.command()
def check() -> None:
    """Start every enabled plugin with its settings. Exit status 1, and a line per problem, where something is wrong."""
    problems = [f"{info.name}: {info.problem}" for info in inspect_plugins(load_settings()) if info.problem]
    click.echo("\n".join(problems) or "all well")
    sys.exit(1 if problems else 0)


def _row(number: int, info: PluginInfo) -> tuple[str, ...]:
    enabled, order = ("yes", str(number)) if info.enabled else ("no", "-")
    return info.name, info.source, enabled, order, ", ".join(info.hooks) or "-", info.problem or info.idle or "-"
