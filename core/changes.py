"""Changes of a running subscription without a cart, quoted, ordered and paid as a cart with that one line is.

The buyer is there, but names no card: what is due is charged to a stored method. So recovery can carry such an order on by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from core.access import Caller, find, missing
from core.accounts import Account, lock_account
from core.carts import CartLine, LineInput, change_terms
from core.checkout import check_corporate, give_up, order_once
from core.engine.engine import Engine
from core.engine.idempotency import Answer, KeyedRequest
from core.errors import Forbidden, ValidationFailed
from core.orders import Order, waiting_order, write_order
from core.payment_methods import find_method
from core.payments import Payment, PaymentChoice
from core.quotes import Quote, check_seal, quote_change, quote_renewal
from core.renewals import choose_payment, granted_under, last_payments
from core.rules.periods import Interval
from core.rules.policies import NAMED_POLICIES, NEXT_PERIOD, ChangePolicy
from core.subscriptions import Subscription, SubscriptionChange, announce, change_document, check_changeable
from core.terms import Terms


@dataclass(frozen=True)
class Change:
    """What is to be different; what is None stays. release: users who lose their seats by it.

    at:     `period_end` has a change wait that the plan's policy would carry out now.
    policy: a named policy in place of the plan's, for staff.
    """

    plan: str | None = None
    seats: int | None = None
    interval: Interval | None = None
    release: tuple[str, ...] = ()
    at: str | None = None
    policy: str | None = None


@dataclass(frozen=True)
class Means:
    """How a change is paid. payment_method: id of a stored one; None: on terms again where that was granted last, else the default."""

    payment_method: str | None = None
    purchase_order: str | None = None


def preview_change(engine: Engine, subscription_id: str, caller: Caller, change: Change) -> Quote:
    """What the change would cost now. Writes nothing. Raises as `order_change` does, but for what is about payment."""
    subscription = find(engine, Subscription, subscription_id, caller)
    account, waiting = engine.db.get(Account, subscription.account), _waiting(engine, subscription)
    assert account is not None
    account.balance += waiting.credit_used if waiting else 0  # it is given up for this one, and its credit comes back
    return _quote(engine, account, subscription, change, caller, holder=waiting.id if waiting else None)


def order_change(
    engine: Engine,
    subscription_id: str,
    caller: Caller,
    change: Change,
    means: Means,
    *,
    quote: str | None,
    request: KeyedRequest,
    version: int | None = None,
) -> Answer:
    """Change a subscription, and charge what is due to a stored method; the answer's body is the order's document. The same key gets
    the same answer.

    quote:   the seal of what was shown; None: whatever it costs now.
    version: of the subscription, as it was read.
    Raises Missing, PreconditionFailed, CorporateAccount, Forbidden for a policy that staff did not choose, TransitionInvalid, SeatsInUse,
    QuoteChanged, QuoteExpired, ValidationFailed, also where nothing can be charged; what the catalog raises; and PaymentDeclined and
    PaymentProviderUnavailable, after which the subscription is as it was.
    """
    place = partial(_place, engine, subscription_id, caller, change, means, quote=quote, version=version)
    return order_once(engine, request, place, None)


def _place(
    engine: Engine,
    subscription_id: str,
    caller: Caller,
    change: Change,
    means: Means,
    *,
    order_id: str,
    quote: str | None,
    version: int | None,
) -> None:
    """First step: the order, with an intent to pay where something is due. One that waits for the buyer at the bank is given up for it."""
    account_id = find(engine, Subscription, subscription_id, caller, version=version).account
    lock_account(engine, account_id)
    subscription = find(engine, Subscription, subscription_id, caller, lock=True, version=version)
    if (waiting := _waiting(engine, subscription)) is not None:
        give_up(engine, waiting)
    account, subscription = lock_account(engine, account_id), find(engine, Subscription, subscription_id, caller, lock=True)
    check_corporate(account, caller)
    current = _quote(engine, account, subscription, change, caller)
    if quote is not None:
        check_seal(current, quote)
    choice = _choose(engine, account, current, means) if current.payment_required else None
    on_terms = choice is not None and choice.payment_method is None
    purchase_order = means.purchase_order or (granted_under(engine, _last_payment(engine, account)) if on_terms else None)
    write_order(engine, order_id, None, account, current, choice, kind="change", purchase_order=purchase_order, placed_by=caller.id)


def _choose(engine: Engine, account: Account, quote: Quote, means: Means) -> PaymentChoice:
    """Raises Missing for a method that is not the account's, ValidationFailed where there is nothing to charge."""
    if means.payment_method is not None:
        method = find_method(engine, means.payment_method, account.id, "/payment_method")
        return PaymentChoice(method.provider, payment_method=method.id)
    choice = choose_payment(engine, account, quote, _last_payment(engine, account))
    if choice is None:
        raise ValidationFailed(
            "Something is due and no payment method is stored: store one first, or use a cart.", pointer="/payment_method"
        )
    return choice


def _last_payment(engine: Engine, account: Account) -> Payment | None:
    return last_payments(engine, [account.id]).get(account.id)


def _waiting(engine: Engine, subscription: Subscription) -> Order | None:
    """The order of an earlier change without a cart, whose buyer is at the bank."""
    order = waiting_order(engine, subscription.changing) if subscription.changing else None
    return order if order is not None and order.kind == "change" else None


def drop_change(engine: Engine, subscription_id: str, change_id: str, caller: Caller, version: int | None = None) -> Subscription:
    """Take back a change that waits for the period's end; the others go on waiting, and `next_charge` follows.

    Raises Missing, PreconditionFailed, TransitionInvalid while an order changes the subscription, TaxUnavailable.
    """
    with engine.db.transaction():
        account = lock_account(engine, find(engine, Subscription, subscription_id, caller).account)
        subscription = find(engine, Subscription, subscription_id, caller, lock=True, version=version)
        check_changeable(subscription)
        change = engine.db.get(SubscriptionChange, change_id)
        if change is None or change.subscription != subscription.id:
            raise missing("pending change", change_id)
        engine.db.delete(change)
        next_charge = quote_renewal(engine, account, [subscription], subscription.period_end).total
        engine.db.update(subscription, next_charge=next_charge.amount, version=subscription.version + 1)
        announce(engine, "subscription.change_dropped", subscription, {"change": change_document(change)})
    return subscription


# --- what it costs


def _quote(
    engine: Engine, account: Account, subscription: Subscription, change: Change, caller: Caller, holder: str | None = None
) -> Quote:
    """holder: an order that has reserved the subscription, and that does not count."""
    given = LineInput("change", change.plan, change.interval, change.seats, subscription.id, change.release)
    terms, _ = change_terms(engine, account.id, holder or subscription.id, given, "")
    terms = replace(terms, policy=_policy(terms, change, caller))
    line = CartLine(id=subscription.id, mode="change", subscription=subscription.id, release=list(change.release))
    return quote_change(engine, account, subscription, line, terms, caller)


def _policy(terms: Terms, change: Change, caller: Caller) -> ChangePolicy | None:
    """The plan's; or to wait, which everybody may; or the one that staff have named. None: a trial, which changes now."""
    if change.policy is not None and not caller.staff:
        raise Forbidden("Only staff choose the policy of a change: leave policy out.")
    if terms.policy is None:
        if change.at == "period_end":
            raise ValidationFailed("A trial changes now: leave at out.", pointer="/at")
        return None
    policy = NAMED_POLICIES[change.policy] if change.policy else terms.policy
    if change.at in (None, policy.effective):
        return policy
    if change.at == "now":
        raise ValidationFailed("This change waits for the end of the period: leave at out.", pointer="/at")
    return NEXT_PERIOD
