"""The conformance kit of payment providers: inherit `PaymentProviderContract`, give it a provider, and run pytest.

    class TestMyGateway(PaymentProviderContract):
        good_token = "tok_visa"
        declined_tokens = {"tok_empty": "insufficient_funds"}

        @pytest.fixture
        def provider(self):
            return MyGateway(test_account)

Cases for what the provider does not claim in its capabilities are skipped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import uuid4

import pytest

from puesto import (
    Customer,
    Money,
    PayableCart,
    PaymentProvider,
    PaymentReference,
    PaymentRequest,
    PaymentResult,
    PaymentUnknown,
    ProviderTimeout,
    ProviderUnavailable,
    RefundRequest,
    SignatureInvalid,
)

RETURN_URL = "https://shop.example/return?order=ord_1"


class PaymentProviderContract:
    """What every provider keeps. Needs a fixture `provider`, fresh or shared: each case uses keys of its own.

    good_token:      pays at once; None where the provider takes no token.
    declined_tokens: token -> the code it is declined with.
    action_token:    asks for a redirect, then pays. Needed where `redirect` is claimed.
    refused_action_token: asks for a redirect, then is declined with authentication_failed.
    lost_token:      pays, and then no answer comes: ProviderTimeout.
    unavailable_token: the provider can't be reached: ProviderUnavailable.
    currency:        of the amounts that most cases use.
    secrets:         what no repr may show: the provider's keys. Tokens and stored methods are looked for in any case.
    """

    good_token: ClassVar[str | None] = None
    declined_tokens: ClassVar[Mapping[str, str]] = {}
    action_token: ClassVar[str | None] = None
    refused_action_token: ClassVar[str | None] = None
    lost_token: ClassVar[str | None] = None
    unavailable_token: ClassVar[str | None] = None
    currency: ClassVar[str] = "EUR"
    secrets: ClassVar[Iterable[str]] = ()

    def buyer_acts(self, provider: PaymentProvider, result: PaymentResult) -> Mapping[str, Any]:
        """Do what the buyer does at `result.action.url`, and answer the query parameters they bring back. Override where needed."""
        return {}

    def webhook(self, provider: PaymentProvider, request: PaymentRequest, result: PaymentResult) -> tuple[Mapping[str, str], bytes]:
        """Headers and body that the provider sends of a payment, signed just now. Override where `webhooks` is claimed."""
        raise NotImplementedError("webhooks is claimed: override `webhook`")

    def test_capabilities_fit_together(self, provider: PaymentProvider) -> None:
        can = provider.capabilities

        assert can.refund or not can.partial_refund
        assert can.save_method or not can.off_session
        assert self.action_token is not None or not can.redirect

    # --- paying

    def test_a_payment_is_settled_in_full(self, provider: PaymentProvider) -> None:
        request, result = self.pay(provider)

        assert (result.status, result.amount, result.error, result.action) == (settled(provider), request.amount, None, None)
        assert result.provider_ref

    def test_the_same_key_twice_charges_once(self, provider: PaymentProvider) -> None:
        request, first = self.pay(provider)

        assert provider.initiate_payment(request) == first

    def test_the_same_key_from_many_threads_charges_once(self, provider: PaymentProvider) -> None:
        request = self.request()

        with ThreadPoolExecutor(8) as threads:
            refs = {result.provider_ref for result in threads.map(provider.initiate_payment, [request] * 8)}

        assert len(refs) == 1

    def test_another_key_is_another_payment(self, provider: PaymentProvider) -> None:
        (_, first), (_, second) = self.pay(provider), self.pay(provider)

        assert first.provider_ref != second.provider_ref

    def test_each_declining_token_is_declined_with_its_code(self, provider: PaymentProvider) -> None:
        self.need_declined_tokens()

        results = {token: self.pay(provider, token=token)[1] for token in self.declined_tokens}

        assert {token: result.error and result.error.code for token, result in results.items()} == dict(self.declined_tokens)
        assert {(result.status, result.amount.amount) for result in results.values()} == {("declined", 0)}

    def test_a_decline_is_remembered(self, provider: PaymentProvider) -> None:
        self.need_declined_tokens()

        request, result = self.pay(provider, token=next(iter(self.declined_tokens)))

        assert provider.initiate_payment(request) == result
        assert provider.retrieve_payment(reference(request, result)) == result

    @pytest.mark.parametrize("currency", ["JPY", "EUR", "KWD"])  # no, two and three decimals
    def test_minor_units_are_left_as_they_are(self, provider: PaymentProvider, currency: str) -> None:
        amount = Money(12_345, currency)
        if provider.refusal(PayableCart(amount, "ES", corporate=True, staff=True)) is not None:
            assert provider.capabilities.currencies is not None and currency not in provider.capabilities.currencies
            return

        assert self.pay(provider, amount=amount)[1].amount == amount

    # --- looking up

    def test_looking_up_by_reference_answers_the_result(self, provider: PaymentProvider) -> None:
        request, result = self.pay(provider)

        assert provider.retrieve_payment(reference(request, result)) == result

    def test_an_unknown_key_is_unknown(self, provider: PaymentProvider) -> None:
        request = self.request()

        with pytest.raises(PaymentUnknown):
            provider.retrieve_payment(lost_reference(request))

    # --- after a lost answer: the engine has nothing but the key

    def test_lost_answers_are_found_by_the_key(self, provider: PaymentProvider) -> None:
        self.need_books(provider)

        asked = [self.pay(provider, token=token) for token in (self.good_token, *self.declined_tokens)]

        assert [provider.retrieve_payment(lost_reference(request)) for request, _ in asked] == [result for _, result in asked]

    def test_a_lost_redirect_is_found_and_confirmed_by_the_key(self, provider: PaymentProvider) -> None:
        self.need(provider, "redirect")
        request, result = self.pay(provider, token=self.action_token)

        found = provider.retrieve_payment(lost_reference(request))
        confirmed = provider.confirm_payment(lost_reference(request), self.buyer_acts(provider, found))

        assert found == result
        assert (confirmed.status, confirmed.amount, confirmed.provider_ref) == (settled(provider), request.amount, result.provider_ref)

    def test_a_method_whose_answer_was_lost_is_found_by_the_key(self, provider: PaymentProvider) -> None:
        self.need(provider, "save_method")
        request = self.request(amount=self.amount(0))

        stored = provider.save_method(request)

        assert provider.retrieve_payment(lost_reference(request)) == stored

    def test_a_payment_whose_answer_was_lost_can_be_refunded(self, provider: PaymentProvider) -> None:
        self.need(provider, "refund")
        self.need_books(provider)
        refund = self.refund(*self.pay(provider), self.amount())

        result = provider.refund_payment(replace(refund, payment=replace(refund.payment, provider_ref=None, data={})))

        assert (result.status in ("succeeded", "processing"), result.amount) == (True, self.amount())
        assert provider.refund_payment(refund) == result

    def test_an_answer_that_never_comes_may_have_charged(self, provider: PaymentProvider) -> None:
        self.need_token("lost_token")
        request = self.request(token=self.lost_token)

        with pytest.raises(ProviderTimeout):
            provider.initiate_payment(request)

        found = provider.retrieve_payment(lost_reference(request))
        assert (found.status, found.amount) == (settled(provider), request.amount)

    def test_an_unavailable_provider_has_charged_nothing(self, provider: PaymentProvider) -> None:
        self.need_token("unavailable_token")
        request = self.request(token=self.unavailable_token)

        with pytest.raises(ProviderUnavailable):
            provider.initiate_payment(request)

        with pytest.raises(PaymentUnknown):
            provider.retrieve_payment(lost_reference(request))

    # --- the further step

    def test_a_redirect_waits_until_it_is_confirmed(self, provider: PaymentProvider) -> None:
        self.need(provider, "redirect")

        request, result = self.pay(provider, token=self.action_token)

        assert (result.status, result.amount.amount) == ("requires_action", 0)
        assert result.action is not None and (result.action.type, str(result.action.url)[:4]) == ("redirect", "http")
        assert provider.initiate_payment(request) == result
        assert provider.retrieve_payment(reference(request, result)) == result

    def test_a_redirect_confirmed_twice_charges_once(self, provider: PaymentProvider) -> None:
        self.need(provider, "redirect")
        request, result = self.pay(provider, token=self.action_token)
        came_back = self.buyer_acts(provider, result)

        confirmed = provider.confirm_payment(reference(request, result), came_back)

        assert confirmed == replace(result, status=settled(provider), amount=request.amount, action=None, data=confirmed.data)
        assert provider.confirm_payment(reference(request, confirmed), came_back) == confirmed
        assert provider.initiate_payment(request) == confirmed
        assert provider.retrieve_payment(reference(request, confirmed)) == confirmed

    def test_a_redirect_that_the_bank_refuses_is_declined_for_good(self, provider: PaymentProvider) -> None:
        self.need(provider, "redirect")
        self.need_token("refused_action_token")
        request, result = self.pay(provider, token=self.refused_action_token)
        came_back = self.buyer_acts(provider, result)

        declined = provider.confirm_payment(reference(request, result), came_back)

        assert (result.status, declined.status, declined.amount.amount) == ("requires_action", "declined", 0)
        assert declined.error is not None and declined.error.code == "authentication_failed"
        assert provider.confirm_payment(reference(request, result), came_back) == declined
        assert provider.retrieve_payment(reference(request, result)) == declined

    def test_confirming_what_is_settled_already_changes_nothing(self, provider: PaymentProvider) -> None:
        request, result = self.pay(provider)

        assert provider.confirm_payment(reference(request, result), {}) == result
        assert provider.retrieve_payment(reference(request, result)) == result

    def test_a_canceled_payment_can_not_be_paid_any_more(self, provider: PaymentProvider) -> None:
        self.need(provider, "cancel")
        self.need(provider, "redirect")
        request, result = self.pay(provider, token=self.action_token)

        canceled = provider.cancel_payment(reference(request, result))
        came_back = self.buyer_acts(provider, result)

        assert (canceled.status, canceled.amount.amount, canceled.action) == ("canceled", 0, None)
        assert provider.confirm_payment(reference(request, result), came_back) == canceled
        assert provider.cancel_payment(lost_reference(request)) == canceled
        assert provider.retrieve_payment(reference(request, result)) == canceled

    def test_what_is_paid_can_not_be_canceled(self, provider: PaymentProvider) -> None:
        self.need(provider, "cancel")
        request, result = self.pay(provider)

        assert provider.cancel_payment(reference(request, result)) == result

    def test_canceling_what_the_provider_never_heard_of_says_so(self, provider: PaymentProvider) -> None:
        self.need(provider, "cancel")

        with pytest.raises(PaymentUnknown):
            provider.cancel_payment(lost_reference(self.request()))

    # --- refunds

    def test_a_full_refund_gives_everything_back_once(self, provider: PaymentProvider) -> None:
        self.need(provider, "refund")
        refund = self.refund(*self.pay(provider), self.amount())

        result = provider.refund_payment(refund)

        assert result.status in ("succeeded", "processing")
        assert result.amount == self.amount()
        assert provider.refund_payment(refund) == result

    def test_partial_refunds_go_up_to_the_payment_and_no_further(self, provider: PaymentProvider) -> None:
        self.need(provider, "partial_refund")
        paid = self.pay(provider)
        parts = [self.amount(40_00), self.amount(40_00), self.amount(20_00)]

        results = [provider.refund_payment(self.refund(*paid, part)) for part in parts]

        assert [result.amount for result in results] == parts
        assert {result.status for result in results} <= {"succeeded", "processing"}
        assert len({result.provider_ref for result in results}) == 3
        if not provider.capabilities.on_terms:  # no money moves there, and the engine keeps the sums
            assert provider.refund_payment(self.refund(*paid, self.amount(1))).status == "failed"

    def test_a_refund_beyond_the_payment_fails_and_takes_nothing(self, provider: PaymentProvider) -> None:
        self.need(provider, "refund")
        paid = self.pay(provider)

        too_much = provider.refund_payment(self.refund(*paid, self.amount(100_01)))

        assert (too_much.status, too_much.amount.amount) == ("failed", 0)
        assert provider.refund_payment(self.refund(*paid, self.amount())).status in ("succeeded", "processing")

    def test_the_same_refund_from_many_threads_gives_back_once(self, provider: PaymentProvider) -> None:
        self.need(provider, "refund")
        refund = self.refund(*self.pay(provider), self.amount())

        with ThreadPoolExecutor(8) as threads:
            refs = {result.provider_ref for result in threads.map(provider.refund_payment, [refund] * 8)}

        assert len(refs) == 1

    def test_a_refund_leaves_the_payment_as_it_was(self, provider: PaymentProvider) -> None:
        self.need(provider, "refund")
        request, result = self.pay(provider)

        provider.refund_payment(self.refund(request, result, self.amount()))

        assert provider.retrieve_payment(reference(request, result)) == result

    # --- stored methods

    def test_a_method_is_stored_without_a_charge_and_then_pays(self, provider: PaymentProvider) -> None:
        self.need(provider, "save_method")

        stored = provider.save_method(self.request(amount=self.amount(0)))
        assert (stored.status, stored.amount.amount) == ("captured", 0)
        assert stored.saved_method is not None
        request, result = self.pay(provider, token=None, method=stored.saved_method.reference)

        assert (result.status, result.amount) == (settled(provider), request.amount)

    def test_storing_under_the_same_key_stores_once(self, provider: PaymentProvider) -> None:
        self.need(provider, "save_method")
        request = self.request(amount=self.amount(0))

        assert provider.save_method(request) == provider.save_method(request)

    def test_a_token_is_stored_while_it_pays(self, provider: PaymentProvider) -> None:
        self.need(provider, "save_method")

        _, first = self.pay(provider, save_method=True)
        assert first.saved_method is not None
        _, second = self.pay(provider, token=None, method=first.saved_method.reference)

        assert (first.status, second.status) == (settled(provider), settled(provider))

    def test_a_stored_method_pays_with_nobody_there(self, provider: PaymentProvider) -> None:
        self.need(provider, "off_session")

        _, result = self.pay(provider, token=None, method=self.store(provider), on_session=False)

        assert (result.status, result.amount) == (settled(provider), self.amount())

    def test_a_deleted_method_is_declined(self, provider: PaymentProvider) -> None:
        self.need(provider, "save_method")
        method = self.store(provider)

        provider.delete_method(method)
        provider.delete_method(method)
        _, result = self.pay(provider, token=None, method=method)

        assert (result.status, result.amount.amount) == ("declined", 0)

    def test_a_declining_token_is_not_stored(self, provider: PaymentProvider) -> None:
        self.need(provider, "save_method")
        self.need_declined_tokens()

        results = [provider.save_method(self.request(token=token, amount=self.amount(0))) for token in self.declined_tokens]

        assert [(r.status, r.saved_method) for r in results] == [("declined", None)] * len(self.declined_tokens)

    # --- what it tells of its own accord

    def test_a_webhook_tells_of_the_payment_each_time_alike(self, provider: PaymentProvider) -> None:
        self.need(provider, "webhooks")
        request, result = self.pay(provider)
        headers, body = self.webhook(provider, request, result)

        [event] = provider.parse_webhook(headers, body, datetime.now(UTC))

        assert event.payment_id == request.payment_id or (event.payment_id, event.provider_ref) == (None, result.provider_ref)
        assert event.event_id
        assert event.occurred_at.tzinfo is not None
        assert event.amount in (None, request.amount)
        assert provider.parse_webhook(headers, body, datetime.now(UTC)) == [event]

    def test_names_of_headers_come_in_any_case(self, provider: PaymentProvider) -> None:
        self.need(provider, "webhooks")
        headers, body = self.webhook(provider, *self.pay(provider))

        spellings = [{spell(name): value for name, value in headers.items()} for spell in (str.lower, str.upper, str.title)]

        assert [len(provider.parse_webhook(spelling, body, datetime.now(UTC))) for spelling in spellings] == [1, 1, 1]

    def test_no_byte_of_a_webhook_can_be_altered(self, provider: PaymentProvider) -> None:
        self.need(provider, "webhooks")
        headers, body = self.webhook(provider, *self.pay(provider))

        for altered in [body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :] for at in range(len(body))] + [b"", body + b" "]:
            with pytest.raises(SignatureInvalid):
                provider.parse_webhook(headers, altered, datetime.now(UTC))

    def test_a_webhook_without_signature_is_refused(self, provider: PaymentProvider) -> None:
        self.need(provider, "webhooks")
        _, body = self.webhook(provider, *self.pay(provider))

        with pytest.raises(SignatureInvalid):
            provider.parse_webhook({}, body, datetime.now(UTC))

    def test_a_webhook_of_yesterday_is_refused(self, provider: PaymentProvider) -> None:
        self.need(provider, "webhooks")
        headers, body = self.webhook(provider, *self.pay(provider))

        with pytest.raises(SignatureInvalid):
            provider.parse_webhook(headers, body, datetime.now(UTC) + timedelta(days=1))

    # --- what may be written down and shown

    def test_results_are_json_safe(self, provider: PaymentProvider) -> None:
        _, result = self.pay(provider, save_method=provider.capabilities.save_method)

        data = dict(result.data)

        assert json.loads(json.dumps(data)) == data
        assert json.dumps(asdict(replace(result, data=data, due_on=None)))

    def test_no_secret_shows_in_a_repr(self, provider: PaymentProvider) -> None:
        request, result = self.pay(provider, save_method=provider.capabilities.save_method)
        method = result.saved_method.reference if result.saved_method else None
        shown = repr([provider, provider.capabilities, request, replace(request, token=None, method=method), result])

        assert [secret for secret in (*self.secrets, self.good_token, method) if secret and secret in shown] == []

    # --- helpers, also for a provider's own cases

    def amount(self, minor_units: int = 100_00) -> Money:
        return Money(minor_units, self.currency)

    def request(self, **changes: Any) -> PaymentRequest:
        """A request for 10000 minor units with `good_token`, a key of its own, and whatever is to differ."""
        key = uuid4().hex
        request = PaymentRequest(
            payment_id=f"pay_{key}",
            amount=self.amount(),
            customer=Customer("acc_1", "Example GmbH", "billing@example.com", "DE", purchase_order="PO-7"),
            idempotency_key=key,
            return_url=RETURN_URL,
            locale="en",
            token=self.good_token,
        )
        return replace(request, **changes)

    def pay(self, provider: PaymentProvider, **changes: Any) -> tuple[PaymentRequest, PaymentResult]:
        request = self.request(**changes)
        return request, provider.initiate_payment(request)

    def store(self, provider: PaymentProvider, **changes: Any) -> str:
        """Store a method and answer its reference."""
        stored = provider.save_method(self.request(amount=self.amount(0), **changes)).saved_method
        assert stored is not None
        return stored.reference

    def refund(self, request: PaymentRequest, result: PaymentResult, amount: Money) -> RefundRequest:
        key = uuid4().hex
        return RefundRequest(reference(request, result), f"ref_{key}", amount, "requested by the buyer", key)

    def need(self, provider: PaymentProvider, capability: str) -> None:
        if not getattr(provider.capabilities, capability):
            pytest.skip(f"{provider.name} does not claim {capability}")

    def need_books(self, provider: PaymentProvider) -> None:
        if provider.capabilities.on_terms:  # a lost answer may as well be given anew
            pytest.skip(f"{provider.name} moves no money and keeps no books")

    def need_token(self, name: str) -> None:
        if getattr(self, name) is None:
            pytest.skip(f"no {name} is named")

    def need_declined_tokens(self) -> None:
        if not self.declined_tokens:
            pytest.skip("no declining tokens are named")


def reference(request: PaymentRequest, result: PaymentResult) -> PaymentReference:
    """The payment as the engine hands it back once it has an answer."""
    return PaymentReference(request.payment_id, request.amount, request.idempotency_key, result.provider_ref, result.data)


def lost_reference(request: PaymentRequest) -> PaymentReference:
    """The payment as the engine asks for it when the answer never arrived."""
    return PaymentReference(request.payment_id, request.amount, request.idempotency_key)


def settled(provider: PaymentProvider) -> Any:
    """The status of a payment that went well: `authorized` on terms, else `captured`."""
    return "authorized" if provider.capabilities.on_terms else "captured"
