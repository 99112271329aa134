"""News of orders and their payments, after commit."""

from __future__ import annotations

from core.hooks import hookspec
from core.hooks.events import Event


class OrderHooks:
    """Hooks that hear of orders. `event.subject` is the order's id."""

    @hookspec(failure="retry", deadline=60.0, network=True)
    def order_completed(self, event: Event) -> None:
        """An order is completed: its subscriptions run, its invoice (if anything was charged) is numbered.

        Called:  from the outbox after commit, once or more often.
        event:   data {order, account, invoice or null, subscriptions: [...]}.
        Returns: nothing.
        Errors:  raise anything to be called again later.
        Failure: retry - again with back-off, parked after the last attempt.
        """

    @hookspec(failure="retry", deadline=60.0, network=True)
    def order_voided(self, event: Event) -> None:
        """An order whose money was only set aside was undone: its subscriptions have ended, its invoice is credited as a whole.

        Called:  from the outbox after commit, once or more often.
        event:   data {order, account, invoice, subscriptions: [...]}.
        Returns: nothing.
        Errors:  raise anything to be called again later.
        Failure: retry - again with back-off, parked after the last attempt.
        """

    @hookspec(failure="retry", deadline=60.0, network=True)
    def payment_failed(self, event: Event) -> None:
        """A payment of an order was declined or failed; nothing was charged.

        Called:  from the outbox after commit, once or more often.
        event:   data {order, account, payment, subscriptions}; payment.error has code and retryable. Where order.kind is `renewal`,
                 `past_due` of each of the subscriptions says when it is tried again, and when it ends.
        Returns: nothing.
        Errors:  raise anything to be called again later.
        Failure: retry - again with back-off, parked after the last attempt.
        """

    @hookspec(failure="retry", deadline=60.0, network=True)
    def payment_captured(self, event: Event) -> None:
        """Money that was set aside as an order was placed was taken, all of it or a part.

        Called:  from the outbox after commit, once or more often.
        event:   data {order, account, capture, invoice or null}.
        Returns: nothing.
        Errors:  raise anything to be called again later.
        Failure: retry - again with back-off, parked after the last attempt.
        """

    @hookspec(failure="retry", deadline=60.0, network=True)
    def payment_received(self, event: Event) -> None:
        """Money came in for an open invoice on terms, all that is owed or a part.

        Called:  from the outbox after commit, once or more often.
        event:   data {order, account, amount, invoice or null}; the invoice says what is still due.
        Returns: nothing.
        Errors:  raise anything to be called again later.
        Failure: retry - again with back-off, parked after the last attempt.
        """

    @hookspec(failure="retry", deadline=60.0, network=True)
    def payment_returned(self, event: Event) -> None:
        """Money that had come in for an invoice on terms went back by the bank: the invoice is open again.

        Called:  from the outbox after commit, once or more often.
        event:   data {order, account, amount, invoice or null}; the invoice says what is due again.
        Returns: nothing.
        Errors:  raise anything to be called again later.
        Failure: retry - again with back-off, parked after the last attempt.
        """

    @hookspec(failure="retry", deadline=60.0, network=True)
    def payment_refunded(self, event: Event) -> None:
        """Money went back to the buyer.

        Called:  from the outbox after commit, once or more often.
        event:   data {order, account, refund, credit_note or null}; refund.origin is `external` where it was begun at the provider.
        Returns: nothing.
        Errors:  raise anything to be called again later.
        Failure: retry - again with back-off, parked after the last attempt.
        """

    @hookspec(failure="retry", deadline=60.0, network=True)
    def payment_disputed(self, event: Event) -> None:
        """The buyer has asked their bank for the money back. It can't be refunded meanwhile; the seller answers at the provider.

        Called:  from the outbox after commit, once or more often.
        event:   data {order, account, dispute}.
        Returns: nothing.
        Errors:  raise anything to be called again later.
        Failure: retry - again with back-off, parked after the last attempt.
        """

    @hookspec(failure="retry", deadline=60.0, network=True)
    def payment_dispute_closed(self, event: Event) -> None:
        """A dispute was won, or lost: then the money is gone, and the order's invoice is open again.

        Called:  from the outbox after commit, once or more often.
        event:   data {order, account, dispute}.
        Returns: nothing.
        Errors:  raise anything to be called again later.
        Failure: retry - again with back-off, parked after the last attempt.
        """
