"""Lists come in pages."""

import pytest

from puesto import Plan, Price, Product, eur, hookimpl
from tests.api.contract import operations
from tests.api.scene import CARD, SEAT, Scene, names
from tests.conftest import Client, problem

OTHERS = ("list_problems", "list_events", "list_stuck_cases")  # a page for people; without end; of what few shops have five of
LISTS = operations(lambda operation: operation.id.startswith("list_") and operation.id not in OTHERS)
ROWS = 5


class FiveProducts:
    @hookimpl
    def register_products(self):
        plans = [Plan(f"p{n}-only", {"en": "Only"}, 1, (Price.per_seat("month", eur("1.00")),)) for n in range(ROWS)]
        return [Product(f"p{n}", {"en": f"Product {n}"}, (plan,)) for n, plan in enumerate(plans)]


def five_of_everything(shop):
    scene = Scene(Client(shop))
    scene.subscription = shop.buy("p0-only", seats=ROWS)
    for n in range(1, ROWS):
        shop.buy(f"p{n}-only")
    shop.assign(scene.subscription, *(shop.add_user() for _ in range(ROWS)))
    for _ in range(ROWS):
        scene.client.post(f"/v1/accounts/{scene.account.id}/payment-methods", CARD)
    return scene


SETTINGS = {"plugins": {"five": FiveProducts()}, "disabled": ["gotoassist", "gotomeeting", "gotowebinar", "rescue"]}


@pytest.fixture(scope="module")
def scene(tmp_path_factory, new_shop):
    shop = new_shop(tmp_path_factory.mktemp("shop"), **SETTINGS)
    yield five_of_everything(shop)
    shop.close()


@pytest.fixture
def fresh(open_shop):
    """For who adds to it."""
    return five_of_everything(open_shop(**SETTINGS))


def pages(client, path, **query):
    """Every page, read to the end."""
    cursor, found = None, []
    while not found or cursor is not None:
        page = client.get(path, query_string={**query, **({} if cursor is None else {"cursor": cursor})}).json
        cursor = page["next_cursor"]
        found.append(page["data"])
    return found


def test_the_tables_below_have_every_list():
    assert {operation.id for operation in LISTS} == {
        "list_products", "list_users", "list_payment_methods", "list_orders", "list_subscriptions", "list_seats", "list_invoices",
    }  # fmt: skip


def test_pages_hold_everything_once_and_in_order(scene):
    for operation in LISTS:
        path = scene.path(operation) if names(operation.path) else operation.path

        whole, parts = pages(scene.client, path), pages(scene.client, path, limit=2)

        assert [len(page) for page in whole] == [5], operation
        assert [len(page) for page in parts] == [2, 2, 1], operation
        assert [row for page in parts for row in page] == whole[0], operation


def test_a_page_that_is_full_and_last_says_so(scene):
    for operation in LISTS:
        page = scene.client.get(scene.path(operation), query_string={"limit": 5}).json

        assert (len(page["data"]), page["next_cursor"]) == (5, None), operation


def test_the_newest_comes_first(scene):
    orders = scene.client.get("/v1/orders").json["data"]

    assert [order["lines"][0]["plan"] for order in orders] == ["p4-only", "p3-only", "p2-only", "p1-only", "p0-only"]


def test_what_is_new_does_not_move_the_pages_that_are_left(fresh):
    first = fresh.client.get("/v1/orders?limit=2").json
    fresh.shop.buy("p0-only")

    second = fresh.client.get(f"/v1/orders?limit=2&cursor={first['next_cursor']}").json

    assert [order["lines"][0]["plan"] for order in second["data"]] == ["p2-only", "p1-only"]


def test_a_back_end_may_ask_for_one_account(fresh):
    other = fresh.shop.open_account(name="Beta", country="DE")
    fresh.shop.buy("p0-only", account=other)

    counted = {
        path: [len(fresh.client.get(path, query_string=query).json["data"]) for query in ({}, {"account": other.id})]
        for path in ("/v1/orders", "/v1/subscriptions", "/v1/invoices")
    }
    unknown = fresh.client.get("/v1/orders?account=acc_unknown")

    assert list(counted.values()) == [[6, 1]] * 3
    assert problem(unknown) == (404, "not-found")


def test_the_event_feed_goes_on_for_ever(fresh):
    fresh.shop.run()
    events = fresh.client.get("/v1/events?limit=100").json
    parts = []
    while page := fresh.client.get("/v1/events", query_string={"limit": 4, **({"after": parts[-1]["id"]} if parts else {})}).json["data"]:
        parts += page

    end = fresh.client.get(f"/v1/events?after={events['next_cursor']}").json
    fresh.client.check_out(fresh.client.post("/v1/carts", {"account": fresh.account.id, "lines": [{**SEAT, "plan": "p1-only"}]}).json["id"])
    fresh.shop.run()
    new = fresh.client.get(f"/v1/events?after={end['next_cursor']}").json["data"]

    assert parts == events["data"]
    assert end == {"data": [], "next_cursor": events["next_cursor"]}
    assert [event["type"] for event in new] == ["order.completed", "subscription.started"]


@pytest.mark.parametrize("limit", ["0", "101", "-1", "1.5", "x", "", "1e2", "9" * 5_000, "NaN", "٣٣٣"])
def test_a_limit_is_a_number_from_1_to_100(scene, limit):
    for operation in LISTS:
        assert problem(scene.client.get(scene.path(operation), query_string={"limit": limit})) == (422, "validation-failed", "/limit")


@pytest.mark.parametrize("name", ["Limit", "page", "offset", "q[]", "é", "x" * 1_000])
def test_other_names_are_refused(scene, name):
    pointers = [problem(scene.client.get(scene.path(operation), query_string={name: "1"})) for operation in LISTS]

    assert pointers == [(422, "validation-failed", f"/{name}")] * len(LISTS)


@pytest.mark.parametrize("cursor", ["", "x" * 65, "x" * 10_000])
def test_a_cursor_has_1_to_64_characters(scene, cursor):
    for operation in LISTS:
        assert problem(scene.client.get(scene.path(operation), query_string={"cursor": cursor})) == (422, "validation-failed", "/cursor")


@pytest.mark.parametrize("cursor", ["null", "'; --", "🛒", "%", "ord_"])
def test_a_cursor_that_was_never_given_does_no_harm(scene, cursor):
    for operation in LISTS:
        assert scene.client.get(scene.path(operation), query_string={"cursor": cursor}).status_code in (200, 422)


def test_a_null_character_in_a_query_is_refused(scene):
    answer = scene.client.get("/v1/orders?cursor=%00")

    assert problem(answer) == (400, "validation-failed")
    assert answer.json["detail"] == "The query has a null character."
