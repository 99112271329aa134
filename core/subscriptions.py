"""Subscriptions: what an account has, from its start through its changes to its end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import peewee

from core.access import Caller, find, missing
from core.accounts import Account, account_document, check_version
from core.catalog import check_seats, check_trial_seats, find_plan, find_price
from core.engine.clock import day_in
from core.engine.database import DayField, InstantField, JsonField, Row, refers_to
from core.engine.engine import Engine
from core.engine.events import append
from core.engine.values import new_id, to_json
from core.errors import TransitionInvalid, TrialNotEligible, ValidationFailed
from core.hooks.products import Plan, Product, text
from core.rules.billing_plan import Billing, ChangePolicy, Term, bill_change, bill_start, direction_of
from core.rules.money import Money
from core.rules.periods import Interval, Period
from core.rules.prices import Price

RUNNING = ("trialing", "active", "past_due")
DAYS = ("period_start", "period_end", "trial_end")


class Subscription(Row):
    """A plan with seats, running for an account.

    It keeps the terms it was sold under, so that it can be read, credited and billed when its plugin is gone: names, `price`
    (the price document), `tax` (how its running period was taxed), `term_amount` (what the whole running period costs, net),
    `next_charge` (what the next period will cost, tax included; None: nothing follows).

    changing: id of the cart whose order is being paid and will change it; nothing else may change it meanwhile.
    """

    id = peewee.CharField(primary_key=True, max_length=40)
    account = refers_to(Account)
    product = peewee.CharField(max_length=64)
    product_name = JsonField()
    plan = peewee.CharField(max_length=64)
    plan_name = JsonField()
    features = JsonField()
    tier = peewee.IntegerField()
    interval: peewee.Field[Interval] = peewee.CharField(  # type: ignore[assignment]
        max_length=8, constraints=[peewee.Check("interval IN ('month', 'year')")]
    )
    seats = peewee.IntegerField(constraints=[peewee.Check("seats > 0")])
    seats_assigned = peewee.IntegerField(default=0, constraints=[peewee.Check("seats_assigned BETWEEN 0 AND seats")])
    status = peewee.CharField(
        max_length=10, constraints=[peewee.Check("status IN ('trialing', 'active', 'past_due', 'paused', 'cancelled')")]
    )
    currency = peewee.CharField(max_length=3)
    price = JsonField()
    tax = JsonField(null=True)
    term_amount = peewee.BigIntegerField()
    period_start = DayField()
    period_end = DayField(index=True)
    anchor_day = peewee.IntegerField(constraints=[peewee.Check("anchor_day BETWEEN 1 AND 31")])
    trial_end = DayField(null=True, index=True)
    next_charge = peewee.BigIntegerField(null=True)
    cancel_at = DayField(null=True, index=True)
    cancel_reason = peewee.CharField(max_length=500, null=True)
    changing = peewee.CharField(max_length=40, null=True)
    version = peewee.IntegerField(default=1)
    created_at = InstantField()
    cancelled_at = InstantField(null=True)

    class Meta:
        indexes = ((("account", "product"), False),)

    @property
    def term(self) -> Term:
        return Term(Period(self.period_start, self.period_end), self.anchor_day, Money(self.term_amount, self.currency))


class SubscriptionChange(Row):
    """A change that waits for its day. They combine: each names only what it changes."""

    id = peewee.CharField(primary_key=True, max_length=40)
    account = peewee.CharField(max_length=40)
    subscription = refers_to(Subscription)
    effective_on = DayField(index=True)
    plan = peewee.CharField(max_length=64, null=True)
    interval = peewee.CharField(max_length=8, null=True)
    seats = peewee.IntegerField(null=True)
    release = JsonField()
    policy = JsonField()
    created_at = InstantField()

    class Meta:
        table_name = "subscription_change"


class Trial(Row):
    """The trial ledger: an account tries a product once, ever.

    ordering: id of the cart whose order is being paid; None once the trial has begun.
    """

    id = peewee.CharField(primary_key=True, max_length=40)
    account = peewee.CharField(max_length=40)
    product = peewee.CharField(max_length=64)
    ordering = peewee.CharField(max_length=40, null=True, index=True)
    started_on = DayField()

    class Meta:
        indexes = ((("account", "product"), True),)


# --- what would be


@dataclass(frozen=True)
class Terms:
    """What a subscription has, or would have after a change and under which policy it gets there.

    ends_trial: the change turns a trial into a paid subscription.
    """

    product: Product
    plan: Plan
    price: Price
    seats: int
    interval: Interval
    policy: ChangePolicy | None = None
    ends_trial: bool = False


def next_terms(
    engine: Engine, subscription: Subscription, *, plan: str | None, seats: int | None, interval: Interval | None, pointer: str
) -> Terms:
    """The terms after a change; what is None stays. A trial for which an interval is named becomes a paid subscription today.

    Raises TransitionInvalid for one that has ended or is about to, ValidationFailed where nothing changes or the plan is another
    product's, PlanUnavailable, CurrencyUnsupported, SeatsOutOfRange, TrialNotEligible for a trial on a plan that has none.
    """
    _check_goes_on(subscription, f"{pointer}/subscription")
    product, new = find_plan(engine, plan or subscription.plan, f"{pointer}/plan")
    if product.id != subscription.product:
        raise ValidationFailed("A change stays within the product {product}.", pointer=f"{pointer}/plan", product=subscription.product)
    trialing = subscription.status == "trialing"
    ends_trial = trialing and interval is not None
    to_interval, to_seats = interval or subscription.interval, subscription.seats if seats is None else seats
    if trialing and not ends_trial:
        if new.trial is None:
            raise TrialNotEligible("{plan} has no trial: name an interval to buy it.", pointer=f"{pointer}/plan", plan=new.id)
        check_trial_seats(new, new.trial, to_seats, f"{pointer}/seats")
    else:
        check_seats(new, to_seats, f"{pointer}/seats")
    direction = direction_of(
        seats=(subscription.seats, to_seats), tiers=(subscription.tier, new.tier), intervals=(subscription.interval, to_interval)
    )
    if direction is None and not ends_trial:
        raise ValidationFailed("Nothing changes: name other seats, another plan or another interval.", pointer=f"{pointer}/subscription")
    price = find_price(new, to_interval, subscription.currency, pointer)
    return Terms(product, new, price, to_seats, to_interval, new.policy(direction or "interval"), ends_trial)


def _check_goes_on(subscription: Subscription, pointer: str) -> None:
    if subscription.status not in RUNNING:
        raise TransitionInvalid(
            "The subscription is {status}; only a running one can change.", pointer=pointer, status=subscription.status
        )
    if subscription.cancel_at is not None:
        raise TransitionInvalid(
            "The subscription ends on {day}. Reactivate it before you change it.", pointer=pointer, day=subscription.cancel_at
        )


def bill_terms(subscription: Subscription, terms: Terms, on: date) -> Billing | None:
    """What a change costs on a day; None where nothing is billed because the trial goes on.

    Raises TransitionInvalid where the running period is over: its renewal comes first.
    """
    if terms.ends_trial:
        return bill_start(terms.price, terms.seats, terms.interval, on)
    if subscription.status == "trialing":
        return None
    if on not in subscription.term.period:
        raise TransitionInvalid("The running period ended on {day} and its renewal is due first.", day=subscription.period_end)
    assert terms.policy is not None
    changes = terms.interval != subscription.interval
    return bill_change(subscription.term, terms.price, terms.seats, terms.interval, terms.policy, on, interval_changes=changes)


def trial_refusal(engine: Engine, account: str, product: str, cart: str) -> str | None:
    """Why this account gets no trial of the product, as a template; None: it may try. What `cart` itself has ordered does not count."""
    entry = engine.db.first(Trial.select().where((Trial.account == account) & (Trial.product == product)))
    if entry is not None and entry.ordering is None:
        return "The account has tried {product} already."
    if entry is not None and entry.ordering != cart:
        return "Another order of the account that tries {product} is being paid. Wait for it, or cancel it."
    if engine.db.first(Subscription.select().where((Subscription.account == account) & (Subscription.product == product))):
        return "The account has bought {product} already."
    return None


# --- while an order is being paid, what it will start or change is reserved for it


def reserve(engine: Engine, account: Account, cart: str, fulfilment: dict[str, Any], subscription_id: str | None) -> None:
    """Keep others off what an order line will do, in the transaction that writes the order.

    Raises TransitionInvalid where another order that is being paid changes the same subscription, or where that has ended.
    """
    if fulfilment["action"] == "start":
        if fulfilment["columns"]["status"] == "trialing":
            product = fulfilment["columns"]["product"]
            engine.db.insert(
                Trial(id=new_id("trl"), account=account.id, product=product, ordering=cart, started_on=account.today(engine))
            )
        return
    subscription = engine.db.lock(Subscription, subscription_id)
    assert subscription is not None
    check_changeable(subscription)
    engine.db.update(subscription, changing=cart)


def check_changeable(subscription: Subscription) -> None:
    """Raises TransitionInvalid for one that has ended, or that an order changes which is being paid."""
    if subscription.status not in RUNNING:
        raise TransitionInvalid("The subscription is {status} already.", status=subscription.status)
    if subscription.changing is not None:
        raise TransitionInvalid("An order that changes this subscription is being paid. Wait for it, or cancel it.")


def unreserve(engine: Engine, cart: str) -> None:
    """An order of the cart came to nothing: what it would have started or changed is free again."""
    engine.db.execute(Trial.delete().where(Trial.ordering == cart))
    engine.db.execute(Subscription.update(changing=None).where(Subscription.changing == cart))


# --- what happens: an order line's `fulfilment`, made when it was quoted, is carried out as it stands


def start(engine: Engine, account: str, fulfilment: dict[str, Any]) -> Subscription:
    """Begin a subscription, in the transaction that completes its order."""
    columns = _columns(fulfilment)
    subscription = Subscription(
        id=new_id("sub"),
        account=account,
        seats_assigned=0,
        cancel_at=None,
        cancel_reason=None,
        changing=None,
        version=1,
        created_at=engine.clock.now(),
        cancelled_at=None,
        **columns,
    )
    if subscription.status == "trialing":
        mine = (Trial.account == account) & (Trial.product == subscription.product)
        engine.db.execute(Trial.update(ordering=None, started_on=subscription.period_start).where(mine))
    engine.db.insert(subscription)
    return subscription


def apply_change(engine: Engine, subscription: Subscription, fulfilment: dict[str, Any]) -> None:
    """Change a subscription now, in the transaction that completes the order."""
    engine.db.update(subscription, changing=None, version=subscription.version + 1, **_columns(fulfilment))


def schedule_change(engine: Engine, subscription: Subscription, fulfilment: dict[str, Any]) -> None:
    """Put a change on the list of those that wait for their day."""
    change = SubscriptionChange(
        id=new_id("chg"),
        account=subscription.account,
        subscription=subscription.id,
        effective_on=date.fromisoformat(fulfilment["effective_on"]),
        release=fulfilment["release"],
        policy=fulfilment["policy"],
        created_at=engine.clock.now(),
        **fulfilment["changed"],
    )
    engine.db.insert(change)
    engine.db.update(subscription, changing=None, next_charge=fulfilment["next_charge"], version=subscription.version + 1)


def _columns(fulfilment: dict[str, Any]) -> dict[str, Any]:
    columns = dict(fulfilment["columns"])
    return columns | {day: date.fromisoformat(columns[day]) for day in DAYS if columns.get(day)}


def cancel(
    engine: Engine, subscription_id: str, caller: Caller, version: int | None = None, *, at: str, reason: str | None = None
) -> Subscription:
    """End a subscription `now`, or at the `period_end` (a trial: at its end). Nothing is credited.

    Raises Missing, PreconditionFailed, and TransitionInvalid for one that has ended already or is being changed.
    """
    with engine.db.transaction():
        subscription = find(engine, Subscription, subscription_id, caller, lock=True)
        check_version(subscription.version, version)
        check_changeable(subscription)
        ends_on = subscription.period_end if at == "period_end" else subscription.cancel_at
        engine.db.update(subscription, cancel_at=ends_on, cancel_reason=reason, version=subscription.version + 1)
        if at == "now":
            _end(engine, subscription)
    return subscription


def reactivate(engine: Engine, subscription_id: str, caller: Caller, version: int | None = None) -> Subscription:
    """Take back a cancellation that waits for the period's end.

    Raises Missing, PreconditionFailed, and TransitionInvalid where nothing waits.
    """
    with engine.db.transaction():
        subscription = find(engine, Subscription, subscription_id, caller, lock=True)
        check_version(subscription.version, version)
        if subscription.status not in RUNNING or subscription.cancel_at is None:
            raise TransitionInvalid("The subscription is {status} and no cancellation waits.", status=subscription.status)
        engine.db.update(subscription, cancel_at=None, cancel_reason=None, version=subscription.version + 1)
    return subscription


def end_due(engine: Engine) -> int:
    """End what is to end by now: cancelled subscriptions at their period's end, trials at theirs; how many.

    Days are those of each account's zone; the search goes by the zone where a day begins first.
    """
    latest = day_in(engine.clock.now(), "Pacific/Kiritimati")
    due = Subscription.select().where(
        Subscription.status.in_(RUNNING) & ((Subscription.cancel_at <= latest) | (Subscription.trial_end <= latest))
    )
    return sum(_end_if_due(engine, candidate.id) for candidate in engine.db.all(due.limit(500)))


def _end_if_due(engine: Engine, subscription_id: str) -> bool:
    with engine.db.transaction():
        subscription = engine.db.lock(Subscription, subscription_id)
        assert subscription is not None
        days = [day for day in (subscription.cancel_at, subscription.trial_end) if day is not None]
        today = _account(engine, subscription).today(engine)
        due = bool(days) and min(days) <= today
        if not due or subscription.status not in RUNNING or subscription.changing is not None:
            return False
        _end(engine, subscription)
        return True


def _end(engine: Engine, subscription: Subscription) -> None:
    now = engine.clock.now()
    engine.db.update(subscription, status="cancelled", cancelled_at=now, next_charge=None, version=subscription.version + 1)
    announce(engine, "subscription.cancelled", subscription)


def announce(engine: Engine, event_type: str, subscription: Subscription, **data: Any) -> None:
    """Write an event of a subscription, with the documents of it and of its account as they are now."""
    account = _account(engine, subscription)
    documents = {"subscription": subscription_document(engine, subscription, account.locale), "account": account_document(account)}
    append(engine, event_type, account=account.id, subject=subscription.id, data={**documents, **data})


def _account(engine: Engine, subscription: Subscription) -> Account:
    account = engine.db.get(Account, subscription.account)
    assert account is not None
    return account


# --- reading


def find_subscription(engine: Engine, subscription_id: str, account: str, pointer: str) -> Subscription:
    """A subscription of that account, for a line that changes it. Raises Missing, also for another's."""
    subscription = engine.db.get(Subscription, subscription_id)
    if subscription is None or subscription.account != account:
        raise missing("subscription", subscription_id, pointer)
    return subscription


def subscription_document(engine: Engine, subscription: Subscription, locale: str) -> dict[str, Any]:
    """The subscription as the API, events and messages show it; names in `locale`."""
    same = ("id", "account", "product", "plan", "seats", "seats_assigned", "interval", "status", "anchor_day", "trial_end", "cancel_at")
    changes = SubscriptionChange.select().where(SubscriptionChange.subscription == subscription.id)
    return {
        **{name: to_json(getattr(subscription, name)) for name in same},
        "product_name": text(subscription.product_name, locale),
        "plan_name": text(subscription.plan_name, locale),
        "currency": subscription.currency,
        "current_period": to_json(subscription.term.period),
        "next_charge": _next_charge(subscription),
        "pending_changes": [_change_document(change) for change in engine.db.all(changes.order_by(SubscriptionChange.effective_on))],
    }


def _next_charge(subscription: Subscription) -> dict[str, Any] | None:
    """When and how much; None where nothing follows."""
    if subscription.next_charge is None or subscription.cancel_at is not None:
        return None
    amount = Money(subscription.next_charge, subscription.currency)
    return {"date": to_json(subscription.trial_end or subscription.period_end), "amount": to_json(amount)}


def _change_document(change: SubscriptionChange) -> dict[str, Any]:
    names = ("effective_on", "plan", "interval", "seats", "release")
    return {name: to_json(getattr(change, name)) for name in names} | {"policy": change.policy["name"]}
