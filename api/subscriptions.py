"""Subscriptions, seats and the entitlement check."""

from __future__ import annotations

from functools import partial
from typing import Any

from marshmallow import Schema, fields, validate

from api.auth import needs
from api.http import Blueprint, asked, caller, engine, guarded, keyed, listed, tag
from api.invoices import InvoiceLineOut
from api.languages import locale
from api.schemas import (
    ID,
    INTERVALS,
    AccountPageQuery,
    Amount,
    Answer,
    Choice,
    Day,
    DerivationOut,
    Instant,
    NextChargeOut,
    PageQuery,
    PeriodOut,
    paged,
)
from core import cancellations, pauses, seats, subscriptions, trials
from core.access import Beside, find
from core.hooks.products import UNUSED
from core.timeline import timeline

blueprint = Blueprint("subscriptions", __name__, url_prefix="/v1", description="What an account has, and who uses it")


class PendingChangeOut(Answer):
    """A change that waits for its day; null: that stays as it is. `problem`: why its day went by without it, as a code; the next may do."""

    id = fields.String(required=True)
    effective_on = Day()
    plan = fields.String(required=True, allow_none=True)
    interval = Choice(*INTERVALS, allow_none=True)
    seats = fields.Integer(required=True, allow_none=True)
    release = fields.List(fields.String(), required=True)
    policy = fields.String(required=True)
    problem = fields.String(required=True, allow_none=True)


class UnusedOut(Answer):
    """What became of the days that were paid for and not used. `refunds`: ids; what they do not pay out is on the account's balance."""

    policy = Choice(*UNUSED)
    net = Amount()
    tax = Amount()
    total = Amount()
    credit_note = fields.String(required=True, allow_none=True)
    refunds = fields.List(fields.String(), required=True)
    explanation = fields.List(fields.Nested(DerivationOut), required=True)


class PastDueOut(Answer):
    """How it stands with what could not be paid. next_try: when the default method is charged again; null: once it changes."""

    since = Instant()
    attempts = fields.Integer(required=True)
    next_try = Instant(allow_none=True)
    ends_at = Instant(allow_none=True)
    then = Choice("cancel", "pause", allow_none=True)
    access_until = Instant(allow_none=True)


class DiscountOut(Answer):
    """What is taken off the price: `percent` of it, or an `amount` a period; `periods`: how many, with the running one; null: always."""

    coupon = fields.String(required=True)
    percent = fields.String(required=True, allow_none=True)
    amount = Amount(allow_none=True)
    periods = fields.Integer(required=True, allow_none=True)


class SubscriptionOut(Answer):
    id = fields.String(required=True)
    account = fields.String(required=True)
    product = fields.String(required=True)
    product_name = fields.String(required=True)
    plan = fields.String(required=True)
    plan_name = fields.String(required=True)
    seats = fields.Integer(required=True)
    seats_assigned = fields.Integer(required=True)
    interval = Choice(*INTERVALS)
    currency = fields.String(required=True)
    status = Choice("trialing", "active", "past_due", "paused", "cancelled")
    current_period = fields.Nested(PeriodOut, required=True)
    anchor_day = fields.Integer(required=True)
    trial_end = Day(allow_none=True)
    cancel_at = Day(allow_none=True)
    pause_at = Day(allow_none=True)
    paused_on = Day(allow_none=True)
    next_charge = fields.Nested(NextChargeOut, required=True, allow_none=True)
    discount = fields.Nested(DiscountOut, required=True, allow_none=True)
    put_off = Amount("what goes on the next invoice besides, tax included; below zero where more is given back than charged")
    past_due = fields.Nested(PastDueOut, required=True, allow_none=True)
    unused = fields.Nested(UnusedOut, required=True, allow_none=True)
    pending_changes = fields.List(fields.Nested(PendingChangeOut), required=True)


class Cancel(Schema):
    """Body of POST /v1/subscriptions/{subscription}/cancel. unused: staff say what becomes of the unused days; null: as the plan has it."""

    at = fields.String(load_default="period_end", validate=validate.OneOf(["period_end", "now"]))
    reason = fields.String(load_default=None, validate=validate.Length(max=500))
    unused = fields.String(load_default=None, allow_none=True, validate=validate.OneOf(UNUSED))


class Pause(Schema):
    """Body of POST /v1/subscriptions/{subscription}/pause."""

    at = fields.String(load_default="period_end", validate=validate.OneOf(["period_end", "now"]))
    reason = fields.String(load_default=None, validate=validate.Length(max=500))


class ExtendTrial(Schema):
    """Body of POST /v1/subscriptions/{subscription}/extend-trial: either `days` more, or `until`, the first day without it."""

    days = fields.Integer(strict=True, validate=validate.Range(1, 3650))
    until = fields.Date()
    reason = fields.String(load_default=None, allow_none=True, validate=validate.Length(max=500))


class SeatOut(Answer):
    user = fields.String(required=True)
    assigned_at = Instant()


class SeatsIn(Schema):
    """Body of POST /v1/subscriptions/{subscription}/seats."""

    users = fields.List(fields.String(validate=ID), required=True, validate=validate.Length(1, 10_000))


class TimelineQuery(Schema):
    """Up to which day; without, for a year from today."""

    until = fields.Date(load_default=None)


class ForetoldInvoiceOut(Answer):
    """What one invoice to come will have for the subscription; what the account's balance pays of it is not foretold."""

    date = Day()
    plan = fields.String(required=True)
    plan_name = fields.String(required=True)
    interval = Choice(*INTERVALS)
    seats = fields.Integer(required=True)
    period = fields.Nested(PeriodOut, required=True)
    net = Amount()
    tax = Amount()
    total = Amount()
    lines = fields.List(fields.Nested(InvoiceLineOut), required=True)


class TimelineOut(Answer):
    """What will be billed if nothing else happens; while it is paused, nothing. ends_on: the day from which on it runs no more, where that
    is known."""

    subscription = fields.String(required=True)
    until = Day()
    ends_on = Day(allow_none=True)
    invoices = fields.List(fields.Nested(ForetoldInvoiceOut), required=True)


class EntitlementQuery(Schema):
    user = fields.String(required=True, validate=ID)
    product = fields.String(required=True, validate=ID)


class EntitlementOut(Answer):
    """Where the answer is no, `reason` is the nearest miss."""

    entitled = fields.Boolean(required=True)
    reason = Choice("seat_assigned", "no_subscription", "no_seat", "trial_ended", "cancelled", "paused", "past_due")
    plan = fields.String(required=True, allow_none=True)
    features = fields.List(fields.String(), required=True)
    subscription = fields.String(required=True, allow_none=True)


@blueprint.get("/subscriptions")
@needs("checkout")
@blueprint.arguments(AccountPageQuery, location="query")
@blueprint.response(200, paged(SubscriptionOut))
def list_subscriptions(query):
    """List subscriptions, the newest first."""
    return listed(subscriptions.Subscription, query, partial(subscriptions.subscription_document, engine(), locale=locale()))


@blueprint.get("/subscriptions/<subscription_id>")
@needs("checkout")
@blueprint.response(200, SubscriptionOut)
def get_subscription(subscription_id):
    """Read a subscription."""
    return shown(_found(subscription_id))


@blueprint.post("/subscriptions/<subscription_id>/cancel")
@needs("checkout")
@blueprint.arguments(Cancel, required=False)
@blueprint.response(200, SubscriptionOut)
@guarded
@keyed()
def cancel_subscription(body, subscription_id, version):
    """End a subscription, at its period's end or now.

    While an order of it is being paid, that waits for the order.
    """
    return shown(cancellations.cancel(engine(), subscription_id, caller(), version, **body))


@blueprint.post("/subscriptions/<subscription_id>/reactivate")
@needs("checkout")
@blueprint.response(200, SubscriptionOut)
@guarded
@keyed()
def reactivate_subscription(subscription_id, version):
    """Take back a cancellation that waits for the period's end."""
    return shown(cancellations.reactivate(engine(), subscription_id, caller(), version))


@blueprint.get("/subscriptions/<subscription_id>/timeline")
@needs("checkout")
@blueprint.arguments(TimelineQuery, location="query")
@blueprint.response(200, TimelineOut)
def get_timeline(query, subscription_id):
    """Read what will be billed for a subscription, and why.

    The invoices to come if nothing else happens, up to a day within ten years.
    """
    return timeline(engine(), subscription_id, caller(), query["until"])


@blueprint.post("/subscriptions/<subscription_id>/pause")
@needs("checkout")
@blueprint.arguments(Pause, required=False)
@blueprint.response(200, SubscriptionOut)
@guarded
@keyed()
def pause_subscription(body, subscription_id, version):
    """Pause a subscription, at its period's end or now.

    Access and billing stop, and what is left of its term is kept.
    """
    return shown(pauses.pause(engine(), subscription_id, caller(), version, **body))


@blueprint.post("/subscriptions/<subscription_id>/resume")
@needs("checkout")
@blueprint.response(200, SubscriptionOut)
@guarded
@keyed()
def resume_subscription(subscription_id, version):
    """Go on with a paused subscription, or take back a pause that waits for the period's end."""
    return shown(pauses.resume(engine(), subscription_id, caller(), version))


@blueprint.post("/subscriptions/<subscription_id>/extend-trial")
@needs("staff")
@blueprint.arguments(ExtendTrial)
@blueprint.response(200, SubscriptionOut)
@guarded
@keyed()
def extend_trial(body, subscription_id, version):
    """Let a trial last longer."""
    return shown(trials.extend_trial(engine(), subscription_id, caller(), version, **body))


@blueprint.get("/subscriptions/<subscription_id>/seats")
@needs("checkout")
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, paged(SeatOut))
def list_seats(query, subscription_id):
    """List who has a seat, those who got theirs last first."""
    here = seats.SeatAssignment.subscription == _found(subscription_id).id
    return listed(seats.SeatAssignment, query, seats.seat_document, here)


@blueprint.post("/subscriptions/<subscription_id>/seats")
@needs("checkout")
@blueprint.arguments(SeatsIn)
@blueprint.response(200, SubscriptionOut)
@keyed()
def assign_seats(body, subscription_id):
    """Give many users a seat each, all or none."""
    return shown(seats.assign_seats(engine(), subscription_id, caller(), body["users"]))


@blueprint.put("/subscriptions/<subscription_id>/seats/<user_id>")
@needs("checkout")
@blueprint.response(200, SubscriptionOut)
def assign_seat(subscription_id, user_id):
    """Give a user a seat. Who has one keeps it."""
    return shown(seats.assign_seats(engine(), subscription_id, caller(), [user_id]))


@blueprint.delete("/subscriptions/<subscription_id>/seats/<user_id>")
@needs("checkout")
@blueprint.response(204)
def release_seat(subscription_id, user_id):
    """Take a user's seat."""
    seats.release_seat(engine(), subscription_id, caller(), user_id)


@blueprint.get("/entitlements")
@needs()
@blueprint.arguments(EntitlementQuery, location="query")
@blueprint.response(200, EntitlementOut)
def check_entitlement(query):
    """May this user use this product now?"""
    beside = asked().beside
    return seats.check_entitlement(engine(), query["user"], query["product"], caller(), beside and beside.rows)


check_entitlement.beside = lambda query: Beside(seats.subscriptions_of, query.get("user", ""), query.get("product", ""))


def _found(subscription_id: str) -> subscriptions.Subscription:
    return find(engine(), subscriptions.Subscription, subscription_id, caller())


def shown(subscription: subscriptions.Subscription) -> tuple[dict[str, Any], int, dict[str, str]]:
    """What a view returns that shows one."""
    return subscriptions.subscription_document(engine(), subscription, locale()), 200, tag(subscription.version)
