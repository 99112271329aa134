"""A database that fails: 503 and when to come back, nothing half-written, nobody charged twice, and no restart afterwards."""

from contextlib import ExitStack, suppress
from datetime import timedelta
from functools import partial

import pytest

from core.engine import postgresql as engine_postgresql
from core.engine import sqlite as engine_sqlite
from core.engine.deliveries import Delivery
from core.errors import DatabaseUnavailable
from core.orders import Order
from core.payments import Payment
from core.worker import ROUND
from tests import troubles
from tests.api.scene import CARD, SEAT, charges, quoted
from tests.conftest import problem
from tests.core.gateway import GatewayPlugin

OF_SQLITE = {
    "full disk": troubles.full_disk,
    "read-only disk": troubles.read_only_disk,
    "read-only file": troubles.read_only_file,
    "locked file": troubles.locked_file,
}
OF_POSTGRESQL = {
    "stopped": troubles.stopped,
    "read-only": troubles.read_only,
    "no connection left": troubles.no_connection_left,
    "locked row": troubles.locked_row,
}
# What needs the statements of a checkout to happen.
IN_ITS_MIDDLE = {"backend killed": troubles.backend_killed, "deadlock": troubles.deadlock}


def each(of_sqlite, of_postgresql):
    cases = []
    for kind, troubles_of_kind in (("sqlite", of_sqlite), ("postgresql", of_postgresql)):
        marks = pytest.mark.only_on(kind, reason=f"a trouble of {kind}")
        cases += [pytest.param(trouble, id=name, marks=marks) for name, trouble in troubles_of_kind.items()]
    return pytest.mark.parametrize("away", cases, indirect=True)


every_trouble = each(OF_SQLITE, OF_POSTGRESQL)
every_trouble_of_a_checkout = each(OF_SQLITE, {**OF_POSTGRESQL, **IN_ITS_MIDDLE})


@pytest.fixture
def shop(request, tmp_path, open_shop, monkeypatch):
    """Nobody waits long for a lock here; an SQLite file is on a small disk of its own."""
    monkeypatch.setattr(engine_sqlite, "BUSY_SECONDS", 0.1)
    monkeypatch.setitem(engine_postgresql.SESSION, "lock_timeout", "2s")
    with ExitStack() as disk:
        if request.config.getoption("--database") == "sqlite":
            (tmp_path / "disk").mkdir()
            disk.enter_context(troubles.small_disk(tmp_path / "disk"))
        shop = open_shop(plugins={"sandbox": GatewayPlugin}, folder=tmp_path / "disk", data=str(tmp_path / "data"))
        yield shop
        shop.close()


@pytest.fixture
def away(request, shop):
    """The trouble of this test, as a block."""
    if request.config.getoption("--database") == "sqlite":
        return partial(request.param, shop)
    return partial(request.param, shop, request.getfixturevalue("postgresql"))


def cart_of(client):
    return client.post("/v1/carts", {"account": client.shop.account.id, "lines": [SEAT]}).json["id"]


@every_trouble_of_a_checkout
def test_a_checkout_that_finds_no_database_charges_nothing_and_works_when_it_is_back(client, shop, away):
    cart = cart_of(client)
    body, before = {"quote": quoted(client, cart), "payment": CARD}, (shop.contents(), shop.events())
    to_checkout = partial(client.post, f"/v1/carts/{cart}/checkout", body, key="one")

    with away():
        refused = to_checkout()
    after = (shop.contents(), shop.events())
    again = to_checkout()

    assert problem(refused) == (503, "database-unavailable")
    assert refused.headers["Retry-After"] == "5"
    assert (again.status_code, again.json["status"]) == (201, "completed")
    assert [charge.amount.amount for charge in charges(shop)] == [8470]
    assert before == after


@every_trouble
def test_a_database_that_goes_after_the_charge_costs_no_second_one(client, shop, away):
    gateway, trouble = shop.engine.providers["sandbox"], ExitStack()

    def charge_then_lose_the_database(real, *arguments):
        answer = real(*arguments)
        trouble.enter_context(away())
        return answer

    gateway.instead["initiate_payment"] = charge_then_lose_the_database
    cart = cart_of(client)
    body = {"quote": quoted(client, cart), "payment": CARD}
    to_checkout = partial(client.post, f"/v1/carts/{cart}/checkout", body, key="one")

    with trouble:
        refused = to_checkout()
        states = [client.get("/healthz").status_code, problem(client.get("/readyz")) if cuts_off(away) else None]
    at_once = to_checkout()
    shop.clock.move_to(shop.clock.now() + timedelta(minutes=2))  # by then the first request counts as dead
    again = to_checkout()

    assert problem(refused) == (503, "database-unavailable")
    assert states == [200, (503, "database-unavailable") if cuts_off(away) else None]
    assert problem(at_once) == (409, "request-in-progress")
    assert (again.status_code, again.json["status"]) == (201, "completed")
    assert [charge.amount.amount for charge in charges(shop)] == [8470]
    assert (shop.count(Order), shop.count(Payment), len(shop.events("order.completed"))) == (1, 1, 1)


def cuts_off(away):
    """Whether the trouble keeps readers away too."""
    return away.func in (troubles.stopped, troubles.no_connection_left)


@every_trouble
def test_background_work_that_finds_no_database_is_done_when_it_is_back(client, shop, away):
    """As a worker does it: what fails is logged and tried again in the next round."""
    client.check_out(cart_of(client))
    shop.order(shop.cart(SEAT), token="tok_timeout")
    shop.on("2026-03-02")

    with away(), suppress(DatabaseUnavailable):
        shop.engine.jobs._run(ROUND)
    before = len(shop.events("order.completed"))
    shop.on("2026-03-04")
    shop.run()

    assert (before, len(shop.events("order.completed"))) == (1, 2)
    assert [charge.amount.amount for charge in charges(shop)] == [8470, 8470]
    assert shop.engine.db.count(Delivery.select().where(Delivery.status != "done")) == 0
