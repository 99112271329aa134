"""The engine: settings, plugins, clock and database of one shop. Nothing is global; two shops fit in one process."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import peewee

from core.engine.clock import Clock, SystemClock, TestClock
from core.engine.database import Database, Row
from core.engine.jobs import Jobs
from core.engine.plugins import AskHooks, FoundPlugin, PluginInfo, Plugins, build_plugin, choose_plugins, find_plugins
from core.engine.registry import Registry, collect_products, collect_providers
from core.engine.settings import load_settings
from core.errors import PuestoError, SettingsInvalid


class ClockOffset(Row):
    """How far the test clock of a sandbox is ahead, in seconds: one row, shared by all processes."""

    id = peewee.IntegerField(primary_key=True)
    seconds = peewee.DoubleField()


class Engine:
    """One shop.

    settings: as `load_settings` gives them; None loads them from puesto.toml and the environment.
    clock:    None: the machine's clock in live mode, a movable one in sandbox mode.
    plugins:  further plugins by name, beside the installed ones: modules, or classes made with a PluginContext.

    Raises SettingsInvalid, in one line that names what is wrong.
    """

    def __init__(
        self, settings: Mapping[str, Any] | None = None, *, clock: Clock | None = None, plugins: Mapping[str, object] | None = None
    ) -> None:
        self.settings = load_settings() if settings is None else settings
        self.sandbox = self.settings["mode"] == "sandbox"
        self.clock: Clock = clock or (TestClock() if self.sandbox else SystemClock())
        self.db = Database(self.settings["database"])
        self.jobs = Jobs(self)
        self.plugins = Plugins()
        self._found = find_plugins() | {name: _given(name, plugin) for name, plugin in (plugins or {}).items()}
        for name in choose_plugins(self._found, self.settings):
            self.plugins.register(name, self._build(name))
        self.plugins.finish()
        self.products: Registry = collect_products(self.plugins)
        self.providers = collect_providers(self.plugins)

    @property
    def data_root(self) -> Path:
        """The folder for files, beside the database: `shop.db` keeps them in `shop-data/`."""
        path = Path(self.db.path)
        return path.with_name(f"{path.stem}-data")

    def _build(self, name: str) -> object:
        return build_plugin(self._found[name], self.settings, self.clock, self.data_root, AskHooks(self.plugins))

    # --- the movable clock of a sandbox

    def refresh_clock(self) -> None:
        """Take over how far another process has moved the clock. Called at the start of each request and job."""
        if isinstance(self.clock, TestClock) and (row := self.db.get(ClockOffset, 1)) is not None:
            self.clock.offset = max(self.clock.offset, timedelta(seconds=row.seconds))

    def move_clock(self, instant: datetime) -> None:
        """Make it `instant` for every process of this sandbox.

        Raises SettingsInvalid in live mode, ValueError for an instant that has passed.
        """
        if not isinstance(self.clock, TestClock):
            raise SettingsInvalid("The clock can be moved in sandbox mode only.")
        with self.db.transaction():
            self.refresh_clock()
            self.clock.move_to(instant)
            seconds = self.clock.offset.total_seconds()
            self.db.execute(ClockOffset.replace(id=1, seconds=seconds))

    def close(self) -> None:
        self.plugins.close()
        self.db.close()


def inspect_plugins(settings: Mapping[str, Any]) -> list[PluginInfo]:
    """What `puesto plugins` shows: every installed plugin, enabled or not, its hooks and what is wrong with it. Never raises."""
    found = find_plugins()
    try:
        enabled = choose_plugins(found, settings)
    except SettingsInvalid as error:
        return [PluginInfo(name, plugin.source, False, problem=str(error)) for name, plugin in found.items()]
    order = enabled + [name for name in found if name not in enabled]
    return [_inspect(found[name], name in enabled, settings) for name in order]


def _inspect(found: FoundPlugin, enabled: bool, settings: Mapping[str, Any]) -> PluginInfo:
    if not enabled:
        return PluginInfo(found.name, found.source, False)
    plugins = Plugins()
    data_root = Path(Database(settings["database"]).path)
    try:
        plugin = build_plugin(found, settings, SystemClock(), data_root.with_name(f"{data_root.stem}-data"), AskHooks(plugins))
        plugins.register(found.name, plugin)
        plugins.finish()
        collect_products(plugins)
        collect_providers(plugins)
    except PuestoError as error:
        return PluginInfo(found.name, found.source, True, problem=str(error))
    return PluginInfo(found.name, found.source, True, hooks=plugins.hooks_of(found.name))


def _given(name: str, plugin: object) -> FoundPlugin:
    return FoundPlugin(name, "given to the engine", lambda: plugin)
