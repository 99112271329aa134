"""The OpenAPI document as a referee: whatever answer a test gets through its client is held against it."""

import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

from api.app import create_app
from puesto.testing.shop import Shop

PROBLEM = "application/problem+json"


@dataclass(frozen=True)
class Operation:
    """One of the document, under its operationId. `path` is a template: /v1/carts/{cart_id}."""

    id: str
    method: str
    path: str
    spec: dict[str, Any] = field(repr=False)

    def __str__(self) -> str:
        return self.id

    def header(self, name: str) -> dict[str, Any] | None:
        return next((each for each in self.spec.get("parameters", ()) if (each["in"], each["name"]) == ("header", name)), None)


class Contract:
    def __init__(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            shop = Shop(Path(folder))
            self.app = create_app(shop.engine)
            self.document = self.app.test_client().get("/openapi.json").json
            shop.close()
        self.error = self.document["components"]["responses"]["DEFAULT_ERROR"]
        self.operations = {
            spec["operationId"]: Operation(spec["operationId"], method.upper(), path, spec)
            for path, item in self.document["paths"].items()
            for method, spec in item.items()
            if method != "parameters"
        }
        self._routes = self.app.url_map.bind("localhost")
        self._validator = cache(self._make_validator)

    def check(self, method: str, path: str, answer: TestResponse) -> None:
        """Raises where status, content type or body is not what the operation promises. What is no operation may only be refused."""
        assert answer.headers["X-Request-Id"]
        promised = self._promised(method, path, answer.status_code)
        if promised is None or method == "HEAD":
            return
        content = promised.get("content", {})
        assert answer.mimetype in content or (not content and answer.data == b""), f"{answer.status_code} {answer.mimetype}"
        if answer.is_json:
            self._validator(content[answer.mimetype]["schema"]["$ref"]).validate(answer.json)
            assert answer.mimetype != PROBLEM or answer.json["status"] == answer.status_code

    def _promised(self, method: str, path: str, status: int) -> dict[str, Any] | None:
        """The response of the document; None: nothing is promised."""
        if status == 304:
            return {}
        try:
            endpoint, _ = self._routes.match(path.partition("?")[0], "GET" if method == "HEAD" else method)
        except HTTPException:
            return self.error
        operation = self.operations.get(endpoint.rpartition(".")[2])
        if operation is None:
            return None if status < 400 else self.error
        return operation.spec["responses"].get(str(status), self.error)

    def _make_validator(self, reference: str) -> jsonschema_rs.Validator:
        components = self.document["components"]
        components = {**components, "schemas": {name: _closed(schema) for name, schema in components["schemas"].items()}}
        return jsonschema_rs.Draft202012Validator({"$ref": reference, "components": components}, validate_formats=True)


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of an answer without members that it does not describe: it may gain some, but nothing is told by accident."""
    return {"additionalProperties": False, **schema} if "properties" in schema else schema


@cache
def contract() -> Contract:
    """It comes from the code alone, and is the same for every shop."""
    return Contract()


def operations(keep=lambda operation: True) -> list[Operation]:
    """Those of the document that are kept, for tables of tests that no new route escapes."""
    return [operation for operation in contract().operations.values() if keep(operation)]
