"""What plugins register at start: products and payment providers, checked for ids that clash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core.engine.plugins import Plugins, plugin_failed
from core.errors import SettingsInvalid
from core.hooks.payments import CONTRACT_VERSION, Capabilities, PaymentProvider
from core.hooks.products import Plan, Product


@dataclass
class Registry:
    """Products and plans by id, and the plugin that registered each product."""

    products: dict[str, Product] = field(default_factory=dict)
    plans: dict[str, tuple[Product, Plan]] = field(default_factory=dict)
    plugin_of: dict[str, str] = field(default_factory=dict)


def collect_products(plugins: Plugins) -> Registry:
    """Ask every plugin for its products. Raises SettingsInvalid where ids clash, PluginFailed where a plugin raises or answers nonsense."""
    registry = Registry()
    for plugin, products in plugins.collect("register_products").answers:
        for product in products:
            if product.id in registry.products:
                raise _clash(plugin, "product", product.id)
            registry.products[product.id], registry.plugin_of[product.id] = product, plugin
            for plan in product.plans:
                if plan.id in registry.plans:
                    raise _clash(plugin, "plan", plan.id)
                registry.plans[plan.id] = (product, plan)
    return registry


def collect_providers(plugins: Plugins) -> dict[str, PaymentProvider]:
    """Ask every plugin for its payment providers, by name. Raises as `collect_products` does, and where contracts differ."""
    providers: dict[str, PaymentProvider] = {}
    for plugin, found in plugins.collect("register_payment_providers").answers:
        for provider in found:
            _check_provider(plugin, provider)
            if provider.name in providers:
                raise _clash(plugin, "payment provider", provider.name)
            providers[provider.name] = provider
    return providers


def offered_providers(providers: Mapping[str, PaymentProvider], settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the providers that new payments go to, in the order of the settings. Raises SettingsInvalid for one that is not there."""
    named = [("providers", name) for name in settings["providers"] or ()]
    for setting, name in named + [(f"rules.{name}", name) for name in settings["rules"]]:
        if name not in providers:
            raise SettingsInvalid(
                "setting payments.{setting}: no plugin brings a provider {name} in this mode, only {there}; is it enabled, and set up?",
                setting=setting,
                name=name,
                there=", ".join(providers) or "none at all",
            )
    return tuple(providers if settings["providers"] is None else dict.fromkeys(settings["providers"]))


def _check_provider(plugin: str, provider: PaymentProvider) -> None:
    """What the base class leaves to each provider, since a checkout would be the wrong moment to miss it."""
    if not isinstance(getattr(provider, "name", None), str) or not isinstance(getattr(provider, "capabilities", None), Capabilities):
        raise plugin_failed(plugin, "register_payment_providers", f"gave {type(provider).__name__} no name or no capabilities")
    if provider.contract_version != CONTRACT_VERSION:
        raise SettingsInvalid(
            "plugin {plugin}: provider {name} speaks contract {theirs}, this engine {ours}",
            plugin=plugin,
            name=provider.name,
            theirs=provider.contract_version,
            ours=CONTRACT_VERSION,
        )


def _clash(plugin: str, kind: str, name: str) -> SettingsInvalid:
    return SettingsInvalid("plugin {plugin}: the {kind} {name} is registered already", plugin=plugin, kind=kind, name=name)
