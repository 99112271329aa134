"""Whatever dies at whatever moment: nobody is charged twice, or for nothing, and nothing is lost."""

import os
import random
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from core.engine.deliveries import Delivery
from core.engine.engine import Engine
from core.engine.settings import CoreSettings, check_settings
from core.invoices import Invoice
from core.orders import Order
from core.payments import Payment, Refund
from core.seats import SeatAssignment
from core.subscriptions import Subscription
from tests.faults.killing import Client, Town

KILLS = int(os.environ.get("PUESTO_TEST_KILLS", "20"))
SEED = int(os.environ.get("PUESTO_TEST_SEED", "0")) or random.randrange(10**6)
CLIENTS = 4


@pytest.fixture
def town(tmp_path, database_url):
    opened = Town(tmp_path, database_url, tmp_path / "server.log")
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
        time.sleep(chance.uniform(0.2, 2.0))
        victims[town.kill(chance).split()[0]] += 1
        time.sleep(chance.uniform(0, 0.3))
        town.revive()
    over.set()
    while any(thread.is_alive() for thread in threads):
        town.revive()
        time.sleep(0.5)
    settle(town)

    assert [client.failure for client in clients] == [None] * CLIENTS
    with capsys.disabled():
        print(f"\nseed {SEED}: {dict(victims)}; {audit(town, clients)}")


def settle(town):
    """Let time pass until recovery has asked about everything, and the worker has delivered everything."""
    headers = {"Authorization": f"Bearer {town.secret}"}
    now = datetime.now(UTC)
    for _ in range(4):
        now += timedelta(minutes=10)
        assert httpx.post(f"{town.url}/v1/test-clock", json={"now": now.isoformat()}, headers=headers, timeout=300).status_code == 200
    deadline = time.monotonic() + 400  # a claim of a dead worker lasts five minutes
    while time.monotonic() < deadline and undelivered(town):
        time.sleep(0.5)


def opened(town):
    return Engine(check_settings(CoreSettings(), {"database": town.settings["PUESTO_DATABASE"], "data": town.settings["PUESTO_DATA"]}))


def undelivered(town):
    engine = opened(town)
    try:
        return engine.db.count(Delivery.select().where(Delivery.status == "waiting"))
    finally:
        engine.close()


def audit(town, clients):
    """Compare the two books, and every promise with the tables; what there was."""
    engine = opened(town)
    rows = {table: engine.db.all(table.select()) for table in (Order, Payment, Refund, Invoice, Subscription, SeatAssignment, Delivery)}
    engine.close()
    charges = {charge.key: charge for charge in charges_of(town)}
    payments = {payment.order: payment for payment in rows[Payment]}

    assert Counter(order.status for order in rows[Order]).keys() <= {"completed", "failed"}
    assert len(payments) == len(rows[Payment]) == len(rows[Order])
    for order in rows[Order]:
        charge = charges.pop(payments[order.id].id, None)
        kept = charge.amount.amount - charge.refunded.amount if charge else 0
        assert kept == (order.due_now if order.status == "completed" else 0), (order.id, order.status, charge)
    assert charges == {}
    completed = {order.id for order in rows[Order] if order.status == "completed"}
    assert {invoice.order for invoice in rows[Invoice]} == completed
    assert sorted(invoice.sequence for invoice in rows[Invoice]) == list(range(1, len(completed) + 1))
    assert len(rows[Subscription]) == len(completed)
    assert {delivery.status for delivery in rows[Delivery]} <= {"done"}
    mailed = list((town.folder / "data" / "email" / "outbox").glob("*purchase_confirmation.eml"))
    assert len(mailed) == len(completed)
    compare_with_answers(rows[Order], clients)
    return f"{len(completed)} orders completed of {len(rows[Order])}, {len(rows[Refund])} refunds"


def compare_with_answers(orders, clients):
    """What a client was told is what there is: each order of an answer exists, and each decline has none that was completed."""
    status = {order.id: order.status for order in orders}
    told = [answer for client in clients for answer in client.answers]
    assert {status.get(order) for order, _ in told if order} <= {"completed", "failed"}  # one that was processing may have failed
    assert {problem for _, problem in told if problem} <= {"/problems/payment-declined", "/problems/payment-provider-unavailable"}
    assert sum(1 for order, _ in told if order) >= 1


def charges_of(town):
    if town.gateway.process.returncode is not None:
        town.gateway.start()
    return town.gateway.provider().charges()
