"""The inbox of payment webhooks: what a provider tells of its own accord is stored before it is acted on, each event once; so is what
a provider in this process hears by itself.

An event is news, not the truth: it may be late, doubled, out of order, or come before the provider's call has answered. So the
provider is asked how things stand, and its answer is written by the same `settle` that the checkout call, the buyer's return and
recovery use.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta

import peewee

from core.checkout import settle
from core.engine.engine import Engine
from core.engine.jobs import backoff, explain
from core.engine.plugins import plugin_failed
from core.engine.rows import InstantField, JsonField, Row
from core.engine.values import new_id, to_json
from core.errors import Missing, Unauthorized
from core.hooks.payments import PaymentProvider, ProviderEvent, ProviderTimeout, SignatureInvalid
from core.payment_methods import SETUP
from core.payments import Payment, Refund, retrieve
from core.providers import fits
from core.refunds import settle_refund

log = logging.getLogger("puesto.payments")
MAX_ATTEMPTS = 12
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=30), timedelta(hours=6)
# Providers repeat a webhook for days; by then its event has long been acted on, and once more does no harm.
LIFETIME = timedelta(days=30)
BATCH = 100


class PaymentWebhookEvent(Row):
    """One event of a provider. status: `waiting` (until `next_at`), `done`, or `parked` with why in `error`.

    account, payment: None where the payment is none of ours. refund: our id of the refund that it is about.
    """

    id = peewee.CharField(primary_key=True, max_length=40)
    provider = peewee.CharField(max_length=64)
    event_id = peewee.CharField(max_length=255)
    account = peewee.CharField(max_length=40, null=True)
    payment = peewee.CharField(max_length=40, null=True)
    refund = peewee.CharField(max_length=40, null=True)
    event = JsonField()
    status = peewee.CharField(max_length=8, constraints=[peewee.Check("status IN ('waiting', 'done', 'parked')")])
    attempts = peewee.IntegerField()
    next_at = InstantField()
    error = peewee.TextField(null=True)
    received_at = InstantField(index=True)

    class Meta:
        indexes = ((("provider", "event_id"), True),)


WAITING = PaymentWebhookEvent.status == peewee.SQL("'waiting'")
PARKED = PaymentWebhookEvent.status == peewee.SQL("'parked'")
PaymentWebhookEvent.add_index(PaymentWebhookEvent.index(PaymentWebhookEvent.next_at, name="payment_webhook_event_due").where(WAITING))
PaymentWebhookEvent.add_index(PaymentWebhookEvent.index(PaymentWebhookEvent.id, name="payment_webhook_event_parked").where(PARKED))


def receive(engine: Engine, provider_name: str, headers: Mapping[str, str], body: bytes) -> None:
    """Check who sent a webhook and put its events into the inbox; those that are there already are left alone.

    Raises Missing for a provider that takes none; Unauthorized for a signature that is not the provider's, and PluginFailed
    where the provider can't read it: then nothing is stored, and who sent it may send it again.
    """
    provider = engine.providers.get(provider_name)
    if provider is None or not provider.capabilities.webhooks:
        raise Missing("There is no payment provider {name} that takes webhooks.", name=provider_name[:64])
    for event in _read(engine, provider, headers, body):
        store(engine, provider, event)
    engine.jobs.nudge()


def report(engine: Engine, provider_name: str, events: Sequence[ProviderEvent]) -> None:
    """Put events into the inbox that a plugin of this process has for its own provider; those that are there already are left alone.

    Raises LookupError for a provider that is not there, TypeError for what is no event: then nothing is stored.
    """
    provider = engine.providers.get(provider_name)
    if provider is None:
        raise LookupError(f"there is no payment provider {provider_name}")
    if not fits(list(events), list[ProviderEvent]):
        raise TypeError(f"{provider_name} reports what stands for no events")
    for event in events:
        store(engine, provider, event)
    engine.jobs.nudge()


def store(engine: Engine, provider: PaymentProvider, event: ProviderEvent) -> None:
    """Put an event into the inbox, unless it is there already, or is about a method stored on its own, which its caller waits for."""
    if (event.payment_id or "").startswith(f"{SETUP}_"):
        return
    with suppress(peewee.IntegrityError):
        engine.db.insert(_row(engine, provider, event))


def _read(engine: Engine, provider: PaymentProvider, headers: Mapping[str, str], body: bytes) -> list[ProviderEvent]:
    now = engine.clock.machine_now()
    try:
        events = engine.plugins.with_deadline(provider.deadline, lambda: provider.parse_webhook(headers, body, now))
    except SignatureInvalid as error:
        log.warning("a webhook that %s has not signed: %s", provider.name, error)
        raise Unauthorized("This is no message that {provider} has signed just now.", provider=provider.name) from None
    except (Exception, SystemExit) as error:
        log.exception("provider %s can't read a webhook", provider.name)
        raise plugin_failed(provider.name, "parse_webhook", f"raised {type(error).__name__}") from error
    if not fits(events, list[ProviderEvent]):
        raise plugin_failed(provider.name, "parse_webhook", "answered what stands for no events")
    return events


def _row(engine: Engine, provider: PaymentProvider, event: ProviderEvent) -> PaymentWebhookEvent:
    payment, trouble = _payment_of(engine, provider.name, event), "no payment of this shop"
    live = payment.live if payment else not engine.sandbox
    if event.live not in (None, live):
        payment, trouble = None, f"about {'live' if event.live else 'test'} money, which this {'payment' if payment else 'shop'} is not"
    now = engine.clock.now()
    return PaymentWebhookEvent(
        id=new_id("pwe"),
        provider=provider.name,
        event_id=event.event_id,
        account=payment.account if payment else None,
        payment=payment.id if payment else None,
        refund=event.refund_id,
        event=to_json(event),
        status="waiting" if payment else "parked",
        attempts=0,
        next_at=now,
        error=None if payment else trouble,
        received_at=now,
    )


def _payment_of(engine: Engine, provider: str, event: ProviderEvent) -> Payment | None:
    """The payment is written before its provider is called, so an event that comes early finds it by our id."""
    ours = Payment.select().where(Payment.provider == provider)
    if event.payment_id is not None:
        return engine.db.first(ours.where(Payment.id == event.payment_id))
    return engine.db.first(ours.where(Payment.provider_ref == event.provider_ref)) if event.provider_ref else None


def apply_events(engine: Engine) -> None:
    """Act on the events that wait, each when its time has come. Safe to run in many workers at once."""
    due = WAITING & (PaymentWebhookEvent.next_at <= engine.clock.now())
    for event in engine.db.all(PaymentWebhookEvent.select().where(due).order_by(PaymentWebhookEvent.next_at).limit(BATCH)):
        if _take(engine, event):
            _apply(engine, event)


def _take(engine: Engine, event: PaymentWebhookEvent) -> bool:
    """Set when it is tried again, should this worker die or fail; False where another has taken it meanwhile."""
    model = PaymentWebhookEvent
    later = engine.clock.now() + backoff(event.attempts + 1, FIRST_PAUSE, LONGEST_PAUSE)
    same = (model.id == event.id) & WAITING & (model.next_at == event.next_at)
    return bool(engine.db.execute(model.update(next_at=later, attempts=event.attempts + 1).where(same)))


def _apply(engine: Engine, event: PaymentWebhookEvent) -> None:
    """Whatever goes wrong with one holds up no other."""
    try:
        _ask_provider(engine, event)
    except Exception as error:
        log.warning("%s of %s waits", event.event_id, event.provider, exc_info=not isinstance(error, ProviderTimeout))
        status = "waiting" if event.attempts + 1 < MAX_ATTEMPTS else "parked"
        engine.db.update(event, status=status, error=explain(error))
        return
    engine.db.update(event, status="done", error=None)


def _ask_provider(engine: Engine, event: PaymentWebhookEvent) -> None:
    """Raises ProviderTimeout where it has no answer."""
    payment = engine.db.get(Payment, event.payment)
    assert payment is not None
    if event.refund is not None and engine.db.get(Refund, event.refund):
        settle_refund(engine, event.refund)
        return
    result = retrieve(engine, payment)
    if result is None:
        raise ProviderTimeout(f"{event.provider} tells of a payment that it does not know")
    settle(engine, payment, result)


def retry_parked(engine: Engine, event_id: str | None = None) -> int:
    """Act once more on what is parked (one, or all) and about a payment of ours; how many."""
    query = PaymentWebhookEvent.update(status="waiting", attempts=0, next_at=engine.clock.now())
    query = query.where(PARKED & PaymentWebhookEvent.payment.is_null(False))
    return engine.db.execute(query if event_id is None else query.where(PaymentWebhookEvent.id == event_id))


def sweep_events(engine: Engine) -> None:
    """Delete what has been done, or was about no payment of ours, and is older than LIFETIME."""
    over = (PaymentWebhookEvent.status == "done") | PaymentWebhookEvent.payment.is_null()
    engine.db.execute(PaymentWebhookEvent.delete().where(over & (PaymentWebhookEvent.received_at < engine.clock.now() - LIFETIME)))
