"""Every promise, held against the tables of a shop, the books of its gateway, and what its subscribers and clients have heard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from core.engine.deliveries import PROVISIONING, Delivery
from core.engine.engine import Engine
from core.engine.events import EventRow
from core.engine.rows import Row
from core.engine.settings import CoreSettings, check_settings
from core.invoices import Invoice
from core.orders import Order, OrderLine
from core.payment_webhooks import WAITING, PaymentWebhookEvent
from core.payments import Payment, Refund
from core.seats import SeatAssignment
from core.subscriptions import Subscription
from tests.faults.clients import Client
from tests.faults.killing import Town
from tests.witness import Witness, heard

PAID = ("completed", "refunded")


class Books:
    """The tables, read once: when nothing moves any more."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.engine = open_engine(town)
        self.charges = {charge.key: charge for charge in town.gateway.provider().charges()}
        self.orders = {order.id: order for order in self.all(Order)}
        self.payments = {payment.order: payment for payment in self.all(Payment)}
        self.refunds, self.subscriptions, self.seats = self.all(Refund), self.all(Subscription), self.all(SeatAssignment)
        self.paid = {order.id: order for order in self.orders.values() if order.status in PAID}
        self.lines = [line for line in self.all(OrderLine) if line.order in self.paid]

    def all(self, table: type[Row]) -> list[Any]:
        return self.engine.db.all(table.select())

    def audit(self, clients: Sequence[Client]) -> str:
        """Compare everything; what there was."""
        self.compare_money()
        self.compare_invoices()
        self.compare_subscriptions()
        self.compare_deliveries()
        assert {event.status for event in self.all(PaymentWebhookEvent)} == {"done"}
        self.compare_with_answers(clients)
        self.engine.close()
        given_back = sum(1 for refund in self.refunds if refund.status == "succeeded")
        return f"{len(self.paid)} orders paid of {len(self.orders)}, {given_back} refunds, {len(self.seats)} seats"

    def compare_money(self) -> None:
        """What the gateway has kept of each order is what the order says; nothing was charged for anything else."""
        assert Counter(order.status for order in self.orders.values()).keys() <= {"completed", "failed", "cancelled", "refunded"}
        assert Counter(refund.status for refund in self.refunds).keys() <= {"succeeded"}
        assert len(self.payments) == len(self.all(Payment))
        left = dict(self.charges)
        for order in self.orders.values():
            charge = left.pop(self.payments[order.id].id, None) if order.id in self.payments else None
            kept = charge.amount.amount - charge.refunded.amount if charge else 0
            back = sum(refund.amount for refund in self.refunds if refund.order == order.id)
            assert kept == (order.due_now - back if order.id in self.paid else 0), (order.id, order.status, charge)
        assert left == {}

    def compare_invoices(self) -> None:
        """One for each order that cost something, a credit note for each refund of it, and no gap in any series."""
        documents = self.all(Invoice)
        invoices = [each.order for each in documents if each.credits is None]
        assert sorted(invoices) == sorted(order.id for order in self.paid.values() if order.total)
        credited = Counter(each.cause for each in documents if each.credits is not None)
        assert credited == Counter(refund.id for refund in self.refunds if refund.order in self.paid)
        for series in {each.series for each in documents}:
            sequences = sorted(each.sequence for each in documents if each.series == series)
            assert sequences == list(range(1, len(sequences) + 1))

    def compare_subscriptions(self) -> None:
        """Each line that was paid began one, or changed one; no seat is without."""
        begun = [line.subscription for line in self.lines if line.document["mode"] != "change"]
        assert sorted(begun) == sorted(subscription.id for subscription in self.subscriptions)
        assigned = Counter(seat.subscription for seat in self.seats)
        for subscription in self.subscriptions:
            assert assigned.pop(subscription.id, 0) == subscription.seats_assigned <= subscription.seats
        assert assigned == {}

    def compare_deliveries(self) -> None:
        """Each event has one to each of its subscribers, each is done, and who keeps count has heard."""
        events = self.all(EventRow)
        expected = {(event.sequence, *subscriber) for event in events for subscriber in self.subscribers(event)}
        deliveries = self.all(Delivery)
        assert {(delivery.event, delivery.plugin, delivery.hook) for delivery in deliveries} == expected
        assert {delivery.status for delivery in deliveries} == {"done"}
        witnessed = {delivery.event for delivery in deliveries if delivery.plugin == "witness"}
        assert heard(self.town.data).keys() == {event.id for event in events if event.sequence in witnessed}
        mailed = list((self.town.data / "email" / "outbox").glob("*purchase_confirmation.eml"))
        assert len(mailed) == len({line.order for line in self.lines if line.document["mode"] != "trial"})

    def subscribers(self, event: EventRow) -> list[tuple[str, str]]:
        """Every plugin with the hook of the event's type; where access has changed, the product's own to provision."""
        hook = event.type.replace(".", "_")
        plugins = [(plugin, hook) for plugin in self.engine.plugins.implementing(hook)]
        if event.type in PROVISIONING:
            plugins.append((self.engine.products.plugin_of[event.data["subscription"]["product"]], "provision"))
        return plugins

    def compare_with_answers(self, clients: Sequence[Client]) -> None:
        """What a client was told is what there is; an order that was processing may have failed."""
        told = {order for client in clients for order in client.orders}
        assert told and told <= self.orders.keys()
        seats = {(seat.subscription, seat.user) for seat in self.seats}
        assert {seat for client in clients for seat in client.seats} <= seats


def open_engine(town: Town) -> Engine:
    raw = {"database": town.database, "data": str(town.data)}
    return Engine(check_settings(CoreSettings(), raw), plugins={"witness": Witness})


def unfinished(town: Town) -> list[str]:
    """Deliveries that are not done, events that have none yet; what the gateway has told, and what it has yet to tell."""
    engine = open_engine(town)
    try:
        waiting: list[Any] = engine.db.all(Delivery.select().where(Delivery.status != "done"))
        waiting += engine.db.all(EventRow.select(EventRow.id).where(EventRow.position.is_null()))
        waiting += engine.db.all(PaymentWebhookEvent.select().where(WAITING))
        waiting += engine.db.all(Order.select(Order.id, Order.status).where(Order.status == "requires_action"))
    finally:
        engine.close()
    return [f"{type(row).__name__} {row.__data__}" for row in waiting]
