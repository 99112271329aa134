"""One round of background work: everything that is due, in the order in which things depend on each other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from core.access import sweep_tokens
from core.cancellations import end_due
from core.captures import Capture
from core.carts import sweep_carts
from core.due import Due, at, on
from core.engine.deliveries import WAITING, Delivery, drain
from core.engine.engine import Engine
from core.engine.idempotency import sweep
from core.engine.jobs import Work
from core.engine.setbacks import Setback
from core.expiries import next_reminder, remind_of_expiries
from core.past_due import end_past_due, warn_past_due
from core.pauses import pause_due
from core.payment_webhooks import WAITING as UNREAD
from core.payment_webhooks import PaymentWebhookEvent, apply_events, report, sweep_events
from core.payments import Payment, Refund
from core.put_off import collect_put_off
from core.reconciliation import reconcile_due
from core.recovery import recover
from core.reminders import next_reminder as next_charge_reminder
from core.reminders import remind_of_charges
from core.renewals import renew_due
from core.subscriptions import RUNS, PastDue, Subscription

# Each piece of a round, and when it has something to do next. None: it is no matter at which instant that is done.
DUE: dict[Work, tuple[Due, ...]] = {
    apply_events: (at(PaymentWebhookEvent.next_at, UNREAD),),
    recover: (at(Payment.ask_at), at(Capture.ask_at), at(Refund.ask_at)),
    collect_put_off: (on(Subscription.cancel_at, RUNS), at(Setback.next_at)),
    end_due: (on(Subscription.cancel_at, RUNS), on(Subscription.trial_end, RUNS), at(Setback.next_at)),
    pause_due: (on(Subscription.pause_at, RUNS),),
    renew_due: (on(Subscription.period_end, RUNS), at(Subscription.retry_at)),
    end_past_due: (at(PastDue.ends_at),),
    warn_past_due: (at(PastDue.warn_at),),
    sweep_carts: (),
    sweep_tokens: (),
    sweep: (),
    sweep_events: (),
    remind_of_expiries: (next_reminder,),
    remind_of_charges: (next_charge_reminder,),
    drain: (at(Delivery.next_at, WAITING),),
    reconcile_due: (),
}
ROUND = tuple(DUE)
# As soon as there is news.
PROMPT = (apply_events, drain)


def equip(engine: Engine) -> None:
    """Tell the engine's jobs what a round consists of, and what a nudge is for; and its plugins where their events go."""
    engine.jobs.round, engine.jobs.prompt = ROUND, PROMPT
    engine.inbox = partial(report, engine)


def run_round(engine: Engine, work: Sequence[Work] = ROUND) -> None:
    """Do one round here and now, or those pieces of it. Raises what a piece of work raises, unlike a worker, which logs it."""
    engine.refresh_clock()
    for piece in work:
        piece(engine)
