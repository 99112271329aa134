"""The engine itself: what plugins may add around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import peewee

from core.hooks import hookspec


@dataclass(frozen=True)
class Tables:
    """The tables that a plugin keeps rows in.

    models:     classes of `Row`. Each table's name begins with the plugin's and an underscore, and each has a column `account`.
    migrations: the folder of the chain that makes them: `0001_what.py`, `0002_what.py`, ..., each with `up(migrator, db)`, as
                playhouse.migrations has it.
    after:      plugins whose tables these refer to: their chains run first.
    """

    models: Sequence[type[peewee.Model]]
    migrations: Path
    after: Sequence[str] = ()


class EngineHooks:
    """Hooks for the tools around an engine, and for rows of a plugin's own."""

    @hookspec(failure="closed")
    def register_tables(self) -> Tables | None:
        """Keep rows in tables of the plugin's own, which `PluginContext.db` reads and writes.

        Called:  once when the engine starts; no network calls here, and no rows: the tables may not be there yet.
        Returns: the models, and the folder of the migrations that make them. They are applied by `puesto db upgrade`.
        Errors:  a table outside the plugin's prefix or without `account`, two migrations of one number, an unknown plugin in
                 `after` or a circle of them: the engine does not start.
        Failure: closed - the engine does not start, and the error names the plugin.
        """

    @hookspec(failure="closed")
    def register_commands(self) -> list[object]:  # type: ignore[empty-body]
        """Add commands to the command line.

        Called:  when `puesto` looks for a command that is none of its own, or lists them; no network calls here.
                 As one of a plugin with tables runs, they are there and up to date, and `PluginContext.now()` is the shop's time.
        Returns: click commands, whose names no other has.
        Errors:  anything raised leaves `puesto` without the commands of plugins.
        Failure: closed - the command does not run, and the error names the plugin.
        """
