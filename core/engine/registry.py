"""What plugins register at start: products and payment providers, checked for ids that clash."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from core.engine.plugins import Plugins, plugin_failed
from core.errors import SettingsInvalid
from core.hooks.payments import CONTRACT_VERSION, Capabilities, PaymentProvider
from core.hooks.products import Plan, Product

T = TypeVar("T")


@dataclass
class Registry:
    """Products and plans by id, and the plugin that registered each product."""

    products: dict[str, Product] = field(default_factory=dict)
    plans: dict[str, tuple[Product, Plan]] = field(default_factory=dict)
    plugin_of: dict[str, str] = field(default_factory=dict)


def collect_products(plugins: Plugins) -> Registry:
    """Ask every plugin for its products. Raises SettingsInvalid where ids clash, PluginFailed where a plugin raises or answers nonsense."""
    registry = Registry()
    for plugin, product in _registered(plugins, "register_products", Product):
        if product.id in registry.products:
            raise _clash(plugin, "product", product.id)
        registry.products[product.id], registry.plugin_of[product.id] = product, plugin
        for plan in product.plans:
            if not isinstance(plan, Plan):
                raise plugin_failed(plugin, "register_products", f"gave {product.id} a {type(plan).__name__} instead of a Plan")
            if plan.id in registry.plans:
                raise _clash(plugin, "plan", plan.id)
            registry.plans[plan.id] = (product, plan)
    return registry


def collect_providers(plugins: Plugins) -> dict[str, PaymentProvider]:
    """Ask every plugin for its payment providers, by name. Raises as `collect_products` does, and where contracts differ."""
    hook = "register_payment_providers"
    providers: dict[str, PaymentProvider] = {}
    for plugin, provider in _registered(plugins, hook, PaymentProvider):
        if not isinstance(getattr(provider, "name", None), str) or not isinstance(getattr(provider, "capabilities", None), Capabilities):
            raise plugin_failed(plugin, hook, f"returned a {type(provider).__name__} without name or capabilities")
        if provider.contract_version != CONTRACT_VERSION:
            raise SettingsInvalid(
                "plugin {plugin}: provider {name} speaks contract {theirs}, this engine {ours}",
                plugin=plugin,
                name=provider.name,
                theirs=provider.contract_version,
                ours=CONTRACT_VERSION,
            )
        if provider.name in providers:
            raise _clash(plugin, "payment provider", provider.name)
        providers[provider.name] = provider
    return providers


def _registered(plugins: Plugins, hook: str, kind: type[T]) -> Iterator[tuple[str, T]]:
    """Every object that a hook registers, behind the name of its plugin. Raises PluginFailed for anything but a list of `kind`."""
    for plugin, answer in plugins.collect(hook).answers:
        if not isinstance(answer, list | tuple):
            raise plugin_failed(plugin, hook, f"returned {type(answer).__name__} instead of a list")
        for item in answer:
            if not isinstance(item, kind):
                raise plugin_failed(plugin, hook, f"returned {type(item).__name__} instead of a {kind.__name__}")
            yield plugin, item


def _clash(plugin: str, kind: str, name: str) -> SettingsInvalid:
    return SettingsInvalid("plugin {plugin}: the {kind} {name} is registered already", plugin=plugin, kind=kind, name=name)
