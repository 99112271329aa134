"""Processes that upgrade at once, or die as they do."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from api.cli.running import PUESTO, environment
from core import schema
from core.engine.sqlite import Sqlite
from tests.core.chains import CORE, chain, creating, sql

PLUGIN = """
import os
from pathlib import Path
from peewee import CharField
from puesto import Row, Tables, hookimpl

class Kept(Row):
    account = CharField(max_length=40)
    class Meta:
        table_name = "slow_kept"

class More(Row):
    account = CharField(max_length=40)
    class Meta:
        table_name = "slow_more"

@hookimpl
def register_tables():
    return Tables(models=(Kept, More), migrations=Path(__file__).parent / "migrations")
"""
# The process that has a gate waits at it in the middle of the second migration, until whoever opened it closes it.
GATED = """
    db.execute_sql("INSERT INTO slow_kept (account) VALUES ('acc_1')")
    import os
    if "GATE" in os.environ:
        open(os.environ["GATE"]).read()
    db.execute_sql("INSERT INTO slow_more (account) VALUES ('acc_2')")
"""


@pytest.fixture
def puesto(empty_database, tmp_path):
    """puesto("db", "upgrade", GATE=...) is a running process with a plugin whose second migration can be held up."""
    site = tmp_path / "site"
    (site / "slow-1.0.dist-info").mkdir(parents=True)
    (site / "slow-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: slow\nVersion: 1.0\n")
    (site / "slow-1.0.dist-info" / "entry_points.txt").write_text("[puesto]\nslow = slow\n")
    (site / "slow").mkdir()
    (site / "slow" / "__init__.py").write_text(PLUGIN)
    files = {"_0001_kept": creating("slow_kept"), "_0002_more": creating("slow_more") + GATED, "_0003_last": sql("SELECT 1")}
    chain(site / "slow" / "migrations", **files)
    running = []

    def run(*arguments, **variables):
        settings = {"PUESTO_DATABASE": empty_database, "PUESTO_DATA": str(tmp_path / "data"), "PUESTO_ENABLED": "slow"}
        running.append(
            subprocess.Popen(
                [*PUESTO, *arguments],
                cwd=tmp_path,
                env=environment({**settings, "PYTHONPATH": str(site), **variables}),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        return running[-1]

    yield run
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def gate(tmp_path):
    """A pipe: opening it for writing waits for the process that reads it, which goes on once it is closed."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    return str(path)


NAMES = [*CORE, "slow/0001_kept", "slow/0002_more", "slow/0003_last"]
APPLIED = "".join(f"applied {name}\n" for name in NAMES)


def counts(engine):
    """How many rows the two tables of the plugin have, or None where a table is not there."""
    db = engine.db.raw()
    tables = ("slow_kept", "slow_more")
    return [db.execute_sql(f"SELECT COUNT(*) FROM {table}").fetchone()[0] if db.table_exists(table) else None for table in tables]


def assert_upgraded_once(engine):
    names = [row.name for row in engine.db.all(schema.AppliedMigration.select().order_by(schema.AppliedMigration.id))]
    assert (names, counts(engine)) == (NAMES, [1, 1])


@pytest.mark.slow
def test_one_upgrades_and_the_others_wait_and_find_the_rest_done(puesto, gate, start):
    first = puesto("db", "upgrade", GATE=gate)
    with open(gate, "w"):  # from here on it is inside its transaction
        others = [puesto("db", "upgrade") for _ in range(2)]
        wait_until_blocked(start(), others)
    outputs = [process.communicate()[0] for process in (first, *others)]

    assert [process.returncode for process in (first, *others)] == [0, 0, 0]
    assert sorted("".join(outputs).replace("up to date\n", "").splitlines()) == sorted(APPLIED.splitlines())
    assert outputs[0].startswith("".join(f"applied {name}\n" for name in NAMES[:-1]))
    assert_upgraded_once(start())


def wait_until_blocked(engine, processes):
    """Until all wait for the one in front. SQLite has nothing to ask: there it is enough that they have opened the file."""
    while (_looking(engine.db.path, processes) if isinstance(engine.db, Sqlite) else _waiting(engine)) < len(processes):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.05)


def _looking(file, processes):
    return sum(str(Path(file).resolve()) in _open_files(each) for each in processes)


def _open_files(process):
    found = set()
    for link in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            found.add(os.readlink(link))
    return found


def _waiting(engine):
    return engine.db.raw().execute_sql("SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").fetchone()[0]


def test_a_crowd_on_an_empty_database_makes_it_once(puesto, start):
    processes = [puesto("db", "upgrade") for _ in range(4)]

    outputs = [process.communicate()[0] for process in processes]

    assert [process.returncode for process in processes] == [0] * 4, outputs
    assert sorted("".join(outputs).replace("up to date\n", "").splitlines()) == sorted(APPLIED.splitlines())
    assert_upgraded_once(start())


@pytest.mark.slow
def test_one_that_is_killed_half_way_leaves_whole_migrations_and_the_next_does_the_rest(puesto, gate, start):
    killed = puesto("db", "upgrade", GATE=gate)
    with open(gate, "w"):
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    half = counts(start())

    rest = puesto("db", "upgrade").communicate()[0]

    assert half == [0, None]
    assert rest == "applied slow/0002_more\napplied slow/0003_last\n"
    assert_upgraded_once(start())
    assert puesto("db", "check").communicate()[0] == "the database is as the models say\n"
