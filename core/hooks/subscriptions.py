"""News of subscriptions and their seats, after commit; and the question of when what is past due is tried again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from core.hooks import hookspec
from core.hooks.events import Event
from core.hooks.payments import DeclineCode


@dataclass(frozen=True)
class FailedAttempt:
    """A try to charge what is due.

    code:      why it failed, as `PaymentError` has it; None: no method was stored.
    retryable: what the provider thinks: the same method may work later.
    """

    at: datetime
    code: DeclineCode | None
    retryable: bool = False


@dataclass(frozen=True)
class PastDueView:
    """A subscription whose next period could not be paid.

    account_kind: `self_service` or `corporate`.
    since:        when the first try failed, which is when it fell past due.
    attempts:     the tries that have failed so far, the last one last; at least one.
    """

    subscription: str
    product: str
    plan: str
    interval: Literal["month", "year"]
    account: str
    account_kind: str
    time_zone: str
    since: datetime
    attempts: tuple[FailedAttempt, ...]


@dataclass(frozen=True)
class RetrySchedule:
    """What follows, unless the account is quicker: another method that is stored, or made the default, is charged at once.

    next_try:     when the default method is charged again; None: not this one.
    ends_at:      when `then` is done if nothing has been paid; None: never.
    warn_at:      when the account is warned of that, once (`past_due_ending`); None: it is not.
    access_until: from when on nobody may use the product; None: they may for as long as it is past due.
    """

    next_try: datetime | None = None
    ends_at: datetime | None = None
    then: Literal["cancel", "pause"] = "cancel"
    warn_at: datetime | None = None
    access_until: datetime | None = None


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
    def trial_extended(self, event: Event) -> None:
        """Staff have let a trial last longer.

        Called:  from the outbox after commit, once or more often.
        event:   data {subscription, account, before: {trial_end}, reason}.
        Returns: nothing.
        Errors:  raise anything to be called again later.
        Failure: retry - again with back-off, parked after the last attempt.
        """

    @hookspec(failure="retry", deadline=60.0, network=True)
    def trial_ending(self, event: Event) -> None:
        """A trial ends in some days (the setting `subscriptions.trial_ending_days`). Told once for each end, and not of one that was
        cancelled.

        Called:  from the outbox after commit, once or more often.
        event:   data {subscription, account}; subscription.next_charge: what follows and costs; null: nothing does, it ends.
        Returns: nothing.
        Errors:  raise anything to be called again later.
        Failure: retry - again with back-off, parked after the last attempt.
        """

    @hookspec(failure="retry", deadline=60.0, network=True)
    def renewal_coming(self, event: Event) -> None:
        """A subscription that is paid by the year is renewed in some days (the setting `subscriptions.renewal_coming_days`). Told once for
        each period, and not where it was cancelled.

        Called:  from the outbox after commit, once or more often.
        event:   data {subscription, account}; subscription.next_charge: when, and how much.
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

        It is tried again as soon as the account stores a method; `subscription_recovered` tells that it is paid.
        Called:  from the outbox after commit, once or more often.
        event:   data {subscription, account, order or null where there was no method}; subscription.next_charge: since when, how much;
                 subscription.past_due: when it is tried again, and when it ends.
        Returns: nothing.
        Errors:  raise anything to be called again later.
        Failure: retry - again with back-off, parked after the last attempt.
        """

    @hookspec(failure="skip", firstresult=True)
    def retry_schedule(self, past_due: PastDueView) -> RetrySchedule | None:
        """Say when what is past due is charged again, and what becomes of it if it stays unpaid.

        Called:   as the outcome of a try that failed is written, and after a renewal that has found no method; no network calls here.
        past_due: the subscription, and what was tried; do not read the clock: the last attempt is now.
        Returns:  the schedule from here on, which replaces the former one. A try within the hour is made after an hour.
        None:     nothing to say. If nobody answers it stays past due until a method is stored, or staff has it tried again.
        Errors:   anything raised is a bug of the plugin.
        Failure:  skip - the next plugin is asked: what the provider has answered must be written.
        """

    @hookspec(failure="retry", deadline=60.0, network=True)
    def past_due_ending(self, event: Event) -> None:
        """A subscription that is past due ends soon, unless it is paid. Told once, when the schedule says so.

        Called:  from the outbox after commit, once or more often.
        event:   data {subscription, account}; subscription.past_due: when it ends, and how (`then`).
        Returns: nothing.
        Errors:  raise anything to be called again later.
        Failure: retry - again with back-off, parked after the last attempt.
        """

    @hookspec(failure="retry", deadline=60.0, network=True)
    def subscription_recovered(self, event: Event) -> None:
        """What was past due is paid: the subscription goes on as if nothing had been. `subscription_renewed` is told too.

        Called:  from the outbox after commit, once or more often.
        event:   data {subscription, account, order}.
        Returns: nothing.
        Errors:  raise anything to be called again later.
        Failure: retry - again with back-off, parked after the last attempt.
        """

    @hookspec(failure="retry", deadline=60.0, network=True)
    def subscription_paused(self, event: Event) -> None:
        """A subscription is paused: nobody may use it, and nothing is billed, until it is resumed. Seats stay assigned.

        Called:  from the outbox after commit, once or more often.
        event:   data {subscription, account, pause: {paused_on, ended_on: null, days_left, reason}, cause}; days_left: of its term, once it
                 goes on; cause: `unpaid` where it was past due for too long, else null.
        Returns: nothing.
        Errors:  raise anything to be called again later.
        Failure: retry - again with back-off, parked after the last attempt.
        """

    @hookspec(failure="retry", deadline=60.0, network=True)
    def subscription_resumed(self, event: Event) -> None:
        """A paused subscription goes on, with what was left of its term.

        Called:  from the outbox after commit, once or more often.
        event:   data {subscription, account, pause: {paused_on, ended_on, days, days_left, reason}}; days: by which its term has moved.
        Returns: nothing.
        Errors:  raise anything to be called again later.
        Failure: retry - again with back-off, parked after the last attempt.
        """

    @hookspec(failure="retry", deadline=60.0, network=True)
    def subscription_cancelled(self, event: Event) -> None:
        """A subscription has ended; nobody may use it any more.

        Called:  from the outbox after commit, once or more often.
        event:   data {subscription, account, cause}; cause: `unpaid` where it was past due for too long, else null;
                 subscription.unused: what became of the days that were paid for, where it ended before its time.
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
