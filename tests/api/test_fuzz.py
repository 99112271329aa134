"""Whatever the document allows, and what it forbids, gets an answer that the document promises: schemathesis sees to it.

To load it and to make up its cases takes long: the default run does not even collect this (tests/conftest.py).
"""

import re

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.contract import contract, operations
from tests.api.scene import Scene, quoted
from tests.conftest import Client

pytest_plugins = ["schemathesis.pytest.plugin"]
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance, response_schema_conformance,
]  # fmt: skip


class Stage:
    """What schemathesis calls: the app of the scene that is on. `paths` and `members` hold ids of what was there at first."""

    def set(self, scene):
        self.app, self.secret = scene.client.app, scene.client.secret
        self.paths = {operation.id: scene.path(operation) for operation in operations()}
        self.members = {
            "account": scene.account.id,
            "user": scene.user.id,
            "users": [scene.user.id],
            "release": [scene.user.id],
            "plan": "gotomeeting-professional",
            "subscription": scene.subscription.id,
            "cart": scene.cart["id"],
            "provider": "sandbox",
            "token": "tok_ok",
            "payment_method": scene.method["id"],
            "quote": quoted(scene.client, scene.cart["id"]),
        }

    def __call__(self, environ, start_response):
        return self.app(environ, start_response)


stage = Stage()
api = schemathesis.openapi.from_dict(contract().document)
api.app = stage


@pytest.fixture(scope="module", autouse=True)
def shop(tmp_path_factory, new_shop):
    shop = new_shop(tmp_path_factory.mktemp("shop"))
    stage.set(Scene(Client(shop)))
    yield shop
    shop.close()


def call(case):
    """Send a case as it was made up, and once more with ids of what is there."""
    options = {"headers": {"Authorization": f"Bearer {stage.secret}"}, "checks": CHECKS}
    case.call_and_validate(**options)
    template, path = case.operation.path, stage.paths[case.operation.definition.raw["operationId"]]
    pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(template))
    case.path_parameters = re.fullmatch(pattern, path).groupdict()
    case.body = with_members(case.body)
    case.call_and_validate(**options)


def with_members(value):
    if isinstance(value, dict):
        return {name: stage.members[name] if inner and name in stage.members else with_members(inner) for name, inner in value.items()}
    return [with_members(item) for item in value] if isinstance(value, list) else value


@pytest.mark.slow
@api.parametrize()
@settings(
    max_examples=50,
    phases=(Phase.explicit, Phase.generate),
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    deadline=None,
)
def test_every_answer_is_one_that_the_document_allows(case):
    call(case)
