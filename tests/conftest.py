"""Every test may ask for a whole shop (`shop`, `open_shop`) and for a client of its HTTP API (`client`)."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from threading import Thread
from typing import Any
from weakref import WeakKeyDictionary

import pytest
from flask import Flask
from hypothesis import settings
from werkzeug.serving import make_server

from core.access import SCOPES, create_key
from puesto.testing.shop import Shop, open_shop, shop
from tests.api.contract import contract
from tests.databases import database_in, empty_database, lasting_database_in, new_shop, postgresql, sqlite_template, unsynced

__all__ = [
    "database_in",
    "empty_database",
    "lasting_database_in",
    "new_shop",
    "open_shop",
    "postgresql",
    "shop",
    "sqlite_template",
    "unsynced",
]

# A busy machine is no failure.
settings.register_profile("any_machine", deadline=None)
settings.load_profile("any_machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--database", choices=["sqlite", "postgresql"], default="sqlite", help="what shops in tests run on")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What takes long to collect is left alone where its tests would be left out again."""
    return True if collection_path.name == "test_fuzz.py" and config.option.markexpr == "not slow" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        marker = item.get_closest_marker("only_on")
        if marker is not None and config.getoption("--database") not in marker.args:
            item.add_marker(pytest.mark.skip(reason=marker.kwargs["reason"]))


APPS: WeakKeyDictionary[Shop, Flask] = WeakKeyDictionary()


def app_of(shop: Shop) -> Flask:
    """The shop's app: what `create_app` has made once, with this shop's engine, since making one takes longer than most tests."""
    if shop not in APPS:
        APPS[shop] = copy(contract().app)
        APPS[shop].extensions = {**contract().app.extensions, "puesto": shop.engine}
    return APPS[shop]


class Client:
    """A back end that calls the API with a secret key. Each POST carries an Idempotency-Key of its own unless told otherwise.

    Answers are werkzeug's test responses: `.status_code`, `.json`, `.headers`. Each is held against the OpenAPI document, and
    none may be an internal error.
    """

    _keys = itertools.count()

    def __init__(self, shop: Shop, scopes: tuple[str, ...] = SCOPES) -> None:
        self.shop = shop
        self.app = app_of(shop)
        self._http = self.app.test_client()
        _, self.secret = create_key(shop.engine, "test", list(scopes))

    def __getattr__(self, method: str) -> Any:
        return lambda path, json=None, **options: self.send(method.upper(), path, json, **options)

    def send(self, method: str, path: str, json: Any = None, *, key: str | None = "", bearer: str | None = "", **options: Any) -> Any:
        """key, bearer: None sends no such header; empty: a fresh key, this client's secret."""
        headers = dict(options.pop("headers", {}))
        if bearer is not None:
            headers.setdefault("Authorization", f"Bearer {bearer or self.secret}")
        if method == "POST" and key is not None:
            headers.setdefault("Idempotency-Key", key or f"key-{next(self._keys)}")
        answer = self._http.open(path, method=method, json=json, headers=headers, **options)
        assert answer.status_code != 500, answer.text
        contract().check(method, path, answer)
        return answer

    def token(self, user: Any) -> str:
        """An account token of a user."""
        return str(self.post(f"/v1/accounts/{user.account}/tokens", {"user": user.id}).json["token"])

    def check_out(self, cart: str, token: str = "tok_ok", *, save: bool = False, **options: Any) -> Any:
        """Order a cart as it is quoted now."""
        quote = self.get(f"/v1/carts/{cart}/quote").json
        body = {"quote": quote["quote"]}
        if quote["payment_required"]:
            body["payment"] = {"provider": "sandbox", "token": token, **({"save": True} if save else {})}
        return self.post(f"/v1/carts/{cart}/checkout", body, **options)


@contextmanager
def serving(shop: Shop) -> Iterator[str]:
    """The shop's API on a real socket, a thread per request; its address."""
    server = make_server("127.0.0.1", 0, app_of(shop), threaded=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()


def problem(answer: Any) -> tuple[Any, ...]:
    """An error in short: status, code, and the pointers to the fields it is about."""
    assert answer.mimetype == "application/problem+json", answer.text
    pointers = (error["pointer"] for error in answer.json.get("errors", ()))
    return answer.status_code, answer.json["type"].removeprefix("/problems/"), *pointers


@pytest.fixture
def client(shop: Shop) -> Client:
    return Client(shop)
