"""Payment providers, as the core chooses and calls them: by name, under a deadline, never inside a transaction."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from functools import cache, partial
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from core.engine.engine import Engine
from core.errors import PaymentDeclined, PaymentProviderUnavailable
from core.hooks.payments import (
    Capabilities,
    PayableCart,
    PaymentProvider,
    PaymentUnknown,
    ProviderMisconfigured,
    ProviderTimeout,
    ProviderUnavailable,
    beyond,
)

log = logging.getLogger("puesto.payments")
T = TypeVar("T")


def find_provider(engine: Engine, name: str) -> PaymentProvider:
    """Raises PaymentProviderUnavailable where its plugin is not enabled (any more)."""
    provider = engine.providers.get(name)
    if provider is None:
        raise PaymentProviderUnavailable("The payment provider {name} is not enabled.", name=name[:64], extra={"provider": name[:64]})
    return provider


@dataclass(frozen=True)
class Choice:
    """Who may be asked to pay a cart.

    offered:  names for a new payment, the preferred one first.
    stored:   names behind these that only charge methods they have stored: providers that are not offered any more.
    left_out: why the others can't be, as codes by name.
    failed:   those that could not even say so.
    """

    offered: tuple[str, ...]
    stored: tuple[str, ...]
    left_out: Mapping[str, str]
    failed: tuple[str, ...]


def choose_providers(engine: Engine, cart: PayableCart, *, needs_method: bool) -> Choice:
    """By the settings, what each provider can, and what plugins say. Raises PluginFailed.

    needs_method: a method is stored on this occasion.
    """
    left_out: dict[str, str] = {}
    failed = []
    for name in dict.fromkeys((*engine.offered, *engine.providers)):
        try:
            reason = _reason_against(engine, name, cart, needs_method)
        except Exception:  # a provider's fault is no reason to refuse the other ones
            log.exception("provider %s raised in refusal", name)
            reason = "plugin_failed"
            failed.append(name)
        if reason is not None:
            left_out[name] = reason
    able = tuple(name for name in dict.fromkeys((*engine.offered, *engine.providers)) if name not in left_out)
    able = _as_plugins_say(engine, cart, able, left_out)
    stored = tuple(name for name in able if name not in engine.offered)
    left_out |= dict.fromkeys(stored, "stored_methods_only")
    return Choice(tuple(name for name in able if name in engine.offered), stored, left_out, tuple(failed))


def _reason_against(engine: Engine, name: str, cart: PayableCart, needs_method: bool) -> str | None:
    provider, rule = engine.providers[name], engine.settings["payments"]["rules"].get(name)
    if needs_method and not provider.capabilities.save_method:
        return "stores_no_methods"
    reason = provider.refusal(cart)
    if reason is not None or rule is None:
        return reason
    if ("corporate" if cart.corporate else "self_service") not in rule["accounts"]:
        return "account_kind_unsupported"
    return beyond(Capabilities(rule["currencies"], rule["countries"], rule["minimum"], rule["maximum"]), cart)


def _as_plugins_say(engine: Engine, cart: PayableCart, able: tuple[str, ...], left_out: dict[str, str]) -> tuple[str, ...]:
    """What every plugin leaves, in the order of the first that answers."""
    order = None
    for plugin, wanted in engine.plugins.collect("find_payment_providers", cart=cart, providers=able).answers:
        order = tuple(dict.fromkeys(wanted)) if order is None else order
        left_out |= {name: f"plugin:{plugin}" for name in able if name not in wanted and name not in left_out}
    return tuple(name for name in (able if order is None else order) if name in able and name not in left_out)


def call_provider(engine: Engine, provider: PaymentProvider, answer: type[T], call: Callable[[], T], *, looks_up: bool = False) -> T:
    """Run a provider's method under its deadline; `answer` is the type that it must return.

    looks_up: PaymentUnknown is an answer here, and let through. Raises ProviderUnavailable (certainly nothing happened) or
    ProviderTimeout (nobody knows): whatever else a provider raises or answers counts as a time-out.
    """
    return begin_call(engine, provider, answer, call, looks_up=looks_up)()


def begin_call(
    engine: Engine, provider: PaymentProvider, answer: type[T], call: Callable[[], T], *, looks_up: bool = False
) -> Callable[[], T]:
    """Begin what `call_provider` does, and do not wait for it; what waits, and raises as that does."""
    if engine.db.in_transaction():
        raise RuntimeError("a provider is called outside any transaction")
    return partial(_answer_of, provider, answer, engine.plugins.begin(provider.deadline, call), looks_up)


def _answer_of(provider: PaymentProvider, answer: type[T], wait: Callable[[], T], looks_up: bool) -> T:
    try:
        result = wait()
    except ProviderMisconfigured as error:
        log.error("provider %s is misconfigured: %s", provider.name, error)
        raise ProviderUnavailable(str(error)) from error
    except (ProviderUnavailable, ProviderTimeout):
        raise
    except (Exception, SystemExit) as error:
        if looks_up and isinstance(error, PaymentUnknown):
            raise
        log.exception("provider %s raised", provider.name)
        raise ProviderTimeout(f"{provider.name} raised {type(error).__name__}") from error
    if not fits(result, answer):
        log.error("provider %s answered a %s that can't stand for a %s", provider.name, type(result).__name__, answer.__name__)
        raise ProviderTimeout(f"{provider.name} answered nonsense")
    return result


def fits(value: object, kind: Any) -> bool:
    """Whether a value is what its type says, down to the last field: what is not can't be written down."""
    return _check_of(kind)(value)


@cache
def _check_of(kind: Any) -> Callable[[Any], bool]:
    origin, kinds = get_origin(kind), get_args(kind)
    if origin is Literal:
        return lambda value: value in kinds
    if origin in (Union, UnionType):
        able = [_check_of(each) for each in kinds]
        return lambda value: any(check(value) for check in able)
    if origin in (list, tuple):
        each = _check_of(kinds[0])
        return lambda value: isinstance(value, origin) and all(map(each, value))
    if origin is Mapping:
        return lambda value: isinstance(value, Mapping) and _is_json(dict(value))
    fields = [(name, _check_of(each)) for name, each in get_type_hints(kind).items()] if is_dataclass(kind) else []
    return lambda value: isinstance(value, kind) and all(check(getattr(value, name)) for name, check in fields)


def _is_json(value: object) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def declined(error: dict[str, Any] | None) -> PaymentDeclined:
    """The problem for a refused payment, from the error that was stored with it."""
    code = (error or {}).get("code", "provider_error")
    retryable = bool((error or {}).get("retryable"))
    return PaymentDeclined(
        "The payment was declined: {code}. Pay with another method.",
        code=code,
        extra={"decline_code": code, "retryable": retryable},
    )


def unavailable(provider: str) -> PaymentProviderUnavailable:
    """The problem for a provider that is away."""
    return PaymentProviderUnavailable(
        "{provider} can't be reached. Nothing was charged; try again, or pay otherwise.", provider=provider, extra={"provider": provider}
    )
