"""Renewals: what falls due is ordered, paid with nobody there, and invoiced; day by day.

A renewal is an order like any other, so that payments, refunds, webhooks and documents are the same. Its three steps are those of
checkout, each done for hundreds of accounts together. What is due is found in tables: a run that dies leaves orders, which recovery
carries on, and what it had not come to.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import partial
from typing import Any

from core.access import INTERNAL
from core.accounts import Account
from core.checkout import settle_together
from core.engine.clock import FIRST_ZONE, day_in
from core.engine.engine import Engine
from core.engine.gathering import in_parts
from core.engine.jobs import overlapped
from core.engine.setbacks import attempt_together, resting
from core.engine.values import new_id
from core.hooks.payments import PaymentResult, ProviderTimeout, ProviderUnavailable
from core.hooks.subscriptions import FailedAttempt
from core.orders import Order, payment_lines, payment_of, write_order
from core.past_due import fall_past_due
from core.payment_methods import PaymentMethod, default_method
from core.payments import SUCCEEDED, Payment, PaymentChoice, prepare_at_provider
from core.quotes import Quote, quote_renewal
from core.subscriptions import RUNS, Subscription, SubscriptionChange, end

log = logging.getLogger("puesto.renewals")
RENEWING = "renew_subscriptions"
MOST_ROWS = 5_000  # subscriptions that are looked at in one go
TOGETHER = 200  # accounts that are renewed in one go
AT_ONCE = 8  # calls of providers that are under way together, for those that are renewed in one go
Begin = Callable[[], Callable[[], PaymentResult]]
ToPay = tuple[Payment, Begin]


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
    goes_on &= Subscription.pause_at.is_null()
    rows: list[Any] = engine.db.all(query.where(running & goes_on & fallen).order_by(Subscription.period_end).limit(MOST_ROWS).objects())
    later = resting(engine, RENEWING)
    due = [row.account for row in rows if row.period_end <= _last_day(day_in(now, row.time_zone), until) and row.account not in later]
    return list(dict.fromkeys(due))


def renew(engine: Engine, accounts: Sequence[str], until: date | None = None, tell: Callable[[], object] = lambda: None) -> set[str]:
    """Renew what is due of these accounts; those of which something was. `tell` hears of each. Any number of processes may do it at once.

    Whatever goes wrong with one is kept, and holds up no other. A provider that gives no answer is left alone for the rest of the run.
    """
    renewed, silent, lanes = set[str](), set[str](), engine.db.writers
    with ThreadPoolExecutor(lanes, thread_name_prefix="puesto-renewals") as pool:

        def begin(some: Sequence[str]) -> Callable[[], set[str]]:
            work = partial(_renew_all, engine, until, silent, some)
            return pool.submit(work).result if lanes > 1 and len(accounts) > TOGETHER else work

        for some, wait in overlapped(((some, begin(some)) for some in in_parts(accounts, TOGETHER)), lanes):
            renewed |= wait()
            for _ in some:
                tell()
    return renewed


def _renew_all(engine: Engine, until: date | None, silent: set[str], accounts: Sequence[str]) -> set[str]:
    """Day by day, until nothing more is due of any."""
    renewed, going = set[str](), list(accounts)
    while going:
        going = _renew_next(engine, going, until, silent)
        renewed.update(going)
    return renewed


def _renew_next(engine: Engine, accounts: Sequence[str], until: date | None, silent: set[str]) -> list[str]:
    """Order and pay what fell due on the earliest day of each account; those of which something did. With the others nothing is left to
    do, or somebody else is doing it."""
    placed = attempt_together(engine, RENEWING, accounts, partial(_place_due, engine, until, silent))
    outcomes = _charge(placed, silent)

    def settle_theirs(some: Sequence[str]) -> dict[str, bool]:
        settle_together(engine, [outcomes[account] for account in some])
        return dict.fromkeys(some, True)

    attempt_together(engine, RENEWING, list(outcomes), settle_theirs)
    return list(placed)


def _place_due(engine: Engine, until: date | None, silent: set[str], accounts: Sequence[str]) -> dict[str, ToPay | None]:
    """First step, for many accounts in one transaction: by account, the payment of what was ordered, and what begins it."""
    placed: dict[str, ToPay | None] = {}
    with engine.db.gathered():
        held = engine.db.claim(Account.select().where(engine.db.among(Account.id, accounts)).order_by(Account.id))
        due = _due(engine, held, until)
        engine.db.foresee(SubscriptionChange.subscription, [each.id for theirs in due.values() for each in theirs])
        engine.db.foresee(PaymentMethod.account, due)
        last = last_payments(engine, list(due))
        for account in held:
            if account.id not in due:
                continue
            quote = quote_renewal(engine, account, due[account.id], due[account.id][0].period_end)
            choice = choose_payment(engine, account, quote, last.get(account.id))
            if choice is not None and choice.provider in silent:
                continue
            order = _place(engine, account, due[account.id], quote, choice, last.get(account.id))
            payment = payment_of(engine, order) if order else None
            placed[account.id] = (payment, _beginning(engine, payment)) if payment else None
    return placed


def _due(engine: Engine, accounts: Sequence[Account], until: date | None) -> dict[str, list[Subscription]]:
    """What fell due on the earliest day of which something is left, locked, by account."""
    last_days = {account.id: _last_day(account.today(engine), until) for account in accounts}
    if not last_days:
        return {}
    over = RUNS & (Subscription.period_end <= max(last_days.values())) & engine.db.among(Subscription.account, list(last_days))
    due: dict[str, list[Subscription]] = {}
    for row in engine.db.claim(Subscription.select().where(over).order_by(Subscription.period_end, Subscription.id)):
        theirs = due.setdefault(row.account, [])
        if row.period_end <= last_days[row.account] and _is_due(engine, row) and row.period_end == (theirs or [row])[0].period_end:
            theirs.append(row)
    return {account: theirs for account, theirs in due.items() if theirs}


def _is_due(engine: Engine, subscription: Subscription) -> bool:
    again = subscription.retry_at is not None and subscription.retry_at <= engine.clock.now()
    waits = (subscription.cancel_at, subscription.pause_at, subscription.changing)
    goes_on = subscription.next_charge is not None and waits == (None, None, None)
    return goes_on and (subscription.status in ("active", "trialing") or again)


def _last_day(today: date, until: date | None) -> date:
    return today if until is None else min(today, until)


def choose_payment(engine: Engine, account: Account, quote: Quote, last: Payment | None) -> PaymentChoice | None:
    """On terms again where that was granted the last time; else the default method, at its own provider, whichever takes new ones.

    None: nobody can be charged.
    """
    provider = engine.providers.get(last.provider) if last else None
    if provider is not None and provider.capabilities.on_terms and provider.name in quote.payment_providers:
        return PaymentChoice(provider.name)
    method = default_method(engine, account.id)
    if method is None or method.provider not in engine.providers or not engine.providers[method.provider].capabilities.off_session:
        return None
    return PaymentChoice(method.provider, payment_method=method.id)


def last_payments(engine: Engine, accounts: Sequence[str]) -> dict[str, Payment]:
    """The latest payment of each account that has made one."""
    paid: Any = Payment.alias()
    theirs = (paid.account == Account.id) & paid.status.in_(SUCCEEDED) & (paid.amount > 0)
    newest = paid.select(paid.id).where(theirs).order_by(paid.id.desc()).limit(1)
    latest = Account.select(newest).where(engine.db.among(Account.id, accounts))
    return {payment.account: payment for payment in engine.db.all(Payment.select().where(Payment.id.in_(latest)))}


def granted_under(engine: Engine, last: Payment | None) -> str | None:
    """The buyer's purchase order under which they paid last."""
    order = engine.db.get(Order, last.order) if last else None
    return order.purchase_order if order else None


def _place(
    engine: Engine, account: Account, due: Sequence[Subscription], quote: Quote, choice: PaymentChoice | None, last: Payment | None
) -> Order | None:
    """The order, with an intent to pay where something is due. None where nobody can be charged."""
    if choice is None and quote.due_now:
        for subscription in due:
            _go_unpaid(engine, subscription)
        return None
    return write_renewal(engine, account, quote, choice, last)


def write_renewal(engine: Engine, account: Account, quote: Quote, choice: PaymentChoice | None, last: Payment | None) -> Order:
    """The order of what falls due, completed where nothing has to be paid; inside a transaction."""
    purchase_order = granted_under(engine, last) if choice is not None and choice.payment_method is None else None
    order_id, by = new_id("ord"), INTERNAL.id
    payment = choice if quote.due_now else None
    return write_order(engine, order_id, None, account, quote, payment, kind="renewal", purchase_order=purchase_order, placed_by=by)


def _go_unpaid(engine: Engine, subscription: Subscription) -> None:
    """A trial without a method ends with its days; what was paid for until now is past due."""
    if subscription.status == "trialing":
        end(engine, subscription)
    else:
        fall_past_due(engine, subscription.id, FailedAttempt(engine.clock.now(), None))


def _charge(placed: Mapping[str, ToPay | None], silent: set[str]) -> dict[str, tuple[Payment, PaymentResult]]:
    """Second step: by account, what became of its payment, several of which are under way at a time. Left out is what its provider was
    not reached for: recovery begins it again, with the same key."""
    outcomes: dict[str, tuple[Payment, PaymentResult]] = {}
    begun = ((payment, begin()) for payment, begin in filter(None, placed.values()) if payment.provider not in silent)
    for payment, wait in overlapped(begun, AT_ONCE):
        try:
            outcomes[payment.account] = payment, wait()
        except (ProviderTimeout, ProviderUnavailable) as error:
            log.warning("the rest of this run leaves %s alone: %s", payment.provider, error)
            silent.add(payment.provider)
    return outcomes


def begin_payment(engine: Engine, payment: Payment) -> PaymentResult | None:
    """Have a payment begun that needs no token, of a renewal or a change; how often it is called makes no difference. None: it is none,
    or its end is known.

    Raises ProviderTimeout where the provider gives no answer.
    """
    order = engine.db.get(Order, payment.order)
    assert order is not None
    with_token = order.kind == "purchase" or (payment.method is None and order.placed_by != INTERNAL.id)
    if with_token or payment.status not in ("created", "processing"):
        return None
    try:
        return _beginning(engine, payment)()()
    except ProviderUnavailable as error:
        raise ProviderTimeout(str(error)) from error


def _beginning(engine: Engine, payment: Payment) -> Begin:
    """What asks the provider, to be called outside any transaction."""
    order, account = engine.db.get(Order, payment.order), engine.db.get(Account, payment.account)
    assert order is not None and account is not None
    buyer_is_there = order.kind == "change" or order.placed_by != INTERNAL.id
    words: dict[str, Any] = {"locale": order.locale, "purchase_order": order.purchase_order, "lines": payment_lines(engine, order)}
    return prepare_at_provider(engine, payment, account, token=None, on_session=buyer_is_there, **words)
