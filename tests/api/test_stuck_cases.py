"""GET /v1/stuck-cases: the list of `core.stuck`, over HTTP."""

import pytest

from core.engine.deliveries import MAX_ATTEMPTS
from tests.conftest import Client, problem
from tests.core.gateway import GatewayPlugin
from tests.core.test_stuck import Ear, everything, park_delivery


@pytest.fixture
def shop(open_shop):
    return open_shop(plugins={"sandbox": GatewayPlugin, "ear": Ear()})


def test_where_all_is_well_the_list_is_empty(client):
    assert client.get("/v1/stuck-cases").json == {"data": [], "next_cursor": None}


def test_a_case_says_what_why_since_when_and_what_to_do(client, shop):
    order = park_delivery(shop)

    [case] = client.get("/v1/stuck-cases").json["data"]

    assert case == {
        "kind": "delivery",
        "id": case["id"],
        "account": order["account"],
        "subject": order["id"],
        "since": "2026-03-01T12:00:00.000Z",
        "tries": MAX_ATTEMPTS,
        "next_try": None,
        "reason": "ear, order_completed: ZeroDivisionError: no mail today",
        "remedy": f"Mend what the reason says, then: puesto jobs retry {case['id']}",
    }


def test_what_to_do_is_said_in_the_readers_language(client, shop):
    park_delivery(shop)

    [case] = client.get("/v1/stuck-cases", headers={"Accept-Language": "es"}).json["data"]

    assert case["remedy"] == f"Corrija lo que dice el motivo y después: puesto jobs retry {case['id']}"


def test_it_comes_in_pages(client, shop):
    everything(shop)
    whole = client.get("/v1/stuck-cases").json

    parts, cursor = [], ""
    while cursor is not None:
        page = client.get(f"/v1/stuck-cases?limit=2{cursor and f'&cursor={cursor}'}").json
        parts += page["data"]
        cursor = page["next_cursor"]

    assert (len(parts), parts, whole["next_cursor"]) == (7, whole["data"], None)


@pytest.mark.parametrize(("query", "pointer"), [("limit=0", "/limit"), ("cursor=", "/cursor"), ("account=acc_1", "/account")])
def test_a_query_that_makes_no_sense_is_refused(client, query, pointer):
    assert problem(client.get(f"/v1/stuck-cases?{query}")) == (422, "validation-failed", pointer)


def test_only_staff_sees_it(shop):
    everybody_else = Client(shop, ("catalog:read", "accounts", "checkout", "billing", "metrics"))

    assert problem(everybody_else.get("/v1/stuck-cases")) == (403, "forbidden")
