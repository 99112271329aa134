import threading
from collections import Counter
from datetime import timedelta
from functools import partial
from itertools import pairwise

import pytest

from core.cancellations import cancel
from core.engine import deliveries as machinery
from core.engine.deliveries import CLAIM, DIED, LONGEST_CALL, MAX_ATTEMPTS, Delivery, drain, fan_out, replay, retry_parked
from core.engine.events import append
from core.errors import Missing
from plugins.products.gotoassist import GoToAssist
from puesto import hookimpl
from puesto.testing.shop import INTERNAL
from tests.core.racing import at_once


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


def die(event):
    raise PowerCut


def fail_at(n):
    return lambda event: fail(event) if event.data["n"] == n else None


def wait_for_lanes():
    """Until whatever was left to itself has come to its end."""
    for thread in threading.enumerate():
        if thread.name.startswith("puesto-lane"):
            thread.join()


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
    monkeypatch.setattr(machinery, "BATCH", 2)
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


def test_workers_that_meet_deliver_all_but_what_failed_once_and_each_subject_in_order(open_shop, shop, ear, monkeypatch):
    monkeypatch.setattr(machinery, "PAGE", 3)  # so that they meet often
    ears, together = [ear, Ear(), Ear()], []
    others = [open_shop(folder=shop.folder, plugins={"ear": each, "other": Ear()}, enabled=["ear", "other"]) for each in ears[1:]]
    failing = set(range(3, 150, 17))
    tell(shop, *[(f"ord_{n % 5}", n) for n in range(150)])

    for trouble in (failing, set()):
        for each in ears:
            each.first = lambda event, trouble=trouble: (together.append(event), event.data["n"] in trouble and fail(event))
        at_once(shop, [partial(later, of, timedelta(seconds=5)) for of in (shop, *others)])

    times = Counter(event.data["n"] for event in together)
    assert {n for n, heard in times.items() if heard > 1} <= failing
    for subject in range(5):
        numbers = [event.data["n"] for event in together if event.subject == f"ord_{subject}"]
        assert list(dict.fromkeys(numbers)) == list(range(subject, 150, 5))
    assert {delivery.status for delivery in deliveries(shop)} == {"done"}


@pytest.mark.only_on("postgresql", reason="SQLite has no locks of rows")
def test_what_follows_a_delivery_that_another_worker_is_about_to_take_is_left_to_it(open_shop, shop, ear):
    elsewhere = open_shop(folder=shop.folder, plugins={"ear": ear, "other": Ear()}, enabled=["ear", "other"])
    worker = threading.Thread(target=drain, args=[elsewhere.engine])
    tell(shop, ("ord_1", 0), ("ord_2", 1), ("ord_1", 2))
    fan_out(shop.engine)

    with shop.engine.db.transaction():
        shop.engine.db.lock(Delivery, deliveries(shop)[0].id)
        worker.start()
        assert ear.hears.acquire(timeout=30)
        assert not ear.hears.acquire(timeout=0.2)
        assert ear.notes == [("ord_2", 1)]
    worker.join()

    assert ear.notes[1:] == [("ord_1", 0), ("ord_1", 2)]


# --- by the page


@pytest.fixture
def unhurried(monkeypatch):
    """However slow the machine is, there is time for a whole page: the first is of 2, the second of 4."""
    monkeypatch.setattr(machinery, "PAGE_SECONDS", 30)


@pytest.fixture
def power(monkeypatch):
    """What cuts it: from then on nothing is written of what was called, as where the process is killed."""
    write, off = machinery._write, threading.Event()

    def cut(event=None):
        off.set()
        raise PowerCut

    monkeypatch.setattr(machinery, "_write", lambda *given: cut() if off.is_set() else write(*given))
    cut.back = off.clear
    return cut


def at(n, do):
    return lambda event: do(event) if event.data["n"] == n else None


def tries(shop):
    """(status, attempts) of each of the ear's deliveries."""
    return [(delivery.status, delivery.attempts) for delivery in deliveries(shop)]


@pytest.mark.usefixtures("unhurried")
def test_pages_grow_up_to_the_longest_while_there_is_time(shop, ear, monkeypatch):
    monkeypatch.setattr(machinery, "PAGE", 5)
    pages = []
    ear.first = lambda event: pages.append(sum(delivery.claimed_until is not None for delivery in deliveries(shop)))
    notes = [(f"ord_{n % 2}", n) for n in range(13)]
    tell(shop, *notes)

    drain(shop.engine)

    assert pages == [2] * 2 + [4] * 4 + [5] * 5 + [2] * 2
    assert (ear.notes, tries(shop)) == (notes, [("done", 1)] * 13)


@pytest.mark.usefixtures("unhurried")
def test_behind_one_that_fails_the_rest_of_its_subject_in_the_page_is_given_back_uncounted(shop, ear):
    ear.first = at(3, fail)
    tell(shop, ("ord_1", 0), ("ord_1", 1), ("ord_1", 2), ("ord_1", 3), ("ord_1", 4), ("ord_2", 5))

    drain(shop.engine)

    assert ear.notes == [("ord_1", 0), ("ord_1", 1), ("ord_1", 2), ("ord_2", 5)]
    assert tries(shop) == [("done", 1)] * 3 + [("waiting", 1), ("waiting", 0), ("done", 1)]
    assert {delivery.claimed_until for delivery in deliveries(shop)} == {None}
    ear.first = lambda event: None
    later(shop, timedelta(seconds=5))
    assert ear.notes[4:] == [("ord_1", 3), ("ord_1", 4)]


def test_a_call_that_hangs_keeps_nothing_of_its_page_but_its_own_subject(open_shop, shop, ear, monkeypatch):
    monkeypatch.setattr(machinery, "PAGE_SECONDS", 0.1)
    monkeypatch.setattr(machinery, "PATIENCE", 0.2)
    second, entered, over = Ear(), threading.Event(), threading.Event()
    elsewhere = open_shop(folder=shop.folder, plugins={"ear": second, "other": Ear()}, enabled=["ear", "other"])
    ear.first = at(3, lambda event: entered.set() or over.wait(30))
    tell(shop, ("ord_1", 0), ("ord_1", 1), ("ord_1", 2), ("ord_2", 3), ("ord_2", 4), ("ord_3", 5))

    drain(shop.engine)
    assert entered.wait(30)
    while sum(delivery.claimed_until is not None for delivery in deliveries(shop)) > 1:
        over.wait(0.01)
    drain(elsewhere.engine)

    assert (ear.notes, second.notes) == ([("ord_1", 0), ("ord_1", 1), ("ord_1", 2)], [("ord_3", 5)])
    over.set()
    wait_for_lanes()
    assert ear.notes[3:] == [("ord_2", 3), ("ord_2", 4)]
    assert tries(shop) == [("done", 1)] * 6


@pytest.mark.usefixtures("unhurried")
def test_no_call_is_begun_when_the_claim_of_its_page_is_old(shop, ear):
    claims = []
    ear.first = lambda event: (
        claims.append(deliveries(shop)[event.data["n"]].claimed_until),
        event.data["n"] == 3 and shop.clock.move_to(shop.clock.now() + CLAIM - LONGEST_CALL + timedelta(seconds=1)),
    )
    notes = [("ord_1", n) for n in range(6)]
    tell(shop, *notes)

    drain(shop.engine)

    assert [claim == claims[3] for claim in claims] == [True, True, True, True, False, False]
    assert (ear.notes, tries(shop)) == (notes, [("done", 1)] * 6)


@pytest.mark.usefixtures("unhurried")
def test_a_worker_that_was_taken_for_dead_in_the_middle_of_a_page_begins_none_of_the_rest(open_shop, shop, ear):
    second = Ear()
    elsewhere = open_shop(folder=shop.folder, plugins={"ear": second, "other": Ear()}, enabled=["ear", "other"])

    def hang(event):
        for of in (shop, elsewhere):
            of.clock.move_to(of.clock.now() + CLAIM)
        drain(elsewhere.engine)

    ear.first = at(3, hang)
    tell(shop, *[("ord_1", n) for n in range(6)])
    drain(shop.engine)

    assert ([n for _, n in ear.notes], [n for _, n in second.notes]) == ([0, 1, 2, 3], [2, 3, 4, 5])
    assert tries(shop) == [("done", 1)] * 2 + [("done", 2)] + [("done", 1)] * 3


def test_a_call_ends_before_the_claim_of_its_page(shop):
    policies = shop.engine.plugins.policies.values()

    assert max(policy.deadline for policy in policies if policy.failure == "retry") < LONGEST_CALL.seconds < CLAIM.seconds


@pytest.mark.usefixtures("unhurried")
@pytest.mark.parametrize(("page", "told_twice"), [(1, {0, 1}), (2, {2, 3, 4, 5}), (3, {6, 7, 8, 9})])
def test_a_worker_that_dies_before_it_writes_repeats_its_page_and_no_more(shop, ear, power, monkeypatch, page, told_twice):
    monkeypatch.setattr(machinery, "PAGE", 4)
    ear.first = at(max(told_twice), lambda event: ear.heard.append(event) or power(event))
    tell(shop, *[(f"ord_{n % 3}", n) for n in range(20)])
    with pytest.raises(PowerCut):
        drain(shop.engine)
    power.back()
    ear.first = lambda event: None

    later(shop, CLAIM)

    assert Counter(n for _, n in ear.notes) == {n: 1 + (n in told_twice) for n in range(20)}
    for subject in ("ord_0", "ord_1", "ord_2"):
        numbers = [n for of, n in ear.notes if of == subject and n not in told_twice]
        assert numbers == sorted(numbers)
    assert {status for status, _ in tries(shop)} == {"done"}


@pytest.mark.usefixtures("unhurried")
def test_what_kills_in_the_middle_of_a_page_is_parked_alone(shop, ear, power):
    ear.first = at(3, power)
    tell(shop, ("ord_1", 0), ("ord_1", 1), ("ord_2", 2), ("ord_3", 3), ("ord_4", 4), ("ord_3", 5), ("ord_5", 6))

    for _ in range(MAX_ATTEMPTS + 1):
        with pytest.raises(PowerCut):
            later(shop, CLAIM)
        power.back()
        drain(shop.engine)  # the next worker, at once
    later(shop, CLAIM)

    assert [n for _, n in ear.notes] == [0, 1, 2, 6, 2, 4, 5]
    assert tries(shop) == [("done", 1)] * 2 + [("done", 2), ("parked", MAX_ATTEMPTS)] + [("done", 1)] * 3


# --- subscribers in trouble


def test_a_subscriber_that_raises_is_tried_again_after_growing_pauses(shop, ear, other):
    ear.first = fail
    tell(shop, ("ord_1", 1))
    drain(shop.engine)

    pauses = []
    while (delivery := deliveries(shop)[0]).status == "waiting":
        pauses.append(delivery.next_at - shop.clock.now())
        later(shop, pauses[-1])

    for n, pause in enumerate(pauses):
        assert timedelta(seconds=5 * 2**n) / 2 <= pause <= timedelta(seconds=5 * 2**n)
    assert len(pauses) == MAX_ATTEMPTS - 1
    assert (delivery.status, delivery.attempts) == ("parked", MAX_ATTEMPTS)
    assert delivery.error == "ZeroDivisionError: no mail today"
    assert (ear.heard, other.notes) == ([], [("ord_1", 1)])


def test_before_its_time_a_failed_delivery_is_left_alone(shop, ear):
    tried = []
    ear.first = lambda event: tried.append(event) or fail(event)
    tell(shop, ("ord_1", 1))
    drain(shop.engine)

    later(shop, timedelta(seconds=2))

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
    monkeypatch.setattr(machinery, "PATIENCE", 0.01)
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


def test_a_delivery_that_ended_with_its_worker_time_and_again_is_parked(shop, ear, other):
    ear.first = die
    tell(shop, ("ord_1", 1))

    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(PowerCut):
            later(shop, CLAIM)
    later(shop, CLAIM)

    [delivery] = deliveries(shop)
    assert (delivery.status, delivery.attempts, delivery.error) == ("parked", MAX_ATTEMPTS, DIED)
    assert other.notes == [("ord_1", 1)]


def well(event):
    """It is heard."""


@pytest.mark.parametrize(
    ("late", "meanwhile", "status"), [(well, well, "done"), (fail, well, "done"), (well, fail, "waiting"), (fail, fail, "waiting")]
)
def test_a_worker_that_was_taken_for_dead_changes_nothing_that_others_did_since(open_shop, shop, ear, late, meanwhile, status):
    second = Ear()
    elsewhere = open_shop(folder=shop.folder, plugins={"ear": second, "other": Ear()}, enabled=["ear", "other"])
    second.first, left = meanwhile, []

    def hang(event):
        elsewhere.clock.move_to(shop.clock.now() + CLAIM)
        drain(elsewhere.engine)
        left.extend(delivery.__data__ for delivery in deliveries(shop))
        late(event)

    ear.first = hang
    tell(shop, ("ord_1", 1))
    drain(shop.engine)

    assert [delivery.__data__ for delivery in deliveries(shop)] == left
    assert [(delivery["status"], delivery["attempts"]) for delivery in left] == [(status, 2)]


def test_what_was_for_a_plugin_that_has_gone_is_parked_until_it_is_back(open_shop, shop, other):
    other.first = fail
    tell(shop, ("ord_1", 1))
    drain(shop.engine)
    without = open_shop(folder=shop.folder, plugins={"ear": Ear()}, enabled=["ear"])

    later(without, timedelta(seconds=5))
    [parked] = deliveries(shop, "other")
    other.first = lambda event: None
    retry_parked(shop.engine)
    later(shop, timedelta(seconds=5))

    assert (parked.status, parked.error) == ("parked", "The plugin other is not enabled, or has no order_completed any more.")
    assert other.notes == [("ord_1", 1)]


# --- once more


@pytest.fixture
def told(shop, ear, other):
    """Events of two subjects, a minute apart, that everybody has heard; their ids."""
    for n in range(6):
        tell(shop, (f"ord_{n % 2}", n))
        later(shop, timedelta(minutes=1))
    ear.heard.clear()
    other.heard.clear()
    return [event["id"] for event in shop.events()]


@pytest.mark.parametrize(
    ("first", "last", "heard"),
    [
        (2, 2, {2}),
        (2, 4, {2, 3, 4}),
        (4, None, {4, 5}),
        (None, 1, {0, 1}),
        (timedelta(minutes=1), timedelta(minutes=3), {1, 2, 3}),
        (timedelta(minutes=1, seconds=1), 3, {2, 3}),
        (4, 3, set()),
    ],
)
def test_events_are_delivered_once_more_in_order_and_as_they_were(shop, told, ear, other, monkeypatch, first, last, heard):
    monkeypatch.setattr(machinery, "BATCH", 2)
    start = shop.clock.now() - timedelta(minutes=6)
    ends = [start + end if isinstance(end, timedelta) else end if end is None else told[end] for end in (first, last)]

    made = replay(shop.engine, *ends)
    drain(shop.engine)

    assert made == 2 * len(heard)
    for each in (ear, other):
        assert {event.data["n"]: event.id for event in each.heard} == {n: told[n] for n in heard}
        for subject in ("ord_0", "ord_1"):
            numbers = [n for of, n in each.notes if of == subject]
            assert numbers == sorted(numbers)
    assert {delivery.status for delivery in deliveries(shop)} == {"done"}
    assert shop.count(Delivery) == 12


def test_they_are_delivered_to_one_plugin_alone(shop, told, ear, other):
    made = replay(shop.engine, told[0], told[0], "other")
    drain(shop.engine)

    assert (made, ear.heard, other.notes) == (1, [], [("ord_0", 0)])


def test_who_has_come_since_is_told_too(open_shop, shop, told):
    newcomer = Ear()
    grown = open_shop(folder=shop.folder, plugins={"newcomer": newcomer}, enabled=["newcomer"])

    made = replay(grown.engine)
    drain(grown.engine)

    assert (made, [n for _, n in sorted(newcomer.notes, key=lambda note: note[1])]) == (6, [0, 1, 2, 3, 4, 5])


def test_an_unknown_event_is_not_replayed(shop, told):
    with pytest.raises(Missing):
        replay(shop.engine, told[0], "evt_unknown")

    drain(shop.engine)
    assert {delivery.attempts for delivery in deliveries(shop)} == {1}


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
