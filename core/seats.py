"""Seats: who holds one, and what that entitles to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import peewee

from core.access import Caller, find, missing, revoke_tokens
from core.accounts import Account, User, find_user, lock_account, user_document
from core.engine.clock import day_in
from core.engine.engine import Engine
from core.engine.rows import InstantField, Row, refers_to
from core.engine.values import new_id, to_json
from core.errors import NoSeatLeft, SeatsInUse, TransitionInvalid, ValidationFailed
from core.hooks.products import localized
from core.subscriptions import RUNNING, PastDue, Subscription, announce


class SeatAssignment(Row):
    """A user's seat of a subscription. How many there are is counted in `Subscription.seats_assigned`, under a check."""

    id = peewee.CharField(primary_key=True, max_length=40)
    account = peewee.CharField(max_length=40)
    subscription = refers_to(Subscription, index=False)
    user = refers_to(User)
    assigned_at = InstantField()

    class Meta:
        table_name = "seat_assignment"
        indexes = ((("subscription", "user"), True),)


SEAT = SeatAssignment.id.alias("seat")
# From the farthest miss to the answer yes.
REASONS = ("no_subscription", "cancelled", "trial_ended", "paused", "past_due", "no_seat", "seat_assigned")


@dataclass(frozen=True)
class Entitlement:
    """May this user use this product now? reason: one of REASONS: `seat_assigned` where yes, else the nearest miss."""

    entitled: bool
    reason: str
    plan: str | None = None
    features: tuple[str, ...] = ()
    subscription: str | None = None


def assign_seats(engine: Engine, subscription_id: str, caller: Caller, users: Sequence[str]) -> Subscription:
    """Give each user a seat, all or none; who has one keeps it.

    Raises NoSeatLeft where they are too many, Missing for a user that is not of the account, TransitionInvalid where the
    subscription has ended.
    """
    with engine.db.transaction():
        lock_account(engine, find(engine, Subscription, subscription_id, caller).account)
        subscription = find(engine, Subscription, subscription_id, caller, lock=True)
        if subscription.status not in RUNNING:
            raise TransitionInvalid("The subscription is {status}: it has no seats to assign.", status=subscription.status)
        holders = _holders(engine, subscription, users)
        new = _users(engine, [user for user in dict.fromkeys(users) if user not in holders], subscription.account)
        assigned = subscription.seats_assigned + len(new)
        _check_room(subscription, assigned)
        if new:
            engine.db.insert(*(_assignment(engine, subscription, user) for user in new))
            engine.db.update(subscription, seats_assigned=assigned, version=subscription.version + 1)
            announce(engine, "seat.assigned", subscription, *({"user": user_document(user)} for user in new))
    return subscription


def _holders(engine: Engine, subscription: Subscription, users: Sequence[str]) -> set[str]:
    """Which of those users have a seat: however many others have one, they cost nothing."""
    here = (SeatAssignment.subscription == subscription.id) & engine.db.among(SeatAssignment.user, users)
    return {row.user for row in engine.db.all(SeatAssignment.select(SeatAssignment.user).where(here))}


def _users(engine: Engine, users: Sequence[str], account: str) -> list[User]:
    """Those users of the account, in this order. Raises Missing for the first that is none."""
    theirs = (User.account == account) & engine.db.among(User.id, users)
    known = {user.id: user for user in engine.db.all(User.select().where(theirs))}
    unknown = next((user for user in users if user not in known), None)
    if unknown is not None:
        raise missing("user", unknown)
    return [known[user] for user in users]


def _assignment(engine: Engine, subscription: Subscription, user: User) -> SeatAssignment:
    return SeatAssignment(
        id=new_id("seat"), account=subscription.account, subscription=subscription.id, user=user.id, assigned_at=engine.clock.now()
    )


def release_seats(engine: Engine, subscription: Subscription, users: Sequence[str]) -> int:
    """Take the seats of those users who have one, inside a transaction that has locked the subscription; how many."""
    holders = _holders(engine, subscription, users)
    leaving = [user for user in dict.fromkeys(users) if user in holders]
    if leaving:
        here = SeatAssignment.subscription == subscription.id
        engine.db.execute(SeatAssignment.delete().where(here & engine.db.among(SeatAssignment.user, leaving)))
        engine.db.update(subscription, seats_assigned=subscription.seats_assigned - len(leaving), version=subscription.version + 1)
        left = engine.db.all(User.select().where(engine.db.among(User.id, leaving)).order_by(User.id))
        announce(engine, "seat.released", subscription, *({"user": user_document(user)} for user in left))
    return len(leaving)


def release_seat(engine: Engine, subscription_id: str, caller: Caller, user: str) -> None:
    """Take one user's seat. Raises Missing where the user has none."""
    with engine.db.transaction():
        subscription = find(engine, Subscription, subscription_id, caller, lock=True)
        if not release_seats(engine, subscription, [user]):
            raise missing("seat of user", user)


def fit_seats(engine: Engine, subscription: Subscription, seats: int, release: Sequence[str]) -> None:
    """Make room for a smaller number of seats: those named lose theirs, and then, where seats were assigned since the
    change was ordered, those who were assigned last."""
    if release:
        release_seats(engine, subscription, release)
    if subscription.seats_assigned > seats:
        release_seats(engine, subscription, assigned_users(engine, subscription)[seats:])


def assigned_users(engine: Engine, subscription: Subscription) -> list[str]:
    """Ids of the users with a seat, in the order of assignment."""
    query = SeatAssignment.select(SeatAssignment.user).where(SeatAssignment.subscription == subscription.id)
    return [row.user for row in engine.db.all(query.order_by(SeatAssignment.id))]


def seat_document(seat: SeatAssignment) -> dict[str, Any]:
    """Who has a seat, and since when, as the API shows it."""
    return {"user": seat.user, "assigned_at": to_json(seat.assigned_at)}


def remove_user(engine: Engine, account_id: str, user_id: str, caller: Caller, version: int | None = None) -> None:
    """Remove a user of an account; the seats they held are free again, and their tokens end. Raises Missing, PreconditionFailed."""
    with engine.db.transaction():
        find(engine, Account, account_id, caller, lock=True)
        user = find_user(engine, account_id, user_id, caller, version)
        held = SeatAssignment.select(SeatAssignment.subscription).where(SeatAssignment.user == user.id)
        for seat in engine.db.all(held):
            subscription = engine.db.lock(Subscription, seat.subscription)
            assert subscription is not None
            release_seats(engine, subscription, [user.id])
        revoke_tokens(engine, user.id)
        engine.db.delete(user)


def check_release(engine: Engine, subscription: Subscription, seats: int, release: Sequence[str], pointer: str) -> None:
    """Raises SeatsInUse where more users have a seat than there will be and `release` does not name enough of them."""
    if subscription.seats_assigned <= seats and not release:
        return
    assigned = assigned_users(engine, subscription)
    unknown = [user for user in release if user not in assigned]
    if unknown:
        raise ValidationFailed("{user} has no seat of this subscription.", pointer=f"{pointer}/release", user=unknown[0][:64])
    if len(assigned) - len(set(release)) > seats:
        raise SeatsInUse(
            "{assigned} seats are assigned and {seats} would be left. Name in release who loses a seat.",
            pointer=f"{pointer}/seats",
            assigned=len(assigned),
            seats=seats,
            extra={"assigned": assigned},
        )


def check_entitlement(engine: Engine, user_id: str, product: str, caller: Caller, rows: Sequence[Any] | None = None) -> Entitlement:
    """May this user use this product now? Read from the tables each time, so that a revoked seat counts at once.

    Of several subscriptions the one of the highest plan counts, among those that entitle or else come nearest to it.
    rows: what `subscriptions_of` finds, where it was asked beside who calls.
    Raises Missing for a user the caller may not see.
    """
    if rows is None:
        rows = engine.db.ask(subscriptions_of, user_id, product)
    if not rows or not caller.owns(rows[0].account):
        raise missing("user", user_id)
    now = engine.clock.now()
    answers = [(_entitlement(row, now), row.tier) for row in rows if row.subscription is not None]
    if not answers:
        return Entitlement(False, "no_subscription")
    return max(answers, key=lambda answer: (REASONS.index(answer[0].reason), answer[1], answer[0].subscription))[0]


def subscriptions_of(user_id: str, product: str) -> Any:
    """The select of what the user's account has or had of the product, and which seat the user has of it; in no order."""
    names = ("plan", "tier", "features", "status", "trial_end", "cancel_at", "pause_at", "next_charge")
    columns = [getattr(Subscription, name) for name in names]
    columns += [Subscription.id.alias("subscription"), SEAT, PastDue.access_until]
    theirs = User.select(User.account, Account.time_zone, Account.locale, *columns)
    of_product = (Subscription.account == User.account) & (Subscription.product == product)
    seat = (SeatAssignment.subscription == Subscription.id) & (SeatAssignment.user == user_id)
    joined = theirs.join(Account).switch(User).join(Subscription, peewee.JOIN.LEFT_OUTER, on=of_product)
    joined = joined.join(SeatAssignment, peewee.JOIN.LEFT_OUTER, on=seat)
    joined = joined.join(PastDue, peewee.JOIN.LEFT_OUTER, on=PastDue.subscription == Subscription.id)
    return joined.where(User.id == user_id)


def _entitlement(row: Any, now: datetime) -> Entitlement:
    reason = _reason(row, row.seat is not None, now)
    if reason != "seat_assigned":
        return Entitlement(False, reason, subscription=row.subscription)
    return Entitlement(True, reason, row.plan, tuple(localized(row.features, row.locale) or ()), row.subscription)


def _reason(subscription: Any, has_seat: bool, now: datetime) -> str:
    today = day_in(now, subscription.time_zone)
    goes_on = subscription.status == "trialing" and subscription.next_charge is not None
    if subscription.status == "paused":
        return "paused"
    if subscription.trial_end is not None and subscription.trial_end <= today and not goes_on:
        return "trial_ended"
    if subscription.status not in RUNNING:
        return str(subscription.status)
    if subscription.cancel_at is not None and subscription.cancel_at <= today:
        return "cancelled"
    if subscription.pause_at is not None and subscription.pause_at <= today:
        return "paused"
    if subscription.access_until is not None and subscription.access_until <= now:
        return "past_due"
    return "seat_assigned" if has_seat else "no_seat"


def _check_room(subscription: Subscription, wanted: int) -> None:
    if wanted > subscription.seats:
        raise NoSeatLeft(
            "The subscription has {seats} seats, {assigned} are assigned. Release one, or buy more.",
            seats=subscription.seats,
            assigned=subscription.seats_assigned,
            extra={"seats": subscription.seats, "assigned": subscription.seats_assigned},
        )
