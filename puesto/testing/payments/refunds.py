"""Money back: all of it, in parts, too much."""

from __future__ import annotations

from dataclasses import replace

from puesto import PaymentProvider
from puesto.testing.payments.kit import Kit, reference


class RefundCases(Kit):
    def test_a_full_refund_gives_everything_back_once(self, provider: PaymentProvider) -> None:
        self.need(provider, "refund")
        refund = self.refund(*self.paid(provider), self.amount())

        result = provider.refund_payment(refund)

        assert result.status in ("succeeded", "processing")
        assert result.amount == self.amount()
        assert provider.refund_payment(refund) == result

    def test_partial_refunds_go_up_to_the_payment_and_no_further(self, provider: PaymentProvider) -> None:
        self.need(provider, "partial_refund")
        paid = self.paid(provider)
        parts = [self.amount(40_00), self.amount(40_00), self.amount(20_00)]

        results = [provider.refund_payment(self.refund(*paid, part)) for part in parts]

        assert [result.amount for result in results] == parts
        assert {result.status for result in results} <= {"succeeded", "processing"}
        assert len({result.provider_ref for result in results}) == 3
        if not provider.capabilities.on_terms:  # no money moves there, and the engine keeps the sums
            assert provider.refund_payment(self.refund(*paid, self.amount(1))).status == "failed"

    def test_a_refund_beyond_the_payment_fails_and_takes_nothing(self, provider: PaymentProvider) -> None:
        self.need(provider, "refund")
        paid = self.paid(provider)

        too_much = provider.refund_payment(self.refund(*paid, self.amount(100_01)))

        assert (too_much.status, too_much.amount.amount) == ("failed", 0)
        assert provider.refund_payment(self.refund(*paid, self.amount())).status in ("succeeded", "processing")

    def test_a_refund_leaves_the_payment_as_it_was(self, provider: PaymentProvider) -> None:
        self.need(provider, "refund")
        request, result = self.paid(provider)
        refund = self.refund(request, result, self.amount())

        provider.refund_payment(refund)

        found = provider.retrieve_payment(reference(request, result))
        assert replace(found, refunds=(), action=None) == replace(result, action=None)  # on terms there may be less to pay now
        assert [(each.refund_id, each.amount) for each in found.refunds] in ([], [(refund.refund_id, refund.amount)])
