"""Who calls: Authorization: Bearer, and Cart-Secret for carts without an account."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import g, request

from api.http import caller, documented, engine
from core.access import NOBODY, identify


def identify_caller() -> None:
    """Before each request: take over the clock of the sandbox, and find out who asks. Raises Unauthorized."""
    g.caller = NOBODY
    engine().refresh_clock()
    kind, _, secret = request.headers.get("Authorization", "").partition(" ")
    bearer = (secret.strip() or "-") if kind else None
    g.caller = identify(engine(), bearer if kind.lower() in ("", "bearer") else "-", request.headers.get("Cart-Secret"))


def needs(scope: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A route for callers with this scope. Raises Unauthorized, Forbidden."""

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            caller().need(scope)
            return view(*args, **kwargs)

        documented(wrapper, security=[{"bearer": []}], **{"x-scope": scope})
        return wrapper

    return decorate
