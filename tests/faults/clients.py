"""Clients of a shop in which everything dies now and then. They repeat with the same key until they have an answer, as docs/http.md
tells them to, and keep what they were told.
"""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx

from tests.faults.killing import Town
from tests.plugins.payments.gateway import decide

# What a client pays with: mostly it works, sometimes not, sometimes the bank asks, and sometimes nobody answers.
TOKENS = ["tok_ok"] * 6 + ["tok_3ds"] * 2 + ["tok_3ds_fails", "tok_card_declined", "tok_timeout"]
WORK = {"buy": 8, "change": 3, "assign": 3, "refund": 2, "try_out": 1}
# What a client may be refused: its card; what an order whose payment is still unknown holds back; more seats than it has.
REFUSALS = {"payment-declined", "payment-provider-unavailable", "transition-invalid", "no-seat-left", "refund-exceeds-payment"}
# And what an order of its own that goes through meanwhile, told of by the provider, makes of the next one.
OVERTAKEN = ("/problems/quote-changed", "Nothing changes: name other seats")


@dataclass
class Client:
    """Does one thing after the other until told to stop.

    orders:   those it was told of. bought: ids of the subscriptions it was told to have.
    seats:    (subscription, user) of the assignments it was told of.
    refusals: slugs of the problems it was told.
    """

    town: Town
    chance: random.Random
    over: threading.Event
    orders: list[str] = field(default_factory=list)
    bought: list[str] = field(default_factory=list)
    seats: list[tuple[str, str]] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    failure: BaseException | None = None

    def run(self) -> None:
        try:
            self.account = self.open_account()
            while not self.over.is_set():
                [work] = self.chance.choices(list(WORK), list(WORK.values()))
                getattr(self, work)()
        except BaseException as error:
            self.failure = error

    # --- what it does

    def open_account(self) -> str:
        return str(self.get_done("POST", "/v1/accounts", {"name": "A", "email": "a@a.example", "country": "ES"})["id"])

    def buy(self) -> None:
        line = {"mode": "buy", "plan": "gotomeeting-professional", "interval": "month", "seats": self.chance.randint(1, 9)}
        self.order(self.account, line)

    def try_out(self) -> None:
        """A trial, for which an account is eligible once."""
        self.order(self.open_account(), {"mode": "trial", "plan": "gotoassist-professional", "seats": 3})

    def change(self) -> None:
        if self.bought:
            subscription = self.get_done("GET", f"/v1/subscriptions/{self.chance.choice(self.bought)}")
            line = {"mode": "change", "subscription": subscription["id"], "seats": subscription["seats"] + self.chance.randint(1, 3)}
            self.order(self.account, line)

    def assign(self) -> None:
        if self.bought:
            person = {"name": "Ana", "email": f"{uuid4().hex}@a.example", "role": "member"}
            user = self.get_done("POST", f"/v1/accounts/{self.account}/users", person)["id"]
            subscription = self.chance.choice(self.bought)
            if self.get_done("PUT", f"/v1/subscriptions/{subscription}/seats/{user}"):
                self.seats.append((subscription, user))

    def refund(self) -> None:
        if self.orders:
            part = self.chance.choice([{}, {"amount": {"amount": 100, "currency": "EUR"}}])
            self.get_done("POST", f"/v1/orders/{self.chance.choice(self.orders)}/refunds", {"reason": "a wish", **part})

    def order(self, account: str, line: dict[str, Any]) -> None:
        cart = self.get_done("POST", "/v1/carts", {"account": account, "lines": [line]})
        quote = self.get_done("GET", f"/v1/carts/{cart['id']}/quote") if cart else {}
        if quote:
            payment = {"payment": {"provider": "sandbox", "token": self.chance.choice(TOKENS)}} if quote["payment_required"] else {}
            self.keep(self.get_done("POST", f"/v1/carts/{cart['id']}/checkout", {"quote": quote["quote"], **payment}))

    def keep(self, order: dict[str, Any]) -> None:
        if order and order["status"] == "requires_action":
            self.go_to_the_bank(order["next_action"]["url"])
            if self.chance.random() < 0.5:  # never to come back: the gateway tells the shop
                self.orders.append(order["id"])
                return
            order = self.get_done("POST", f"/v1/orders/{order['id']}/confirm", {})
        if order:
            self.orders.append(order["id"])
            self.bought += order["subscriptions"] if order["account"] == self.account else []

    # --- how it asks

    def go_to_the_bank(self, page: str) -> None:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            with suppress(httpx.HTTPError):
                if decide(page).status_code < 500:
                    return
            time.sleep(self.chance.uniform(0.05, 0.3))
        raise AssertionError(f"the bank does not answer at {page}")

    def get_done(self, method: str, path: str, json: object = None) -> dict[str, Any]:
        """The answer, or {} where it was refused."""
        answer = self.until_answered(method, path, json)
        if answer.is_success:
            return dict(answer.json())
        problem = answer.json()["type"].removeprefix("/problems/")
        assert problem in REFUSALS or any(each in answer.text for each in OVERTAKEN), answer.text
        self.refusals.append(problem)
        return {}

    def until_answered(self, method: str, path: str, json: object) -> httpx.Response:
        """Repeat with the same key while nobody answers, or the first request may still be running."""
        headers = {"Authorization": f"Bearer {self.town.secret}", "Idempotency-Key": uuid4().hex}
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            with suppress(httpx.HTTPError):
                answer = httpx.request(method, f"{self.town.url}{path}", json=json, headers=headers, timeout=40, verify=False)
                in_progress = answer.status_code == 409 and answer.json()["type"] == "/problems/request-in-progress"
                if answer.status_code < 500 and not in_progress:
                    return answer
            time.sleep(self.chance.uniform(0.05, 0.3))
        raise AssertionError(f"no answer to {method} {path}")
