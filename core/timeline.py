"""The timeline: what will be billed for a subscription if nothing else happens, and what has been. Nothing is written.

Each invoice to come is made by the code that makes renewals, of the subscription as it will be by then, so that what is foretold is
what will be invoiced. Prices are those it was sold under, or the catalog's of today for changes that wait; tax is as the rates
known today have it for that day.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

from dateutil.relativedelta import relativedelta

from core.access import Caller, find
from core.accounts import Account
from core.engine.clock import day_in
from core.engine.engine import Engine
from core.engine.events import EventRow
from core.engine.values import to_json
from core.errors import ValidationFailed
from core.fulfilment import columns_of
from core.invoices import InvoiceLine, lines_of_subscription
from core.quote_lines import QuoteLine, final_line, renewal_line
from core.rules.money import Money
from core.rules.periods import Period
from core.subscriptions import RUNNING, Subscription, Trial, pending_changes

MOST_YEARS = 10


@dataclass(frozen=True)
class Stretch:
    """Days of a subscription's life. `billed` and `credited` are lines of documents, `to come` those of invoices that are foretold.

    total:    tax included; negative where it is given back; None for days without an amount.
    formula:  how its net came about; empty where no line says so.
    document: number of the invoice or credit note.
    """

    kind: Literal["trial", "billed", "credited", "paused", "to come"]
    period: Period
    seats: int
    total: Money | None = None
    formula: str = ""
    document: str = ""


def timeline(engine: Engine, subscription_id: str, caller: Caller, until: date | None = None) -> dict[str, Any]:
    """The invoices to come of a subscription, up to those of the day `until`; None: for a year from today.

    What is due already comes first. Balance and other subscriptions of the account, which share its invoices, are left out.
    Raises Missing; ValidationFailed for a day that is too far off; TaxUnavailable, PluginFailed.
    """
    subscription = find(engine, Subscription, subscription_id, caller)
    account, last = _until(engine, subscription, until)
    invoices = [_foretold(day, line) for day, line in lines_to_come(engine, account, subscription, last)]
    ends_on = _ends_on(subscription, account)
    return dict(to_json({"subscription": subscription.id, "until": last, "ends_on": ends_on, "invoices": invoices}))


def _until(engine: Engine, subscription: Subscription, until: date | None) -> tuple[Account, date]:
    account = engine.db.get(Account, subscription.account)
    assert account is not None
    today = account.today(engine)
    last = until or today + relativedelta(years=1)
    if last > today + relativedelta(years=MOST_YEARS):
        raise ValidationFailed("A timeline reaches {years} years ahead at most: name an earlier day.", pointer="/until", years=MOST_YEARS)
    return account, last


def life_of(engine: Engine, subscription: Subscription, until: date | None = None) -> list[Stretch]:
    """What was tried, billed, credited and paused of a subscription, by its first day, and what is to come. `until` and errors as for
    `timeline`."""
    account, last = _until(engine, subscription, until)
    past = [_past(line, number, subscription.currency) for line, number in lines_of_subscription(engine, subscription.id)]
    lines = lines_to_come(engine, account, subscription, last)
    to_come = [_to_come(item, subscription.currency) for _, line in lines for item in line.items]
    been = [*_trial(engine, subscription, past), *past, *_pauses(engine, subscription, account.today(engine))]
    return [*sorted(been, key=lambda stretch: stretch.period.start), *to_come]


def _pauses(engine: Engine, subscription: Subscription, today: date) -> list[Stretch]:
    """The days of each pause, from the first that was kept to the one on which it went on; of one that lasts, up to today."""
    told = (EventRow.account == subscription.account) & (EventRow.subject == subscription.id)
    events = engine.db.all(EventRow.select().where(told & (EventRow.type == "subscription.resumed")).order_by(EventRow.sequence))
    days = [tuple(date.fromisoformat(event.data["pause"][name]) for name in ("paused_on", "ended_on")) for event in events]
    if subscription.paused_on is not None:
        days.append((subscription.paused_on, today + timedelta(days=1)))
    return [Stretch("paused", Period(*each), subscription.seats) for each in days if each[0] < each[1]]


def _trial(engine: Engine, subscription: Subscription, past: list[Stretch]) -> list[Stretch]:
    """The days of its trial, up to its first bill or its end; empty where it began otherwise."""
    if subscription.trial_end is not None:
        return [Stretch("trial", subscription.term.period, subscription.seats)]
    here = (Trial.account == subscription.account) & (Trial.product == subscription.product) & Trial.ordering.is_null()
    tried = engine.db.first(Trial.select().where(here)) if past else None
    if tried is None or past[0].kind != "billed" or tried.started_on >= past[0].period.start:
        return []
    return [Stretch("trial", Period(tried.started_on, past[0].period.start), past[0].seats)]


def _past(line: InvoiceLine, number: str, currency: str) -> Stretch:
    steps = line.explanation or [{"formula": ""}]
    period, total = Period(line.period_start, line.period_end), Money(line.net + line.tax, currency)
    return Stretch("billed" if line.kind == "charge" else "credited", period, line.seats, total, steps[0]["formula"], number)


def _to_come(item: dict[str, Any], currency: str) -> Stretch:
    period = Period(*map(date.fromisoformat, item["period"].values()))
    total = Money(item["net"]["amount"] + item["tax"]["amount"], currency)
    return Stretch("to come", period, item["seats"], total, item["explanation"][0]["formula"])


def lines_to_come(engine: Engine, account: Account, subscription: Subscription, until: date) -> Iterator[tuple[date, QuoteLine]]:
    """Its lines on the invoices to come, each with its day: of its renewals, period by period, or of its end, where something was put
    off until then. `subscription` itself stays as it is."""
    changes = pending_changes(engine, subscription)
    while (due := _due_on(subscription)) is not None and due <= until:
        line = renewal_line(engine, account, subscription, changes)
        yield due, line
        subscription, changes = Subscription(**{**vars(subscription), **columns_of(line.fulfilment)}), []
    if subscription.put_off and (end := _end(subscription, account)) is not None and end <= until:
        yield end, final_line(engine, account, subscription, end)


def _due_on(subscription: Subscription) -> date | None:
    goes_on = subscription.status in RUNNING and subscription.next_charge is not None
    return subscription.life.due_on if goes_on else None


def _end(subscription: Subscription, account: Account) -> date | None:
    """The day on which it ended, or is cancelled for; None: it is not cancelled."""
    return day_in(subscription.cancelled_at, account.time_zone) if subscription.cancelled_at else subscription.cancel_at


def _ends_on(subscription: Subscription, account: Account) -> date | None:
    """The first day on which it does not run any more; None: no end is known. A pause is none."""
    return _end(subscription, account) or (subscription.period_end if subscription.next_charge is None else None)


def _foretold(day: date, line: QuoteLine) -> dict[str, Any]:
    """An invoice to come, its lines as the invoice will have them."""
    names = ("plan", "plan_name", "interval", "seats", "period", "net", "tax", "total")
    of_lines = ("kind", "description", "seats", "period", "net", "tax", "rate", "category", "interval", "prices", "discount", "explanation")
    lines = [{name: item[name] for name in of_lines} for item in line.items]
    for shown in lines:
        shown["subscription"] = line.document["subscription"]
        shown["total"] = {**shown["net"], "amount": shown["net"]["amount"] + shown["tax"]["amount"]}
    return {"date": day, **{name: line.document[name] for name in names}, "lines": lines}
