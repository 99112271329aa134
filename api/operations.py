"""For operators and integrators: health, metrics, stuck cases, the event feed, the test clock."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

from api.auth import needs
from api.http import Blueprint, caller, engine, keyed, store_once
from api.languages import translate
from api.schemas import Answer, Choice, Day, Instant, PageQuery, paged
from core import schema
from core.engine.events import events_after
from core.engine.values import instant_text, to_json
from core.errors import Missing, ValidationFailed
from core.stuck import KINDS, Case, stuck_cases
from core.time_machine import Journey, travel

# In the answer of a journey of the test clock.
MOST_DAYS = 100
blueprint = Blueprint("operations", __name__, description="Health, events, the clock of the sandbox")


class HealthOut(Answer):
    status = Choice("ok")


def _check_year(instant: datetime) -> None:
    """Far enough for any contract, and far from where calendars end."""
    if instant >= datetime(2200, 1, 1, tzinfo=UTC):
        raise ValidationError("The clock goes up to the year 2199.")


class NewTime(Schema):
    """Body of POST /v1/test-clock."""

    now = fields.AwareDateTime(
        required=True, validate=_check_year, metadata={"description": "RFC 3339 with offset; not before the present time"}
    )


class EventsOut(Answer):
    """How many events there were of a type."""

    type = fields.String(required=True, metadata={"description": "such as subscription.renewed"})
    count = fields.Integer(required=True)


class EventfulDayOut(Answer):
    """What has happened on a day of the seller."""

    day = Day()
    events = fields.List(fields.Nested(EventsOut), required=True)


class TimeOut(Answer):
    """Where the clock is now, and what has happened on the way."""

    now = Instant()
    events = fields.List(fields.Nested(EventsOut), required=True)
    days = fields.List(fields.Nested(EventfulDayOut), required=True, metadata={"description": f"the last {MOST_DAYS} with any events"})


class StuckCaseOut(Answer):
    """Work that goes on no more by itself, or has waited longer than it should."""

    kind = Choice(*KINDS)
    id = fields.String(required=True, metadata={"description": "what `puesto jobs retry` takes"})
    account = fields.String(required=True, allow_none=True)
    subject = fields.String(required=True, metadata={"description": "id of the order, subscription or other row it is about"})
    since = Instant()
    tries = fields.Integer(required=True)
    next_try = Instant(allow_none=True)
    reason = fields.String(required=True, metadata={"description": "what went wrong, as it was met with; a code for an order's problem"})
    remedy = fields.String(required=True, metadata={"description": "what staff can do"})


class EventQuery(Schema):
    after = fields.String(load_default=None, validate=validate.Length(1, 64))
    limit = fields.Integer(load_default=25, validate=validate.Range(1, 100))


class EventOut(Answer):
    """Something that happened. `data` has documents as this API shows them, as they were then; which, says the type."""

    id = fields.String(required=True)
    type = fields.String(required=True, metadata={"description": "such as order.completed"})
    account = fields.String(required=True)
    subject = fields.String(required=True, metadata={"description": "id of the order or subscription whose events are told in order"})
    occurred_at = Instant()
    data = fields.Dict(required=True)


@blueprint.get("/healthz")
@blueprint.response(200, HealthOut)
def alive():
    """Is the process alive?"""
    return {"status": "ok"}


@blueprint.get("/readyz")
@blueprint.response(200, HealthOut)
def ready():
    """Can it serve: database and jobs reachable, schema up to date?"""
    schema.check(engine())
    engine().jobs.pending()
    return {"status": "ok"}


@blueprint.get("/v1/stuck-cases")
@needs("staff")
@blueprint.arguments(PageQuery, location="query")
@blueprint.response(200, paged(StuckCaseOut))
def list_stuck_cases(query):
    """What waits for a human, kind by kind, each from the newest back."""
    cases, cursor = stuck_cases(engine(), **query)
    return {"data": [_shown(case) for case in cases], "next_cursor": cursor}


def _shown(case: Case) -> dict[str, Any]:
    return {name: to_json(value) for name, value in vars(case).items() if name != "remedy"} | {"remedy": translate(case.remedy)}


@blueprint.get("/v1/events")
@needs("billing")
@blueprint.arguments(EventQuery, location="query")
@blueprint.response(200, paged(EventOut))
def list_events(query):
    """The event feed, the oldest first. Go on with `after` = the last id you have seen.

    The background worker lets events into it, a moment after what they tell of, each behind those that are there.
    """
    data = events_after(engine(), caller().account, query["after"], query["limit"])
    return {"data": data, "next_cursor": data[-1]["id"] if data else query["after"]}


@blueprint.post("/v1/test-clock")
@needs("staff")
@blueprint.arguments(NewTime)
@blueprint.response(200, TimeOut)
@keyed(whole=False)
def move_clock(body):
    """Sandbox only: move the time forward, and do what falls due on the way, in the order of date.

    It takes as long as that does, and may be sent again with the same key: what is done by then stays done.
    """
    if not engine().sandbox:
        raise Missing("There is a test clock in sandbox mode only.")
    return store_once(_arrived, prepare=lambda: _travel(body["now"]))


def _travel(until: datetime) -> Journey:
    try:
        return travel(engine(), until)
    except ValueError:
        now = instant_text(engine().clock.now())
        raise ValidationFailed("The clock only moves forward: it is {now} already.", pointer="/now", now=now) from None


def _arrived(journey: Journey) -> dict[str, Any]:
    days = [{"day": day.isoformat(), "events": _counted(events)} for day, events in journey.days.items()]
    return {"now": instant_text(engine().clock.now()), "events": _counted(journey.events), "days": days[-MOST_DAYS:]}


def _counted(events: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"type": kind, "count": count} for kind, count in sorted(events.items())]
