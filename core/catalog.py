"""The catalog: what can be bought, as it is shown and as it is looked up."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from core.engine.engine import Engine
from core.engine.values import to_json
from core.errors import CurrencyUnsupported, Missing, PlanUnavailable, SeatsOutOfRange
from core.hooks.products import Plan, Product, Trial, localized, text
from core.rules.discounts import Discount
from core.rules.money import Money
from core.rules.periods import Interval
from core.rules.prices import Price, Tier

MOST_SEATS = 100_000  # of a plan that sets no limit: above it, a number is a slip


def list_products(engine: Engine, locale: str) -> list[dict[str, Any]]:
    """Every product with its plans and prices, names in `locale`."""
    return [product_document(product, locale) for product in engine.products.products.values()]


def get_product(engine: Engine, product_id: str, locale: str) -> dict[str, Any]:
    """Raises Missing."""
    if product_id not in engine.products.products:
        raise Missing("There is no product {id}.", id=product_id[:64])
    return product_document(engine.products.products[product_id], locale)


def find_plan(engine: Engine, plan_id: str, pointer: str) -> tuple[Product, Plan]:
    """Product and plan. Raises PlanUnavailable, which also tells of a plan whose plugin is gone."""
    if plan_id not in engine.products.plans:
        raise PlanUnavailable("There is no plan {plan} in the catalog. GET /v1/products lists them.", pointer=pointer, plan=plan_id[:64])
    return engine.products.plans[plan_id]


def find_price(plan: Plan, interval: Interval, currency: str, pointer: str) -> Price:
    """The price in that interval and currency. Raises PlanUnavailable for the interval, CurrencyUnsupported for the currency."""
    price = plan.price(interval, currency)
    if price is not None:
        return price
    sold = sorted({p.interval for p in plan.prices if p.currency == currency})
    if sold:
        raise PlanUnavailable(
            "{plan} is not sold by the {interval}; choose {sold}.",
            pointer=f"{pointer}/interval",
            plan=plan.id,
            interval=interval,
            sold=", ".join(sold),
        )
    currencies = sorted({p.currency for p in plan.prices})
    raise CurrencyUnsupported(
        "{plan} is not sold in {currency}; its currencies are {currencies}.",
        pointer=f"{pointer}/plan",
        plan=plan.id,
        currency=currency,
        currencies=", ".join(currencies),
        extra={"currencies": currencies},
    )


def check_seats(plan: Plan, seats: int, pointer: str) -> None:
    """Raises SeatsOutOfRange where the plan is not sold with so many seats."""
    rule = plan.seats
    most = rule.max or MOST_SEATS
    if seats > most or not rule.allows(seats):
        raise SeatsOutOfRange(
            "{plan} is sold with {min} to {max} seats in steps of {step}; got {seats}.",
            pointer=pointer,
            plan=plan.id,
            min=rule.min,
            max=most,
            step=rule.step,
            seats=seats,
            extra={"min": rule.min, "max": most, "step": rule.step},
        )


def check_trial_seats(plan: Plan, trial: Trial, seats: int, pointer: str) -> None:
    """A trial may start below the plan's minimum: its own limit counts. Raises SeatsOutOfRange."""
    if not 1 <= seats <= trial.seats:
        raise SeatsOutOfRange(
            "A trial of {plan} has 1 to {max} seats; got {seats}.",
            pointer=pointer,
            plan=plan.id,
            max=trial.seats,
            seats=seats,
            extra={"min": 1, "max": trial.seats, "step": 1},
        )


# --- documents


def product_document(product: Product, locale: str) -> dict[str, Any]:
    return {
        "id": product.id,
        "name": text(product.name, locale),
        "description": text(product.description, locale),
        "plans": [_plan_document(plan, locale) for plan in sorted(product.plans, key=lambda p: p.tier)],
    }


def _plan_document(plan: Plan, locale: str) -> dict[str, Any]:
    return {
        "id": plan.id,
        "name": text(plan.name, locale),
        "tier": plan.tier,
        "features": list(localized(plan.features, locale) or ()),
        "seats": to_json(plan.seats),
        "trial": to_json(plan.trial),
        "prices": [price_document(price) for price in plan.prices],
    }


def discount_from_document(document: dict[str, Any]) -> Discount:
    """What `to_json` wrote of one."""
    percent, amount = document["percent"], document["amount"]
    return Discount(document["coupon"], Decimal(percent) if percent else None, Money(**amount) if amount else None, document["periods"])


def price_document(price: Price) -> dict[str, Any]:
    """A price on the wire, and as it is kept with a subscription; what its model does not use is left out."""
    document = {k: v for k, v in to_json(price).items() if v is not None and k != "tiers"}
    if price.tiers:
        document["tiers"] = to_json(price.tiers)
    return document


def price_from_document(document: dict[str, Any]) -> Price:
    """What `price_document` wrote."""

    def amount(name: str, of: dict[str, Any] = document) -> Money | None:
        return Money(**of[name]) if name in of else None

    tiers = tuple(Tier(t["up_to"], Money(**t["unit_amount"])) for t in document.get("tiers", ()))
    plain = {name: document.get(name) for name in ("interval", "currency", "model", "included_seats")}
    return Price(**plain, unit_amount=amount("unit_amount"), flat_amount=amount("flat_amount"), tiers=tiers)  # type: ignore[arg-type]
