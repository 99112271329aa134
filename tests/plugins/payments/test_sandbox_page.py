"""The bank's page in a real browser: the buyer decides there and is sent back to the shop."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from puesto import PaymentError, eur
from puesto.testing.payments import PaymentProviderContract, reference
from tests.plugins.payments.browser import CHROMIUM, running_browser
from tests.plugins.payments.gateway import running_gateway

KIT = PaymentProviderContract()
pytestmark = pytest.mark.skipif(CHROMIUM is None and os.environ.get("CI") != "true", reason="needs Debian's chromium")


class ShopPage(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<h1>Thank you</h1>")

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def return_url():
    with ThreadingHTTPServer(("127.0.0.1", 0), ShopPage) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/return?order=ord_1"
        server.shutdown()


@pytest.fixture(scope="module")
def provider(tmp_path_factory):
    with running_gateway(tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway.provider()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with running_browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.mark.parametrize(
    ("token", "button", "outcome"),
    [
        ("tok_3ds", "Approve", ("captured", eur("100.00"), None)),
        ("tok_3ds", "Decline", ("declined", eur(0), PaymentError("authentication_failed"))),
        ("tok_3ds_fails", "Approve", ("declined", eur(0), PaymentError("authentication_failed"))),
    ],
)
def test_the_buyer_decides_and_comes_back(provider, browser, return_url, token, button, outcome):
    request, waiting = KIT.pay(provider, token=token, return_url=return_url)

    browser.open(waiting.action.url)
    browser.click(button)
    browser.wait_until("document.body.innerText === 'Thank you'")

    assert browser.evaluate("location.href") == f"{return_url}&sandbox_3ds={waiting.provider_ref}"
    settled = provider.confirm_payment(reference(request, waiting), {})
    assert (settled.status, settled.amount, settled.error) == outcome


def test_a_buyer_who_leaves_goes_back_to_the_shop_and_may_still_pay(provider, browser, return_url):
    left = return_url.replace("/return?", "/left?")
    request, waiting = KIT.pay(provider, token="tok_3ds", return_url=return_url, cancel_url=left)

    browser.open(waiting.action.url)
    browser.click("Back to the shop")
    browser.wait_until("document.body.innerText === 'Thank you'")

    assert browser.evaluate("location.href") == left
    assert provider.retrieve_payment(reference(request, waiting)) == waiting
    browser.open(waiting.action.url)
    browser.click("Approve")
    browser.wait_until("document.body.innerText === 'Thank you'")
    assert provider.retrieve_payment(reference(request, waiting)).status == "captured"


def test_the_page_shows_the_amount_and_loads_nothing_from_elsewhere(provider, browser):
    _, waiting = KIT.pay(provider, token="tok_3ds")

    browser.open(waiting.action.url)

    shown = browser.evaluate("document.body.innerText")
    assert "100.00 EUR" in shown and "Do you want to pay this" in shown
    assert browser.evaluate("performance.getEntriesByType('resource').filter(it => !it.name.endsWith('favicon.ico')).length") == 0
