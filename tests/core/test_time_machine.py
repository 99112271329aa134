"""The time machine: what falls due is done in the order of date, each at its own instant, however the way is cut into pieces."""

from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count, pairwise

import pytest

from core.access import INTERNAL
from core.cancellations import cancel
from core.engine.clock import SystemClock
from core.engine.events import EventRow
from core.errors import SettingsInvalid
from core.invoices import Invoice, InvoiceLine
from core.pauses import pause
from core.payment_methods import PaymentMethod, default_method
from core.payments import Payment
from core.subscriptions import Subscription
from core.time_machine import next_due, travel
from puesto import hookimpl
from tests.core.racing import at_once
from tests.core.test_checkout_crashes import Fuse, PowerCut, Street

PLUGINS = ["sandbox", "gotoassist", "gotomeeting", "gotowebinar", "vat", "vat_rates", "dunning"]


def instant(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def happened(shop, *types):
    """(type, instant) of events, in the order of writing."""
    rows = shop.engine.db.all(EventRow.select().order_by(EventRow.sequence))
    return [(row.type, f"{row.occurred_at:%Y-%m-%dT%H:%M}") for row in rows if not types or row.type in types]


def people_of(zone):
    return {"name": zone, "email": f"{zone.lower().replace('/', '.')}@acme.example", "time_zone": zone}


def settle_in(shop, *zones):
    """Accounts with all that can fall due: in each zone a period by the month, a change that waits, and a trial with a method; then a card
    that is refused later, a pause, an end, and a card that expires."""
    for zone in zones:
        account = shop.open_account(**people_of(zone))
        shop.change(shop.buy("gotowebinar-standard", seats=3, account=account, token="tok_ok", save=True), seats=2)
        shop.try_out("gotomeeting-professional", seats=2, account=account)
    refused = shop.open_account(**people_of("America/Lima"))
    shop.buy("gotomeeting-professional", seats=7, account=refused, token="tok_ok_then_declined", save=True)
    pause(shop.engine, shop.buy("gotoassist-standard", account=refused).id, INTERNAL, at="period_end")
    ending = shop.open_account(**people_of("UTC"))
    cancel(shop.engine, shop.buy("gotowebinar-standard", account=ending, token="tok_ok", save=True).id, INTERNAL, at="period_end")
    shop.engine.db.update(default_method(shop.engine, ending.id), expires="2026-04")


def documents(shop):
    """Every document, in the order of its number, without what is drawn anew in each shop."""
    names = {row.id: row.buyer["name"] for row in shop.engine.db.all(Invoice.select())}
    lines = shop.engine.db.all(InvoiceLine.select().order_by(InvoiceLine.invoice, InvoiceLine.id))
    found = [
        (line.invoice, names[line.invoice], line.kind, line.seats, line.period_start, line.period_end, line.net, line.tax) for line in lines
    ]
    heads = shop.engine.db.all(Invoice.select().order_by(Invoice.created_at, Invoice.sequence))
    return [(head.number, head.issued_on, head.status, *(each[1:] for each in found if each[0] == head.id)) for head in heads]


def test_the_clock_stops_where_something_falls_due_and_nowhere_else(open_shop):
    shop = open_shop(enabled=PLUGINS)
    for zone in ("Pacific/Kiritimati", "Europe/Madrid", "Pacific/Niue"):
        shop.buy("gotoassist-standard", account=shop.open_account(time_zone=zone), token="tok_ok", save=True)
    stops = []

    journey = travel(shop.engine, instant("2026-05-02T12:00"), stops.append)

    assert [f"{stop:%m-%dT%H:%M}" for stop in stops] == [
        "03-01T12:00",
        *("03-31T22:00", "04-01T10:00", "04-01T11:00"),  # it is the 2nd in Kiritimati, by then, where they have bought on the 2nd
        *("04-30T22:00", "05-01T10:00", "05-01T11:00"),
        "05-02T12:00",
    ]
    assert happened(shop, "subscription.renewed") == [("subscription.renewed", f"2026-{stop:%m-%dT%H:%M}") for stop in stops[1:-1]]
    assert journey.days[instant("2026-04-01T00:00").date()] == {"order.completed": 3, "subscription.renewed": 3}
    assert journey.events == {"order.completed": 6, "subscription.renewed": 6}
    assert shop.clock.now() == instant("2026-05-02T12:00")


def test_everything_that_can_fall_due_does_so_at_its_own_instant(open_shop):
    shop = open_shop(enabled=PLUGINS)
    settle_in(shop, "Europe/Madrid", "Pacific/Kiritimati", "Pacific/Niue")
    before = len(shop.events())

    travel(shop.engine, instant("2026-04-09T12:00"))

    kinds = ("order.completed", "subscription.renewed", "subscription.changed", "payment.failed")
    assert [each for each in happened(shop)[before:] if each[0] not in kinds] == [
        ("trial.ending", "2026-03-11T23:00"),  # three days before the end of a trial of 14, in Madrid
        ("trial.ending", "2026-03-12T10:00"),
        ("trial.ending", "2026-03-12T11:00"),
        ("subscription.started", "2026-03-14T23:00"),
        ("subscription.started", "2026-03-15T10:00"),
        ("subscription.started", "2026-03-15T11:00"),
        ("payment_method.expiring", "2026-03-31T00:00"),
        ("subscription.cancelled", "2026-04-01T00:00"),
        ("subscription.paused", "2026-04-01T05:00"),  # midnight in Lima
        ("subscription.past_due", "2026-04-01T05:00"),
        ("past_due.ending", "2026-04-07T05:00"),
        ("subscription.cancelled", "2026-04-08T05:00"),
    ]


@pytest.mark.parametrize(
    ("step", "until"),
    [
        (timedelta(days=9, hours=7), "2026-04-20T12:00"),
        pytest.param(timedelta(days=1), "2027-03-03T12:00", marks=pytest.mark.slow),
        pytest.param(timedelta(days=100), "2027-03-03T12:00", marks=pytest.mark.slow),
    ],
)
def test_however_the_way_is_cut_the_documents_are_the_same(open_shop, step, until):
    at_once, in_steps = open_shop(enabled=PLUGINS), open_shop(enabled=PLUGINS)
    for shop in (at_once, in_steps):
        settle_in(shop, "Pacific/Kiritimati")

    travel(at_once.engine, instant(until))
    while (now := in_steps.clock.now()) < instant(until):
        travel(in_steps.engine, min(now + step, instant(until)))

    assert documents(in_steps) == documents(at_once)
    assert happened(in_steps) == happened(at_once)
    assert len(documents(at_once)) > 5


def test_a_journey_that_is_killed_goes_on_as_if_nothing_had_been(tmp_path, new_shop, open_shop):
    """Ever later, before a commit or a call of the provider."""
    calm, until = open_shop(enabled=PLUGINS), instant("2026-04-02T12:00")
    settle_in(calm, "Pacific/Kiritimati")
    travel(calm.engine, until)
    street = Street(partial(new_shop, tmp_path, enabled=PLUGINS))
    settle_in(street.shop, "Pacific/Kiritimati")

    for at in count(1):
        fuse = Fuse(street.shop, 2 * at)
        with suppress(PowerCut):
            travel(street.shop.engine, until)
        if not fuse.blown:
            break
        now = street.shop.clock.now()
        street.shop.close()
        street.shop = new_shop(tmp_path, enabled=PLUGINS)
        street.shop.clock.move_to(now)

    assert at > 5
    assert [row[1:] for row in documents(street.shop)] == [row[1:] for row in documents(calm)]
    assert sorted(happened(street.shop)) == sorted(happened(calm))
    assert len(street.charges()) == len({payment.id for payment in street.shop.engine.db.all(Payment.select())})


def test_two_journeys_at_once_do_everything_once(open_shop):
    calm, first = open_shop(enabled=PLUGINS), open_shop(enabled=PLUGINS)
    second = open_shop(enabled=PLUGINS, folder=first.folder)
    for shop in (calm, first):
        settle_in(shop, "Pacific/Kiritimati")
    until = instant("2026-04-02T12:00")

    travel(calm.engine, until)
    at_once(first, [lambda shop=shop: travel(shop.engine, until) for shop in (first, second)])

    assert sorted(row[1:] for row in documents(first)) == sorted(row[1:] for row in documents(calm))
    assert Counter(kind for kind, _ in happened(first)) == Counter(kind for kind, _ in happened(calm))


def test_a_renewal_that_got_no_answer_is_carried_on_as_soon_as_it_can_be(shop):
    subscription = shop.buy("gotoassist-standard", token="tok_ok", save=True)
    gateway, calls = shop.engine.providers["sandbox"], []
    charge = gateway.initiate_payment

    def silent_once(request):
        calls.append(shop.clock.now())
        if len(calls) == 1:
            raise TimeoutError("the line is dead")
        return charge(request)

    gateway.initiate_payment = silent_once

    travel(shop.engine, instant("2026-04-15T12:00"))

    assert (f"{calls[0]:%m-%dT%H:%M}", calls[1] - calls[0]) == ("03-31T22:00", timedelta(seconds=35))
    assert [period["start"] for period in [shop.show(subscription)["current_period"]]] == ["2026-04-01"]
    assert shop.show(subscription)["status"] == "active"


class Deaf:
    """A subscriber that takes nothing in until a day has come."""

    def __init__(self, context):
        self._context = context

    @hookimpl
    def subscription_started(self, event):
        self.tried.append(self._context.now())
        if self._context.now() < instant("2026-03-01T12:00") + timedelta(hours=3):
            raise OSError("not yet")


def test_deliveries_that_failed_are_tried_again_on_the_way(open_shop):
    shop = open_shop(plugins={"deaf": type("Mine", (Deaf,), {"tried": (tried := [])})}, disabled=["email"])
    shop.buy("gotoassist-standard")

    travel(shop.engine, instant("2026-03-02T12:00"))

    pauses = [later - earlier for earlier, later in pairwise(tried)]
    assert len(pauses) > 5
    assert all(timedelta(seconds=2) <= pause <= timedelta(hours=6) for pause in pauses)


def test_in_live_mode_time_is_left_alone(open_shop):
    shop = open_shop(enabled=["gotoassist"], mode="live")
    shop.engine.clock = SystemClock()
    before = shop.contents()

    with pytest.raises(SettingsInvalid, match="The clock can be moved in sandbox mode only"):
        travel(shop.engine, datetime.now(UTC) + timedelta(days=1))

    assert shop.contents() == before


def test_what_has_passed_does_not_come_again(shop):
    before = shop.contents()

    with pytest.raises(ValueError, match="the clock only moves forward"):
        travel(shop.engine, instant("2026-03-01T11:59"))

    assert (shop.contents(), shop.clock.now()) == (before, instant("2026-03-01T12:00"))


def test_where_nothing_waits_nothing_is_due(shop):
    assert next_due(shop.engine, shop.clock.now()) is None
    assert shop.count(Subscription) == shop.count(PaymentMethod) == 0
