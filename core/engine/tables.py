"""The tables that plugins keep rows in, checked and put in order as the engine starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

from playhouse.migrations import Migration

from core.engine.plugins import Plugins
from core.engine.rows import Row
from core.errors import SettingsInvalid
from core.hooks.engine import Tables


def collect_tables(plugins: Plugins) -> dict[str, Tables]:
    """Ask every plugin for its tables; those that others come after are first. Raises SettingsInvalid, or PluginFailed."""
    found: dict[str, Tables] = dict(plugins.collect("register_tables").answers)
    taken: set[str] = set()
    for name, tables in found.items():
        _check_models(name, tables, taken)
        _check_migrations(name, tables)
    return {name: found[name] for name in _in_order(found)}


def _check_models(name: str, tables: Tables, taken: set[str]) -> None:
    for model in tables.models:
        if not (isinstance(model, type) and issubclass(model, Row)):
            raise SettingsInvalid("plugin {name}: {model!r} is no class of puesto.Row", name=name, model=model)
        table = model._meta.table_name
        if not table.startswith(f"{name}_"):
            raise SettingsInvalid("plugin {name}: the name of its table {table} must begin with {name}_", name=name, table=table)
        if "account" not in model._meta.columns:
            raise SettingsInvalid("plugin {name}: its table {table} has no column account", name=name, table=table)
        if table in taken:
            raise SettingsInvalid("plugin {name}: the table {table} is registered already", name=name, table=table)
        taken.add(table)


def _check_migrations(name: str, tables: Tables) -> None:
    numbers = Counter(migration.idx for migration in Migration.load_directory(tables.migrations))
    if not numbers:
        raise SettingsInvalid("plugin {name}: there are no migrations in {folder}", name=name, folder=tables.migrations)
    for number, times in numbers.items():
        if times > 1:
            raise SettingsInvalid("plugin {name}: it has {times} migrations of number {number}", name=name, times=times, number=number)


def _in_order(found: Mapping[str, Tables]) -> list[str]:
    for name, tables in found.items():
        for other in tables.after:
            if other not in found:
                raise SettingsInvalid("plugin {name}: its tables come after those of {other}, which has none here", name=name, other=other)
    try:
        return list(TopologicalSorter({name: tables.after for name, tables in found.items()}).static_order())
    except CycleError as error:
        raise SettingsInvalid("the tables of these plugins come after each other: {circle}", circle=", ".join(error.args[1])) from None
