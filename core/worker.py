"""One round of background work: everything that is due, in the order in which things depend on each other."""

from __future__ import annotations

from functools import partial

from core.access import sweep_tokens
from core.carts import sweep_carts
from core.engine.deliveries import drain
from core.engine.engine import Engine
from core.engine.idempotency import sweep
from core.expiries import remind_of_expiries
from core.payment_webhooks import apply_events, report, sweep_events
from core.reconciliation import reconcile_due
from core.recovery import recover
from core.renewals import renew_due
from core.subscriptions import end_due

ROUND = (
    apply_events, recover, end_due, renew_due, sweep_carts, sweep_tokens, sweep,
    sweep_events, remind_of_expiries, drain, reconcile_due,
)  # fmt: skip
# As soon as there is news.
PROMPT = (apply_events, drain)


def equip(engine: Engine) -> None:
    """Tell the engine's jobs what a round consists of, and what a nudge is for; and its plugins where their events go."""
    engine.jobs.round, engine.jobs.prompt = ROUND, PROMPT
    engine.inbox = partial(report, engine)


def run_round(engine: Engine) -> None:
    """Do one round here and now. Raises what a piece of work raises, unlike a worker, which logs it."""
    engine.refresh_clock()
    for piece in ROUND:
        piece(engine)
