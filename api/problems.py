"""Problems (RFC 9457): every error as application/problem+json, in the client's language, with a page that explains its type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from inspect import getdoc
from typing import Any

from flask import Flask, Response, current_app, jsonify, request
from marshmallow import Schema, fields
from werkzeug.exceptions import HTTPException

from api.http import Blueprint, page_of
from api.languages import translate, translate_sentence
from api.schemas import ActionOut, MoneyOut, QuoteOut
from core import errors

blueprint = Blueprint("problems", __name__, url_prefix="/problems", description="What went wrong, and what to do")

STATUS: dict[type[errors.PuestoError], int] = {
    errors.IdempotencyKeyMissing: 400,
    errors.PreconditionFailed: 412,
    errors.Invalid: 422,
    errors.Missing: 404,
    errors.Conflict: 409,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.Declined: 402,
    errors.Unavailable: 503,
    errors.RateLimited: 429,
    errors.SettingsInvalid: 409,
    errors.PuestoError: 500,
}
RETRY_AFTER = {errors.RequestInProgress: "2", errors.Unavailable: "5"}


class ChangeOut(Schema):
    """A figure that differs from the quote that was shown."""

    pointer = fields.String(required=True)
    was = fields.Raw(required=True, allow_none=True)
    now = fields.Raw(required=True, allow_none=True)


# What a problem says besides title and detail.
MEMBERS: dict[type[errors.PuestoError], dict[str, fields.Field[Any]]] = {
    errors.SeatsOutOfRange: {"min": fields.Integer(), "max": fields.Integer(), "step": fields.Integer()},
    errors.CurrencyUnsupported: {"currencies": fields.List(fields.String())},
    errors.RefundExceedsPayment: {"refundable": fields.Nested(MoneyOut)},
    errors.QuoteChanged: {"changes": fields.List(fields.Nested(ChangeOut)), "quote": fields.Nested(QuoteOut)},
    errors.QuoteExpired: {"quote": fields.Nested(QuoteOut)},
    errors.SeatsInUse: {"assigned": fields.List(fields.String(), metadata={"description": "ids of the users with a seat"})},
    errors.NoSeatLeft: {"seats": fields.Integer(), "assigned": fields.Integer()},
    errors.CorporateAccount: {"representative": fields.Dict(allow_none=True), "portal": fields.String(allow_none=True)},
    errors.PaymentDeclined: {"decline_code": fields.String(), "retryable": fields.Boolean()},
    errors.PaymentActionRequired: {"next_action": fields.Nested(ActionOut)},
    errors.PaymentAmountMismatch: {"order": fields.String()},
    errors.PaymentProviderUnavailable: {"provider": fields.String()},
    errors.PluginFailed: {"plugin": fields.String(), "hook": fields.String()},
    errors.RequestInProgress: {"retry_after": fields.Integer(metadata={"description": "seconds"})},
}


class FieldErrorOut(Schema):
    """What is wrong with one field of the request: an RFC 6901 pointer to it, and what to do."""

    pointer = fields.String(required=True)
    detail = fields.String(required=True)


class ProblemOut(Schema):
    """RFC 9457 problem details. Some types have further members: see the page at `type`."""

    type = fields.String(required=True)
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    detail = fields.String(required=True)
    instance = fields.String(required=True)
    errors = fields.List(fields.Nested(FieldErrorOut))


def members_of(kind: type[errors.PuestoError]) -> type[Schema]:
    """The schema of a problem type: what all have, and its own members."""
    name = f"Problem{kind.__name__}"
    return ProblemOut.from_dict(dict(MEMBERS.get(kind, {})), name=name)


def problem_types() -> dict[str, type[errors.PuestoError]]:
    """Every documented problem by its code."""
    found, waiting = {}, [errors.PuestoError]
    while waiting:
        kind = waiting.pop()
        waiting.extend(kind.__subclasses__())
        if "code" in vars(kind) and kind is not errors.SettingsInvalid:
            found[kind.code] = kind
    return dict(sorted(found.items()))


def problem(
    status: int, code: str, title: str, detail: str, *, members: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """`code` is also the page /problems/<code>; without one, title and status say it all."""
    body = {"type": f"/problems/{code}" if code else "about:blank", "title": title, "status": status, "detail": detail}
    response = jsonify({**body, "instance": request.path, **(members or {})})
    response.status_code = status
    response.content_type = "application/problem+json"
    response.headers.extend(headers or {})
    return response


def from_error(error: errors.PuestoError) -> Response:
    kind = type(error)
    status = next(STATUS[base] for base in kind.__mro__ if base in STATUS)
    members = Schema.from_dict(dict(MEMBERS.get(kind, {})))().dump(error.extra)
    if error.errors:
        members["errors"] = [{"pointer": e.pointer, "detail": translate(e.message)} for e in error.errors]
    headers = {}
    if wait := next((seconds for base, seconds in RETRY_AFTER.items() if isinstance(error, base)), None):
        headers["Retry-After"] = wait
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.replayed:
        headers["Idempotency-Replayed"] = "true"
    return problem(status, error.code, _title(kind), translate(error.message), members=members, headers=headers)


def from_http(error: HTTPException) -> Response:
    """What Flask and webargs raise: unreadable JSON, fields that do not fit, a path or method that is not there."""
    status = error.code or 500
    if status in (400, 413, 415, 422):
        messages = getattr(error, "data", {}).get("messages", {})
        found = [{"pointer": pointer, "detail": detail} for pointer, detail in _flatten(messages)]
        first = found[0]["detail"] if found else translate_sentence(str(error.description))
        members = {"errors": found} if found else {}
        return problem(status, errors.ValidationFailed.code, _title(errors.ValidationFailed), first, members=members)
    if status == 404:
        return problem(404, errors.Missing.code, _title(errors.Missing), translate_sentence("There is nothing here."))
    allow = {"Allow": ", ".join(sorted(error.valid_methods))} if getattr(error, "valid_methods", None) else {}
    return problem(status, "", error.name, translate_sentence(str(error.description or "")), headers=allow)


def from_crash(error: Exception) -> Response:
    current_app.logger.error("unexpected error at %s", request.path, exc_info=error)
    base = errors.PuestoError
    return problem(500, base.code, _title(base), translate_sentence("The error was logged."))


def _title(kind: type[errors.PuestoError]) -> str:
    return translate(errors.Message(kind.title))


def _flatten(messages: Any, pointer: str = "") -> Iterator[tuple[str, str]]:
    """webargs' nested messages as JSON pointers; the outermost level only names where the field was looked for."""
    if isinstance(messages, Mapping):
        for name, inner in messages.items():
            outer = pointer == "" and name in ("json", "query", "json_or_form")
            escaped = str(name).replace("~", "~0").replace("/", "~1")
            yield from _flatten(inner, pointer if outer or name == "_schema" else f"{pointer}/{escaped}")
    elif isinstance(messages, list):
        for message in messages:
            yield from _flatten(message, pointer)
    else:
        yield pointer, translate_sentence(str(messages))


def install(app: Flask) -> None:
    """Every error of this app is a problem."""
    app.register_error_handler(errors.PuestoError, from_error)
    app.register_error_handler(HTTPException, from_http)
    app.register_error_handler(Exception, from_crash)


@blueprint.get("")
@blueprint.response(200, content_type="text/html", description="A page that lists the problem types")
def list_problems():
    """Every type of problem."""
    kinds = [(code, _title(kind)) for code, kind in problem_types().items()]
    return page_of("problems.html", kinds=kinds)


@blueprint.get("/<code>")
@blueprint.response(200, content_type="text/html", description="A page that says what the problem is and what to do")
def explain_problem(code):
    """What a problem type means."""
    if code not in problem_types():
        raise errors.Missing("There is no problem type {code}.", code=code[:64])
    kind = problem_types()[code]
    status = next(STATUS[base] for base in kind.__mro__ if base in STATUS)
    members = list(MEMBERS.get(kind, {}))
    return page_of("problem.html", code=code, status=status, title=_title(kind), text=getdoc(kind), members=members)
