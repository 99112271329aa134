"""Arrears: what is past due is paid by the buyer, or by staff for them, in any way in which a cart can be paid.

That is for banks that want the buyer to be there, and for who has no method that is charged by itself: on terms, by bank transfer.
"""

from __future__ import annotations

from functools import partial

from core.access import Caller, find
from core.accounts import lock_account
from core.checkout import check_corporate, check_payment, give_up, order_once
from core.engine.engine import Engine
from core.engine.idempotency import Answer, KeyedRequest
from core.errors import TransitionInvalid
from core.orders import waiting_order, write_order
from core.payments import PaymentChoice
from core.quotes import quote_renewal
from core.subscriptions import Subscription


def pay_arrears(
    engine: Engine, subscription_id: str, caller: Caller, payment: PaymentChoice | None, purchase_order: str | None, request: KeyedRequest
) -> Answer:
    """Order the first period of a subscription that is past due, and pay for it; the answer's body is the order's document. The same key
    gets the same answer. A refusal is no failed attempt of the schedule, which goes on.

    Raises Missing, CorporateAccount, TransitionInvalid for one that is not past due, or that is being charged; ValidationFailed as at
    checkout; and PaymentDeclined and PaymentProviderUnavailable, after which it is as it was.
    """
    place = partial(_place, engine, subscription_id, caller, payment, purchase_order)
    return order_once(engine, request, place, payment)


def _place(
    engine: Engine, subscription_id: str, caller: Caller, payment: PaymentChoice | None, purchase_order: str | None, *, order_id: str
) -> None:
    """First step: the order, with an intent to pay. One that waits for the buyer at the bank is given up for it."""
    account_id = find(engine, Subscription, subscription_id, caller).account
    lock_account(engine, account_id)
    subscription = find(engine, Subscription, subscription_id, caller, lock=True)
    if subscription.status != "past_due":
        raise TransitionInvalid("The subscription is {status}: nothing of it is past due.", status=subscription.status)
    if subscription.changing is not None and (waiting := waiting_order(engine, subscription.changing)) is not None:
        give_up(engine, waiting)
    account, subscription = lock_account(engine, account_id), find(engine, Subscription, subscription_id, caller, lock=True)
    check_corporate(account, caller)
    current = quote_renewal(engine, account, [subscription], subscription.period_end)
    check_payment(engine, account, current, payment, purchase_order)
    write_order(engine, order_id, None, account, current, payment, kind="renewal", purchase_order=purchase_order, placed_by=caller.id)
