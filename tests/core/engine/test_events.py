"""Events as they are written, and the feed that shows them."""

import threading
from contextlib import suppress

import pytest

from core.engine.deliveries import drain, fan_out
from core.engine.events import append, events_after
from core.errors import Missing
from puesto import hookimpl


class Ear:
    def __init__(self):
        self.heard = []

    @hookimpl
    def order_completed(self, event):
        self.heard.append(event)


@pytest.fixture
def ear():
    return Ear()


@pytest.fixture
def shop(open_shop, ear):
    return open_shop(plugins={"ear": ear}, enabled=["ear"])


def write(shop, subject, n, account="acc_1"):
    append(shop.engine, "order.completed", account=account, subject=subject, data={"n": n})


def tell(shop, subject, n, account="acc_1"):
    with shop.engine.db.transaction():
        write(shop, subject, n, account)


def numbers(shop, account=None, after=None, limit=100):
    """What the feed shows."""
    return [event["data"]["n"] for event in events_after(shop.engine, account, after, limit)]


# --- writing


def test_an_event_is_written_in_the_transaction_of_its_change(shop):
    tell(shop, "ord_1", 1)

    with suppress(ZeroDivisionError), shop.engine.db.transaction():
        write(shop, "ord_2", 2)
        raise ZeroDivisionError
    with pytest.raises(RuntimeError):
        write(shop, "ord_3", 3)

    assert [event["subject"] for event in shop.events()] == ["ord_1"]


# --- the feed


def test_the_feed_goes_from_the_oldest_on_and_each_account_sees_its_own(shop):
    for n, account in ((1, "acc_1"), (2, "acc_2"), (3, "acc_1")):
        tell(shop, f"ord_{n}", n, account)
    fan_out(shop.engine)
    ids = [event["id"] for event in events_after(shop.engine, None, None, 100)]

    assert numbers(shop) == [1, 2, 3]
    assert (numbers(shop, limit=2), numbers(shop, after=ids[0]), numbers(shop, after=ids[2])) == ([1, 2], [2, 3], [])
    assert [numbers(shop, account) for account in ("acc_1", "acc_2", "acc_3")] == [[1, 3], [2], []]
    assert numbers(shop, "acc_1", ids[0]) == [3]


def test_an_event_is_in_the_feed_once_a_worker_has_let_it_in(shop, ear):
    tell(shop, "ord_1", 1)

    before, heard = numbers(shop), list(ear.heard)
    drain(shop.engine)

    assert (before, heard) == ([], [])
    assert (numbers(shop), len(ear.heard)) == ([1], 1)


def test_the_feed_knows_no_event_that_is_unknown_anothers_or_to_come(shop):
    tell(shop, "ord_1", 1)
    fan_out(shop.engine)
    tell(shop, "ord_1", 2)
    foreign, to_come = (event["id"] for event in shop.events())

    for account, after in ((None, "evt_unknown"), ("acc_2", foreign), ("acc_1", to_come)):
        with pytest.raises(Missing):
            events_after(shop.engine, account, after, 10)


def test_an_event_is_shown_as_plugins_hear_it(shop, ear):
    tell(shop, "ord_1", 1)
    drain(shop.engine)

    assert events_after(shop.engine, None, None, 10) == [
        {
            "id": ear.heard[0].id,
            "type": "order.completed",
            "account": "acc_1",
            "subject": "ord_1",
            "data": {"n": 1},
            "occurred_at": "2026-03-01T12:00:00.000Z",
        }
    ]


@pytest.mark.only_on("postgresql", reason="on SQLite one transaction at a time writes")
def test_what_is_written_first_and_committed_last_comes_behind_what_a_reader_has_seen(shop):
    written, seen = threading.Event(), threading.Event()

    def slow():
        with shop.engine.db.transaction():
            write(shop, "ord_slow", 1)
            written.set()
            seen.wait(30)

    slowly = threading.Thread(target=slow)
    slowly.start()
    assert written.wait(30)
    tell(shop, "ord_quick", 2)
    fan_out(shop.engine)
    [first] = events_after(shop.engine, None, None, 10)

    seen.set()
    slowly.join()
    fan_out(shop.engine)

    assert first["data"] == {"n": 2}
    assert numbers(shop, after=first["id"]) == [1]


def test_a_reader_sees_everything_once_while_writers_and_workers_race(open_shop, shop, ear):
    elsewhere, read = open_shop(folder=shop.folder, plugins={"ear": ear}, enabled=["ear"]), []

    def work(of, first):
        for n in range(first, first + 20):
            tell(of, f"ord_{n}", n)
            fan_out(of.engine)

    def follow():
        while page := events_after(shop.engine, None, read[-1]["id"] if read else None, 3):
            read.extend(page)

    workers = [threading.Thread(target=work, args=each) for each in ((shop, 0), (shop, 20), (elsewhere, 40), (elsewhere, 60))]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        follow()
    follow()

    assert sorted(event["data"]["n"] for event in read) == list(range(80))
    assert numbers(shop) == [event["data"]["n"] for event in read]
