"""Cancellations: a subscription ends at its period's end or now, and what becomes of the days that were paid for and not used."""

from __future__ import annotations

from datetime import date, timedelta
from functools import partial
from typing import Any

from core.access import Caller, find
from core.accounts import Account, lock_account
from core.balance import post
from core.credit_notes import Way, credit_net
from core.engine.clock import FIRST_ZONE, day_in
from core.engine.engine import Engine
from core.engine.setbacks import attempt, resting, was_met
from core.engine.values import to_json
from core.errors import TransitionInvalid, ValidationFailed
from core.hooks.products import Unused
from core.invoices import InvoiceLine, charged_line
from core.refunds import payments_for, refund_credit
from core.rules.derivations import Derivation
from core.rules.money import Money
from core.rules.planner import End, plan
from core.subscriptions import COLLECTING, RUNNING, RUNS, Subscription, account_of, check_running, end

ENDING = "end_subscription"


def cancel(
    engine: Engine,
    subscription_id: str,
    caller: Caller,
    version: int | None = None,
    *,
    at: str,
    reason: str | None = None,
    unused: Unused | None = None,
) -> Subscription:
    """End a subscription `now`, or at the `period_end` (a trial: at its end). While an order of it is being paid, that waits for the order;
    and for the next round of background work where something was put off, which is collected first. While it is paused, the end of its
    term does not come before it goes on.

    unused: what becomes of the unused days; None: as the plan, or else the setting, has it.
    Raises Missing, PreconditionFailed, Forbidden where one who is not staff says what becomes of them, ValidationFailed where none are
    unused, and TransitionInvalid for one that has ended already.
    """
    if unused is not None:
        caller.need("staff")
        if at == "period_end":
            raise ValidationFailed("Nothing is unused at the period's end: leave unused out, or cancel now.", pointer="/unused")
    with engine.db.transaction():
        lock_account(engine, find(engine, Subscription, subscription_id, caller).account)
        subscription = find(engine, Subscription, subscription_id, caller, lock=True, version=version)
        if subscription.status != "paused":
            check_running(subscription)
        policy = (unused or _policy(engine, subscription)) if at == "now" or _used_up(subscription) else None
        if policy is not None and subscription.changing is None and not subscription.put_off:
            engine.db.update(subscription, cancel_reason=reason)
            _end_now(engine, subscription, policy, subscription.paused_on or account_of(engine, subscription).today(engine))
        else:
            _wait(engine, subscription, policy, reason)
    return subscription


def _used_up(subscription: Subscription) -> bool:
    """Whether it was paused at the end of its term: nothing is left whose end could be waited for."""
    return subscription.paused_on is not None and subscription.paused_on >= subscription.period_end


def _policy(engine: Engine, subscription: Subscription) -> Unused:
    """Of the plan as it is in the catalog now; of the setting where it says nothing, or is gone."""
    known = engine.products.plans.get(subscription.plan)
    setting: Unused = engine.settings["subscriptions"]["unused"]
    return (known[1].unused if known else None) or setting


def _wait(engine: Engine, subscription: Subscription, policy: Unused | None, reason: str | None) -> None:
    """Note the cancellation: until the period ends, or the order is settled that holds it up.

    Where nothing would be given back, what that order pays for is used up first: nobody is charged and gets nothing.
    """
    waits = policy is None or (policy == "none" and subscription.status != "paused")
    ends_on = subscription.period_end if waits else account_of(engine, subscription).today(engine)
    unused = None if waits else {"policy": policy}
    engine.db.update(subscription, cancel_at=ends_on, cancel_reason=reason, unused=unused, pause_at=None, version=subscription.version + 1)


def reactivate(engine: Engine, subscription_id: str, caller: Caller, version: int | None = None) -> Subscription:
    """Take back a cancellation that waits.

    Raises Missing, PreconditionFailed, and TransitionInvalid where none does.
    """
    with engine.db.transaction():
        subscription = find(engine, Subscription, subscription_id, caller, lock=True, version=version)
        if subscription.status == "cancelled" or subscription.cancel_at is None:
            raise TransitionInvalid("The subscription is {status} and no cancellation waits.", status=subscription.status)
        engine.db.update(subscription, cancel_at=None, cancel_reason=None, unused=None, version=subscription.version + 1)
    return subscription


# --- what becomes of the unused days


def _end_now(engine: Engine, subscription: Subscription, policy: Unused, on: date) -> None:
    """End it; what was paid for the days from `on` is given back as the policy says."""
    ended = plan(subscription.life, max(on, subscription.period_start), End("none" if policy == "none" else "unused"))
    unused = next((line.derivation for line in ended.lines if line.kind == "credit" and line.amount), None)
    line = charged_line(engine, subscription.id, subscription.period_end - timedelta(days=subscription.moved))
    if line is None or unused is None:
        end(engine, subscription, _outcome(policy, subscription))
    else:
        end(engine, subscription, _give_back(engine, subscription, policy, line, unused))


def _give_back(engine: Engine, subscription: Subscription, policy: Unused, line: InvoiceLine, derived: Derivation) -> dict[str, Any]:
    """Credit the unused days from the line that charged them; what is still owed on terms is lowered first, under either policy."""
    payments = payments_for(engine, subscription.id)
    way: Way = "reduced" if any(payment.owed for payment in payments) else "refunded" if policy == "refund" else "credit"
    note = credit_net(engine, line, subscription.id, derived.amount.amount, way)
    if note is None:
        return _outcome(policy, subscription)
    post(engine, subscription.account, "credited", note.id, -note.total)
    reason = f"Unused rest of {subscription.id}"
    refunds = refund_credit(engine, payments, -note.total, reason, owed_only=policy == "credit")
    return _outcome(policy, subscription, note.id, -note.net, -note.tax, [refund.id for refund in refunds], [derived])


def _outcome(
    policy: Unused,
    subscription: Subscription,
    credit_note: str | None = None,
    net: int = 0,
    tax: int = 0,
    refunds: list[str] | None = None,
    explanation: list[Derivation] | None = None,
) -> dict[str, Any]:
    amounts = {name: Money(amount, subscription.currency) for name, amount in (("net", net), ("tax", tax), ("total", net + tax))}
    made = {"credit_note": credit_note, "refunds": refunds or [], "explanation": explanation or []}
    return dict(to_json({"policy": policy, **amounts, **made}))


# --- what falls due


def end_due(engine: Engine) -> int:
    """End what is to end by now: cancelled subscriptions on their day, trials that nothing follows at theirs, 500 at a time; how many.

    Days are those of each account's zone; the search goes by the zone where a day begins first.
    """
    now = engine.clock.now()
    latest = day_in(now, FIRST_ZONE)
    running = RUNS & ((Subscription.status != "paused") | Subscription.unused.is_null(False))
    over = (Subscription.cancel_at <= latest) | (Subscription.trial_end <= latest)
    query = Subscription.select(Subscription, Account.time_zone).join(Account)
    found: list[Any] = engine.db.all(query.where(running & Subscription.changing.is_null() & over).objects())
    later = resting(engine, ENDING)
    due = [row for row in found if _ends_by(row, day_in(now, row.time_zone)) and row.id not in later]
    return sum(attempt(engine, ENDING, row.id, row.account, partial(_end_if_due, engine, row.id, row.account)) for row in due[:500])


def _ends_by(subscription: Subscription, today: date) -> bool:
    trial_end = subscription.trial_end if subscription.next_charge is None else None
    return any(day is not None and day <= today for day in (subscription.cancel_at, trial_end))


def _end_if_due(engine: Engine, subscription_id: str, account_id: str) -> bool:
    with engine.db.transaction():
        account = lock_account(engine, account_id)
        subscription = engine.db.lock(Subscription, subscription_id)
        assert subscription is not None
        halted = subscription.status not in RUNNING and subscription.unused is None
        stays = halted or subscription.status == "cancelled" or subscription.changing is not None
        stays = stays or (bool(subscription.put_off) and not was_met(engine, COLLECTING, subscription.id))
        if stays or not _ends_by(subscription, account.today(engine)):
            return False
        if subscription.unused is not None and subscription.cancel_at is not None:
            _end_now(engine, subscription, subscription.unused["policy"], subscription.paused_on or subscription.cancel_at)
        else:
            end(engine, subscription)
        return True
