from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest
from marshmallow import Schema, fields

from core.engine.clock import TestClock
from core.engine.plugin_loading import (
    FoundPlugin,
    PluginContext,
    build_plugin,
    choose_plugins,
    declared_hooks,
    find_plugins,
    misnamed_plugins,
)
from core.engine.plugin_rows import PluginDatabase
from core.engine.plugins import AskHooks, Plugins
from core.engine.settings import CoreSettings, SecretField, check_settings
from core.engine.sqlite import Sqlite
from core.errors import SettingsInvalid
from core.hooks import hookimpl

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

# --- finding

SHOP = """
from puesto import hookimpl

class Shop:
    def __init__(self, context):
        self.context = context

    @hookimpl
    def register_products(self):
        return []
"""


def test_the_bundled_plugins_are_found_like_any_other(install):
    install("foreign-shop", SHOP, plugin="foreign_shop:Shop", name="foreign")

    found = find_plugins()

    assert list(found) == sorted(found)
    assert {"sandbox", "vat", "foreign"} <= set(found)
    assert found["foreign"].source == "foreign-shop (foreign_shop:Shop)"
    assert found["vat"].source == "puesto (plugins.tax_vat.vat:Vat)"
    assert found["foreign"].load().__module__ == "foreign_shop"


def test_two_packages_with_one_plugin_name_are_not_chosen_between(install):
    install("shop-one", SHOP, plugin="shop_one:Shop", name="shop")
    install("shop-two", SHOP, plugin="shop_two:Shop", name="shop")

    found = find_plugins()["shop"]

    assert sorted(found.source.split(", ")) == ["shop-one (shop_one:Shop)", "shop-two (shop_two:Shop)"]
    with pytest.raises(SettingsInvalid) as refused:
        build(found)
    assert str(refused.value) == "plugin shop can't be imported: ImportError: two packages bring a plugin of this name"


def found(*names):
    return {name: FoundPlugin(name, "test", object) for name in names}


@pytest.mark.parametrize(
    ("settings", "chosen"),
    [
        ({}, ["a", "b", "c"]),
        ({"disabled": ["b"]}, ["a", "c"]),
        ({"enabled": ["c", "a"]}, ["c", "a"]),
        ({"enabled": ["c", "a", "c"], "disabled": ["a"]}, ["c"]),
        ({"enabled": []}, []),
    ],
)
def test_plugins_are_asked_in_the_order_of_the_settings_else_by_name(settings, chosen):
    assert choose_plugins(found("c", "b", "a"), check_settings(CoreSettings(), settings)) == chosen


def test_a_name_that_nothing_goes_by_is_told_with_its_setting():
    settings = check_settings(CoreSettings(), {"enabled": ["a", "x"], "disabled": ["y"], "plugins": {"a": {}, "z": {}}})

    problems = misnamed_plugins(found("a"), settings)

    assert {name: str(problem) for name, problem in problems.items()} == {
        "x": "setting enabled: no plugin x is installed",
        "y": "setting disabled: no plugin y is installed",
        "z": "setting plugins.z: no plugin z is installed",
    }


# --- making


class ShopSettings(Schema):
    slow_seconds = fields.Float(load_default=3.0)
    key = SecretField(load_default=None)
    accounts = fields.Dict(values=SecretField(), load_default=dict)


class Shop:
    settings_schema = ShopSettings

    def __init__(self, context):
        self.context = context


def build(plugin, data_root=Path("/nowhere"), **settings):
    """The plugin behind what its entry point leads to, made as the engine makes it."""
    if not isinstance(plugin, FoundPlugin):
        target = plugin
        plugin = FoundPlugin("shop", "test", lambda: target)
    checked = check_settings(CoreSettings(), {"plugins": {"shop": settings}, "mode": "live"})
    rows = PluginDatabase(Sqlite("sqlite:///nobody-opens-this.db"))
    return build_plugin(plugin, checked, TestClock(NOON, frozen=True), data_root, AskHooks(Plugins()), rows)


def refusal(plugin, **settings):
    with pytest.raises(SettingsInvalid) as refused:
        build(plugin, **settings)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_class_is_made_with_its_context(tmp_path):
    context = build(Shop, tmp_path / "data", slow_seconds="0.1").context

    assert (context.name, context.mode, context.base_url) == ("shop", "live", "http://127.0.0.1:8000")
    assert context.settings == {"slow_seconds": 0.1, "key": None, "accounts": {}}
    assert context.now() == NOON


def test_a_data_folder_is_made_when_it_is_first_used(tmp_path):
    context = build(Shop, tmp_path / "data").context
    before = list(tmp_path.iterdir())

    folder = context.data_dir

    assert (before, folder, folder.is_dir()) == ([], tmp_path / "data" / "shop", True)


@pytest.mark.parametrize("plugin", [ModuleType("shop"), object()], ids=["module", "object"])
def test_anything_but_a_class_stands_for_itself(plugin):
    assert build(plugin) is plugin


def test_a_context_shows_no_settings(monkeypatch):
    monkeypatch.setenv("SHOP_KEY", "hunter2")

    context = build(Shop, key="env:SHOP_KEY").context

    assert repr(context) == "PluginContext(name='shop', mode='live', base_url='http://127.0.0.1:8000')"
    assert isinstance(context, PluginContext)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"slow_seconds": "soon"}, "setting plugins.shop.slow_seconds: Not a valid number."),
        ({"slow": 1}, "setting plugins.shop.slow: there is no such setting"),
        ({"key": "hunter2"}, "setting plugins.shop.key: write a secret as env:NAME or file:/path, never its value"),
    ],
)
def test_a_wrong_setting_is_named_before_the_plugin_is_made(settings, told):
    assert refusal(Shop, **settings) == told


def test_a_plugin_without_a_schema_takes_no_settings():
    assert refusal(ModuleType("shop"), color="red") == "setting plugins.shop.color: there is no such setting"


@pytest.mark.parametrize("schema", [ShopSettings(), "schema", None, dict])
def test_a_schema_that_is_none_is_refused(schema):
    class Odd(Shop):
        settings_schema = schema

    assert refusal(Odd) == "plugin shop: its settings_schema is no marshmallow Schema class"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ModuleNotFoundError("No module named 'stripe'"), "ModuleNotFoundError: No module named 'stripe'"),
        (ValueError("two\nlines"), "ValueError: two lines"),
        (SystemExit("no key"), "SystemExit: no key"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_named(error, told):
    def load():
        raise error

    assert refusal(FoundPlugin("shop", "test", load)) == f"plugin shop can't be imported: {told}"


def test_a_plugin_that_cannot_be_made_is_named_and_shows_no_secret(monkeypatch):
    monkeypatch.setenv("SHOP_KEY", "hunter2\nhunter3")

    class Careless(Shop):
        def __init__(self, context):
            secrets = [context.settings["key"].reveal(), context.settings["accounts"]["es"].reveal()]
            raise ValueError(f"{secrets[0]} and {secrets[1]} were refused")

    told = refusal(Careless, key="env:SHOP_KEY", accounts={"es": "env:SHOP_KEY"})

    assert told == "plugin shop can't be started: ValueError: ... and ... were refused"


def test_a_class_that_takes_no_context_is_named():
    class Bare:
        pass

    assert refusal(Bare) == "plugin shop can't be started: TypeError: Bare() takes no arguments"


def test_the_hooks_of_a_plugin_are_known_without_making_it():
    class Never(Shop):
        def __init__(self, context):
            raise AssertionError

        @hookimpl
        def price(self, seats): ...

        @hookimpl(specname="notes")
        def words(self, seats): ...

        def helper(self): ...

    def fail_to_load():
        raise ImportError

    assert declared_hooks(FoundPlugin("shop", "test", lambda: Never)) == ("notes", "price")
    assert declared_hooks(FoundPlugin("shop", "test", fail_to_load)) == ()
