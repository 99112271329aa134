"""Subscriptions: what an account has, and its end. What a change would bring is in `core.terms`; what an order does, in `fulfilment`."""

from __future__ import annotations

from datetime import date
from typing import Any

import peewee

from core.access import missing
from core.accounts import Account, account_document
from core.catalog import discount_from_document, price_from_document
from core.engine.engine import Engine
from core.engine.events import append
from core.engine.rows import DayField, InstantField, JsonField, Row, refers_to
from core.engine.values import to_json
from core.errors import TransitionInvalid
from core.hooks.products import text
from core.rules.discounts import Discount
from core.rules.money import Money
from core.rules.periods import Interval, Period
from core.rules.planner import Deal, Life, Term

RUNNING = ("trialing", "active", "past_due")
COLLECTING = "collect_put_off"
CHANGEABLE = ("plan", "seats", "interval")


class Subscription(Row):
    """A plan with seats, running for an account.

    It keeps the terms it was sold under, so that it can be read, credited and billed when its plugin is gone: names, `price`
    (the price document), `tax` (how its running period was taxed), `term_amount` (what the whole running period costs, net),
    `next_charge` (what the next period will cost, tax included; None: nothing follows).

    changing: what is being paid and will change it, as `Order.cart` names it; nothing else may change it meanwhile.
    retry_at: when what is past due is tried again; None: when a payment method is stored, or by hand.
    reminded_for: the end of the period of which its account was told that it comes; None: of none yet.
    discount: what is taken off its price {coupon, percent, amount, periods}, `periods` with the running one; None: nothing.
    put_off:  lines that go on its next invoice, as its order will have them in `OrderLine.items`, each with an `id`; None: there are none.
    pause_at: the day on which it is to be paused; paused_on: the first day of the pause that it is in.
    moved:    by how many days pauses have moved the running period since it was charged.
    unused:   of one that is cancelled before its period's end: {policy} while an order holds that up, and then what became of the rest.
    """

    id = peewee.CharField(primary_key=True, max_length=40)
    account = refers_to(Account, index=False)
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
    period_end = DayField(constraints=[peewee.Check("period_start < period_end")])
    anchor_day = peewee.IntegerField(constraints=[peewee.Check("anchor_day BETWEEN 1 AND 31")])
    trial_end = DayField(null=True)
    next_charge = peewee.BigIntegerField(null=True)
    cancel_at = DayField(null=True)
    cancel_reason = peewee.CharField(max_length=500, null=True)
    unused = JsonField(null=True)
    put_off = JsonField(null=True)
    discount = JsonField(null=True)
    pause_at = DayField(null=True)
    pause_reason = peewee.CharField(max_length=500, null=True)
    paused_on = DayField(null=True)
    moved = peewee.IntegerField(default=0)
    changing = peewee.CharField(max_length=40, null=True)
    retry_at = InstantField(null=True)
    reminded_for = DayField(null=True)
    version = peewee.IntegerField(default=1)
    created_at = InstantField()
    cancelled_at = InstantField(null=True)

    class Meta:
        indexes = ((("account", "id"), False), (("account", "product"), False))

    @property
    def term(self) -> Term:
        return Term(Period(self.period_start, self.period_end), self.anchor_day, Money(self.term_amount, self.currency))

    @property
    def reduction(self) -> Discount | None:
        """What is taken off the running period."""
        return discount_from_document(self.discount) if self.discount else None

    @property
    def life(self) -> Life:
        """As the planner sees it, without the changes that wait. Nothing follows the term while it is paused, or about to be."""
        deal = Deal(price_from_document(self.price), self.seats, self.reduction)
        if self.trial_end is not None:
            return Life(deal, trial=self.term.period, ends_on=self.ends_on)
        return Life(deal, self.term, ends_on=self.ends_on)

    @property
    def ends_on(self) -> date | None:
        """The day from which on nothing is billed; None: it goes on. A pause keeps off what follows the term."""
        day: date | None = self.period_end if self.status == "paused" else self.cancel_at or self.pause_at
        return day


for _day in (Subscription.period_end, Subscription.cancel_at, Subscription.trial_end, Subscription.pause_at):
    Subscription.add_index(Subscription.index(_day, name=f"subscription_{_day.name}").where(Subscription.cancelled_at.is_null()))
Subscription.add_index(Subscription.index(Subscription.retry_at, name="subscription_retry_at").where(Subscription.retry_at.is_null(False)))
Subscription.add_index(Subscription.index(Subscription.changing, name="subscription_changing").where(Subscription.changing.is_null(False)))


# What goes on a next invoice.
PUT_OFF = Subscription.put_off.is_null(False)
Subscription.add_index(Subscription.index(Subscription.id, name="subscription_put_off").where(PUT_OFF))
RUNS = Subscription.cancelled_at.is_null()
# Trials, and what is paid by the year, whose account was not told yet that this period ends.
TO_REMIND_OF = (
    RUNS
    & ((Subscription.interval == peewee.SQL("'year'")) | (Subscription.status == peewee.SQL("'trialing'")))
    & (Subscription.reminded_for.is_null() | (Subscription.reminded_for != Subscription.period_end))
)
Subscription.add_index(Subscription.index(Subscription.period_end, name="subscription_to_remind_of").where(TO_REMIND_OF))


class PastDue(Row):
    """What a past due subscription has behind it and before it; there is none for any other. Guarded by the subscription's lock.

    since:        when the first try to charge it failed.
    attempts:     the tries that failed since then, as `FailedAttempt` has them.
    ends_at:      when `then` (`cancel` or `pause`) is done to it if nothing has been paid; None: never.
    warn_at:      when its account is warned of that; None: it is not, or was already (`warned`).
    access_until: from when on it entitles to nothing; None: it goes on entitling.
    """

    id = peewee.CharField(primary_key=True, max_length=40)
    account = peewee.CharField(max_length=40)
    subscription = refers_to(Subscription, unique=True)
    since = InstantField()
    attempts = JsonField()
    ends_at = InstantField(null=True)
    then = peewee.CharField(max_length=6, null=True, constraints=[peewee.Check("\"then\" IN ('cancel', 'pause')")])
    warn_at = InstantField(null=True)
    warned = peewee.BooleanField(default=False)
    access_until = InstantField(null=True)

    class Meta:
        table_name = "past_due"


for _instant in (PastDue.ends_at, PastDue.warn_at):
    PastDue.add_index(PastDue.index(_instant, name=f"past_due_{_instant.name}").where(_instant.is_null(False)))


class SubscriptionChange(Row):
    """A change that waits for the period's end. They combine: each names only what it changes, and nothing is named twice.

    problem: why it could not take effect when its day came, as a code: it waits for the next one. None: its day has not come.
    """

    id = peewee.CharField(primary_key=True, max_length=40)
    account = peewee.CharField(max_length=40)
    subscription = refers_to(Subscription)
    effective_on = DayField()
    plan = peewee.CharField(max_length=64, null=True)
    interval = peewee.CharField(max_length=8, null=True, constraints=[peewee.Check("interval IN ('month', 'year')")])
    seats = peewee.IntegerField(null=True, constraints=[peewee.Check("seats > 0")])
    release = JsonField()
    policy = JsonField()
    problem = peewee.CharField(max_length=32, null=True)
    created_at = InstantField()

    class Meta:
        table_name = "subscription_change"


HELD_BACK = SubscriptionChange.problem.is_null(False)
SubscriptionChange.add_index(SubscriptionChange.index(SubscriptionChange.id, name="subscription_change_held_back").where(HELD_BACK))


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


# --- what may be


def check_running(subscription: Subscription, pointer: str | None = None) -> None:
    """Raises TransitionInvalid for one that has ended."""
    if subscription.status not in RUNNING:
        raise TransitionInvalid(
            "The subscription is {status}; only a running one can change or end.", pointer=pointer, status=subscription.status
        )


def check_changeable(subscription: Subscription, cart: str | None = None, pointer: str | None = None) -> None:
    """Raises TransitionInvalid for one that has ended, or that another cart's order changes which is being paid."""
    check_running(subscription, pointer)
    if subscription.changing not in (None, cart):
        raise TransitionInvalid("An order that changes this subscription is being paid. Wait for it, or cancel it.", pointer=pointer)


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


def check_goes_on(subscription: Subscription, cart: str, pointer: str | None = None) -> None:
    """Raises TransitionInvalid for one that can't be changed by an order of the cart, or is about to end."""
    check_changeable(subscription, cart, pointer)
    if subscription.cancel_at is not None:
        raise TransitionInvalid(
            "The subscription ends on {day}. Reactivate it before you change it.", pointer=pointer, day=subscription.cancel_at
        )


# --- what happens


def end(engine: Engine, subscription: Subscription, unused: dict[str, Any] | None = None, *, cause: str | None = None) -> None:
    """End it now, inside a transaction that has locked it.

    unused: what became of the rest of its period, for `Subscription.unused`. cause: `unpaid`; None: it was to end.
    """
    now = engine.clock.now()
    forget_past_due(engine, subscription)
    engine.db.execute(SubscriptionChange.delete().where(SubscriptionChange.subscription == subscription.id))
    ended = {"status": "cancelled", "cancelled_at": now, "next_charge": None, "retry_at": None, "pause_at": None, "unused": unused}
    engine.db.update(subscription, **ended, version=subscription.version + 1)
    announce(engine, "subscription.cancelled", subscription, {"cause": cause})


def forget_past_due(engine: Engine, subscription: Subscription) -> None:
    if subscription.status == "past_due":
        engine.db.execute(PastDue.delete().where(PastDue.subscription == subscription.id))


def announce(engine: Engine, event_type: str, subscription: Subscription, *news: dict[str, Any]) -> None:
    """Write an event of a subscription for each of `news`, with the documents of it and of its account as they are now."""
    account = account_of(engine, subscription)
    documents = {"subscription": subscription_document(engine, subscription, account.locale), "account": account_document(account)}
    for further in news:
        append(engine, event_type, account=account.id, subject=subscription.id, data={**documents, **further})


def account_of(engine: Engine, subscription: Subscription) -> Account:
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
    same = ("id", "account", "product", "plan", "seats", "seats_assigned", "interval", "status", "anchor_day")
    days = ("trial_end", "cancel_at", "pause_at", "paused_on")
    return {
        **{name: to_json(getattr(subscription, name)) for name in (*same, *days)},
        "product_name": text(subscription.product_name, locale),
        "plan_name": text(subscription.plan_name, locale),
        "currency": subscription.currency,
        "current_period": to_json(subscription.term.period),
        "next_charge": _next_charge(subscription),
        "put_off": to_json(put_off_of(subscription)),
        "discount": subscription.discount,
        "past_due": _past_due_document(engine, subscription) if subscription.status == "past_due" else None,
        "unused": subscription.unused if subscription.status == "cancelled" else None,
        "pending_changes": [change_document(change) for change in pending_changes(engine, subscription)],
    }


def pending_changes(engine: Engine, subscription: Subscription) -> list[SubscriptionChange]:
    """The changes that wait for the period's end, in the order in which they were ordered."""
    return engine.db.having(SubscriptionChange.subscription, subscription.id)


def put_off_of(subscription: Subscription) -> Money:
    """What goes on its next invoice, tax included; below zero where more is given back than charged."""
    amounts = (item[part]["amount"] for item in subscription.put_off or () for part in ("net", "tax"))
    return Money(sum(amounts), subscription.currency)


def _next_charge(subscription: Subscription) -> dict[str, Any] | None:
    """When and how much; None where nothing follows."""
    if subscription.next_charge is None or subscription.ends_on is not None:
        return None
    amount = Money(subscription.next_charge, subscription.currency)
    return {"date": to_json(subscription.period_end), "amount": to_json(amount)}


def _past_due_document(engine: Engine, subscription: Subscription) -> dict[str, Any] | None:
    """None where it fell past due before that was kept."""
    row = engine.db.first(PastDue.select().where(PastDue.subscription == subscription.id))
    if row is None:
        return None
    kept = {name: to_json(getattr(row, name)) for name in ("since", "ends_at", "then", "access_until")}
    return {**kept, "attempts": len(row.attempts), "next_try": to_json(subscription.retry_at)}


def change_document(change: SubscriptionChange) -> dict[str, Any]:
    """A change that waits, as the API and events show it."""
    names = ("id", "effective_on", "plan", "interval", "seats", "release", "problem")
    return {name: to_json(getattr(change, name)) for name in names} | {"policy": change.policy["name"]}
