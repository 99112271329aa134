"""The conformance kit itself: what a provider does wrong, it finds, and says so."""

import logging
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from plugins.payments.sandbox import SandboxProvider
from plugins.payments.sandbox_remote import RemoteSandbox
from puesto import (
    Capabilities,
    Money,
    PaymentError,
    PaymentProvider,
    PaymentResult,
    PaymentUnknown,
    ProviderEvent,
    ProviderTimeout,
    ProviderUnavailable,
    SignatureInvalid,
    eur,
)
from puesto.testing import PaymentProviderContract
from puesto.testing.payments import FaultyNetwork
from tests.plugins.payments.gateway import SECRET, http, running_gateway
from tests.plugins.payments.test_sandbox import TestSandbox as SandboxCases
from tests.plugins.payments.test_sandbox import sandbox
from tests.plugins.payments.test_sandbox_gateway import TestSandboxOverHttp as SandboxOverHttp

KIT = SandboxCases()


def broken(folder, **methods):
    """The sandbox, with something else in place of these methods; `capabilities` among them."""
    provider = sandbox(folder)
    provider.__class__ = type("Broken", (SandboxProvider,), methods)
    return provider


def test_a_claim_with_no_method_behind_it_is_named(pytestconfig):
    class Claims(PaymentProvider):
        name = "claims"
        capabilities = Capabilities(authorize=True, cancel=True)

        def initiate_payment(self, request): ...

        def retrieve_payment(self, payment): ...

        def cancel_payment(self, payment): ...

    with pytest.raises(AssertionError, match="claims claims what it does not implement: authorize needs capture_payment"):
        PaymentProviderContract().test_what_is_claimed_is_implemented(Claims(), pytestconfig)


def test_a_charge_for_each_call_is_found(tmp_path):
    def initiate_payment(self, request):
        return SandboxProvider.initiate_payment(self, replace(request, idempotency_key=f"{request.idempotency_key}{uuid4()}"))

    with pytest.raises(AssertionError):
        KIT.test_the_same_key_twice_charges_once(broken(tmp_path, initiate_payment=initiate_payment))


def test_a_refund_beyond_the_payment_is_found(tmp_path):
    def refund_payment(self, request):
        return SandboxProvider.refund_payment(self, replace(request, amount=min(request.amount, eur("100.00"), key=lambda it: it.amount)))

    with pytest.raises(AssertionError):
        KIT.test_a_refund_beyond_the_payment_fails_and_takes_nothing(broken(tmp_path, refund_payment=refund_payment))


def test_a_cancel_that_ends_nothing_is_found(tmp_path):
    def cancel_payment(self, payment):
        return replace(self.retrieve_payment(payment), status="canceled", action=None)

    with pytest.raises(AssertionError):
        KIT.test_a_canceled_payment_can_not_be_paid_any_more(broken(tmp_path, cancel_payment=cancel_payment))


def test_euros_and_cents_mixed_up_are_found(tmp_path):
    def initiate_payment(self, request):
        return replace(SandboxProvider.initiate_payment(self, request), amount=Money(request.amount.amount // 100, request.amount.currency))

    with pytest.raises(AssertionError):
        KIT.test_minor_units_are_left_as_they_are(broken(tmp_path, initiate_payment=initiate_payment), "KWD")


def test_a_token_in_the_log_is_found(tmp_path, caplog):
    def initiate_payment(self, request):
        logging.getLogger("gateway").debug("paying with %s", request.token)
        return SandboxProvider.initiate_payment(self, request)

    with pytest.raises(AssertionError, match="tok_ok"):
        KIT.test_no_secret_shows_in_logs_and_exceptions(broken(tmp_path, initiate_payment=initiate_payment), caplog)


def test_a_token_in_an_exception_behind_the_exception_is_found(tmp_path, caplog):
    def initiate_payment(self, request):
        try:
            raise KeyError(request.token)
        except KeyError as error:
            raise ValueError("no such token") from error

    provider = broken(tmp_path, initiate_payment=initiate_payment, capabilities=Capabilities())

    with pytest.raises(AssertionError, match="tok_ok"):
        KIT.test_no_secret_shows_in_logs_and_exceptions(provider, caplog)


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_bound_that_is_off_by_one_is_found(tmp_path, shift):
    def refusal(self, cart):
        return SandboxProvider.refusal(self, replace(cart, amount=Money(cart.amount.amount + shift, cart.amount.currency)))

    capabilities = Capabilities(minimum={"EUR": 50}, maximum={"EUR": 999_999_99})
    KIT.test_the_bounds_themselves_are_taken_and_what_is_beyond_is_refused(broken(tmp_path, capabilities=capabilities))

    with pytest.raises(AssertionError):
        KIT.test_the_bounds_themselves_are_taken_and_what_is_beyond_is_refused(
            broken(tmp_path, capabilities=capabilities, refusal=refusal)
        )


class SignsNothing(SandboxCases):
    """Webhooks of a provider that looks at no signature, at no time, and knows one secret."""

    def webhook(self, provider, request, result, *, type=None, old_secret=False):
        return {"signature": "old" if old_secret else "new"}, request.payment_id.encode()


@pytest.mark.parametrize("case", [
    "no_byte_of_a_webhook_can_be_altered", "a_webhook_without_signature_is_refused", "a_webhook_of_yesterday_is_refused",
    "while_keys_are_rotated_the_old_secret_is_good_too", "an_unknown_type_says_nothing",
])  # fmt: skip
def test_careless_webhooks_are_found(tmp_path, case):
    def parse_webhook(self, headers, body, received_at):
        if headers.get("signature") == "old":
            raise SignatureInvalid
        return [ProviderEvent("evt_1", "paid", body.decode(errors="replace"), None, None, None, received_at - timedelta(seconds=1))]

    provider = broken(tmp_path, parse_webhook=parse_webhook, capabilities=Capabilities(webhooks=True))

    with pytest.raises((AssertionError, SignatureInvalid, pytest.fail.Exception)):
        getattr(SignsNothing(), f"test_{case}")(provider)


# --- faults of the network


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with running_gateway(tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


@pytest.fixture
def network(gateway):
    with FaultyNetwork(gateway.url) as network:
        yield network


class OverHttp(SandboxCases):
    charge_count = SandboxOverHttp.charge_count


def over_http(gateway, network, **methods):
    provider = gateway.provider(gateway_url=network.url, gateway_timeout=1)
    provider.__class__ = type("Broken", (RemoteSandbox,), methods)
    return provider


@pytest.mark.parametrize("fault", ["error_after", "reset_after", "garbage"])
def test_a_charge_that_passes_for_none_is_found(gateway, network, fault):
    def initiate_payment(self, request):
        try:
            return RemoteSandbox.initiate_payment(self, request)
        except ProviderTimeout as error:
            raise ProviderUnavailable("try again") from error

    with pytest.raises(AssertionError, match="had charged"):
        OverHttp().test_a_payment_that_meets_a_fault_is_made_once(
            network, over_http(gateway, network, initiate_payment=initiate_payment), fault
        )


def test_an_attempt_under_a_key_of_its_own_is_found(gateway, network):
    def initiate_payment(self, request):
        return RemoteSandbox.initiate_payment(self, replace(request, idempotency_key=f"{request.idempotency_key}{uuid4()}"))

    with pytest.raises((AssertionError, PaymentUnknown)):
        OverHttp().test_a_payment_that_meets_a_fault_is_made_once(
            network, over_http(gateway, network, initiate_payment=initiate_payment), "reset_after"
        )


def test_a_charge_of_which_the_provider_forgets_to_ask_is_found_in_the_gateways_books(gateway, network):
    """It is told twice of one charge, and both times says the same."""

    def initiate_payment(self, request):
        result = RemoteSandbox.initiate_payment(self, request)
        RemoteSandbox.initiate_payment(self, replace(request, idempotency_key=str(uuid4())))
        return result

    with pytest.raises(AssertionError, match="charge_count"):
        OverHttp().test_a_payment_that_meets_a_fault_is_made_once(
            network, over_http(gateway, network, initiate_payment=initiate_payment), "error_before"
        )


def test_no_answer_that_passes_for_a_decline_is_found(gateway, network):
    def initiate_payment(self, request):
        try:
            return RemoteSandbox.initiate_payment(self, request)
        except ProviderTimeout:
            self.lost = request.idempotency_key
            raise

    def retrieve_payment(self, payment):
        if payment.idempotency_key == getattr(self, "lost", None):
            return PaymentResult("declined", eur(0), "sbp_1", error=PaymentError("provider_error"))
        return RemoteSandbox.retrieve_payment(self, payment)

    provider = over_http(gateway, network, initiate_payment=initiate_payment, retrieve_payment=retrieve_payment)

    with pytest.raises(AssertionError):
        OverHttp().test_a_payment_that_meets_a_fault_is_made_once(network, provider, "error_after")


def test_a_look_up_that_failed_and_passes_for_an_unknown_payment_is_found(gateway, network):
    def retrieve_payment(self, payment):
        try:
            return RemoteSandbox.retrieve_payment(self, payment)
        except ProviderTimeout as error:
            raise PaymentUnknown("no such payment") from error

    provider = over_http(gateway, network, retrieve_payment=retrieve_payment)

    with pytest.raises(PaymentUnknown):
        OverHttp().test_a_look_up_that_meets_a_fault_knows_nothing(network, provider, "error_before")


def test_a_fault_strikes_what_it_names_as_often_as_it_says(gateway, network):
    network.fail("rate_limited", on="POST /payments", times=2)
    asked = [
        http.request(method, f"{network.url}{path}", headers={"Authorization": f"Bearer {SECRET}"}).status_code
        for method, path in [("GET", "/charges"), ("POST", "/payments"), ("POST", "/payments"), ("POST", "/payments")]
    ]

    assert asked == [200, 429, 429, 415]
    assert network.struck == 2
    assert network.seen == ["GET /charges", *["POST /payments"] * 3]


def test_a_fault_that_is_none_is_refused(network):
    with pytest.raises(ValueError, match="'slow'"):
        network.fail("slow")
