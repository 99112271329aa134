"""What is asked with each request of a product: with who asks, in one statement."""

import pytest

from core.access import INTERNAL, create_key, revoke_key
from core.seats import release_seat
from tests.conftest import problem


@pytest.fixture
def member(shop):
    return shop.add_user(role="member")


@pytest.fixture
def asked(shop, member):
    """Where to ask for a member with a seat."""
    shop.assign(shop.buy("gotoassist-professional", seats=2), member)
    return f"/v1/entitlements?user={member.id}&product=gotoassist"


@pytest.fixture
def statements(shop):
    sent = []
    shop.engine.db.raw().query_hooks.append(lambda event: sent.append(event.sql))
    return sent


@pytest.mark.parametrize("bearer", ["key", "token"])
def test_who_asks_and_the_answer_are_one_statement(shop, client, member, asked, statements, bearer):
    secret = client.token(member) if bearer == "token" else create_key(shop.engine, "a product", ["catalog:read"])[1]
    statements.clear()

    answer = client.get(asked, bearer=secret)

    assert (answer.json["entitled"], answer.json["reason"], answer.json["plan"]) == (True, "seat_assigned", "gotoassist-professional")
    assert len(statements) == 1


def test_a_seat_or_a_key_that_is_taken_counts_at_once(shop, client, member, asked):
    key, secret = create_key(shop.engine, "a product", ["catalog:read"])

    answers = [client.get(asked, bearer=secret)]
    release_seat(shop.engine, answers[0].json["subscription"], INTERNAL, member.id)
    answers.append(client.get(asked, bearer=secret))
    revoke_key(shop.engine, key.id)

    assert [answer.json["reason"] for answer in answers] == ["seat_assigned", "no_seat"]
    assert problem(client.get(asked, bearer=secret)) == (401, "unauthorized")


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        ("user=usr_1", "/product"),
        ("product=rescue", "/user"),
        ("user=usr_1&product=rescue&odd=1", "/odd"),
        ("user=&product=rescue", "/user"),
    ],
)
def test_a_wrong_question_is_refused_as_everywhere(client, asked, pointer):
    assert problem(client.get(f"/v1/entitlements?{asked}")) == (422, "validation-failed", pointer)


def test_who_shows_nothing_is_told_nothing(client, asked, statements):
    statements.clear()
    assert problem(client.get(asked, bearer=None)) == (401, "unauthorized")
    assert not [sql for sql in statements if "seat_assignment" in sql]
