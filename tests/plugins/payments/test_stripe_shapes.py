"""What becomes of Stripe's own objects: small shapes as its API reference shows them, for what localstripe does not do."""

import pytest

from plugins.payments.stripe_results import dispute_of, payment_error, payment_result, provider_refund, refund_result, setup_result
from puesto import Action, Dispute, PaymentError, ProviderRefund, RefundResult, SavedMethod, eur, money

CARD = {"id": "pm_1", "type": "card", "card": {"brand": "visa", "last4": "4242", "exp_month": 8, "exp_year": 2030}}
INTENT = {
    "id": "pi_1",
    "object": "payment_intent",
    "amount": 2000,
    "amount_capturable": 0,
    "amount_received": 2000,
    "client_secret": "pi_1_secret_2",
    "currency": "eur",
    "customer": "cus_1",
    "last_payment_error": None,
    "livemode": False,
    "latest_charge": None,
    "metadata": {"payment_id": "pay_1"},
    "next_action": None,
    "payment_method": CARD,
    "setup_future_usage": None,
    "status": "succeeded",
}
REFUND = {
    "id": "re_1",
    "object": "refund",
    "amount": 500,
    "created": 1_692_942_318,
    "currency": "eur",
    "metadata": {},
    "payment_intent": "pi_1",
    "status": "succeeded",
}
DISPUTE = {"id": "du_1", "object": "dispute", "amount": 2000, "currency": "eur", "reason": "fraudulent", "status": "needs_response"}


def intent(**changes):
    return payment_result({**INTENT, **changes}, publishable_key="pk_1")


def test_a_succeeded_intent_is_captured():
    result = intent()

    assert (result.status, result.amount, result.provider_ref) == ("captured", eur("20.00"), "pi_1")
    assert (result.captured, result.action, result.error, result.saved_method, result.refunds) == (None, None, None, None, ())


def test_money_set_aside_is_authorized_then_taken_in_parts_and_let_go():
    aside = intent(status="requires_capture", amount_received=0, amount_capturable=2000)
    part = intent(status="requires_capture", amount_received=500, amount_capturable=1500)
    rest = intent(status="succeeded", amount_received=500)

    assert [(it.status, it.amount, it.captured) for it in (aside, part, rest)] == [
        ("authorized", eur("20.00"), None),
        ("partially_captured", eur("20.00"), eur("5.00")),
        ("captured", eur("20.00"), eur("5.00")),
    ]


def test_real_money_is_told_from_that_of_tests():
    assert [intent(livemode=live).live for live in (True, False)] == [True, False]


@pytest.mark.parametrize("status", ["processing", "canceled"])
def test_what_is_not_charged_has_no_amount(status):
    result = intent(status=status, amount_received=0)

    assert (result.status, result.amount, result.action, result.error) == (status, eur(0), None, None)


def test_a_bank_page_is_a_redirect():
    step = {"type": "redirect_to_url", "redirect_to_url": {"url": "https://hooks.stripe.com/3ds", "return_url": "https://shop.example"}}

    result = intent(status="requires_action", next_action=step, amount_received=0)

    assert (result.status, result.amount, result.action) == ("requires_action", eur(0), Action("redirect", "https://hooks.stripe.com/3ds"))


def test_a_step_for_stripe_js_is_handed_to_the_browser():
    result = intent(status="requires_action", next_action={"type": "use_stripe_sdk", "use_stripe_sdk": {}}, amount_received=0)

    assert result.action == Action("client_sdk", data={"client_secret": "pi_1_secret_2", "publishable_key": "pk_1"})


def test_a_failed_attempt_is_declined_for_good():
    error = {"type": "card_error", "code": "card_declined", "decline_code": "insufficient_funds", "message": "..."}

    result = intent(status="requires_payment_method", last_payment_error=error, payment_method=None, amount_received=0)

    assert (result.status, result.amount) == ("declined", eur(0))
    assert result.error == PaymentError("insufficient_funds", retryable=True, provider_code="insufficient_funds")


@pytest.mark.parametrize(
    ("code", "decline_code", "ours"),
    [
        ("card_declined", "generic_decline", PaymentError("card_declined", False, "generic_decline")),
        ("card_declined", "do_not_honor", PaymentError("card_declined", False, "do_not_honor")),
        ("card_declined", "a_code_of_next_year", PaymentError("card_declined", False, "a_code_of_next_year")),
        ("expired_card", None, PaymentError("expired_card", False, "expired_card")),
        ("authentication_required", "authentication_required", PaymentError("authentication_failed", False, "authentication_required")),
        ("setup_intent_authentication_failure", None, PaymentError("authentication_failed", False, "setup_intent_authentication_failure")),
        ("card_declined", "fraudulent", PaymentError("fraud_suspected", False, "fraudulent")),
        ("card_declined", "currency_not_supported", PaymentError("currency_unsupported", False, "currency_not_supported")),
        ("amount_too_small", None, PaymentError("amount_too_small", False, "amount_too_small")),
        ("processing_error", "try_again_later", PaymentError("provider_error", True, "try_again_later")),
        (None, None, PaymentError("card_declined")),
    ],
)
def test_codes_of_declines_become_ours(code, decline_code, ours):
    assert payment_error(code, decline_code) == ours


def test_a_debit_waits_with_its_mandate_and_may_fail_after_days():
    """As in a webhook of Stripe's of 2023, where a debit failed: the code is empty, and the charge an id."""
    charge = {"id": "py_1", "payment_method_details": {"type": "sepa_debit", "sepa_debit": {"last4": "3202", "mandate": "mandate_1"}}}
    error = {"type": "card_error", "code": "", "decline_code": "generic_decline", "message": "..."}

    waits = intent(status="processing", latest_charge=charge, amount_received=0)
    failed = intent(
        status="requires_payment_method", last_payment_error=error, latest_charge="py_1", payment_method=None, amount_received=0
    )

    assert (waits.status, waits.amount, waits.data) == ("processing", eur(0), {"mandate": "mandate_1"})
    assert (failed.status, failed.amount, failed.error) == ("declined", eur(0), PaymentError("card_declined", False, "generic_decline"))


def test_a_method_kept_for_later_is_charged_as_customer_and_method():
    result = intent(setup_future_usage="off_session")

    assert result.saved_method == SavedMethod("cus_1/pm_1", "visa", "4242", "2030-08")


def test_a_setup_stores_a_method_or_says_why_not():
    stored = setup_result({**INTENT, "id": "seti_1", "status": "succeeded"}, "EUR")
    error = {"code": "setup_intent_authentication_failure"}
    refused = setup_result({**INTENT, "id": "seti_1", "status": "requires_payment_method", "last_setup_error": error}, "EUR")

    assert (stored.status, stored.amount, stored.saved_method) == ("captured", eur(0), SavedMethod("cus_1/pm_1", "visa", "4242", "2030-08"))
    assert (refused.status, refused.saved_method) == ("declined", None)
    assert refused.error == PaymentError("authentication_failed", False, "setup_intent_authentication_failure")


def test_yen_have_no_minor_unit_and_dinars_a_thousand():
    results = [intent(amount=units, amount_received=units, currency=code) for units, code in [(2000, "jpy"), (12_340, "kwd")]]

    assert [result.amount for result in results] == [money(2000, "JPY"), money("12.340", "KWD")]


def test_refunds_ours_and_others_come_with_the_payment_the_oldest_first():
    ours = {**REFUND, "id": "re_2", "created": REFUND["created"] + 1, "metadata": {"refund_id": "ref_1"}, "status": "pending"}

    result = intent(latest_charge={"id": "ch_1", "refunds": {"data": [ours, REFUND], "has_more": False}})

    assert result.refunds == (
        ProviderRefund("re_1", eur("5.00"), "succeeded"),
        ProviderRefund("re_2", eur("5.00"), "processing", "ref_1"),
    )


@pytest.mark.parametrize(
    ("status", "ours", "amount"),
    [
        ("succeeded", "succeeded", eur("5.00")),
        ("pending", "processing", eur("5.00")),
        ("requires_action", "processing", eur("5.00")),
        ("failed", "failed", eur(0)),
        ("canceled", "failed", eur(0)),
    ],
)
def test_a_refund_that_failed_has_given_nothing_back(status, ours, amount):
    assert refund_result({**REFUND, "status": status}) == RefundResult(ours, amount, "re_1")
    assert provider_refund({**REFUND, "status": status}).status == ours


@pytest.mark.parametrize(
    ("status", "ours"),
    [
        ("warning_needs_response", "opened"),
        ("warning_under_review", "opened"),
        ("warning_closed", "won"),
        ("needs_response", "opened"),
        ("under_review", "opened"),
        ("won", "won"),
        ("lost", "lost"),
    ],
)
def test_a_dispute_is_open_until_it_is_decided(status, ours):
    assert dispute_of({**DISPUTE, "status": status}) == Dispute("du_1", eur("20.00"), ours, "fraudulent")
