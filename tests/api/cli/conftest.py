"""`puesto` runs a command in a fresh directory, in this process; `server` is a running `puesto serve`, shared by a module's tests."""

import os
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from click.testing import CliRunner

from api.cli.main import main
from api.cli.running import run_puesto, running_server


@pytest.fixture
def puesto(tmp_path, monkeypatch, request):
    for name in os.environ:
        if name.startswith("PUESTO_"):
            monkeypatch.delenv(name)
    if request.config.getoption("--database") != "sqlite":
        monkeypatch.setenv("PUESTO_DATABASE", request.getfixturevalue("empty_database"))
    monkeypatch.chdir(tmp_path)
    return lambda *arguments, **settings: CliRunner(env=settings).invoke(main, arguments)


@pytest.fixture(scope="module")
def settings(request, tmp_path_factory, lasting_database_in):
    """What the server and the commands beside it run with: nothing, where SQLite will do."""
    if request.config.getoption("--database") == "sqlite":
        return {}
    return {"PUESTO_DATABASE": lasting_database_in(tmp_path_factory.mktemp("database"))}


@pytest.fixture(scope="module")
def server(tmp_path_factory, settings):
    with running_server(tmp_path_factory.mktemp("server"), "--workers", "2", **settings) as started:
        yield started


@pytest.fixture(scope="module")
def folder(server) -> Path:
    """The directory that the server runs in."""
    return server.log.parent


@pytest.fixture(scope="module")
def http(server, folder, settings):
    """A back end of the running server, whose POSTs carry an Idempotency-Key."""
    made = run_puesto(folder, "keys", "create", "--name", "tests", "--scopes", "accounts,checkout,billing,staff", **settings)

    def with_key(request):
        request.headers["Idempotency-Key"] = uuid4().hex

    headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=60, event_hooks={"request": [with_key]}) as client:
        yield client
