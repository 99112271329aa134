"""Orders out of turn: of a stale quote, of an empty cart, a second time, at the same moment. Nothing is charged or written twice."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import httpx
import pytest

from tests.api.scene import CARD, SEAT, WEBINAR, Scene, charges, quoted, state
from tests.conftest import Client, problem, serving


@pytest.fixture
def scene(client):
    return Scene(client)


def test_an_empty_cart_is_neither_quoted_nor_ordered(client, shop, scene):
    empty = client.post("/v1/carts", {"account": scene.account.id}).json["id"]
    seal = quoted(client, scene.cart["id"])
    before = state(shop)

    review = client.get(f"/v1/carts/{empty}/quote")
    order = client.post(f"/v1/carts/{empty}/checkout", {"quote": seal, "payment": CARD})

    assert problem(review) == problem(order) == (422, "validation-failed", "/lines")
    assert state(shop) == before


def test_the_quote_of_another_cart_orders_nothing(client, shop, scene):
    other = client.post("/v1/carts", {"account": scene.account.id, "lines": [SEAT, WEBINAR]}).json["id"]
    seal = quoted(client, scene.cart["id"])
    before = state(shop)

    answer = client.post(f"/v1/carts/{other}/checkout", {"quote": seal, "payment": CARD})

    assert problem(answer) == (409, "quote-changed")
    assert {change["pointer"] for change in answer.json["changes"]} == {"/lines/0/id", "/lines/1/id"}
    assert state(shop) == before


STALE = {
    "another seat": lambda scene, line: scene.client.patch(line, {"seats": 6}),
    "a line less": lambda scene, line: scene.client.delete(line),
    "a VAT number": lambda scene, line: scene.client.put(f"/v1/accounts/{scene.account.id}/tax-id", {"value": "DE136695976"}),
    "another day": lambda scene, line: scene.shop.on("2026-03-02"),
}


@pytest.mark.parametrize("move", STALE.values(), ids=STALE)
def test_a_stale_quote_orders_nothing_and_the_new_one_does(client, shop, move):
    scene = Scene(client)
    scene.account = shop.open_account(country="DE")
    cart = scene.cart
    seal = quoted(client, cart["id"])
    move(scene, f"/v1/carts/{cart['id']}/lines/{cart['lines'][0]['id']}")
    before = state(shop)

    stale = client.post(f"/v1/carts/{cart['id']}/checkout", {"quote": seal, "payment": CARD})
    unchanged = state(shop)
    fresh = client.post(f"/v1/carts/{cart['id']}/checkout", {"quote": stale.json["quote"]["quote"], "payment": CARD})

    assert problem(stale) == (409, "quote-changed")
    assert stale.json["changes"]
    assert unchanged == before
    assert (fresh.status_code, fresh.json["total"]) == (201, stale.json["quote"]["total"])


def test_a_cart_is_ordered_once(client, shop, scene):
    cart = scene.cart["id"]
    body = {"quote": quoted(client, cart), "payment": CARD}
    first = client.post(f"/v1/carts/{cart}/checkout", body)
    before = state(shop)

    again = client.post(f"/v1/carts/{cart}/checkout", body)
    edit = client.post(f"/v1/carts/{cart}/lines", SEAT)
    review = client.get(f"/v1/carts/{cart}/quote")
    removal = client.delete(f"/v1/carts/{cart}")

    assert first.status_code == 201
    assert [problem(answer) for answer in (again, edit, review, removal)] == [(409, "cart-not-open")] * 4
    assert state(shop) == before


def test_a_cart_ordered_by_two_at_the_same_moment_is_ordered_once(client, shop, scene):
    body = {"quote": quoted(client, scene.cart["id"]), "payment": CARD}
    together = Barrier(2)

    def order(address, key):
        with httpx.Client(base_url=address, timeout=30) as http:
            http.get("/healthz")  # connected: from here on it is a race
            together.wait()
            headers = {"Authorization": f"Bearer {client.secret}", "Idempotency-Key": key}
            return http.post(f"/v1/carts/{scene.cart['id']}/checkout", json=body, headers=headers)

    with serving(shop) as address, ThreadPoolExecutor(2) as threads:
        answers = sorted(threads.map(order, [address] * 2, ("one", "two")), key=lambda answer: answer.status_code)

    rows = shop.rows()
    assert [answer.status_code for answer in answers] == [201, 409]
    assert answers[1].json()["type"] == "/problems/cart-not-open"
    assert answers[0].json()["status"] == "completed"
    assert (rows["orders"], rows["payment"], rows["subscription"], rows["invoice"]) == (1, 1, 2, 1)
    # 5 x 14.00 and 89.00 + 29.00 for the third seat, 21 % more
    assert [charge.amount.amount for charge in charges(shop)] == [22748]


def test_a_corporate_account_is_not_ordered_for_without_a_purchase_order(client, shop, scene):
    client.patch(f"/v1/accounts/{scene.account.id}", {"kind": "corporate"})
    body = {"quote": quoted(client, scene.cart["id"]), "payment": {"provider": "invoice_terms"}}
    before = state(shop)

    nothing_given = client.post(f"/v1/carts/{scene.cart['id']}/checkout", body)
    too_long = client.post(f"/v1/carts/{scene.cart['id']}/checkout", {**body, "purchase_order": "P" * 101})

    assert problem(nothing_given) == problem(too_long) == (422, "validation-failed", "/purchase_order")
    assert state(shop) == before


def test_a_payment_is_refunded_once(client, shop, scene):
    path = f"/v1/orders/{scene.paid['id']}"
    client.post(f"{path}/refunds", {"reason": "goodwill"})
    before = state(shop)

    again = client.post(f"{path}/refunds", {"reason": "goodwill"})

    assert problem(again) == (422, "refund-exceeds-payment", "/amount")
    assert again.json["refundable"] == {"amount": 0, "currency": "EUR"}
    assert state(shop) == before


@pytest.mark.parametrize("step", ["confirm", "cancel"])
def test_what_waits_for_nothing_is_neither_confirmed_nor_cancelled(client, shop, scene, step):
    path = f"/v1/orders/{scene.paid['id']}"
    before = state(shop)

    answer = client.post(f"{path}/{step}", {} if step == "confirm" else None)

    assert problem(answer) == (409, "transition-invalid")
    assert state(shop) == before


def test_there_is_no_test_clock_in_live_mode(open_shop):
    client = Client(open_shop(mode="live"))

    assert problem(client.post("/v1/test-clock", {"now": "2026-03-02T12:00:00Z"})) == (404, "not-found")
