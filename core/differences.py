"""Differences: what a provider's books say otherwise than ours, after all that can be mended by asking was mended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import peewee

from core.disputes import disputes_of
from core.engine.engine import Engine
from core.engine.rows import InstantField, Row
from core.engine.values import new_id
from core.hooks.payments import PaymentResult, ProviderEvent
from core.payments import FAILED, SUCCEEDED, Payment, captured_by, refunds_of
from core.rules.money import Money


class Difference(Row):
    """One difference. It goes once the books agree, or for a payment that is none of ours once nobody tells of it any more.

    account, payment: None where the payment is none of ours.
    subject:          our id of what it is about, or the provider's.
    ours, theirs:     what each says, for people; None: nothing.
    """

    id = peewee.CharField(primary_key=True, max_length=40)
    account = peewee.CharField(max_length=40, null=True)
    provider = peewee.CharField(max_length=64)
    kind = peewee.CharField(max_length=24)
    payment = peewee.CharField(max_length=40, null=True, index=True)
    subject = peewee.CharField(max_length=255)
    ours = peewee.CharField(max_length=100, null=True)
    theirs = peewee.CharField(max_length=100, null=True)
    found_at = InstantField()
    seen_at = InstantField()

    class Meta:
        indexes = ((("provider", "kind", "subject"), True),)


@dataclass(frozen=True)
class Found:
    """A difference that was met with. kind: `payment_only_here`, `refund_status`, and the like."""

    kind: str
    subject: str
    ours: str | None
    theirs: str | None


# Of a refund or a dispute: amount and status.
Side = tuple[Money, str]


def compare(engine: Engine, payment: Payment, result: PaymentResult | None) -> list[Found]:
    """How the provider's answer differs from our rows; None: it has never heard of the payment."""
    if result is None:
        ended = payment.status in FAILED
        return [] if ended else [Found("payment_only_here", payment.id, f"{payment.status} {payment.money}", None)]
    refunds = {row.provider_ref or row.id: (Money(row.amount, row.currency), row.status) for row in refunds_of(engine, payment.id)}
    disputes = {row.provider_ref: (Money(row.amount, row.currency), row.status) for row in disputes_of(engine, payment.id)}
    return [
        *_payment(payment, result),
        *_each("refund", _without_failed(refunds), _without_failed({r.provider_ref: (r.amount, r.status) for r in result.refunds})),
        *_each("dispute", disputes, {d.provider_ref: (d.amount, d.status) for d in result.disputes}),
    ]


def _payment(payment: Payment, result: PaymentResult) -> Iterator[Found]:
    theirs = captured_by(result) if result.amount == payment.money else result.amount
    ours = Money(payment.captured, payment.currency)
    if result.status in SUCCEEDED and theirs != ours:
        yield Found("payment_amount", payment.id, str(ours), str(theirs))
    elif payment.status != result.status and not (payment.status in FAILED and result.status in FAILED):
        yield Found("payment_status", payment.id, payment.status, result.status)


def _without_failed(refunds: dict[str, Side]) -> dict[str, Side]:
    """A refund that failed moved nothing, and a provider may have forgotten it; `created`: it may not have heard of it yet."""
    return {name: side for name, side in refunds.items() if side[1] not in ("failed", "created")}


def _each(what: str, ours: dict[str, Side], theirs: dict[str, Side]) -> Iterator[Found]:
    for name in sorted(ours.keys() | theirs.keys()):
        here, there = ours.get(name), theirs.get(name)
        if here is None or there is None:
            kind = f"{what}_only_there" if here is None else f"{what}_only_here"
        elif here[0] != there[0]:
            kind = f"{what}_amount"
        elif here[1] != there[1]:
            kind = f"{what}_status"
        else:
            continue
        yield Found(kind, name, _said(here), _said(there))


def _said(side: Side | None) -> str | None:
    return f"{side[1]} {side[0]}" if side else None


def keep(engine: Engine, payment: Payment, found: list[Found]) -> None:
    """These are the differences of a payment now, and no others. In the transaction that has locked its account."""
    known = {(row.kind, row.subject): row for row in engine.db.all(Difference.select().where(Difference.payment == payment.id))}
    for each in found:
        row = known.pop((each.kind, each.subject), None)
        if row is None:
            engine.db.insert(_row(engine, payment.provider, each, payment))
        else:
            engine.db.update(row, ours=each.ours, theirs=each.theirs, seen_at=engine.clock.now())
    for row in known.values():
        engine.db.delete(row)


def keep_strangers(engine: Engine, provider: str, event: ProviderEvent) -> None:
    """A provider tells of a payment that is none of ours."""
    subject = (event.provider_ref or event.payment_id or event.event_id)[:255]
    said = f"{event.type} {event.amount or ''}".strip()[:100]
    now = engine.clock.now()
    mine = (Difference.provider == provider) & (Difference.kind == "payment_only_there") & (Difference.subject == subject)
    with engine.db.transaction():
        if not engine.db.execute(Difference.update(theirs=said, seen_at=now).where(mine)):
            engine.db.insert(_row(engine, provider, Found("payment_only_there", subject, None, said)))


def _row(engine: Engine, provider: str, found: Found, payment: Payment | None = None) -> Difference:
    now = engine.clock.now()
    return Difference(
        id=new_id("dif"),
        account=payment.account if payment else None,
        provider=provider,
        kind=found.kind,
        payment=payment.id if payment else None,
        subject=found.subject,
        ours=found.ours,
        theirs=found.theirs,
        found_at=now,
        seen_at=now,
    )


def differences_of(engine: Engine, providers: list[str]) -> list[Any]:
    """The differences with these providers, the oldest first."""
    return engine.db.all(Difference.select().where(Difference.provider.in_(providers)).order_by(Difference.id))
