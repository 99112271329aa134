"""The OpenAPI document: what schemas and routes don't say by themselves; and the page to read and try it."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from apispec import BasePlugin
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.common import resolve_schema_cls
from flask import Flask, Response, render_template, send_from_directory
from flask_smorest import Api

from api import problems
from api.auth import SCHEMES

DESCRIPTION = """\
Sell software by the seat: account, cart, quote, checkout, seats.

**Who asks.** `Authorization: Bearer ...` with a secret key (`sk_...`, for a back end) or an account token (`at_...`, short-lived,
for one user of one account). The catalog is there for everybody. A cart without account is opened by its `Cart-Secret`.

**Values.** Money is `{"amount": 12100, "currency": "EUR"}`, in minor units. Instants are RFC 3339 in UTC, billing dates
`YYYY-MM-DD`. Names and messages follow `Accept-Language`. Answers may gain members: pass over those that you don't know.

**Errors** are problems (RFC 9457). Switch on `type`, whose address explains it; show `detail`; `errors[].pointer` names the field.

**Repeating.** Send an `Idempotency-Key` with each POST: the same key and body gets the first answer, marked
`Idempotency-Replayed: true`. Where money moves it is required.

**Changing.** `If-Match` with the `ETag` that you have read guards a change against somebody else's. `If-None-Match` spares you what
you have already.

**Lists** come in pages: `limit` up to 100, and `cursor` from the last page's `next_cursor` until that is null.

Every answer has an `X-Request-Id`, your own if you send one.
"""
OPTIONS = {
    "info": {"description": DESCRIPTION},
    "components": {"securitySchemes": SCHEMES},
    "security": [],
}
LOCATION = {"description": "where to read what was made", "schema": {"type": "string", "format": "uri-reference"}}
ERROR = "DEFAULT_ERROR"


class Operations(BasePlugin):
    """Operation ids from the views' names, and what routes have noted beside their schemas."""

    def operation_helper(self, path: str | None = None, operations: dict[str, Any] | None = None, **kwargs: Any) -> None:
        for operation in (operations or {}).values():
            operation["operationId"] = kwargs["rule"].endpoint.rpartition(".")[2]
            if headers := operation.pop("x-headers", None):
                operation["parameters"] = [*operation.get("parameters", ()), *headers]
            operation["responses"].pop(422, None)  # a problem, like all others
            if 201 in operation["responses"]:
                operation["responses"][201]["headers"] = {"Location": LOCATION}


class PuestoApi(Api):
    """flask-smorest's Api, whose errors are problems."""

    DEFAULT_ERROR_RESPONSE_NAME = ERROR

    def __init__(self, app: Flask) -> None:
        names = MarshmallowPlugin(schema_name_resolver=_schema_name)
        super().__init__(app, spec_kwargs={"marshmallow_plugin": names, "extra_plugins": [Operations()]})

    def _register_error_handlers(self) -> None:
        """`api.problems` handles every error."""

    def _register_etag_headers(self) -> None:
        """Routes document those that they read; see `api.http`."""

    def _register_pagination_header(self) -> None:
        """Lists have their cursor in the body."""

    def _register_responses(self) -> None:
        """One schema per problem type, told apart by the member `type`."""
        kinds = problems.schemas()
        for schema in kinds.values():
            self.spec.components.schema(schema.__name__, schema=schema)
        types = {type_: f"#/components/schemas/{schema.__name__}" for type_, schema in kinds.items()}
        either = {"oneOf": [{"$ref": ref} for ref in types.values()], "discriminator": {"propertyName": "type", "mapping": types}}
        self.spec.components.schema("Problem", either)
        content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        self.spec.components.response(ERROR, {"description": "A problem", "content": content})


def _schema_name(schema: Any) -> str:
    return str(resolve_schema_cls(schema).__name__).removesuffix("Out")


def install(app: Flask, api: Api) -> None:
    """Serve the document, once every route is there, and its page. Nothing of it comes from outside: no internet access is needed."""

    @cache
    def document() -> str:
        return json.dumps(api.spec.to_dict(), ensure_ascii=False)

    app.add_url_rule("/openapi.json", view_func=lambda: Response(document(), mimetype="application/json"), endpoint="openapi")
    app.add_url_rule("/docs", view_func=docs)
    app.add_url_rule("/docs/<path:name>", view_func=docs_asset)


def docs() -> str:
    """The page to read and try the API."""
    return render_template("docs.html")


def docs_asset(name: str) -> Response:
    return send_from_directory(str(files("flask_swagger_ui") / "dist"), name, max_age=86_400)
