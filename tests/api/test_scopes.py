"""Who may call what: keys, tokens, scopes. The tables come from the OpenAPI document, so that no new route escapes them."""

import base64

import pytest

from core.access import SCOPES, TOKEN_SCOPES, create_key, revoke_key
from tests.api.contract import operations
from tests.api.scene import names
from tests.api.shared_shop import shared_shop
from tests.conftest import Client, problem

shop, client, scene = shared_shop()

SCOPED = operations(lambda operation: "x-scope" in operation.spec)
# Those of no scope, and who may call them.
FOR_EVERYBODY = {
    "list_products", "get_product", "create_cart", "alive", "ready", "list_problems", "explain_problem", "return_from_provider",
    "left_at_provider",
    "receive_webhook",
}  # fmt: skip
FOR_ANY_KEY_OR_TOKEN = {"check_entitlement"}


def nowhere(operation):
    """The path with ids of nothing: scopes are looked at first."""
    return operation.path.format_map(dict.fromkeys(names(operation.path), "nothing_1"))


def test_the_document_names_the_scope_of_every_other_operation():
    assert {operation.id for operation in operations()} - {operation.id for operation in SCOPED} == FOR_EVERYBODY | FOR_ANY_KEY_OR_TOKEN
    assert {operation.spec["x-scope"] for operation in SCOPED} < set(SCOPES)


@pytest.mark.parametrize("operation", SCOPED, ids=str)
def test_a_key_without_the_scope_is_refused(shop, operation):
    others = Client(shop, tuple(scope for scope in SCOPES if scope != operation.spec["x-scope"]))
    before = shop.contents()

    answer = others.send(operation.method, nowhere(operation), {"odd": 1})

    assert problem(answer) == (403, "forbidden")
    assert operation.spec["x-scope"] in answer.json["detail"]
    assert shop.contents() == before


@pytest.mark.parametrize("operation", [*SCOPED, *operations(lambda o: o.id in FOR_ANY_KEY_OR_TOKEN)], ids=str)
def test_nobody_is_asked_for_a_key(client, shop, operation):
    before = shop.contents()

    answer = client.send(operation.method, nowhere(operation), {"odd": 1}, bearer=None)

    assert problem(answer) == (401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert shop.contents() == before


@pytest.mark.parametrize("operation", SCOPED, ids=str)
def test_a_key_with_nothing_but_the_scope_is_enough(shop, operation):
    narrow = Client(shop, (operation.spec["x-scope"],))

    answer = narrow.send(operation.method, nowhere(operation), {"odd": 1})

    assert answer.status_code not in (401, 403)


@pytest.mark.parametrize("operation", SCOPED, ids=str)
def test_a_member_only_looks(client, shop, operation):
    token = client.token(shop.add_user(role="member"))
    before = shop.contents()

    answer = client.send(operation.method, nowhere(operation), {"odd": 1}, bearer=token)

    assert problem(answer) == (403, "forbidden")
    assert shop.contents() == before


def test_a_member_sees_the_catalog_and_asks_for_entitlements(client, shop):
    member = shop.add_user(role="member")
    token = client.token(member)

    catalog = client.get("/v1/products", bearer=token)
    entitlement = client.get(f"/v1/entitlements?user={member.id}&product=rescue", bearer=token)

    assert catalog.status_code == 200
    assert entitlement.json == {"entitled": False, "reason": "no_subscription", "plan": None, "features": [], "subscription": None}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_member_does_not_get_at_the_carts_of_the_account(client, shop, scene, method):
    token = client.token(shop.add_user(role="member"))
    cart, secret = f"/v1/carts/{scene.cart['id']}", {"Cart-Secret": scene.anonymous_cart["secret"]}
    before = shop.contents()

    alone = client.send(method, cart, bearer=token)
    with_a_secret = client.send(method, cart, bearer=token, headers=secret)

    assert (problem(alone), problem(with_a_secret)) == ((403, "forbidden"), (404, "not-found"))
    assert shop.contents() == before


def test_a_cart_for_an_account_takes_the_scope_that_one_for_nobody_does_not(client, shop):
    body, narrow = {"account": shop.account.id}, Client(shop, ("catalog:read", "accounts", "billing", "staff"))
    member = client.token(shop.add_user(role="member"))
    before = shop.contents()

    refused = [narrow.post("/v1/carts", body), client.post("/v1/carts", body, bearer=member), client.post("/v1/carts", body, bearer=None)]

    assert [problem(answer) for answer in refused] == [(403, "forbidden"), (403, "forbidden"), (401, "unauthorized")]
    assert shop.contents() == before
    assert client.post("/v1/carts", {"country": "ES", "currency": "EUR"}, bearer=None).status_code == 201


def test_a_billing_contact_buys_and_changes_but_is_no_staff(client, shop, scene):
    token = client.token(scene.user)

    theirs = [operation for operation in SCOPED if operation.spec["x-scope"] in TOKEN_SCOPES["billing_contact"]]
    answers = {operation.id: scene.send(operation, bearer=token) for operation in theirs if operation.method == "GET"}
    clock = client.post("/v1/test-clock", {"now": "2026-03-01T13:00:00Z"}, bearer=token)
    new_account = client.post("/v1/accounts", {"name": "Beta", "email": "it@beta.example"}, bearer=token)
    kind = client.patch(f"/v1/accounts/{scene.account.id}", {"kind": "corporate"}, bearer=token)

    assert {answer.status_code for answer in answers.values()} == {200}
    assert [problem(answer) for answer in (clock, new_account, kind)] == [(403, "forbidden")] * 3


NOT_KEYS = ["", "nonsense", "sk_" + "x" * 43, "at_" + "x" * 43, "sk_", "Ünicode", "x" * 10_000]


@pytest.mark.parametrize("bearer", NOT_KEYS, ids=lambda value: value[:9] or "empty")
@pytest.mark.parametrize("path", ["/v1/orders", "/v1/products"])
def test_what_is_no_key_opens_nothing(client, path, bearer):
    answer = client.get(path, headers={"Authorization": f"Bearer {bearer}"})

    assert problem(answer) == (401, "unauthorized")
    assert bearer[:20] not in answer.json["detail"] or not bearer


@pytest.mark.parametrize("scheme", ["Basic", "Digest", "Token", "Bearerx"])
def test_other_schemes_are_refused_whatever_they_carry(client, scheme):
    carried = base64.b64encode(f"{client.secret}:".encode()).decode() if scheme == "Basic" else client.secret

    assert problem(client.get("/v1/orders", headers={"Authorization": f"{scheme} {carried}"})) == (401, "unauthorized")


@pytest.mark.parametrize("header", ["bearer {}", "BEARER {}", "Bearer  {} "])
def test_the_scheme_is_written_as_one_likes(client, header):
    assert client.get("/v1/orders", headers={"Authorization": header.format(client.secret)}).status_code == 200


def test_a_revoked_key_opens_nothing(client, shop):
    key, secret = create_key(shop.engine, "lost", ["checkout"])
    before = client.get("/v1/orders", bearer=secret).status_code

    revoke_key(shop.engine, key.id)

    assert (before, problem(client.get("/v1/orders", bearer=secret))) == (200, (401, "unauthorized"))


def test_keys_are_not_asked_for_where_everybody_reads(client):
    pages = ["/healthz", "/readyz", "/openapi.json", "/docs", "/problems", "/problems/not-found"]

    assert [client.get(page, bearer="nonsense").status_code for page in pages] == [200] * 6
