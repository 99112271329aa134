import shutil
from contextlib import closing
from pathlib import Path

import pytest

from core import schema
from core.engine.engine import Engine
from tests.core.chains import CORE

MORE = "def up(migrator, db):\n    db.execute_sql('CREATE TABLE more (id INTEGER)')\n"


@pytest.fixture
def old_database(puesto, tmp_path, monkeypatch):
    """A database that was made before a migration came."""
    puesto("db", "upgrade")
    folder = tmp_path.parent / f"{tmp_path.name}-migrations"
    shutil.copytree(schema.MIGRATIONS, folder)
    (folder / "9999_more.py").write_text(MORE)
    monkeypatch.setattr(schema, "MIGRATIONS", folder)


def rows(table):
    """The cells of what is printed as a table, but its head."""
    return [line.split(maxsplit=2) for line in table.splitlines()[1:]]


def test_upgrade_makes_the_database_once(puesto):
    before = rows(puesto("db", "status").stdout)

    upgraded = puesto("db", "upgrade")

    plugins = [("bank_transfer", "0001_ledger"), ("email", "0001_messages")]
    assert before == [["core", name, "missing"] for name in CORE] + [[plugin, name, "missing"] for plugin, name in plugins]
    assert upgraded.stdout.splitlines() == [f"applied {name}" for name in [*CORE, *(f"{plugin}/{name}" for plugin, name in plugins)]]
    assert puesto("db", "upgrade").stdout == "up to date\n"
    assert [row[:2] for row in rows(puesto("db", "status").stdout)] == [row[:2] for row in before]
    assert "missing" not in puesto("db", "status").stdout


def test_a_plugin_that_is_not_enabled_keeps_its_line(puesto):
    puesto("db", "upgrade")

    status = puesto("db", "status", PUESTO_DISABLED="email")

    assert status.stdout.splitlines()[-1].split(maxsplit=2) == ["email", "0001_messages", "plugin not enabled"]
    assert puesto("keys", "list", PUESTO_DISABLED="email").exit_code == 0


def test_check_says_that_all_is_well_or_what_is_not(puesto):
    puesto("db", "upgrade")
    well = puesto("db", "check")
    with closing(Engine()) as engine, engine.db.transaction():
        engine.db.raw().execute_sql("DROP TABLE email_message")
        engine.db.raw().execute_sql("CREATE TABLE more (id INTEGER)")

    ill = puesto("db", "check")

    assert (well.exit_code, well.stdout) == (0, "the database is as the models say\n")
    assert (ill.exit_code, ill.stdout) == (1, "email_message: the table is missing\nmore: no model has this table\n")


def test_an_old_schema_is_refused_until_it_is_upgraded(puesto, old_database):
    refused = puesto("keys", "list")
    upgraded = puesto("db", "upgrade")

    assert (refused.exit_code, refused.stderr) == (1, "puesto: The database lacks 9999_more: run `puesto db upgrade`.\n")
    assert upgraded.stdout == "applied 9999_more\n"
    assert puesto("keys", "list").exit_code == 0


def test_a_newer_schema_is_refused(puesto, old_database, monkeypatch):
    puesto("db", "upgrade")
    monkeypatch.setattr(schema, "MIGRATIONS", Path(schema.__file__).parent / "migrations")

    refused = [puesto(*command) for command in [("keys", "list"), ("db", "upgrade"), ("serve",), ("worker",)]]

    told = "puesto: The database is newer than this code, which lacks 9999_more: install the release that made it.\n"
    assert [(each.exit_code, each.stderr) for each in refused] == [(1, told)] * 4


@pytest.mark.only_on("sqlite", reason="about the file")
def test_what_is_no_database_is_told_in_one_line(puesto, tmp_path):
    (tmp_path / "puesto.db").write_bytes(b"no database at all" * 100)

    result = puesto("db", "status")

    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    assert line.startswith("puesto: ") and "file is not a database" in line


@pytest.mark.parametrize("command", [("keys", "list"), ("plugins",), ("plugins", "check"), ("db", "status"), ("serve",), ("worker",)])
def test_an_unknown_setting_is_told_in_one_line(puesto, command):
    result = puesto(*command, "--port=0" if command == ("serve",) else "--", PUESTO_FLAVOUR="mint")

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "puesto: setting flavour: there is no such setting\n"
