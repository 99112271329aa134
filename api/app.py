"""The Flask app of one engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from flask import Flask, Request

from api import (
    accounts,
    arrears,
    carts,
    catalog,
    changes,
    http,
    invoices,
    metrics,
    openapi,
    operations,
    orders,
    payment_webhooks,
    problems,
    subscriptions,
)
from api.auth import identify_caller
from api.http import Asked
from api.kept import KEPT, answer_kept
from core import schema
from core.engine.engine import Engine
from core.engine.memory import keep_for_good
from core.worker import equip

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment
    from werkzeug.routing import MapAdapter

LARGEST_BODY = 1_000_000  # bytes
RESOURCES = (catalog, accounts, carts, orders, subscriptions, changes, arrears, invoices, payment_webhooks, operations, metrics, problems)


class App(Flask):
    """What lasts is answered before Flask takes a request apart. Every view is a plain function."""

    request_class = Asked

    def wsgi_app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        answer = answer_kept(self.extensions.get(KEPT, {}), environ, start_response)
        return super().wsgi_app(environ, start_response) if answer is None else answer

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """What finds the route: for an app that answers on any host, which Flask looks for twice and then takes apart."""
        if request is None:
            return None
        at = {"script_name": request.root_path, "path_info": request.path, "query_args": request.environ.get("QUERY_STRING")}
        return self.url_map.bind(request.host, url_scheme=request.scheme, default_method=request.method, **at)

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func


def create_app(engine: Engine) -> Flask:
    """The app that serves `engine`. Raises SettingsInvalid where the database's schema is older than this code."""
    schema.check(engine)
    equip(engine)
    app = App(__name__, static_folder=None)
    app.extensions["puesto"] = engine
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.config |= {
        "MAX_CONTENT_LENGTH": LARGEST_BODY,
        "API_TITLE": "Puesto",
        "API_VERSION": "v1",
        "OPENAPI_VERSION": "3.1.0",
        "API_SPEC_OPTIONS": openapi.OPTIONS,
    }
    http.install(app, identify_caller)
    problems.install(app)
    api = openapi.PuestoApi(app)
    for resource in RESOURCES:
        api.register_blueprint(resource.blueprint)
    openapi.install(app, api)
    return app


def from_settings() -> Flask:
    """What a web server calls in each of its processes: engine and app from puesto.toml and the environment."""
    app = create_app(Engine())
    keep_for_good()
    return app
