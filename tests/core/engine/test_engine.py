import threading
from datetime import UTC, datetime, timedelta
from types import ModuleType

import peewee
import pytest

from core.engine.clock import SystemClock, TestClock
from core.engine.engine import ClockOffset, Engine, inspect_plugins
from core.engine.settings import CoreSettings, check_settings
from core.errors import PluginFailed, SettingsInvalid
from core.hooks import hookimpl
from core.hooks.products import Plan, Product
from core.rules.money import eur
from core.rules.prices import Price

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DESK = Product("desk", {"en": "Desk"}, [Plan("desk-basic", {"en": "Basic"}, 1, [Price.per_seat("month", eur("10.00"))])])
CHAT = Product("chat", {"en": "Chat"}, [Plan("chat-basic", {"en": "Basic"}, 1, [Price.per_seat("month", eur("5.00"))])])


class Desk:
    def __init__(self, context):
        self.context = context

    @hookimpl
    def register_products(self):
        return [DESK]


class Chat:
    @hookimpl
    def register_products(self):
        return [CHAT]


@pytest.fixture
def settings(tmp_path):
    """settings(name, ...) are those of a shop of its own, with no plugin but those asked for."""

    def make(name="shop", **given):
        return check_settings(CoreSettings(), {"database": f"sqlite:///{tmp_path / name}.db", "enabled": [], **given})

    return make


@pytest.fixture
def start(settings):
    """start(name, plugins=..., clock=..., settings...) is an engine with its one table, closed in the end."""
    engines = []

    def make(name="shop", *, plugins=None, clock=None, **given):
        engine = Engine(settings(name, enabled=list(plugins or {}), **given), plugins=plugins, clock=clock)
        engines.append(engine)
        peewee.SchemaManager(ClockOffset, engine.db.raw()).create_all()
        return engine

    yield make
    for engine in engines:
        engine.close()


# --- starting


def test_modules_classes_and_objects_given_to_the_engine_are_its_plugins(start):
    module = ModuleType("silent")

    engine = start(plugins={"desk": Desk, "chat": Chat(), "silent": module})

    assert engine.products.plugin_of == {"desk": "desk", "chat": "chat"}
    assert engine.plugins.implementing("register_products") == ["desk", "chat"]
    assert engine.providers == {}


def test_a_given_plugin_has_settings_and_a_data_folder_like_an_installed_one(start, tmp_path):
    made = []

    class Kept(Desk):
        def __init__(self, context):
            made.append(context)

    engine = start(plugins={"kept": Kept}, clock=TestClock(NOON, frozen=True), base_url="https://shop.example")

    [context] = made
    assert (context.name, context.mode, context.base_url, context.now()) == ("kept", "sandbox", "https://shop.example", NOON)
    assert context.data_dir == engine.data_root / "kept" == tmp_path / "shop-data" / "kept"


def test_two_engines_in_one_process_do_not_see_each_other(start):
    class Asks:
        def __init__(self, context):
            self.context = context

    clock, other_clock = TestClock(NOON, frozen=True), TestClock(NOON, frozen=True)
    one = start("one", plugins={"desk": Desk, "asks": Asks}, clock=clock)
    other = start("other", plugins={"chat": Chat()}, clock=other_clock)

    one.move_clock(NOON + timedelta(days=1))

    assert (list(one.products.products), list(other.products.products)) == (["desk"], ["chat"])
    assert (one.clock.now() - NOON, other.clock.now() - NOON) == (timedelta(days=1), timedelta(0))
    assert (one.db.count(ClockOffset.select()), other.db.count(ClockOffset.select())) == (1, 0)
    assert one.data_root != other.data_root
    with one.db.transaction():
        assert not other.db.in_transaction()


def test_the_bundled_plugins_start_with_no_settings_at_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("PUESTO_CONFIG", "PUESTO_DATABASE", "PUESTO_MODE"):
        monkeypatch.delenv(name, raising=False)

    engine = Engine()
    engine.close()

    assert engine.db.path == "puesto.db"
    assert {"gotoassist", "gotomeeting", "gotowebinar", "rescue"} <= set(engine.products.products)
    assert {"sandbox", "invoice_terms"} <= set(engine.providers)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"database": "mysql://puesto:hunter2@db/shop"}, "setting database: write sqlite:///"),
        ({"enabled": ["strpie"]}, "setting enabled: no plugin strpie is installed"),
        ({"disabled": ["strpie"]}, "setting disabled: no plugin strpie is installed"),
        ({"plugins": {"strpie": {}}}, "setting plugins.strpie: no plugin strpie is installed"),
        ({"enabled": ["vat"], "plugins": {"vat": {"registered": "GB"}}}, "setting plugins.vat.registered: there is no such setting"),
    ],
)
def test_what_is_wrong_with_the_settings_stops_the_start(settings, tmp_path, given, told):
    with pytest.raises(SettingsInvalid) as stopped:
        Engine(settings(**given))

    assert str(stopped.value).startswith(told)
    assert "hunter2" not in str(stopped.value)
    assert list(tmp_path.iterdir()) == []


def test_a_plugin_that_fails_as_it_registers_stops_the_start(settings):
    class Broken(Chat):
        @hookimpl
        def register_products(self):
            raise RuntimeError("hunter2")

    with pytest.raises(PluginFailed) as stopped:
        Engine(settings(enabled=["broken"]), plugins={"broken": Broken()})

    assert str(stopped.value) == "The plugin broken failed in register_products: it raised RuntimeError. Nothing was changed."


def test_closing_lets_go_of_the_database_in_every_thread(start, tmp_path):
    engine = start()
    looked, closed = threading.Event(), threading.Event()

    def look():
        engine.refresh_clock()
        looked.set()
        closed.wait()

    thread = threading.Thread(target=look)
    thread.start()
    looked.wait()
    before = (tmp_path / "shop.db-wal").exists()
    engine.close()
    files = [file.name for file in tmp_path.iterdir()]
    closed.set()
    thread.join()

    assert (before, files) == (True, ["shop.db"])


# --- the clock


def test_sandbox_has_a_movable_clock_and_live_has_not(start):
    live = start("live", mode="live")

    assert isinstance(start("sandbox").clock, TestClock)
    assert isinstance(live.clock, SystemClock)
    live.refresh_clock()
    with pytest.raises(SettingsInvalid, match="The clock can be moved in sandbox mode only"):
        live.move_clock(NOON)


def test_a_moved_clock_is_taken_over_by_the_other_processes_of_the_shop(start):
    one, other = (start(clock=TestClock(NOON, frozen=True)) for _ in range(2))

    one.move_clock(NOON + timedelta(days=31, microseconds=1))
    one.move_clock(NOON + timedelta(days=32))
    before = other.clock.now()
    other.refresh_clock()

    assert (before, other.clock.now()) == (NOON, NOON + timedelta(days=32))
    assert one.db.count(ClockOffset.select()) == 1


def test_whoever_moves_the_clock_moves_it_on_from_where_the_shop_is(start):
    one, other = (start(clock=TestClock(NOON, frozen=True)) for _ in range(2))
    one.move_clock(NOON + timedelta(days=2))

    with pytest.raises(ValueError, match="the clock only moves forward"):
        other.move_clock(NOON + timedelta(days=1))

    one.refresh_clock()
    assert one.clock.now() == other.clock.now() == NOON + timedelta(days=2)


def test_the_clock_is_not_moved_where_the_transaction_might_be_rolled_back(start):
    engine = start(clock=TestClock(NOON, frozen=True))

    with pytest.raises(RuntimeError, match="outside any transaction"), engine.db.transaction():
        engine.move_clock(NOON + timedelta(days=1))

    assert (engine.clock.now(), engine.db.count(ClockOffset.select())) == (NOON, 0)


def test_a_move_that_is_not_committed_has_not_been(start, monkeypatch):
    engine, seen = start(clock=TestClock(NOON, frozen=True)), []

    def dies():
        seen.append(engine.clock.now())
        raise OSError("the disk is full")

    monkeypatch.setattr(engine.db.raw(), "commit", dies)
    with pytest.raises(OSError, match="the disk is full"):
        engine.move_clock(NOON + timedelta(days=1))

    assert (seen, engine.clock.now()) == ([NOON], NOON)


# --- looking at plugins

SHOP = """
from puesto import Plan, Price, Product, eur, hookimpl

class Shop:
    def __init__(self, context):
        (context.data_dir / "made").touch()

    @hookimpl
    def register_products(self):
        plan = Plan("shop-basic", {"en": "Basic"}, 1, [Price.per_seat("month", eur("1.00"))])
        return [Product("shop", {"en": "Shop"}, [plan])]
"""
FAILING = """
from puesto import hookimpl

@hookimpl
def register_products():
    raise KeyError("shop")
"""
BROKEN = "raise RuntimeError('broken')"


def looked_at(settings, *names):
    infos = {info.name: info for info in inspect_plugins(settings)}
    return [(infos[name].enabled, infos[name].hooks, infos[name].problem) for name in names]


def test_enabled_plugins_come_first_in_their_order_then_the_others_by_name(settings):
    infos = inspect_plugins(settings(enabled=["vat_rates", "vat"]))

    assert [info.name for info in infos][:2] == ["vat_rates", "vat"]
    others = [info.name for info in infos[2:]]
    assert others == sorted(others)
    assert {"sandbox", "email"} <= set(others)
    assert [info.enabled for info in infos] == [True, True] + [False] * len(others)
    assert {info.problem for info in infos} == {None}


def test_every_installed_plugin_shows_its_hooks_enabled_or_not(settings, install):
    install("shop", SHOP, plugin="inspected_shop:Shop")
    install("broken", BROKEN, plugin="inspected_broken")

    assert looked_at(settings(enabled=["shop"]), "shop", "vat_rates", "broken") == [
        (True, ("register_products",), None),
        (False, ("find_tax_rate",), None),
        (False, (), None),
    ]


def test_what_is_wrong_with_one_plugin_is_told_with_it_and_spoils_no_other(settings, install):
    install("broken", BROKEN, plugin="inspected_broken")
    install("misspelt", "from puesto import hookimpl\n@hookimpl\ndef calculate_taks(request): ...", plugin="inspected_misspelt")
    install("empty", "EMPTY = None", plugin="inspected_empty:EMPTY")
    enabled = ["broken", "misspelt", "empty", "invoice_terms", "sandbox", "vat_rates"]

    looked = looked_at(settings(enabled=enabled, plugins={"invoice_terms": {"x": 1}, "sandbox": {"slow_seconds": "soon"}}), *enabled)

    assert looked == [
        (True, (), "plugin broken can't be imported: RuntimeError: broken"),
        (True, ("calculate_taks",), "plugin misspelt: unknown hook 'calculate_taks'"),
        (True, (), "plugin empty: its entry point leads to None"),
        (True, ("find_payment_providers", "register_payment_providers"), "setting plugins.invoice_terms.x: there is no such setting"),
        (True, ("register_commands", "register_payment_providers"), "setting plugins.sandbox.slow_seconds: Not a valid number."),
        (True, ("find_tax_rate",), None),
    ]


def test_a_plugin_that_clashes_with_one_before_it_has_that_as_its_problem(settings, install):
    install("shop", SHOP, plugin="inspected_shop:Shop")
    install("copy", SHOP, plugin="inspected_copy:Shop")

    assert looked_at(settings(enabled=["shop", "copy"]), "shop", "copy") == [
        (True, ("register_products",), None),
        (True, ("register_products",), "plugin copy: the product shop is registered already"),
    ]


def test_a_plugin_that_raises_as_it_registers_is_told(settings, install):
    install("shop", FAILING, plugin="inspected_failing")

    [(_, _, problem)] = looked_at(settings(enabled=["shop"]), "shop")

    assert problem == "The plugin shop failed in register_products: it raised KeyError. Nothing was changed."


def test_names_that_nothing_goes_by_are_listed_with_their_setting(settings):
    wrong = settings(enabled=["strpie", "vat_rates"], disabled=["paypla"], plugins={"vta": {}})

    infos = inspect_plugins(wrong)

    assert [info.name for info in infos][:2] == ["strpie", "vat_rates"]
    assert looked_at(wrong, "strpie", "vat_rates", "paypla", "vta") == [
        (True, (), "setting enabled: no plugin strpie is installed"),
        (True, ("find_tax_rate",), None),
        (False, (), "setting disabled: no plugin paypla is installed"),
        (False, (), "setting plugins.vta: no plugin vta is installed"),
    ]


def test_looking_leaves_nothing_behind(settings, install, tmp_path, monkeypatch):
    install("shop", SHOP, plugin="inspected_shop:Shop")
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.setenv(name, str(empty))
    monkeypatch.setattr("tempfile.tempdir", None)

    problems = [info.problem for info in inspect_plugins(settings(database="sqlite:///puesto.db", enabled=None))]

    assert set(problems) == {None}
    assert list(empty.iterdir()) == []
