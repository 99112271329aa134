"""Workers that look for the same work at the same moment, each a process of its own to the database: nothing is done twice."""

from collections import Counter

import pytest

from core.access import AccountToken, create_token
from core.accounts import add_user
from core.cancellations import cancel, end_due
from core.carts import Cart, sweep_carts
from core.engine.deliveries import Delivery
from core.errors import NoSeatLeft
from core.invoices import Invoice
from core.seats import assign_seats, assigned_users
from core.worker import run_round
from puesto import hookimpl
from puesto.testing.shop import INTERNAL
from tests.core.racing import at_once, kinds

PRODUCTS = ("gotoassist-standard", "gotomeeting-professional", "gotowebinar-standard", "rescue-standard")


class Ear:
    def __init__(self):
        self.heard = []

    @hookimpl
    def order_completed(self, event):
        self.heard.append(event.id)


@pytest.fixture
def ear():
    """One for all workers."""
    return Ear()


@pytest.fixture
def workers(open_shop, ear):
    """Four processes of one shop, as far as the database can tell."""
    first = open_shop(plugins={"ear": ear}, disabled=["email"])
    return [first, *(open_shop(plugins={"ear": ear}, disabled=["email"], folder=first.folder) for _ in range(3))]


def together(workers, work, day):
    """Each of them does it at the same moment of that day, twice over."""
    for worker in workers:
        worker.on(day)
    return at_once(workers[0], [lambda worker=worker: work(worker.engine) for worker in workers * 2])


def test_what_ends_ends_once(workers):
    shop = workers[0]
    trials = [shop.try_out(plan) for plan in (PRODUCTS[0], PRODUCTS[2])]
    bought = [shop.buy(plan, account=shop.open_account()) for plan in PRODUCTS]
    for subscription in bought:
        cancel(shop.engine, subscription.id, INTERNAL, at="period_end")

    ended = together(workers, end_due, "2026-04-15")

    assert sum(ended) == 6
    assert {shop.show(each)["status"] for each in (*trials, *bought)} == {"cancelled"}
    assert sorted(event["subject"] for event in shop.events("subscription.cancelled")) == sorted(each.id for each in (*trials, *bought))


def test_what_expires_is_swept_once(workers):
    shop = workers[0]
    for _ in range(20):
        shop.cart({"mode": "buy", "plan": PRODUCTS[0], "seats": 1, "interval": "month"})
    user = shop.add_user()
    create_token(shop.engine, user.account, user.id, user.role)

    swept = together(workers, sweep_carts, "2027-03-01")
    together(workers, run_round, "2027-03-01")

    assert sum(swept) == 20
    assert (shop.count(Cart), shop.count(AccountToken)) == (0, 0)


def test_an_event_is_delivered_once_to_each_subscriber(workers, ear):
    shop = workers[0]
    for plan in PRODUCTS * 3:
        shop.buy(plan)

    together(workers, run_round, "2026-03-01")

    assert sorted(ear.heard) == sorted(event["id"] for event in shop.events("order.completed"))
    assert Counter(delivery.status for delivery in shop.engine.db.all(Delivery.select()))["waiting"] == 0
    assert {delivery.attempts for delivery in shop.engine.db.all(Delivery.select())} == {1}


def test_whole_rounds_at_once_carry_each_order_on_once(workers, ear):
    shop = workers[0]
    for plan in PRODUCTS:
        shop.order(shop.cart({"mode": "buy", "plan": plan, "seats": 1, "interval": "month"}), token="tok_timeout")

    together(workers, run_round, "2026-03-02")

    charged = shop.engine.providers["sandbox"].charges()
    assert [charge.refunded.amount for charge in charged] == [0] * 4
    assert (shop.count(Invoice), len(shop.events("order.completed")), len(ear.heard)) == (4, 4, 4)


def test_users_who_come_one_by_one_and_in_tens_take_ten_seats_and_no_more(workers):
    shop = workers[0]
    subscription = shop.buy("gotoassist-standard", seats=10)
    users = [add_user(shop.engine, shop.account.id, INTERNAL, email=f"{n}@acme.example", name="Ana", role="member").id for n in range(40)]
    groups = [*([user] for user in users[:20]), users[20:30], users[30:40], users[:10]]

    answers = at_once(shop, [lambda group=group: assign_seats(shop.engine, subscription.id, INTERNAL, group) for group in groups])

    seated = assigned_users(shop.engine, subscription)
    won = [group for group, answer in zip(groups, answers, strict=True) if not isinstance(answer, NoSeatLeft)]
    assert set(seated) == {user for group in won for user in group}
    assert len(seated) <= 10
    assert sorted(seated) == sorted(event["data"]["user"]["id"] for event in shop.events("seat.assigned"))
    assert shop.show(subscription)["seats_assigned"] == len(seated)
    assert len(won) + kinds(answers)[NoSeatLeft] == 23
