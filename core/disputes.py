"""Disputes: buyers who ask their bank for the money back. The provider tells of them; they are answered at the provider."""

from __future__ import annotations

from typing import Any

import peewee

from core.accounts import Account
from core.engine.engine import Engine
from core.engine.rows import InstantField, Row, refers_to
from core.engine.values import to_json
from core.payments import Payment
from core.rules.money import Money


class Dispute(Row):
    """A dispute of a payment. While it is `opened`, and once it is `lost`, its amount can't be refunded; `won` and `lost` stay.

    reason: the provider's own word.
    """

    id = peewee.CharField(primary_key=True, max_length=40)
    account = refers_to(Account, index=False)
    order = peewee.CharField(max_length=40)
    payment = refers_to(Payment, index=False)
    provider_ref = peewee.CharField(max_length=255)
    amount = peewee.BigIntegerField(constraints=[peewee.Check("amount > 0")])
    currency = peewee.CharField(max_length=3)
    status = peewee.CharField(max_length=8, constraints=[peewee.Check("status IN ('opened', 'won', 'lost')")])
    reason = peewee.CharField(max_length=255)
    opened_at = InstantField()
    closed_at = InstantField(null=True)

    class Meta:
        indexes = ((("payment", "provider_ref"), True),)


OPENED = Dispute.status == peewee.SQL("'opened'")
Dispute.add_index(Dispute.index(Dispute.id, name="dispute_opened").where(OPENED))


def disputes_of(engine: Engine, payment: str) -> list[Dispute]:
    """The disputes of a payment, the oldest first."""
    return engine.db.having(Dispute.payment, payment)


def dispute_document(dispute: Dispute) -> dict[str, Any]:
    """The dispute as the API and events show it."""
    names = ("id", "order", "status", "reason", "opened_at", "closed_at")
    shown = {name: getattr(dispute, name) for name in names}
    return dict(to_json({**shown, "amount": Money(dispute.amount, dispute.currency)}))
