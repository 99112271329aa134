import logging
import re
import subprocess
import sys
import threading
from copy import copy
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from types import ModuleType

import pytest

from core.engine.plugins import AskHooks, Collected, DeadlineExceeded, Plugins
from core.errors import PluginFailed, SettingsInvalid, TaxIdRejected
from core.hooks import hookimpl, hookspec
from core.hooks.tax import TaxRate

SPANISH = TaxRate("ES", Decimal(21), date(2012, 9, 1), "Ley 37/1992, art. 90.Uno")
FAILURE = r"The plugin {plugin} failed in {hook}: it {problem}. Nothing was changed."


def hooks(**how):
    """A hook per failure policy."""

    class Hooks:
        @hookspec(failure="closed", **how)
        def price(self, seats: int, on: date) -> int | None: ...

        @hookspec(failure="skip", **how)
        def notes(self, seats: int) -> list[str] | None: ...

        @hookspec(failure="retry", **how)
        def told(self, seats: int) -> None: ...

    return Hooks


Local = hooks()
Remote = hooks(network=True, deadline=60.0)
Impatient = hooks(network=True, deadline=0.05)


@dataclass
class Answers:
    """Implements the three hooks by one function."""

    answer: object
    key: str = "hunter2"

    @hookimpl
    def price(self, seats):
        return self.answer(seats)

    @hookimpl
    def notes(self, seats):
        return self.answer(seats)

    @hookimpl
    def told(self, seats):
        return self.answer(seats)


def registered(kind=Local, **plugins):
    made = Plugins([kind])
    for name, plugin in plugins.items():
        made.register(name, plugin)
    made.finish()
    return made


def always(value):
    return Answers(lambda seats: value)


def explode(seats):
    raise RuntimeError("hunter2")


def leave(seats):
    raise SystemExit("no key")


@pytest.fixture
def hang():
    """A function that hangs until the test is over."""
    over = threading.Event()
    yield lambda *args: over.wait()
    over.set()


# --- asking


def test_the_first_answer_counts_in_the_order_of_registration():
    plugins = registered(a=always(None), b=always(5), c=Answers(explode))

    assert plugins.first("price", seats=1, on=None) == 5
    assert plugins.implementing("price") == ["a", "b", "c"]


def test_nothing_and_false_are_answers_and_none_is_not():
    assert registered(a=always(0), b=always(5)).first("price", seats=1, on=None) == 0
    assert registered(a=always(None)).first("price", seats=1, on=None) is None


def test_every_answer_is_collected_with_its_plugin():
    plugins = registered(b=always(["two"]), silent=always(None), a=always([]))

    assert plugins.collect("notes", seats=1) == Collected(answers=(("b", ["two"]), ("a", [])), skipped=())


def test_a_plugin_may_ask_to_be_first_or_last():
    class Last:
        @hookimpl(trylast=True)
        def price(self):
            return 1

    class First:
        @hookimpl(tryfirst=True)
        def price(self):
            return 2

    plugins = registered(last=Last(), middle=always(3), first=First())

    assert plugins.implementing("price") == ["first", "middle", "last"]


def test_an_implementation_gets_the_arguments_that_it_names():
    class Picky:
        @hookimpl
        def price(self, on):
            return on.year

    assert registered(picky=Picky()).first("price", seats=1, on=date(2026, 3, 1)) == 2026


def test_modules_classes_and_objects_are_plugins_alike():
    module = ModuleType("pricing")
    module.price = hookimpl(lambda seats: seats)

    class Static:
        @hookimpl
        @staticmethod
        def price(seats):
            return None

    plugins = registered(static=Static(), module=module)

    assert plugins.first("price", seats=3, on=None) == 3
    assert plugins.hooks_of("module") == ("price",)


def test_one_plugin_is_called_by_name():
    plugins = registered(a=always(1), b=Answers(lambda seats: seats * 2))

    assert plugins.call_plugin("b", "price", seats=4, on=None) == 8


@pytest.mark.parametrize(("plugin", "hook"), [("gone", "price"), ("a", "no_such_hook")])
def test_a_plugin_that_does_not_implement_the_hook_any_more_has_failed(plugin, hook):
    with pytest.raises(PluginFailed) as failed:
        registered(a=always(1)).call_plugin(plugin, hook, seats=1)

    assert failed.value.extra == {"plugin": plugin, "hook": hook}


def test_two_sets_of_plugins_do_not_see_each_other():
    one, other = registered(a=always(1)), registered(b=always(2))

    assert (one.implementing("price"), other.implementing("price")) == (["a"], ["b"])
    assert (one.first("price", seats=1, on=None), other.first("price", seats=1, on=None)) == (1, 2)


def test_a_plugin_asks_the_others_through_its_context():
    class Rates:
        @hookimpl
        def find_tax_rate(self, country, on):
            return SPANISH if country == "ES" else None

    plugins = Plugins()
    plugins.register("rates", Rates())
    plugins.finish()
    hooks = AskHooks(plugins)

    assert hooks.find_tax_rate(country="ES", on=date(2026, 3, 1)) == SPANISH
    assert copy(hooks).find_tax_rate(country="PT", on=date(2026, 3, 1)) is None


def test_asking_by_an_unknown_name_says_so():
    hooks = AskHooks(Plugins())

    with pytest.raises(AttributeError, match="there is no hook 'find_tax_rat'"):
        hooks.find_tax_rat(country="ES")
    assert not hasattr(hooks, "__deepcopy__")


# --- failing

POLICIES = ["price", "notes", "told"]


def fail(hook, answer, kind=Local):
    """What is told of a plugin that fails in a hook: it names both, and shows nothing else."""
    plugins = registered(kind, shop=Answers(answer))
    with pytest.raises(PluginFailed) as failed:
        plugins.call_plugin("shop", hook, seats=1, on=None)
    error = failed.value
    assert error.extra == {"plugin": "shop", "hook": hook}
    assert not re.search(r"hunter2|Traceback|\.py|\n", str(error) + repr(error))
    return str(error)


@pytest.mark.parametrize("hook", POLICIES)
def test_a_plugin_that_raises_is_named_and_its_words_are_not_shown(hook):
    assert fail(hook, explode) == FAILURE.format(plugin="shop", hook=hook, problem="raised RuntimeError")


@pytest.mark.parametrize("hook", POLICIES)
@pytest.mark.parametrize("kind", [Local, Remote])
def test_a_plugin_that_wants_to_end_the_process_is_named(hook, kind):
    assert fail(hook, leave, kind) == FAILURE.format(plugin="shop", hook=hook, problem="raised SystemExit")


@pytest.mark.parametrize("hook", POLICIES)
def test_a_plugin_that_hangs_is_named_after_its_deadline(hook, hang):
    assert fail(hook, hang, Impatient) == FAILURE.format(plugin="shop", hook=hook, problem="gave no answer within 0.05 s")


@pytest.mark.parametrize(
    ("hook", "nonsense", "problem"),
    [
        ("price", "5", "answered str, which is not what the hook returns"),
        ("price", [5], "answered list, which is not what the hook returns"),
        ("notes", "words", "answered str, which is not what the hook returns"),
        ("notes", ["words", 5], "answered list, which is not what the hook returns"),
        ("notes", iter(["words"]), "answered list_iterator, which is not what the hook returns"),
    ],
)
@pytest.mark.parametrize("kind", [Local, Remote])
def test_a_plugin_that_answers_nonsense_is_named(hook, nonsense, problem, kind):
    assert fail(hook, lambda seats: nonsense, kind) == FAILURE.format(plugin="shop", hook=hook, problem=problem)


def test_whatever_news_is_answered_with_is_no_failure():
    assert registered(shop=always("thanks")).call_plugin("shop", "told", seats=1) == "thanks"


def test_the_traceback_goes_to_the_log(caplog):
    fail("price", explode)

    [record] = caplog.records
    assert (record.name, record.levelno, record.getMessage()) == (
        "puesto.plugins",
        logging.WARNING,
        "plugin shop: price raised RuntimeError",
    )
    assert record.exc_info[0] is RuntimeError


@pytest.mark.parametrize("bad", [explode, leave, lambda seats: 5], ids=["raises", "leaves", "nonsense"])
@pytest.mark.parametrize("kind", [Local, Remote])
def test_closed_fails_the_question(bad, kind):
    plugins = registered(kind, silent=always(None), bad=Answers(lambda seats: ["x"] if bad(seats) else None), good=always(1))

    for ask in (plugins.first, plugins.collect):
        with pytest.raises(PluginFailed) as failed:
            ask("price", seats=1, on=None)
        assert failed.value.extra == {"plugin": "bad", "hook": "price"}


@pytest.mark.parametrize("bad", [explode, leave, lambda seats: 5], ids=["raises", "leaves", "nonsense"])
def test_skip_goes_on_without_the_plugin_and_says_which(bad):
    plugins = registered(a=always(["one"]), bad=Answers(bad), b=always(["two"]))

    assert plugins.collect("notes", seats=1) == Collected((("a", ["one"]), ("b", ["two"])), skipped=("bad",))
    assert registered(bad=Answers(bad), b=always(["two"])).first("notes", seats=1) == ["two"]


def test_skip_goes_on_without_a_plugin_that_hangs(hang, caplog):
    plugins = registered(Impatient, bad=Answers(hang))

    assert plugins.collect("notes", seats=1) == Collected((), skipped=("bad",))
    assert caplog.records[-1].getMessage() == "plugin bad is skipped: " + FAILURE.format(
        plugin="bad", hook="notes", problem="gave no answer within 0.05 s"
    )


@pytest.mark.parametrize("kind", [Local, Remote])
def test_retry_leaves_it_to_the_outbox(kind):
    plugins = registered(kind, bad=Answers(explode))

    for ask in (plugins.first, plugins.collect):
        with pytest.raises(PluginFailed):
            ask("told", seats=1)


@pytest.mark.parametrize("kind", [Local, Remote])
def test_a_refusal_reaches_the_caller_as_it_is_where_the_policy_is_closed(kind):
    refusal = TaxIdRejected("Not a Spanish number.")

    def refuse(seats):
        raise refusal

    plugins = registered(kind, shop=Answers(refuse))

    with pytest.raises(TaxIdRejected) as raised:
        plugins.first("price", seats=1, on=None)
    assert raised.value is refusal
    assert registered(shop=Answers(refuse)).collect("notes", seats=1) == Collected((), skipped=("shop",))


# --- deadlines


def test_a_call_under_a_deadline_answers_or_raises_as_without():
    plugins = Plugins()

    assert plugins.with_deadline(60, lambda: "answer") == "answer"
    with pytest.raises(ZeroDivisionError):
        plugins.with_deadline(60, lambda: 1 / 0)


def test_a_time_out_of_its_own_is_not_taken_for_the_deadline():
    def time_out():
        raise TimeoutError("the registry is slow")

    with pytest.raises(TimeoutError, match="the registry is slow") as raised:
        Plugins().with_deadline(60, time_out)

    assert not isinstance(raised.value, DeadlineExceeded)


def test_calls_that_hang_take_nothing_from_the_next(hang):
    plugins = Plugins()

    for _ in range(100):
        with pytest.raises(TimeoutError, match=r"no answer within 0\.001 s"):
            plugins.with_deadline(0.001, hang)

    assert plugins.with_deadline(60, lambda: "answer") == "answer"


def test_a_call_that_hangs_does_not_hold_up_the_end_of_the_process():
    script = """
import threading
from core.engine.plugins import Plugins
try:
    Plugins().with_deadline(0.01, threading.Event().wait)
except TimeoutError:
    print("on time")
"""

    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "on time\n", "")


def test_threads_without_a_call_end_when_the_engine_is_closed():
    plugins = Plugins()
    thread = plugins.with_deadline(60, threading.current_thread)

    plugins.close()
    thread.join(60)

    assert not thread.is_alive()
    assert plugins.with_deadline(60, lambda: "answer") == "answer"


# --- tracing


def test_a_trace_shows_each_call_with_its_answer_and_time(monkeypatch, caplog):
    monkeypatch.setenv("PUESTO_TRACE", "1")
    caplog.set_level(logging.INFO, "puesto.plugins")

    registered(a=always(None), b=always(5)).first("price", seats=1, on=None)
    registered(c=Answers(explode)).collect("notes", seats=1)

    traced = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert [re.sub(r"\d+\.\d", "0.1", line) for line in traced] == [
        "a.price -> None in 0.1 ms",
        "b.price -> 5 in 0.1 ms",
        "c.notes -> <class 'RuntimeError'> in 0.1 ms",
    ]
    assert "hunter2" not in "".join(traced)


def test_without_a_trace_the_log_is_quiet(monkeypatch, caplog):
    monkeypatch.delenv("PUESTO_TRACE", raising=False)
    caplog.set_level(logging.INFO, "puesto.plugins")

    registered(a=always(5)).first("price", seats=1, on=None)

    assert caplog.records == []


# --- registering


class Misspelt:
    """Its repr would show a key."""

    def __repr__(self):
        return "Misspelt(key='hunter2')"

    @hookimpl
    def prize(self, seats): ...


class Greedy:
    @hookimpl
    def price(self, seats, discount): ...


class Wrapper:
    @hookimpl(wrapper=True)
    def price(self, seats):
        return (yield)


@pytest.mark.parametrize(
    ("plugin", "told"),
    [
        (Misspelt(), "plugin shop: unknown hook 'prize'"),
        (Greedy(), "plugin shop: .*'price'.*'discount'.* can not be found in the hookspec"),
        (Wrapper(), "plugin shop: price can't be a wrapper"),
        (None, "plugin shop: its entry point leads to None"),
    ],
    ids=["misspelt", "greedy", "wrapper", "none"],
)
def test_a_plugin_that_does_not_fit_is_named_in_one_line(plugin, told):
    with pytest.raises(SettingsInvalid) as refused:
        registered(a=always(1), shop=plugin)

    assert re.fullmatch(told, str(refused.value))


def test_a_plugin_is_registered_once():
    plugin = always(1)

    with pytest.raises(SettingsInvalid) as refused:
        registered(one=plugin, two=plugin)

    assert str(refused.value) == "plugin two: it is registered already, under this name or another"
