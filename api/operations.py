"""For operators and integrators: health, the event feed, the test clock."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from api.auth import needs
from api.http import Blueprint, caller, engine, paged
from api.schemas import Instant
from core import errors, schema
from core.engine.events import events_after
from core.engine.values import instant_text
from core.worker import run_round

blueprint = Blueprint("operations", __name__, description="Health, events, the clock of the sandbox")


class HealthOut(Schema):
    status = fields.String(required=True)


class NewTime(Schema):
    """Body of POST /v1/test-clock."""

    now = fields.AwareDateTime(required=True, metadata={"description": "RFC 3339 with offset; not before the present time"})


class TimeOut(Schema):
    now = Instant()


class EventQuery(Schema):
    after = fields.String(load_default=None, validate=validate.Length(1, 64))
    limit = fields.Integer(load_default=25, validate=validate.Range(1, 100))


class EventOut(Schema):
    id = fields.String(required=True)
    type = fields.String(required=True)
    account = fields.String(required=True)
    subject = fields.String(required=True)
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
    engine().jobs.check()
    return {"status": "ok"}


@blueprint.get("/v1/events")
@needs("billing")
@blueprint.arguments(EventQuery, location="query")
@blueprint.response(200, paged(EventOut))
def list_events(query):
    """The event feed, the oldest first. Go on with `after` = the last id you have seen."""
    data = events_after(engine(), caller().account, query["after"], query["limit"])
    return {"data": data, "next_cursor": data[-1]["id"] if data else query["after"]}


@blueprint.post("/v1/test-clock")
@needs("staff")
@blueprint.arguments(NewTime)
@blueprint.response(200, TimeOut)
def move_clock(body):
    """Sandbox only: move the time forward and run what falls due."""
    try:
        engine().move_clock(body["now"])
    except ValueError as error:
        raise errors.ValidationFailed("{problem}.", pointer="/now", problem=str(error).rstrip(".")) from None
    run_round(engine())
    return {"now": instant_text(engine().clock.now())}
