"""What every route shares: bodies, idempotency keys, entity tags, pages of lists, request ids."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any, ClassVar, TypeVar

import orjson
from flask import Flask, Request, Response, current_app, make_response, render_template, request
from flask_smorest import Blueprint as SmorestBlueprint
from marshmallow import RAISE, Schema, ValidationError
from uuid_utils import uuid7
from webargs import missing
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import BadRequest, NotFound, RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.http import remove_entity_headers

from core import errors
from core.access import NOBODY, Beside, Caller, digest, find, page
from core.accounts import Account
from core.engine.engine import Engine
from core.engine.idempotency import Answer, KeyedRequest, begin, once
from core.engine.rows import Row

KEY_HEADER = "Idempotency-Key"
# What an answer depends on besides its address, and that it may be kept, but is asked for anew.
SHARED = {"Vary": "Accept-Language, Authorization, Cart-Secret", "Cache-Control": "no-cache"}
# What each request is asked for, by the names that WSGI has for it.
ENVIRON = {name: f"HTTP_{name.upper().replace('-', '_')}" for name in ("X-Request-Id", "If-None-Match", "Authorization", "Cart-Secret")}
LONGEST_VERSION = 18  # digits: what an integer of a database holds
R = TypeVar("R", bound=Row)


class Asked(Request):
    """A request, and what is found out about it before its view runs.

    id: told in its answer, and in logs. body: read once; `missing`: there is none. key: the Idempotency-Key of a keyed route.
    beside: what a route that is asked all the time asks of the database together with who calls.
    """

    id = ""
    caller = NOBODY
    body: Any = missing
    key: KeyedRequest | None = None
    beside: Beside | None = None
    # Whether the route reads body and headers as they are, since a signature on them is what its caller shows.
    signed_otherwise = False

    def header(self, name: str) -> str | None:
        """A header, None where there is none: `headers` raises and catches an error for that (PEP 3333 has the names)."""
        return self.environ.get(ENVIRON[name])


def asked() -> Asked:
    """The request that this thread answers. Each use of `flask.request` looks for it anew."""
    found: Asked = request._get_current_object()  # type: ignore[attr-defined]
    return found


class Parser(FlaskParser):
    """Takes the body that has been read (`Asked.body`). Unknown fields are refused, in the body and in the query."""

    DEFAULT_UNKNOWN_BY_LOCATION: ClassVar[dict[str, str | None]] = {"json": RAISE, "query": RAISE, "path": None}

    def parse(self, argmap: Any, req: Any = None, *, location: str | None = None, **options: Any) -> Any:
        """What the schema loads; where it refuses, webargs, which takes as long again, finds the words and the place."""
        this = asked()
        given = this.args.to_dict() if location == "query" else {} if this.body is missing else this.body
        try:
            return argmap.load(given, unknown=RAISE)
        except ValidationError:
            return super().parse(argmap, req, location=location, **options)

    def load_json(self, req: Request, schema: Schema) -> Any:
        return asked().body


class Blueprint(SmorestBlueprint):
    """flask-smorest describes the routes. What parses and renders with each request is ours: one object of a schema for all of them, and
    nothing of what we don't use."""

    ARGUMENTS_PARSER = Parser()

    def arguments(self, schema: type[Schema], *, location: str = "json", **options: Any) -> Any:
        """Give the view what the schema loads, behind its other arguments. Options as of flask-smorest."""
        loading, parse = schema(), self.ARGUMENTS_PARSER.parse
        describe = super().arguments(loading, location=location, **options)

        def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(view)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                return view(*args, parse(loading, location=location), **kwargs)

            wrapper._apidoc = describe(view)._apidoc  # type: ignore[attr-defined]
            return wrapper

        return decorate

    def response(self, status: int, schema: Any = None, **options: Any) -> Any:
        """Answer with what the view returns, a tuple of document, status and headers or the first of them. The schema describes it: a
        document has its form already, and is sent as it is.

        A view that returns a response has made its answer itself. Options as of flask-smorest.
        """
        describe = super().response(status, schema, **options)

        def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(view)
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                answered = view(*args, **kwargs)
                if isinstance(answered, Response):
                    return answered
                document, code, headers = answered if type(answered) is tuple else (answered, status, None)
                return Response(orjson.dumps(document), code, headers, content_type="application/json")

            wrapper._apidoc = describe(view)._apidoc  # type: ignore[attr-defined]
            return wrapper

        return decorate


def engine() -> Engine:
    """The engine that this app serves."""
    found: Engine = current_app.extensions["puesto"]
    return found


def caller() -> Caller:
    """Who asks; see `api.auth`."""
    return asked().caller


def documented(view: Callable[..., Any], *, header: Mapping[str, Any] | None = None, **members: Any) -> None:
    """Add members, and a header that it reads, to the operation that the OpenAPI document shows for a view."""
    known = getattr(view, "_apidoc", {})
    manual = {**known.get("manual_doc", {}), **members}
    if header is not None:
        manual["x-headers"] = [*manual.get("x-headers", ()), {**header, "in": "header"}]
    view._apidoc = {**known, "manual_doc": manual}  # type: ignore[attr-defined]


# --- idempotency


def keyed(*, required: bool = False, whole: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Honour an Idempotency-Key on a route: the same key and body gets the stored answer. Stands right above the view.

    required: money moves, so that a request without a key is refused.
    whole:    the view is one transaction, and its answer is stored with it. False: the view talks to other machines, which must
              not happen inside a transaction; it stores its answer itself, by `store_once` or by handing `keyed_request()` to core.
    """
    text = "A fresh random value per intention. The same value and body again gets the first answer."
    header = {"name": KEY_HEADER, "required": required, "description": text, "schema": {"type": "string", "minLength": 1, "maxLength": 255}}

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            asked().key = _keyed_by_header(asked(), required)
            return store_once(lambda: view(*args, **kwargs)) if whole else view(*args, **kwargs)

        documented(wrapper, header=header)
        return wrapper

    return decorate


def keyed_request() -> KeyedRequest:
    """The request with its key, in a view that requires one."""
    found = asked().key
    assert found is not None
    return found


def store_once(work: Callable[..., Any], prepare: Callable[[], Any] | None = None) -> Any:
    """Run the writing part of a view, or answer what was answered before to this key; without a key just run it.

    prepare: what comes before it outside the transaction, such as a call to another machine; `work` is given what it returns.
             It does not run again for an answer that is known.
    """
    keyed = asked().key
    known = _known_answer(keyed) if keyed is not None and prepare is not None else None
    if known is None:
        prepared = () if prepare is None else (prepare(),)
        if keyed is None:
            return work(*prepared)
        known = once(engine(), keyed, lambda: list(_parts(work(*prepared))))
    document, status, headers = known.body
    return replayable(known, document, status, headers)


def replayable(answer: Answer, document: Any, status: int, headers: dict[str, str] | None = None) -> tuple[Any, int, dict[str, str]]:
    """What a view returns for an answer that may be a repetition."""
    return document, status, {**(headers or {}), **({"Idempotency-Replayed": "true"} if answer.replayed else {})}


def _known_answer(keyed: KeyedRequest) -> Answer | None:
    with engine().db.transaction():
        found = begin(engine(), keyed)
    return found if isinstance(found, Answer) else None


def _parts(answered: Any) -> tuple[Any, int, dict[str, str]]:
    document, status, headers = answered if isinstance(answered, tuple) else (answered, 200, {})
    return document, status, headers


def _keyed_by_header(asked: Asked, required: bool) -> KeyedRequest | None:
    key = asked.headers.get(KEY_HEADER, "").strip()
    if not key:
        if required:
            raise errors.IdempotencyKeyMissing("Send an Idempotency-Key header with a random value, and repeat it on retries.")
        return None
    if len(key) > 255:
        raise errors.ValidationFailed("An Idempotency-Key has at most 255 characters.", pointer=f"/{KEY_HEADER}")
    who = asked.caller.id
    if asked.caller.anonymous:
        if asked.caller.cart_secret is None:
            return None  # strangers share no answers
        who = digest(str(asked.caller.cart_secret))
    return KeyedRequest(f"{who} {asked.method} {asked.path}", key, asked.get_data(), asked.caller.account)


# --- entity tags


def tag(version: int) -> dict[str, str]:
    """The ETag header of a resource that If-Match may guard; `_tagged` adds what tells two contents of a version apart."""
    return {"ETag": f'"v{version}"'}


def guarded(view: Callable[..., Any]) -> Callable[..., Any]:
    """Honour If-Match on a route that changes a resource: the view gets the `version` that the caller has read; None: whatever it is."""

    @wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return view(*args, version=_expected_version(), **kwargs)

    text = "The ETag that you have read: the change is refused with 412 if the resource has moved since."
    documented(wrapper, header={"name": "If-Match", "required": False, "description": text, "schema": {"type": "string"}})
    return wrapper


def _expected_version() -> int | None:
    """The version that If-Match names; None without the header or for `*`. A tag that is none of ours matches nothing.

    A weak tag counts like a strong one: proxies that compress answers weaken tags on the way.
    """
    header = request.headers.get("If-Match", "").strip()
    if header in ("", "*"):
        return None
    version = header.removeprefix("W/").strip('"').removeprefix("v").partition(";")[0]
    return int(version) if version.isascii() and version.isdigit() and len(version) <= LONGEST_VERSION else -1


def _tagged(response: Response, asked: Asked) -> dict[str, str]:
    """The tag of what was read or changed: its version, if it has one, and its content. Makes a 304 of what the client has already."""
    tagged, reading = {}, asked.method in ("GET", "HEAD")
    version = response.headers.get("ETag", "").strip('"')
    if response.status_code in (200, 201) and (version or reading):
        response.headers.pop("ETag", None)
        content = fingerprint(response)
        etag = f"{version};{content}" if version else content
        tagged["ETag"] = f'"{etag}"'
        if reading and asked.header("If-None-Match") and asked.if_none_match.contains_weak(etag):
            response.status_code = 304
    if response.status_code in (204, 304):
        response.set_data(b"")
        remove_entity_headers(response.headers)
    return tagged


def fingerprint(response: Response) -> str:
    return hashlib.sha256(response.get_data()).hexdigest()[:20]


# --- lists


def listed(model: type[R], query: Mapping[str, Any], document: Callable[[R], Any], where: Any = None) -> dict[str, Any]:
    """The page that `query` asks for, of the rows that the caller may see, each as its document. Raises Missing for an unknown account."""
    if query.get("account") is not None:
        find(engine(), Account, query["account"], caller())
    rows, cursor = page(engine(), model, caller(), where, **query)
    return {"data": [document(row) for row in rows], "next_cursor": cursor}


# --- every request


def page_of(template: str, **variables: Any) -> Response:
    """A page for people."""
    return make_response(render_template(template, **variables))


def install(app: Flask, identify: Callable[[Asked], None]) -> None:
    """Give every request its id, find out who asks, and refuse what is unreadable before a route sees it; tag the answers."""

    @app.before_request
    def begin() -> None:
        this = asked()
        this.id = request_id(this.header("X-Request-Id") or "")
        _check_address(this)
        view = app.view_functions.get(this.endpoint or "")
        this.signed_otherwise = hasattr(view, "signed_otherwise")
        if (beside := getattr(view, "beside", None)) is not None:
            this.beside = beside(this.args)
        identify(this)
        this.body = _body_of(this)

    @app.after_request
    def end(response: Response) -> Response:
        this = asked()
        headers = {"X-Request-Id": this.id}
        if not response.direct_passthrough:
            headers |= SHARED | _tagged(response, this)
        for name, value in headers.items():
            response.headers.add(name, value)
        return response


def request_id(given: str) -> str:
    """The caller's own, where it can be one."""
    return given if given.isascii() and given.isprintable() and 0 < len(given) <= 64 else f"req_{uuid7().hex}"


def _check_address(asked: Asked) -> None:
    """No text that a database can't hold."""
    if "\0" in asked.path:
        raise NotFound
    if b"%00" in asked.query_string or b"\0" in asked.query_string:
        raise BadRequest("The query has a null character.")


def _body_of(asked: Asked) -> Any:
    """The body, read once: JSON as RFC 8259 has it, each member once. An empty body is none."""
    if asked.method not in ("POST", "PUT", "PATCH") or asked.signed_otherwise or not (data := asked.get_data()):
        return missing
    if asked.content_length is None and len(data) >= (asked.max_content_length or 0):
        raise RequestEntityTooLarge  # werkzeug cuts off what does not tell its length
    if asked.mimetype != "application/json":
        raise UnsupportedMediaType("Send JSON, with Content-Type: application/json.")
    try:
        body = json.loads(data, parse_constant=_no_number, object_pairs_hook=_object)
        text = "".join(_texts(body))
        text.encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError):
        raise BadRequest("The body is no readable JSON.") from None
    if "\0" in text:
        raise BadRequest("The body has a text with a null character.")
    return body


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member is there twice, and readers differ on which one counts")
    return members


def _texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value, however deep it is nested."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting.extend((*item, *item.values()))
        elif isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, str):
            yield item
