"""The sandbox gateway as a process: start it, kill it, start it again on the same ledger.

    with running_gateway(tmp_path) as gateway:
        provider = gateway.provider()
        gateway.fault("reset", on="initiate_payment")
        gateway.kill()
        gateway.start()
"""

import base64
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from api.cli.running import free_port
from core.engine.clock import TestClock
from core.engine.plugins import AskHooks, Plugins
from plugins.payments.sandbox import SandboxPlugin, SandboxSettings
from puesto import PluginContext
from tests.plugins.contexts import NO_ROWS

SECRET = "a secret of the gateway"
http = httpx.Client(timeout=10, verify=False)  # plain HTTP; reading certificates would take 40 ms for every call
WEBHOOK_SECRETS = [f"whsec_{base64.b64encode(bytes([number]) * 24).decode()}" for number in (1, 2)]


class Gateway:
    """folder: for the ledger and the secrets. options: further ones of the command; with `--webhook-url`, secrets as well."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.options, self.port = folder, options, free_port()
        self.start()

    def start(self) -> None:
        """Each time at the same port."""
        command = [sys.executable, "-m", "plugins.payments.sandbox_command", "--port", str(self.port), "--secret", SECRET]
        ledger = ["--ledger", str(self.folder / "ledger.db")]
        self.process = subprocess.Popen([*command, *ledger, *self.options], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        if not said:
            self._ended()
            raise RuntimeError("the gateway has not started")
        self.url = said.split()[3].rstrip(",")

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self._ended()

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.terminate()
        return self._ended()

    def _ended(self) -> int:
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.wait(30)

    def provider(self, **changes: Any) -> Any:
        """The provider of a shop that uses this gateway; `changes` of its settings."""
        [provider] = sandbox_plugin(self.folder, **gateway_settings(self.folder, self.url, **changes)).register_payment_providers()
        return provider

    def call(self, method: str, path: str, **request: Any) -> httpx.Response:
        return http.request(method, f"{self.url}{path}", headers={"Authorization": f"Bearer {SECRET}"}, **request)

    def fault(self, kind: str, **fault: Any) -> None:
        """This fault and no other. See `plugins.payments.sandbox_faults.Fault`."""
        assert self.call("POST", "/faults", json=[{"kind": kind, **fault}]).status_code == 200

    def hits(self) -> int:
        """How often the fault has struck."""
        return int(self.call("GET", "/faults").json()[0]["hits"])


@contextmanager
def running_gateway(folder: Path, *options: str) -> Iterator[Gateway]:
    gateway = Gateway(folder, *options)
    try:
        yield gateway
    finally:
        gateway.kill()


def gateway_settings(folder: Path, url: str, **changes: Any) -> dict[str, Any]:
    """Settings of the plugin `sandbox` for a gateway at `url`; the secrets stand in files in `folder`."""
    secrets = {"gateway": SECRET, "webhook0": WEBHOOK_SECRETS[0], "webhook1": WEBHOOK_SECRETS[1]}
    for name, secret in secrets.items():
        (folder / name).write_text(secret)
    gateway, *webhooks = (f"file:{folder / name}" for name in secrets)
    return {"gateway_url": url, "gateway_secret": gateway, "webhook_secrets": webhooks, **changes}


def sandbox_plugin(folder: Path, mode: str = "sandbox", **settings: Any) -> SandboxPlugin:
    clock = TestClock(frozen=True, start=datetime(2026, 3, 1, 12, tzinfo=UTC))
    loaded: Mapping[str, Any] = SandboxSettings().load(settings)
    return SandboxPlugin(PluginContext("sandbox", loaded, mode, "http://127.0.0.1:8000", AskHooks(Plugins()), NO_ROWS, clock, folder))


def decide(page: str, decision: str = "approve") -> httpx.Response:
    """Press a button on the bank's page; the answer that sends the buyer back."""
    return http.post(page, data={"decision": decision})
