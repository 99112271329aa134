"""The buyer pays at the bank and closes the browser: the gateway tells the shop, and the order is there. All of it over real HTTP."""

import time

import pytest

from api.cli.running import run_puesto, running_server
from tests.plugins.payments.gateway import SECRET, WEBHOOK_SECRETS, decide, running_gateway
from tests.stories.test_main_job import FIVE_SEATS, SCOPES, Shop


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with running_gateway(tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def server(tmp_path_factory, gateway):
    folder = tmp_path_factory.mktemp("shop")
    for name, secret in (("gateway", SECRET), ("old", WEBHOOK_SECRETS[1]), ("new", WEBHOOK_SECRETS[0])):
        (folder / name).write_text(secret)
    settings = {
        "PUESTO_PLUGINS__SANDBOX__GATEWAY_URL": gateway.url,
        "PUESTO_PLUGINS__SANDBOX__GATEWAY_SECRET": f"file:{folder / 'gateway'}",
        "PUESTO_PLUGINS__SANDBOX__WEBHOOK_SECRETS": f"file:{folder / 'new'},file:{folder / 'old'}",
    }
    made = run_puesto(folder, "keys", "create", "--name", "story", "--scopes", SCOPES, **settings)
    with running_server(folder, **settings) as server:
        gateway.kill()  # and start it anew, now that the shop's address is known
        gateway.options = ("--webhook-url", f"{server.url}/v1/payment-webhooks/sandbox", "--webhook-secret", WEBHOOK_SECRETS[1])
        gateway.start()
        yield Shop(server.url, made.stdout.strip())


def wait_for(shop, order, status):
    """The order, once it has that status; else as it is after a minute."""
    deadline = time.monotonic() + 60
    while (found := shop.call("GET", f"/v1/orders/{order}", 200))["status"] != status and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def charges(gateway, order):
    """What the buyer was charged for an order, and given back."""
    ours = [charge for charge in gateway.provider().charges() if charge.payment_id == order["payment"]["id"]]
    return [(charge.amount.amount, charge.refunded.amount) for charge in ours]


def test_who_pays_and_never_comes_back_has_an_order(server, gateway):
    gateway.fault("doubled", on="payment.captured")
    account = server.account(name="Acme, S.L.", email="billing@acme.example", country="ES")
    order = server.order(*server.review(account, FIVE_SEATS), "tok_3ds")

    decide(order["next_action"]["url"])
    completed = wait_for(server, order["id"], "completed")

    assert (order["status"], completed["status"], completed["payment"]["status"]) == ("requires_action", "completed", "captured")
    assert len(server.call("GET", f"/v1/invoices?account={account}", 200)["data"]) == 1
    assert charges(gateway, order) == [(84_70, 0)]  # 5 x 14.00 x 1.21


def test_who_is_refused_at_the_bank_can_pay_otherwise(server, gateway):
    account = server.account(name="Acme, S.L.", email="billing@acme.example", country="ES")
    cart, quote = server.review(account, FIVE_SEATS)
    order = server.order(cart, quote, "tok_3ds")

    decide(order["next_action"]["url"], "decline")
    failed = wait_for(server, order["id"], "failed")
    again = server.order(cart, server.call("GET", f"/v1/carts/{cart}/quote", 200), "tok_ok")

    assert (failed["status"], failed["payment"]["error"]["code"], again["status"]) == ("failed", "authentication_failed", "completed")
