import threading
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise

import pytest

from core.engine import events
from core.engine.events import CLAIM, MAX_ATTEMPTS, Delivery, append, drain, events_after, retry_parked
from core.errors import Missing
from core.subscriptions import cancel
from plugins.products.gotoassist import GoToAssist
from puesto import hookimpl
from puesto.testing.shop import INTERNAL


class Ear:
    """A subscriber that notes what it hears, and does `first` before that."""

    def __init__(self):
        self.heard, self.hears = [], threading.Semaphore(0)
        self.first = lambda event: None

    @hookimpl
    def order_completed(self, event):
        self.first(event)
        self.heard.append(event)
        self.hears.release()

    @property
    def notes(self):
        """(subject, n) of each event."""
        return [(event.subject, event.data["n"]) for event in self.heard]


class PowerCut(BaseException):
    """The process is gone."""


@pytest.fixture
def ear():
    return Ear()


@pytest.fixture
def other():
    return Ear()


@pytest.fixture
def shop(open_shop, ear, other):
    return open_shop(plugins={"ear": ear, "other": other}, enabled=["ear", "other"])


def tell(shop, *notes, account="acc_1", type_="order.completed"):
    with shop.engine.db.transaction():
        for subject, n in notes:
            append(shop.engine, type_, account=account, subject=subject, data={"n": n})


def later(shop, pause):
    """Background work when so much time has passed."""
    shop.clock.move_to(shop.clock.now() + pause)
    drain(shop.engine)


def deliveries(shop, plugin="ear"):
    return shop.engine.db.all(Delivery.select().where(Delivery.plugin == plugin).order_by(Delivery.id))


def fail(event):
    raise ZeroDivisionError("no mail today")


def fail_at(n):
    return lambda event: fail(event) if event.data["n"] == n else None


def wait_for_lanes():
    """Until whatever was left to itself has come to its end."""
    for thread in threading.enumerate():
        if thread.name.startswith("puesto-lane"):
            thread.join()


# --- writing


def test_an_event_is_written_in_the_transaction_of_its_change(shop):
    tell(shop, ("ord_1", 1))

    with suppress(ZeroDivisionError), shop.engine.db.transaction():
        append(shop.engine, "order.completed", account="acc_1", subject="ord_2", data={})
        raise ZeroDivisionError
    with pytest.raises(RuntimeError):
        append(shop.engine, "order.completed", account="acc_1", subject="ord_3", data={})

    assert [event["subject"] for event in shop.events()] == ["ord_1"]


# --- delivering


def test_each_subscriber_hears_of_each_event_once_as_it_was(shop, ear, other):
    tell(shop, ("ord_1", 1))

    for _ in range(2):
        drain(shop.engine)

    assert ear.heard == other.heard
    assert [(event.type, event.account, event.subject, event.data) for event in ear.heard] == [
        ("order.completed", "acc_1", "ord_1", {"n": 1})
    ]
    assert (ear.heard[0].id, ear.heard[0].occurred_at) == (shop.events()[0]["id"], shop.clock.now())
    assert [delivery.status for delivery in deliveries(shop)] == ["done"]


def test_what_nobody_wants_to_hear_is_written_and_delivered_to_nobody(shop):
    tell(shop, ("sub_1", 1), type_="seat.assigned")

    drain(shop.engine)

    assert (len(shop.events()), shop.count(Delivery)) == (1, 0)


def test_more_events_than_a_batch_are_all_delivered(shop, ear, monkeypatch):
    monkeypatch.setattr(events, "BATCH", 2)
    notes = [("ord_1", n) for n in range(5)]
    tell(shop, *notes)

    drain(shop.engine)

    assert ear.notes == notes


def test_events_of_a_subject_arrive_in_the_order_of_writing(shop, ear, other):
    notes = [(f"ord_{n % 3}", n) for n in range(12)]
    ear.first = lambda event: None if ear.heard else tell(shop, ("ord_0", 12))  # one more while the first is delivered
    tell(shop, *notes)

    for _ in range(2):
        drain(shop.engine)

    for heard in (ear.notes, other.notes):
        assert sorted(heard) == sorted([*notes, ("ord_0", 12)])
        for subject in ("ord_0", "ord_1", "ord_2"):
            numbers = [n for of, n in heard if of == subject]
            assert numbers == sorted(numbers)


def test_two_workers_at_once_deliver_each_once_and_in_order(open_shop, shop, ear, other):
    second = Ear()
    elsewhere = open_shop(folder=shop.folder, plugins={"ear": second, "other": Ear()}, enabled=["ear", "other"])
    notes = [(f"ord_{n % 4}", n) for n in range(40)]
    tell(shop, *notes)
    together = []
    ear.first = second.first = together.append

    workers = [threading.Thread(target=drain, args=[engine]) for engine in (shop.engine, shop.engine, elsewhere.engine)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert Counter(event.data["n"] for event in together) == Counter(range(40))
    for subject in ("ord_0", "ord_1", "ord_2", "ord_3"):
        numbers = [event.data["n"] for event in together if event.subject == subject]
        assert numbers == sorted(numbers)


# --- subscribers in trouble


def test_a_subscriber_that_raises_is_tried_again_after_growing_pauses(shop, ear, other):
    ear.first = fail
    tell(shop, ("ord_1", 1))
    drain(shop.engine)

    pauses = []
    while (delivery := deliveries(shop)[0]).status == "waiting":
        pauses.append(delivery.next_at - shop.clock.now())
        later(shop, pauses[-1])

    assert pauses == [timedelta(seconds=5 * 2**n) for n in range(MAX_ATTEMPTS - 1)]
    assert (delivery.status, delivery.attempts) == ("parked", MAX_ATTEMPTS)
    assert delivery.error == "ZeroDivisionError: no mail today"
    assert (ear.heard, other.notes) == ([], [("ord_1", 1)])


def test_before_its_time_a_failed_delivery_is_left_alone(shop, ear):
    tried = []
    ear.first = lambda event: tried.append(event) or fail(event)
    tell(shop, ("ord_1", 1))
    drain(shop.engine)

    later(shop, timedelta(seconds=4))

    assert len(tried) == 1


def test_trouble_with_one_subject_holds_up_its_later_events_and_nothing_else(shop, ear, other):
    ear.first = fail_at(1)
    tell(shop, ("ord_1", 1), ("ord_2", 2), ("ord_1", 3), ("ord_2", 4))

    drain(shop.engine)

    assert ear.notes == [("ord_2", 2), ("ord_2", 4)]
    assert other.notes == [("ord_1", 1), ("ord_2", 2), ("ord_1", 3), ("ord_2", 4)]
    ear.first = lambda event: None
    later(shop, timedelta(seconds=5))
    assert ear.notes[2:] == [("ord_1", 1), ("ord_1", 3)]


def test_what_is_parked_holds_up_nothing_and_can_be_put_back_to_work(shop, ear):
    ear.first = fail_at(1)
    tell(shop, ("ord_1", 1), ("ord_1", 2))
    for _ in range(MAX_ATTEMPTS):
        later(shop, timedelta(hours=6))
    assert ([delivery.status for delivery in deliveries(shop)], ear.notes) == (["parked", "done"], [("ord_1", 2)])

    ear.first = lambda event: None
    counts = [retry_parked(shop.engine, deliveries(shop)[1].id), retry_parked(shop.engine), retry_parked(shop.engine)]
    drain(shop.engine)

    assert counts == [0, 1, 0]
    assert ear.notes == [("ord_1", 2), ("ord_1", 1)]
    assert [(delivery.status, delivery.error) for delivery in deliveries(shop)] == [("done", None), ("done", None)]


def test_a_subscriber_that_hangs_holds_up_no_other_and_no_worker(shop, ear, other, monkeypatch):
    monkeypatch.setattr(events, "PATIENCE", 0.01)
    over, entered = threading.Event(), []
    ear.first = lambda event: entered.append(event) or over.wait(30)

    for note in (("ord_1", 1), ("ord_2", 2)):
        tell(shop, note)
        drain(shop.engine)
        assert other.hears.acquire(timeout=30)

    assert (len(entered), ear.heard, other.notes) == (1, [], [("ord_1", 1), ("ord_2", 2)])
    over.set()
    wait_for_lanes()
    assert ear.notes == [("ord_1", 1), ("ord_2", 2)]


def test_what_a_dead_worker_had_taken_is_delivered_again_after_its_claim(shop, ear):
    def die(event):
        raise PowerCut

    ear.first = die
    tell(shop, ("ord_1", 1))
    with pytest.raises(PowerCut):
        drain(shop.engine)
    ear.first = lambda event: None

    later(shop, CLAIM - timedelta(seconds=1))
    assert ear.heard == []
    later(shop, timedelta(seconds=1))

    assert ear.notes == [("ord_1", 1)]
    assert [(delivery.status, delivery.attempts) for delivery in deliveries(shop)] == [("done", 2)]


def test_a_delivery_to_a_plugin_that_has_gone_waits_and_says_why(open_shop, shop, other):
    other.first = fail
    tell(shop, ("ord_1", 1))
    drain(shop.engine)
    without = open_shop(folder=shop.folder, plugins={"ear": Ear()}, enabled=["ear"])

    later(without, timedelta(seconds=5))

    assert [(delivery.status, delivery.attempts) for delivery in deliveries(shop, "other")] == [("waiting", 2)]
    assert "other" in deliveries(shop, "other")[0].error and "not enabled" in deliveries(shop, "other")[0].error


# --- provisioning


class Product:
    """What GoToAssist is asked to do; it refuses where told to."""

    def __init__(self):
        self.asked, self.refuses = [], False

    def plugin(product):
        class Provisioned(GoToAssist):
            @hookimpl
            def provision(self, request):
                product.asked.append(request)
                if product.refuses:
                    fail(request)

        return Provisioned


@pytest.fixture
def product():
    return Product()


@pytest.fixture
def store(open_shop, product):
    return open_shop(plugins={"gotoassist": product.plugin()}, enabled=["gotoassist", "gotomeeting", "sandbox", "vat", "vat_rates"])


def test_a_product_learns_of_its_own_subscriptions_from_start_to_end(store, product):
    store.buy("gotomeeting-essentials")
    tried = store.try_out("gotoassist-standard", seats=2, account=store.open_account())
    bought = store.buy("gotoassist-standard", seats=3)
    store.change(bought, seats=5)
    cancel(store.engine, bought.id, INTERNAL, at="now")

    store.run()

    asked = [(request.action, request.subscription, request.seats) for request in product.asked]
    assert sorted(asked) == sorted([("grant", tried.id, 2), ("grant", bought.id, 3), ("change", bought.id, 5), ("revoke", bought.id, 0)])
    assert [action for action, subscription, _ in asked if subscription == bought.id] == ["grant", "change", "revoke"]
    assert {(request.product, request.plan) for request in product.asked} == {("gotoassist", "gotoassist-standard")}
    assert {request.account for request in product.asked if request.subscription == bought.id} == {store.account.id}


def test_a_repeated_request_to_provision_has_the_same_key(store, product):
    bought = store.buy("gotoassist-standard")
    product.refuses = True
    store.run()
    product.refuses = False
    later(store, timedelta(seconds=5))
    store.change(bought, seats=2)
    store.run()

    keys = [request.key for request in product.asked]
    assert [request.action for request in product.asked] == ["grant", "grant", "change"]
    assert [one == next_ for one, next_ in pairwise(keys)] == [True, False]
    assert keys[0] == store.events("subscription.started")[0]["id"]


def test_a_product_whose_plugin_has_gone_is_provisioned_by_nobody(open_shop, store):
    bought = store.buy("gotoassist-standard")
    without = open_shop(folder=store.folder, enabled=["gotomeeting", "sandbox", "vat", "vat_rates"])

    cancel(without.engine, bought.id, INTERNAL, at="now")
    without.run()

    assert without.count(Delivery) == 0


# --- the feed


def test_the_feed_goes_from_the_oldest_on_and_each_account_sees_its_own(shop):
    tell(shop, ("ord_1", 1), account="acc_1")
    tell(shop, ("ord_2", 2), account="acc_2")
    tell(shop, ("ord_3", 3), account="acc_1")
    ids = [event["id"] for event in shop.events()]

    def numbers(account=None, after=None, limit=100):
        return [event["data"]["n"] for event in events_after(shop.engine, account, after, limit)]

    assert (numbers(), numbers(limit=2), numbers(after=ids[0]), numbers(after=ids[2])) == ([1, 2, 3], [1, 2], [2, 3], [])
    assert (numbers("acc_1"), numbers("acc_1", ids[0]), numbers("acc_2"), numbers("acc_3")) == ([1, 3], [3], [2], [])


def test_the_feed_knows_no_event_that_is_unknown_or_anothers(shop):
    tell(shop, ("ord_1", 1), account="acc_1")
    foreign = shop.events()[0]["id"]

    for account, after in ((None, "evt_unknown"), ("acc_2", foreign)):
        with pytest.raises(Missing):
            events_after(shop.engine, account, after, 10)


def test_an_event_is_shown_as_plugins_hear_it(shop, ear):
    tell(shop, ("ord_1", 1))
    drain(shop.engine)

    assert shop.events() == [
        {
            "id": ear.heard[0].id,
            "type": "order.completed",
            "account": "acc_1",
            "subject": "ord_1",
            "data": {"n": 1},
            "occurred_at": "2026-03-01T12:00:00.000Z",
        }
    ]
