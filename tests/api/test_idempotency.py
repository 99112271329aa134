"""Idempotency-Key: the same request gets the first answer, whatever happens in between."""

import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier

import pytest

from api.app import create_app
from api.http import keyed
from core.engine.idempotency import IdempotencyKey
from tests.api.contract import operations
from tests.api.providers import Patient
from tests.api.scene import SEAT, Scene
from tests.conftest import Client, problem

POSTS = operations(lambda operation: operation.method == "POST")
# A token is never told twice; a provider's message has an id of its own.
WITHOUT_KEY = {"create_token", "receive_webhook"}
MONEY_MOVES = {"check_out", "confirm_order", "capture_order", "void_order", "refund_order", "void_invoice"}
MONEY_MOVES |= {"change_subscription", "pay_past_due"}
NEW_CART = {"country": "ES", "currency": "EUR", "lines": [SEAT]}


@pytest.fixture
def scene(client):
    return Scene(client)


def test_every_post_takes_a_key_and_needs_one_where_money_moves():
    header = {operation.id: operation.header("Idempotency-Key") for operation in POSTS}

    assert {name for name, found in header.items() if found is None} == WITHOUT_KEY
    assert {name for name, found in header.items() if found and found["required"]} == MONEY_MOVES


@pytest.mark.parametrize("operation", [operation for operation in POSTS if operation.id not in WITHOUT_KEY], ids=str)
def test_the_same_request_gets_the_first_answer_and_another_body_is_refused(client, shop, scene, operation):
    body, options = scene.body(operation), {"headers": scene.headers(operation), "key": "mine"}
    first = scene.send(operation, json=body, key="mine")
    before, events = shop.contents(), shop.events()

    again = client.post(scene.path(operation), body, **options)
    other = client.post(scene.path(operation), data=f"{json.dumps(body or {})} ", content_type="application/json", **options)

    assert first.status_code < 300
    assert (again.status_code, again.json, again.headers.get("Location")) == (first.status_code, first.json, first.headers.get("Location"))
    assert ("Idempotency-Replayed" in first.headers, again.headers.get("Idempotency-Replayed")) == (False, "true")
    assert problem(other) == (422, "idempotency-key-reused")
    assert (shop.contents(), shop.events()) == (before, events)


@pytest.mark.parametrize("operation", operations(lambda operation: operation.id in MONEY_MOVES), ids=str)
@pytest.mark.parametrize("key", [None, "  "], ids=["none", "blank"])
def test_money_does_not_move_without_a_key(shop, scene, operation, key):
    path, body = scene.path(operation), scene.body(operation)
    before, charges = shop.contents(), shop.engine.providers["sandbox"].charges()

    answer = scene.client.post(path, body, key=key)

    assert problem(answer) == (400, "idempotency-key-missing")
    assert (shop.contents(), shop.engine.providers["sandbox"].charges()) == (before, charges)


def test_a_key_is_one_callers_own(shop, client):
    other = Client(shop)
    body = {"account": shop.account.id}

    carts = {asker.post("/v1/carts", body, key="mine").json["id"] for asker in (client, other)}

    assert len(carts) == 2


def test_a_key_is_one_operations_own(client, shop):
    cart = client.post("/v1/carts", {"account": shop.account.id}).json["id"]

    added = [client.post(f"/v1/carts/{cart}/lines", line, key="mine").status_code for line in (SEAT,)]
    claimed = client.post("/v1/carts", {"account": shop.account.id}, key="mine").status_code

    assert (added, claimed) == ([201], 201)


@pytest.mark.parametrize("bearer", [None, ""], ids=["nobody", "back end"])
def test_the_secret_of_a_cart_is_told_once_and_kept_nowhere(client, shop, bearer):
    first, second = (client.post("/v1/carts", NEW_CART, key="mine", bearer=bearer).json for _ in range(2))

    assert first["id"] != second["id"]
    assert first["secret"] != second["secret"]
    assert shop.count(IdempotencyKey) == 0


def test_strangers_share_no_answers(shop):
    app, counted = create_app(shop.engine), itertools.count(1)
    app.add_url_rule("/v1/count", view_func=keyed()(lambda: {"count": next(counted)}), endpoint="count", methods=["POST"])
    ask = partial(app.test_client().post, "/v1/count", headers={"Idempotency-Key": "mine"})

    assert [ask().json["count"], ask().json["count"]] == [1, 2]
    assert shop.count(IdempotencyKey) == 0


def test_who_holds_a_carts_secret_has_keys_of_their_own(client, shop):
    cart = client.post("/v1/carts", {"country": "ES", "currency": "EUR"}, bearer=None).json
    path, secret = f"/v1/carts/{cart['id']}/lines", {"Cart-Secret": cart["secret"]}

    first, again = (client.post(path, SEAT, key="mine", bearer=None, headers=secret) for _ in range(2))

    assert again.json == first.json
    assert again.headers["Idempotency-Replayed"] == "true"
    assert shop.rows()["cart_line"] == 1


def test_an_error_is_no_answer_to_keep(client, scene):
    path = f"/v1/subscriptions/{scene.subscription.id}"
    refused = client.post(f"{path}/reactivate", key="mine")
    client.post(f"{path}/cancel", {})

    answer = client.post(f"{path}/reactivate", key="mine")

    assert (problem(refused), answer.status_code) == ((409, "transition-invalid"), 200)


def test_a_declined_payment_is_declined_again_without_asking_the_bank(client, shop, scene):
    quote = client.get(f"/v1/carts/{scene.cart['id']}/quote").json["quote"]
    body = {"quote": quote, "payment": {"provider": "sandbox", "token": "tok_card_declined"}}
    first = client.post(f"/v1/carts/{scene.cart['id']}/checkout", body, key="mine")
    before = shop.contents()

    again = client.post(f"/v1/carts/{scene.cart['id']}/checkout", body, key="mine")

    assert problem(again) == problem(first) == (402, "payment-declined")
    assert again.json == first.json
    assert again.headers["Idempotency-Replayed"] == "true"
    assert len(shop.engine.providers["sandbox"].charges()) == 1
    assert shop.contents() == before


def test_a_method_is_stored_at_its_provider_once(open_shop):
    provider = Patient()
    shop = open_shop(plugins={"patient": provider})
    client, path = Client(shop), f"/v1/accounts/{shop.account.id}/payment-methods"

    first, again = (client.post(path, {"provider": "patient", "token": "any"}, key="mine") for _ in range(2))

    assert again.json == first.json
    assert len(provider.payments) == 1
    assert shop.rows()["payment_method"] == 1


def test_a_repetition_waits_for_the_first_that_still_runs(open_shop):
    patient = Patient()
    shop = open_shop(plugins={"patient": patient})
    client, scene = Client(shop), Scene(Client(shop))
    path = f"/v1/carts/{scene.cart['id']}/checkout"
    body = {"quote": client.get(f"/v1/carts/{scene.cart['id']}/quote").json["quote"], "payment": {"provider": "patient", "token": "any"}}

    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(client.post, path, body, key="mine")
        patient.asked.wait(30)
        meanwhile = client.post(path, body, key="mine")
        patient.may_answer.set()
    after = client.post(path, body, key="mine")

    assert problem(meanwhile) == (409, "request-in-progress")
    assert (meanwhile.headers["Retry-After"], meanwhile.json["retry_after"]) == ("2", 2)
    assert (running.result().status_code, after.json) == (201, running.result().json)
    assert len(patient.payments) == 1


def test_the_same_request_at_the_same_moment_happens_once(client, shop):
    account, together = shop.account.id, Barrier(4)

    def ask(_):
        together.wait()
        return client.post("/v1/carts", {"account": account, "lines": [SEAT]}, key="mine")

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(ask, range(4)))

    made = [answer for answer in answers if answer.status_code == 201]
    refused = [problem(answer) for answer in answers if answer.status_code != 201]
    again = client.post("/v1/carts", {"account": account, "lines": [SEAT]}, key="mine")
    assert len({answer.json["id"] for answer in [*made, again]}) == 1
    assert set(refused) <= {(409, "request-in-progress")}  # where rows are locked one by one, they may all begin
    assert shop.rows()["cart"] == 1


@pytest.mark.parametrize("key", ["k" * 255, "ünï¢ode", '"; DROP TABLE cart; --', "%00", "{}"])
def test_a_key_is_any_text(client, shop, key):
    first, again = (client.post("/v1/carts", {"account": shop.account.id}, key=key) for _ in range(2))

    assert again.json == first.json


@pytest.mark.parametrize("length", [256, 10_000])
def test_a_key_has_at_most_255_characters(client, shop, length):
    body = {"account": shop.account.id}
    before = shop.contents()

    answer = client.post("/v1/carts", body, key="k" * length)

    assert problem(answer) == (422, "validation-failed", "/Idempotency-Key")
    assert shop.contents() == before
