"""Commands of a plugin that keeps rows: its tables are there, and the time is that of the shop."""

import sys
from contextlib import closing
from datetime import UTC, datetime

import pytest

from core import schema
from core.engine.engine import Engine
from tests.core.chains import chain, creating

TILL = """
from pathlib import Path
import click
from puesto import Tables, hookimpl
from tests.core.chains import table

Note = table("till_kept")

class Till:
    def __init__(self, context):
        self.context = context

    @hookimpl
    def register_tables(self):
        return Tables(models=[Note], migrations=Path(__file__).parent / "till")

    @hookimpl
    def register_commands(self):
        return [click.Command("till", callback=self.note, help="Keep a note."), click.Group("tills", commands=[self.list()])]

    def note(self):
        self.context.db.insert(Note(account="acc_1"))
        click.echo(f"{self.context.now():%Y-%m-%d}")

    def list(self):
        return click.Command("list", callback=lambda: click.echo(str(self.context.db.count(Note.select()))))
"""


@pytest.fixture
def till(tmp_path, monkeypatch):
    """Install a plugin `till`; the folder of its migrations."""
    site = tmp_path.parent / f"{tmp_path.name}-site"
    (site / "till-1.0.dist-info").mkdir(parents=True)
    (site / "till-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: till\nVersion: 1.0\n")
    (site / "till-1.0.dist-info" / "entry_points.txt").write_text("[puesto]\ntill = till_plugin:Till\n")
    (site / "till_plugin.py").write_text(TILL)
    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(sys.modules, "till_plugin", raising=False)
    return chain(site / "till", _0001_first=creating("till_kept"))


def test_the_first_command_makes_the_database(puesto, till):
    told = puesto("till")

    assert (told.exit_code, told.stderr.splitlines()[0].partition(" database ")[0]) == (0, "Made the")
    assert puesto("tills", "list").stdout == "1\n"


def test_where_its_tables_are_missing_it_says_what_to_do(puesto, till):
    puesto("db", "upgrade", PUESTO_DISABLED="till")

    refused = [puesto("till"), puesto("tills", "list")]

    told = "puesto: The database lacks till/0001_first: run `puesto db upgrade`.\n"
    assert [(each.exit_code, each.stdout, each.stderr) for each in refused] == [(1, "", told)] * 2


def test_help_needs_no_database(puesto, till):
    told = puesto("till", "--help")

    assert (told.exit_code, told.stderr, "Keep a note." in told.stdout) == (0, "", True)
    assert {line.split()[-1] for line in puesto("db", "status").stdout.splitlines()[1:]} == {"missing"}


def test_its_time_is_that_of_a_moved_clock(puesto, till):
    with closing(Engine()) as engine:
        schema.upgrade(engine)
        engine.move_clock(datetime(2040, 5, 6, 12, tzinfo=UTC))

    assert puesto("till").stdout == "2040-05-06\n"
