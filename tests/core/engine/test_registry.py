from dataclasses import dataclass

import pytest

from core.engine.plugins import Plugins
from core.engine.registry import collect_products, collect_providers
from core.errors import PluginFailed, SettingsInvalid
from core.hooks import hookimpl
from core.hooks.payments import Capabilities, PaymentProvider
from core.hooks.products import Plan, Product
from core.rules.money import eur
from core.rules.prices import Price


def product(id_, *plans):
    prices = [Price.per_seat("month", eur("10.00"))]
    return Product(id_, {"en": id_}, [Plan(plan, {"en": plan}, tier, prices) for tier, plan in enumerate(plans)])


@dataclass
class Sells:
    products: object

    @hookimpl
    def register_products(self):
        return self.products


@dataclass
class Charges:
    providers: object

    @hookimpl
    def register_payment_providers(self):
        return self.providers


class Card(PaymentProvider):
    name = "card"
    capabilities = Capabilities()


class Bank(Card):
    name = "bank"


def registered(**plugins):
    made = Plugins()
    for name, plugin in plugins.items():
        made.register(name, plugin)
    made.finish()
    return made


def test_products_and_plans_are_found_by_id_with_the_plugin_that_brought_them():
    desk, chat = product("desk", "desk-basic", "desk-pro"), product("chat", "chat-basic")

    registry = collect_products(registered(one=Sells([desk]), two=Sells([chat]), three=Sells([]), four=Sells(None)))

    assert registry.products == {"desk": desk, "chat": chat}
    assert registry.plans == {"desk-basic": (desk, desk.plans[0]), "desk-pro": (desk, desk.plans[1]), "chat-basic": (chat, chat.plans[0])}
    assert registry.plugin_of == {"desk": "one", "chat": "two"}


@pytest.mark.parametrize(
    ("second", "clash"),
    [(product("desk", "desk-new"), "product desk"), (product("chat", "desk-basic"), "plan desk-basic")],
)
def test_an_id_that_is_taken_stops_the_start_and_names_the_plugin(second, clash):
    with pytest.raises(SettingsInvalid) as stopped:
        collect_products(registered(one=Sells([product("desk", "desk-basic")]), two=Sells([second])))

    assert str(stopped.value) == f"plugin two: the {clash} is registered already"


@pytest.mark.parametrize("nonsense", [5, "desk", {"desk": 1}, [None], [product("desk", "desk-basic"), "chat"], object()])
def test_products_that_are_none_name_the_plugin_and_the_hook(nonsense):
    with pytest.raises(PluginFailed) as failed:
        collect_products(registered(shop=Sells(nonsense)))

    assert failed.value.extra == {"plugin": "shop", "hook": "register_products"}


def test_providers_are_found_by_name():
    card, bank = Card(), Bank()

    assert collect_providers(registered(one=Charges([card]), two=Charges((bank,)))) == {"card": card, "bank": bank}


def test_a_provider_name_that_is_taken_stops_the_start():
    with pytest.raises(SettingsInvalid) as stopped:
        collect_providers(registered(one=Charges([Card()]), two=Charges([Card()])))

    assert str(stopped.value) == "plugin two: the payment provider card is registered already"


def test_a_provider_of_another_contract_stops_the_start():
    class Old(Card):
        contract_version = 0

    with pytest.raises(SettingsInvalid) as stopped:
        collect_providers(registered(one=Charges([Old()])))

    assert str(stopped.value) == "plugin one: provider card speaks contract 0, this engine 1"


class Nameless(PaymentProvider):
    capabilities = Capabilities()


class Incapable(PaymentProvider):
    name = "incapable"


@pytest.mark.parametrize("provider", [Nameless(), Incapable(), Card, "card"], ids=["nameless", "incapable", "class", "text"])
def test_a_provider_that_is_none_names_the_plugin_and_the_hook(provider):
    with pytest.raises(PluginFailed) as failed:
        collect_providers(registered(shop=Charges([provider])))

    assert failed.value.extra == {"plugin": "shop", "hook": "register_payment_providers"}
