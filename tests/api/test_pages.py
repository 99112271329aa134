"""The pages, as a browser shows them: a real one, with no way out of this machine."""

import json
import os
import re
import shutil
import subprocess
from urllib.parse import urlsplit

import pytest

from tests.api.contract import operations
from tests.api.shared_shop import shared_shop
from tests.conftest import serving

shop, client, scene = shared_shop()

FLAGS = """
    --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update
    --disable-sync --disable-default-apps --virtual-time-budget=10000
""".split()  # noqa: SIM905


@pytest.fixture(scope="session")
def chromium():
    """Debian's browser, which CI installs before the tests; elsewhere they are skipped without it."""
    found = shutil.which("chromium")
    if found is None and os.environ.get("CI") != "true":
        pytest.skip("no browser here: apt-get install chromium")
    assert found, "CI is to install chromium"
    return found


@pytest.fixture(scope="module")
def served(shop):
    with serving(shop) as address:
        yield address


@pytest.fixture
def browse(chromium, served, tmp_path):
    """browse(path) loads a page and runs its scripts: the document that comes of it, and every address that was asked for.

    The browser asks its maker for news too: what counts is what the page started.
    """

    def load(path):
        log = tmp_path / "net.json"
        command = [chromium, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={log}", "--dump-dom", served + path]
        document = subprocess.run(command, check=True, capture_output=True, text=True, timeout=90).stdout
        requests = [event["params"] for event in json.loads(log.read_text())["events"] if "initiator" in event.get("params", {})]
        ours = [request["url"] for request in requests if request["initiator"] == served or request["url"].startswith(served)]
        return document, {url.removeprefix(served) for url in ours}

    return load


def test_the_documentation_shows_every_operation_and_asks_nobody_else(browse):
    document, asked = browse("/docs")

    shown = set(re.findall(r'id="operations-((?!tag-)\w+-\w+)"', document))
    assert shown == {f"{operation.spec['tags'][0]}-{operation.id}" for operation in operations()}
    assert "Unable to render" not in document and "errors-wrapper" not in document
    assert "Sell software by the seat" in document
    assert "<title>Puesto API</title>" in document
    assert {url for url in asked if urlsplit(url).scheme} == set()
    assert {"/docs", "/openapi.json", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js"} <= asked


@pytest.mark.parametrize(
    ("path", "heading"),
    [
        ("/problems", "Problem types"),
        ("/problems/quote-changed", "The amounts have changed"),
        ("/v1/orders/{order}/cancelled", "Not paid yet"),
        ("/v1/orders/{order}/return", "Paid"),
    ],
)
def test_a_page_for_people_needs_nothing_but_itself(browse, scene, path, heading):
    address = path.format(order=scene.waiting["id"])

    document, asked = browse(address)

    assert f"<h1>{heading}</h1>" in document
    assert {url for url in asked if not url.endswith("/favicon.ico")} == {address}
