"""Renewals: what falls due is ordered, paid with nobody there, and invoiced; account by account, and day by day.

A renewal is an order like any other, so that payments, refunds, webhooks and documents are the same. Its three steps are those of
checkout. What is due is found in tables: a run that dies leaves orders, which recovery carries on, and what it had not come to.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from typing import Any

from core.access import INTERNAL
from core.accounts import Account
from core.checkout import settle
from core.engine.clock import FIRST_ZONE, day_in
from core.engine.engine import Engine
from core.engine.setbacks import attempt, resting
from core.engine.values import new_id
from core.hooks.payments import PaymentResult, ProviderTimeout, ProviderUnavailable
from core.hooks.subscriptions import FailedAttempt
from core.orders import Order, complete_order, payment_lines, payment_of, write_order
from core.past_due import fall_past_due
from core.payment_methods import default_method
from core.payments import SUCCEEDED, Payment, PaymentChoice, begin_at_provider, new_payment
from core.quotes import Quote, quote_renewal
from core.subscriptions import Subscription, end

log = logging.getLogger("puesto.renewals")
RENEWING = "renew_subscriptions"
MOST_ROWS = 5_000  # subscriptions that are looked at in one go


def renew_due(engine: Engine) -> None:
    """Renew what is due by now, of a hundred accounts at most."""
    renew(engine, due_accounts(engine)[:100])


def due_accounts(engine: Engine, until: date | None = None) -> list[str]:
    """Accounts with something to renew, those that have waited longest first. Days are those of each account's zone.

    until: what falls due later than that day is left alone.
    """
    now = engine.clock.now()
    latest = day_in(now, FIRST_ZONE)
    query = Subscription.select(Subscription.account, Subscription.period_end, Account.time_zone).join(Account)
    fallen = Subscription.status.in_(("active", "trialing")) | (Subscription.retry_at <= now)
    running = Subscription.cancelled_at.is_null() & (Subscription.period_end <= latest)
    goes_on = Subscription.changing.is_null() & Subscription.cancel_at.is_null() & Subscription.next_charge.is_null(False)
    rows: list[Any] = engine.db.all(query.where(running & goes_on & fallen).order_by(Subscription.period_end).limit(MOST_ROWS).objects())
    later = resting(engine, RENEWING)
    due = [row.account for row in rows if row.period_end <= _last_day(day_in(now, row.time_zone), until) and row.account not in later]
    return list(dict.fromkeys(due))


def renew(engine: Engine, accounts: Sequence[str], until: date | None = None, tell: Callable[[], object] = lambda: None) -> int:
    """Renew what is due of these accounts; of how many something was. `tell` hears of each. Any number of processes may do it at once.

    Whatever goes wrong with one is kept, and holds up no other. A provider that gives no answer is left alone for the rest of the run.
    """
    renewed, silent = 0, set[str]()
    for account in accounts:
        renewed += attempt(engine, RENEWING, account, account, partial(_renew_account, engine, account, until, silent))
        tell()
    return renewed


def _renew_account(engine: Engine, account_id: str, until: date | None, silent: set[str]) -> bool:
    renewed = False
    while _renew_next(engine, account_id, until, silent):
        renewed = True
    return renewed


def _renew_next(engine: Engine, account_id: str, until: date | None, silent: set[str]) -> bool:
    """Order and pay what fell due on the earliest day; False where nothing is left to do, or somebody else is doing it."""
    with engine.db.transaction():
        held = engine.db.claim(Account.select().where(Account.id == account_id))
        due = _due(engine, held[0], until) if held else []
        if not due:
            return False
        quote = quote_renewal(engine, held[0], due, due[0].period_end)
        choice = choose_payment(engine, held[0], quote)
        if choice is not None and choice.provider in silent:
            return False
        order = _place(engine, held[0], due, quote, choice)
    payment = payment_of(engine, order) if order else None
    if payment is not None:
        _pay(engine, payment, silent)
    return True


def _due(engine: Engine, account: Account, until: date | None) -> list[Subscription]:
    """What fell due on the earliest day of which something is left, locked."""
    over = (Subscription.period_end <= _last_day(account.today(engine), until)) & Subscription.cancelled_at.is_null()
    found = engine.db.claim(Subscription.select().where((Subscription.account == account.id) & over).order_by(Subscription.id))
    rows = [row for row in found if _is_due(engine, row)]
    first = min((row.period_end for row in rows), default=None)
    return [row for row in rows if row.period_end == first]


def _is_due(engine: Engine, subscription: Subscription) -> bool:
    again = subscription.retry_at is not None and subscription.retry_at <= engine.clock.now()
    goes_on = subscription.next_charge is not None and subscription.cancel_at is None and subscription.changing is None
    return goes_on and (subscription.status in ("active", "trialing") or again)


def _last_day(today: date, until: date | None) -> date:
    return today if until is None else min(today, until)


def choose_payment(engine: Engine, account: Account, quote: Quote) -> PaymentChoice | None:
    """On terms again where that was granted the last time; else the default method, at its own provider, whichever takes new ones.

    None: nobody can be charged.
    """
    last = _last_payment(engine, account)
    provider = engine.providers.get(last.provider) if last else None
    if provider is not None and provider.capabilities.on_terms and provider.name in quote.payment_providers:
        return PaymentChoice(provider.name)
    method = default_method(engine, account.id)
    if method is None or method.provider not in engine.providers or not engine.providers[method.provider].capabilities.off_session:
        return None
    return PaymentChoice(method.provider, payment_method=method.id)


def _last_payment(engine: Engine, account: Account) -> Payment | None:
    paid = (Payment.account == account.id) & Payment.status.in_(SUCCEEDED) & (Payment.amount > 0)
    last: Payment | None = engine.db.first(Payment.select().where(paid).order_by(Payment.id.desc()))
    return last


def granted_under(engine: Engine, account: Account) -> str | None:
    """The buyer's purchase order under which they paid last."""
    last = _last_payment(engine, account)
    order = engine.db.get(Order, last.order) if last else None
    return order.purchase_order if order else None


def _place(engine: Engine, account: Account, due: Sequence[Subscription], quote: Quote, choice: PaymentChoice | None) -> Order | None:
    """First step: the order, with an intent to pay where something is due. None where nobody can be charged."""
    if choice is None and quote.due_now:
        for subscription in due:
            _go_unpaid(engine, subscription)
        return None
    purchase_order = granted_under(engine, account) if choice is not None and choice.payment_method is None else None
    order_id, by = new_id("ord"), INTERNAL.id
    order = write_order(engine, order_id, None, account, quote, kind="renewal", purchase_order=purchase_order, placed_by=by)
    if choice is None or not quote.due_now:
        complete_order(engine, order, None)
    else:
        new_payment(engine, account, order.id, choice, quote.due_now, needs_method=False)
    return order


def _go_unpaid(engine: Engine, subscription: Subscription) -> None:
    """A trial without a method ends with its days; what was paid for until now is past due."""
    if subscription.status == "trialing":
        end(engine, subscription)
    else:
        fall_past_due(engine, subscription.id, FailedAttempt(engine.clock.now(), None))


def _pay(engine: Engine, payment: Payment, silent: set[str]) -> None:
    """Second and third step. Where the provider was not reached, recovery begins the payment again, with the same key."""
    try:
        result = begin_payment(engine, payment)
    except ProviderTimeout as error:
        log.warning("the rest of this run leaves %s alone: %s", payment.provider, error)
        silent.add(payment.provider)
        return
    if result is not None:
        settle(engine, payment, result)


def begin_payment(engine: Engine, payment: Payment) -> PaymentResult | None:
    """Have a payment begun that needs no token, of a renewal or a change; how often it is called makes no difference. None: it is none,
    or its end is known.

    Raises ProviderTimeout where the provider gives no answer.
    """
    order, account = engine.db.get(Order, payment.order), engine.db.get(Account, payment.account)
    assert order is not None and account is not None
    if order.kind == "purchase" or payment.status not in ("created", "processing"):
        return None
    words: dict[str, Any] = {"locale": order.locale, "purchase_order": order.purchase_order, "lines": payment_lines(engine, order)}
    try:
        return begin_at_provider(engine, payment, account, token=None, on_session=order.kind == "change", **words)
    except ProviderUnavailable as error:
        raise ProviderTimeout(str(error)) from error
