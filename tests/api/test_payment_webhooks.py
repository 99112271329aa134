"""The address that payment providers call: no key of ours, no JSON that we ask for; the signature is what they show."""

import json
from uuid import uuid4

import pytest

from core.payment_webhooks import PaymentWebhookEvent
from plugins.payments.sandbox_webhooks import sign
from puesto import ProviderEvent, SignatureInvalid, eur, hookimpl
from tests.conftest import Client, problem
from tests.core.gateway import Gateway, GatewayPlugin
from tests.core.test_payment_webhooks import TellingGateway
from tests.plugins.payments.gateway import WEBHOOK_SECRETS

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


# --- rotating a secret


NEW, OLD = WEBHOOK_SECRETS


@pytest.fixture
def knowing(open_shop, tmp_path):
    """knowing(OLD, NEW): a client of the same shop after a restart in which the plugin was given these secrets."""
    folder = tmp_path / "rotated"

    def restart(*secrets):
        folder.mkdir(exist_ok=True)
        files = [folder / f"secret-{number}" for number in range(3)]
        for file, secret in zip(files, ("the gateway's", *secrets), strict=False):
            file.write_text(secret)
        gateway, *webhooks = (f"file:{file}" for file in files[: len(secrets) + 1])
        settings = {"gateway_url": "http://127.0.0.1:1", "gateway_secret": gateway, "webhook_secrets": webhooks}
        return Client(open_shop(folder=folder, tables={"sandbox": settings}))

    return restart


def signed_by(client, *secrets):
    """What is answered to an event that is signed with each of the secrets, as a provider does between two."""
    event, now = f"evt_{uuid4().hex}", str(int(client.shop.clock.now().timestamp()))
    data = {"payment_id": "pay_1", "provider_ref": "ch_1", "refund_id": None, "amount": {"amount": 100, "currency": "EUR"}}
    body = json.dumps({"type": "payment.captured", "timestamp": "2026-03-01T12:00:00+00:00", "data": data}).encode()
    signatures = " ".join(sign(secret, event, now, body) for secret in secrets)
    headers = {"Webhook-Id": event, "Webhook-Timestamp": now, "Webhook-Signature": signatures}
    status = client.post(PATH, data=body, content_type="application/json", headers=headers, bearer=None, key=None).status_code
    return status, event in stored(client)


def test_a_secret_is_rotated_without_losing_a_message(knowing):
    good, bad = (204, True), (401, False)

    before = knowing(OLD)
    assert (signed_by(before, OLD), signed_by(before, NEW)) == (good, bad)

    between = knowing(OLD, NEW)
    assert (signed_by(between, OLD), signed_by(between, NEW), signed_by(between, OLD, NEW)) == (good, good, good)

    after = knowing(NEW)
    assert (signed_by(after, OLD), signed_by(after, NEW)) == (bad, good)
