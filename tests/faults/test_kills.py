"""Whatever dies at whatever moment: nobody is charged twice, or for nothing, and nothing is lost."""

import os
import random
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.faults.audit import Books, unfinished
from tests.faults.clients import Client
from tests.faults.killing import Town, wait_until

KILLS = int(os.environ.get("PUESTO_TEST_KILLS", "20"))
SEED = int(os.environ.get("PUESTO_TEST_SEED", "0")) or random.randrange(10**6)
CLIENTS = 4


@pytest.fixture
def town(tmp_path, database_url):
    opened = Town(tmp_path, database_url)
    yield opened
    opened.stop()


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_kills_at_random_moments(town, capsys):
    chance, over = random.Random(SEED), threading.Event()
    clients = [Client(town, random.Random(f"{SEED}/{number}"), over) for number in range(CLIENTS)]
    threads = [threading.Thread(target=client.run, daemon=True) for client in clients]
    town.revive()
    for thread in threads:
        thread.start()

    victims = Counter()
    for _ in range(KILLS):
        time.sleep(chance.uniform(0.1, 1.2))
        victims[town.kill(chance)] += 1
        time.sleep(chance.uniform(0, 0.3))
        town.revive()
    over.set()
    while any(thread.is_alive() for thread in threads):
        town.revive()
        time.sleep(0.5)
    settle(town)

    assert [client.failure for client in clients] == [None] * CLIENTS, f"seed {SEED}"
    with capsys.disabled():
        print(f"\nseed {SEED}: {dict(victims)}; {Books(town).audit(clients)}")


def settle(town):
    """Let time pass until recovery has asked about everything, and the workers have delivered everything."""
    now = datetime.now(UTC)
    for _ in range(8):  # longer than a buyer may be at the bank
        now += timedelta(minutes=10)
        move_clock(town, now)
    wait_until(lambda: is_settled(town), f"seed {SEED}: not everything is delivered", lambda: report(town), seconds=400)


def move_clock(town, now):
    headers = {"Authorization": f"Bearer {town.secret}"}
    town.revive()
    assert httpx.post(f"{town.url}/v1/test-clock", json={"now": now.isoformat()}, headers=headers, timeout=300).status_code == 200


def is_settled(town):
    """A server that ended late is started again, as whoever watches over it would."""
    town.revive()
    return not unfinished(town)


def report(town):
    return "\n".join([*unfinished(town), f"it is {datetime.now(UTC)}", town.log.read_text()[-6000:]])
