"""GET /metrics, for Prometheus: computed at each scrape, so that every API process answers alike. No account is named in it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version

from flask import make_response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from api.auth import needs
from api.http import Blueprint, engine
from core.backlog import Backlog, measure

blueprint = Blueprint("metrics", __name__, description="Numbers for monitoring")


class Numbers(Collector):
    """What is to be told of one scrape."""

    def __init__(self, backlog: Backlog, mode: str) -> None:
        self._backlog, self._mode = backlog, mode

    def collect(self) -> Iterator[GaugeMetricFamily | InfoMetricFamily]:
        found = self._backlog
        yield InfoMetricFamily("puesto", "What runs here.", {"version": version("puesto"), "mode": self._mode})
        yield _labelled("puesto_stuck_cases", "Cases for a human: GET /v1/stuck-cases, puesto jobs.", "kind", found.stuck)
        yield _labelled("puesto_deliveries_waiting", "Deliveries of events under way.", "plugin", found.waiting)
        yield _labelled("puesto_deliveries_parked", "Deliveries that nobody tries any more.", "plugin", found.parked)
        overdue = "For how long the oldest waiting delivery has been due; 0: none is."
        yield _labelled("puesto_delivery_overdue_seconds", overdue, "plugin", found.overdue)
        yield GaugeMetricFamily("puesto_subscriptions_past_due", "Subscriptions whose next period could not be paid.", found.past_due)
        yield GaugeMetricFamily("puesto_events_to_fan_out", "Events that are not in the feed yet.", found.events)
        yield GaugeMetricFamily("puesto_payments_open", "Payments that the provider is still asked about.", found.payments)
        yield GaugeMetricFamily("puesto_payment_oldest_seconds", "Age of the oldest open payment; 0: there is none.", found.oldest_payment)
        if found.queue is not None:
            yield GaugeMetricFamily("puesto_queue_length", "Tasks that no worker has taken.", found.queue)


def _labelled(name: str, text: str, label: str, values: dict[str, int] | dict[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


@blueprint.get("/metrics")
@needs("metrics")
@blueprint.response(200, {"type": "string"}, content_type="text/plain", description="The text format of Prometheus")
def metrics():
    """How much work lies there, and for how long, for Prometheus."""
    registry = CollectorRegistry()
    registry.register(Numbers(measure(engine()), engine().settings["mode"]))
    return make_response(generate_latest(registry), {"Content-Type": CONTENT_TYPE_LATEST})
