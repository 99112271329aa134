"""What began at the provider: refunds and disputes of its own, and the list of all that has changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from puesto import Dispute, PaymentProvider, ProviderEvent
from puesto.testing.payments.kit import Kit, reference


class ChangeCases(Kit):
    def test_a_refund_begun_at_the_provider_is_in_the_books(self, provider: PaymentProvider) -> None:
        self.need_override("refund_outside")
        request, result = self.paid(provider)

        self.refund_outside(provider, request, result, self.amount(30_00))

        [found] = provider.retrieve_payment(reference(request, result)).refunds
        assert (found.amount, found.status in ("succeeded", "processing"), found.refund_id) == (self.amount(30_00), True, None)
        assert found.provider_ref

    def test_a_dispute_is_in_the_books_and_ends(self, provider: PaymentProvider) -> None:
        self.need_override("dispute")
        for decision in ("won", "lost"):
            request, result = self.paid(provider)
            found: list[Dispute] = []

            for status in ("opened", decision):
                self.dispute(provider, request, result, status)
                found += provider.retrieve_payment(reference(request, result)).disputes

            assert [(each.status, each.amount) for each in found] == [("opened", self.amount()), (decision, self.amount())]
            assert len({each.provider_ref for each in found}) == 1

    def test_what_has_changed_is_listed_each_time_alike(self, provider: PaymentProvider) -> None:
        self.need(provider, "list_changes")
        since = datetime.now(UTC) - timedelta(seconds=2)
        request, result = self.paid(provider)

        events, again = self.changes(provider, since), self.changes(provider, since)

        assert [event for event in events if (event.payment_id or event.provider_ref) in (request.payment_id, result.provider_ref)]
        assert again[: len(events)] == events
        assert len({event.event_id for event in events}) == len(events)
        assert [event.occurred_at for event in events] == sorted(event.occurred_at for event in events)

    def test_what_began_at_the_provider_is_listed(self, provider: PaymentProvider) -> None:
        self.need(provider, "list_changes")
        self.need_override("refund_outside")
        request, result = self.paid(provider)
        since = datetime.now(UTC) - timedelta(seconds=2)
        before = self.changes(provider, since)

        self.refund_outside(provider, request, result, self.amount(30_00))

        news = self.changes(provider, since)[len(before) :]
        assert {event.payment_id or event.provider_ref for event in news} <= {request.payment_id, result.provider_ref}
        assert news

    def test_nothing_has_changed_in_the_future(self, provider: PaymentProvider) -> None:
        self.need(provider, "list_changes")
        self.paid(provider)

        assert self.changes(provider, datetime.now(UTC) + timedelta(days=1)) == []

    def changes(self, provider: PaymentProvider, since: datetime) -> list[ProviderEvent]:
        """All pages."""
        events: list[ProviderEvent] = []
        cursor: str | None = None
        while True:
            page = provider.list_changes(since, cursor)
            events += page.events
            if page.cursor is None:
                return events
            assert page.cursor != cursor, "the cursor does not move"
            cursor = page.cursor
