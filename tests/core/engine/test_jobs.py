import logging
import signal
import threading
from contextlib import contextmanager
from datetime import timedelta

import pytest

from core.engine.events import append
from core.engine.jobs import backoff, overlapped
from core.errors import DatabaseUnavailable
from puesto import hookimpl


class Ear:
    """A subscriber that says when it has heard something."""

    def __init__(self):
        self.heard, self.hears = [], threading.Semaphore(0)

    @hookimpl
    def order_completed(self, event):
        self.heard.append(event.subject)
        self.hears.release()


@pytest.fixture
def ear():
    return Ear()


@pytest.fixture
def shop(open_shop, ear):
    return open_shop(plugins={"ear": ear}, enabled=["ear"])


@contextmanager
def consuming(shop):
    """A real consumer at work."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    consumer = shop.engine.jobs.huey.create_consumer(workers=2, periodic=False, initial_delay=0.01, max_delay=0.05)
    consumer.start()
    try:
        yield
    finally:
        consumer.stop(graceful=True)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def tell(shop, subject):
    with shop.engine.db.transaction():
        append(shop.engine, "order.completed", account="acc_1", subject=subject, data={})


@pytest.mark.parametrize(
    ("most", "done"),
    [(1, "+0 -0 +1 -1 +2 -2"), (2, "+0 +1 -0 +2 -1 -2"), (3, "+0 +1 +2 -0 -1 -2"), (9, "+0 +1 +2 -0 -1 -2")],
)
def test_so_many_are_under_way_and_each_is_waited_for_in_its_order(most, done):
    told = []

    for number in overlapped((told.append(f"+{number}") or number for number in range(3)), most):
        told.append(f"-{number}")

    assert " ".join(told) == done


@pytest.mark.parametrize(("tries", "full"), [(1, 5), (2, 10), (5, 80), (10, 600), (10_000, 600)])
def test_pauses_double_up_to_the_longest_and_half_of_each_is_chance(tries, full):
    pauses = [backoff(tries, timedelta(seconds=5), timedelta(minutes=10)).total_seconds() for _ in range(100)]

    assert all(full / 2 <= pause <= full for pause in pauses)
    assert len(set(pauses)) > 50


def test_a_nudge_makes_the_consumer_deliver(shop, ear):
    with consuming(shop):
        for subject in ("ord_1", "ord_2"):
            tell(shop, subject)
            assert ear.hears.acquire(timeout=30)

    assert ear.heard == ["ord_1", "ord_2"]


def test_what_was_queued_before_the_consumer_came_is_delivered(shop, ear):
    tell(shop, "ord_1")

    with consuming(shop):
        assert ear.hears.acquire(timeout=30)

    assert ear.heard == ["ord_1"]


def test_several_nudges_queue_one_task(shop):
    for subject in ("ord_1", "ord_2", "ord_3"):
        tell(shop, subject)

    assert shop.engine.jobs.huey.pending_count() == 1


def test_what_is_rolled_back_nudges_nobody(shop):
    with pytest.raises(ZeroDivisionError), shop.engine.db.transaction():
        append(shop.engine, "order.completed", account="acc_1", subject="ord_1", data={})
        raise ZeroDivisionError

    assert shop.engine.jobs.huey.pending_count() == 0


def test_an_emptied_queue_loses_nothing(shop, ear):
    tell(shop, "ord_1")
    shop.engine.jobs.huey.flush()

    shop.engine.jobs.run_round()

    assert ear.heard == ["ord_1"]


@pytest.mark.only_on("sqlite", reason="its queue is a file")
def test_a_queue_that_can_not_be_written_fails_no_request(shop, ear, caplog):
    (shop.folder / "shop.db-jobs").mkdir()

    tell(shop, "ord_1")

    assert [event["subject"] for event in shop.events()] == ["ord_1"]
    assert "the job queue can't be written" in caplog.text
    with pytest.raises(DatabaseUnavailable):
        shop.engine.jobs.pending()
    shop.run()
    assert ear.heard == ["ord_1"]


def test_a_piece_of_work_that_fails_holds_up_no_other(shop, caplog):
    done = []
    shop.engine.jobs.round = (lambda engine: 1 / 0, lambda engine: done.append(engine))

    shop.engine.jobs.run_round()

    assert done == [shop.engine]
    assert "ZeroDivisionError" in caplog.text
    assert [record.levelno for record in caplog.records if record.name == "puesto.jobs"] == [logging.ERROR]


def test_a_round_goes_by_the_clock_that_another_process_has_moved(open_shop, shop):
    tomorrow, seen = shop.clock.now() + timedelta(days=1), []
    shop.engine.jobs.round = (lambda engine: seen.append(engine.clock.now()),)
    open_shop(folder=shop.folder, enabled=[]).engine.move_clock(tomorrow)

    shop.engine.jobs.run_round()

    assert seen == [tomorrow]


def test_a_closed_engine_holds_nothing_of_its_queue(shop):
    shop.engine.jobs.nudge()
    storage = shop.engine.jobs.huey.storage

    shop.engine.close()
    closed = storage._conn

    shop.engine.jobs.nudge()
    assert (closed, shop.engine.jobs.pending()) == (None, 1)
