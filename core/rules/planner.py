"""The planner: what is billed for a subscription, and when.

One pure function, `plan`, for the quote, the preview of a change, the renewal, the timeline and the invoice, so that what was shown is
the bill. It is told a life (what holds, what was billed, what waits) and a day, and answers with lines, each with its derivation, and
with the life that follows. Before it answers it counts the days: none may be paid for twice, none left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import lru_cache
from typing import Literal

from core.rules.derivations import Derivation, share, whole
from core.rules.discounts import Discount, reduced
from core.rules.money import Money, total, zero
from core.rules.periods import Interval, Period, period_from
from core.rules.policies import ChangePolicy
from core.rules.prices import Price

Kind = Literal["charge", "credit", "forfeit"]
COUNTS: dict[Kind, int] = {"charge": 1, "credit": -1, "forfeit": -1}


class DayBilledTwice(ValueError):
    """A plan would have charged a day that is paid for already. Nothing is written."""


class DaySkipped(ValueError):
    """A plan would have left out a day on which the subscription runs. Nothing is written."""


@dataclass(frozen=True, slots=True)
class Deal:
    """So many seats at a price, which also says how long a period is, less a discount."""

    price: Price
    seats: int
    discount: Discount | None = None

    @property
    def interval(self) -> Interval:
        return self.price.interval

    @property
    def amount(self) -> Money:
        """What a whole period costs, net."""
        return reduced(self.price.amount(self.seats), self.discount)

    @property
    def next(self) -> Deal:
        """For the period that follows, of which the discount may hold no more."""
        return replace(self, discount=self.discount.following() if self.discount else None)


@dataclass(frozen=True, slots=True)
class Term:
    """A period that was billed: its days, the anchor, and what the whole of it costs at the deal that held last, net."""

    period: Period
    anchor_day: int
    full_amount: Money


@dataclass(frozen=True, slots=True)
class Line:
    """Days of a subscription that are charged, given back, or given up without being given back (`forfeit`, of amount zero).

    The amount is never negative; its sign is the kind's.
    """

    kind: Kind
    period: Period
    seats: int
    derivation: Derivation

    @property
    def amount(self) -> Money:
        return self.derivation.amount


@dataclass(frozen=True, slots=True)
class Life:
    """A subscription as far as its bills go.

    deal:    what holds.
    term:    the period that was billed last; None: nothing was yet.
    trial:   the free days that come before the first term; None: there are none, or they are over.
    waiting: what holds from the end of the term, or of the trial; None: `deal` goes on, its discount as long as that holds.
    put_off: lines that are collected with the next invoice, whatever brings it.
    ends_on: the day from which on it runs no more, and nothing is billed; None: it goes on.
    """

    deal: Deal
    term: Term | None = None
    trial: Period | None = None
    waiting: Deal | None = None
    put_off: tuple[Line, ...] = ()
    ends_on: date | None = None

    @property
    def following(self) -> Deal:
        """What the next period is billed at."""
        return self.waiting or (self.deal.next if self.term else self.deal)

    @property
    def due_on(self) -> date | None:
        """When the next period begins and is billed; None: nothing follows, or it has not begun."""
        running = self.term.period if self.term else self.trial
        if running is None or (self.ends_on is not None and self.ends_on <= running.end):
            return None
        return running.end


@dataclass(frozen=True, slots=True)
class Change:
    """A change to another deal by a policy. waiting: what holds from the end of the period that then runs; None: `deal` goes on.

    A trial becomes a paid subscription on the day of the change, whatever the policy.
    """

    deal: Deal
    policy: ChangePolicy
    waiting: Deal | None = None


@dataclass(frozen=True, slots=True)
class End:
    """An end today; credit: whether the unused days are given back."""

    credit: Literal["unused", "none"]


@dataclass(frozen=True, slots=True)
class Billing:
    """What the planner answers: the lines of an invoice, and the life that follows from `effective_on` on.

    waits: the change is not in force yet: it is on the list until `effective_on`, and `life` is as it was but for `waiting`.
    """

    effective_on: date
    life: Life
    lines: tuple[Line, ...] = ()
    waits: bool = False

    @property
    def charge(self) -> Money:
        return self._sum("charge")

    @property
    def credit(self) -> Money:
        return self._sum("credit")

    def _sum(self, kind: Kind) -> Money:
        return total((line.amount for line in self.lines if line.kind == kind), self.life.deal.price.currency)


@lru_cache(maxsize=1024)
def plan(life: Life, on: date, event: Change | End | None = None) -> Billing:
    """What is billed on a day, and what follows.

    event: what happens to the subscription on that day; None: its first period begins, or the one that follows the last.
           Whoever is late asks for one period after the other, each on the day on which it was due.
    Raises ValueError for a change on a day outside the running term, DayBilledTwice and DaySkipped for a period that does not
    begin where the last one ends.
    """
    if isinstance(event, End):
        billing = _end(life, on, event)
    elif life.term is None:
        billing = _begin(life, on, event)
    elif event is not None:
        billing = _change(life, life.term, on, event)
    else:
        billing = _follow(life, life.term, on)
    _check_days(life, billing, on, event)
    if billing.waits:
        return billing
    return _put_off(life, billing) if isinstance(event, Change) and _puts_off(life, event) else _collect(life, billing)


def _puts_off(life: Life, change: Change) -> bool:
    return life.term is not None and change.policy.puts_off and change.deal.interval == life.deal.interval


def _put_off(life: Life, billing: Billing) -> Billing:
    """With nothing to collect until there is an invoice."""
    return replace(billing, life=replace(billing.life, put_off=(*life.put_off, *billing.lines)), lines=())


def _collect(life: Life, billing: Billing) -> Billing:
    """With what was put off until there is an invoice."""
    return replace(billing, life=replace(billing.life, put_off=()), lines=(*life.put_off, *billing.lines))


def postpone(life: Life, days: int) -> Life:
    """The life that was paused for so many days and goes on: what runs keeps the days that were left of it, and ends so much later.

    Nothing is charged or given back. A billing date that has moved is anchored on its new day.
    """
    if days == 0:
        return life
    if life.term is None:
        return replace(life, trial=_shifted(life.trial, days) if life.trial else None)
    period = _shifted(life.term.period, days)
    return replace(life, term=replace(life.term, period=period, anchor_day=period.end.day))


def _shifted(period: Period, days: int) -> Period:
    return Period(period.start + timedelta(days=days), period.end + timedelta(days=days))


# --- what can happen


def _begin(life: Life, on: date, change: Change | None) -> Billing:
    """The first period, anchored on its first day."""
    deal, waiting = (change.deal, change.waiting) if change else (life.following, None)
    return _whole_period(replace(life, trial=None, waiting=waiting), deal, on, on.day)


def _follow(life: Life, term: Term, on: date) -> Billing:
    """The next period, whole. It keeps the anchor: a 31st comes back after February."""
    return _whole_period(replace(life, waiting=None), life.following, on, term.anchor_day)


def _whole_period(life: Life, deal: Deal, on: date, anchor_day: int) -> Billing:
    term = Term(period_from(on, deal.interval, anchor_day), anchor_day, deal.amount)
    line = Line("charge", term.period, deal.seats, whole(deal.price, deal.seats, deal.discount))
    return Billing(on, replace(life, deal=deal, term=term), (line,))


def _change(life: Life, term: Term, on: date, change: Change) -> Billing:
    """A change of interval always begins a new period: a month can't be kept inside a year."""
    if on not in term.period:
        raise ValueError(f"{on} is not a day of {term.period}")
    if change.policy.effective == "period_end":
        return Billing(term.period.end, replace(life, waiting=change.deal), (), waits=True)
    back = _give_back(life, term, on, change.policy.credit)
    changed = replace(life, deal=change.deal, waiting=change.waiting)
    if change.policy.anchor == "move" or change.deal.interval != life.deal.interval:
        begun = _whole_period(changed, change.deal, on, on.day)
        return replace(begun, lines=(back, *begun.lines))
    rest = _rest(change.deal, term, on)
    return Billing(on, replace(changed, term=replace(term, full_amount=change.deal.amount)), (back, rest))


def _end(life: Life, on: date, event: End) -> Billing:
    lines = (_give_back(life, life.term, on, event.credit),) if life.term and on in life.term.period else ()
    return Billing(on, replace(life, waiting=None, ends_on=on), lines)


def _give_back(life: Life, term: Term, on: date, credit: Literal["unused", "none"]) -> Line:
    """The unused days of the running term, for their worth or, by the policy, for nothing."""
    left, unused = term.period.days_from(on), Period(on, term.period.end)
    if credit == "unused":
        worth = share("credit_unused", term.full_amount, str(term.full_amount.decimal()), left, term.period.days)
        return Line("credit", unused, life.deal.seats, worth)
    nothing = zero(term.full_amount.currency)
    lost = Derivation("forfeit_unused", nothing, str(nothing.decimal()), left, term.period.days, "0", "none")
    return Line("forfeit", unused, life.deal.seats, lost)


def _rest(deal: Deal, term: Term, on: date) -> Line:
    """The running term from a day on, at another deal. Where its price was rounded, the share is one of the rounded price."""
    full = whole(deal.price, deal.seats, deal.discount)
    formula = full.formula if full.rounding == "none" else str(full.amount.decimal())
    derivation = share("charge_rest", full.amount, formula, term.period.days_from(on), term.period.days)
    return Line("charge", Period(on, term.period.end), deal.seats, derivation)


# --- what must be so


def _check_days(life: Life, billing: Billing, on: date, event: Change | End | None) -> None:
    """Each day from where the last bill began, or the first must, to the end of the new term is paid for once; none after it."""
    spans = [(line.period, COUNTS[line.kind]) for line in billing.lines]
    if life.term is not None:
        spans.append((life.term.period, 1))
        first = life.term.period.start
    else:
        first = life.trial.end if life.trial and event is None else on
    last = billing.life.term.period.end if billing.life.term else first
    check_days(spans, first, min(last, max(first, on)) if isinstance(event, End) else last)


def check_days(spans: Iterable[tuple[Period, int]], first: date, end: date) -> None:
    """Raises DayBilledTwice or DaySkipped unless the spans cover each day from `first` to the day before `end` once, and no other.

    spans: days, and how often they count: 1 where they are charged, -1 where they are given back.
    """
    steps: dict[date, int] = {first: 1, end: -1} if first < end else {}
    for period, count in spans:
        steps[period.start] = steps.get(period.start, 0) - count
        steps[period.end] = steps.get(period.end, 0) + count
    missing = 0
    for day in sorted(steps):
        missing += steps[day]
        if missing < 0:
            raise DayBilledTwice(f"{day} would be paid for twice, or though the subscription does not run")
        if missing > 0:
            raise DaySkipped(f"{day} would not be paid for")
