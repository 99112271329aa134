"""The enabled plugins of an engine: order them, check them, and call their hooks by each hook's failure policy.

pluggy keeps the registry and checks the signatures; the calling is ours, since pluggy stops at the first exception and
asks the last registered first, while we ask in the order of the settings and want to know whose fault a failure is.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from queue import SimpleQueue
from types import ModuleType, NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import pluggy

from core.errors import PluginFailed, PuestoError, SettingsInvalid
from core.hooks import PROJECT, HookPolicy
from core.hooks.carts import CartHooks
from core.hooks.discounts import DiscountHooks
from core.hooks.documents import DocumentHooks
from core.hooks.engine import EngineHooks
from core.hooks.orders import OrderHooks
from core.hooks.payments import PaymentHooks
from core.hooks.products import ProductHooks
from core.hooks.subscriptions import SubscriptionHooks
from core.hooks.tax import TaxHooks

HOOK_KINDS = (CartHooks, DiscountHooks, ProductHooks, PaymentHooks, TaxHooks, OrderHooks, SubscriptionHooks, DocumentHooks, EngineHooks)
log = logging.getLogger("puesto.plugins")
T = TypeVar("T")


class AskHooks:
    """Lets a plugin ask the others: `context.hooks.find_tax_rate(country="ES", on=day)` is the first answer, or None.

    To be asked once the engine has started: while plugins are made, not all of them are there.
    """

    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins

    def __getattr__(self, hook: str) -> Callable[..., Any]:
        if hook.startswith("_") or hook not in self._plugins.policies:
            raise AttributeError(f"there is no hook {hook!r}")
        return lambda **arguments: self._plugins.first(hook, **arguments)


@dataclass(frozen=True)
class Collected:
    """The answers that are not None, each behind the name of its plugin, and the plugins that failed and were skipped."""

    answers: tuple[tuple[str, Any], ...]
    skipped: tuple[str, ...] = ()


class DeadlineExceeded(TimeoutError):
    """No answer came in time."""


class _Manager(pluggy.PluginManager):
    """Looks for hooks in each class once: pluggy would look at each attribute of each object, which takes most of an engine's start.

    A class has all of its hooks when it is first registered: what is set on it later is none.
    """

    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        kind: Any = type(plugin)
        own = isinstance(plugin, type | ModuleType) or name in getattr(plugin, "__dict__", ())
        return super().parse_hookimpl_opts(plugin, name) if own or name in _implemented_by(kind) else None

    def parse_hookspec_opts(self, module_or_class: Any, name: str) -> Any:
        return _specified_by(module_or_class).get(name)


@lru_cache(maxsize=256)
def _implemented_by(kind: type) -> frozenset[str]:
    manager = pluggy.PluginManager(PROJECT)
    return frozenset(name for name in dir(kind) if manager.parse_hookimpl_opts(kind, name))


@lru_cache(maxsize=256)
def _specified_by(kind: type) -> dict[str, Any]:
    manager = pluggy.PluginManager(PROJECT)
    return {name: opts for name in dir(kind) if (opts := manager.parse_hookspec_opts(kind, name))}


@lru_cache(maxsize=256)
def _specifications(kind: type) -> dict[str, tuple[HookPolicy, Any]]:
    """The policy of each hook of a kind, and what it returns."""
    specs = {name: spec for name, spec in vars(kind).items() if hasattr(spec, "puesto_policy")}
    return {name: (spec.puesto_policy, get_type_hints(spec)["return"]) for name, spec in specs.items()}


class Plugins:
    """The enabled plugins of one engine, and the way to call them. `policies` are those of all hooks, by name."""

    def __init__(self, kinds: Sequence[type] = HOOK_KINDS) -> None:
        self._manager = _Manager(PROJECT)
        for kind in kinds:
            self._manager.add_hookspecs(kind)
        specs = {name: spec for kind in kinds for name, spec in _specifications(kind).items()}
        self.policies: dict[str, HookPolicy] = {name: policy for name, (policy, _) in specs.items()}
        self._returns: dict[str, Any] = {name: returns for name, (_, returns) in specs.items()}
        # In the order in which they are asked; filled once everything is registered.
        self._implementations: dict[str, list[pluggy.HookImpl]] = {}
        self.names: list[str] = []
        self._tracing = bool(os.environ.get("PUESTO_TRACE"))
        self._idle: deque[SimpleQueue[Any]] = deque()  # what hands calls to threads that have nothing to do

    # --- registering

    def register(self, name: str, plugin: object) -> None:
        """Add one plugin; those added first are asked first. Raises SettingsInvalid for hooks that do not fit a specification."""
        if plugin is None:
            raise SettingsInvalid("plugin {name}: its entry point leads to None", name=name)
        try:
            self._manager.register(plugin, name)
        except pluggy.PluginValidationError as error:
            raise SettingsInvalid("plugin {name}: {error}", name=name, error=" ".join(str(error).split())) from None
        except ValueError:  # whose text shows the plugins with all they hold
            raise SettingsInvalid("plugin {name}: it is registered already, under this name or another", name=name) from None
        self.names.append(name)

    def finish(self) -> None:
        """Check that every implementation has a specification, and fix the order of calls."""
        try:
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            hook, _, _ = str(error).partition(" in plugin ")
            raise SettingsInvalid("plugin {name}: {hook}", name=self._manager.get_name(error.plugin), hook=hook) from None
        rank = {name: position for position, name in enumerate(self.names)}
        for hook in self.policies:
            implementations: list[pluggy.HookImpl] = getattr(self._manager.hook, hook).get_hookimpls()
            for implementation in implementations:
                if implementation.hookwrapper or implementation.wrapper:
                    raise SettingsInvalid("plugin {name}: {hook} can't be a wrapper", name=implementation.plugin_name, hook=hook)
            self._implementations[hook] = sorted(implementations, key=lambda i: (not i.tryfirst, i.trylast, rank[i.plugin_name]))

    def hooks_of(self, name: str) -> tuple[str, ...]:
        return tuple(sorted(hook for hook in self._implementations if name in self.implementing(hook)))

    def implementing(self, hook: str) -> list[str]:
        """Names of the plugins that implement a hook, in the order in which they are asked. Empty for an unknown hook."""
        return [implementation.plugin_name for implementation in self._implementations.get(hook, ())]

    # --- calling

    def first(self, hook: str, **arguments: Any) -> Any:
        """The first answer that is not None; None where nobody answers.

        A plugin that fails is passed over where the policy says `skip`; else PluginFailed is raised.
        """
        _, answer = self.first_named(hook, **arguments)
        return answer

    def first_named(self, hook: str, **arguments: Any) -> tuple[str, Any]:
        """The first answer, behind the name of the plugin that gives it; ("", None) where nobody answers. Fails as `first` does."""
        return next(self._answers(hook, arguments, []), ("", None))

    def collect(self, hook: str, **arguments: Any) -> Collected:
        """Every answer that is not None. Raises PluginFailed where the policy is not `skip`."""
        skipped: list[str] = []
        answers = tuple(self._answers(hook, arguments, skipped))
        return Collected(answers, tuple(skipped))

    def call_plugin(self, name: str, hook: str, **arguments: Any) -> Any:
        """Call one plugin's implementation. Raises PluginFailed, also where the plugin does not implement the hook (any more)."""
        for implementation in self._implementations.get(hook, ()):
            if implementation.plugin_name == name:
                return self._call(hook, implementation, arguments)
        raise plugin_failed(name, hook, f"does not implement {hook}, or is not enabled")

    def with_deadline(self, seconds: float, function: Callable[[], T]) -> T:
        """Run something that may hang, in a thread that is left to itself after `seconds`. Raises DeadlineExceeded, a TimeoutError."""
        return self.begin(seconds, function)()

    def begin(self, seconds: float, function: Callable[[], T]) -> Callable[[], T]:
        """Begin what `with_deadline` runs; what waits for its answer, until `seconds` from now.

        A thread takes the next call when it is done with one: those that hang for ever take nothing from the others. As daemons they let
        the process end.
        """
        answer: Future[T] = Future()
        until = time.monotonic() + seconds
        try:
            helper = self._idle.pop()
        except IndexError:
            helper = self._helper()
        helper.put((answer, function))

        def wait() -> T:
            try:
                answer.exception(max(until - time.monotonic(), 0))
            except FutureTimeout:
                raise DeadlineExceeded(f"no answer within {seconds:g} s") from None
            return answer.result()

        return wait

    def _helper(self) -> SimpleQueue[Any]:
        """What hands calls to a new thread, and is idle again after each."""
        calls: SimpleQueue[Any] = SimpleQueue()

        def work() -> None:
            while (call := calls.get()) is not None:
                answer, function = call
                _settle(answer, function, partial(self._idle.append, calls))

        threading.Thread(target=work, name="puesto-plugin", daemon=True).start()
        return calls

    def close(self) -> None:
        """Let the threads end that wait for calls; further calls begin new ones."""
        with suppress(IndexError):  # another thread may take the last one
            while True:
                self._idle.pop().put(None)

    def _answers(self, hook: str, arguments: Mapping[str, Any], skipped: list[str]) -> Iterator[tuple[str, Any]]:
        for implementation in self._implementations[hook]:
            try:
                answer = self._call(hook, implementation, arguments)
            except PuestoError as error:
                if self.policies[hook].failure != "skip":
                    raise
                log.warning("plugin %s is skipped: %s", implementation.plugin_name, error)
                skipped.append(implementation.plugin_name)
                continue
            if answer is not None:
                yield implementation.plugin_name, answer

    def _call(self, hook: str, implementation: pluggy.HookImpl, arguments: Mapping[str, Any]) -> Any:
        policy, plugin, given = self.policies[hook], implementation.plugin_name, [arguments[name] for name in implementation.argnames]
        try:
            if policy.network or self._tracing:
                call = partial(implementation.function, *given)
                answer = _traced(f"{plugin}.{hook}", partial(self.with_deadline, policy.deadline, call) if policy.network else call)
            else:
                answer = implementation.function(*given)
        except PuestoError:
            raise  # a refusal with a reason that the caller may see
        except (Exception, SystemExit) as error:
            problem = f"gave {error}" if isinstance(error, DeadlineExceeded) else f"raised {type(error).__name__}"
            log.warning("plugin %s: %s %s", plugin, hook, problem, exc_info=True)
            raise plugin_failed(plugin, hook, problem) from error
        if answer is not None and not _fits(answer, self._returns[hook]):
            raise plugin_failed(plugin, hook, f"answered {type(answer).__name__}, which is not what the hook returns")
        return answer


def _fits(answer: object, kind: Any) -> bool:
    """Whether an answer is what a specification returns: an object of a class, a list of them, one of several kinds. None: anything."""
    if get_origin(kind) in (Union, UnionType):
        return any(_fits(answer, each) for each in get_args(kind) if each is not NoneType)
    if get_origin(kind) is list:
        return isinstance(answer, list | tuple) and all(_fits(item, get_args(kind)[0]) for item in answer)
    return kind is NoneType or isinstance(answer, get_origin(kind) or kind)


def _traced(name: str, call: Callable[[], T]) -> T:
    """What `call` answers. With PUESTO_TRACE set, the log shows the answer, or what was raised, and the time it took."""
    if not os.environ.get("PUESTO_TRACE"):
        return call()
    began = time.perf_counter()
    outcome: object = None
    try:
        outcome = answer = call()
        return answer
    except BaseException as error:
        outcome = type(error)
        raise
    finally:
        log.info("%s -> %r in %.1f ms", name, outcome, (time.perf_counter() - began) * 1000)


def _settle(answer: Future[T], function: Callable[[], T], done: Callable[[], object]) -> None:
    try:
        result = function()
    except BaseException as error:  # a thread that ends without a word would keep its caller waiting
        done()
        answer.set_exception(error)
    else:
        done()
        answer.set_result(result)


def plugin_failed(plugin: str, hook: str, problem: str) -> PluginFailed:
    """The error for a plugin at fault. It names plugin and hook; the traceback goes to the log only."""
    return PluginFailed(
        "The plugin {plugin} failed in {hook}: it {problem}. Nothing was changed.",
        plugin=plugin,
        hook=hook,
        problem=problem,
        extra={"plugin": plugin, "hook": hook},
    )
