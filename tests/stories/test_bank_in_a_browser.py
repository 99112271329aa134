"""The buyer's bank in a real browser: from a shop over HTTP to the gateway's page and back, or not back. Each a process of its own."""

import os

import pytest

from tests.plugins.payments.browser import CHROMIUM, running_browser
from tests.stories.test_main_job import FIVE_SEATS
from tests.stories.test_payment_webhooks import charges, gateway, server, wait_for

__all__ = ["gateway", "server"]
pytestmark = pytest.mark.skipif(CHROMIUM is None and os.environ.get("CI") != "true", reason="needs Debian's chromium")

APPROVAL = "{method: 'POST', body: new URLSearchParams({decision: 'approve'}), redirect: 'manual'}"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with running_browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def order(server):
    """An order whose buyer is to go to the bank."""
    account = server.account(name="Acme, S.L.", email="billing@acme.example", country="ES")
    cart, quote = server.review(account, FIVE_SEATS)
    return server.order(cart, quote, "tok_3ds") | {"cart": cart, "account": account}


def how_it_stands(server, order):
    """The order's status, the cart's, and how many invoices there are."""
    invoices = server.call("GET", f"/v1/invoices?account={order['account']}", 200)["data"]
    return (
        server.call("GET", f"/v1/orders/{order['id']}", 200)["status"],
        server.call("GET", f"/v1/carts/{order['cart']}", 200)["status"],
        len(invoices),
    )


def test_who_approves_is_sent_back_to_a_page_that_says_so(server, gateway, browser, order):
    browser.open(order["next_action"]["url"])
    browser.click("Approve")
    browser.wait_until(f"location.href.startsWith('{server.http.base_url}')")

    assert "Your order is complete" in browser.evaluate("document.body.innerText")
    assert browser.evaluate("location.pathname") == f"/v1/orders/{order['id']}/return"
    assert how_it_stands(server, order) == ("completed", "ordered", 1)
    assert charges(gateway, order) == [(84_70, 0)]  # 5 x 14.00 x 1.21


def test_who_comes_back_twice_is_charged_once(server, gateway, browser, order):
    browser.open(order["next_action"]["url"])
    browser.click("Approve")
    browser.wait_until(f"location.href.startsWith('{server.http.base_url}')")
    back = browser.evaluate("location.href")

    browser.open("about:blank")
    browser.open(back)

    assert "Your order is complete" in browser.evaluate("document.body.innerText")
    assert (how_it_stands(server, order), charges(gateway, order)) == (("completed", "ordered", 1), [(84_70, 0)])


def test_who_declines_has_an_open_cart_and_can_pay_otherwise(server, gateway, browser, order):
    browser.open(order["next_action"]["url"])
    browser.click("Decline")
    browser.wait_until(f"location.href.startsWith('{server.http.base_url}')")
    refused = how_it_stands(server, order)

    again = server.order(order["cart"], server.call("GET", f"/v1/carts/{order['cart']}/quote", 200), "tok_ok")

    assert refused == ("failed", "open", 0)
    assert again["status"] == "completed"
    assert (charges(gateway, order), charges(gateway, again)) == ([(0, 0)], [(84_70, 0)])


@pytest.mark.slow
def test_a_browser_that_is_closed_before_it_comes_back_loses_no_order(server, gateway, browser, order):
    """It has approved, and does not follow the way back: the webhook tells."""
    browser.open(order["next_action"]["url"])
    browser.evaluate(f"fetch(location.href, {APPROVAL}).then(() => {{ window.sent = true }})")
    browser.wait_until("window.sent")
    browser.open("about:blank")

    assert wait_for(server, order["id"], "completed")["payment"]["status"] == "captured"
    assert (how_it_stands(server, order), charges(gateway, order)) == (("completed", "ordered", 1), [(84_70, 0)])
