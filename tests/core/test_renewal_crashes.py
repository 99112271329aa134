"""Runs that die at every point, and many runs at once: each period is charged and invoiced once."""

from collections import Counter
from contextlib import suppress
from datetime import timedelta
from functools import partial
from itertools import count

import peewee
import pytest

from core.cancellations import cancel
from core.engine.rows import Row
from core.invoices import Invoice, InvoiceLine
from core.orders import Order
from core.payments import Payment
from core.renewals import due_accounts, renew, renew_due
from core.subscriptions import Subscription
from core.worker import run_round
from puesto.testing.shop import INTERNAL
from tests.core.racing import at_once
from tests.core.test_checkout_crashes import Fuse, PowerCut, Street

PLUGINS = ["sandbox", "gotoassist", "gotomeeting", "vat", "vat_rates"]


def theirs(street, table, account):
    return street.shop.engine.db.all(table.select().where(table.account == account.id).order_by(table.id))


def subscribe(shop):
    """An account with two subscriptions that fall due on one day, the second with fewer seats from then on."""
    account = shop.open_account()
    shop.buy("gotoassist-standard", seats=2, account=account, token="tok_ok", save=True)
    shop.change(shop.buy("gotomeeting-essentials", seats=2, account=account), seats=1)
    return account


def dying_runs(street, **options):
    """A run of renewals that dies at its first point, one at its second, ... and one that is not disturbed; each has its own account."""
    for at in count(1):
        account = subscribe(street.shop)
        street.shop.clock.move_to(street.shop.clock.now() + timedelta(days=31))
        fuse = Fuse(street.shop, at, **options)
        with suppress(PowerCut):
            renew(street.shop.engine, [account.id])
        street.restart()
        yield account
        if not fuse.blown:
            assert at > 4
            return


def check(street, account):
    """Charged and invoiced once, by whoever carried it on; nothing else has happened."""
    [order] = [order for order in theirs(street, Order, account) if order.kind == "renewal"]
    subscriptions = theirs(street, Subscription, account)
    assert (order.status, [each.status for each in subscriptions]) == ("completed", ["active", "active"])
    [payment] = [payment for payment in theirs(street, Payment, account) if payment.order == order.id]
    charge = street.charges()[payment.id]
    assert (charge.status, charge.amount.amount, charge.refunded.amount) == ("captured", order.due_now, 0)
    lines = [line for line in theirs(street, InvoiceLine, account) if line.item == "renewal"]
    assert Counter((line.subscription, line.period_start) for line in lines) == {(s.id, s.period_start): 1 for s in subscriptions}
    assert sum(line.net + line.tax for line in lines) == order.total == order.due_now
    assert [each.seats for each in subscriptions] == [2, 1]
    assert not any(each.changing for each in subscriptions)
    told = [event["type"] for event in street.shop.events() if event["account"] == account.id]
    assert told[-4:] == ["order.completed", "subscription.renewed", "subscription.renewed", "subscription.changed"]
    assert {"subscription.past_due", "payment.failed"}.isdisjoint(told)


def carry_on(street, account):
    """What the next worker does."""
    renew(street.shop.engine, [account.id])
    street.recover(rounds=(0, 1))


def test_a_run_that_dies_is_carried_on_by_the_next(tmp_path, new_shop):
    street = Street(partial(new_shop, tmp_path, enabled=PLUGINS))

    for account in dying_runs(street):
        carry_on(street, account)

        check(street, account)


@pytest.mark.slow
def test_recovery_that_dies_too_is_carried_on(tmp_path, new_shop):
    street = Street(partial(new_shop, tmp_path, enabled=PLUGINS))

    for account in dying_runs(street):
        for at in count(1):
            fuse = Fuse(street.shop, at)
            with suppress(PowerCut):
                carry_on(street, account)
            street.restart()
            if not fuse.blown:
                break

        street.recover(rounds=(24 * 60,))
        check(street, account)


@pytest.mark.slow
def test_between_two_statements_it_is_no_different(tmp_path, new_shop):
    street = Street(partial(new_shop, tmp_path, enabled=PLUGINS))

    for account in dying_runs(street, statements=True):
        carry_on(street, account)

        check(street, account)


# --- many at once


@pytest.fixture
def workers(open_shop):
    """Four processes of one shop, as far as the database can tell."""
    first = open_shop(disabled=["email"])
    return [first, *(open_shop(disabled=["email"], folder=first.folder) for _ in range(3))]


def together(workers, work, day):
    for worker in workers:
        worker.on(day)
    return at_once(workers[0], [lambda worker=worker: work(worker.engine) for worker in workers * 2])


@pytest.mark.parametrize("work", [renew_due, pytest.param(run_round, marks=pytest.mark.slow)])
def test_runs_at_once_bill_each_period_once(workers, work):
    shop = workers[0]
    for _ in range(4):
        subscribe(shop)

    together(workers, work, "2026-05-01")
    together(workers, work, "2026-05-01")

    lines = [line for line in shop.engine.db.all(InvoiceLine.select()) if line.item == "renewal"]
    periods = Counter((line.subscription, str(line.period_start)) for line in lines)
    everything = shop.engine.db.all(Subscription.select())
    assert periods == {(each.id, day): 1 for each in everything for day in ("2026-04-01", "2026-05-01")}
    captured = [charge for charge in shop.engine.providers["sandbox"].charges() if charge.status == "captured"]
    assert sum(charge.amount.amount for charge in captured) == sum(invoice.total for invoice in shop.engine.db.all(Invoice.select()))
    assert len(shop.events("subscription.renewed")) == 16
    assert {order.status for order in shop.engine.db.all(Order.select())} == {"completed"}


def test_what_is_cancelled_at_the_same_moment_is_either_charged_or_ended(workers):
    shop = workers[0]
    bought = [shop.buy("gotoassist-standard", account=shop.open_account(), token="tok_ok", save=True) for _ in range(6)]
    for worker in workers:
        worker.on("2026-04-01")

    def give_up(subscription):
        with suppress(Exception):
            cancel(workers[1].engine, subscription.id, INTERNAL, at="now")

    at_once(shop, [lambda: renew_due(shop.engine), *(lambda each=each: give_up(each) for each in bought)])

    ended = {each.id for each in bought if shop.show(each)["status"] == "cancelled"}
    renewed = {event["subject"] for event in shop.events("subscription.renewed")}
    assert ended | renewed == {each.id for each in bought}
    assert not any(shop.refresh(each).changing for each in bought)


def test_the_database_refuses_a_second_line_for_the_same_period(workers):
    shop = workers[0]
    shop.buy("gotoassist-standard", token="tok_ok", save=True)
    shop.on("2026-04-01")
    renew(shop.engine, due_accounts(shop.engine))
    [line] = [line for line in shop.engine.db.all(InvoiceLine.select()) if line.item == "renewal"]
    again: Row = InvoiceLine(**{**line.__data__, "id": "inl_again"})

    with pytest.raises(peewee.IntegrityError):
        shop.engine.db.insert(again)
