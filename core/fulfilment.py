"""What an order does once it is paid: each of its lines carries a `fulfilment`, made when it was quoted, which is carried out as it stands.

Until then it is reserved, so that nothing else begins or changes the same meanwhile.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from core.accounts import Account
from core.engine.engine import Engine
from core.engine.setbacks import forget
from core.engine.values import new_id
from core.subscriptions import (
    CHANGEABLE,
    COLLECTING,
    Subscription,
    SubscriptionChange,
    Trial,
    check_goes_on,
    forget_past_due,
    pending_changes,
)

DAYS = ("period_start", "period_end", "trial_end")


def reserve(engine: Engine, account: Account, cart: str, fulfilment: dict[str, Any], subscription_id: str | None) -> None:
    """Keep others off what an order line will do, in the transaction that has quoted and writes the order.

    Raises TransitionInvalid where a subscription has been cancelled, or another order has begun to change it, since it was quoted.
    """
    if fulfilment["action"] == "collect":
        engine.db.execute(Subscription.update(changing=cart).where(Subscription.id == subscription_id))
        return
    if fulfilment["action"] == "start":
        if fulfilment["columns"]["status"] == "trialing":
            product = fulfilment["columns"]["product"]
            engine.db.insert(Trial(id=new_id("trl"), account=account.id, product=product, ordering=cart, started_on=account.today(engine)))
        return
    subscription = engine.db.lock(Subscription, subscription_id)
    assert subscription is not None
    check_goes_on(subscription, cart)
    engine.db.update(subscription, changing=cart)


def unreserve(engine: Engine, cart: str) -> None:
    """An order of the cart came to nothing: what it would have started or changed is free again."""
    engine.db.execute(Trial.delete().where(Trial.ordering == cart))
    engine.db.execute(Subscription.update(changing=None).where(Subscription.changing == cart))


# --- carried out


def start(engine: Engine, account: str, fulfilment: dict[str, Any]) -> Subscription:
    """Begin a subscription, in the transaction that completes its order."""
    columns = columns_of(fulfilment)
    subscription = Subscription(
        id=new_id("sub"),
        account=account,
        seats_assigned=0,
        cancel_at=None,
        cancel_reason=None,
        unused=None,
        put_off=None,
        pause_at=None,
        pause_reason=None,
        paused_on=None,
        moved=0,
        changing=None,
        retry_at=None,
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
    """Change a subscription now, in the transaction that completes the order. What waits for the period's end goes on waiting for it,
    and so does a pause, and a cancellation that came while the order was being paid."""
    forget_past_due(engine, subscription)
    columns = columns_of(fulfilment)
    if "period_end" in columns:
        columns["moved"] = 0
        waits = {"cancel_at": subscription.unused is None, "pause_at": True}
        columns |= {day: columns["period_end"] for day, at_end in waits.items() if at_end and getattr(subscription, day) is not None}
    engine.db.update(subscription, changing=None, retry_at=None, version=subscription.version + 1, **columns)
    _supersede(engine, subscription, fulfilment["changed"])
    if problem := fulfilment.get("held_back"):
        mine = SubscriptionChange.subscription == subscription.id
        engine.db.execute(SubscriptionChange.update(problem=problem).where(mine))


def schedule_change(engine: Engine, subscription: Subscription, fulfilment: dict[str, Any]) -> None:
    """Put a change on the list of those that wait for their day."""
    _supersede(engine, subscription, fulfilment["changed"])
    change = SubscriptionChange(
        id=new_id("chg"),
        account=subscription.account,
        subscription=subscription.id,
        effective_on=date.fromisoformat(fulfilment["effective_on"]),
        release=fulfilment["release"],
        policy=fulfilment["policy"],
        problem=None,
        created_at=engine.clock.now(),
        **{name: fulfilment["changed"].get(name) for name in CHANGEABLE},
    )
    engine.db.insert(change)
    engine.db.update(subscription, changing=None, next_charge=fulfilment["next_charge"], version=subscription.version + 1)


def note_collected(engine: Engine, subscription: Subscription) -> None:
    """What was put off is on an invoice now, and the subscription may end, if it has not."""
    forget(engine, COLLECTING, subscription.id)
    engine.db.update(subscription, changing=None, put_off=None, version=subscription.version + 1)


def _supersede(engine: Engine, subscription: Subscription, changed: dict[str, Any]) -> None:
    """The last word counts: strike what a change names from those that wait, and move these to the period's end."""
    if not pending_changes(engine, subscription):
        return
    struck: dict[str, Any] = dict.fromkeys(changed) | ({"release": []} if "seats" in changed else {})
    mine = SubscriptionChange.subscription == subscription.id
    engine.db.execute(SubscriptionChange.update(effective_on=subscription.period_end, **struck).where(mine))
    empty = SubscriptionChange.plan.is_null() & SubscriptionChange.seats.is_null() & SubscriptionChange.interval.is_null()
    engine.db.execute(SubscriptionChange.delete().where(mine & empty))


def columns_of(fulfilment: dict[str, Any]) -> dict[str, Any]:
    """What an order line writes into its subscription."""
    columns = dict(fulfilment["columns"])
    return columns | {day: date.fromisoformat(columns[day]) for day in DAYS if columns.get(day)}
