"""A shop goes over from one payment provider to another, and its customers notice nothing: real servers, each provider's own books.

Bought with a card at the sandbox's gateway; swapped to Stripe (localstripe) by settings and a restart; renewed once more with the old
card, then at Stripe with a new one; and what was paid at the gateway is given back there.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.cli.running import run_puesto, running_server
from tests.plugins.payments.gateway import SECRET, running_gateway
from tests.plugins.payments.localstripe import SECRET_KEY, running_localstripe
from tests.stories.test_main_job import FIVE_SEATS, SCOPES, Shop

A_MONTH = 84_70  # 5 x 14.00 x 1.21


class Town:
    """The providers, and a shop that is opened under one setting after the other on the same database."""

    def __init__(self, folder: Path, database: str, gateway: Any, stripe: str) -> None:
        self.folder, self.gateway, self.stripe = folder, gateway, stripe
        for name, secret in (("gateway", SECRET), ("stripe", SECRET_KEY)):
            (folder / name).write_text(secret)
        self.settings = {
            "PUESTO_DATABASE": database,
            "PUESTO_PLUGINS__SANDBOX__GATEWAY_URL": gateway.url,
            "PUESTO_PLUGINS__SANDBOX__GATEWAY_SECRET": f"file:{folder / 'gateway'}",
        }
        made = run_puesto(folder, "keys", "create", "--name", "story", "--scopes", SCOPES, **self.settings)
        self.key = made.stdout.strip()

    def swap(self) -> None:
        """New payments go to Stripe; the sandbox stays installed for what it has."""
        self.settings |= {
            "PUESTO_PAYMENTS__PROVIDERS": "stripe",
            "PUESTO_PLUGINS__STRIPE__SECRET_KEY": f"file:{self.folder / 'stripe'}",
            "PUESTO_PLUGINS__STRIPE__API_BASE": self.stripe,
        }

    @contextmanager
    def open(self) -> Iterator[Shop]:
        with running_server(self.folder, **self.settings) as server:
            yield Shop(server.url, self.key)

    def bill(self, day: str) -> str:
        done = run_puesto(self.folder, "bill", "--on", day, **self.settings)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def at_gateway(self) -> list[tuple[int, int]]:
        """What was really charged there, and of it given back."""
        charges = self.gateway.provider().charges()
        return [(charge.amount.amount, charge.refunded.amount) for charge in charges if charge.status == "captured"]

    def at_stripe(self) -> list[tuple[int, int]]:
        charges = httpx.get(f"{self.stripe}/v1/charges", auth=(SECRET_KEY, ""), timeout=10).json()["data"]
        return [(charge["amount"], charge["amount_refunded"]) for charge in charges if charge["status"] == "succeeded"]


@pytest.fixture
def town(tmp_path, lasting_database_in):
    with running_gateway(tmp_path) as gateway, running_localstripe() as stripe:
        yield Town(tmp_path, lasting_database_in(tmp_path), gateway, stripe)


def wait_until(happened: Callable[[], bool]) -> None:
    """Until then, or two minutes."""
    deadline = time.monotonic() + 120
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.1)


def buy(shop: Shop, account: str) -> Any:
    cart, quote = shop.review(account, FIVE_SEATS)
    payment = {"provider": "sandbox", "token": "tok_ok", "save": True}
    return shop.call("POST", f"/v1/carts/{cart}/checkout", 201, {"quote": quote["quote"], "payment": payment})


def due_on(shop: Shop, subscription: str) -> str:
    return str(shop.call("GET", f"/v1/subscriptions/{subscription}", 200)["next_charge"]["date"])


def let_it_fall_due(shop: Shop, subscription: str) -> str:
    """Noon of that day comes; how the subscription stands then."""
    shop.call("POST", "/v1/test-clock", 200, {"now": f"{due_on(shop, subscription)}T12:00:00Z"})
    return status(shop, subscription)


def status(shop: Shop, subscription: str) -> str:
    return str(shop.call("GET", f"/v1/subscriptions/{subscription}", 200)["status"])


def store_at_stripe(shop: Shop, account: str) -> Any:
    return shop.call("POST", f"/v1/accounts/{account}/payment-methods", 201, {"provider": "stripe", "token": "pm_card_visa"})


def paid_with(shop: Shop, account: str) -> list[tuple[str, str, str]]:
    """Kind, status and provider of every order, the oldest first."""
    orders = shop.call("GET", f"/v1/orders?account={account}", 200)["data"]
    return [(order["kind"], order["status"], order["payment"]["provider"]) for order in reversed(orders)]


@pytest.mark.slow
def test_a_swap_of_providers_leaves_old_payments_and_methods_where_they_are(town):
    with town.open() as shop:
        account = shop.account(name="Acme, S.L.", email="billing@acme.example", country="ES")
        bought = buy(shop, account)
        [subscription] = bought["subscriptions"]
        user = shop.call("POST", f"/v1/accounts/{account}/users", 201, {"email": "ana@acme.example", "name": "Ana"})["id"]
        shop.call("PUT", f"/v1/subscriptions/{subscription}/seats/{user}", 200)

    town.swap()
    with town.open() as shop:
        _, quote = shop.review(account, FIVE_SEATS)
        assert quote["payment_providers"] == ["stripe"]
        assert shop.call("GET", f"/v1/orders/{bought['id']}", 200)["payment"]["provider"] == "sandbox"

        assert let_it_fall_due(shop, subscription) == "active"
        assert (town.at_gateway(), town.at_stripe()) == ([(A_MONTH, 0), (A_MONTH, 0)], [])

        stored = store_at_stripe(shop, account)
        assert (stored["provider"], stored["default"]) == ("stripe", True)
        assert town.bill(due_on(shop, subscription)) == "accounts billed: 1; subscriptions past due: 0"
        assert (town.at_gateway(), town.at_stripe()) == ([(A_MONTH, 0), (A_MONTH, 0)], [(A_MONTH, 0)])

        back = shop.call("POST", f"/v1/orders/{bought['id']}/refunds", 201, {"reason": "goodwill"})
        assert (back["status"], back["amount"]["amount"]) == ("succeeded", A_MONTH)
        assert (town.at_gateway(), town.at_stripe()) == ([(A_MONTH, A_MONTH), (A_MONTH, 0)], [(A_MONTH, 0)])
        assert paid_with(shop, account) == [
            ("purchase", "refunded", "sandbox"),
            ("renewal", "completed", "sandbox"),
            ("renewal", "completed", "stripe"),
        ]
        assert shop.entitlement(user, "gotomeeting") == (True, "seat_assigned")
        assert shop.call("GET", "/v1/stuck-cases", 200)["data"] == []


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_who_has_no_card_at_the_new_provider_when_the_old_one_goes_is_renewed_there_after_storing_one(town):
    with town.open() as shop:
        account = shop.account(name="Acme, S.L.", email="billing@acme.example", country="ES")
        bought = buy(shop, account)
        [subscription] = bought["subscriptions"]

    town.swap()
    town.settings["PUESTO_DISABLED"] = "sandbox"
    with town.open() as shop:
        assert let_it_fall_due(shop, subscription) == "past_due"
        assert shop.call("GET", f"/v1/orders/{bought['id']}", 200)["payment"]["amount"]["amount"] == A_MONTH
        store_at_stripe(shop, account)

        wait_until(lambda: status(shop, subscription) == "active")  # the worker looks every minute

        assert (town.at_gateway(), town.at_stripe()) == ([(A_MONTH, 0)], [(A_MONTH, 0)])
        assert paid_with(shop, account) == [("purchase", "completed", "sandbox"), ("renewal", "completed", "stripe")]
