"""puesto payments reconcile: differences in a table, and as exit status."""

import pytest

from core.differences import keep_strangers
from core.engine.engine import Engine
from core.engine.settings import load_settings
from core.hooks.payments import ProviderEvent
from puesto import eur


@pytest.fixture
def engine(puesto):
    puesto("db", "upgrade")
    opened = Engine(load_settings())
    yield opened
    opened.close()


def test_where_the_books_agree_it_says_so(puesto, engine):
    result = puesto("payments", "reconcile")

    assert (result.exit_code, result.stdout, result.stderr) == (0, "the books agree: sandbox\n", "")


def test_what_differs_is_shown_and_is_the_exit_status(puesto, engine):
    event = ProviderEvent("evt_1", "payment.captured", "pay_1", "sbp_1", None, eur("9.00"), engine.clock.now())
    keep_strangers(engine, "sandbox", event)

    result = puesto("payments", "reconcile", "--provider", "sandbox", "--since", "2026-01-01")

    assert result.exit_code == 1
    assert [word in result.stdout for word in ("sandbox", "payment only", "sbp_1", "9.00")] == [True] * 4
    assert result.stderr == "puesto: differences: 1\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--provider", "invoice_terms"], "puesto: providers that list what has changed: sandbox\n"),
        (["--since", "yesterday"], "Invalid value for '--since'"),
    ],
)
def test_what_makes_no_sense_is_refused(puesto, engine, arguments, message):
    result = puesto("payments", "reconcile", *arguments)

    assert (result.exit_code, message in result.stderr) == (2, True)


def test_a_provider_that_gives_no_answer_is_named(puesto, engine, monkeypatch):
    monkeypatch.setenv("PUESTO_PLUGINS__SANDBOX__GATEWAY_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("PUESTO_PLUGINS__SANDBOX__GATEWAY_SECRET", "env:PATH")

    result = puesto("payments", "reconcile")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("puesto: sandbox gives no answer, and what was not compared yet is not: ")
