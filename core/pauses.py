"""Pauses: access and billing stop for a while, and the term is kept. Its days that were paid for and not used come after the pause.

The day on which a pause begins is the first that is kept, the day on which it ends the first that is used again. So a term of 31 days
that is paused on its 11th day has 21 days left whenever it goes on; it ends so much later as the pause has days, and what is billed
then is anchored on its new end. A pause that ends on the day on which it began changes nothing.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import partial
from typing import Any

from core.access import Caller, find
from core.accounts import Account
from core.engine.clock import FIRST_ZONE, day_in
from core.engine.engine import Engine
from core.engine.setbacks import attempt, resting
from core.engine.values import to_json
from core.errors import TransitionInvalid
from core.rules.planner import postpone
from core.subscriptions import RUNNING, RUNS, Subscription, SubscriptionChange, account_of, announce, check_changeable, forget_past_due

PAUSING = "pause_subscription"


def pause(
    engine: Engine, subscription_id: str, caller: Caller, version: int | None = None, *, at: str, reason: str | None = None
) -> Subscription:
    """Pause a subscription `now`, or at the `period_end`, in place of what would be billed then. Seats stay assigned.

    Raises Missing, PreconditionFailed, and TransitionInvalid for one that does not run, is being changed or, at the period's end, has
    nothing that follows it.
    """
    with engine.db.transaction():
        subscription = find(engine, Subscription, subscription_id, caller, lock=True, version=version)
        check_changeable(subscription)
        today = account_of(engine, subscription).today(engine)
        engine.db.update(subscription, pause_reason=reason)
        if at == "now":
            begin_pause(engine, subscription, today)
        else:
            _check_follows(subscription, today)
            engine.db.update(subscription, pause_at=subscription.period_end, version=subscription.version + 1)
    return subscription


def _check_follows(subscription: Subscription, today: date) -> None:
    if subscription.period_end <= today:
        raise TransitionInvalid("The period ended on {day}. Pause it now instead.", pointer="/at", day=subscription.period_end)
    if subscription.next_charge is None or subscription.cancel_at is not None:
        raise TransitionInvalid("Nothing follows on {day}: there is nothing to pause.", pointer="/at", day=subscription.period_end)


def begin_pause(engine: Engine, subscription: Subscription, on: date, cause: str | None = None) -> None:
    """Pause it from that day on, inside a transaction that has locked it. cause: `unpaid`; None: it was to be paused."""
    forget_past_due(engine, subscription)
    engine.db.update(subscription, status="paused", paused_on=on, pause_at=None, retry_at=None, version=subscription.version + 1)
    announce(engine, "subscription.paused", subscription, {"pause": _document(subscription, None), "cause": cause})


def _document(subscription: Subscription, ended_on: date | None) -> dict[str, Any]:
    """days_left: of the term, when it goes on; None as `ended_on`: it has not ended."""
    kept = max((subscription.period_end - subscription.paused_on).days, 0)
    shown = {"paused_on": subscription.paused_on, "ended_on": ended_on, "days_left": kept, "reason": subscription.pause_reason}
    return dict(to_json(shown))


def resume(engine: Engine, subscription_id: str, caller: Caller, version: int | None = None) -> Subscription:
    """Go on with a paused subscription: what was left of its term begins today. One whose pause waits goes on as if nothing had been.

    Raises Missing, PreconditionFailed, and TransitionInvalid for one that is not paused and is not going to be.
    """
    with engine.db.transaction():
        subscription = find(engine, Subscription, subscription_id, caller, lock=True, version=version)
        if subscription.status == "paused":
            _go_on(engine, subscription, account_of(engine, subscription).today(engine))
        elif subscription.status in RUNNING and subscription.pause_at is not None:
            engine.db.update(subscription, pause_at=None, pause_reason=None, version=subscription.version + 1)
        else:
            raise TransitionInvalid("The subscription is {status} and no pause waits.", status=subscription.status)
    return subscription


def _go_on(engine: Engine, subscription: Subscription, today: date) -> None:
    """What would have been due meanwhile is due on its new day. What was past due is due at once, and tried again."""
    days = max((today - subscription.paused_on).days, 0)  # the account may have moved to a zone where it is still the day before
    ended = _document(subscription, today)
    status = "trialing" if subscription.trial_end else "active"
    kept = {"status": status, "paused_on": None, "pause_reason": None, "version": subscription.version + 1}
    engine.db.update(subscription, **kept, **_postponed(subscription, days))
    waiting = SubscriptionChange.subscription == subscription.id
    engine.db.execute(SubscriptionChange.update(effective_on=subscription.period_end).where(waiting))
    announce(engine, "subscription.resumed", subscription, {"pause": {**ended, "days": days}})


def _postponed(subscription: Subscription, days: int) -> dict[str, Any]:
    """The columns of a term that goes on so many days later; none where it goes on the same day."""
    if not days:
        return {}
    life = postpone(subscription.life, days)
    period = life.term.period if life.term else life.trial
    assert period is not None
    moved = {"period_start": period.start, "period_end": period.end, "anchor_day": period.end.day, "moved": subscription.moved + days}
    ends = {name: getattr(subscription, name) for name in ("trial_end", "cancel_at")}
    return moved | {name: day + timedelta(days=days) for name, day in ends.items() if day is not None}


# --- what falls due


def pause_due(engine: Engine) -> int:
    """Pause what is to be paused by now, 500 at a time; how many. Days are those of each account's zone."""
    now = engine.clock.now()
    query = Subscription.select(Subscription, Account.time_zone).join(Account)
    waits = RUNS & Subscription.changing.is_null() & (Subscription.pause_at <= day_in(now, FIRST_ZONE))
    found: list[Any] = engine.db.all(query.where(waits).order_by(Subscription.pause_at).objects())
    later = resting(engine, PAUSING)
    due = [row for row in found if row.pause_at <= day_in(now, row.time_zone) and row.id not in later]
    return sum(attempt(engine, PAUSING, row.id, row.account, partial(_pause_if_due, engine, row.id)) for row in due[:500])


def _pause_if_due(engine: Engine, subscription_id: str) -> bool:
    with engine.db.transaction():
        subscription = engine.db.lock(Subscription, subscription_id)
        assert subscription is not None
        waits = subscription.status in RUNNING and subscription.changing is None and subscription.pause_at is not None
        if not waits or subscription.pause_at > account_of(engine, subscription).today(engine):
            return False
        begin_pause(engine, subscription, subscription.pause_at)
        return True
