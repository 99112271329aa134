"""Dunning: what is past due is charged again on fixed days, and ends if it stays unpaid.

The card networks forbid to try a card again that its bank will never honour, and fine those who do; of others Visa allows 15 tries in 30
days, Mastercard 35. So after a hard decline nothing is tried until the account changes its method; the days until the end go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from marshmallow import Schema, ValidationError, fields, validate

from puesto import FailedAttempt, PastDueView, PluginContext, RetrySchedule, hookimpl

# A card that is gone or barred, a buyer who has to be there, an amount or a currency that will not be taken tomorrow either.
HARD = {"expired_card", "fraud_suspected", "authentication_failed", "amount_too_small", "currency_unsupported"}
MOST_TRIES = 15


def _check_days(days: list[int]) -> None:
    if days != sorted(set(days)):
        raise ValidationError("name the days in order, each once")


class DunningSettings(Schema):
    """Days are those after the first try that failed, at the same hour in the account's zone.

    days:       on which it is tried again; the last one is also the end.
    then:       what is done in the end: `cancel`, `pause`, or `keep`: it stays past due.
    grace_days: for how long the product can be used meanwhile; 0: not at all; null: for as long as it is past due.
    warn_days:  how long before the end its account is warned; 0: it is not.
    """

    days = fields.List(
        fields.Integer(validate=validate.Range(1, 365)),
        load_default=lambda: [1, 3, 5, 7],
        validate=[validate.Length(1, MOST_TRIES), _check_days],
    )
    then = fields.String(load_default="cancel", validate=validate.OneOf(["cancel", "pause", "keep"]))
    grace_days = fields.Integer(load_default=None, allow_none=True, validate=validate.Range(0, 365))
    warn_days = fields.Integer(load_default=1, validate=validate.Range(0, 30))


class Dunning:
    """One schedule for all subscriptions; a plugin that is asked before it may have another for some."""

    settings_schema = DunningSettings

    def __init__(self, context: PluginContext) -> None:
        self._settings: Mapping[str, Any] = context.settings

    @hookimpl
    def retry_schedule(self, past_due: PastDueView) -> RetrySchedule:
        days, grace, keep = self._settings["days"], self._settings["grace_days"], self._settings["then"] == "keep"
        access_until = None if grace is None else days_later(past_due, grace)
        last = past_due.attempts[-1]
        tries = [days_later(past_due, day) for day in days]
        next_try = next((at for at in tries if at > last.at), None) if may_be_tried_again(last) else None
        if keep:
            return RetrySchedule(next_try, access_until=access_until)
        return RetrySchedule(next_try, tries[-1], self._settings["then"], self._warn_at(past_due), access_until)

    def _warn_at(self, past_due: PastDueView) -> datetime | None:
        """None also where that would be on the day on which it fell past due."""
        days_before_end = self._settings["days"][-1] - self._settings["warn_days"]
        return days_later(past_due, days_before_end) if self._settings["warn_days"] and days_before_end > 0 else None


def may_be_tried_again(attempt: FailedAttempt) -> bool:
    """Whether the same method may pay another day. A bank that refuses without a reason may think better of it; for anything else the
    provider's word counts."""
    return attempt.code not in HARD and (attempt.retryable or attempt.code == "card_declined")


def days_later(past_due: PastDueView, days: int) -> datetime:
    """So many calendar days after it fell past due, at the same hour in the account's zone, in UTC."""
    zone = ZoneInfo(past_due.time_zone)
    return (past_due.since.astimezone(zone) + timedelta(days=days)).astimezone(past_due.since.tzinfo)
