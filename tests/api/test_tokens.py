"""Account tokens: how long they last, and what ends them before."""

import pytest

from tests.conftest import problem


@pytest.fixture
def user(shop):
    return shop.add_user(role="billing_contact")


def test_a_token_lasts_an_hour(client, shop, user):
    answer = client.post(f"/v1/accounts/{user.account}/tokens", {"user": user.id})
    token = answer.json["token"]

    client.post("/v1/test-clock", {"now": "2026-03-01T12:59:59Z"})
    before = client.get("/v1/orders", bearer=token).status_code
    client.post("/v1/test-clock", {"now": "2026-03-01T13:00:00Z"})

    assert answer.json["expires_at"] == "2026-03-01T13:00:00.000Z"
    assert (before, problem(client.get("/v1/orders", bearer=token))) == (200, (401, "unauthorized"))


@pytest.mark.parametrize(
    ("method", "body"),
    [("DELETE", None), ("PATCH", {"role": "member"})],
    ids=["removed", "another role"],
)
def test_a_token_ends_with_what_its_user_was(client, user, method, body):
    token = client.token(user)

    client.send(method, f"/v1/accounts/{user.account}/users/{user.id}", body)

    assert problem(client.get("/v1/orders", bearer=token)) == (401, "unauthorized")


def test_a_token_outlives_another_name(client, user):
    token = client.token(user)

    client.patch(f"/v1/accounts/{user.account}/users/{user.id}", {"name": "Ana María"})

    assert client.get("/v1/orders", bearer=token).status_code == 200


def test_tokens_are_made_by_back_ends_only(client, shop, user):
    token, before = client.token(user), shop.rows()

    answer = client.post(f"/v1/accounts/{user.account}/tokens", {"user": user.id}, bearer=token)

    assert problem(answer) == (403, "forbidden")
    assert shop.rows() == before


def test_a_token_is_told_once_whatever_the_key(client, user):
    path, body = f"/v1/accounts/{user.account}/tokens", {"user": user.id}

    first, second = client.post(path, body, key="same"), client.post(path, body, key="same")

    assert first.json["token"] != second.json["token"]
    assert client.shop.rows()["idempotency_key"] == 0
