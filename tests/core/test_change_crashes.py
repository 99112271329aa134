"""Changes without a cart that die at every point, and changes that meet: charged once, carried out once, nothing half done."""

from collections import Counter
from contextlib import suppress
from functools import partial
from itertools import count

import pytest

from core.cancellations import cancel
from core.changes import Change, Means, order_change
from core.engine.idempotency import KeyedRequest
from core.errors import PuestoError
from core.invoices import Invoice, InvoiceLine
from core.orders import Order
from core.payments import Payment
from core.renewals import renew_due
from puesto.testing.shop import INTERNAL
from tests.core.racing import at_once
from tests.core.test_checkout_crashes import Fuse, PowerCut, Street

PLUGINS = ["sandbox", "gotoassist", "rescue", "vat", "vat_rates"]


def change(shop, subscription, key, **what):
    request = KeyedRequest(f"test change {subscription.id}", key, b"")
    return order_change(shop.engine, subscription.id, INTERNAL, Change(**what), Means(), quote=None, request=request).body


def dying_changes(street, *, token="tok_ok", statements=False, **what):
    """A change that dies at its first point, one at its second, ... and one that is not disturbed; each with an account of its own."""
    for at in count(1):
        account = street.shop.open_account()
        subscription = street.shop.buy("gotoassist-standard", seats=2, account=account, token=token, save=True)
        fuse = Fuse(street.shop, at, statements=statements)
        with suppress(PowerCut, PuestoError):
            change(street.shop, subscription, "first", **what)
        street.restart()
        yield subscription
        if not fuse.blown:
            assert at > 2
            return


def theirs(street, table, row):
    return street.shop.engine.db.all(table.select().where(table.account == row.account).order_by(table.id))


def orders(street, subscription):
    return [order for order in theirs(street, Order, subscription) if order.kind == "change"]


def check(street, subscription, seats):
    """Charged and carried out once, by whoever did it; nothing else has happened."""
    subscription = street.shop.refresh(subscription)
    completed = [order for order in orders(street, subscription) if order.status == "completed"]
    captured = [charge for charge in street.charges().values() if charge.status == "captured"]
    mine = {payment.id for payment in theirs(street, Payment, subscription)}
    assert (subscription.seats, subscription.changing, len(completed)) == (seats, None, 1 if seats != 2 else 0)
    assert sum(charge.amount.amount for charge in captured if charge.payment_id in mine) == sum(
        invoice.total for invoice in theirs(street, Invoice, subscription)
    )
    told = [event["type"] for event in street.shop.events() if event["account"] == subscription.account]
    assert told.count("subscription.changed") == len(completed)


@pytest.mark.parametrize("by", ["repetition", "recovery"])
def test_a_change_that_dies_is_carried_on(tmp_path, new_shop, by):
    street = Street(partial(new_shop, tmp_path, enabled=PLUGINS))

    for subscription in dying_changes(street, seats=3):
        if by == "recovery":
            street.recover()
        began = bool(orders(street, subscription))
        if by == "repetition" or not began:
            change(street.shop, subscription, "first", seats=3)

        check(street, subscription, seats=3)
        assert len(orders(street, subscription)) == 1


def test_one_whose_card_is_refused_changes_nothing_wherever_it_dies(tmp_path, new_shop):
    street = Street(partial(new_shop, tmp_path, enabled=PLUGINS))

    for subscription in dying_changes(street, token="tok_ok_then_declined", seats=3):
        street.recover()

        check(street, subscription, seats=2)
        assert {order.status for order in orders(street, subscription)} <= {"failed"}


@pytest.mark.slow
def test_between_two_statements_it_is_no_different(tmp_path, new_shop):
    street = Street(partial(new_shop, tmp_path, enabled=PLUGINS))

    for subscription in dying_changes(street, seats=3, statements=True):
        change(street.shop, subscription, "first", seats=3)

        check(street, subscription, seats=3)


# --- changes that meet


@pytest.fixture
def workers(open_shop):
    """Four processes of one shop, as far as the database can tell."""
    first = open_shop(enabled=PLUGINS)
    return [first, *(open_shop(enabled=PLUGINS, folder=first.folder) for _ in range(3))]


def books(shop):
    """What was taken, and what was invoiced."""
    taken = sum(charge.amount.amount for charge in shop.engine.providers["sandbox"].charges() if charge.status == "captured")
    return taken, sum(invoice.total for invoice in shop.engine.db.all(Invoice.select()))


def test_of_changes_at_once_each_is_charged_by_what_those_before_it_left(workers):
    shop = workers[0]
    subscription = shop.buy("rescue-standard", seats=2, token="tok_ok", save=True)

    answers = at_once(shop, [partial(change, each, subscription, str(seats), seats=seats) for seats, each in enumerate(workers, 3)])

    done = [answer for answer in answers if isinstance(answer, dict)]
    shown = shop.refresh(subscription)
    assert {order["status"] for order in done} == {"completed"}
    assert (shown.changing, shown.seats in {order["lines"][0]["seats"] for order in done}) == (None, True)
    taken, invoiced = books(shop)
    assert taken == invoiced
    # On the first day a change leaves one whole month of the seats that there are in the end.
    assert sum(line.net for line in shop.engine.db.all(InvoiceLine.select())) == shown.term_amount


def test_a_change_and_a_renewal_do_not_both_bill_the_new_period(workers):
    shop = workers[0]
    bought = [shop.buy("gotoassist-standard", account=shop.open_account(), token="tok_ok", save=True) for _ in range(4)]
    for worker in workers:
        worker.on("2026-04-01")

    at_once(shop, [lambda: renew_due(shop.engine), *(partial(change, workers[1], each, "key", seats=2) for each in bought)])
    renew_due(shop.engine)

    assert books(shop)[0] == books(shop)[1]
    lines = [line for line in shop.engine.db.all(InvoiceLine.select()) if line.kind == "charge" and str(line.period_start) == "2026-04-01"]
    renewed = Counter(line.subscription for line in lines if line.item == "renewal")
    assert renewed == {each.id: 1 for each in bought}
    assert not any(shop.refresh(each).changing for each in bought)


def test_a_change_and_a_cancellation_leave_one_or_the_other(workers):
    shop = workers[0]
    bought = [shop.buy("gotoassist-standard", account=shop.open_account(), token="tok_ok", save=True) for _ in range(4)]

    def give_up(subscription):
        return cancel(workers[1].engine, subscription.id, INTERNAL, at="now")

    at_once(shop, [*(partial(give_up, each) for each in bought), *(partial(change, workers[2], each, "key", seats=2) for each in bought)])

    assert not any(shop.refresh(each).changing for each in bought)
    assert shop.engine.db.count(Order.select().where(Order.status.in_(("pending", "processing")))) == 0
    for each in bought:
        changed = [order for order in shop.engine.db.all(Order.select().where(Order.account == each.account)) if order.kind == "change"]
        assert shop.refresh(each).seats == (2 if any(order.status == "completed" for order in changed) else 1)
