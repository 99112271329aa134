"""Terms: what a plan offers, and what a subscription would have after a change, at what cost. Nothing is written here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from core.catalog import check_seats, check_trial_seats, find_plan, find_price, price_from_document
from core.engine.engine import Engine
from core.errors import Invalid, TransitionInvalid, TrialNotEligible, ValidationFailed
from core.hooks.products import Plan, Product
from core.rules.discounts import Discount
from core.rules.money import Money
from core.rules.periods import Interval
from core.rules.planner import Billing, Change, Deal, plan
from core.rules.policies import NAMED_POLICIES, ChangePolicy, Direction, direction_of
from core.rules.prices import Price
from core.subscriptions import CHANGEABLE, Subscription, SubscriptionChange, check_goes_on, pending_changes


@dataclass(frozen=True)
class Terms:
    """What a subscription has, or would have after a change.

    trial:       whether it is a trial, or one that goes on; else it is paid for.
    next_amount: what the next period costs, tax excluded, after the changes that wait for it; None: nothing follows the trial.
    policy:      how a change of a paid subscription gets there; None for anything else.
    changed:     what a change makes different, of CHANGEABLE.
    release:     at a renewal, users who lose their seats by the changes that take effect with it.
    held_back:   at a renewal, why the changes to another plan or interval go on waiting, as a code; None: all take effect.
    discount:    what is taken off the period that begins, or runs.
    """

    product: Product
    plan: Plan
    price: Price
    seats: int
    interval: Interval
    trial: bool
    next_amount: Money | None
    policy: ChangePolicy | None = None
    changed: dict[str, Any] = field(default_factory=dict)
    release: tuple[str, ...] = ()
    held_back: str | None = None
    discount: Discount | None = None

    @property
    def deal(self) -> Deal:
        return Deal(self.price, self.seats, self.discount)

    @property
    def needs_method(self) -> bool:
        """Whether a payment method must be stored, though nothing is due."""
        return self.trial and self.plan.trial is not None and self.plan.trial.requires_payment_method


def find_terms(
    engine: Engine, plan_id: str, interval: Interval | None, seats: int, currency: str, pointer: str, *, trial: bool = False
) -> Terms:
    """What the catalog has for so many seats of a plan.

    interval: None: the one that the plan names first.
    Raises PlanUnavailable, CurrencyUnsupported, SeatsOutOfRange, TrialNotEligible for the trial of a plan that has none.
    """
    product, plan = find_plan(engine, plan_id, f"{pointer}/plan")
    first: Interval = next((p.interval for p in plan.prices if p.currency == currency), plan.prices[0].interval)
    price = find_price(plan, interval or first, currency, pointer)
    if not trial:
        check_seats(plan, seats, f"{pointer}/seats")
        return Terms(product, plan, price, seats, price.interval, False, price.amount(seats))
    if plan.trial is None:
        raise TrialNotEligible("{plan} has no trial.", pointer=f"{pointer}/plan", plan=plan.id)
    check_trial_seats(plan, plan.trial, seats, f"{pointer}/seats")
    # What follows a trial is billed for at least as many seats as the plan is sold with.
    follows = price.amount(max(seats, plan.seats.min)) if plan.trial.requires_payment_method else None
    return Terms(product, plan, price, seats, price.interval, True, follows)


def discounted(terms: Terms, discount: Discount | None) -> Terms:
    """The terms with something taken off, this period, and the next one where that goes on."""
    if discount is None:
        return terms
    following = Deal(terms.price, terms.seats, discount.following())
    return replace(terms, discount=discount, next_amount=following.amount)


def _next_reduction(subscription: Subscription) -> Discount | None:
    """What is taken off the period that follows."""
    return subscription.reduction.following() if subscription.reduction else None


def next_terms(
    engine: Engine, subscription: Subscription, cart: str, pointer: str, *, plan: str | None, seats: int | None, interval: Interval | None
) -> Terms:
    """The terms after a change; what is None stays. A trial for which an interval is named becomes a paid subscription today.

    cart: who asks: its own order is not another one that changes the subscription.
    Raises TransitionInvalid for one that has ended, is about to, or is being changed; ValidationFailed where nothing changes or
    the plan is another product's; and as `find_terms` does.
    """
    check_goes_on(subscription, cart, f"{pointer}/subscription")
    new: dict[str, Any] = {
        "plan": plan or subscription.plan,
        "seats": subscription.seats if seats is None else seats,
        "interval": interval or subscription.interval,
    }
    changed = {name: value for name, value in new.items() if value != getattr(subscription, name)}
    trialing = subscription.status == "trialing"
    if not changed and not (trialing and interval):
        raise ValidationFailed("Nothing changes: name other seats, another plan or another interval.", pointer=f"{pointer}/subscription")
    product, _ = find_plan(engine, new["plan"], f"{pointer}/plan")
    if product.id != subscription.product:
        raise ValidationFailed("A change stays within the product {product}.", pointer=f"{pointer}/plan", product=subscription.product)

    def terms(values: dict[str, Any], *, trial: bool = False) -> Terms:
        return find_terms(engine, values["plan"], values["interval"], values["seats"], subscription.currency, pointer, trial=trial)

    if trialing:
        return replace(terms(new, trial=interval is None), changed=changed)
    waiting = {name: value for name, value in named_by(pending_changes(engine, subscription)).items() if name not in changed}
    now, then = (discounted(terms(values), subscription.reduction) for values in (new, new | waiting))
    policy = now.plan.policy(_direction(engine, subscription, now))
    return replace(now, next_amount=then.next_amount, policy=policy, changed=changed)


def renewal_terms(engine: Engine, subscription: Subscription, changes: Sequence[SubscriptionChange], pointer: str) -> Terms:
    """The terms of the period that follows: those it was sold under, also when its plugin is gone; or, where `changes` wait for that day,
    what the catalog has for them.

    What is no longer sold so is held back: the subscription goes on as it is, but for changes of its seats alone.
    """
    if not changes:
        return discounted(_as_sold(engine, subscription), _next_reduction(subscription))
    waiting = named_by(changes)
    values = {name: getattr(subscription, name) for name in CHANGEABLE} | waiting
    try:
        terms = find_terms(engine, values["plan"], values["interval"], values["seats"], subscription.currency, pointer)
    except Invalid as error:
        changes = [change for change in changes if change.plan is None and change.interval is None]
        waiting = named_by(changes)
        terms = replace(_as_sold(engine, subscription, waiting.get("seats")), held_back=error.code)
    terms = discounted(terms, _next_reduction(subscription))
    return replace(terms, changed=waiting, release=tuple(user for change in changes for user in change.release))


def _as_sold(engine: Engine, subscription: Subscription, seats: int | None = None) -> Terms:
    """The terms it was sold under, for its seats or so many."""
    price = price_from_document(subscription.price)
    stand_in = Plan(subscription.plan, subscription.plan_name, subscription.tier, [price], subscription.features)
    product = engine.products.products.get(subscription.product) or Product(subscription.product, subscription.product_name, [stand_in])
    product, plan = engine.products.plans.get(subscription.plan, (product, stand_in))
    seats = seats or (max(subscription.seats, plan.seats.min) if subscription.trial_end else subscription.seats)
    return Terms(product, plan, price, seats, subscription.interval, False, price.amount(seats))


def named_by(changes: Sequence[SubscriptionChange]) -> dict[str, Any]:
    """What changes that wait for the period's end will set."""
    return {name: getattr(change, name) for change in changes for name in CHANGEABLE if getattr(change, name) is not None}


def _direction(engine: Engine, subscription: Subscription, terms: Terms) -> Direction:
    plan = engine.products.plans.get(subscription.plan)
    tier = plan[1].tier if plan is not None else subscription.tier
    seats, intervals = (subscription.seats, terms.seats), (subscription.interval, terms.interval)
    # None: the plan it leaves is out of the catalog, and the new one has taken its tier.
    return direction_of(seats=seats, tiers=(tier, terms.plan.tier), intervals=intervals) or "plan_up"


def bill_terms(subscription: Subscription, terms: Terms, on: date, pointer: str) -> Billing | None:
    """What a change costs on a day; None where nothing is billed because the trial goes on.

    Raises TransitionInvalid where the running period is over: its renewal or its end comes first.
    """
    if subscription.status == "trialing" and not terms.trial:
        return plan(subscription.life, on, Change(terms.deal, NAMED_POLICIES["restart"]))
    if on >= subscription.period_end:
        raise TransitionInvalid("The period ended on {day}: what follows it is due first.", pointer=pointer, day=subscription.period_end)
    if terms.policy is None:
        return None
    on = max(on, subscription.period_start)  # the account may have moved to a zone where it is still the day before
    return plan(subscription.life, on, Change(terms.deal, terms.policy))
