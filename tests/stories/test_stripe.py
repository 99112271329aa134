"""A shop that is paid through Stripe: cards and debits, at localstripe, over the API, with webhooks and without."""

import pytest

from tests.conftest import Client
from tests.plugins.payments.localstripe import SECRET_KEY, WEBHOOK_SECRETS, ask, decide, localstripe, signed

__all__ = ["localstripe"]
FIVE_SEATS = {"mode": "buy", "plan": "gotomeeting-professional", "interval": "month", "seats": 5}
DUE = 84_70  # 5 x 14.00 x 1.21


@pytest.fixture
def client(open_shop, tmp_path, localstripe):
    for name, secret in (("key", SECRET_KEY), ("webhooks", WEBHOOK_SECRETS[0])):
        (tmp_path / name).write_text(secret)
    settings = {"secret_key": f"file:{tmp_path / 'key'}", "webhook_secrets": [f"file:{tmp_path / 'webhooks'}"], "api_base": localstripe}
    return Client(open_shop(tables={"stripe": settings, "sepa_debit": settings}))


class Stripe:
    """What happens at Stripe."""

    def __init__(self, address, shop):
        self.address, self.shop = address, shop

    def intent(self, order):
        """The PaymentIntent of an order."""
        intents = ask(self.address, "GET", "/v1/payment_intents", params={"limit": 1000})["data"]
        [found] = [it for it in intents if it["metadata"]["payment_id"] == order["payment"]["id"]]
        return found

    def webhook(self, client, provider, type, order):
        """The answer to it."""
        it, now = self.intent(order), int(self.shop.engine.clock.machine_now().timestamp())
        event = {"id": f"evt_{type}_{it['id']}", "type": type, "created": now, "livemode": False, "data": {"object": it}}
        headers, body = signed(event, at=now)
        return client.post(f"/v1/payment-webhooks/{provider}", bearer=None, key=None, data=body, headers=headers)


@pytest.fixture
def stripe(client, localstripe):
    return Stripe(localstripe, client.shop)


def order(client, token, provider="stripe", **payment):
    cart = client.post("/v1/carts", {"account": client.shop.account.id, "lines": [FIVE_SEATS]}).json["id"]
    quote = client.get(f"/v1/carts/{cart}/quote").json["quote"]
    return client.post(f"/v1/carts/{cart}/checkout", {"quote": quote, "payment": {"provider": provider, "token": token, **payment}})


def test_a_card_pays_and_is_given_back(client, stripe):
    bought = order(client, "pm_card_visa").json

    refund = client.post(f"/v1/orders/{bought['id']}/refunds", {"reason": "too many"}).json

    assert (bought["status"], bought["payment"]["status"]) == ("completed", "captured")
    assert (refund["status"], refund["amount"]["amount"]) == ("succeeded", DUE)
    assert client.get(f"/v1/orders/{bought['id']}").json["status"] == "refunded"
    assert stripe.intent(bought)["latest_charge"]["amount_refunded"] == DUE


def test_a_declined_card_leaves_the_cart_open_and_another_pays(client, stripe):
    refused = order(client, "pm_card_visa_chargeDeclinedInsufficientFunds")

    assert (refused.status_code, refused.json["decline_code"], refused.json["retryable"]) == (402, "insufficient_funds", True)
    assert order(client, "pm_card_visa").json["status"] == "completed"


def test_who_closes_the_browser_at_the_bank_has_an_order_by_the_webhook(client, stripe, localstripe):
    waiting = order(client, "pm_card_authenticationRequired").json

    class Result:
        action, provider_ref = waiting["next_action"], stripe.intent(waiting)["id"]

    decide(Result, "approve", localstripe)
    answers = [stripe.webhook(client, "stripe", "payment_intent.succeeded", waiting).status_code for _ in range(2)]
    client.shop.run()

    completed = client.get(f"/v1/orders/{waiting['id']}").json
    assert (waiting["status"], waiting["next_action"]["type"]) == ("requires_action", "redirect")
    assert answers == [204, 204]
    assert (completed["status"], completed["payment"]["status"]) == ("completed", "captured")


def test_a_debit_is_processing_until_the_webhook_tells_that_it_was_collected(client, stripe, localstripe):
    waiting = order(client, "pm_iban_DE89370400440532013000", "sepa_debit", save=True).json
    ask(localstripe, "POST", f"/_config/settle/{stripe.intent(waiting)['id']}")

    stripe.webhook(client, "sepa_debit", "payment_intent.succeeded", waiting)
    client.shop.run()

    completed = client.get(f"/v1/orders/{waiting['id']}").json
    [method] = client.get(f"/v1/accounts/{client.shop.account.id}/payment-methods").json["data"]
    assert (waiting["status"], completed["status"]) == ("processing", "completed")
    assert (method["provider"], method["brand"], method["last4"]) == ("sepa_debit", "sepa_debit", "3000")


def test_a_debit_that_fails_fails_the_order(client, stripe, localstripe):
    waiting = order(client, "pm_iban_DE62370400440532013001", "sepa_debit").json
    ask(localstripe, "POST", f"/_config/settle/{stripe.intent(waiting)['id']}")

    stripe.webhook(client, "sepa_debit", "payment_intent.payment_failed", waiting)
    client.shop.run()

    failed = client.get(f"/v1/orders/{waiting['id']}").json
    assert (waiting["status"], failed["status"]) == ("processing", "failed")
    assert failed["payment"]["error"]["code"] == "insufficient_funds"
