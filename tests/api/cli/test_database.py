import shutil

import pytest

from core import schema

MORE = "def up(migrator, db):\n    db.execute_sql('CREATE TABLE more (id INTEGER)')\n"


@pytest.fixture
def old_database(puesto, tmp_path, monkeypatch):
    """A database that was made before a migration came."""
    puesto("db", "upgrade")
    folder = tmp_path.parent / f"{tmp_path.name}-migrations"
    shutil.copytree(schema.MIGRATIONS, folder)
    (folder / "9999_more.py").write_text(MORE)
    monkeypatch.setattr(schema, "MIGRATIONS", folder)


def test_upgrade_makes_the_database_once(puesto):
    assert "0001_initial" in puesto("db", "status").stdout and "missing" in puesto("db", "status").stdout

    assert puesto("db", "upgrade").stdout == "applied 0001_initial\n"

    assert puesto("db", "upgrade").stdout == "up to date\n"
    assert "missing" not in puesto("db", "status").stdout


def test_an_old_schema_is_refused_until_it_is_upgraded(puesto, old_database):
    refused = puesto("keys", "list")
    upgraded = puesto("db", "upgrade")

    assert (refused.exit_code, refused.stderr) == (1, "puesto: The database lacks 9999_more: run `puesto db upgrade`.\n")
    assert upgraded.stdout == "applied 9999_more\n"
    assert puesto("keys", "list").exit_code == 0


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
