"""What every route shares: parsing, idempotency keys, entity tags, pages of lists, request ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar

from flask import Flask, Response, current_app, g, make_response, render_template, request
from flask_smorest import Blueprint as SmorestBlueprint
from marshmallow import RAISE, Schema, fields
from uuid_utils import uuid7
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from api.languages import locale
from core import errors
from core.access import Caller, digest
from core.engine.engine import Engine
from core.engine.idempotency import Answer, KeyedRequest, once

KEY_HEADER = "Idempotency-Key"


class Parser(FlaskParser):
    """Unknown fields are refused, in the body and in the query."""

    DEFAULT_UNKNOWN_BY_LOCATION: ClassVar[dict[str, str | None]] = {"json": RAISE, "query": RAISE, "path": None}


class Blueprint(SmorestBlueprint):
    ARGUMENTS_PARSER = Parser()


def engine() -> Engine:
    """The engine that this app serves."""
    found: Engine = current_app.extensions["puesto"]
    return found


def caller() -> Caller:
    """Who asks; see `api.auth`."""
    known: Caller = g.caller
    return known


def documented(view: Callable[..., Any], **members: Any) -> None:
    """Add members to the operation that the OpenAPI document shows for a view."""
    known = getattr(view, "_apidoc", {})
    view._apidoc = {**known, "manual_doc": {**known.get("manual_doc", {}), **members}}  # type: ignore[attr-defined]


# --- idempotency


def keyed(*, required: bool = False, whole: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Honour an Idempotency-Key on a route: the same key and body gets the stored answer. Stands right above the view.

    required: money moves, so that a request without a key is refused.
    whole:    the view is one transaction, and its answer is stored with it. False: the view talks to other machines, which must
              not happen inside a transaction; it stores its answer itself, by `store_once` or by handing `keyed_request()` to core.
    """
    header = {"name": KEY_HEADER, "in": "header", "required": required, "schema": {"type": "string", "maxLength": 255}}

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            g.keyed_request = _keyed_by_header(required)
            return store_once(lambda: view(*args, **kwargs)) if whole else view(*args, **kwargs)

        documented(wrapper, parameters=[header])
        return wrapper

    return decorate


def keyed_request() -> KeyedRequest:
    """The request with its key, in a view that requires one."""
    found: KeyedRequest = g.keyed_request
    return found


def store_once(work: Callable[[], Any]) -> Any:
    """Run the writing part of a view, or answer what was answered before to this key; without a key just run it."""
    if g.keyed_request is None:
        return work()
    answer = once(engine(), g.keyed_request, lambda: list(_parts(work())))
    document, status, headers = answer.body
    return replayable(answer, document, status, headers)


def replayable(answer: Answer, document: Any, status: int, headers: dict[str, str] | None = None) -> tuple[Any, int, dict[str, str]]:
    """What a view returns for an answer that may be a repetition."""
    return document, status, {**(headers or {}), **({"Idempotency-Replayed": "true"} if answer.replayed else {})}


def _parts(answered: Any) -> tuple[Any, int, dict[str, str]]:
    document, status, headers = answered if isinstance(answered, tuple) else (answered, 200, {})
    return document, status, headers


def _keyed_by_header(required: bool) -> KeyedRequest | None:
    key = request.headers.get(KEY_HEADER, "").strip()
    if not key:
        if required:
            raise errors.IdempotencyKeyMissing("Send an Idempotency-Key header with a random value, and repeat it on retries.")
        return None
    if len(key) > 255:
        raise errors.ValidationFailed("An Idempotency-Key has at most 255 characters.", pointer=f"/{KEY_HEADER}")
    who = caller().id
    if caller().anonymous:
        if caller().cart_secret is None:
            return None  # strangers share no answers: one of them holds the secret of a cart
        who = digest(str(caller().cart_secret))
    return KeyedRequest(f"{who} {request.method} {request.path}", key, request.get_data(), caller().account)


# --- entity tags


def tag(version: int, *, localized: bool = False) -> dict[str, str]:
    """The ETag header of a resource that If-Match may guard. localized: its texts follow Accept-Language."""
    return {"ETag": f'"v{version};{locale()}"' if localized else f'"v{version}"'}


def expected_version() -> int | None:
    """The version that If-Match names; None without the header or for `*`. A tag that is none of ours matches nothing."""
    header = request.headers.get("If-Match", "").strip()
    if header in ("", "*"):
        return None
    version = header.strip('"').removeprefix("v").partition(";")[0]
    return int(version) if version.isascii() and version.isdigit() else -1


def conditional(response: Response) -> Response:
    """Give every answer to a GET a tag, of its content where it has none of its own, and answer 304 where it is known."""
    if request.method == "GET" and response.status_code == 200 and not response.direct_passthrough:
        response.vary.update(("Accept-Language", "Authorization"))
        if not response.headers.get("ETag"):
            response.set_etag(hashlib.sha256(response.get_data()).hexdigest()[:32])
        response.make_conditional(request)
    return response


# --- lists


def paged(schema: type[Schema]) -> type[Schema]:
    """The schema of a list of `schema`."""
    name = schema.__name__.removesuffix("Out")
    members = {"data": fields.List(fields.Nested(schema), required=True), "next_cursor": fields.String(allow_none=True, required=True)}
    return Schema.from_dict(members, name=f"{name}List")


# --- every request


def page_of(template: str, **variables: Any) -> Response:
    """A page for people."""
    return make_response(render_template(template, **variables))


def install(app: Flask) -> None:
    """Refuse unreadable bodies before any route sees them; tag answers and give them their request's id."""
    app.before_request(_number_request)
    app.before_request(_check_body)
    app.after_request(conditional)
    app.after_request(_with_request_id)


def _number_request() -> None:
    given = request.headers.get("X-Request-Id", "")
    g.request_id = given if given.isascii() and given.isprintable() and 0 < len(given) <= 64 else f"req_{uuid7().hex}"


def _check_body() -> None:
    """JSON as RFC 8259 has it, and no text that a database can't hold."""
    if request.method not in ("POST", "PUT", "PATCH") or not (data := request.get_data()):
        return
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("Send JSON, with Content-Type: application/json.")
    try:
        body = json.loads(data, parse_constant=_no_number)
        json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise BadRequest("The body is no readable JSON.") from None
    if b"\\u0000" in data and "\x00" in _texts(body):
        raise BadRequest("The body has a text with a null character.")


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _texts(value: Any) -> str:
    """Every text in a JSON value, one after the other."""
    if isinstance(value, dict):
        return "".join(_texts(item) for pair in value.items() for item in pair)
    if isinstance(value, list):
        return "".join(_texts(item) for item in value)
    return value if isinstance(value, str) else ""


def _with_request_id(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.get("request_id", "")
    return response
