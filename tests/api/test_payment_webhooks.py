"""The address that payment providers call: no key of ours, no JSON that we ask for; the signature is what they show."""

import pytest

from core.payment_webhooks import PaymentWebhookEvent
from puesto import ProviderEvent, SignatureInvalid, eur, hookimpl
from tests.conftest import Client, problem
from tests.core.gateway import Gateway, GatewayPlugin
from tests.core.test_payment_webhooks import TellingGateway

PATH = "/v1/payment-webhooks/sandbox"


class Plain(TellingGateway):
    """Signs by a header of its own and sends a form."""

    def parse_webhook(self, headers, body, received_at):
        if headers.get("x-plain") != "signed":
            raise SignatureInvalid("no signature fits the message")
        return [ProviderEvent(body.decode(), "paid", "pay_1", None, None, eur("1.00"), received_at)]


class PlainPlugin(GatewayPlugin):
    @hookimpl
    def register_payment_providers(self) -> list[Gateway]:
        return [Plain(self._context)]


@pytest.fixture
def client(open_shop):
    return Client(open_shop(plugins={"sandbox": PlainPlugin}))


def send(client, path=PATH, **headers):
    options = {"data": "id=1&id=2", "content_type": "application/x-www-form-urlencoded"}
    return client.post(path, headers={"X-Plain": "signed", **headers}, bearer=None, key=None, **options)


def stored(client):
    return [event.event_id for event in client.shop.engine.db.all(PaymentWebhookEvent.select())]


@pytest.mark.parametrize("authorization", ["Basic cHVlc3RvOnNlY3JldA==", "Bearer of the provider's own"])
def test_whatever_the_provider_sends_reaches_it_as_it_is(client, authorization):
    answer = send(client, Authorization=authorization)

    assert (answer.status_code, answer.data) == (204, b"")
    assert stored(client) == ["id=1&id=2"]


def test_a_bad_signature_is_told(client):
    answer = send(client, **{"X-Plain": "forged"}, **{"Accept-Language": "es"})

    assert problem(answer) == (401, "unauthorized")
    assert answer.json["detail"] == "Este mensaje no lo acaba de firmar sandbox."
    assert stored(client) == []


def test_an_unknown_provider_is_not_found(client):
    assert problem(send(client, "/v1/payment-webhooks/paypal")) == (404, "not-found")


def test_a_body_without_end_is_refused(client):
    answer = client.post(PATH, data=b"x" * 1_000_001, headers={"X-Plain": "signed"}, bearer=None, key=None)

    assert answer.status_code == 413
    assert stored(client) == []
