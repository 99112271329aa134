"""What was put off until the next invoice, and for which none will come: it is collected as its subscription ends.

Everything else that was put off goes on the invoice of the next renewal, or of the next change that is collected at once.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from core.accounts import Account, lock_account
from core.checkout import settle
from core.engine.clock import FIRST_ZONE, day_in
from core.engine.engine import Engine
from core.engine.setbacks import attempt, resting
from core.orders import Order, payment_of
from core.quotes import quote_final
from core.renewals import begin_payment, choose_payment, last_payments, write_renewal
from core.subscriptions import COLLECTING, PUT_OFF, Subscription


class NotCollected(RuntimeError):
    """Why something is still owed. It is kept as a setback, and tried again ever more rarely; the subscription ends all the same."""


def collect_put_off(engine: Engine) -> int:
    """Order and pay what was put off of subscriptions that have ended, or are to end by now, 500 at a time; how many. More given back
    than charged goes to the account's balance."""
    latest = day_in(engine.clock.now(), FIRST_ZONE)
    ending = Subscription.cancelled_at.is_null(False) | (Subscription.cancel_at <= latest)
    query = Subscription.select(Subscription.id, Subscription.account).where(PUT_OFF & Subscription.changing.is_null() & ending)
    later = resting(engine, COLLECTING)
    due: list[Any] = [row for row in engine.db.all(query.order_by(Subscription.id)) if row.id not in later]
    return sum(attempt(engine, COLLECTING, row.id, row.account, partial(_collect, engine, row.id, row.account)) for row in due[:500])


def _collect(engine: Engine, subscription_id: str, account_id: str) -> bool:
    """The three steps of checkout. Raises NotCollected where that is not the end of it, ProviderTimeout where recovery carries it on."""
    with engine.db.transaction():
        account = lock_account(engine, account_id)
        subscription = engine.db.lock(Subscription, subscription_id)
        if subscription is None or not _is_due(engine, subscription, account):
            return False
        quote = quote_final(engine, account, subscription)
        last = last_payments(engine, [account.id]).get(account.id)
        choice = choose_payment(engine, account, quote, last) if quote.due_now else None
        if choice is None and quote.due_now:
            raise NotCollected(f"{quote.due_now} is owed, and no payment method is stored")
        order = write_renewal(engine, account, quote, choice, last)
    payment = payment_of(engine, order)
    result = begin_payment(engine, payment) if payment is not None else None
    if payment is not None and result is not None:
        settle(engine, payment, result)
    now = engine.db.get(Order, order.id)
    if now is None or now.status != "completed":
        raise NotCollected(f"{quote.due_now} is owed: order {order.id} is {now.status if now else 'gone'}")
    return True


def _is_due(engine: Engine, subscription: Subscription, account: Account) -> bool:
    ended = subscription.cancelled_at is not None
    ends_today = subscription.cancel_at is not None and subscription.cancel_at <= account.today(engine)
    return bool(subscription.put_off) and subscription.changing is None and (ended or ends_today)
