"""GET /metrics, read as Prometheus reads it."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.api.scene import SEAT
from tests.conftest import Client, problem
from tests.core.gateway import GatewayPlugin
from tests.core.test_stuck import NOTHING, Ear, everything


@pytest.fixture
def shop(open_shop):
    return open_shop(plugins={"sandbox": GatewayPlugin, "ear": Ear()}, disabled=["email"])


@pytest.fixture
def monitor(shop):
    """A key that may do nothing else."""
    return Client(shop, ("metrics",))


def read(client):
    """{name: {labels: value}}; a number with no label is on its own."""
    found = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[" ".join(sample.labels.values())] = sample.value
    return {name: values.get("", values) for name, values in found.items()}


def test_where_nothing_is_to_do_the_numbers_are_zero(monitor):
    numbers = read(monitor)

    assert re.fullmatch(r"sandbox \S+", "".join(numbers.pop("puesto_info")))
    assert numbers == {
        "puesto_stuck_cases": NOTHING,
        "puesto_subscriptions_past_due": 0.0,
        "puesto_events_to_fan_out": 0.0,
        "puesto_payments_open": 0.0,
        "puesto_payment_oldest_seconds": 0.0,
        "puesto_queue_length": 0.0,
    }


def test_the_numbers_are_those_of_the_tables_whichever_process_answers(open_shop, shop, monitor):
    everything(shop)
    elsewhere = open_shop(folder=shop.folder, plugins={"sandbox": GatewayPlugin, "ear": Ear()}, disabled=["email"])
    elsewhere.clock.move_to(shop.clock.now())

    numbers = read(monitor)

    assert read(Client(elsewhere, ("metrics",))) == numbers
    assert numbers["puesto_stuck_cases"] == {**NOTHING, "delivery": 2, "order": 1, "payment": 2, "refund": 1, "work": 1}
    assert (numbers["puesto_deliveries_parked"], numbers["puesto_payments_open"]) == ({"ear": 2}, 2)
    assert (numbers["puesto_events_to_fan_out"], numbers["puesto_payment_oldest_seconds"]) == (0, 1800)
    assert "puesto_deliveries_waiting" not in numbers


def test_it_names_no_account(shop, monitor):
    everything(shop)

    text = monitor.get("/metrics").text

    assert re.findall(r"(acc|ord|pay|ref|evt|sub|job)_[0-9a-f]{8}|Acme", text) == []
    assert shop.account.id not in text


def test_it_is_text_of_prometheus(monitor):
    answer = monitor.get("/metrics")

    assert (answer.status_code, answer.content_type) == (200, "text/plain; version=1.0.0; charset=utf-8")
    assert answer.text.startswith("# HELP puesto_info ")


def test_a_monitoring_key_can_do_nothing_else(shop, monitor):
    before = shop.rows()

    answers = [
        monitor.post("/v1/carts", {"account": shop.account.id, "lines": [SEAT]}),
        monitor.get("/v1/orders"),
        monitor.get("/v1/stuck-cases"),
        monitor.post("/v1/test-clock", {"now": "2026-03-02T12:00:00Z"}),
    ]

    assert [problem(answer) for answer in answers] == [(403, "forbidden")] * 4
    assert shop.rows() == before | {"account": 1}


def test_without_a_key_there_is_nothing_to_see(monitor):
    assert problem(monitor.get("/metrics", bearer=None)) == (401, "unauthorized")
    assert problem(monitor.get("/metrics", bearer="sk_nonsense")) == (401, "unauthorized")
