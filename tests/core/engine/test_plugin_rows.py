"""Rows of plugins: written from any hook and any thread, with nothing left open behind them."""

import importlib.util
import os
import re
import threading
from datetime import UTC, datetime
from pathlib import Path

import peewee
import pytest

from core import schema
from core.engine.plugin_rows import PluginDatabase
from core.engine.plugins import DeadlineExceeded
from core.engine.sqlite import Sqlite
from puesto import Event, Tables, hookimpl
from tests.core.chains import chain, creating, table

GUIDE = Path(__file__).parents[3] / "docs" / "plugins.md"
Note = table("notes_kept")


def notes(folder):
    """A plugin class that keeps a note per event, and is told what else to do."""

    class Notes:
        def __init__(self, context):
            self.db = context.db

        @hookimpl
        def register_tables(self):
            return Tables(models=[Note], migrations=chain(folder / "notes", _0001_first=creating("notes_kept")))

        @hookimpl
        def order_completed(self, event):
            self.db.insert(Note(account=event.account))

    return Notes


@pytest.fixture
def engine(start, tmp_path):
    started = start({"notes": notes(tmp_path)})
    schema.upgrade(started)
    return started


@pytest.fixture
def rows(engine):
    return PluginDatabase(engine.db)


def kept(engine):
    return [note.account for note in engine.db.all(Note.select().order_by(Note.id))]


def news(account):
    return Event("evt_1", "order.completed", account, "ord_1", datetime(2026, 3, 1, tzinfo=UTC), {})


def test_what_the_guide_shows_keeps_rows(open_shop, tmp_path):
    package, migration = re.findall(r"```python\n# (loyalty/.*?)```", GUIDE.read_text(), re.DOTALL)
    for text in (package, migration):
        path = tmp_path / text.partition("\n")[0]
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.partition("\n")[2])
    spec = importlib.util.spec_from_file_location("loyalty", tmp_path / "loyalty" / "__init__.py")
    loyalty = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loyalty)
    shop = open_shop(plugins={"loyalty": loyalty.Loyalty})

    shop.buy("gotoassist-standard")
    shop.run()

    assert [point.account for point in shop.engine.db.all(loyalty.Point.select())] == [shop.account.id]
    assert schema.compare(shop.engine) == []


def test_rows_are_read_and_written(rows):
    rows.insert(Note(account="acc_1"), Note(account="acc_2"), Note(account="acc_3"))
    first, second, third = rows.all(Note.select().order_by(Note.id))

    rows.update(first, account="acc_9")
    rows.delete(second)
    touched = rows.execute(Note.update(account="acc_8").where(Note.id == third.id))

    assert (first.account, touched, rows.count(Note.select())) == ("acc_9", 1, 2)
    assert (rows.get(Note, first.id).account, rows.get(Note, second.id)) == ("acc_9", None)
    assert rows.first(Note.select().where(Note.account == "acc_8")).id == third.id


def test_several_rows_are_inserted_all_or_none(rows):
    rows.insert(Note(id=1, account="acc_1"))

    with pytest.raises(peewee.IntegrityError):
        rows.insert(Note(id=2, account="acc_2"), Note(id=1, account="acc_3"))

    assert [note.account for note in rows.all(Note.select())] == ["acc_1"]


def test_inside_a_transaction_of_the_engine_a_row_is_part_of_it(engine, rows):
    with pytest.raises(ZeroDivisionError), engine.db.transaction():
        rows.insert(Note(account="acc_1"))
        assert engine.db.in_transaction()
        raise ZeroDivisionError

    assert kept(engine) == []


def connections(engine):
    """How many connections to the database are open, of all threads."""
    if isinstance(engine.db, Sqlite):
        paths = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
        return paths.count(os.path.realpath(engine.db.path))
    sql = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database()"
    return engine.db.raw().execute_sql(sql).fetchone()[0]


def test_hooks_in_threads_of_their_own_leave_no_connection_behind(engine):
    engine.plugins.call_plugin("notes", "order_completed", event=news("acc_0"))
    kept(engine)
    before = connections(engine)

    for number in range(1, 10):
        engine.plugins.call_plugin("notes", "order_completed", event=news(f"acc_{number}"))

    assert kept(engine) == [f"acc_{number}" for number in range(10)]
    assert connections(engine) == before


def test_a_hook_that_is_abandoned_holds_up_nobody_and_still_writes(engine, rows):
    wrote, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def hang():
        rows.insert(Note(account="acc_1"))
        wrote.set()
        go_on.wait()
        rows.insert(Note(account="acc_3"))
        ended.set()

    with pytest.raises(DeadlineExceeded):
        engine.plugins.with_deadline(0.2, hang)
    wrote.wait()
    with engine.db.transaction():
        engine.db.insert(Note(account="acc_2"))
    go_on.set()
    ended.wait()

    assert kept(engine) == ["acc_1", "acc_2", "acc_3"]
