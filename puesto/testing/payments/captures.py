"""Money set aside, and taken later: all of it, in parts, too much; and let go."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from puesto import CaptureRequest, Money, PaymentProvider, PaymentRequest, PaymentResult, PaymentUnknown
from puesto.testing.payments.kit import Kit, lost_reference, reference


class CaptureCases(Kit):
    def test_money_is_set_aside_and_not_taken(self, provider: PaymentProvider) -> None:
        request, result = self.set_aside(provider)

        assert figures(result) == ("authorized", self.amount(), self.amount(0))
        assert provider.initiate_payment(request) == result
        assert provider.retrieve_payment(reference(request, result)) == result
        assert provider.retrieve_payment(lost_reference(request)) == result

    def test_what_the_buyer_confirms_at_the_bank_is_set_aside(self, provider: PaymentProvider) -> None:
        self.need(provider, "redirect")
        request, result = self.set_aside(provider, token=self.action_token)

        confirmed = provider.confirm_payment(reference(request, result), self.buyer_acts(provider, result))

        assert (result.status, figures(confirmed)) == ("requires_action", ("authorized", self.amount(), self.amount(0)))

    def test_all_of_it_is_taken_at_once(self, provider: PaymentProvider) -> None:
        request, result = self.set_aside(provider)

        taken = provider.capture_payment(self.capture(request, result, self.amount(), final=True))

        assert figures(taken) == ("captured", self.amount(), self.amount())
        assert figures(provider.retrieve_payment(reference(request, result))) == figures(taken)

    def test_a_capture_under_the_same_key_takes_once(self, provider: PaymentProvider) -> None:
        asked = self.capture(*self.set_aside(provider), self.amount(), final=True)

        taken = [figures(provider.capture_payment(asked)) for _ in range(2)]

        assert taken == [("captured", self.amount(), self.amount())] * 2
        assert figures(provider.retrieve_payment(asked.payment)) == taken[0]

    def test_a_part_under_the_same_key_from_many_threads_is_taken_once(self, provider: PaymentProvider) -> None:
        self.need(provider, "partial_capture")
        asked = self.capture(*self.set_aside(provider), self.amount(40_00))

        with ThreadPoolExecutor(8) as threads:
            taken = [figures(result) for result in threads.map(provider.capture_payment, [asked] * 8)]

        assert set(taken) == {("partially_captured", self.amount(), self.amount(40_00))}
        assert figures(provider.retrieve_payment(asked.payment)) == taken[0]

    def test_a_capture_whose_answer_was_lost_is_found(self, provider: PaymentProvider) -> None:
        request, result = self.set_aside(provider)

        provider.capture_payment(self.capture(request, result, self.amount(), final=True))

        assert figures(provider.retrieve_payment(lost_reference(request))) == ("captured", self.amount(), self.amount())

    def test_parts_are_taken_until_nothing_is_left(self, provider: PaymentProvider) -> None:
        self.need(provider, "partial_capture")
        paid = self.set_aside(provider)

        taken = [provider.capture_payment(self.capture(*paid, self.amount(part))) for part in (40_00, 40_00, 20_00)]

        assert [figures(result) for result in taken] == [
            ("partially_captured", self.amount(), self.amount(40_00)),
            ("partially_captured", self.amount(), self.amount(80_00)),
            ("captured", self.amount(), self.amount()),
        ]

    def test_a_final_part_lets_go_of_the_rest(self, provider: PaymentProvider) -> None:
        self.need(provider, "partial_capture")
        paid = self.set_aside(provider)

        taken = provider.capture_payment(self.capture(*paid, self.amount(40_00), final=True))
        more = provider.capture_payment(self.capture(*paid, self.amount(1), final=True))

        assert figures(taken) == figures(more) == ("captured", self.amount(), self.amount(40_00))

    def test_more_than_was_set_aside_takes_nothing(self, provider: PaymentProvider) -> None:
        request, result = self.set_aside(provider)

        too_much = provider.capture_payment(self.capture(request, result, self.amount(100_01), final=True))

        assert figures(too_much) == ("authorized", self.amount(), self.amount(0))
        assert provider.retrieve_payment(reference(request, result)) == result

    def test_more_than_is_left_takes_nothing(self, provider: PaymentProvider) -> None:
        self.need(provider, "partial_capture")
        paid = self.set_aside(provider)
        provider.capture_payment(self.capture(*paid, self.amount(60_00)))

        too_much = provider.capture_payment(self.capture(*paid, self.amount(40_01), final=True))

        assert figures(too_much) == ("partially_captured", self.amount(), self.amount(60_00))
        assert figures(provider.capture_payment(self.capture(*paid, self.amount(40_00), final=True)))[2] == self.amount()

    def test_captures_at_once_never_take_more_than_was_set_aside(self, provider: PaymentProvider) -> None:
        self.need(provider, "partial_capture")
        request, result = self.set_aside(provider)
        asked = [self.capture(request, result, self.amount(40_00)) for _ in range(4)]

        with ThreadPoolExecutor(4) as threads:
            list(threads.map(provider.capture_payment, asked))

        assert figures(provider.retrieve_payment(reference(request, result)))[2] == self.amount(80_00)

    def test_money_that_was_set_aside_is_let_go(self, provider: PaymentProvider) -> None:
        request, result = self.set_aside(provider)

        let_go = provider.cancel_payment(reference(request, result))
        too_late = provider.capture_payment(self.capture(request, result, self.amount(), final=True))

        assert figures(let_go) == figures(too_late) == ("canceled", self.amount(0), self.amount(0))
        assert provider.cancel_payment(lost_reference(request)) == let_go
        assert provider.retrieve_payment(reference(request, result)) == let_go

    def test_what_was_taken_can_not_be_let_go(self, provider: PaymentProvider) -> None:
        request, result = self.set_aside(provider)
        provider.capture_payment(self.capture(request, result, self.amount(), final=True))

        assert figures(provider.cancel_payment(reference(request, result))) == ("captured", self.amount(), self.amount())

    def test_of_which_a_part_was_taken_can_not_be_let_go(self, provider: PaymentProvider) -> None:
        self.need(provider, "partial_capture")
        request, result = self.set_aside(provider)
        provider.capture_payment(self.capture(request, result, self.amount(40_00)))

        kept = provider.cancel_payment(reference(request, result))

        assert figures(kept) == ("partially_captured", self.amount(), self.amount(40_00))

    def test_what_was_not_taken_can_not_be_refunded(self, provider: PaymentProvider) -> None:
        self.need(provider, "refund")
        paid = self.set_aside(provider)

        assert provider.refund_payment(self.refund(*paid, self.amount())).status == "failed"

    def test_what_was_taken_can_be_refunded_and_no_more(self, provider: PaymentProvider) -> None:
        self.need(provider, "partial_capture")
        self.need(provider, "refund")
        request, result = self.set_aside(provider)
        taken = provider.capture_payment(self.capture(request, result, self.amount(40_00), final=True))

        refunds = [provider.refund_payment(self.refund(request, taken, amount)) for amount in (self.amount(40_01), self.amount(40_00))]

        assert refunds[0].status == "failed"
        assert (refunds[1].status in ("succeeded", "processing"), refunds[1].amount) == (True, self.amount(40_00))

    def test_capturing_what_the_provider_never_heard_of_says_so(self, provider: PaymentProvider) -> None:
        self.need(provider, "authorize")
        request = self.request(capture_mode="manual")

        with pytest.raises(PaymentUnknown):
            provider.capture_payment(CaptureRequest(lost_reference(request), "cap_1", self.amount(), True, uuid4().hex))

    # --- helpers

    def set_aside(self, provider: PaymentProvider, **changes: Any) -> tuple[PaymentRequest, PaymentResult]:
        self.need(provider, "authorize")
        return self.pay(provider, capture_mode="manual", **changes)

    def capture(self, request: PaymentRequest, result: PaymentResult, amount: Money, *, final: bool = False) -> CaptureRequest:
        key = uuid4().hex
        return CaptureRequest(reference(request, result), f"cap_{key}", amount, final, key)


def figures(result: PaymentResult) -> tuple[str, Money, Money]:
    """Status, what is held of the buyer's money, and what of it was taken."""
    nothing = Money(0, result.amount.currency)
    return result.status, result.amount, result.captured or (result.amount if result.status == "captured" else nothing)
