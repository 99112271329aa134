"""Answers that are the same for everybody and change with a new start only: kept, and given before Flask takes a request apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import TYPE_CHECKING, Any

from flask import Response, current_app, make_response, request
from werkzeug.http import parse_etags

from api.http import SHARED, fingerprint, request_id

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

MOST_KEPT = 50  # answers of a process
KEPT = "puesto kept"  # among the extensions of an app


def lasting(view: Callable[..., Any]) -> Callable[..., Any]:
    """Keep what a route answers to an address and languages. Stands above what parses and renders.

    Flask is asked the first time, and for whom shows a key, which may be wrong.
    """

    @wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        kept, asked = current_app.extensions.setdefault(KEPT, {}), _asked(request.environ)
        if (known := kept.get(asked)) is not None:
            return Response(known[0], mimetype="application/json")
        answer = make_response(view(*args, **kwargs))
        if len(kept) >= MOST_KEPT:
            kept.clear()
        kept[asked] = answer.get_data(), f'"{fingerprint(answer)}"'
        return answer

    return wrapper


def answer_kept(kept: dict[Any, tuple[bytes, str]], environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes] | None:
    """The answer that is kept; None: Flask is to be asked."""
    if environ["REQUEST_METHOD"] != "GET" or "HTTP_AUTHORIZATION" in environ or (known := kept.get(_asked(environ))) is None:
        return None
    body, etag = known
    headers = [*SHARED.items(), ("ETag", etag), ("X-Request-Id", request_id(environ.get("HTTP_X_REQUEST_ID", "")))]
    theirs = environ.get("HTTP_IF_NONE_MATCH")
    if theirs is not None and (theirs == etag or parse_etags(theirs).contains_weak(etag.strip('"'))):
        start_response("304 NOT MODIFIED", headers)
        return [b""]
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers])
    return [body]


def _asked(environ: WSGIEnvironment) -> tuple[str, str, str | None]:
    return environ["PATH_INFO"], environ.get("QUERY_STRING", ""), environ.get("HTTP_ACCEPT_LANGUAGE")
