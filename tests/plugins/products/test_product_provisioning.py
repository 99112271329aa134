"""The bundled products against a real HTTP server that records what it is sent and fails on demand."""

import json
import socket
import threading
import traceback
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from core.engine.clock import TestClock
from core.engine.plugins import AskHooks, Plugins
from core.engine.settings import check_settings
from core.errors import SettingsInvalid
from plugins.products._provisioning import ProvisioningFailed
from plugins.products.gotoassist import GoToAssist
from plugins.products.gotomeeting import GoToMeeting
from plugins.products.gotowebinar import GoToWebinar
from plugins.products.rescue import Rescue
from puesto import PluginContext, ProvisioningRequest
from tests.plugins.contexts import NO_ROWS

GRANT = ProvisioningRequest("grant", "acc_1", "sub_1", "gotoassist", "gotoassist-standard", 5, "evt_1:provision")
CHANGE = ProvisioningRequest("change", "acc_1", "sub_1", "gotoassist", "gotoassist-professional", 8, "evt_2:provision")
REVOKE = ProvisioningRequest("revoke", "acc_1", "sub_1", "gotoassist", "gotoassist-professional", 0, "evt_3:provision")
TOKEN = "very-secret-token"


class ProductServer(ThreadingHTTPServer):
    """A product's endpoint: keeps (path, headers, body) of each POST and answers `status`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Recorder)
        self.received = []
        self.status = 204
        self.url = f"http://localhost:{self.server_port}/seats"


class Recorder(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, self.headers, json.loads(body)))
        self.send_response(self.server.status)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        """Keeps the test's output clean."""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    with ProductServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def start(tmp_path):
    """Makes a product plugin as the engine does: settings through its schema, then the class with its context."""

    def make(plugin=GoToAssist, **settings):
        loaded = check_settings(plugin.settings_schema(), settings)
        clock = TestClock(datetime(2026, 3, 1, tzinfo=UTC), frozen=True)
        return plugin(PluginContext("product", loaded, "sandbox", "http://127.0.0.1:8000", AskHooks(Plugins()), NO_ROWS, clock, tmp_path))

    return make


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        (GRANT, ["grant", "gotoassist-standard", 5]),
        (CHANGE, ["change", "gotoassist-professional", 8]),
        (REVOKE, ["revoke", "gotoassist-professional", 0]),
    ],
    ids=["grant", "change", "revoke"],
)
def test_the_product_is_told_what_to_do_and_for_whom(server, start, request_, body):
    action, plan, seats = body

    start(provisioning_url=server.url).provision(request_)

    [(path, headers, received)] = server.received
    assert path == "/seats"
    assert received == {
        "action": action,
        "account": "acc_1",
        "subscription": "sub_1",
        "product": "gotoassist",
        "plan": plan,
        "seats": seats,
    }
    assert headers["Content-Type"] == "application/json"
    assert headers["Idempotency-Key"] == request_.key


@pytest.mark.parametrize("plugin", [GoToAssist, GoToMeeting, GoToWebinar, Rescue])
def test_every_bundled_product_calls_its_own_url_through_the_hook(server, start, plugin):
    plugins = Plugins()
    plugins.register("product", start(plugin, provisioning_url=server.url))
    plugins.finish()

    plugins.call_plugin("product", "provision", request=GRANT)

    assert [body["action"] for _, _, body in server.received] == ["grant"]


def test_a_repetition_after_a_failure_carries_the_same_key_and_body(server, start):
    plugin = start(provisioning_url=server.url)
    server.status = 503
    with pytest.raises(ProvisioningFailed):
        plugin.provision(GRANT)

    server.status = 200
    plugin.provision(GRANT)

    (_, first, body), (_, second, repeated) = server.received
    assert (first["Idempotency-Key"], second["Idempotency-Key"]) == ("evt_1:provision", "evt_1:provision")
    assert body == repeated


@pytest.mark.parametrize("status", [302, 404, 500])
def test_any_answer_but_2xx_raises_so_that_the_outbox_tries_again(server, start, status):
    server.status = status

    with pytest.raises(ProvisioningFailed) as raised:
        start(provisioning_url=server.url).provision(GRANT)

    assert str(raised.value) == f"gotoassist answered {status} to grant"
    assert len(server.received) == 1


def test_a_refused_connection_raises(start, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    with socket.socket() as bound_but_deaf:
        bound_but_deaf.bind(("127.0.0.1", 0))
        plugin = start(provisioning_url=f"http://127.0.0.1:{bound_but_deaf.getsockname()[1]}/seats")

        with pytest.raises(httpx.ConnectError):
            plugin.provision(GRANT)


def test_without_a_url_nothing_is_called(server, start):
    assert start().provision(GRANT) is None

    assert server.received == []


def test_without_a_token_no_authorization_is_sent(server, start):
    start(provisioning_url=server.url).provision(GRANT)

    [(_, headers, _)] = server.received
    assert "Authorization" not in headers


def test_the_token_is_sent_as_a_bearer_and_shown_nowhere(server, start, monkeypatch):
    monkeypatch.setenv("PRODUCT_TOKEN", TOKEN)
    plugin = start(provisioning_url=server.url, provisioning_token="env:PRODUCT_TOKEN")
    server.status = 500

    with pytest.raises(ProvisioningFailed) as raised:
        plugin.provision(GRANT)

    [(_, headers, _)] = server.received
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in f"{plugin!r} {vars(plugin)!r} {raised.value!r}" + "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize("token", ["", f"{TOKEN}\n", f"{TOKEN}é"])
def test_a_token_that_fits_no_header_is_refused_at_the_start_without_quoting_it(start, monkeypatch, token):
    monkeypatch.setenv("PRODUCT_TOKEN", token)

    with pytest.raises(SettingsInvalid) as raised:
        start(provisioning_token="env:PRODUCT_TOKEN")

    assert str(raised.value) == "setting provisioning_token: a token is made of visible ASCII characters, at least one"


@pytest.mark.parametrize("url", ["seats.example/hook", "ftp://seats.example/hook", "https://user:word@seats.example/hook"])
def test_a_url_that_cannot_be_called_or_holds_a_credential_is_refused_at_the_start(start, url):
    with pytest.raises(SettingsInvalid, match="setting provisioning_url: "):
        start(provisioning_url=url)
