"""News of subscriptions and their seats, after commit."""

from __future__ import annotations

from core.hooks import hookspec
from core.hooks.events import Event


class SubscriptionHooks:
    """Hooks that hear of subscriptions. `event.subject` is the subscription's id."""

    @hookspec(failure="retry", deadline=60.0, network=True)
    def trial_started(self, event: Event) -> None:
        """A free trial has begun.

        Called:  from the outbox after commit, once or more often.
        event:   data {subscription, account, order}.
        Returns: nothing.
        Errors:  raise anything to be called again later.
        Failure: retry - again with back-off, parked after the last attempt.
        """

    @hookspec(failure="retry", deadline=60.0, network=True)
    def subscription_started(self, event: Event) -> None:
        """A paid subscription has begun, or a trial has become one.

        Called:  from the outbox after commit, once or more often.
        event:   data {subscription, account, order}.
        Returns: nothing.
        Errors:  raise anything to be called again later.
        Failure: retry - again with back-off, parked after the last attempt.
        """

    @hookspec(failure="retry", deadline=60.0, network=True)
    def subscription_changed(self, event: Event) -> None:
        """Seats, plan or interval have changed.

        Called:  from the outbox after commit, once or more often.
        event:   data {subscription, account, order, before: {plan, seats, interval}}.
        Returns: nothing.
        Errors:  raise anything to be called again later.
        Failure: retry - again with back-off, parked after the last attempt.
        """

    @hookspec(failure="retry", deadline=60.0, network=True)
    def subscription_renewed(self, event: Event) -> None:
        """The next period of a paid subscription has begun. `subscription_changed` tells of what has changed with it.

        Called:  from the outbox after commit, once or more often.
        event:   data {subscription, account, order, before: {plan, seats, interval}}.
        Returns: nothing.
        Errors:  raise anything to be called again later.
        Failure: retry - again with back-off, parked after the last attempt.
        """

    @hookspec(failure="retry", deadline=60.0, network=True)
    def subscription_past_due(self, event: Event) -> None:
        """The next period could not be paid: the method was refused, or there is none. The subscription goes on meanwhile.

        It is tried again as soon as the account stores a method; `subscription_renewed` tells that it is paid.
        Called:  from the outbox after commit, once or more often.
        event:   data {subscription, account, order or null where there was no method}; subscription.next_charge: since when, how much.
        Returns: nothing.
        Errors:  raise anything to be called again later.
        Failure: retry - again with back-off, parked after the last attempt.
        """

    @hookspec(failure="retry", deadline=60.0, network=True)
    def subscription_cancelled(self, event: Event) -> None:
        """A subscription has ended; nobody may use it any more.

        Called:  from the outbox after commit, once or more often.
        event:   data {subscription, account}; subscription.unused: what became of the days that
                 were paid for, where it ended before its time.
        Returns: nothing.
        Errors:  raise anything to be called again later.
        Failure: retry - again with back-off, parked after the last attempt.
        """

    @hookspec(failure="retry", deadline=60.0, network=True)
    def seat_assigned(self, event: Event) -> None:
        """A user was given a seat.

        Called:  from the outbox after commit, once or more often.
        event:   data {subscription, account, user}.
        Returns: nothing.
        Errors:  raise anything to be called again later.
        Failure: retry - again with back-off, parked after the last attempt.
        """

    @hookspec(failure="retry", deadline=60.0, network=True)
    def seat_released(self, event: Event) -> None:
        """A user lost a seat.

        Called:  from the outbox after commit, once or more often.
        event:   data {subscription, account, user}.
        Returns: nothing.
        Errors:  raise anything to be called again later.
        Failure: retry - again with back-off, parked after the last attempt.
        """
