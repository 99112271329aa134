"""What must be so in a world of random lives, whatever has happened: read from tables and from the bank's books, and reckoned anew."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Any

from core.accounts import Account
from core.balance import BalanceEntry
from core.engine.clock import day_in
from core.engine.setbacks import Setback
from core.invoices import Invoice, InvoiceLine
from core.orders import Order, OrderLine
from core.payments import Payment, Refund
from core.subscriptions import COLLECTING, Subscription
from tests.core.random_lives import World

DONE = ("completed", "refunded")


def audit(world: World) -> None:
    """Everything at once."""
    for check in (sums, formulas, prices, put_off, numbers, days, given_back, renewals, ledger, money, states):
        check(world)


def sums(world: World) -> None:
    """net + tax = total, and a whole is the sum of its parts."""
    lines = defaultdict(list)
    for line in world.rows(InvoiceLine):
        lines[line.invoice].append(line)
    for invoice in world.rows(Invoice):
        mine = lines[invoice.id]
        assert (invoice.net, invoice.tax, invoice.total) == (
            sum(line.net for line in mine),
            sum(line.tax for line in mine),
            invoice.net + invoice.tax,
        )
    parts = Counter[str]()
    for line in world.rows(OrderLine):
        parts[line.order] += line.total
        assert line.total == line.net + line.tax == sum(item["net"]["amount"] + item["tax"]["amount"] for item in line.items)
    for order in world.rows(Order):
        assert order.total == order.net + order.tax == parts[order.id]
        assert order.due_now == max(order.total, 0) - order.credit_used


def formulas(world: World) -> None:
    """Each amount is what its derivation says, worked out in fractions; its days are those of its period."""
    for line in world.rows(OrderLine):
        for item in line.items:
            shown, period = item["explanation"][0], [date.fromisoformat(item["period"][end]) for end in ("start", "end")]
            exact = _worked_out(shown["formula"])
            assert abs(item["net"]["amount"]) == _rounded(exact), shown
            assert shown["days"] in (None, (period[1] - period[0]).days), item
            taxed = exact if shown["days"] is None else Fraction(_rounded(exact))
            assert abs(item["tax"]["amount"]) == _rounded(taxed * Fraction(item["rate"]) / 100), item


def _worked_out(formula: str) -> Fraction:
    """Minor units of such as `(3 x 25.00 + 2 x 19.99) x 21/31`."""
    assert re.fullmatch(r"[\d.x/+ ()]+", formula), formula
    numbers = re.sub(r"[\d.]+", lambda found: f"Fraction('{Decimal(found[0])}')", formula)
    return Fraction(eval(numbers.replace("x", "*"), {"Fraction": Fraction}) * 100)


def _rounded(amount: Fraction) -> int:
    """Half away from zero, of what is not negative."""
    return int(amount + Fraction(1, 2))


# Minor units of each of the first three seats, and of each further one.
RATES = {
    "desk-usual": {"month": (1499, 1499), "year": (14995, 14995)},
    "desk-kept": {"month": (2500, 1999), "year": (24995, 9999)},
    "desk-lost": {"month": (3333, 3333), "year": (33333, 33333)},
    "desk-later": {"month": (4501, 4501), "year": (44999, 44999)},
    "chat-one": {"month": (7, 7), "year": (71, 71)},
}


def prices(world: World) -> None:
    """What is charged is the price list's for plan, interval and seats, and what is given back a part of what was charged last; a part of a
    period is one of all its days."""
    last = dict[str, tuple[Fraction, int]]()
    for _, line, _ in _done(world):
        period, whole = [date.fromisoformat(line.document["period"][end]) for end in ("start", "end")], last.get(line.subscription)
        for step in _own(line):
            full = _worked_out(re.sub(r" x \d+/\d+$", "", step["formula"])) if step["rule"] != "forfeit_unused" else 0
            if step["rule"] == "credit_unused":
                assert (full, step["denominator"]) == whole, line.document
            elif step["rule"] != "forfeit_unused":
                first, further = RATES[line.document["plan"]][line.document["interval"]]
                seats, days = line.document["seats"], (period[1] - period[0]).days
                assert full == min(seats, 3) * first + max(seats - 3, 0) * further, line.document
                assert step["denominator"] in (None, days), line.document
                last[line.subscription] = full, days


def put_off(world: World) -> None:
    """What was put off is collected once, or still waits."""
    lines = [line for _, line, _ in _done(world)]
    promised = {item["id"] for line in lines for item in line.fulfilment.get("columns", {}).get("put_off") or ()}
    kept = Counter(item["id"] for line in lines for item in line.items if "id" in item)
    kept.update(item["id"] for each in world.subscriptions for item in each.put_off or ())
    assert kept == Counter(promised)


def numbers(world: World) -> None:
    """Each series counts from 1 without a gap, and its dates rise with the numbers."""
    series = defaultdict(list)
    for invoice in world.rows(Invoice):
        series[invoice.series].append(invoice)
    for rows in series.values():
        rows.sort(key=lambda row: row.sequence)
        assert [row.sequence for row in rows] == list(range(1, len(rows) + 1))
        assert [row.issued_on for row in rows] == sorted(row.issued_on for row in rows)


def days(world: World) -> None:
    """Each day for which a subscription was billed is paid for once, less what was given back or given up; and those of a running one go
    without a hole, but for its pauses, from the first up to the end of its period."""
    calendars = _calendars(world)
    for subscription in world.subscriptions:
        calendar = calendars[subscription.id]
        covered = list(_covered(calendar.spans))
        assert all(count in (0, 1) for _, _, count in covered), (subscription.id, covered)
        paid = [(start, end) for start, end, count in covered if count]
        holes = [(before[1], after[0]) for before, after in pairwise(paid)]
        assert holes == [hole for hole in calendar.pauses if paid and paid[0][0] < hole[0] and hole[1] < paid[-1][1]], (
            subscription.id,
            paid,
        )
        if subscription.status in ("active", "past_due", "paused") and subscription.trial_end is None:
            assert calendar.resumed(paid[-1][1]) == subscription.period_end, (subscription.id, paid)
        if subscription.status == "trialing":
            assert paid == []


@dataclass
class Calendar:
    """Days of one subscription: (first, day after the last, how often they count), and its pauses that are over."""

    spans: list[tuple[date, date, int]] = field(default_factory=list)
    pauses: list[tuple[date, date]] = field(default_factory=list)

    def pause(self, start: date, end: date) -> None:
        """What was paid for from its first day on comes after it."""
        kept = [(first, min(last, start), count) for first, last, count in self.spans if first < start]
        moved = [(max(first, start) + (end - start), last + (end - start), count) for first, last, count in self.spans if last > start]
        self.spans = kept + moved
        self.pauses += [(start, end)] if start < end else []

    def resumed(self, day: date) -> date:
        """The day, or where a pause that is over begins on it, the one after all of its pause."""
        ends = dict(self.pauses)
        while day in ends:
            day = ends[day]
        return day


def given_back(world: World) -> None:
    """Who ends now and is to be given back what is unused has no days left that are paid for, unless a refund had given them back."""
    goodwill = any(row.reason == "goodwill" for row in world.rows(Refund))
    calendars = _calendars(world)
    for each in world.subscriptions:
        if each.status == "cancelled" and (each.unused or {}).get("policy") in ("credit", "refund") and not goodwill:
            spans = calendars[each.id].spans
            paid = [end for _, end, count in _covered(spans) if count]
            # Where none is left, what was given back begins with the first day.
            until = paid[-1] if paid else min((start for start, _, _ in spans), default=each.period_end)
            left = max((each.period_end - until).days, 0)
            today = each.paused_on or day_in(each.cancelled_at, _zones(world)[each.account])
            share = Fraction(
                each.term_amount * (each.period_end - max(today, each.period_start)).days, (each.period_end - each.period_start).days
            )
            assert left or _rounded(max(share, Fraction(0))) == 0, (each.id, paid)


def _zones(world: World) -> dict[str, str]:
    return {account.id: account.time_zone for account in world.rows(Account)}


def _done(world: World) -> Iterator[tuple[Order, OrderLine, date]]:
    """The lines of orders that came to something, in the order in which they did, each with the day of its order."""
    orders, lines, zones = {order.id: order for order in world.rows(Order)}, defaultdict(list), _zones(world)
    for line in world.rows(OrderLine):
        lines[line.order].append(line)
    for event in world.shop.events("order.completed"):
        order = orders[event["subject"]]
        for line in lines[order.id]:
            yield order, line, day_in(order.created_at, zones[order.account])


def _own(line: OrderLine) -> list[Any]:
    """How the net of a line comes about, without what was put off before."""
    before = sum("id" in item for item in line.items)
    return [step for step in line.document["explanation"][before:] if step["rule"] != "tax"]


def _calendars(world: World) -> dict[str, Calendar]:
    """What was billed and paused, in the order in which it happened."""
    billed, calendars = defaultdict(list), defaultdict[str, Calendar](Calendar)
    for order, line, today in _done(world):
        billed[order.id].append((line, today))
    for event in world.shop.events("order.completed", "subscription.resumed"):
        if event["type"] == "subscription.resumed":
            pause = event["data"]["pause"]
            calendars[event["subject"]].pause(date.fromisoformat(pause["paused_on"]), date.fromisoformat(pause["ended_on"]))
        for line, today in billed[event["subject"]]:
            calendars[line.subscription].spans += _spans(line, today)
    for each in world.subscriptions:
        calendars[each.id].spans += _ended(world, each, _zones(world)[each.account])
    return calendars


def _spans(line: OrderLine, today: date) -> Iterator[tuple[date, date, int]]:
    """What an order has billed, also where it came to nothing: the invoice has no line for that."""
    for step in _own(line):
        if step["rule"] == "charge":
            yield *(date.fromisoformat(line.document["period"][end]) for end in ("start", "end")), 1
        else:
            yield today, today + timedelta(days=step["days"]), 1 if step["rule"] == "charge_rest" else -1


def _ended(world: World, subscription: Subscription, zone: str) -> Iterator[tuple[date, date, int]]:
    """The days that were given back as it ended."""
    if any(row.cause == subscription.id for row in world.rows(Invoice)):
        today = day_in(subscription.cancelled_at, zone)
        yield subscription.paused_on or min(subscription.cancel_at or today, today), subscription.period_end, -1


def _covered(spans: list[tuple[date, date, int]]) -> Iterator[tuple[date, date, int]]:
    """(first day, day after the last, how often it is paid for), with neighbours of one count put together."""
    steps = Counter[date]()
    for start, end, count in spans:
        steps[start] += count
        steps[end] -= count
    corners = sorted(day for day, step in steps.items() if step)
    counts = list(accumulate(steps[day] for day in corners))
    yield from ((*each, count) for each, count in zip(pairwise(corners), counts, strict=False))


def renewals(world: World) -> None:
    """A period is billed once: by one renewal that came to something, in one line of one invoice."""
    done = {order.id for order in world.rows(Order) if order.status in DONE and order.kind == "renewal"}
    begun = Counter(
        (line.subscription, line.document["period"]["start"])
        for line in world.rows(OrderLine)
        if line.order in done and any(step["rule"] == "charge" for step in line.document["explanation"])
    )
    assert all(times == 1 for times in begun.values()), begun


def ledger(world: World) -> None:
    """A balance is the sum of its entries, and was never below zero."""
    sums = Counter[str]()
    for entry in world.rows(BalanceEntry):
        sums[entry.account] += entry.amount
        assert entry.balance == sums[entry.account] >= 0
    assert {account.id: account.balance for account in world.rows(Account)} == {a.id: sums[a.id] for a in world.rows(Account)}


def money(world: World) -> None:
    """What the bank has taken, less what it gave back, is what was invoiced, less what was credited, and what the account is still owed;
    and the bank has taken what we think it has."""
    invoiced, banked, balance = Counter[str](), Counter[str](), Counter[str]()
    for invoice in world.rows(Invoice):
        invoiced[invoice.account] += invoice.total
    for account in world.rows(Account):
        balance[account.id] = account.balance
    taken = {payment.id: payment.captured for payment in world.rows(Payment) if payment.captured}
    assert taken == {key: amount.amount for key, amount in world.books.taken.items() if amount.amount}
    for key, amount in world.books.taken.items():
        banked[world.books.owner[key]] += amount.amount
    refunds = {row.id: row for row in world.rows(Refund)}
    for row in refunds.values():
        banked[row.account] -= row.amount
    assert {key: amount.amount for key, (_, amount) in world.books.given_back.items()} == {
        row.id: row.amount for row in refunds.values() if row.id in world.books.given_back
    }
    assert {row.status for row in refunds.values() if row.id not in world.books.given_back} <= {"created"}
    for account in world.accounts:
        assert banked[account] == invoiced[account] + balance[account], account


def foretold(world: World, said: dict[str, list[tuple[Any, ...]]], since: datetime) -> None:
    """What was billed on the way is what the timelines had said, up to where a card was refused or the subscription ended."""
    done = {order.id for order in world.rows(Order) if order.kind == "renewal" and order.status in DONE and order.created_at > since}
    billed = defaultdict(list)
    for line in world.rows(OrderLine):
        for item in line.items if line.order in done else ():
            billed[line.subscription].append((*item["period"].values(), item["net"]["amount"], item["tax"]["amount"]))
    for each in world.subscriptions:
        told = said.get(each.id, [])
        assert billed[each.id] == (told if each.status == "active" else told[: len(billed[each.id])]), each.id


def states(world: World) -> None:
    """Nothing is left half done, and what runs is in its period."""
    assert [row for row in world.rows(Setback) if row.work != COLLECTING] == []  # what is owed in the end may find no card
    assert {order.status for order in world.rows(Order)} <= {*DONE, "failed", "cancelled"}
    assert [order.problem for order in world.rows(Order) if order.problem] == []
    zones = {account.id: account.today(world.shop.engine) for account in world.rows(Account)}
    for each in world.subscriptions:
        today = zones[each.account]
        assert each.changing is None
        assert each.seats_assigned <= each.seats
        assert (each.status == "cancelled") == (each.cancelled_at is not None)
        if each.status in ("active", "trialing"):
            assert each.period_start <= today < each.period_end, (each.id, today)
        if each.status == "past_due":
            assert each.period_end <= today
        if each.cancel_at is not None and each.status not in ("cancelled", "paused"):
            assert today < each.cancel_at


def documents(world: World) -> list[tuple[Any, ...]]:
    """Every document with its lines, without what is drawn anew in each world: ids, and the numbers, whose order an outage may change."""
    subscriptions = {each.id: number for number, each in enumerate(world.subscriptions)}
    lines = defaultdict(list)
    for line in world.rows(InvoiceLine):
        what = (line.kind, line.description, line.seats, line.period_start, line.period_end, line.net, line.tax, line.rate)
        lines[line.invoice].append((subscriptions[line.subscription], *what))
    return sorted(
        (world.accounts.index(row.account), row.issued_on, row.kind, row.status, row.total, tuple(sorted(lines[row.id])))
        for row in world.rows(Invoice)
    )


def lives(world: World) -> list[tuple[Any, ...]]:
    """How every subscription stands."""
    names = ("plan", "interval", "seats", "status", "period_start", "period_end", "anchor_day", "term_amount", "next_charge", "cancel_at")
    return [tuple(getattr(each, name) for name in names) for each in world.rows(Subscription)]
