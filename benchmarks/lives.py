"""Subscriptions by the hundred thousand, one to an account, written in bulk as a shop would have them on the day before they are due."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime

from core.accounts import Account
from core.catalog import find_plan, find_price, price_document
from core.engine.clock import TestClock
from core.engine.engine import Engine
from core.engine.settings import CoreSettings, check_settings
from core.engine.values import new_id
from core.payment_methods import PaymentMethod
from core.subscriptions import Subscription
from puesto import Capabilities, PaymentProvider, PaymentReference, PaymentRequest, PaymentResult, RefundRequest, RefundResult, hookimpl

PLAN, SEATS, START = "gotomeeting-professional", 5, date(2026, 3, 1)
BATCH = 1000


class Instant(PaymentProvider):
    """Has charged as soon as it is asked, and keeps no books: what it takes is not measured."""

    name = "instant"
    capabilities = Capabilities(save_method=True, off_session=True, sandbox=True)

    def initiate_payment(self, request: PaymentRequest) -> PaymentResult:
        return PaymentResult("captured", request.amount, provider_ref=f"instant-{request.payment_id}")

    def save_method(self, request: PaymentRequest) -> PaymentResult:
        raise NotImplementedError

    def retrieve_payment(self, payment: PaymentReference) -> PaymentResult:
        raise NotImplementedError

    def refund_payment(self, request: RefundRequest) -> RefundResult:
        raise NotImplementedError


class InstantPlugin:
    @hookimpl
    def register_payment_providers(self) -> list[PaymentProvider]:
        return [Instant()]


def open_at(database: str, data: str, day: date, plugins: Mapping[str, object] | None = None) -> Engine:
    """The engine of a shop in which it is noon of that day."""
    settings = check_settings(CoreSettings(), {"database": database, "data": data, "disabled": ["email"]})
    clock = TestClock(datetime(day.year, day.month, day.day, 12, tzinfo=UTC), frozen=True)
    return Engine(settings, clock=clock, plugins={"instant": InstantPlugin(), **(plugins or {})})


def subscribe(engine: Engine, number: int) -> None:
    """So many subscriptions of a month that began on START, each with a stored method."""
    for first in range(0, number, BATCH):
        with engine.db.transaction():
            made = list(_subscribed(engine, first, min(first + BATCH, number)))
            for rows in zip(*made, strict=True):
                engine.db.insert(*rows)


def _subscribed(engine: Engine, first: int, end: int) -> Iterator[tuple[Account, PaymentMethod, Subscription]]:
    now, (product, plan) = engine.clock.now(), find_plan(engine, PLAN, "")
    price = find_price(plan, "month", "EUR", "")
    for number in range(first, end):
        account = Account(
            id=new_id("acc"),
            name=f"Acme {number}, S.L.",
            email=f"billing@acme{number}.example",
            kind="self_service",
            country="ES",
            currency="EUR",
            locale="en",
            time_zone="Europe/Madrid",
            ordered=True,
            created_at=now,
        )
        method = PaymentMethod(
            id=new_id("pm"),
            account=account.id,
            provider="instant",
            reference=f"card-{number}",
            brand="visa",
            last4="4242",
            default=True,
            created_at=now,
        )
        subscription = Subscription(
            id=new_id("sub"),
            account=account.id,
            product=product.id,
            product_name=dict(product.name),
            plan=plan.id,
            plan_name=dict(plan.name),
            features={language: list(texts) for language, texts in plan.features.items()},
            tier=plan.tier,
            interval="month",
            seats=SEATS,
            status="active",
            currency="EUR",
            price=price_document(price),
            term_amount=price.amount(SEATS).amount,
            period_start=START,
            period_end=date(START.year, START.month + 1, 1),
            anchor_day=1,
            next_charge=price.amount(SEATS).amount,
            created_at=now,
        )
        yield account, method, subscription
