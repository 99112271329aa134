"""Stored methods that expire: their account hears of it once, thirty days before."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

from core.accounts import Account, account_document, lock_account
from core.due import first_of
from core.engine.clock import FIRST_ZONE, LAST_ZONE, day_in
from core.engine.engine import Engine
from core.engine.events import append
from core.payment_methods import TO_REMIND_OF, PaymentMethod, method_document

AHEAD = timedelta(days=30)


def remind_of_expiries(engine: Engine, limit: int = 500) -> None:
    """Tell of the methods whose last day is near, in the account's zone. Any number of workers may do it at once."""
    now = engine.clock.now()
    first, last = day_in(now, LAST_ZONE), day_in(now, FIRST_ZONE) + AHEAD
    near = (PaymentMethod.expires >= f"{first:%Y-%m}") & (PaymentMethod.expires <= f"{last:%Y-%m}")
    query = PaymentMethod.select(PaymentMethod.id, PaymentMethod.account).where(TO_REMIND_OF & near)
    for method in engine.db.all(query.order_by(PaymentMethod.expires).limit(limit)):
        _remind(engine, method)


def _remind(engine: Engine, found: PaymentMethod) -> None:
    """In one transaction with the event, so that it is told once."""
    with engine.db.transaction():
        account = lock_account(engine, found.account)
        method = engine.db.lock(PaymentMethod, found.id)
        last = last_day(method.expires) if method else None
        if method is None or last is None or method.reminded_at or method.deleted_at or not last - AHEAD <= account.today(engine) <= last:
            return
        engine.db.update(method, reminded_at=engine.clock.now())
        data = {"payment_method": method_document(method), "valid_until": last.isoformat(), "account": account_document(account)}
        append(engine, "payment_method.expiring", account=account.id, subject=method.id, data=data)


def next_reminder(engine: Engine, after: datetime) -> datetime | None:
    """When the first of those is due whose time is still to come."""
    query = PaymentMethod.select(PaymentMethod.expires, Account.time_zone).join(Account)
    near = TO_REMIND_OF & (PaymentMethod.expires >= f"{day_in(after, LAST_ZONE):%Y-%m}")
    rows: list[Any] = engine.db.all(query.where(near).distinct().objects())
    return first_of(((last - AHEAD, row.time_zone) for row in rows if (last := last_day(row.expires))), after)


def last_day(expires: str | None) -> date | None:
    """The day up to which a method of that month (YYYY-MM) can be charged; None: no month."""
    try:
        first = date.fromisoformat(f"{expires}-01")
    except ValueError:
        return None
    return (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
