"""What the provider tells of its own accord, and who may."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from puesto import PaymentProvider, SignatureInvalid
from puesto.testing.payments.kit import Kit


class WebhookCases(Kit):
    def test_a_webhook_tells_of_the_payment_each_time_alike(self, provider: PaymentProvider) -> None:
        self.need(provider, "webhooks")
        request, result = self.paid(provider)
        headers, body = self.webhook(provider, request, result)

        [event] = provider.parse_webhook(headers, body, datetime.now(UTC))

        assert event.payment_id == request.payment_id or (event.payment_id, event.provider_ref) == (None, result.provider_ref)
        assert event.event_id
        assert event.occurred_at.tzinfo is not None
        assert event.amount in (None, request.amount)
        assert provider.parse_webhook(headers, body, datetime.now(UTC)) == [event]

    def test_names_of_headers_come_in_any_case(self, provider: PaymentProvider) -> None:
        self.need(provider, "webhooks")
        headers, body = self.webhook(provider, *self.paid(provider))

        spellings = [{spell(name): value for name, value in headers.items()} for spell in (str.lower, str.upper, str.title)]

        assert [len(provider.parse_webhook(spelling, body, datetime.now(UTC))) for spelling in spellings] == [1, 1, 1]

    def test_no_byte_of_a_webhook_can_be_altered(self, provider: PaymentProvider) -> None:
        self.need(provider, "webhooks")
        headers, body = self.webhook(provider, *self.paid(provider))

        for altered in [body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :] for at in range(len(body))] + [b"", body + b" "]:
            with pytest.raises(SignatureInvalid):
                provider.parse_webhook(headers, altered, datetime.now(UTC))

    def test_a_webhook_without_signature_is_refused(self, provider: PaymentProvider) -> None:
        self.need(provider, "webhooks")
        _, body = self.webhook(provider, *self.paid(provider))

        with pytest.raises(SignatureInvalid):
            provider.parse_webhook({}, body, datetime.now(UTC))

    def test_a_webhook_of_yesterday_is_refused(self, provider: PaymentProvider) -> None:
        self.need(provider, "webhooks")
        headers, body = self.webhook(provider, *self.paid(provider))

        with pytest.raises(SignatureInvalid):
            provider.parse_webhook(headers, body, datetime.now(UTC) + timedelta(days=1))

    def test_while_keys_are_rotated_the_old_secret_is_good_too(self, provider: PaymentProvider) -> None:
        self.need(provider, "webhooks")
        request, result = self.paid(provider)
        (new, _), (old, body) = self.webhook(provider, request, result), self.webhook(provider, request, result, old_secret=True)

        [event] = provider.parse_webhook(old, body, datetime.now(UTC))

        assert event.payment_id == request.payment_id or event.provider_ref == result.provider_ref
        assert new != old

    def test_an_unknown_type_says_nothing(self, provider: PaymentProvider) -> None:
        self.need(provider, "webhooks")
        headers, body = self.webhook(provider, *self.paid(provider), type="something.unheard_of")

        assert provider.parse_webhook(headers, body, datetime.now(UTC)) == []

    def test_a_signature_under_what_is_no_event_is_no_crash(self, provider: PaymentProvider) -> None:
        self.need(provider, "webhooks")
        headers, _ = self.webhook(provider, *self.paid(provider))

        for body in (b"", b"null", b"[]", b"{}", b"\xff\x00"):
            with pytest.raises(SignatureInvalid):
                provider.parse_webhook(headers, body, datetime.now(UTC))

    def test_webhooks_of_two_payments_are_two_events(self, provider: PaymentProvider) -> None:
        self.need(provider, "webhooks")
        sent = [self.webhook(provider, *self.paid(provider)) for _ in range(2)]

        events = [event for headers, body in sent for event in provider.parse_webhook(headers, body, datetime.now(UTC))]

        assert len({event.event_id for event in events}) == len({event.payment_id or event.provider_ref for event in events}) == 2
