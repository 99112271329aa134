"""The engine: settings, plugins, clock and database of one shop. Nothing is global; two shops fit in one process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import peewee

from core.engine.clock import Clock, SystemClock, TestClock
from core.engine.database import Database
from core.engine.jobs import Jobs
from core.engine.plugin_loading import (
    FoundPlugin,
    PluginInfo,
    Report,
    build_plugin,
    choose_plugins,
    declared_hooks,
    find_plugins,
    misnamed_plugins,
)
from core.engine.plugin_rows import PluginDatabase
from core.engine.plugins import AskHooks, Plugins
from core.engine.registry import Registry, collect_products, collect_providers, offered_providers
from core.engine.rows import Row
from core.engine.settings import load_settings
from core.engine.sqlite import Sqlite
from core.engine.tables import collect_tables
from core.errors import PuestoError, SettingsInvalid
from core.hooks.payments import ProviderEvent


class ClockOffset(Row):
    """How far the test clock of a sandbox is ahead, in seconds: one row, shared by all processes."""

    id = peewee.IntegerField(primary_key=True)
    seconds = peewee.DoubleField()


def _clock_offset() -> Any:
    return ClockOffset.select()


def open_database(url: str) -> Database:
    """sqlite:///path or postgresql://... Raises SettingsInvalid."""
    if url.startswith(("postgresql:", "postgres:")):
        from core.engine.postgresql import Postgresql  # its driver is installed only where it is wanted

        return Postgresql(url)
    return Sqlite(url)


class Engine:
    """One shop.

    settings: as `load_settings` gives them; None loads them from puesto.toml and the environment.
    clock:    None: the machine's clock in live mode, a movable one in sandbox mode.
    plugins:  further plugins by name, beside the installed ones: modules, or classes made with a PluginContext.

    `providers` are all payment providers by name; `offered` the names of those that new payments go to, the preferred one first.
    `inbox` is where events go that a plugin reports; `core.worker` sets it.

    Raises SettingsInvalid, in one line that names what is wrong, or PluginFailed where a plugin fails as it registers.
    """

    def __init__(
        self, settings: Mapping[str, Any] | None = None, *, clock: Clock | None = None, plugins: Mapping[str, object] | None = None
    ) -> None:
        self.settings = load_settings() if settings is None else settings
        self.sandbox = self.settings["mode"] == "sandbox"
        self.clock: Clock = clock or (TestClock() if self.sandbox else SystemClock())
        self.db = open_database(self.settings["database"])
        self.jobs = Jobs(self)
        self.inbox: Report | None = None
        self.plugins = Plugins()
        found = find_plugins() | {name: _given(name, plugin) for name, plugin in (plugins or {}).items()}
        for error in misnamed_plugins(found, self.settings).values():
            raise error
        hooks, rows = AskHooks(self.plugins), PluginDatabase(self.db)
        for name in choose_plugins(found, self.settings):
            self.plugins.register(name, build_plugin(found[name], self.settings, self.clock, self.data_root, hooks, rows, self._report))
        self.plugins.finish()
        self.products: Registry = collect_products(self.plugins)
        self.providers = collect_providers(self.plugins)
        self.offered = offered_providers(self.providers, self.settings["payments"])
        self.tables = collect_tables(self.plugins)

    @property
    def data_root(self) -> Path:
        """The folder for files: that of the settings, else beside the database: `shop.db` keeps them in `shop-data/`."""
        if self.settings["data"] is not None:
            return Path(self.settings["data"])
        path = Path(self.db.path) if isinstance(self.db, Sqlite) else Path("puesto")
        return path.with_name(f"{path.stem}-data")

    def _report(self, provider: str, events: Sequence[ProviderEvent]) -> None:
        if self.inbox is None:
            raise RuntimeError("a plugin reports once the engine has started")
        self.inbox(provider, events)

    # --- the movable clock of a sandbox

    def refresh_clock(self) -> None:
        """Take over how far another process has moved the clock. Called at the start of each job, and of each request of nobody."""
        if isinstance(self.clock, TestClock):
            for row in self.db.ask(_clock_offset):
                self.follow_clock(row.seconds)

    def follow_clock(self, seconds: float | None) -> None:
        """Take over `ClockOffset.seconds`, where it was read with something else; None: nobody has moved the clock."""
        if isinstance(self.clock, TestClock) and seconds is not None:
            self.clock.offset = max(self.clock.offset, timedelta(seconds=seconds))

    def move_clock(self, instant: datetime) -> None:
        """Make it `instant` for every process of this sandbox, in a transaction of its own.

        Raises SettingsInvalid in live mode, ValueError for an instant that has passed.
        """
        if not isinstance(self.clock, TestClock):
            raise SettingsInvalid("The clock can be moved in sandbox mode only.")
        if self.db.in_transaction():
            raise RuntimeError("the clock is moved outside any transaction, which may be rolled back")
        with self.db.transaction():
            row = self.db.lock(ClockOffset, 1)
            if row is None:
                self.db.insert_new(ClockOffset(id=1, seconds=0.0))  # or another process has, at the same time
                row = self.db.lock(ClockOffset, 1)
            assert row is not None
            self.refresh_clock()
            offset = self.clock.offset_at(instant)
            self.db.update(row, seconds=offset.total_seconds())
        self.clock.offset = max(self.clock.offset, offset)

    def close(self) -> None:
        """Let go of the database, every thread's connection, of the queue, and of the threads that plugins are called in."""
        self.jobs.close()
        self.plugins.close()
        self.db.close_all()


def inspect_plugins(settings: Mapping[str, Any]) -> list[PluginInfo]:
    """What `puesto plugins` shows: the enabled plugins in their order, then the others, then names that nothing installed goes by.

    Never raises, and leaves nothing behind: what plugins write goes to a folder that is removed. A plugin that clashes with one
    before it has that as its problem. A plugin that is not enabled is imported, but not made.
    """
    found = find_plugins()
    enabled, misnamed = choose_plugins(found, settings), misnamed_plugins(found, settings)
    working: dict[str, object] = {}
    infos = []
    with TemporaryDirectory(prefix="puesto-", ignore_cleanup_errors=True) as folder:
        for name in dict.fromkeys([*enabled, *found, *misnamed]):
            if name in misnamed:
                infos.append(PluginInfo(name, "not installed", name in enabled, problem=str(misnamed[name])))
            else:
                problem = _try_out(found[name], settings, Path(folder), working) if name in enabled else None
                idle = getattr(working.get(name), "idle", None)
                infos.append(PluginInfo(name, found[name].source, name in enabled, declared_hooks(found[name]), problem, idle))
    return infos


def _try_out(found: FoundPlugin, settings: Mapping[str, Any], folder: Path, working: dict[str, object]) -> str | None:
    """What is wrong with a plugin beside those that work; it joins them where nothing is."""
    plugins = Plugins()
    try:
        rows = PluginDatabase(Sqlite(f"sqlite:///{folder / 'shop.db'}"))
        plugin = build_plugin(found, settings, SystemClock(), folder, AskHooks(plugins), rows)
        together = {**working, found.name: plugin}
        for name, each in together.items():
            plugins.register(name, each)
        plugins.finish()
        collect_products(plugins)
        collect_providers(plugins)
        collect_tables(plugins)
    except PuestoError as error:
        return str(error)
    working[found.name] = plugin
    return None


def _given(name: str, plugin: object) -> FoundPlugin:
    return FoundPlugin(name, "given to the engine", lambda: plugin)
