"""Products: what is sold, and how a product learns who may use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from core.hooks import hookspec
from core.rules.periods import Interval
from core.rules.policies import DEFAULT_POLICIES, DIRECTIONS, NAMED_POLICIES, ChangePolicy, Direction
from core.rules.prices import Price

Text = Mapping[str, str]
"""A text per language: {"en": "Remote Support", "es": "Asistencia remota"}. English is what others fall back to."""
T = TypeVar("T")
Unused = Literal["none", "credit", "refund"]
"""What becomes of the unused days of a subscription that is cancelled before its period's end."""
UNUSED: tuple[Unused, ...] = ("none", "credit", "refund")


@dataclass(frozen=True)
class SeatRule:
    """How many seats a plan is sold with: min, min + step, min + 2 x step ... up to max. max None: no limit."""

    min: int = 1
    max: int | None = None
    step: int = 1

    def __post_init__(self) -> None:
        if self.min < 1 or self.step < 1 or (self.max is not None and self.max < self.min):
            raise ValueError(f"seats: min and step are at least 1, max at least min: {self}")

    def allows(self, seats: int) -> bool:
        return self.min <= seats and (self.max is None or seats <= self.max) and (seats - self.min) % self.step == 0


@dataclass(frozen=True)
class Trial:
    """A free trial: its length in days, the most seats it may have, and whether a payment method must be stored first."""

    days: int
    seats: int
    requires_payment_method: bool = False

    def __post_init__(self) -> None:
        if self.days < 1 or self.seats < 1:
            raise ValueError(f"a trial has at least one day and one seat: {self}")


@dataclass(frozen=True)
class Plan:
    """A tier of a product, with its prices.

    id:       unique in the shop; `<product>-<tier name>` by convention.
    tier:     rank within the product, each plan its own: a change to a plan of higher tier is an upgrade.
    features: texts per language: {"en": ["10 hosts"], "es": ["10 anfitriones"]}.
    changes:  the policy per direction of a change, by name (`restart`, `prorate`, `next_period`) or as a ChangePolicy.
              Directions left out follow the default: `restart` upwards and for the interval, `next_period` downwards.
    unused:   what becomes of the unused days of one that is cancelled now: `none`, `credit` (to the account's balance) or `refund`;
              None: as the setting `subscriptions.unused` says.
    """

    id: str
    name: Text
    tier: int
    prices: Sequence[Price]
    features: Mapping[str, Sequence[str]] = field(default_factory=dict)
    seats: SeatRule = SeatRule()
    trial: Trial | None = None
    changes: Mapping[Direction, str | ChangePolicy] = field(default_factory=dict)
    unused: Unused | None = None

    def __post_init__(self) -> None:
        if "en" not in self.name:
            raise ValueError(f"plan {self.id}: a name in English is needed, others fall back to it")
        offers = [(p.interval, p.currency) for p in self.prices]
        if not offers or len(set(offers)) != len(offers):
            raise ValueError(f"plan {self.id}: one price per interval and currency, at least one in all")
        if self.unused not in (None, *UNUSED):
            raise ValueError(f"plan {self.id}: unused is {', '.join(UNUSED)} or None, not {self.unused!r}")
        for direction in self.changes:
            if direction not in DIRECTIONS:
                raise ValueError(f"plan {self.id}: a change has the direction {', '.join(DIRECTIONS)}, not {direction!r}")
            if self.policy(direction).puts_off and direction == "interval":
                raise ValueError(
                    f"plan {self.id}: another interval begins a period, which is collected as it begins, not on the next invoice"
                )

    def price(self, interval: Interval, currency: str) -> Price | None:
        """The price in that interval and currency; None where the plan is not sold so."""
        return next((p for p in self.prices if p.interval == interval and p.currency == currency), None)

    def policy(self, direction: Direction) -> ChangePolicy:
        """What a change in that direction does. Raises ValueError for a name that is no named policy."""
        policy = self.changes.get(direction, DEFAULT_POLICIES[direction])
        if isinstance(policy, ChangePolicy):
            return policy
        if policy not in NAMED_POLICIES:
            raise ValueError(f"plan {self.id}: a policy is {', '.join(NAMED_POLICIES)} or a ChangePolicy, not {policy!r}")
        return NAMED_POLICIES[policy]


@dataclass(frozen=True)
class Product:
    """Something sold by the seat.

    tax_category: what tax plugins go by; `electronic_service` for software.
    """

    id: str
    name: Text
    plans: Sequence[Plan]
    description: Text = field(default_factory=dict)
    tax_category: str = "electronic_service"

    def __post_init__(self) -> None:
        if "en" not in self.name:
            raise ValueError(f"product {self.id}: a name in English is needed, others fall back to it")
        tiers = {plan.tier for plan in self.plans}
        if not tiers or len(tiers) != len(self.plans):
            raise ValueError(f"product {self.id}: at least one plan, each of a tier of its own")


def text(value: Text, locale: str) -> str:
    """The text for a locale, as `localized` finds it. Empty where there is none at all."""
    return localized(value, locale) or ""


def localized(values: Mapping[str, T], locale: str) -> T | None:
    """What a locale's reader gets: `es-MX` takes `es`, and what is missing takes English."""
    return values.get(locale) or values.get(locale.split("-")[0]) or values.get("en")


@dataclass(frozen=True)
class ProvisioningRequest:
    """What a product is asked to do, after commit, until it succeeds.

    action: `grant` a new subscription, `change` its seats or plan, `revoke` it.
    seats:  how many seats it has from now on; 0 while it is paused.
    key:    the same for every repetition of this request: use it as an idempotency key.
    """

    action: Literal["grant", "change", "revoke"]
    account: str
    subscription: str
    product: str
    plan: str
    seats: int
    key: str


class ProductHooks:
    """Hooks for product plugins."""

    @hookspec(failure="closed")
    def register_products(self) -> list[Product]:  # type: ignore[empty-body]
        """Name the products that this plugin sells.

        Called:  once, when the engine starts; no network calls here.
        Returns: products whose ids, and whose plans' ids, no other plugin uses.
        Errors:  anything raised stops the start and names the plugin.
        Failure: closed - the engine does not start.
        """

    @hookspec(failure="retry", deadline=30.0, network=True)
    def provision(self, request: ProvisioningRequest) -> None:
        """Tell the product that a subscription began, changed or ended.

        Called:  from the outbox after commit, only on the plugin that registered the product; in order per subscription.
        request: what to do; its `key` is the same on every repetition, so that repeating does no harm.
        Returns: nothing.
        Errors:  raise anything to be called again later.
        Failure: retry - again with back-off, parked after the last attempt.
        """
