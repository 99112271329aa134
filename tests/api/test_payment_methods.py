"""PATCH of a stored payment method: it becomes the default, and nothing else can be changed."""

import pytest

from tests.api.scene import CARD, Scene
from tests.conftest import Client, problem


@pytest.fixture
def scene(shop):
    return Scene(Client(shop))


def test_a_method_is_made_the_default(scene):
    path = f"/v1/accounts/{scene.account.id}/payment-methods"
    first, second = scene.client.post(path, CARD).json, scene.client.post(path, CARD).json

    answer = scene.client.patch(f"{path}/{first['id']}", {"default": True})

    assert (answer.status_code, answer.json) == (200, {**first, "default": True})
    assert {each["id"]: each["default"] for each in scene.client.get(path).json["data"]} == {first["id"]: True, second["id"]: False}


@pytest.mark.parametrize("value", [False, None, "yes", 2])
def test_a_default_is_taken_away_by_another_only(scene, value):
    path = f"/v1/accounts/{scene.account.id}/payment-methods/{scene.method['id']}"
    before = scene.shop.contents()

    assert problem(scene.client.patch(path, {"default": value})) == (422, "validation-failed", "/default")

    assert scene.shop.contents() == before
