"""Stuck cases: whatever waits for a human, or has waited longer than it should, with why and what can be done. One list of all kinds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from core import payment_webhooks, refunds
from core.access import missing
from core.captures import Capture
from core.differences import Difference
from core.disputes import OPENED, Dispute
from core.engine import deliveries, setbacks
from core.engine.deliveries import Delivery
from core.engine.engine import Engine
from core.engine.events import EventRow
from core.engine.setbacks import Setback
from core.errors import Message
from core.orders import Order
from core.payment_webhooks import PaymentWebhookEvent
from core.payments import ACTION_LIFETIME, OVERPAID, Payment, Refund
from core.subscriptions import HELD_BACK, SubscriptionChange

# How long the end of a payment or a capture, or a refund's being taken on, may stay unknown before a human should look.
DEADLINE = timedelta(minutes=15)
# How long a provider may call a refund under way: banks take days.
REFUND_DEADLINE = timedelta(days=7)
LONGEST_NUMBER = 18  # digits: what an integer of a database holds


@dataclass(frozen=True)
class Case:
    """One stuck case.

    account:  None where nobody here is concerned, as far as is known.
    subject:  id of the order, subscription or other row it is about.
    next_try: when it is tried again by itself; None: it is not.
    reason:   what went wrong, as it was met with; remedy: what staff can do.
    """

    kind: str
    id: str
    account: str | None
    subject: str
    since: datetime
    tries: int
    next_try: datetime | None
    reason: str
    remedy: Message


@dataclass(frozen=True)
class Kind:
    """Where the cases of a kind are found: `rows` of them; `key` is their column of ids, and `number` reads an id back, if it is none."""

    rows: Callable[[Engine], Any]
    key: Any
    case: Callable[[Any], Case]
    number: Callable[[str], Any] = str


def stuck_cases(engine: Engine, *, limit: int, cursor: str | None = None) -> tuple[list[Case], str | None]:
    """A page of the cases, kind by kind, each from the newest back, and the cursor of the next page (None: that was all)."""
    after, _, last = (cursor or "").partition(":")
    found: list[Case] = []
    for name, kind in KINDS.items():
        if name >= after and len(found) <= limit:
            query = kind.rows(engine)
            query = query.where(kind.key < kind.number(last)) if name == after else query
            found += map(kind.case, engine.db.all(query.order_by(kind.key.desc()).limit(limit + 1 - len(found))))
    page = found[:limit]
    return page, f"{page[-1].kind}:{page[-1].id}" if len(found) > limit else None


def count_stuck(engine: Engine) -> dict[str, int]:
    """How many cases there are of each kind."""
    return {name: engine.db.count(kind.rows(engine)) for name, kind in KINDS.items()}


def retry(engine: Engine, case_id: str) -> int:
    """Put one case back to work, or ask about it now; how many rows that were. For an order, its payment is asked about. Raises Missing."""
    prefix = case_id.partition("_")[0]
    asked = {"pay": Payment.id == case_id, "ord": Payment.order == case_id}
    if prefix == "dlv":
        done = deliveries.retry_parked(engine, _delivery_number(case_id))
    elif prefix == "job":
        done = setbacks.retry(engine, case_id)
    elif prefix == "pwe":
        done = payment_webhooks.retry_parked(engine, case_id)
    elif prefix == "ref":
        done = _ask_now(engine, Refund, Refund.id == case_id)
    elif prefix == "cap":
        done = _ask_now(engine, Capture, Capture.id == case_id)
    else:
        done = _ask_now(engine, Payment, asked[prefix]) if prefix in asked else 0
    if not done:
        raise missing("stuck case", case_id)
    engine.jobs.nudge()
    return done


def retry_all(engine: Engine) -> int:
    """Put everything that is stuck back to work; how many rows that were."""
    done = deliveries.retry_parked(engine) + setbacks.retry(engine) + payment_webhooks.retry_parked(engine)
    for model, late in ((Payment, _late_payment), (Capture, _late_capture), (Refund, _late_refund)):
        done += _ask_now(engine, model, late(engine))
    engine.jobs.nudge()
    return done


def _ask_now(engine: Engine, model: Any, which: Any) -> int:
    return engine.db.execute(model.update(ask_at=engine.clock.now(), tries=0).where(which & model.ask_at.is_null(False)))


# --- the kinds


def _late_payment(engine: Engine) -> Any:
    """Its order is listed instead where that has a problem."""
    now = engine.clock.now()
    unknown = Payment.status.in_(("created", "processing")) & (Payment.created_at <= now - DEADLINE)
    at_the_bank = (Payment.status == "requires_action") & (Payment.created_at <= now - ACTION_LIFETIME - DEADLINE)
    return Payment.ask_at.is_null(False) & Payment.problem.is_null() & (unknown | at_the_bank)


def _late_capture(engine: Engine) -> Any:
    return Capture.ask_at.is_null(False) & (Capture.created_at <= engine.clock.now() - DEADLINE)


def _late_refund(engine: Engine) -> Any:
    now = engine.clock.now()
    unknown = (Refund.status == "created") & (Refund.created_at <= now - DEADLINE)
    under_way = (Refund.status == "processing") & (Refund.created_at <= now - REFUND_DEADLINE)
    return Refund.ask_at.is_null(False) & (unknown | under_way)


def _parked_deliveries(engine: Engine) -> Any:
    return Delivery.select(Delivery, EventRow.occurred_at).join(EventRow).where(deliveries.PARKED).objects()


def _orders_with_problem(engine: Engine) -> Any:
    """Not those whose money came late and has gone back."""
    returned = Refund.select(Refund.order).join(Payment).where((Payment.order == Order.id) & (Refund.status == "succeeded"))
    settled = (Order.problem == "late-payment") & Order.id.in_(returned)
    return Order.select().where(Order.problem.is_null(False) & ~settled)


def _delivery_case(row: Any) -> Case:
    remedy = Message("Mend what the reason says, then: puesto jobs retry {id}", {"id": f"dlv_{row.id}"})
    reason = f"{row.plugin}, {row.hook}: {row.error}"
    return Case("delivery", f"dlv_{row.id}", row.account, row.subject, row.occurred_at, row.attempts, None, reason, remedy)


def _order_case(row: Order) -> Case:
    remedy = Message("Put the payment right at its provider: then the order completes or fails by itself.")
    if row.problem == "authorization-lost":
        remedy = Message("What was set aside for it is gone, and nothing was taken. Ask the buyer to pay anew, or end what it started.")
    elif row.problem == "test-payment":
        remedy = Message("A test payment for a live order, or the reverse: check the provider's keys. Voided there, the order fails.")
    elif row.problem == "late-payment":
        remedy = Message("Money came for an order that was given up. If its refund fails, give it back at the provider.")
    elif row.problem == OVERPAID:
        remedy = Message("More came in than is owed. Its provider's books say how much: send that back, or ask what it was meant for.")
    elif row.problem == refunds.MISMATCH:
        remedy = Message("More went back than was paid, or another currency: compare the refunds and disputes with the provider's.")
    return Case("order", row.id, row.account, row.id, row.created_at, 0, None, str(row.problem), remedy)


def _change_case(row: SubscriptionChange) -> Case:
    remedy = Message(
        "Offer {what} again, and it takes effect with the next renewal; or have it cancelled. Until then the old terms go on.",
        {"what": row.plan or row.interval},
    )
    reason = f"{row.plan or row.interval}: {row.problem}"
    return Case("change", row.id, row.account, row.subscription, row.created_at, 0, None, reason, remedy)


def _payment_case(row: Payment) -> Case:
    return _asked_about("payment", row, row.provider)


def _capture_case(row: Any) -> Case:
    return _asked_about("capture", row, row.provider)


def _refund_case(row: Any) -> Case:
    return _asked_about("refund", row, row.provider)


def _difference_case(row: Difference) -> Case:
    remedy = Message("Compare with the books of {provider}; once they agree: puesto payments reconcile", {"provider": row.provider})
    reason = f"{row.provider}, {row.kind}: {row.ours or '-'} here, {row.theirs or '-'} there"
    return Case("difference", row.id, row.account, row.payment or row.subject[:40], row.found_at, 0, None, reason, remedy)


def _dispute_case(row: Any) -> Case:
    remedy = Message(
        "The buyer asks their bank for the money back. Answer at {provider}; its decision is learnt from there.", {"provider": row.provider}
    )
    reason = f"{row.provider} says: {row.reason or row.status}"
    return Case("dispute", row.id, row.account, row.order, row.opened_at, 0, None, reason, remedy)


def _asked_about(kind: str, row: Any, provider: str) -> Case:
    remedy = Message("Look up {id} at {provider}. To ask it now: puesto jobs retry {id}", {"id": row.id, "provider": provider})
    reason = row.trouble or f"{provider} says: {row.status}"
    return Case(kind, row.id, row.account, row.order, row.created_at, row.tries, row.ask_at, reason, remedy)


def _webhook_case(row: PaymentWebhookEvent) -> Case:
    remedy = Message("Mend what the reason says, then: puesto jobs retry {id}", {"id": row.id})
    if row.payment is None:
        told = {"id": row.event_id, "provider": row.provider}
        remedy = Message("Look up event {id} at {provider}: if it is about money of this shop, give that back there.", told)
    reason = f"{row.provider}, {row.event['type']}: {row.error}"
    return Case("webhook", row.id, row.account, row.payment or row.event_id, row.received_at, row.attempts, None, reason, remedy)


def _work_case(row: Setback) -> Case:
    remedy = Message("Mend what the reason says, then: puesto jobs retry {id}", {"id": row.id})
    return Case("work", row.id, row.account, row.subject, row.since, row.tries, row.next_at, f"{row.work}: {row.error}", remedy)


def _delivery_number(case_id: str) -> int:
    """0, which no delivery has, for what is no id of one."""
    number = case_id.removeprefix("dlv_")
    return int(number) if number.isascii() and number.isdigit() and len(number) <= LONGEST_NUMBER else 0


# By name, which is what a cursor goes by.
KINDS = {
    "capture": Kind(
        lambda engine: Capture.select(Capture, Payment.provider).join(Payment).where(_late_capture(engine)).objects(),
        Capture.id,
        _capture_case,
    ),
    "change": Kind(lambda engine: SubscriptionChange.select().where(HELD_BACK), SubscriptionChange.id, _change_case),
    "delivery": Kind(_parked_deliveries, Delivery.id, _delivery_case, _delivery_number),
    "difference": Kind(lambda engine: Difference.select(), Difference.id, _difference_case),
    "dispute": Kind(
        lambda engine: Dispute.select(Dispute, Payment.provider).join(Payment).where(OPENED).objects(), Dispute.id, _dispute_case
    ),
    "order": Kind(_orders_with_problem, Order.id, _order_case),
    "payment": Kind(lambda engine: Payment.select().where(_late_payment(engine)), Payment.id, _payment_case),
    "refund": Kind(
        lambda engine: Refund.select(Refund, Payment.provider).join(Payment).where(_late_refund(engine)).objects(), Refund.id, _refund_case
    ),
    "webhook": Kind(lambda engine: PaymentWebhookEvent.select().where(payment_webhooks.PARKED), PaymentWebhookEvent.id, _webhook_case),
    "work": Kind(lambda engine: Setback.select().where(Setback.next_at.is_null()), Setback.id, _work_case),
}
