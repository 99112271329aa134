"""What there is to do, in numbers."""

import logging
from datetime import timedelta

import pytest

from core.backlog import Backlog, measure
from core.engine.deliveries import MAX_ATTEMPTS, drain, replay
from core.stuck import KINDS, retry_all, stuck_cases
from tests.core.gateway import GatewayPlugin
from tests.core.test_stuck import SEAT, Ear

QUIET = dict.fromkeys(KINDS, 0)


@pytest.fixture
def ear():
    return Ear()


@pytest.fixture
def shop(open_shop, ear):
    return open_shop(plugins={"sandbox": GatewayPlugin, "ear": ear}, disabled=["email"])


def later(shop, **time):
    shop.clock.move_to(shop.clock.now() + timedelta(**time))


def test_where_nothing_is_to_do_all_is_zero(shop):
    assert measure(shop.engine) == Backlog(QUIET, {}, {}, {}, past_due=0, events=0, payments=0, oldest_payment=0.0, queue=0)


def test_an_event_is_counted_until_its_deliveries_are_made_and_these_until_they_are_done(shop, ear):
    shop.order(shop.cart(SEAT))
    fresh = measure(shop.engine)
    drain(shop.engine)
    failed = measure(shop.engine)
    later(shop, minutes=1)
    overdue = measure(shop.engine)
    ear.deaf = False
    drain(shop.engine)

    assert (fresh.events, fresh.waiting, fresh.queue) == (2, {}, 1)
    assert (failed.events, failed.waiting, failed.overdue) == (0, {"ear": 1}, {"ear": 0.0})
    assert 55 <= overdue.overdue["ear"] <= 57.5  # the pause is half to all of five seconds
    assert (measure(shop.engine).waiting, measure(shop.engine).parked) == ({}, {})


def test_what_is_parked_is_counted_apart_and_as_stuck(shop):
    shop.order(shop.cart(SEAT))
    for _ in range(MAX_ATTEMPTS):
        drain(shop.engine)
        later(shop, hours=6)

    found = measure(shop.engine)

    assert (found.waiting, found.parked, found.stuck) == ({}, {"ear": 1}, QUIET | {"delivery": 1})


def test_what_could_not_be_renewed_is_counted_until_it_is_paid_or_ends(shop):
    shop.order(shop.cart(SEAT))
    assert measure(shop.engine).past_due == 0
    later(shop, days=31)
    shop.run()
    assert measure(shop.engine).past_due == 1

    later(shop, days=7)
    shop.run()

    assert measure(shop.engine).past_due == 0


def test_payments_are_open_while_the_provider_is_asked_about_them(shop):
    shop.order(shop.cart(SEAT), token="tok_timeout")
    later(shop, minutes=20)
    shop.order(shop.cart(SEAT), token="tok_timeout")

    open_, stuck = measure(shop.engine), measure(shop.engine).stuck
    shop.run()

    assert (open_.payments, open_.oldest_payment, stuck["payment"]) == (2, 1200.0, 1)
    later(shop, minutes=1)
    shop.run()
    assert (measure(shop.engine).payments, measure(shop.engine).oldest_payment) == (0, 0.0)


@pytest.mark.only_on("sqlite", reason="its queue is a file")
def test_a_queue_that_can_not_be_read_hides_nothing_else(shop):
    (shop.folder / "shop.db-jobs").mkdir()
    shop.order(shop.cart(SEAT))

    found = measure(shop.engine)

    assert (found.queue, found.events) == (None, 2)


@pytest.mark.only_on("sqlite", reason="PostgreSQL plans by the size of its tables, which are empty here")
def test_what_is_done_is_not_read(shop, ear, caplog):
    """No statement goes through a table that grows, but by an index that has what is open only."""
    ear.deaf = False
    shop.order(shop.cart(SEAT))
    shop.run()
    with caplog.at_level(logging.DEBUG, logger="peewee"):
        measure(shop.engine)
        stuck_cases(shop.engine, limit=2)
        retry_all(shop.engine)
    statements = [record.msg for record in caplog.records if record.name == "peewee" and record.msg[0].startswith(("SELECT", "UPDATE"))]

    steps = {
        step[3]
        for sql, params in statements
        for step in shop.engine.db.raw().execute_sql(f"EXPLAIN QUERY PLAN {sql}", params)
        if step[3].startswith("SCAN")
    }

    partial = ("delivery_due", "delivery_parked", "order_with_problem", "payment_open", "payment_to_ask_about", "refund_open")
    partial += ("refund_to_ask_about", "setback_parked", "event_to_fan_out", "payment_webhook_event_parked")
    partial += ("subscription_change_held_back",)
    # A difference that is settled is deleted.
    partial += ("capture_open", "dispute_opened", "difference_payment", "sqlite_autoindex_difference")
    assert len(statements) > 15
    assert {step for step in steps if not step.split()[-1].startswith(partial)} == set()


def test_a_replay_shows_as_waiting(shop, ear):
    ear.deaf = False
    shop.order(shop.cart(SEAT))
    shop.run()

    replay(shop.engine)

    assert measure(shop.engine).waiting == {"ear": 1, "gotoassist": 1}
