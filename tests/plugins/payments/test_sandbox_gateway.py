"""The sandbox provider against the gateway as a process: the contract over HTTP, its secret, the bank's page, and kill -9."""

import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from queue import Queue
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
from marshmallow import ValidationError

from plugins.payments.sandbox import SandboxSettings
from plugins.payments.sandbox_entries import Charge
from plugins.payments.sandbox_webhooks import sign
from puesto import (
    PaymentError,
    PaymentUnknown,
    ProviderMisconfigured,
    ProviderTimeout,
    ProviderUnavailable,
    eur,
)
from puesto.testing.payments import FaultyNetwork, PaymentProviderContract, lost_reference, reference
from tests.plugins.payments.gateway import SECRET, WEBHOOK_SECRETS, decide, gateway_settings, http, running_gateway

ANSWERLESS = (ProviderTimeout, ProviderUnavailable)


@pytest.fixture(scope="class")
def gateway(tmp_path_factory):
    with running_gateway(tmp_path_factory.mktemp("gateway"), "--slow-seconds", "0.05") as gateway:
        yield gateway


@pytest.fixture
def own_gateway(tmp_path):
    with running_gateway(tmp_path) as gateway:
        yield gateway


class TestSandboxOverHttp(PaymentProviderContract):
    good_token = "tok_ok"
    action_token = "tok_3ds"
    refused_action_token = "tok_3ds_fails"
    lost_token = "tok_timeout"
    unavailable_token = "tok_unavailable"
    declined_tokens: ClassVar = {
        "tok_card_declined": "card_declined",
        "tok_insufficient_funds": "insufficient_funds",
        "tok_expired_card": "expired_card",
        "tok_fraud_suspected": "fraud_suspected",
        "tok_nobody_knows": "card_declined",
    }
    secrets = (SECRET, *WEBHOOK_SECRETS)

    @pytest.fixture
    def provider(self, gateway):
        return gateway.provider()

    @pytest.fixture
    def network(self, gateway):
        with FaultyNetwork(gateway.url) as network:
            yield network

    @pytest.fixture
    def remote_provider(self, gateway, network):
        return gateway.provider(gateway_url=network.url, gateway_timeout=1)

    def charge_count(self, provider, payment_id):
        return sum(charge.payment_id == payment_id and charge.amount.amount > 0 for charge in provider.charges())

    def buyer_acts(self, provider, result):
        return self.decide(result, "approve")

    def buyer_gives_up(self, provider, result):
        return self.decide(result, "decline")

    def decide(self, result, decision):
        back = decide(result.action.url, decision).headers["location"]
        return {name: values[0] for name, values in parse_qs(urlsplit(back).query).items()}

    def webhook(self, provider, request, result, *, type=None, old_secret=False):
        data = {"payment_id": request.payment_id, "provider_ref": result.provider_ref, "refund_id": None, "amount": asdict(result.amount)}
        now = datetime.now(UTC)
        body = json.dumps({"type": type or f"payment.{result.status}", "timestamp": now.isoformat(), "data": data}).encode()
        event_id, timestamp = f"evt_{request.payment_id}", str(int(now.timestamp()))
        signature = sign(WEBHOOK_SECRETS[1 if old_secret else 0], event_id, timestamp, body)
        return {"webhook-id": event_id, "webhook-timestamp": timestamp, "webhook-signature": signature}, body

    def refund_outside(self, provider, request, result, amount):
        self.dashboard("refunds", payment=request.payment_id, amount=amount.amount)

    def dispute(self, provider, request, result, status):
        if status == "opened":
            self.dashboard("disputes", payment=request.payment_id)
        else:
            [dispute] = provider.retrieve_payment(reference(request, result)).disputes
            self.dashboard(f"disputes/{dispute.provider_ref}/close", status=status)

    def dashboard(self, what, **body):
        assert self.gateway.call("POST", f"/dashboard/{what}", json=body).is_success

    @pytest.fixture(autouse=True)
    def _know_the_gateway(self, gateway):
        self.gateway = gateway

    # --- tokens that behave at the gateway

    def test_a_slow_token_is_answered_late(self, provider):
        assert self.pay(provider, token="tok_slow")[1].status == "captured"

    def test_declines_bring_what_may_be_done_about_them(self, provider):
        errors = [self.pay(provider, token=token)[1].error for token in ("tok_insufficient_funds", "tok_nobody_knows")]

        assert errors == [
            PaymentError("insufficient_funds", retryable=True),
            PaymentError("card_declined", provider_code="unknown_token"),
        ]

    def test_a_stored_method_shows_what_may_be_shown(self, provider):
        saved = provider.save_method(self.request(amount=eur(0))).saved_method

        assert (saved.brand, saved.last4, saved.expires) == ("visa", "4242", "2099-12")

    # --- the bank

    def test_the_page_says_what_is_asked_and_nothing_else(self, provider):
        _, result = self.pay(provider, token="tok_3ds")

        page = http.get(result.action.url)

        assert page.status_code == 200
        assert "100.00" in page.text and 'value="approve"' in page.text and 'value="decline"' in page.text
        assert "tok_3ds" not in page.text

    def test_before_the_buyer_decides_a_confirm_changes_nothing(self, provider):
        request, result = self.pay(provider, token="tok_3ds")

        confirmed = provider.confirm_payment(reference(request, result), {"sandbox_3ds": result.provider_ref})

        assert confirmed == result
        assert provider.retrieve_payment(reference(request, result)) == result

    def test_approved_it_is_paid_though_the_browser_never_comes_back(self, provider):
        request, result = self.pay(provider, token="tok_3ds")

        sent_back = decide(result.action.url)

        assert sent_back.status_code == 303
        assert sent_back.headers["location"] == f"https://shop.example/return?order=ord_1&sandbox_3ds={result.provider_ref}"
        paid = provider.retrieve_payment(reference(request, result))
        assert (paid.status, paid.amount, paid.action) == ("captured", eur("100.00"), None)

    def test_declined_by_the_buyer_it_stays_declined(self, provider):
        request, result = self.pay(provider, token="tok_3ds")

        decide(result.action.url, "decline")
        decide(result.action.url, "approve")

        declined = provider.confirm_payment(reference(request, result), {})
        assert (declined.status, declined.error) == ("declined", PaymentError("authentication_failed"))

    def test_who_reloads_the_page_after_deciding_is_sent_back(self, provider):
        _, result = self.pay(provider, token="tok_3ds")
        sent_back = decide(result.action.url)

        again = http.get(result.action.url)

        assert (again.status_code, again.headers["location"]) == (302, sent_back.headers["location"])

    def test_a_method_is_stored_once_the_buyer_approves(self, provider):
        request = self.request(token="tok_3ds", amount=eur(0))
        waiting = provider.save_method(request)
        assert "store" in http.get(waiting.action.url).text

        decide(waiting.action.url)
        stored = provider.confirm_payment(reference(request, waiting), {})

        assert (waiting.saved_method, stored.status, stored.amount) == (None, "captured", eur(0))
        assert stored.saved_method is not None

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_a_page_of_no_payment_is_not_found(self, gateway, method):
        assert http.request(method, f"{gateway.url}/3ds/sbp_nobody", data={"decision": "approve"}).status_code == 404

    # --- who may call

    @pytest.mark.parametrize("authorization", [None, SECRET, "Bearer", "Bearer wrong", f"bearer {SECRET}", "Bearer é"])
    def test_without_the_secret_nothing_is_done(self, gateway, provider, authorization):
        before = provider.charges()
        headers = {"Authorization": authorization.encode()} if authorization else {}

        calls = [("POST", "/payments"), ("GET", "/payments?key=1"), ("POST", "/refunds"), ("GET", "/charges"), ("POST", "/faults")]
        statuses = {http.request(method, f"{gateway.url}{path}", headers=headers, json={}).status_code for method, path in calls}

        assert statuses == {401}
        assert provider.charges() == before

    def test_a_wrong_secret_is_a_wrong_setting(self, gateway, tmp_path):
        (tmp_path / "wrong").write_text("wrong")
        provider = gateway.provider(gateway_secret=f"file:{tmp_path / 'wrong'}")

        with pytest.raises(ProviderMisconfigured, match="gateway_secret"):
            self.pay(provider)

    def test_at_a_wrong_address_nothing_is_said_of_a_payment(self, gateway):
        """A 404 of whatever listens there must not pass for "never charged"."""
        provider = gateway.provider(gateway_url=f"{gateway.url}/elsewhere")

        with pytest.raises(ProviderMisconfigured, match="gateway_url"):
            provider.retrieve_payment(lost_reference(self.request()))

    @pytest.mark.parametrize("body", [[], {}, {"amount": 1}, {"amount": {"amount": "5", "currency": "EUR"}, "customer": {}}])
    def test_what_is_no_payment_is_refused(self, gateway, provider, body):
        before = provider.charges()

        assert {gateway.call("POST", path, json=body).status_code for path in ("/payments", "/methods", "/refunds")} == {400}
        assert provider.charges() == before


# --- settings


def test_a_gateway_needs_its_secret():
    with pytest.raises(ValidationError) as problem:
        SandboxSettings().load({"gateway_url": "http://127.0.0.1:8010"})

    assert problem.value.messages == {"gateway_secret": ["gateway_url needs it"]}


def test_a_webhook_secret_that_is_none_is_not_repeated(monkeypatch):
    monkeypatch.setenv("HOOK", "whsec_c2hvcnQ=")

    with pytest.raises(ValidationError) as problem:
        SandboxSettings().load({"webhook_secrets": ["env:HOOK"]})

    assert problem.value.messages == {"webhook_secrets": {0: ["it must be whsec_ and the base64 of 24 bytes or more"]}}


# --- the process


def test_it_ends_when_asked_and_keeps_what_it_charged(own_gateway):
    provider = own_gateway.provider()
    request, paid = PaymentProviderContract().request(token="tok_ok"), None
    paid = provider.initiate_payment(request)

    status = own_gateway.stop()
    with pytest.raises(ProviderUnavailable):
        provider.initiate_payment(request)
    own_gateway.start()

    assert status == 0
    assert provider.initiate_payment(request) == paid
    assert provider.charges() == [Charge(request.idempotency_key, request.payment_id, eur("100.00"), "captured", eur(0))]


def test_killed_after_the_charge_and_before_the_answer_it_has_charged_once(own_gateway):
    provider, request = own_gateway.provider(), PaymentProviderContract().request(token="tok_ok")
    own_gateway.fault("hang", on="initiate_payment")

    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(provider.initiate_payment, request)
        wait_for(lambda: provider.charges())  # the fault has been drawn before that
        own_gateway.kill()
        with pytest.raises(ProviderTimeout):
            answer.result()
    own_gateway.start()

    found = provider.retrieve_payment(lost_reference(request))
    assert (found.status, found.amount) == ("captured", eur("100.00"))
    assert provider.initiate_payment(request) == found
    assert [charge.amount for charge in provider.charges()] == [eur("100.00")]


def test_killed_before_the_charge_it_has_never_heard_of_it(own_gateway):
    provider, request = own_gateway.provider(), PaymentProviderContract().request(token="tok_ok")
    own_gateway.fault("hang", on="initiate_payment", before=True)

    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(provider.initiate_payment, request)
        wait_for(lambda: own_gateway.hits() == 1)
        own_gateway.kill()
        with pytest.raises(ProviderTimeout):
            answer.result()
    own_gateway.start()

    with pytest.raises(PaymentUnknown):
        provider.retrieve_payment(lost_reference(request))
    assert provider.charges() == []


@pytest.mark.slow
def test_killed_again_and_again_while_charging_no_key_is_charged_twice(own_gateway):
    """Four buyers pay and refund; kill -9 strikes after every few answers, wherever the others are by then."""
    provider, kit, draw = own_gateway.provider(), PaymentProviderContract(), random.Random(7)
    answers, over = Queue(), threading.Event()

    def persist(call, *arguments):
        while True:
            try:
                return call(*arguments)
            except ANSWERLESS:
                time.sleep(0.01)

    def buy(_):
        said = {}
        while not over.is_set():
            request = kit.request(token="tok_ok")
            paid = persist(provider.initiate_payment, request)
            given_back = persist(provider.refund_payment, kit.refund(request, paid, eur("40.00")))
            said[request.idempotency_key] = (request, paid, given_back)
            answers.put(request.idempotency_key)
        return said

    with ThreadPoolExecutor(4) as buyers:
        sold = [buyers.submit(buy, number) for number in range(4)]
        for _ in range(20):
            for _ in range(draw.randint(1, 6)):
                answers.get(timeout=60)
            own_gateway.kill()
            own_gateway.start()
        over.set()
        said = {key: answer for buyer in sold for key, answer in buyer.result().items()}

    charges = {charge.key: charge for charge in provider.charges()}
    assert len(provider.charges()) == len(charges)
    assert charges.keys() == said.keys()
    for key, (request, paid, given_back) in said.items():
        assert charges[key] == Charge(key, request.payment_id, eur("100.00"), "captured", eur("40.00"))
        assert given_back.status == "succeeded"
        assert replace(provider.retrieve_payment(lost_reference(request)), refunds=()) == paid


# --- a shop in front of it


@pytest.fixture
def remote_shop(own_gateway, open_shop):
    return open_shop(tables={"sandbox": gateway_settings(own_gateway.folder, own_gateway.url)})


LINE = {"mode": "buy", "plan": "gotomeeting-business", "seats": 10, "interval": "month"}


def test_an_order_and_its_charge_are_in_two_places(remote_shop, own_gateway):
    order = remote_shop.order(remote_shop.cart(LINE))

    assert (order["status"], order["payment"]["status"]) == ("completed", "captured")
    assert [charge.payment_id for charge in own_gateway.provider().charges()] == [order["payment"]["id"]]


def test_an_order_whose_answer_was_lost_is_completed_with_one_charge(remote_shop, own_gateway):
    own_gateway.fault("reset", on="initiate_payment")
    order = remote_shop.order(remote_shop.cart(LINE))

    remote_shop.clock.move_to(remote_shop.clock.now() + timedelta(minutes=5))
    remote_shop.run()

    assert order["status"] == "processing"
    assert [event["data"]["order"]["id"] for event in remote_shop.events("order.completed")] == [order["id"]]
    assert [(charge.status, charge.refunded) for charge in own_gateway.provider().charges()] == [("captured", eur(0))]


def wait_for(condition):
    """pytest's own time-out ends what never comes true."""
    while not condition():
        time.sleep(0.01)
