"""Stripe's webhooks and events: who may tell, and what of. Small shapes as its API reference shows them."""

from datetime import UTC, datetime, timedelta

import pytest
import stripe

from plugins.payments.stripe_events import read, verify
from puesto import ProviderEvent, Secret, SignatureInvalid, eur
from tests.plugins.payments import localstripe

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
INTENT = {
    "id": "pi_1",
    "object": "payment_intent",
    "amount": 2000,
    "amount_received": 2000,
    "currency": "eur",
    "metadata": {"payment_id": "pay_1", "provider": "stripe"},
    "payment_method_types": ["card"],
}
REFUND = {
    "id": "re_1",
    "object": "refund",
    "amount": 500,
    "currency": "eur",
    "payment_intent": "pi_1",
    "metadata": {"payment_id": "pay_1", "refund_id": "ref_1", "provider": "stripe"},
}
DISPUTE = {
    "id": "du_1",
    "object": "dispute",
    "amount": 2000,
    "currency": "eur",
    "payment_intent": "pi_1",
    "metadata": {},
    "payment_method_details": {"type": "card", "card": {"brand": "visa"}},
}
CHARGE = {"id": "ch_1", "object": "charge", "amount": 2000, "currency": "eur", "payment_intent": "pi_1", "metadata": {}}


def signed(event, secret):
    """Just now."""
    return localstripe.signed(event, secret, int(NOW.timestamp()))


def event(type, it):
    return {"id": "evt_1", "object": "event", "created": 1_760_000_000, "livemode": False, "type": type, "data": {"object": it}}


def told(type, payment_id, refund_id=None, amount=None):
    return ProviderEvent("evt_1", type, payment_id, "pi_1", refund_id, amount, datetime.fromtimestamp(1_760_000_000, UTC), False)


@pytest.mark.parametrize(
    ("type", "it", "news"),
    [
        ("payment_intent.succeeded", INTENT, told("payment.captured", "pay_1", amount=eur("20.00"))),
        ("payment_intent.payment_failed", INTENT, told("payment.declined", "pay_1")),
        ("payment_intent.processing", INTENT, told("payment.processing", "pay_1")),
        ("payment_intent.canceled", INTENT, told("payment.canceled", "pay_1")),
        ("payment_intent.amount_capturable_updated", INTENT, told("payment.authorized", "pay_1")),
        ("refund.updated", REFUND, told("refund.updated", "pay_1", "ref_1", eur("5.00"))),
        ("refund.created", {**REFUND, "metadata": {}}, told("refund.created", None, amount=eur("5.00"))),
        ("charge.refunded", CHARGE, told("payment.refunded", None)),
        ("charge.dispute.created", DISPUTE, told("dispute.opened", None)),
        ("charge.dispute.closed", DISPUTE, told("dispute.closed", None)),
    ],
)
def test_what_concerns_a_payment_is_news(type, it, news):
    assert read(event(type, it), "stripe", "card") == news


@pytest.mark.parametrize(
    ("type", "it"),
    [
        ("customer.updated", {"id": "cus_1", "object": "customer"}),
        ("payment_intent.succeeded", {**INTENT, "metadata": {"payment_id": "pay_1", "provider": "sepa_debit"}}),
        ("refund.updated", {**REFUND, "metadata": {**REFUND["metadata"], "provider": "sepa_debit"}}),
        ("payment_intent.succeeded", {**INTENT, "metadata": {}, "payment_method_types": ["sepa_debit"]}),
        ("charge.dispute.created", {**DISPUTE, "payment_method_details": {"type": "sepa_debit"}}),
        ("charge.refunded", {**CHARGE, "payment_intent": None}),
    ],
)
def test_what_concerns_none_of_ours_is_none(type, it):
    assert read(event(type, it), "stripe", "card") is None


def test_either_of_two_secrets_is_good_and_a_third_is_not():
    body_of = event("payment_intent.succeeded", INTENT)
    ours = [Secret("whsec_new"), Secret("whsec_old")]

    assert [verify(ours, *signed(body_of, secret), NOW) for secret in ("whsec_new", "whsec_old")] == [body_of, body_of]
    with pytest.raises(SignatureInvalid):
        verify(ours, *signed(body_of, "whsec_other"), NOW)
    with pytest.raises(SignatureInvalid):
        verify([], *signed(body_of, "whsec_new"), NOW)


@pytest.mark.parametrize("minutes", [-6, 6])
def test_the_age_goes_by_the_time_of_receipt(minutes):
    headers, body = signed({"id": "evt_1"}, "whsec_new")

    assert verify([Secret("whsec_new")], headers, body, NOW + timedelta(minutes=minutes / 2)) == {"id": "evt_1"}
    with pytest.raises(SignatureInvalid):
        verify([Secret("whsec_new")], headers, body, NOW + timedelta(minutes=minutes))


def test_an_old_message_can_not_be_given_a_new_time():
    """The header may name a time twice; the one that was signed counts."""
    now, body = int(NOW.timestamp()), '{"id": "evt_1"}'
    old = stripe.WebhookSignature.generate_signature_header(body, "whsec_new", timestamp=now - 3600)

    for header in (f"{old},t={now}", f"t={now},{old}"):
        with pytest.raises(SignatureInvalid):
            verify([Secret("whsec_new")], {"stripe-signature": header}, body.encode(), NOW)


@pytest.mark.parametrize("header", ["", "t=1", "v1=abc", "t=x,v1=abc", "t=1,v0=abc", "nonsense", "t=1,v1=\u00e9"])
def test_headers_that_say_nothing_are_refused(header):
    with pytest.raises(SignatureInvalid):
        verify([Secret("whsec_new")], {"Stripe-Signature": header}, b"{}", NOW)


def test_a_body_that_is_no_text_is_refused():
    headers, _ = signed({}, "whsec_new")

    with pytest.raises(SignatureInvalid):
        verify([Secret("whsec_new")], headers, b"\xff\xfe", NOW)
