"""No account sees or changes what is another's: by any operation, whether the id stands in the path, the query or the body."""

import pytest

from core.engine.deliveries import fan_out
from tests.api.contract import operations
from tests.api.scene import SEAT, Scene, names
from tests.api.shared_shop import shared_shop
from tests.conftest import Client, problem

shop, client, scene = shared_shop()

WITH_IDS = operations(lambda operation: bool(names(operation.path)) and operation.spec.get("security"))
FOR_BACK_ENDS = {"extend_trial", "capture_order", "void_order", "refund_order", "void_invoice", "write_off_invoice", "create_token"}


@pytest.fixture(scope="module")
def strangers_account(shop):
    return shop.open_account(name="Stranger, Inc.")


@pytest.fixture(scope="module")
def stranger(client, shop, strangers_account):
    """A token of the billing contact of another account."""
    return client.token(shop.add_user(strangers_account, role="billing_contact"))


@pytest.fixture(scope="module")
def strangers_cart(client, strangers_account):
    return client.post("/v1/carts", {"account": strangers_account.id, "lines": [SEAT]}).json


@pytest.mark.parametrize("operation", WITH_IDS, ids=str)
def test_ids_of_another_account_are_not_found(shop, scene, stranger, operation):
    path, body = scene.path(operation), scene.body(operation)
    before = shop.contents()

    answer = scene.client.send(operation.method, path, body, bearer=stranger)

    expected = (403, "forbidden") if operation.id in FOR_BACK_ENDS else (404, "not-found")
    assert problem(answer)[:2] == expected
    assert shop.contents() == before


def test_the_same_requests_find_it_for_the_account_itself(open_shop):
    scene = Scene(Client(open_shop()))
    token = scene.client.token(scene.user)
    removing_last = sorted(WITH_IDS, key=lambda operation: (operation.method == "DELETE", operation.id))

    answers = {operation.id: scene.send(operation, bearer="" if operation.id in FOR_BACK_ENDS else token) for operation in removing_last}

    assert {name: problem(answer) for name, answer in answers.items() if answer.status_code >= 300} == {
        "confirm_order": (409, "transition-invalid"),  # cancelled by then
        "change_subscription": (409, "transition-invalid", "/subscription"),  # that as well
        **dict.fromkeys(("delete_cart", "get_quote", "merge_carts", "remove_cart_line"), (409, "cart-not-open")),  # ordered by then
    }


def test_lists_hold_what_is_the_accounts_own(open_shop):
    scene = Scene(Client(open_shop()))
    client, stranger = scene.client, scene.client.token(scene.shop.add_user(scene.shop.open_account(), role="billing_contact"))
    lists = [operation.path for operation in operations(lambda operation: operation.id.startswith("list_")) if "/v1/" in operation.path]
    whole = {path for path in lists if "{" not in path and path not in ("/v1/products", "/v1/stuck-cases")}  # everybody's; the staff's

    scene.client.check_out(scene.cart["id"])
    scene.shop.run()

    rows = {path: [len(client.get(path, bearer=bearer).json["data"]) for bearer in ("", stranger)] for path in whole}

    assert rows == {"/v1/orders": [1, 0], "/v1/subscriptions": [2, 0], "/v1/invoices": [1, 0], "/v1/events": [3, 0]}


@pytest.mark.parametrize("path", ["/v1/orders", "/v1/subscriptions", "/v1/invoices"])
def test_a_list_can_not_be_asked_for_another_account(client, scene, stranger, path):
    answer = client.get(path, query_string={"account": scene.account.id}, bearer=stranger)

    assert problem(answer) == (404, "not-found")


def first_event(scene):
    assert scene.paid
    fan_out(scene.shop.engine)
    return scene.shop.events()[0]["id"]


FOREIGN_IDS = {
    "user of an entitlement": ("GET", lambda scene, mine: f"/v1/entitlements?product=rescue&user={scene.user.id}", None),
    "event to go on from": ("GET", lambda scene, mine: f"/v1/events?after={first_event(scene)}", None),
    "account of a cart": ("POST", lambda scene, mine: "/v1/carts", lambda scene: {"account": scene.account.id}),
    "subscription to change": (
        "POST",
        lambda scene, mine: f"/v1/carts/{mine['id']}/lines",
        lambda scene: {"mode": "change", "subscription": scene.subscription.id, "seats": 9},
    ),
    "cart to merge": (
        "POST",
        lambda scene, mine: f"/v1/carts/{mine['id']}/merge",
        lambda scene: {"cart": scene.cart["id"], "mode": "keep"},
    ),
}


@pytest.mark.parametrize(("method", "path", "body"), FOREIGN_IDS.values(), ids=FOREIGN_IDS)
def test_ids_of_another_account_elsewhere_are_not_found(client, shop, scene, strangers_cart, stranger, method, path, body):
    address, sent = path(scene, strangers_cart), body and body(scene)
    before = shop.contents()

    answer = client.send(method, address, sent, bearer=stranger)

    assert problem(answer)[:2] == (404, "not-found")
    assert shop.contents() == before


def test_the_stored_method_of_another_account_does_not_pay(client, shop, scene, strangers_cart, stranger):
    quote = client.get(f"/v1/carts/{strangers_cart['id']}/quote", bearer=stranger).json["quote"]
    payment = {"provider": "sandbox", "payment_method": scene.method["id"]}
    before = shop.contents()

    answer = client.post(f"/v1/carts/{strangers_cart['id']}/checkout", {"quote": quote, "payment": payment}, bearer=stranger)

    assert problem(answer) == (404, "not-found", "/payment/payment_method")
    assert shop.contents() == before


def test_a_user_of_another_account_gets_no_seat(client, shop, scene):
    outsider, seats = shop.add_user(shop.open_account(name="Third, Ltd.")), f"/v1/subscriptions/{scene.subscription.id}/seats"
    before = shop.contents()

    answers = [
        client.put(f"{seats}/{outsider.id}"),
        client.post(seats, {"users": [outsider.id]}),
        client.patch(f"/v1/accounts/{scene.account.id}/users/{outsider.id}", {"name": "Mine"}),
    ]

    assert [problem(answer)[:2] for answer in answers] == [(404, "not-found")] * 3
    assert shop.contents() == before


@pytest.mark.parametrize("secret", [None, "", "x" * 32, "x" * 10_000], ids=["none", "empty", "another", "long"])
def test_a_cart_without_account_is_opened_by_its_secret_only(client, shop, scene, stranger, secret):
    headers = {} if secret is None else {"Cart-Secret": secret}
    path = f"/v1/carts/{scene.anonymous_cart['id']}"
    before = shop.contents()

    nobody = client.send("DELETE", path, bearer=None, headers=headers)
    another = client.send("DELETE", path, bearer=stranger, headers=headers)

    assert problem(nobody) in ((401, "unauthorized"), (404, "not-found"))
    assert problem(another) == (404, "not-found")
    assert shop.contents() == before
