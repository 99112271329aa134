"""The plugin `stripe`: when it rests, what it refuses to start with, and what becomes of Stripe's errors."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from marshmallow import ValidationError

from plugins.payments import stripe as plugin_module
from puesto import (
    PayableCart,
    PaymentReference,
    ProviderMisconfigured,
    ProviderTimeout,
    ProviderUnavailable,
    eur,
    money,
)
from tests.plugins.payments.localstripe import SECRET_KEY, stripe_plugin

PAYMENT = PaymentReference("pay_1", eur("20.00"), "pay_1", "pi_1", account="acc_1")


@pytest.fixture
def answering():
    """A server that gives one answer to everything: its address."""
    servers = []

    def start(status, body):
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self):
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Request-Id", "req_1")
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_GET

            def log_message(self, *arguments):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        servers.append(server)
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def provider_at(folder, address, **settings):
    [provider] = stripe_plugin(folder, address, **settings).register_payment_providers()
    return provider


def error(**said):
    return {"error": {"message": f"about {SECRET_KEY}", **said}}


@pytest.mark.parametrize(
    ("status", "body", "raised"),
    [
        (401, error(type="invalid_request_error"), ProviderMisconfigured),
        (403, error(type="invalid_request_error"), ProviderMisconfigured),
        (400, error(type="invalid_request_error", code="parameter_unknown", param="amount"), ProviderMisconfigured),
        (429, error(type="invalid_request_error", code="rate_limit"), ProviderUnavailable),
        (400, error(type="idempotency_error"), ProviderTimeout),
        (500, error(type="api_error"), ProviderTimeout),
        (503, b"<html>", ProviderTimeout),
        (200, b"no json", ProviderTimeout),
    ],
)
def test_errors_of_stripe_become_those_of_the_contract(tmp_path, answering, status, body, raised):
    provider = provider_at(tmp_path, answering(status, body))

    with pytest.raises(raised) as caught:
        provider.retrieve_payment(PAYMENT)

    assert SECRET_KEY not in str(caught.value)
    assert (caught.value.__cause__, caught.value.__suppress_context__) == (None, True)


def test_a_key_that_stays_in_use_leaves_the_outcome_unknown(tmp_path, answering, monkeypatch):
    monkeypatch.setattr("plugins.payments.stripe_client.CONFLICT_PAUSES", (0.01, 0.01))
    provider = provider_at(tmp_path, answering(409, error(type="idempotency_error", code="idempotency_key_in_use")))

    with pytest.raises(ProviderTimeout, match="same key"):
        provider.retrieve_payment(PAYMENT)


def test_nobody_at_the_address_has_charged_nothing(tmp_path):
    provider = provider_at(tmp_path, "http://127.0.0.1:9")

    with pytest.raises(ProviderUnavailable):
        provider.retrieve_payment(PAYMENT)


def test_without_a_key_it_rests_and_says_why(tmp_path):
    plugin = stripe_plugin(tmp_path, None, secret_key=None)

    assert plugin.register_payment_providers() == []
    assert plugin.idle == "rests until plugins.stripe.secret_key is set"


def test_without_the_sdk_it_rests_and_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(plugin_module, "find_spec", lambda name: None)

    plugin = stripe_plugin(tmp_path, None, secret_key=None)

    assert plugin.register_payment_providers() == []
    assert plugin.idle == "needs Stripe's SDK: pip install 'puesto[stripe]'"
    with pytest.raises(RuntimeError, match=r"puesto\[stripe\]"):
        stripe_plugin(tmp_path, None)


@pytest.mark.parametrize(("key", "mode"), [("sk_live_1", "sandbox"), ("rk_live_1", "sandbox"), ("sk_test_1", "live")])
def test_a_key_of_the_other_mode_stops_the_start(tmp_path, key, mode):
    (tmp_path / "other").write_text(key)

    with pytest.raises(RuntimeError, match=f"a {key[3:7]} key, and the shop is in {mode} mode"):
        stripe_plugin(tmp_path, None, mode=mode, secret_key=f"file:{tmp_path / 'other'}")


def test_a_shop_without_settings_starts_and_does_not_offer_it(shop):
    assert "stripe" in shop.engine.plugins.names
    assert "stripe" not in shop.engine.providers


@pytest.mark.parametrize("setting", [{"secret_key": "pk_live_1"}, {"webhook_secrets": ["sk_1"]}, {"publishable_key": "sk_1"}])
def test_keys_in_the_wrong_place_are_refused_and_not_shown(tmp_path, setting):
    [(name, value)] = setting.items()
    secret = value[0] if isinstance(value, list) else value
    (tmp_path / "wrong").write_text(secret)
    reference = secret if name == "publishable_key" else f"file:{tmp_path / 'wrong'}"

    with pytest.raises(ValidationError) as caught:
        stripe_plugin(tmp_path, None, **{name: [reference] if isinstance(value, list) else reference})

    assert secret not in str(caught.value)


@pytest.mark.parametrize(
    ("amount", "reason"),
    [
        (money("12.340", "KWD"), None),
        (money("12.345", "KWD"), "amount_not_whole"),
        (money(2000, "JPY"), None),
        (money(49, "JPY"), "amount_too_small"),
        (eur("0.49"), "amount_too_small"),
        (eur("999999.99"), None),
        (eur("1000000.00"), "amount_too_large"),
    ],
)
def test_amounts_that_stripe_would_refuse_are_refused_before(tmp_path, amount, reason):
    provider = provider_at(tmp_path, None)

    assert provider.refusal(PayableCart(amount, "ES", corporate=False, staff=False)) == reason
