"""Paga Facil keeps the contract: Puesto's conformance kit, against a gateway in a process of its own."""

import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import gateway as paga
import httpx
import pytest
from pagafacil import PagaFacil, PagaFacilSettings

from puesto.testing import PaymentProviderContract
from puesto.testing.payments import FaultyNetwork


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    ledger = tmp_path_factory.mktemp("gateway") / "libro.db"
    with subprocess.Popen([sys.executable, Path(paga.__file__), ledger], stdout=subprocess.PIPE, text=True) as process:
        yield process.stdout.readline().strip()
        process.terminate()


class TestPagaFacil(PaymentProviderContract):
    good_token = paga.GOOD
    declined_tokens: ClassVar = {
        "tarjeta_sin_fondos": "insufficient_funds",
        "tarjeta_caducada": "expired_card",
        "tarjeta_robada": "fraud_suspected",
        "tarjeta_rara": "card_declined",
    }
    action_token = paga.ASKS
    refused_action_token = paga.ASKS_AND_REFUSES
    secrets = (paga.PASSWORD, *paga.WEBHOOK_SECRETS)
    paying_requests = ("POST /v2/cobros",)
    refunding_requests = ("POST /v2/devoluciones",)
    looking_up_requests = ("GET /v2/cobros",)

    @pytest.fixture
    def provider_at(self, monkeypatch):
        for name, secret in zip(("PASSWORD", "NEW", "OLD"), (paga.PASSWORD, *paga.WEBHOOK_SECRETS), strict=True):
            monkeypatch.setenv(f"PAGA_{name}", secret)
        table = {"merchant": paga.MERCHANT, "password": "env:PAGA_PASSWORD", "webhook_secrets": ["env:PAGA_NEW", "env:PAGA_OLD"]}
        return lambda url, timeout=20: PagaFacil(PagaFacilSettings().load({"url": url, "timeout": timeout, **table}))

    @pytest.fixture
    def provider(self, gateway, provider_at):
        return provider_at(gateway)

    @pytest.fixture
    def network(self, gateway):
        with FaultyNetwork(gateway) as network:
            yield network

    @pytest.fixture
    def remote_provider(self, network, provider_at):
        return provider_at(network.url, timeout=2)

    def buyer_acts(self, provider, result):
        return self.decide(result, "aceptar")

    def buyer_gives_up(self, provider, result):
        return self.decide(result, "rechazar")

    def decide(self, result, decision):
        return dict(httpx.post(result.action.url, data={"decision": decision}).next_request.url.params)

    def webhook(self, provider, request, result, *, type=None, old_secret=False):
        news = {
            "tipo": type or "cobro.cobrado",
            "cobro": result.provider_ref,
            "referencia": request.payment_id,
            "devolucion": None,
            "importe": str(result.amount.decimal()),
            "divisa": result.amount.currency,
        }
        return paga.webhook(news, paga.WEBHOOK_SECRETS[1 if old_secret else 0])
