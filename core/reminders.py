"""Reminders of what will be charged: before a trial ends, and before a year is renewed. Each is told once for the day that it is about."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

from core.accounts import Account, lock_account
from core.due import first_of
from core.engine.clock import FIRST_ZONE, LAST_ZONE, day_in
from core.engine.engine import Engine
from core.subscriptions import TO_REMIND_OF, Subscription, announce


def remind_of_charges(engine: Engine, limit: int = 500) -> None:
    """Tell of trials and years whose end is near, in the account's zone. Any number of workers may do it at once."""
    now = engine.clock.now()
    for status, days in _ahead(engine):
        near = Subscription.period_end.between(day_in(now, LAST_ZONE), day_in(now, FIRST_ZONE) + timedelta(days=days))
        goes_on = (Subscription.status == status) & Subscription.changing.is_null()
        goes_on &= Subscription.cancel_at.is_null() & Subscription.pause_at.is_null()
        query = Subscription.select(Subscription.id, Subscription.account).where(TO_REMIND_OF & near & goes_on)
        for found in engine.db.all(query.order_by(Subscription.period_end).limit(limit)):
            _remind(engine, found.account, found.id, status, days)


def _ahead(engine: Engine) -> Iterator[tuple[str, int]]:
    """The status of what is reminded of, and how many days before."""
    settings = engine.settings["subscriptions"]
    for status, days in (("trialing", settings["trial_ending_days"]), ("active", settings["renewal_coming_days"])):
        if days:
            yield status, days


def _remind(engine: Engine, account_id: str, subscription_id: str, status: str, days: int) -> None:
    """In one transaction with the event, so that it is told once; of what is still so."""
    with engine.db.transaction():
        account = lock_account(engine, account_id)
        subscription = engine.db.lock(Subscription, subscription_id)
        assert subscription is not None
        start, end = subscription.term.period.start, subscription.term.period.end
        goes_on = subscription.status == status and subscription.ends_on is None and subscription.changing is None
        near = _first_day(start, end, days) <= account.today(engine) < end
        if not (goes_on and near) or subscription.reminded_for == end:
            return
        engine.db.update(subscription, reminded_for=end)
        announce(engine, "trial.ending" if status == "trialing" else "renewal.coming", subscription, {})


def _first_day(start: date, end: date, days: int) -> date:
    """The day from which on it is reminded of: not the one on which it began, of which there is a message already."""
    return max(end - timedelta(days=days), start + timedelta(days=1))


def next_reminder(engine: Engine, after: datetime) -> datetime | None:
    """When the first of those is due whose time is still to come."""
    ahead = dict(_ahead(engine))
    columns = (Subscription.period_start, Subscription.period_end, Subscription.status, Account.time_zone)
    waiting = TO_REMIND_OF & (Subscription.period_end > day_in(after, LAST_ZONE)) & Subscription.status.in_(list(ahead))
    rows: list[Any] = engine.db.all(Subscription.select(*columns).join(Account).where(waiting).distinct().objects())
    return first_of(((_first_day(row.period_start, row.period_end, ahead[row.status]), row.time_zone) for row in rows), after)
