"""Invoice terms: who gets credit, for how long, and that nothing is kept here that could be lost."""

from datetime import UTC, date, datetime

import pytest
from marshmallow import ValidationError

from core.engine.clock import TestClock
from core.engine.plugins import AskHooks, Plugins
from plugins.payments.invoice_terms import InvoiceTermsPlugin, InvoiceTermsSettings
from puesto import Customer, Money, PayableCart, PaymentError, PaymentReference, PaymentResult, PaymentUnknown, PluginContext, eur, usd
from puesto.testing.payments import PaymentProviderContract, lost_reference, reference
from tests.plugins.contexts import NO_ROWS


def invoice_terms(data_root, clock=None, **settings):
    clock = clock or TestClock(frozen=True, start=datetime(2026, 3, 1, 12, tzinfo=UTC))
    loaded = InvoiceTermsSettings().load(settings)
    context = PluginContext("invoice_terms", loaded, "sandbox", "http://127.0.0.1:8000", AskHooks(Plugins()), NO_ROWS, clock, data_root)
    [provider] = InvoiceTermsPlugin(context).register_payment_providers()
    return provider


class TestInvoiceTerms(PaymentProviderContract):
    @pytest.fixture
    def provider(self, tmp_path):
        return invoice_terms(tmp_path)

    @pytest.mark.parametrize(
        ("corporate", "staff", "reason"),
        [
            (True, True, None),
            (True, False, "staff_only"),
            (False, True, "corporate_accounts_only"),
            (False, False, "corporate_accounts_only"),
        ],
    )
    def test_only_staff_orders_of_corporate_accounts_are_taken(self, provider, corporate, staff, reason):
        assert provider.refusal(PayableCart(eur("100.00"), "DE", corporate=corporate, staff=staff)) == reason

    @pytest.mark.parametrize(("settings", "due_on"), [({}, date(2026, 3, 31)), ({"net_days": 14}, date(2026, 3, 15))])
    def test_the_invoice_is_due_after_net_days(self, tmp_path, settings, due_on):
        _, result = self.pay(invoice_terms(tmp_path, **settings))

        assert (result.status, result.amount, result.due_on) == ("authorized", eur("100.00"), due_on)

    def test_only_14_and_30_days_are_offered(self):
        with pytest.raises(ValidationError, match="Must be one of: 14, 30"):
            InvoiceTermsSettings().load({"net_days": 60})

    @pytest.mark.parametrize("purchase_order", [None, ""])
    def test_without_a_purchase_order_number_there_is_no_credit(self, provider, purchase_order):
        customer = Customer("acc_1", "Example GmbH", "billing@example.com", "DE", purchase_order)

        _, result = self.pay(provider, customer=customer)

        assert result == PaymentResult("failed", eur(0), error=PaymentError("provider_error", provider_code="purchase_order_missing"))

    def test_the_due_day_stays_when_it_is_looked_up_later(self, tmp_path):
        clock = TestClock(frozen=True, start=datetime(2026, 3, 1, 12, tzinfo=UTC))
        provider = invoice_terms(tmp_path, clock)
        request, result = self.pay(provider)

        clock.move_to(datetime(2026, 3, 20, tzinfo=UTC))

        assert provider.retrieve_payment(reference(request, result)).due_on == date(2026, 3, 31)

    def test_a_lost_answer_has_charged_nothing_and_is_given_again_under_the_same_reference(self, provider):
        request, lost = self.pay(provider)

        with pytest.raises(PaymentUnknown):
            provider.retrieve_payment(lost_reference(request))

        assert provider.initiate_payment(request).provider_ref == lost.provider_ref

    def test_the_reference_of_another_payment_is_unknown(self, provider):
        (request, _), (_, other) = self.pay(provider), self.pay(provider)

        with pytest.raises(PaymentUnknown):
            provider.retrieve_payment(reference(request, other))

    @pytest.mark.parametrize("amount", [eur(0), eur("-1.00"), eur("100.01"), usd("1.00")], ids=str)
    def test_a_credit_must_fit_the_payment(self, provider, amount):
        result = provider.refund_payment(self.refund(*self.pay(provider), amount))

        assert (result.status, result.amount) == ("failed", Money(0, amount.currency))

    def test_terms_never_granted_can_not_be_credited(self, provider):
        refund = self.refund(self.request(), PaymentResult("failed", eur(0)), eur("1.00"))

        assert refund.payment == PaymentReference(refund.payment.payment_id, eur("100.00"), refund.payment.idempotency_key, account="acc_1")
        assert provider.refund_payment(refund).status == "failed"
