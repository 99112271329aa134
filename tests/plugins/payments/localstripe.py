"""localstripe for a test module, and providers that use it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import httpx
import pytest
import stripe

from api.cli.running import free_port
from core.engine.clock import TestClock
from core.engine.plugins import AskHooks, Plugins
from plugins.payments.stripe import StripePlugin
from plugins.payments.stripe_events import TYPES
from puesto import PluginContext
from tests.plugins.contexts import NO_ROWS

SECRET_KEY = "sk_test_never_to_be_shown"
WEBHOOK_SECRETS = ["whsec_the_new_one", "whsec_the_old_one"]


@contextmanager
def running_localstripe() -> Iterator[str]:
    """Its address."""
    port = free_port()
    command = [sys.executable, "-m", "tests.plugins.payments.localstripe_server", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.stdout.close()
        process.wait(30)


@pytest.fixture(scope="module")
def localstripe() -> Iterator[str]:
    with running_localstripe() as address:
        yield address


def stripe_plugin(
    folder: Path, address: str | None, plugin: Any = StripePlugin, name: str = "stripe", mode: str = "sandbox", **changes: Any
) -> Any:
    """The plugin as an engine would make it; `changes` of its settings. The secrets stand in files in `folder`."""
    secrets = {"key": SECRET_KEY, "new": WEBHOOK_SECRETS[0], "old": WEBHOOK_SECRETS[1]}
    for file, secret in secrets.items():
        (folder / file).write_text(secret)
    key, *webhooks = (f"file:{folder / file}" for file in secrets)
    settings = {"secret_key": key, "publishable_key": "pk_test_1", "webhook_secrets": webhooks, "api_base": address, **changes}
    loaded = plugin.settings_schema().load({name: value for name, value in settings.items() if value is not None})
    clock = TestClock(frozen=True, start=datetime(2026, 3, 1, 12, tzinfo=UTC))
    return plugin(PluginContext(name, loaded, mode, "http://127.0.0.1:8000", AskHooks(Plugins()), NO_ROWS, clock, folder))


def ask(address: str, method: str, path: str, **request: Any) -> Any:
    """What Stripe's dashboard would do, or show."""
    headers = {"Authorization": f"Bearer {SECRET_KEY}"}
    answer = httpx.request(method, f"{address}{path}", headers=headers, timeout=10, verify=False, **request)
    assert answer.status_code == 200, answer.text
    return answer.json()


def signed(event: Any, secret: str = WEBHOOK_SECRETS[0], at: int | None = None) -> tuple[dict[str, str], bytes]:
    """Headers and body of a webhook, by the SDK's own signer; `at`: seconds since 1970, in place of now."""
    body = json.dumps(event, indent=2)
    return {"Stripe-Signature": stripe.WebhookSignature.generate_signature_header(body, secret, at)}, body.encode()


def decide(result: Any, decision: str, address: str) -> None:
    """What the buyer does with the further step."""
    assert result.action is not None
    ask(address, "POST", f"/_config/bank/{result.provider_ref}", params={"decision": decision})


class OnLocalstripe:
    """What happens outside the provider, for the conformance kit."""

    secrets: ClassVar = [SECRET_KEY, *WEBHOOK_SECRETS]
    address: str
    account: str

    @pytest.fixture(autouse=True)
    def server(self, localstripe: str) -> None:
        self.address, self.account = localstripe, f"acc_{uuid4().hex}"

    def request(self, **changes: Any) -> Any:
        """Of an account of the case's own: localstripe takes its time over customers with hundreds of payments."""
        request = super().request(**changes)  # type: ignore[misc]
        return replace(request, customer=replace(request.customer, account=self.account))

    def webhook(self, provider: Any, request: Any, result: Any, *, type: str | None = None, old_secret: bool = False) -> Any:
        """The youngest event of the payment, as localstripe has it."""
        params = {"created[gte]": 0, "limit": 100} | {f"types[{number}]": each for number, each in enumerate(TYPES)}
        events = ask(self.address, "GET", "/v1/events", params=params)["data"]
        event = next(event for event in events if event["data"]["object"]["id"] == result.provider_ref)
        return signed(event | ({"type": type} if type else {}), WEBHOOK_SECRETS[old_secret])

    def money_arrives(self, provider: Any, request: Any, result: Any) -> None:
        ask(self.address, "POST", f"/_config/settle/{result.provider_ref}")

    def refund_outside(self, provider: Any, request: Any, result: Any, amount: Any) -> None:
        ask(self.address, "POST", "/v1/refunds", data={"payment_intent": result.provider_ref, "amount": amount.amount})

    def dispute(self, provider: Any, request: Any, result: Any, status: str) -> None:
        params = {"status": "needs_response" if status == "opened" else status}
        ask(self.address, "POST", f"/_config/dispute/{result.provider_ref}", params=params)

    def charge_count(self, provider: Any, payment_id: str) -> int:
        intents = ask(self.address, "GET", "/v1/payment_intents", params={"limit": 10_000})["data"]
        return len([it for it in intents if it["metadata"].get("payment_id") == payment_id and it["latest_charge"] is not None])
