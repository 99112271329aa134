"""The Flask app of one engine."""

from __future__ import annotations

from flask import Flask

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
from core import schema
from core.engine.engine import Engine
from core.engine.memory import keep_for_good
from core.worker import equip

LARGEST_BODY = 1_000_000  # bytes
RESOURCES = (catalog, accounts, carts, orders, subscriptions, changes, arrears, invoices, payment_webhooks, operations, metrics, problems)


def create_app(engine: Engine) -> Flask:
    """The app that serves `engine`. Raises SettingsInvalid where the database's schema is older than this code."""
    schema.check(engine)
    equip(engine)
    app = Flask(__name__, static_folder=None)
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
