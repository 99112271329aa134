"""A hunt: payments that go well and badly in every way, and then every place is searched for what should be nowhere."""

import json
import logging
from datetime import timedelta

import pytest

from api.cli.running import run_puesto
from core import schema
from core.payment_methods import PaymentMethod
from puesto import PaymentReference, eur
from puesto.testing.payments import PaymentProviderContract
from tests.conftest import Client
from tests.plugins.payments.gateway import SECRET, WEBHOOK_SECRETS, gateway_settings, running_gateway

KIT = PaymentProviderContract()
SEAT = {"mode": "buy", "plan": "gotomeeting-professional", "interval": "month", "seats": 5}
TOKENS = ["tok_ok", "tok_3ds", "tok_timeout", "tok_unavailable", "tok_card_declined", "tok_nobody_knows"]
METHODS = ["initiate_payment", "retrieve_payment", "confirm_payment", "cancel_payment", "capture_payment", "refund_payment", "save_method"]
FAULTS = ["error", "garbage", "reset", "rate_limited"]


class Listener(Client):
    """Keeps what every answer said."""

    def __init__(self, shop):
        super().__init__(shop)
        self.heard = []

    def send(self, method, path, json=None, **options):
        answer = super().send(method, path, json, **options)
        self.heard.append(f"{path} {answer.headers} {answer.text}")
        return answer


class Scene:
    """A shop in front of a gateway, with everything recorded that it says."""

    def __init__(self, shop, gateway):
        self.shop, self.gateway, self.client = shop, gateway, Listener(shop)
        self.account = self.client.post("/v1/accounts", {"name": "Acme", "email": "billing@acme.example", "country": "ES"}).json["id"]

    def order(self, token, **payment):
        cart = self.client.post("/v1/carts", {"account": self.account, "lines": [SEAT]}).json["id"]
        quote = self.client.get(f"/v1/carts/{cart}/quote").json["quote"]
        body = {"quote": quote, "payment": {"provider": "sandbox", "token": token, **payment}}
        return self.client.post(f"/v1/carts/{cart}/checkout", body).json

    def call_every_method(self):
        """Whatever a method answers or raises."""
        provider = self.shop.engine.providers["sandbox"]
        request, unknown = KIT.request(token="tok_ok"), PaymentReference("pay_1", eur(1), "key")
        calls = {
            "initiate_payment": lambda: provider.initiate_payment(request),
            "retrieve_payment": lambda: provider.retrieve_payment(unknown),
            "confirm_payment": lambda: provider.confirm_payment(unknown, {"token": "tok_ok"}),
            "cancel_payment": lambda: provider.cancel_payment(unknown),
            "refund_payment": lambda: provider.refund_payment(KIT.refund(request, provider.initiate_payment(request), eur(1))),
            "save_method": lambda: provider.save_method(request),
        }
        for name, call in calls.items():
            try:
                call()
            except Exception as error:
                logging.getLogger("test").error("%s: %s", name, list(chain(error)))

    def go_on(self):
        """A day of background work."""
        for _ in range(3):
            self.shop.clock.move_to(self.shop.clock.now() + timedelta(hours=8))
            self.shop.run()


@pytest.fixture
def gateway(tmp_path):
    with running_gateway(tmp_path) as gateway:
        yield gateway


@pytest.fixture
def scene(open_shop, gateway, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("PUESTO_TRACE", "1")
    caplog.set_level(logging.DEBUG)
    table = gateway_settings(tmp_path, gateway.url, gateway_timeout=2)
    return Scene(open_shop(tables={"sandbox": table, "email": {"folder": str(tmp_path / "mail")}}), gateway)


def chain(error):
    """What an exception says, and those behind it."""
    while error is not None:
        yield repr(error)
        error = error.__cause__ or error.__context__


def columns(shop):
    """Every text in the database, with where it stands."""
    for table in schema.TABLES:
        for row in shop.engine.db.all(table.select()):
            for name, value in row.__data__.items():
                yield f"{table._meta.table_name}.{name}", value if isinstance(value, str) else json.dumps(value, default=str)


def files(folder):
    return [(str(path), path.read_text(errors="replace")) for path in folder.rglob("*") if path.is_file()]


def test_no_secret_is_where_it_does_not_belong(scene, gateway, tmp_path, caplog):
    client, shop = scene.client, scene.shop
    paid = scene.order("tok_ok", save=True)
    for token in TOKENS:
        scene.order(token)
    waiting = scene.order("tok_3ds")
    client.post(f"/v1/orders/{waiting['id']}/confirm", {})
    client.post(f"/v1/accounts/{scene.account}/payment-methods", {"provider": "sandbox", "token": "tok_ok"})
    client.post(f"/v1/orders/{paid['id']}/refunds", {"amount": {"amount": 100, "currency": "EUR"}, "reason": "goodwill"})
    forged = {"webhook-id": "evt_1", "webhook-timestamp": "1772366400", "webhook-signature": "v1,AAAA"}
    client.post("/v1/payment-webhooks/sandbox", {"type": "payment.captured"}, headers=forged, bearer=None, key=None)
    for method in METHODS:
        for kind in FAULTS:
            gateway.fault(kind, on=method)
            scene.call_every_method()
    gateway.fault("error", on="initiate_payment")
    scene.order("tok_ok")
    scene.go_on()
    gateway.kill()
    scene.order("tok_ok")
    scene.call_every_method()
    scene.go_on()
    for path in ("/v1/stuck-cases", "/v1/events", "/metrics", f"/v1/orders?account={scene.account}", "/openapi.json", "/readyz"):
        client.get(path)
    methods = [method.reference for method in shop.engine.db.all(PaymentMethod.select())]
    keys = [SECRET, *WEBHOOK_SECRETS, *(secret.removeprefix("whsec_") for secret in WEBHOOK_SECRETS), client.secret]

    shown = [("answers", text) for text in client.heard]
    logged = [record for record in caplog.records if record.name != "peewee"]  # statements, with the rows that `columns` looks through
    shown += [(f"log {record.name}", f"{record.getMessage()} {record.exc_text or ''} {record.args}") for record in logged]
    shown += [("reprs", repr([shop.engine.settings, shop.engine.providers, vars(shop.engine.providers["sandbox"])]))]
    shown += [(f"e-mail {name}", text) for name, text in files(tmp_path / "mail")]
    stored = list(columns(shop))

    assert len(methods) >= 2 and len(stored) > 100 and len(client.heard) > 40 and len(logged) > 500
    assert found(keys, shown + stored) == []
    assert found(methods, shown) == []
    assert found(methods, stored) == [(method, "payment_method.reference") for method in methods]
    assert found(TOKENS, [(where, text) for where, text in shown + stored if "/openapi.json" not in text]) == []


def found(secrets, places):
    """Each secret that is in a place where it does not belong."""
    return [(secret, where) for secret in secrets for where, text in places if secret in text]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["plugins check", "payments check sandbox", "plugins", "payments list", "jobs", "db status"])
def test_no_command_tells_a_secret(gateway, tmp_path, command):
    (tmp_path / "shop").mkdir()
    table = gateway_settings(tmp_path, gateway.url)
    texts = {name: ",".join(value) if isinstance(value, list) else value for name, value in table.items()}
    settings = {f"PUESTO_PLUGINS__SANDBOX__{name.upper()}": text for name, text in texts.items()}

    done = run_puesto(tmp_path / "shop", *command.split(), PUESTO_TRACE="1", **settings)

    assert done.stdout
    assert found([SECRET, *WEBHOOK_SECRETS], [("stdout", done.stdout), ("stderr", done.stderr)]) == []
