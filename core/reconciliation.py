"""Reconciliation: each night the changes that a provider lists go through the inbox of webhooks, and our payments are held against its
books. What can be mended by asking is mended; the rest is kept as differences."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import peewee

from core.accounts import lock_account
from core.checkout import settle
from core.differences import Difference, compare, keep, keep_strangers
from core.engine.engine import Engine
from core.engine.jobs import explain
from core.engine.rows import InstantField, Row
from core.errors import DatabaseUnavailable
from core.hooks.payments import PaymentProvider, ProviderChanges, ProviderEvent, ProviderTimeout
from core.payment_webhooks import PaymentWebhookEvent, store
from core.payments import Payment, retrieve
from core.providers import call_provider

log = logging.getLogger("puesto.reconciliation")
AT = time(3)  # of the seller's day
AGAIN = timedelta(hours=1)
# How far behind the last instant a window begins: a provider may list what has happened only after a while.
OVERLAP = timedelta(days=1)
# For how long a payment that is none of ours stays a difference, after it was last told of.
LIFETIME = timedelta(days=30)


class Reconciliation(Row):
    """How far the books of a provider were read: `through`, by the machine's clock. trouble: why the last run came to no end."""

    provider = peewee.CharField(primary_key=True, max_length=64)
    through = InstantField()
    next_at = InstantField()
    trouble = peewee.TextField(null=True)


def reconcilable(engine: Engine) -> list[PaymentProvider]:
    """Providers that can list what has changed."""
    return [provider for provider in engine.providers.values() if provider.capabilities.list_changes]


def reconcile_due(engine: Engine) -> None:
    """Reconcile with each provider once a night; of many workers one does it. A run that fails, or dies, begins anew where it began."""
    for provider in reconcilable(engine):
        state = _state(engine, provider.name)
        if state.next_at <= engine.clock.now() and _take(engine, state):
            try:
                reconcile(engine, provider)
            except DatabaseUnavailable:
                raise
            except Exception as error:
                log.warning("reconciliation with %s begins anew in an hour", provider.name, exc_info=not isinstance(error, ProviderTimeout))
                engine.db.update(state, next_at=engine.clock.now() + AGAIN, trouble=explain(error))


def reconcile(engine: Engine, provider: PaymentProvider, since: datetime | None = None) -> None:
    """Read what has changed since the last time, or since `since`, and compare our payments of that time.

    Raises ProviderUnavailable and ProviderTimeout: what was done until then stays, and the next run goes over it again.
    """
    state, began = _state(engine, provider.name), engine.clock.machine_now()
    since = since or state.through - OVERLAP
    concerned = _read(engine, provider, since)
    window = Payment.select(Payment.id).where((Payment.provider == provider.name) & (Payment.created_at >= since))
    concerned |= {row.id for row in engine.db.all(window)}
    for payment in sorted(concerned):
        _compare(engine, payment)
    old = (Difference.provider == provider.name) & Difference.payment.is_null() & (Difference.seen_at < engine.clock.now() - LIFETIME)
    engine.db.execute(Difference.delete().where(old))
    engine.db.update(state, through=max(began, state.through), trouble=None)


def _state(engine: Engine, provider: str) -> Reconciliation:
    """A provider is first reconciled in the night after it was first seen."""
    known = engine.db.get(Reconciliation, provider)
    if known is not None:
        return known
    made = Reconciliation(provider=provider, through=engine.clock.machine_now(), next_at=_tonight(engine), trouble=None)
    with suppress(peewee.IntegrityError):  # another process has just made it
        engine.db.insert(made)
    return made


def _tonight(engine: Engine) -> datetime:
    zone = ZoneInfo(engine.settings["seller"]["time_zone"])
    now = engine.clock.now().astimezone(zone)
    today = datetime.combine(now.date(), AT, zone)
    return today if today > now else datetime.combine(now.date() + timedelta(days=1), AT, zone)


def _take(engine: Engine, state: Reconciliation) -> bool:
    """Set when it is due again; False where another worker has taken it."""
    same = (Reconciliation.provider == state.provider) & (Reconciliation.next_at == state.next_at)
    return bool(engine.db.execute(Reconciliation.update(next_at=_tonight(engine)).where(same)))


def _read(engine: Engine, provider: PaymentProvider, since: datetime) -> set[str]:
    """Put what has changed into the inbox; the ids of our payments that it is about."""
    concerned = set()
    for event in _changes(engine, provider, since):
        store(engine, provider, event)
        same = (PaymentWebhookEvent.provider == provider.name) & (PaymentWebhookEvent.event_id == event.event_id)
        stored = engine.db.first(PaymentWebhookEvent.select().where(same))
        if stored is not None and stored.payment is not None:
            concerned.add(stored.payment)
        elif stored is not None:
            keep_strangers(engine, provider.name, event)
    engine.jobs.nudge()
    return concerned


def _changes(engine: Engine, provider: PaymentProvider, since: datetime) -> Iterator[ProviderEvent]:
    """Every page. Raises ProviderTimeout for pages that come to no end."""
    cursor, seen = None, set[str | None]()
    while cursor not in seen:
        seen.add(cursor)
        after = cursor
        page = call_provider(engine, provider, ProviderChanges, lambda after=after: provider.list_changes(since, after))  # type: ignore[misc]
        yield from page.events
        cursor = page.cursor
        if cursor is None:
            return
    raise ProviderTimeout(f"{provider.name} lists its changes in a circle")


def _compare(engine: Engine, payment_id: str) -> None:
    """Ask how a payment stands, write what is news, and keep what differs all the same. What recovery asks about anyway is left to it."""
    asked = engine.db.get(Payment, payment_id)
    if asked is None or asked.ask_at is not None:
        return
    result = retrieve(engine, asked)
    with engine.db.transaction():
        if result is not None:
            settle(engine, asked, result)
        lock_account(engine, asked.account)
        payment = engine.db.lock(Payment, asked.id)
        assert payment is not None
        keep(engine, payment, compare(engine, payment, result))
