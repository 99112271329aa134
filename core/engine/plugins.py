"""Plugins: find them, order them, check them, and call their hooks by each hook's failure policy.

pluggy keeps the registry and checks the signatures; the calling is ours, since pluggy stops at the first exception and
asks the last registered first, while we ask in the order of the settings and want to know whose fault a failure is.
"""

from __future__ import annotations

import inspect
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as DeadlineExceeded
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy
from marshmallow import Schema

from core.engine.clock import Clock
from core.engine.settings import check_settings
from core.errors import PluginFailed, PuestoError, SettingsInvalid
from core.hooks import PROJECT, HookPolicy
from core.hooks.orders import OrderHooks
from core.hooks.payments import PaymentHooks
from core.hooks.products import ProductHooks
from core.hooks.subscriptions import SubscriptionHooks
from core.hooks.tax import TaxHooks

ENTRY_POINT_GROUP = "puesto"
HOOK_KINDS = (ProductHooks, PaymentHooks, TaxHooks, OrderHooks, SubscriptionHooks)
log = logging.getLogger("puesto.plugins")


class NoSettings(Schema):
    """For plugins that declare no settings: any setting given to them is unknown."""


class AskHooks:
    """Lets a plugin ask the others: `context.hooks.find_tax_rate(country="ES", on=day)` is the first answer, or None."""

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins

    def __getattr__(self, hook: str) -> Callable[..., Any]:
        return lambda **arguments: self._plugins.first(hook, **arguments)


@dataclass(frozen=True)
class PluginContext:
    """What a plugin class is made with.

    settings: the plugin's own table of the settings, as its `settings_schema` loads it.
    data_dir: a folder of the plugin's own for files; made on first use.
    mode:     `sandbox` or `live`.
    base_url: where this shop's API is reached from outside.
    """

    name: str
    settings: Mapping[str, Any] = field(repr=False)
    mode: str
    base_url: str
    hooks: AskHooks = field(repr=False)
    _clock: Clock = field(repr=False)
    _data_root: Path = field(repr=False)

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
    """A line of `puesto plugins`. `problem` is None for a plugin that works."""

    name: str
    source: str
    enabled: bool
    hooks: tuple[str, ...] = ()
    problem: str | None = None


class Plugins:
    """The enabled plugins of one engine, and the way to call them."""

    def __init__(self) -> None:
        self.manager = pluggy.PluginManager(PROJECT)
        for kind in HOOK_KINDS:
            self.manager.add_hookspecs(kind)
        self._policies: dict[str, HookPolicy] = {
            name: member.puesto_policy for kind in HOOK_KINDS for name, member in vars(kind).items() if hasattr(member, "puesto_policy")
        }
        # name -> [(plugin name, function)], in the order of the settings; fixed once everything is registered.
        self._implementations: dict[str, list[tuple[str, Callable[..., Any], tuple[str, ...]]]] = {}
        self._names: list[str] = []
        self._threads: ThreadPoolExecutor | None = None

    # --- registering

    def register(self, name: str, plugin: object) -> None:
        """Add one plugin; those added first are asked first. Raises SettingsInvalid for hooks that do not fit a specification."""
        try:
            self.manager.register(plugin, name)
        except (pluggy.PluginValidationError, ValueError) as error:
            self.manager.set_blocked(name)
            raise SettingsInvalid("plugin {name}: {error}", name=name, error=str(error).strip()) from None
        self._names.append(name)

    def finish(self) -> None:
        """Check that every implementation has a specification, and fix the order of calls."""
        try:
            self.manager.check_pending()
        except pluggy.PluginValidationError as error:
            name = self.manager.get_name(error.plugin)
            raise SettingsInvalid("plugin {name}: {error}", name=name, error=str(error).strip().splitlines()[0]) from None
        rank = {name: position for position, name in enumerate(self._names)}
        for hook in self._policies:
            implementations = getattr(self.manager.hook, hook).get_hookimpls()
            for implementation in implementations:
                if implementation.hookwrapper or implementation.wrapper:
                    raise SettingsInvalid("plugin {name}: {hook} can't be a wrapper", name=implementation.plugin_name, hook=hook)
            ordered = sorted(implementations, key=lambda i: (not i.tryfirst, i.trylast, rank[i.plugin_name]))
            self._implementations[hook] = [(i.plugin_name, i.function, i.argnames) for i in ordered]

    def names(self) -> list[str]:
        return list(self._names)

    def hooks_of(self, name: str) -> tuple[str, ...]:
        return tuple(sorted(hook for hook, found in self._implementations.items() if any(plugin == name for plugin, _, _ in found)))

    def implementing(self, hook: str) -> list[str]:
        """Names of the plugins that implement a hook, in the order in which they are asked. Empty for an unknown hook."""
        return [plugin for plugin, _, _ in self._implementations.get(hook, ())]

    # --- calling

    def first(self, hook: str, **arguments: Any) -> Any:
        """The first answer that is not None; None where nobody answers. Raises PluginFailed (policy `closed`)."""
        for plugin, function, argnames in self._implementations[hook]:
            answer = self._call(hook, plugin, function, argnames, arguments)
            if answer is not None:
                return answer
        return None

    def collect(self, hook: str, **arguments: Any) -> list[tuple[str, Any]]:
        """Every answer that is not None, with the plugin that gave it.

        A failing plugin is left out and logged where the policy says `skip`; else PluginFailed is raised.
        """
        answers = []
        for plugin, function, argnames in self._implementations[hook]:
            try:
                answer = self._call(hook, plugin, function, argnames, arguments)
            except PluginFailed:
                if self._policies[hook].failure != "skip":
                    raise
                log.warning("plugin %s was skipped: %s failed", plugin, hook, exc_info=True)
                continue
            if answer is not None:
                answers.append((plugin, answer))
        return answers

    def call_plugin(self, name: str, hook: str, **arguments: Any) -> Any:
        """Call one plugin's implementation. Raises PluginFailed, also where the plugin does not implement the hook (any more)."""
        for plugin, function, argnames in self._implementations.get(hook, ()):
            if plugin == name:
                return self._call(hook, plugin, function, argnames, arguments)
        raise plugin_failed(name, hook, f"does not implement {hook}, or is not enabled")

    def with_deadline(self, seconds: float, function: Callable[[], Any]) -> Any:
        """Run something that may hang in a thread of its own. Raises TimeoutError after `seconds`; the thread is abandoned."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(max_workers=64, thread_name_prefix="puesto-plugin")
        try:
            return self._threads.submit(function).result(timeout=seconds)
        except DeadlineExceeded:
            raise TimeoutError(f"no answer within {seconds:g} s") from None

    def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None

    def _call(self, hook: str, plugin: str, function: Callable[..., Any], argnames: Iterable[str], arguments: Mapping[str, Any]) -> Any:
        policy = self._policies[hook]
        wanted = {name: arguments[name] for name in argnames}
        began = time.perf_counter()
        try:
            answer = self.with_deadline(policy.deadline, lambda: function(**wanted)) if policy.network else function(**wanted)
        except PuestoError:
            raise  # a refusal with a reason that the caller may see
        except Exception as error:
            log.warning("plugin %s: %s raised", plugin, hook, exc_info=True)
            raise plugin_failed(plugin, hook, f"raised {type(error).__name__}") from error
        if os.environ.get("PUESTO_TRACE"):
            log.info("%s.%s -> %r in %.1f ms", plugin, hook, answer, (time.perf_counter() - began) * 1000)
        return answer


def plugin_failed(plugin: str, hook: str, problem: str) -> PluginFailed:
    """The error for a plugin at fault. It names plugin and hook; the traceback goes to the log only."""
    return PluginFailed(
        "The plugin {plugin} failed in {hook}: it {problem}. Nothing was changed.",
        plugin=plugin,
        hook=hook,
        problem=problem,
        extra={"plugin": plugin, "hook": hook},
    )


# --- finding


@dataclass(frozen=True)
class FoundPlugin:
    """A plugin behind an entry point, not loaded yet."""

    name: str
    source: str
    load: Callable[[], object]


def find_plugins() -> dict[str, FoundPlugin]:
    """Everything installed under the entry-point group `puesto`, bundled or foreign, by name."""
    return {
        point.name: FoundPlugin(point.name, f"{point.dist.name if point.dist else '?'} ({point.value})", point.load)
        for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda p: p.name)
    }


def choose_plugins(found: Mapping[str, FoundPlugin], settings: Mapping[str, Any]) -> list[str]:
    """Names of the plugins to enable, in order. Raises SettingsInvalid for a name that is not installed."""
    enabled = settings["enabled"] if settings["enabled"] is not None else sorted(found)
    for table, names in (("enabled", enabled), ("disabled", settings["disabled"]), ("plugins", settings["plugins"])):
        for name in names:
            if name not in found:
                raise SettingsInvalid("setting {table}: no plugin {name} is installed", table=table, name=name)
    return [name for name in enabled if name not in settings["disabled"]]


def build_plugin(found: FoundPlugin, settings: Mapping[str, Any], clock: Clock, data_root: Path, hooks: AskHooks) -> object:
    """Load a plugin and check its settings: a module stands for itself, a class is made with its PluginContext.

    Raises SettingsInvalid where it can't be imported or made, or where a setting is wrong.
    """
    try:
        target: Any = found.load()
    except Exception as error:
        raise SettingsInvalid("plugin {name} can't be imported: {error!r}", name=found.name, error=error) from error
    schema = getattr(target, "settings_schema", NoSettings)
    own = check_settings(schema(), settings["plugins"].get(found.name, {}), f"plugins.{found.name}")
    if isinstance(target, ModuleType) or not inspect.isclass(target):
        return target
    context = PluginContext(found.name, own, settings["mode"], settings["base_url"], hooks, clock, data_root)
    try:
        return target(context)
    except Exception as error:
        raise SettingsInvalid("plugin {name} can't be started: {error!r}", name=found.name, error=error) from error
