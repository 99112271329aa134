"""The Flask app of one engine."""

from __future__ import annotations

from flask import Flask, Response, render_template, send_from_directory
from flask_smorest import Api
from swagger_ui_bundle import swagger_ui_path

from api import accounts, carts, catalog, http, invoices, operations, orders, problems, subscriptions
from api.auth import identify_caller
from core import schema
from core.engine.engine import Engine
from core.worker import equip

LARGEST_BODY = 1_000_000  # bytes
RESOURCES = (catalog, accounts, carts, orders, subscriptions, invoices, operations, problems)


class PuestoApi(Api):
    """flask-smorest's Api, whose errors are problems."""

    ERROR_SCHEMA = problems.ProblemOut

    def _register_error_handlers(self) -> None:
        """`api.problems` handles every error."""


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
        "OPENAPI_URL_PREFIX": "/",
        "OPENAPI_JSON_PATH": "openapi.json",
        "API_SPEC_OPTIONS": {
            "info": {"description": "Sell software by the seat."},
            "components": {"securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}}},
            "security": [{"bearer": []}, {}],
        },
    }
    http.install(app)
    problems.install(app)
    app.before_request(identify_caller)
    api = PuestoApi(app)
    for resource in RESOURCES:
        api.register_blueprint(resource.blueprint)
    app.add_url_rule("/docs", view_func=docs)
    app.add_url_rule("/docs/<path:name>", view_func=docs_asset)
    return app


def docs() -> str:
    """The page to read and try the API, from files that come with the package: no internet access is needed."""
    return render_template("docs.html")


def docs_asset(name: str) -> Response:
    return send_from_directory(swagger_ui_path, name, max_age=86_400)


def from_settings() -> Flask:
    """What a web server calls in each of its processes: engine and app from puesto.toml and the environment."""
    return create_app(Engine())
