"""puesto subscription show: a life, drawn."""

from datetime import date
from io import BytesIO, TextIOWrapper

import pytest
from rich.console import Console

from api.cli.subscription import table
from core.rules.periods import Period
from core.timeline import Stretch
from puesto import eur
from tests.api.cli.test_bill import buy, engine, said

__all__ = ["engine"]


@pytest.fixture
def bought(puesto, engine):
    """A seat by the month, bought on 2027-01-31 and renewed once."""
    puesto("clock", "forward", "--to", "2027-01-31")
    engine.refresh_clock()
    subscription = buy(engine)
    puesto("bill", "--on", "2027-02-28")
    return subscription


def test_what_was_billed_and_what_is_to_come_are_drawn_from_the_first_day_to_the_last(puesto, bought):
    told = said(puesto("subscription", "show", bought.id, "--until", "2027-03-31")).splitlines()

    assert told[0] == f"{bought.id}: GoToAssist Remote Support - Standard, 1 seat by the month: active"
    assert [line.rstrip() for line in told[1:] if line.strip(" ─")] == [
        " days                       what      seats   amount   how         document",
        " 2027-01-31 to 2027-02-28   billed        1    14.52   1 x 12.00   2027-000001   ████████████",
        " 2027-02-28 to 2027-03-31   billed        1    14.52   1 x 12.00   2027-000002               ██████████████",
        " 2027-03-31 to 2027-04-30   to come       1    14.52   1 x 12.00                                           ░░░░░░░░░░░░░░",
    ]


def test_without_a_day_a_year_is_drawn(puesto, bought):
    assert said(puesto("subscription", "show", bought.id)).count("to come") == 11  # the twelfth is on 2028-02-29


def test_an_unknown_one_is_said_in_a_line(puesto):
    result = puesto("subscription", "show", "sub_unknown")

    assert (result.exit_code, result.stderr.splitlines()[-1]) == (2, "puesto: There is no subscription sub_unknown.")


def test_a_day_too_far_ahead_is_said_in_a_line(puesto, bought):
    result = puesto("subscription", "show", bought.id, "--until", "2099-01-01")

    assert (result.exit_code, result.stderr) == (1, "puesto: A timeline reaches 10 years ahead at most: name an earlier day.\n")


def test_a_terminal_of_eighty_columns_that_knows_no_blocks_has_days_amounts_and_bars():
    trial = Stretch("trial", Period(date(2026, 3, 1), date(2026, 3, 11)), 3)
    bill = Stretch("billed", Period(date(2026, 3, 11), date(2026, 4, 10)), 3, eur("50.82"), "3 x 14.00", "2026-000001")
    file = TextIOWrapper(BytesIO(), encoding="ascii")
    console = Console(file=file, width=80)

    console.print(table([trial, bill], console))

    file.seek(0)
    assert [line for line in file.read().splitlines() if "2026" in line] == [
        "|2026-03-01 to 2026-03-11 | trial  |     3 |        | ttttt               |",
        "|2026-03-11 to 2026-04-10 | billed |     3 |  50.82 |      ###############|",
    ]
