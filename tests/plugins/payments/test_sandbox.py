"""The sandbox provider: what each token does, and that its books tell the truth whatever happens around them."""

import logging
import multiprocessing
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier
from typing import ClassVar
from urllib.parse import parse_qsl, urlsplit

import pytest
from marshmallow import ValidationError

from plugins.payments.sandbox import SandboxSettings
from plugins.payments.sandbox_books import SCHEMA
from plugins.payments.sandbox_entries import Charge
from puesto import (
    PaymentError,
    PaymentReference,
    PaymentResult,
    PaymentUnknown,
    ProviderTimeout,
    ProviderUnavailable,
    SavedMethod,
    eur,
    usd,
)
from puesto.testing.payments import PaymentProviderContract, lost_reference, reference
from tests.plugins.payments.gateway import sandbox_plugin


def sandbox(data_root, **settings):
    [provider] = sandbox_plugin(data_root, **settings).register_payment_providers()
    return provider


def pay_in_another_process(data_root, request, slow_seconds):
    """What a child process runs: importable by name, as spawn needs it."""
    sandbox(data_root, slow_seconds=slow_seconds).initiate_payment(request)


class TestSandbox(PaymentProviderContract):
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

    @pytest.fixture
    def provider(self, tmp_path):
        return sandbox(tmp_path, slow_seconds=0.05)

    def refund_outside(self, provider, request, result, amount):
        provider.dashboard.refund(request.payment_id, amount.amount)

    def dispute(self, provider, request, result, status):
        if status == "opened":
            provider.dashboard.open_dispute(request.payment_id)
        else:
            [dispute] = provider.retrieve_payment(reference(request, result)).disputes
            provider.dashboard.close_dispute(dispute.provider_ref, status)

    # --- tokens

    def test_only_insufficient_funds_may_work_later(self, provider):
        errors = [self.pay(provider, token=token)[1].error for token in self.declined_tokens]

        assert errors == [
            PaymentError("card_declined"),
            PaymentError("insufficient_funds", retryable=True),
            PaymentError("expired_card"),
            PaymentError("fraud_suspected"),
            PaymentError("card_declined", provider_code="unknown_token"),
        ]

    def test_no_token_and_no_method_is_declined(self, provider):
        _, result = self.pay(provider, token=None)

        assert result.error == PaymentError("card_declined", provider_code="unknown_token")

    def test_an_amount_of_nothing_is_too_small(self, provider):
        _, result = self.pay(provider, amount=eur(0))

        assert (result.status, result.error) == ("declined", PaymentError("amount_too_small"))

    def test_slow_answers_late_but_charges_at_once(self, provider):
        began = time.monotonic()

        _, result = self.pay(provider, token="tok_slow")

        assert result.status == "captured"
        assert time.monotonic() - began >= 0.05

    def test_a_timeout_leaves_a_charge_that_can_be_looked_up(self, provider):
        request = self.request(token="tok_timeout")

        with pytest.raises(ProviderTimeout):
            provider.initiate_payment(request)

        found = provider.retrieve_payment(lost_reference(request))
        assert (found.status, found.amount) == ("captured", eur("100.00"))
        assert [charge.key for charge in provider.charges()] == [request.idempotency_key]

    def test_unavailable_writes_nothing_down(self, provider):
        request = self.request(token="tok_unavailable")

        with pytest.raises(ProviderUnavailable):
            provider.initiate_payment(request)

        assert provider.charges() == []
        with pytest.raises(PaymentUnknown):
            provider.retrieve_payment(lost_reference(request))

    def test_ok_then_declined_works_as_a_token_each_time(self, provider):
        results = [self.pay(provider, token="tok_ok_then_declined")[1] for _ in range(2)]

        assert [result.status for result in results] == ["captured", "captured"]

    def test_ok_then_declined_pays_once_after_it_was_stored(self, provider):
        method = self.store(provider, token="tok_ok_then_declined")

        results = [self.pay(provider, token=None, method=method)[1] for _ in range(2)]

        assert [(result.status, result.error) for result in results] == [("captured", None), ("declined", PaymentError("card_declined"))]

    def test_ok_then_declined_stored_while_it_pays_has_paid_its_once(self, provider):
        _, first = self.pay(provider, token="tok_ok_then_declined", save_method=True)
        _, second = self.pay(provider, token=None, method=first.saved_method.reference)

        assert (first.status, second.status) == ("captured", "declined")

    def test_a_repeated_request_does_not_use_a_method_up(self, provider):
        request = self.request(token=None, method=self.store(provider, token="tok_ok_then_declined"))

        assert [provider.initiate_payment(request).status for _ in range(3)] == ["captured"] * 3

    # --- 3-D Secure

    def test_the_bank_sends_the_buyer_straight_back(self, provider):
        _, result = self.pay(provider, token="tok_3ds")

        back = urlsplit(result.action.url)
        assert back.hostname == "shop.example"
        assert parse_qsl(back.query) == [("order", "ord_1"), ("sandbox_3ds", result.provider_ref)]

    def test_failed_authentication_is_declined_for_good(self, provider):
        request, result = self.pay(provider, token="tok_3ds_fails")

        confirmed = provider.confirm_payment(reference(request, result), {})

        assert (confirmed.status, confirmed.error) == ("declined", PaymentError("authentication_failed"))
        assert provider.confirm_payment(reference(request, result), {}) == confirmed
        assert provider.charges() == [Charge(request.idempotency_key, request.payment_id, eur(0), "declined", eur(0))]

    def test_a_stored_3ds_method_is_declined_with_nobody_there(self, provider):
        request = self.request(token="tok_3ds", amount=eur(0))
        waiting = provider.save_method(request)
        stored = provider.confirm_payment(reference(request, waiting), {})

        _, result = self.pay(provider, token=None, method=stored.saved_method.reference, on_session=False)

        assert (waiting.status, waiting.saved_method, stored.status) == ("requires_action", None, "captured")
        assert (result.status, result.error) == ("declined", PaymentError("authentication_failed"))

    def test_a_method_is_not_stored_where_authentication_fails(self, provider):
        request = self.request(token="tok_3ds_fails", amount=eur(0))
        waiting = provider.save_method(request)

        confirmed = provider.confirm_payment(reference(request, waiting), {})

        assert (confirmed.status, confirmed.saved_method) == ("declined", None)

    def test_confirmed_twice_a_method_is_stored_once(self, provider):
        request, waiting = self.pay(provider, token="tok_3ds", save_method=True)

        first, second = (provider.confirm_payment(reference(request, waiting), {}) for _ in range(2))

        assert (waiting.saved_method, first.status) == (None, "captured")
        assert first.saved_method is not None
        assert second == first

    def test_confirming_an_unknown_payment_raises(self, provider):
        with pytest.raises(PaymentUnknown):
            provider.confirm_payment(PaymentReference("pay_1", eur(1), "no such key"), {})

    # --- stored methods

    def test_a_stored_method_shows_brand_last_digits_and_expiry(self, provider):
        saved = provider.save_method(self.request(amount=eur(0))).saved_method

        assert saved == SavedMethod(saved.reference, "visa", "4242", "2099-12")
        assert saved.reference.startswith("sbm_")

    def test_a_method_never_stored_is_declined(self, provider):
        _, result = self.pay(provider, token=None, method="sbm_nobody")

        assert result.error == PaymentError("card_declined", provider_code="unknown_method")

    def test_a_stored_method_that_times_out_has_charged(self, provider):
        storing = self.request(token="tok_timeout", amount=eur(0))
        with pytest.raises(ProviderTimeout):
            provider.save_method(storing)
        method = provider.retrieve_payment(lost_reference(storing)).saved_method.reference

        with pytest.raises(ProviderTimeout):
            self.pay(provider, token=None, method=method)

        assert [charge.status for charge in provider.charges()] == ["captured"]

    # --- the books

    def test_charges_are_what_a_dashboard_would_show(self, provider):
        paid, result = self.pay(provider)
        provider.refund_payment(self.refund(paid, result, eur("30.00")))
        waiting, _ = self.pay(provider, token="tok_3ds")
        declined, _ = self.pay(provider, token="tok_expired_card")
        self.store(provider)

        assert provider.charges() == [
            Charge(paid.idempotency_key, paid.payment_id, eur("100.00"), "captured", eur("30.00")),
            Charge(waiting.idempotency_key, waiting.payment_id, eur(0), "requires_action", eur(0)),
            Charge(declined.idempotency_key, declined.payment_id, eur(0), "declined", eur(0)),
        ]

    def test_one_key_from_16_threads_and_instances_is_charged_once(self, tmp_path):
        """Each thread opens the new file by itself, as a process of its own would."""
        request, start = self.request(), Barrier(16)

        def pay(_):
            provider = sandbox(tmp_path)
            start.wait()
            return provider.initiate_payment(request)

        with ThreadPoolExecutor(16) as threads:
            results = list(threads.map(pay, range(16)))

        assert results == [results[0]] * 16
        charged = Charge(request.idempotency_key, request.payment_id, eur("100.00"), "captured", eur(0))
        assert sandbox(tmp_path).charges() == [charged]

    def test_refunds_racing_for_the_same_money_give_it_back_once(self, provider):
        paid = self.pay(provider)
        refunds = [self.refund(*paid, eur("100.00")) for _ in range(8)]

        with ThreadPoolExecutor(8) as threads:
            statuses = [result.status for result in threads.map(provider.refund_payment, refunds)]

        assert sorted(statuses) == ["failed"] * 7 + ["succeeded"]
        assert [charge.refunded for charge in provider.charges()] == [eur("100.00")]

    def test_a_refund_of_nothing_or_in_another_currency_or_of_an_unknown_payment_fails(self, provider):
        request, result = self.pay(provider)
        refunds = [self.refund(request, result, amount) for amount in (eur(0), eur("-1.00"), usd("1.00"))]
        refunds.append(self.refund(self.request(), result.__class__("captured", eur(1), "sbp_nobody"), eur(1)))

        assert [provider.refund_payment(refund).status for refund in refunds] == ["failed"] * 4
        assert [charge.refunded for charge in provider.charges()] == [eur(0)]

    def test_a_payment_not_captured_yet_can_not_be_refunded(self, provider):
        request, result = self.pay(provider, token="tok_3ds")

        assert provider.refund_payment(self.refund(request, result, eur("1.00"))).status == "failed"

    def test_a_charge_outlives_the_process_that_made_it(self, provider, tmp_path):
        """The shop's process is killed after the charge and before the answer; the next one asks, repeats, and nobody pays twice."""
        request = self.request(token="tok_slow")
        child = multiprocessing.get_context("spawn").Process(target=pay_in_another_process, args=(tmp_path, request, 60))

        child.start()
        while not provider.charges() and child.is_alive():
            time.sleep(0.01)
        child.kill()
        child.join()

        found = provider.retrieve_payment(lost_reference(request))
        assert (found.status, found.amount) == ("captured", eur("100.00"))
        assert provider.initiate_payment(request) == found
        assert [charge.amount for charge in provider.charges()] == [eur("100.00")]

    # --- the plugin

    def test_live_mode_has_no_sandbox_and_the_log_says_so(self, tmp_path, caplog):
        with caplog.at_level(logging.INFO):
            providers = sandbox_plugin(tmp_path, mode="live").register_payment_providers()

        assert providers == []
        assert caplog.messages == ["live mode: the sandbox payment provider is left out"]
        assert list(tmp_path.iterdir()) == []

    def test_unless_set_slow_is_three_seconds_and_the_gateway_is_here(self):
        settings = SandboxSettings().load({})

        assert (settings["slow_seconds"], settings["gateway_url"]) == (3.0, None)
        with pytest.raises(ValidationError):
            SandboxSettings().load({"slow_seconds": -1})

    def test_books_of_an_older_release_go_on(self, tmp_path):
        names = "key, ref, payment_id, setup, token, saves, amount, currency, return_url, status"
        row = "'k', 'sbp_1', 'pay_1', 0, 'tok_ok', 0, 10000, 'EUR', 'https://shop.example', 'captured'"
        provider = sandbox(tmp_path)
        path = tmp_path / "sandbox" / "gateway.db"
        with closing(sqlite3.connect(path)) as books:
            books.executescript(f"{SCHEMA}; INSERT INTO payment ({names}) VALUES ({row})")

        found = provider.retrieve_payment(PaymentReference("pay_1", eur("100.00"), "k"))

        assert found == PaymentResult("captured", eur("100.00"), "sbp_1", live=False)
        assert provider.charges() == [Charge("k", "pay_1", eur("100.00"), "captured", eur(0))]
