"""Who calls: Authorization: Bearer, and Cart-Secret for carts without an account."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any

from api.http import Asked, asked, caller, documented, engine
from core.access import NOBODY, identify
from core.errors import Unauthorized

BEARER = {"type": "http", "scheme": "bearer", "description": "A secret key (`sk_...`) or an account token (`at_...`)."}
CART_SECRET = {"type": "apiKey", "in": "header", "name": "Cart-Secret", "description": "Opens the cart without account that told it."}
SCHEMES = {"bearer": BEARER, "cart_secret": CART_SECRET}


def identify_caller(asked: Asked) -> None:
    """Before each request: take over the clock of the sandbox, and find out who asks. Raises Unauthorized.

    Pages, documents and health are the same for everybody, and are there while the database is away.
    """
    if not asked.path.startswith(("/v1/", "/metrics")):
        return
    header = "" if asked.signed_otherwise else asked.header("Authorization") or ""
    scheme, _, secret = header.partition(" ")
    shown = secret.strip() if scheme.lower() == "bearer" else ""  # which is the secret of nobody
    asked.caller = identify(engine(), shown if header else None, asked.header("Cart-Secret"), asked.beside)


def needs(scope: str | None = None, *, or_cart_secret: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A route for callers with this scope; None: for any key or token. Raises Unauthorized, Forbidden.

    or_cart_secret: who lacks the scope but shows a cart's secret counts as nobody, who may open that cart and no other.
    """
    security: list[dict[str, list[str]]] = [{name: []} for name in ("bearer", *(["cart_secret"] if or_cart_secret else []))]

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(view)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if or_cart_secret and scope not in caller().scopes and caller().cart_secret is not None:
                asked().caller = replace(NOBODY, cart_secret=caller().cart_secret)
            elif scope is not None:
                caller().need(scope)
            elif caller().anonymous:
                raise Unauthorized("Send a key or an account token: Authorization: Bearer ...")
            return view(*args, **kwargs)

        documented(wrapper, security=security, **({"x-scope": scope} if scope else {}))
        return wrapper

    return decorate
