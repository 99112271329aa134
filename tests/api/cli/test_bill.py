"""puesto bill: renews what is due, once, whoever runs it and how often."""

import os
import signal
import subprocess
from datetime import UTC, datetime, time, timedelta
from uuid import uuid4

import pytest

from api.cli.running import PUESTO, environment
from core.access import INTERNAL
from core.accounts import create_account
from core.carts import LineInput, create_cart
from core.checkout import checkout, quote_cart
from core.engine.engine import Engine
from core.engine.idempotency import KeyedRequest
from core.engine.settings import load_settings
from core.invoices import InvoiceLine
from core.orders import Order
from core.payment_methods import add_method, save_at_provider
from core.payments import Payment, PaymentChoice
from core.subscriptions import PastDue, Subscription
from core.worker import run_round


@pytest.fixture
def engine(puesto):
    """The engine of the fresh directory, whose database is made."""
    puesto("db", "upgrade")
    opened = Engine(load_settings())
    yield opened
    opened.close()


def buy(engine, token="tok_ok", *, save=True):
    """A seat by the month, of an account of its own."""
    account = create_account(engine, name="Acme", email="billing@acme.example", time_zone="UTC")
    line = LineInput("buy", plan="gotoassist-standard", interval="month", seats=1)
    cart, _ = create_cart(engine, INTERNAL, [line], account=account.id)
    seal = quote_cart(engine, cart.id, INTERNAL).seal
    request, choice = KeyedRequest("test", uuid4().hex, b""), PaymentChoice("sandbox", token=token, save=save)
    answer = checkout(engine, cart.id, INTERNAL, quote=seal, payment=choice, purchase_order=None, request=request)
    return engine.db.get(Subscription, answer.body["subscriptions"][0])


def said(result):
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout.rstrip("\n")


def renewed(engine):
    return [order.status for order in engine.db.all(Order.select().where(Order.kind == "renewal").order_by(Order.id))]


def test_a_day_that_is_to_come_is_reached_in_the_sandbox_and_billed_once(puesto, engine):
    subscription = buy(engine)
    assert said(puesto("bill")) == "accounts billed: 0; subscriptions past due: 0"

    first, second = (said(puesto("bill", "--on", str(subscription.period_end))) for _ in range(2))

    assert first == "accounts billed: 1; subscriptions past due: 0"
    assert second == "accounts billed: 0; subscriptions past due: 0"
    assert renewed(engine) == ["completed"]
    engine.refresh_clock()
    assert engine.clock.now().date() == subscription.period_end


def test_what_falls_due_after_that_day_is_left_for_later(puesto, engine):
    subscription = buy(engine)
    engine.move_clock(datetime.combine(subscription.period_end + timedelta(days=100), time(12), UTC))

    said(puesto("bill", "--on", str(subscription.period_end)))

    assert renewed(engine) == ["completed"]
    assert engine.db.get(Subscription, subscription.id).period_start == subscription.period_end


def test_what_is_past_due_is_tried_again_only_if_that_is_asked_for(puesto, engine):
    subscription = buy(engine, "tok_ok_then_declined")
    due = str(subscription.period_end)

    answers = [said(puesto(*command)) for command in (("bill", "--on", due), ("bill",), ("bill", "--past-due"))]

    assert answers == [
        "accounts billed: 1; subscriptions past due: 1",
        "accounts billed: 0; subscriptions past due: 1",
        "accounts billed: 1; subscriptions past due: 1",
    ]
    assert renewed(engine) == ["failed", "failed"]


def test_what_could_not_be_paid_is_paid_by_the_next_run_after_a_method_is_stored(puesto, engine):
    subscription = buy(engine, save=False)
    said(puesto("bill", "--on", str(subscription.period_end)))
    saved = save_at_provider(engine, subscription.account, INTERNAL, "sandbox", "tok_ok")
    add_method(engine, subscription.account, INTERNAL, "sandbox", saved)

    assert said(puesto("bill")) == "accounts billed: 1; subscriptions past due: 0"

    assert renewed(engine) == ["completed"]


def test_in_live_mode_nothing_is_billed_ahead(puesto, engine):
    subscription = buy(engine)

    result = puesto("bill", "--on", str(subscription.period_end), PUESTO_MODE="live")

    assert (result.exit_code, result.stderr) == (2, f"puesto: {subscription.period_end} is still to come: nothing is billed ahead\n")
    assert renewed(engine) == []


def test_a_day_is_written_like_a_day(puesto):
    assert puesto("bill", "--on", "tomorrow").exit_code == 2


@pytest.mark.slow
@pytest.mark.only_on("sqlite", reason="the killed process would need the database's address; the crashes are tried on both in tests/core")
def test_runs_that_are_killed_leave_nothing_undone_and_nothing_twice(puesto, engine, tmp_path):
    """Each is killed as soon as it has paid something; what it was at is carried on by the work in the background."""
    bought = [buy(engine) for _ in range(6)]
    command = [*PUESTO, "bill", "--on", str(bought[0].period_end)]

    kills = 0
    while len(renewed(engine)) < len(bought):
        process = subprocess.Popen(command, cwd=tmp_path, env=environment({}), stdout=subprocess.DEVNULL)
        before = len(renewed(engine))
        while process.poll() is None and len(renewed(engine)) == before:
            pass
        kills += process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    engine.refresh_clock()
    engine.move_clock(engine.clock.now() + timedelta(minutes=5))
    run_round(engine)

    assert kills > 0
    assert renewed(engine) == ["completed"] * len(bought)
    lines = [line.subscription for line in engine.db.all(InvoiceLine.select()) if line.item == "renewal"]
    assert sorted(lines) == sorted(each.id for each in bought)
    payments = {payment.id for payment in engine.db.all(Payment.select())}
    charges = engine.providers["sandbox"].charges()
    assert len(charges) == 2 * len(bought)
    assert {charge.payment_id for charge in charges} == payments


def test_what_has_stayed_unpaid_ends_and_is_counted(puesto, engine):
    subscription = buy(engine, save=False)
    assert said(puesto("bill", "--on", str(subscription.period_end))) == "accounts billed: 1; subscriptions past due: 1"
    engine.refresh_clock()
    [row] = engine.db.all(PastDue.select())
    engine.db.update(row, ends_at=engine.clock.now())

    assert said(puesto("bill")) == "accounts billed: 0; subscriptions past due: 0; ended unpaid: 1"
    assert engine.db.get(Subscription, subscription.id).status == "cancelled"
