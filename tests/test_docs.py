"""What the documents say is held against the code."""

import os
import re
import shutil
import subprocess
import tomllib
from importlib.metadata import entry_points
from types import ModuleType

import pytest

from core.catalog import get_product
from core.engine.plugins import HOOK_KINDS
from core.engine.settings import CoreSettings, check_settings
from docs import make_payments
from docs.make_hooks import PAGE, page
from docs.readme_commands import README, commands
from puesto import Price, eur

ROOT = README.parent
LABELS = ("Called", "Returns", "Errors", "Failure")
PAGES = sorted([README, *(ROOT / "docs").glob("*.md")])


def specifications():
    return {name: member for kind in HOOK_KINDS for name, member in vars(kind).items() if hasattr(member, "puesto_policy")}


def blocks(page_path, language):
    return re.findall(rf"```{language}\n(.*?)```", page_path.read_text(), re.DOTALL)


def test_the_reference_of_hooks_is_made_from_the_specifications():
    assert PAGE.read_text() == page(), "run: python docs/make_hooks.py"


def test_the_table_of_capabilities_is_made_from_the_providers():
    assert make_payments.PAGE.read_text() == make_payments.page(), "run: python docs/make_payments.py"


def test_the_table_of_capabilities_has_every_bundled_provider():
    bundled = {each.name for each in entry_points(group="puesto") if each.value.startswith("plugins.payments.")}

    with make_payments.providers() as found:
        assert {provider.name for provider in found} == bundled


@pytest.mark.parametrize("name", specifications())
def test_every_hook_says_when_it_is_called_and_what_a_failure_does(name):
    text, policy = specifications()[name].__doc__, specifications()[name].puesto_policy

    assert [label for label in LABELS if not re.search(rf"^\s*{label}:", text, re.MULTILINE)] == []
    assert re.search(rf"Failure:\s+{policy.failure} - ", text)
    assert policy.network or "no network calls here" in text


def test_every_hook_is_used_by_a_bundled_plugin_or_is_news(shop):
    questions = [name for name, member in specifications().items() if member.puesto_policy.failure != "retry" or name == "provision"]

    assert [name for name in questions if not shop.engine.plugins.implementing(name)] == []


def module(source):
    made = ModuleType("whiteboard")
    exec(compile(source, "whiteboard.py", "exec"), vars(made))
    return made


def test_the_plugin_that_the_readme_shows_sells(open_shop):
    [source] = blocks(README, "python")
    shop = open_shop(plugins={"whiteboard": module(source)})

    trial, bought = shop.try_out("whiteboard-team", seats=5), shop.buy("whiteboard-team", seats=3, account=shop.open_account())

    assert (trial.status, trial.period_end.isoformat()) == ("trialing", "2026-03-15")
    assert (bought.status, bought.term_amount) == ("active", 2400)


def test_the_plugin_of_the_guide_passes_the_test_of_the_guide(open_shop):
    plugin, *_, test = blocks(ROOT / "docs" / "products.md", "python")
    shop = open_shop(plugins={"whiteboard": module(plugin)})

    module(test).test_two_more_seats_after_ten_days(shop)

    assert [plan["id"] for plan in get_product(shop.engine, "whiteboard", "es")["plans"]] == ["whiteboard-team", "whiteboard-company"]


@pytest.mark.parametrize(("model", "price"), [("graduated", "92.00"), ("volume", "72.00"), ("flat", "58.00"), ("per_seat", "96.00")])
def test_the_prices_of_the_guide_cost_what_it_says(model, price):
    written = re.search(rf"`(Price\.{model}\(.*?\))` \|", (ROOT / "docs" / "products.md").read_text())[1]

    assert eval(written, {"Price": Price, "eur": eur}).amount(12) == eur(price)


@pytest.mark.parametrize("document", PAGES, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document):
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text())

    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("document", PAGES, ids=lambda path: path.name)
def test_settings_that_documents_show_are_known(document):
    for source in blocks(document, "toml"):
        check_settings(CoreSettings(), tomllib.loads(source))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_readme_s_demo_command_runs_in_a_fresh_checkout(tmp_path):
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, files):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PUESTO_", "VIRTUAL_ENV"))}

    done = subprocess.run(["bash", "-c", commands()["demo"]], cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert "reverse charge" in done.stdout
