"""puesto clock: the sandbox's time at the command line."""

from datetime import timedelta

import pytest

from tests.api.cli.test_bill import buy, engine, renewed, said

__all__ = ["engine"]


def test_it_moves_to_a_day_and_says_what_has_happened(puesto, engine):
    subscription = buy(engine)
    month_later = subscription.period_end

    told = said(puesto("clock", "forward", "--to", str(month_later)))

    assert told.split("\n")[:2] == ["day         what has happened", f"{month_later}  1 order.completed, 1 subscription.renewed"]
    assert told.split("\n")[2].startswith(f"It is {month_later}T12:00:")
    assert renewed(engine) == ["completed"]
    assert said(puesto("clock", "show")).startswith(f"{month_later}T12:00:")


def test_it_moves_by_days(puesto, engine):
    before = engine.clock.now()

    told = said(puesto("clock", "forward", "--days", "3"))

    engine.refresh_clock()
    assert told.startswith("day  what has happened\n-    nothing\nIt is ")
    assert timedelta(days=3) <= engine.clock.now() - before < timedelta(days=3, minutes=2)


@pytest.mark.parametrize(
    ("arguments", "settings", "problem"),
    [
        (("--to", "2020-01-01"), {}, "puesto: the clock only moves forward: it is "),
        (("--to", "2300-01-01"), {}, "puesto: the clock goes up to 2199-12-31\n"),
        (("--days", "1"), {"PUESTO_MODE": "live"}, "puesto: the clock can be moved in sandbox mode only\n"),
    ],
)
def test_what_can_not_be_is_said_in_a_line(puesto, arguments, settings, problem):
    puesto("db", "upgrade")

    result = puesto("clock", "forward", *arguments, **settings)

    assert (result.exit_code, result.stderr[: len(problem)]) == (2, problem)


@pytest.mark.parametrize("arguments", [(), ("--days", "1", "--to", "2030-01-01"), ("--days", "0"), ("--to", "tomorrow")])
def test_it_is_told_a_day_or_a_number_of_days(puesto, arguments):
    assert puesto("clock", "forward", *arguments).exit_code == 2
