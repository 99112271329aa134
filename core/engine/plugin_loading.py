"""Plugins that are installed: find them, choose those that the settings enable, check their settings, and make them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, lru_cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pluggy
from marshmallow import Schema

from core.engine.clock import Clock
from core.engine.plugin_rows import PluginDatabase
from core.engine.plugins import AskHooks
from core.engine.settings import Secret, base_url_of, check_settings
from core.errors import SettingsInvalid
from core.hooks import PROJECT
from core.hooks.payments import ProviderEvent

ENTRY_POINT_GROUP = "puesto"
# How events of a provider, named first, reach the inbox.
Report = Callable[[str, Sequence[ProviderEvent]], None]


def nobody_hears(provider: str, events: Sequence[ProviderEvent]) -> None:
    """Where events go while a plugin is only tried out."""


class NoSettings(Schema):
    """For plugins that declare no settings: any setting given to them is unknown."""


@dataclass(frozen=True)
class PluginContext:
    """What a plugin class is made with.

    settings: the plugin's own table of the settings, as its `settings_schema` loads it.
    data_dir: a folder of the plugin's own for files; made on first use.
    mode:     `sandbox` or `live`.
    base_url: where this shop's API is reached from outside.
    db:       the plugin's rows, in the tables it registers.
    """

    name: str
    settings: Mapping[str, Any] = field(repr=False)
    mode: str
    base_url: str
    hooks: AskHooks = field(repr=False)
    db: PluginDatabase = field(repr=False)
    _clock: Clock = field(repr=False)
    _data_root: Path = field(repr=False)
    _report: Report = field(repr=False, default=nobody_hears)

    def report(self, provider: str, events: Sequence[ProviderEvent]) -> None:
        """Tell what has happened to payments of a provider that this plugin brings, where the news comes to the plugin itself.

        The events go where webhooks go: each is stored once, by its event id, and then the engine asks `retrieve_payment`.
        """
        self._report(provider, events)

    def now(self) -> datetime:
        """This instant in UTC: the engine's clock, which can be moved in sandbox mode."""
        return self._clock.now()

    @property
    def data_dir(self) -> Path:
        folder = self._data_root / self.name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


@dataclass(frozen=True)
class PluginInfo:
    """A line of `puesto plugins`. `problem` is None for a plugin that works, or is not enabled; `idle`: why one that works does nothing."""

    name: str
    source: str
    enabled: bool
    hooks: tuple[str, ...] = ()
    problem: str | None = None
    idle: str | None = None


@dataclass(frozen=True)
class FoundPlugin:
    """A plugin behind an entry point, not loaded yet."""

    name: str
    source: str
    load: Callable[[], object]


def find_plugins() -> dict[str, FoundPlugin]:
    """Everything installed under the entry-point group `puesto`, bundled or foreign, by name."""
    return dict(_installed(tuple((path, _changed_at(path)) for path in sys.path)))


@lru_cache(maxsize=8)
def _installed(_paths: tuple[tuple[str, int], ...]) -> dict[str, FoundPlugin]:
    """What is found in these folders, which have not changed since: the files of every package that is there are read."""
    found: dict[str, FoundPlugin] = {}
    name_of = cache(lambda distribution: distribution.name if distribution else "?")  # which is read from a file each time
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda p: p.name):
        plugin = FoundPlugin(point.name, f"{name_of(point.dist)} ({point.value})", point.load)
        found[point.name] = _ambiguous(found[point.name], plugin) if point.name in found else plugin
    return found


def _changed_at(path: str) -> int:
    try:
        return os.stat(path or ".").st_mtime_ns
    except OSError:
        return 0


def _ambiguous(one: FoundPlugin, other: FoundPlugin) -> FoundPlugin:
    def load() -> object:
        raise ImportError("two packages bring a plugin of this name")

    return FoundPlugin(one.name, f"{one.source}, {other.source}", load)


def misnamed_plugins(found: Mapping[str, FoundPlugin], settings: Mapping[str, Any]) -> dict[str, SettingsInvalid]:
    """Names in the settings that no installed plugin goes by, each with what is wrong."""
    named = [("enabled", name) for name in settings["enabled"] or ()] + [("disabled", name) for name in settings["disabled"]]
    named += [(f"plugins.{name}", name) for name in settings["plugins"]]
    return {
        name: SettingsInvalid("setting {setting}: no plugin {name} is installed", setting=setting, name=name)
        for setting, name in named
        if name not in found
    }


def choose_plugins(found: Mapping[str, FoundPlugin], settings: Mapping[str, Any]) -> list[str]:
    """Names of the plugins that the settings enable, in order, installed or not."""
    enabled = sorted(found) if settings["enabled"] is None else settings["enabled"]
    return [name for name in dict.fromkeys(enabled) if name not in settings["disabled"]]


def build_plugin(
    found: FoundPlugin,
    settings: Mapping[str, Any],
    clock: Clock,
    data_root: Path,
    hooks: AskHooks,
    db: PluginDatabase,
    report: Report = nobody_hears,
) -> object:
    """Load a plugin and check its settings: a module stands for itself, a class is made with its PluginContext.

    Raises SettingsInvalid where it can't be imported or made, or where a setting is wrong.
    """
    target = _load(found)
    schema = getattr(target, "settings_schema", NoSettings)
    if not (isinstance(schema, type) and issubclass(schema, Schema)):
        raise SettingsInvalid("plugin {name}: its settings_schema is no marshmallow Schema class", name=found.name)
    own = check_settings(_schema(schema), settings["plugins"].get(found.name, {}), f"plugins.{found.name}")
    if not isinstance(target, type):
        return target
    make: Callable[[PluginContext], object] = target
    try:
        return make(PluginContext(found.name, own, settings["mode"], base_url_of(settings), hooks, db, clock, data_root, report))
    except (Exception, SystemExit) as error:
        raise SettingsInvalid("plugin {name} can't be started: {error}", name=found.name, error=_in_one_line(error, own)) from error


@lru_cache(maxsize=256)
def _schema(kind: type[Schema]) -> Schema:
    return kind()


def declared_hooks(found: FoundPlugin) -> tuple[str, ...]:
    """The hooks that a plugin means to implement, without making it; none where it can't be imported."""
    try:
        target = _load(found)
    except SettingsInvalid:
        return ()
    manager = pluggy.PluginManager(PROJECT)
    return tuple(sorted(opts["specname"] or name for name in dir(target) if (opts := manager.parse_hookimpl_opts(target, name))))


def _load(found: FoundPlugin) -> object:
    try:
        return found.load()
    except (Exception, SystemExit) as error:
        raise SettingsInvalid("plugin {name} can't be imported: {error}", name=found.name, error=_in_one_line(error, {})) from error


def _in_one_line(error: BaseException, settings: Mapping[str, Any]) -> str:
    """An error as text, without the secrets among the settings."""
    words = f"{type(error).__name__}: {error}"
    for secret in filter(None, _secrets(settings)):
        words = words.replace(secret, "...")
    return " ".join(words.split())


def _secrets(value: object) -> Iterator[str]:
    if isinstance(value, Secret):
        yield value.reveal()
    elif isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _secrets(each)
