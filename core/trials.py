"""Trials: what staff may do for somebody who needs longer to decide. How one begins and ends stands in `core.subscriptions` and
`core.renewals`; that an account tries a product once, ever, in the ledger `Trial`."""

from __future__ import annotations

from datetime import date, timedelta

from core.access import Caller, find
from core.engine.engine import Engine
from core.errors import TransitionInvalid, ValidationFailed
from core.subscriptions import Subscription, account_of, announce, check_changeable


def extend_trial(
    engine: Engine,
    subscription_id: str,
    caller: Caller,
    version: int | None = None,
    *,
    days: int | None = None,
    until: date | None = None,
    reason: str | None = None,
) -> Subscription:
    """Let a trial last longer: so many `days`, or `until` the day that is the first without it. What follows it comes then.

    Raises Forbidden for one who is not staff, Missing, PreconditionFailed, ValidationFailed for both or none of the two, a day that is
    no later, or more days in all than `subscriptions.trial_days_at_most`; TransitionInvalid for what is no running trial.
    """
    caller.need("staff")
    with engine.db.transaction():
        subscription = find(engine, Subscription, subscription_id, caller, lock=True, version=version)
        _check_extensible(engine, subscription)
        before = subscription.trial_end
        end = _new_end(subscription, days, until)
        pointer = "/days" if days is not None else "/until"
        _check_length(engine, subscription, end, pointer)
        moved = {"trial_end": end, "period_end": end, "anchor_day": end.day}
        if subscription.pause_at is not None:
            moved["pause_at"] = end
        engine.db.update(subscription, **moved, version=subscription.version + 1)
        announce(engine, "trial.extended", subscription, {"before": {"trial_end": before.isoformat()}, "reason": reason})
    return subscription


def _check_extensible(engine: Engine, subscription: Subscription) -> None:
    check_changeable(subscription)
    if subscription.status != "trialing" or subscription.trial_end <= account_of(engine, subscription).today(engine):
        raise TransitionInvalid("The subscription is {status} and no trial runs that could last longer.", status=subscription.status)
    if subscription.cancel_at is not None:
        raise TransitionInvalid("The subscription ends on {day}. Reactivate it before you change it.", day=subscription.cancel_at)


def _new_end(subscription: Subscription, days: int | None, until: date | None) -> date:
    if (days is None) == (until is None):
        raise ValidationFailed("Give either days or until.", pointer="/days")
    end: date = until if until is not None else subscription.trial_end + timedelta(days=days or 0)
    return end


def _check_length(engine: Engine, subscription: Subscription, end: date, pointer: str) -> None:
    """A trial is never endless: all its free days count, from the first on; those of a pause, which are kept, do not."""
    last = subscription.period_start + timedelta(days=engine.settings["subscriptions"]["trial_days_at_most"])
    if not subscription.trial_end < end <= last:
        raise ValidationFailed(
            "The trial ends on {day}: it can last longer, until {last} at most.", pointer=pointer, day=subscription.trial_end, last=last
        )
