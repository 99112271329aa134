"""Problems (RFC 9457): every error as application/problem+json, in the client's language, with a page that explains its type."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from inspect import getdoc
from typing import Any

from flask import Flask, Response, current_app, jsonify, request
from markupsafe import Markup, escape
from marshmallow import Schema, fields, validate
from werkzeug.exceptions import HTTPException

from api.http import Blueprint, asked, page_of
from api.languages import told, translate, translate_sentence
from api.schemas import ActionOut, Answer, MoneyOut, QuoteOut, Representative
from core import errors

blueprint = Blueprint("problems", __name__, url_prefix="/problems", description="What can go wrong, and what to do then: pages for people")
BLANK = "about:blank"

STATUS: dict[type[errors.PuestoError], int] = {
    errors.IdempotencyKeyMissing: 400,
    errors.PreconditionFailed: 412,
    errors.Invalid: 422,
    errors.Missing: 404,
    errors.Conflict: 409,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.Declined: 402,
    errors.RateLimited: 429,
    errors.Unavailable: 503,
    errors.SettingsInvalid: 503,
    errors.PuestoError: 500,
}
RETRY_AFTER = {errors.RequestInProgress: "2", errors.Unavailable: "5"}


class ChangeOut(Answer):
    """A figure that differs from the quote that was shown."""

    pointer = fields.String(required=True)
    was = fields.Raw(required=True, allow_none=True)
    now = fields.Raw(required=True, allow_none=True)


def _member(field: type[fields.Field[Any]], *of_field: Any, description: str, **options: Any) -> fields.Field[Any]:
    return field(*of_field, required=True, metadata={"description": description}, **options)


# What a problem says besides title and detail.
MEMBERS: dict[type[errors.PuestoError], dict[str, fields.Field[Any]]] = {
    errors.SeatsOutOfRange: {
        "min": _member(fields.Integer, description="the fewest seats that are sold"),
        "max": _member(fields.Integer, description="the most"),
        "step": _member(fields.Integer, description="how many more than the fewest can be had at a time"),
    },
    errors.CurrencyUnsupported: {
        "currencies": fields.List(fields.String(), metadata={"description": "those that the plan is sold in, where that is the trouble"})
    },
    errors.CaptureExceedsPayment: {"capturable": _member(fields.Nested, MoneyOut, description="what is set aside")},
    errors.RefundExceedsPayment: {
        "refundable": _member(fields.Nested, MoneyOut, description="what is left of the payment"),
        "disputed": fields.Nested(MoneyOut, metadata={"description": "what disputes hold back or have taken, where there are any"}),
    },
    errors.QuoteChanged: {
        "changes": _member(
            fields.List, fields.Nested(ChangeOut), description="each figure that differs: its pointer, what it was, what it is"
        ),
        "quote": _member(fields.Nested, QuoteOut, description="the new quote"),
    },
    errors.QuoteExpired: {"quote": _member(fields.Nested, QuoteOut, description="a new quote of the same figures")},
    errors.SeatsInUse: {"assigned": _member(fields.List, fields.String(), description="ids of the users who have a seat")},
    errors.NoSeatLeft: {
        "seats": _member(fields.Integer, description="how many the subscription has"),
        "assigned": _member(fields.Integer, description="how many of them are assigned"),
    },
    errors.CorporateAccount: {
        "representative": _member(fields.Nested, Representative, description="who places the orders", allow_none=True),
        "portal": _member(fields.String, description="where they do it", allow_none=True),
    },
    errors.PaymentDeclined: {
        "decline_code": _member(fields.String, description="why, as a code: `insufficient_funds` and the like"),
        "retryable": _member(fields.Boolean, description="whether the same method may work later"),
    },
    errors.PaymentActionRequired: {"next_action": _member(fields.Nested, ActionOut, description="the step that the bank wants")},
    errors.PaymentAmountMismatch: {"order": _member(fields.String, description="id of the order that is held")},
    errors.PaymentProviderUnavailable: {"provider": _member(fields.String, description="its name")},
    errors.PluginFailed: {
        "plugin": _member(fields.String, description="its name"),
        "hook": _member(fields.String, description="what it was asked"),
    },
    errors.RequestInProgress: {"retry_after": _member(fields.Integer, description="seconds to wait")},
}


class FieldErrorOut(Answer):
    """What is wrong with one field of the request: an RFC 6901 pointer to it, and what to do."""

    pointer = fields.String(required=True)
    detail = fields.String(required=True)


class ProblemOut(Answer):
    """RFC 9457 problem details."""

    title = fields.String(required=True, metadata={"description": "the type in a few words, in the client's language"})
    status = fields.Integer(required=True, metadata={"description": "the HTTP status"})
    detail = fields.String(required=True, metadata={"description": "what happened and what to do, in the client's language"})
    instance = fields.String(required=True, metadata={"description": "the path of the request"})
    errors = fields.List(fields.Nested(FieldErrorOut))


@cache
def problem_types() -> dict[str, type[errors.PuestoError]]:
    """Every documented problem by its code."""
    found, waiting = {}, [errors.PuestoError]
    while waiting:
        kind = waiting.pop()
        waiting.extend(kind.__subclasses__())
        if "code" in vars(kind):
            found[kind.code] = kind
    return dict(sorted(found.items()))


def schemas() -> dict[str, type[Schema]]:
    """The schema of every problem by its `type`: what all have, and its own members."""
    known = {_type(code): _schema(f"{code.title().replace('-', '')}Problem", _type(code), kind) for code, kind in problem_types().items()}
    return {**known, BLANK: _schema("HttpProblem", BLANK)}


def _schema(name: str, type_: str, kind: type[errors.PuestoError] = errors.PuestoError) -> type[Schema]:
    constant = fields.String(required=True, validate=validate.OneOf([type_]))
    return ProblemOut.from_dict({"type": constant, **MEMBERS.get(kind, {})}, name=name)


@cache
def _members(kind: type[errors.PuestoError]) -> Schema:
    return Schema.from_dict(dict(MEMBERS.get(kind, {})))()


def _type(code: str) -> str:
    return f"/problems/{code}"


# --- errors as problems


def problem(
    status: int, type_: str, title: str, detail: str, *, members: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """The answer for a problem; the type `about:blank` says no more than the status."""
    body = {"type": type_, "title": title, "status": status, "detail": detail, "instance": request.path, **(members or {})}
    response = jsonify(body)
    response.status_code = status
    response.content_type = "application/problem+json"
    response.headers.extend(headers or {})
    return response


def from_error(error: errors.PuestoError) -> Response:
    kind = type(error)
    status = _status(kind)
    extra = {**error.extra, "quote": told(error.extra["quote"])} if "quote" in error.extra else error.extra
    members = _members(kind).dump(extra)
    if error.errors:
        members["errors"] = [{"pointer": e.pointer, "detail": translate(e.message)} for e in error.errors]
    headers = {}
    if wait := next((seconds for base, seconds in RETRY_AFTER.items() if isinstance(error, base)), None):
        headers["Retry-After"] = wait
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.replayed:
        headers["Idempotency-Replayed"] = "true"
    return problem(status, _type(error.code), _title(kind), translate(error.message), members=members, headers=headers)


def from_http(error: HTTPException) -> Response:
    """What Flask and webargs raise: unreadable JSON, fields that do not fit, a path or method that is not there."""
    status = error.code or 500
    if status in (400, 413, 415, 422):
        messages = getattr(error, "data", {}).get("messages", {})
        found = [{"pointer": pointer, "detail": detail} for pointer, detail in _flatten(messages)]
        first = found[0]["detail"] if found else translate_sentence(str(error.description))
        members = {"errors": found} if found else {}
        return problem(status, _type(errors.ValidationFailed.code), _title(errors.ValidationFailed), first, members=members)
    if status == 404:
        return problem(404, _type(errors.Missing.code), _title(errors.Missing), translate_sentence("There is nothing here."))
    allow = {"Allow": ", ".join(sorted(error.valid_methods))} if getattr(error, "valid_methods", None) else {}
    return problem(status, BLANK, translate_sentence(error.name), translate_sentence(str(error.description or "")), headers=allow)


def from_crash(error: Exception) -> Response:
    current_app.logger.error("unexpected error at %s, request %s", request.path, asked().id, exc_info=error)
    return from_error(errors.PuestoError("The error was logged. Repeat the request, or tell us its X-Request-Id."))


def _status(kind: type[errors.PuestoError]) -> int:
    return next(STATUS[base] for base in kind.__mro__ if base in STATUS)


def _title(kind: type[errors.PuestoError]) -> str:
    return translate(errors.Message(kind.title))


def _flatten(messages: Any, pointer: str = "") -> Iterator[tuple[str, str]]:
    """webargs' nested messages as JSON pointers; the outermost level only names where the field was looked for."""
    if isinstance(messages, Mapping):
        for name, inner in messages.items():
            outer = pointer == "" and name in ("json", "query")
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


# --- pages, in English like all documents


@blueprint.get("")
@blueprint.response(200, {"type": "string"}, content_type="text/html", description="A page that lists the problem types")
def list_problems():
    """Every type of problem."""
    return page_of("problems.html", kinds=[(code, kind.title, _status(kind)) for code, kind in problem_types().items()])


@blueprint.get("/<code>")
@blueprint.response(200, {"type": "string"}, content_type="text/html", description="A page that says what the problem is and what to do")
def explain_problem(code):
    """What a problem type means."""
    if code not in problem_types():
        raise errors.Missing("There is no problem type {code}.", code=code[:64])
    kind = problem_types()[code]
    text = [_marked(paragraph) for paragraph in (getdoc(kind) or "").split("\n\n")]
    members = [(name, _marked(field.metadata["description"])) for name, field in MEMBERS.get(kind, {}).items()]
    return page_of("problem.html", code=code, status=_status(kind), title=kind.title, text=text, members=members)


def _marked(text: str) -> Markup:
    """A docstring's text for a page, with what stands in backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))
