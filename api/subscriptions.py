"""Subscriptions, seats and the entitlement check."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from api.auth import needs
from api.http import Blueprint, caller, engine, expected_version, keyed, paged, tag
from api.languages import locale
from api.schemas import ID, AccountPageQuery, Day, Instant, NextChargeOut, PeriodOut
from core import seats, subscriptions
from core.access import find, page
from core.errors import Unauthorized

blueprint = Blueprint("subscriptions", __name__, url_prefix="/v1", description="What an account has, and who uses it")


class PendingChangeOut(Schema):
    effective_on = Day()
    plan = fields.String(required=True, allow_none=True)
    interval = fields.String(required=True, allow_none=True)
    seats = fields.Integer(required=True, allow_none=True)
    release = fields.List(fields.String(), required=True)
    policy = fields.String(required=True)


class SubscriptionOut(Schema):
    id = fields.String(required=True)
    account = fields.String(required=True)
    product = fields.String(required=True)
    product_name = fields.String(required=True)
    plan = fields.String(required=True)
    plan_name = fields.String(required=True)
    seats = fields.Integer(required=True)
    seats_assigned = fields.Integer(required=True)
    interval = fields.String(required=True)
    currency = fields.String(required=True)
    status = fields.String(required=True)
    current_period = fields.Nested(PeriodOut, required=True)
    anchor_day = fields.Integer(required=True)
    trial_end = Day(allow_none=True)
    cancel_at = Day(allow_none=True)
    next_charge = fields.Nested(NextChargeOut, required=True, allow_none=True)
    pending_changes = fields.List(fields.Nested(PendingChangeOut), required=True)


class Cancel(Schema):
    """Body of POST /v1/subscriptions/{subscription}/cancel."""

    at = fields.String(load_default="period_end", validate=validate.OneOf(["period_end", "now"]))
    reason = fields.String(load_default=None, validate=validate.Length(max=500))


class SeatOut(Schema):
    user = fields.String(required=True)
    assigned_at = Instant()


class SeatsIn(Schema):
    """Body of POST /v1/subscriptions/{subscription}/seats."""

    users = fields.List(fields.String(validate=ID), required=True, validate=validate.Length(1, 10_000))


class EntitlementQuery(Schema):
    user = fields.String(required=True, validate=ID)
    product = fields.String(required=True, validate=ID)


class EntitlementOut(Schema):
    entitled = fields.Boolean(required=True)
    reason = fields.String(required=True)
    plan = fields.String(required=True, allow_none=True)
    features = fields.List(fields.String(), required=True)
    subscription = fields.String(required=True, allow_none=True)


@blueprint.get("/subscriptions")
@needs("checkout")
@blueprint.arguments(AccountPageQuery, location="query")
@blueprint.response(200, paged(SubscriptionOut))
def list_subscriptions(query):
    """List subscriptions, the newest first."""
    rows, cursor = page(engine(), subscriptions.Subscription, caller(), **query)
    return {"data": [subscriptions.subscription_document(engine(), row, locale()) for row in rows], "next_cursor": cursor}


@blueprint.get("/subscriptions/<subscription_id>")
@needs("checkout")
@blueprint.response(200, SubscriptionOut)
def get_subscription(subscription_id):
    """Read a subscription."""
    return _shown(find(engine(), subscriptions.Subscription, subscription_id, caller()))


@blueprint.post("/subscriptions/<subscription_id>/cancel")
@needs("checkout")
@blueprint.arguments(Cancel)
@blueprint.response(200, SubscriptionOut)
@keyed()
def cancel(body, subscription_id):
    """End a subscription, at its period's end or now."""
    return _shown(subscriptions.cancel(engine(), subscription_id, caller(), expected_version(), **body))


@blueprint.post("/subscriptions/<subscription_id>/reactivate")
@needs("checkout")
@blueprint.response(200, SubscriptionOut)
@keyed()
def reactivate(subscription_id):
    """Take back a cancellation that waits for the period's end."""
    return _shown(subscriptions.reactivate(engine(), subscription_id, caller(), expected_version()))


@blueprint.get("/subscriptions/<subscription_id>/seats")
@needs("checkout")
@blueprint.response(200, paged(SeatOut))
def list_seats(subscription_id):
    """List who has a seat, in the order of assignment."""
    subscription = find(engine(), subscriptions.Subscription, subscription_id, caller())
    return {"data": seats.list_seats(engine(), subscription), "next_cursor": None}


@blueprint.post("/subscriptions/<subscription_id>/seats")
@needs("checkout")
@blueprint.arguments(SeatsIn)
@blueprint.response(200, SubscriptionOut)
@keyed()
def assign_many(body, subscription_id):
    """Give many users a seat each, all or none."""
    return _shown(seats.assign_seats(engine(), subscription_id, caller(), body["users"]))


@blueprint.put("/subscriptions/<subscription_id>/seats/<user_id>")
@needs("checkout")
@blueprint.response(200, SubscriptionOut)
def assign(subscription_id, user_id):
    """Give a user a seat. Who has one keeps it."""
    return _shown(seats.assign_seats(engine(), subscription_id, caller(), [user_id]))


@blueprint.delete("/subscriptions/<subscription_id>/seats/<user_id>")
@needs("checkout")
@blueprint.response(204)
def release(subscription_id, user_id):
    """Take a user's seat."""
    seats.release_seat(engine(), subscription_id, caller(), user_id)


@blueprint.get("/entitlements")
@blueprint.arguments(EntitlementQuery, location="query")
@blueprint.response(200, EntitlementOut)
def check_entitlement(query):
    """May this user use this product now?"""
    if caller().anonymous:
        raise Unauthorized("Send a key or an account token: Authorization: Bearer ...")
    return seats.check_entitlement(engine(), query["user"], query["product"], caller())


def _shown(subscription: subscriptions.Subscription) -> tuple[dict[str, Any], int, dict[str, str]]:
    return subscriptions.subscription_document(engine(), subscription, locale()), 200, tag(subscription.version, localized=True)
