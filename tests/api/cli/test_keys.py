import pytest

from core.access import identify
from core.engine.engine import Engine, open_database
from core.errors import Unauthorized


def create(puesto, scopes="accounts,checkout"):
    result = puesto("keys", "create", "--name", "back end", "--scopes", scopes)
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def listed(puesto):
    """The lines of the list, without its header."""
    return puesto("keys", "list").stdout.splitlines()[1:]


def test_a_new_key_stands_alone_on_standard_output_and_opens_its_scopes(puesto, empty_database):
    result = puesto("keys", "create", "--name", "back end", "--scopes", "accounts, checkout")

    [secret] = result.stdout.splitlines()
    assert secret.startswith("sk_") and secret not in result.stderr
    assert f"Made the database {open_database(empty_database).shown}" in result.stderr
    engine = Engine()
    assert identify(engine, secret).scopes == {"accounts", "checkout"}
    engine.close()


@pytest.mark.only_on("sqlite", reason="about the file")
def test_no_file_holds_the_secret(puesto, tmp_path):
    secret = create(puesto)

    assert (tmp_path / "puesto.db").exists()
    assert [file for file in tmp_path.rglob("*") if file.is_file() and secret.encode() in file.read_bytes()] == []


def test_the_list_shows_keys_without_secrets(puesto):
    secret = create(puesto)

    [line] = listed(puesto)
    assert line.startswith("key_") and "back end" in line and "accounts,checkout" in line
    assert secret not in line


def test_a_revoked_key_opens_nothing(puesto):
    secret = create(puesto)
    key = listed(puesto)[0].split()[0]

    assert puesto("keys", "revoke", key).exit_code == 0

    engine = Engine()
    with pytest.raises(Unauthorized):
        identify(engine, secret)
    engine.close()
    assert not listed(puesto)[0].endswith("-")


@pytest.mark.parametrize("scopes", ["accounts,admin", ","])
def test_an_unknown_scope_is_told_in_one_line_and_makes_no_key(puesto, scopes):
    create(puesto)

    result = puesto("keys", "create", "--name", "x", "--scopes", scopes)

    assert (result.exit_code, result.stdout) == (1, "")
    [line] = result.stderr.splitlines()
    assert line.startswith("puesto: scopes are some of catalog:read, accounts, checkout, billing, staff")
    assert len(listed(puesto)) == 1


def test_an_unknown_key_is_told_in_one_line(puesto):
    create(puesto)

    result = puesto("keys", "revoke", "key_nope")

    assert (result.exit_code, result.stderr) == (1, "puesto: There is no key key_nope.\n")
