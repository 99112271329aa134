"""What is past due: how a subscription gets there, when it is tried again, and how that ends.

One way in, whoever learns that a period can't be paid: the answer of the provider, its webhook, recovery, or a renewal that finds no
method. Plugins say what follows (`retry_schedule`); without one it waits for another method, or for staff. The way out is a renewal
that is paid, like any other, or the end that the schedule names.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

from core.accounts import Account, lock_account
from core.engine.clock import FIRST_ZONE, day_in
from core.engine.engine import Engine
from core.engine.setbacks import attempt, resting
from core.engine.values import new_id, to_json
from core.hooks.subscriptions import FailedAttempt, PastDueView, RetrySchedule
from core.pauses import begin_pause
from core.subscriptions import RUNS, PastDue, Subscription, account_of, announce, end

log = logging.getLogger("puesto.renewals")
ENDING = "end_past_due"
PAST_DUE = (Subscription.status == "past_due") & RUNS
# Whatever a schedule says: a card is not tried twice within the hour.
SHORTEST_PAUSE = timedelta(hours=1)


def fall_past_due(
    engine: Engine, subscription_id: str, failed: FailedAttempt, order: dict[str, Any] | None = None, *, at_once: bool = False
) -> None:
    """What follows the running period could not be paid; the subscription goes on, past due. Inside a transaction that has locked its
    account.

    order:   the document of the order that failed; None: there was nothing to charge it to. One that was cancelled meanwhile ends instead,
             in the next round.
    at_once: try again now: another method has been stored meanwhile.
    """
    subscription = engine.db.lock(Subscription, subscription_id)
    assert subscription is not None
    if subscription.cancel_at is not None:
        engine.db.update(subscription, changing=None)
        return
    fell = subscription.status != "past_due"
    row = engine.db.first(PastDue.select().where(PastDue.subscription == subscription.id)) or _first(engine, subscription, failed)
    if failed.code is not None or not row.attempts or row.attempts[-1]["code"] is not None:
        row.attempts = [*row.attempts, to_json(failed)]
    schedule = _schedule(engine, subscription, row)
    engine.db.update(
        row,
        attempts=row.attempts,
        ends_at=schedule.ends_at,
        then=schedule.then if schedule.ends_at else None,
        warn_at=None if row.warned else schedule.warn_at,
        access_until=schedule.access_until,
    )
    retry_at = engine.clock.now() if at_once else schedule.next_try
    engine.db.update(subscription, status="past_due", changing=None, retry_at=retry_at, version=subscription.version + 1)
    if fell:
        announce(engine, "subscription.past_due", subscription, {"order": order})


def _first(engine: Engine, subscription: Subscription, failed: FailedAttempt) -> PastDue:
    row = PastDue(
        id=new_id("pdu"),
        account=subscription.account,
        subscription=subscription.id,
        since=failed.at,
        attempts=[],
        ends_at=None,
        then=None,
        warn_at=None,
        warned=False,
        access_until=None,
    )
    engine.db.insert(row)
    return row


def _schedule(engine: Engine, subscription: Subscription, row: PastDue) -> RetrySchedule:
    """What plugins answer; a plugin that fails says nothing. No try comes sooner than an hour from now."""
    account = engine.db.get(Account, subscription.account)
    assert account is not None
    view = PastDueView(
        subscription.id,
        subscription.product,
        subscription.plan,
        subscription.interval,
        account.id,
        account.kind,
        account.time_zone,
        row.since,
        tuple(FailedAttempt(datetime.fromisoformat(each["at"]), each["code"], each["retryable"]) for each in row.attempts),
    )
    answer: RetrySchedule = engine.plugins.first("retry_schedule", past_due=view) or RetrySchedule()
    if answer.next_try is None:
        return answer
    return replace(answer, next_try=max(answer.next_try, engine.clock.now() + SHORTEST_PAUSE))


def retry_past_due(engine: Engine, account: str | None = None) -> None:
    """Have what is past due tried again now: of one account, or of all."""
    theirs = _all(engine) if account is None else PAST_DUE & (Subscription.account == account)
    engine.db.execute(Subscription.update(retry_at=engine.clock.now()).where(theirs))


def count_past_due(engine: Engine) -> int:
    return engine.db.count(Subscription.select().where(_all(engine)))


def _all(engine: Engine) -> Any:
    """All that are past due, found by the days on which they fell due."""
    return PAST_DUE & (Subscription.period_end <= day_in(engine.clock.now(), FIRST_ZONE))


# --- warned of, and ended


def warn_past_due(engine: Engine, limit: int = 500) -> None:
    """Tell the accounts of what is about to end unpaid, once. Any number of workers may do it at once."""
    rows = PastDue.select(PastDue.subscription, PastDue.account).where(PastDue.warn_at <= engine.clock.now())
    for row in engine.db.all(rows.order_by(PastDue.warn_at).limit(limit)):
        _warn(engine, row.account, row.subscription)


def _warn(engine: Engine, account: str, subscription_id: str) -> None:
    """In one transaction with the event, so that it is told once."""
    now = engine.clock.now()
    with engine.db.transaction():
        subscription, row = _locked(engine, account, subscription_id)
        if row is None or row.warn_at is None or row.warn_at > now:
            return
        engine.db.update(row, warn_at=None, warned=True)
        if row.ends_at is not None and row.ends_at > now and subscription.cancel_at is None:
            announce(engine, "past_due.ending", subscription, {})


def end_past_due(engine: Engine, limit: int = 500) -> int:
    """End what has stayed unpaid for as long as its schedule says; how many. A try that is due, or under way, comes first."""
    now, later = engine.clock.now(), resting(engine, ENDING)
    query = PastDue.select(PastDue.subscription, PastDue.account).where(PastDue.ends_at <= now)
    due = [row for row in engine.db.all(query.order_by(PastDue.ends_at).limit(limit)) if row.subscription not in later]
    return sum(attempt(engine, ENDING, row.subscription, row.account, partial(_end, engine, row.account, row.subscription)) for row in due)


def _end(engine: Engine, account: str, subscription_id: str) -> bool:
    now = engine.clock.now()
    with engine.db.transaction():
        subscription, row = _locked(engine, account, subscription_id)
        if row is None or row.ends_at is None or row.ends_at > now or subscription.changing is not None:
            return False
        if subscription.retry_at is not None and subscription.retry_at <= now:
            return False
        log.info("subscription %s has been past due since %s: %s", subscription.id, row.since, row.then)
        if row.then == "pause":
            begin_pause(engine, subscription, _unused_since(engine, subscription, row), "unpaid")
        else:
            end(engine, subscription, cause="unpaid")
        return True


def _unused_since(engine: Engine, subscription: Subscription, row: PastDue) -> date:
    """The first day on which it could not be used: those before are billed once it is resumed."""
    account = account_of(engine, subscription)
    shut = day_in(row.access_until, account.time_zone) if row.access_until else None
    return account.today(engine) if shut is None else min(account.today(engine), max(shut, subscription.period_end))


def _locked(engine: Engine, account: str, subscription_id: str) -> tuple[Subscription, PastDue | None]:
    lock_account(engine, account)
    subscription = engine.db.lock(Subscription, subscription_id)
    assert subscription is not None
    return subscription, engine.db.first(PastDue.select().where(PastDue.subscription == subscription_id))
