"""Chains of migrations: of the core and of plugins, in order, each whole or not at all."""

import peewee
import pytest

from core import schema
from core.engine.clock import SystemClock
from core.errors import SettingsInvalid
from puesto import Row, Tables
from tests.core.chains import CORE, Keeper, chain, creating, keeper, sql, table


def refusal(function, *arguments, **options):
    with pytest.raises(SettingsInvalid) as refused:
        function(*arguments, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def states(engine):
    return {step.key: step.state for step in schema.status(engine)}


# --- in order


def test_the_core_goes_first_and_then_each_plugin_after_those_it_refers_to(start, tmp_path):
    plugins = {
        "above": keeper(tmp_path, "above", after=("below",)),
        "below": keeper(tmp_path, "below", _0002_second=sql("SELECT 2"), _0010_third=sql("SELECT 3")),
    }
    engine = start(plugins)
    told = []

    applied = schema.upgrade(engine, told.append)

    assert applied == [*CORE, "below/0001_first", "below/0002_second", "below/0010_third", "above/0001_first"]
    assert told == applied
    assert [(step.chain, step.name) for step in schema.status(engine)][-2:] == [("below", "0010_third"), ("above", "0001_first")]
    assert schema.upgrade(engine) == []


def test_a_plugin_that_comes_later_is_refused_until_its_tables_are_made(start, tmp_path):
    schema.upgrade(start())
    engine = start({"notes": keeper(tmp_path, "notes")})

    assert refusal(schema.check, engine) == "The database lacks notes/0001_first: run `puesto db upgrade`."
    assert schema.upgrade(engine) == ["notes/0001_first"]
    schema.check(engine)


def test_a_plugin_that_goes_leaves_its_rows(start, tmp_path):
    notes = table("notes_kept")
    engine = start({"notes": keeper(tmp_path, "notes")})
    schema.upgrade(engine)
    engine.db.insert(notes(account="acc_1"))

    without = start()

    schema.check(without)
    assert schema.upgrade(without) == []
    assert states(without)["notes/0001_first"] == "plugin not enabled"
    assert schema.compare(without) == []
    assert [row.account for row in without.db.all(notes.select())] == ["acc_1"]


@pytest.mark.parametrize("key", ["9999_of_tomorrow", "notes/9999_of_tomorrow"])
def test_a_database_newer_than_the_code_is_refused(start, tmp_path, key):
    engine = start({"notes": keeper(tmp_path, "notes")})
    schema.upgrade(engine)
    engine.db.insert(schema.AppliedMigration(name=key, applied=SystemClock().now()))

    told = f"The database is newer than this code, which lacks {key}: install the release that made it."
    assert [refusal(schema.check, engine), refusal(schema.upgrade, engine)] == [told, told]
    assert states(engine)[key] == "unknown to this code"


# --- refused at start


def keeping(folder, *models, after=(), **files):
    return Keeper(Tables(models=models, migrations=chain(folder, **(files or {"_0001_first": sql("SELECT 1")})), after=after))


class Homeless(Row):
    class Meta:
        table_name = "notes_homeless"


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (table("note"), "plugin notes: the name of its table note must begin with notes_"),
        (table("notes"), "plugin notes: the name of its table notes must begin with notes_"),
        (Homeless, "plugin notes: its table notes_homeless has no column account"),
        (peewee.Model, f"plugin notes: {peewee.Model!r} is no class of puesto.Row"),
    ],
)
def test_a_table_outside_the_rules_stops_the_start(start, tmp_path, model, told):
    assert refusal(start, {"notes": keeping(tmp_path / "notes", model)}) == told


def test_two_migrations_of_one_number_stop_the_start(start, tmp_path):
    plugin = keeping(tmp_path / "notes", _0001_first=sql("SELECT 1"), _0001_other=sql("SELECT 1"), _0002_more=sql("SELECT 1"))

    assert refusal(start, {"notes": plugin}) == "plugin notes: it has 2 migrations of number 1"


def test_a_folder_without_migrations_stops_the_start(start, tmp_path):
    plugin = Keeper(Tables(models=(), migrations=tmp_path / "nowhere"))

    assert refusal(start, {"notes": plugin}) == f"plugin notes: there are no migrations in {tmp_path / 'nowhere'}"


def test_a_plugin_that_is_not_there_can_not_be_come_after(start, tmp_path):
    plugin = keeper(tmp_path, "notes", after=("shelves",))

    told = "plugin notes: its tables come after those of shelves, which has none here"
    assert refusal(start, {"notes": plugin}) == told


def test_a_circle_of_plugins_stops_the_start(start, tmp_path):
    plugins = {"one": keeper(tmp_path, "one", after=("two",)), "two": keeper(tmp_path, "two", after=("one",))}

    assert refusal(start, plugins) in (
        "the tables of these plugins come after each other: one, two, one",
        "the tables of these plugins come after each other: two, one, two",
    )


def test_a_table_of_the_core_is_nobody_elses(start, tmp_path):
    engine = start({"cart": keeping(tmp_path / "cart", table("cart_line"))})

    assert refusal(schema.check, engine) == "plugin cart: cart_line is a table of the core"


def test_two_plugins_can_not_have_one_table(start, tmp_path):
    plugins = {"a": keeping(tmp_path / "a", table("a_b_c")), "a_b": keeping(tmp_path / "a_b", table("a_b_c"))}

    assert refusal(start, plugins) == "plugin a_b: the table a_b_c is registered already"


# --- whole or not at all


def test_a_migration_that_fails_leaves_nothing_and_those_before_it_stay(start, tmp_path):
    failing = creating("notes_more", "db.execute_sql('INSERT INTO nowhere VALUES (1)')")
    engine = start({"notes": keeper(tmp_path, "notes", _0002_more=failing, _0003_last=sql("SELECT 1"))})
    told = []

    refused = refusal(schema.upgrade, engine, told.append)

    assert refused.startswith(f"The migration {tmp_path / 'notes' / '0002_more.py'} failed, and nothing of it is kept: ")
    assert "nowhere" in refused
    assert told == [*CORE, "notes/0001_first"]
    assert not engine.db.raw().table_exists("notes_more")
    assert schema.compare(engine) == []
    (tmp_path / "notes" / "0002_more.py").write_text(creating("notes_more"))
    assert schema.upgrade(engine) == ["notes/0002_more", "notes/0003_last"]


def test_a_file_that_is_no_migration_is_told(start, tmp_path):
    engine = start({"notes": keeper(tmp_path, "notes", _0002_more="down = None\n")})

    told = f"The migration {tmp_path / 'notes' / '0002_more.py'} failed, and nothing of it is kept: AttributeError"
    assert refusal(schema.upgrade, engine).startswith(told)


REBUILT = """
from peewee import CharField

def up(migrator, db):
    db.execute_sql("CREATE TABLE notes_child (id INTEGER, kept INTEGER REFERENCES notes_kept (id) ON DELETE CASCADE)")
    db.execute_sql("INSERT INTO notes_kept (id, account) VALUES (1, 'acc_1')")
    db.execute_sql("INSERT INTO notes_child VALUES (1, 1)")
    migrator.migrate(migrator.alter_column_type("notes_kept", "account", CharField(max_length=80)))
"""


def test_a_table_that_is_rebuilt_takes_no_rows_with_it(start, tmp_path):
    engine = start({"notes": keeper(tmp_path, "notes", _0002_more=REBUILT)})

    schema.upgrade(engine)

    assert engine.db.raw().execute_sql("SELECT id, kept FROM notes_child").fetchall() == [(1, 1)]
    with pytest.raises(peewee.IntegrityError):
        engine.db.raw().execute_sql("INSERT INTO notes_child VALUES (2, 77)")


@pytest.mark.only_on("sqlite", reason="PostgreSQL checks references all the time")
def test_a_migration_that_leaves_a_reference_to_nothing_is_undone(start, tmp_path):
    engine = start({"notes": keeper(tmp_path, "notes", _0002_more=REBUILT + '    db.execute_sql("DELETE FROM notes_kept")\n')})

    refused = refusal(schema.upgrade, engine)

    assert refused.endswith("IntegrityError: 1 references lead nowhere, the first from notes_child to notes_kept")
    assert not engine.db.raw().table_exists("notes_child")
