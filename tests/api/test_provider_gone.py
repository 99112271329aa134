"""A provider whose plugin is gone: what was paid with it reads as before, and what only it could do is refused in clear words."""

import pytest

from tests.conftest import Client, problem

SEAT = {"mode": "buy", "plan": "gotoassist-standard", "seats": 1, "interval": "month"}  # 12.00, with tax 14.52


class Scene:
    """A purchase with a stored method, a part of it refunded; then the shop goes on without the provider's plugin."""

    def __init__(self, open_shop):
        before = open_shop()
        self.account = before.account.id
        paid = before.order(before.cart(SEAT), token="tok_ok", save=True)
        client = Client(before)
        self.order = f"/v1/orders/{paid['id']}"
        self.refund = {"amount": {"amount": 500, "currency": "EUR"}, "reason": "goodwill"}
        assert client.post(f"{self.order}/refunds", self.refund).status_code == 201
        self.before = {path: client.get(path).json for path in self.paths}
        self.shop = open_shop(folder=before.folder, disabled=["sandbox"])
        self.client = Client(self.shop)

    @property
    def paths(self):
        lists = ("orders", "invoices", "subscriptions")
        return [self.order, f"/v1/accounts/{self.account}/payment-methods", *(f"/v1/{each}?account={self.account}" for each in lists)]

    @property
    def method(self):
        [method] = self.client.get(f"/v1/accounts/{self.account}/payment-methods").json["data"]
        return f"/v1/accounts/{self.account}/payment-methods/{method['id']}", method


@pytest.fixture
def scene(open_shop):
    return Scene(open_shop)


def test_payments_refunds_and_methods_read_as_before(scene):
    now = {path: scene.client.get(path).json for path in scene.paths}

    assert now == scene.before
    assert now[scene.order]["payment"]["provider"] == scene.method[1]["provider"] == "sandbox"
    assert now[scene.order]["payment"]["refunded"] == {"amount": 500, "currency": "EUR"}


def test_a_refund_says_which_provider_is_not_there_and_writes_nothing(scene):
    rows = scene.shop.rows()

    refused = scene.client.post(f"{scene.order}/refunds", scene.refund)

    assert problem(refused) == (503, "payment-provider-unavailable")
    assert (refused.json["provider"], refused.json["detail"]) == ("sandbox", "The payment provider sandbox is not enabled.")
    assert scene.shop.rows() == rows


def test_a_stored_method_of_it_can_not_be_charged(scene):
    cart = scene.client.post("/v1/carts", {"account": scene.account, "lines": [SEAT]}).json["id"]
    quote = scene.client.get(f"/v1/carts/{cart}/quote").json
    payment = {"provider": "sandbox", "payment_method": scene.method[1]["id"]}

    refused = scene.client.post(f"/v1/carts/{cart}/checkout", {"quote": quote["quote"], "payment": payment})

    assert quote["payment_providers"] == []
    assert problem(refused) == (422, "validation-failed", "/payment/provider")
    assert refused.json["errors"][0]["detail"] == "This can be paid with no provider; not with sandbox."


def test_a_stored_method_of_it_can_be_forgotten(scene):
    assert scene.client.delete(scene.method[0]).status_code == 204

    assert scene.client.get(f"/v1/accounts/{scene.account}/payment-methods").json["data"] == []


def test_its_webhooks_are_not_taken(scene):
    refused = scene.client.post("/v1/payment-webhooks/sandbox", data=b"{}", content_type="application/json", bearer=None, key=None)

    assert problem(refused) == (404, "not-found")
