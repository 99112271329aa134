"""A long day: many checkouts, and nothing piles up, neither in memory nor in the outbox nor in the queue."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from uuid import uuid4

import httpx
import pytest

from api.cli.running import run_puesto, running_server
from core.engine.deliveries import Delivery
from core.engine.engine import Engine
from core.engine.events import EventRow
from core.engine.settings import CoreSettings, check_settings
from core.orders import Order
from tests.faults.killing import children, wait_until

CHECKOUTS = int(os.environ.get("PUESTO_TEST_CHECKOUTS", "200"))
CLIENTS = 4
SAMPLES = 10
# Growth of a process that would be a leak, in bytes per checkout: less than one order's document. Room is what a process may take
# besides, as its caches fill: on SQLite each of its 16 threads keeps up to 16 MB of the file's pages.
LEAK = 1000
ROOM = {"sqlite": 16 * 16_000_000, "postgresql": 15_000_000}


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_many_checkouts_leave_nothing_behind(tmp_path, database_url, capsys):
    settings = {"PUESTO_DATABASE": database_url, "PUESTO_DATA": str(tmp_path / "data")}
    made = run_puesto(tmp_path, "keys", "create", "--name", "soak", "--scopes", "accounts,checkout", **settings)
    engine = Engine(check_settings(CoreSettings(), {"database": database_url, "data": str(tmp_path / "data")}))
    with running_server(tmp_path, **settings) as server, ThreadPoolExecutor(CLIENTS) as clients:
        buyers = [Buyer(server.url, made.stdout.strip()) for _ in range(CLIENTS)]
        began, samples = monotonic(), []
        for _ in range(SAMPLES):
            list(clients.map(Buyer.buy, buyers, [CHECKOUTS // SAMPLES // CLIENTS] * CLIENTS))
            samples.append({pid: memory(pid) for pid in (server.process.pid, *children(server.process))})
            assert engine.jobs.huey.pending_count() <= CLIENTS
        rate = sum(buyer.bought for buyer in buyers) / (monotonic() - began)
        left = waiting(engine)
        wait_until(lambda: not waiting(engine), "the outbox is not drained", server.said, seconds=60 + CHECKOUTS / 10)

    with capsys.disabled():
        print(f"\n{rate:.1f} checkouts/s, {left} deliveries left to do; MB: {[[round(b / 1e6, 1) for b in s.values()] for s in samples]}")
    bought = sum(buyer.bought for buyer in buyers)
    assert engine.db.count(Order.select().where(Order.status == "completed")) == bought
    assert (engine.jobs.huey.scheduled_count(), engine.jobs.huey.result_count()) == (0, 0)
    engine.close()
    assert len(list((tmp_path / "data" / "email" / "outbox").glob("*purchase_confirmation.eml"))) == bought
    warm = samples[SAMPLES // 3]
    grown = {pid: size - warm[pid] for pid, size in samples[-1].items()}
    assert max(grown.values()) < ROOM[database_url.partition(":")[0]] + LEAK * bought, grown


class Buyer:
    """A client with an account of its own."""

    def __init__(self, url: str, secret: str) -> None:
        self._http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=60)
        self._account = self._done("/v1/accounts", {"name": "A", "email": "a@a.example", "country": "ES"})["id"]
        self.bought = 0

    def buy(self, times: int) -> None:
        line = {"mode": "buy", "plan": "gotomeeting-professional", "interval": "month", "seats": 1}
        for _ in range(times):
            cart = self._done("/v1/carts", {"account": self._account, "lines": [line]})["id"]
            quote = self._http.get(f"/v1/carts/{cart}/quote").json()["quote"]
            payment = {"provider": "sandbox", "token": "tok_ok"}
            assert self._done(f"/v1/carts/{cart}/checkout", {"quote": quote, "payment": payment})["status"] == "completed"
            self.bought += 1

    def _done(self, path: str, json: object) -> dict:
        answer = self._http.post(path, json=json, headers={"Idempotency-Key": uuid4().hex})
        assert answer.status_code == 201, answer.text
        return answer.json()


def waiting(engine: Engine) -> int:
    """Deliveries to make and events that have none yet; a parked one is a failure."""
    assert engine.db.count(Delivery.select().where(Delivery.status == "parked")) == 0
    fresh = engine.db.count(EventRow.select().where(EventRow.position.is_null()))
    return fresh + engine.db.count(Delivery.select().where(Delivery.status == "waiting"))


def memory(pid: int) -> int:
    """What a process holds in memory, in bytes."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1024
