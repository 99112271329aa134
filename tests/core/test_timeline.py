"""The timeline: what it foretells is to the cent what is then invoiced, and it writes nothing."""

from datetime import date

import pytest

from core.access import INTERNAL
from core.accounts import check_tax_id, set_tax_id
from core.cancellations import cancel
from core.engine.idempotency import KeyedRequest
from core.errors import Missing, ValidationFailed
from core.invoices import Invoice, invoice_document
from core.pauses import pause, resume
from core.refunds import refund_order
from core.subscriptions import Subscription
from core.timeline import life_of, timeline
from puesto import eur


def foretold(shop, subscription, until=None):
    return timeline(shop.engine, subscription.id, INTERNAL, date.fromisoformat(until) if until else None)


def invoiced(shop, since):
    """The invoices from the day `since` on, the oldest first: their day, and their lines."""
    rows = shop.engine.db.all(Invoice.select().where(Invoice.issued_on >= date.fromisoformat(since)).order_by(Invoice.id))
    documents = [invoice_document(shop.engine, row) for row in rows]
    return [(each["issued_on"], each["lines"]) for each in documents]


def as_invoiced(answer):
    return [(each["date"], each["lines"]) for each in answer["invoices"]]


def bill_in_time(shop, answer):
    """The worker looks on each of the days that were foretold."""
    for each in answer["invoices"]:
        shop.on(each["date"])
        shop.run()


def euros(amount):
    return {"amount": amount, "currency": "EUR"}


def test_an_invoice_to_come_with_how_each_amount_comes_about(shop):
    subscription = shop.buy("gotoassist-professional", seats=5)

    answer = foretold(shop, subscription, "2026-04-30")

    [invoice] = answer.pop("invoices")
    assert answer == {"subscription": subscription.id, "until": "2026-04-30", "ends_on": None}
    [line] = invoice.pop("lines")
    assert invoice == {
        "date": "2026-04-01",
        "plan": "gotoassist-professional",
        "plan_name": "Professional",
        "interval": "month",
        "seats": 5,
        "period": {"start": "2026-04-01", "end": "2026-05-01"},
        "net": euros(30000),
        "tax": euros(6300),
        "total": euros(36300),
    }
    assert [line.pop(name) for name in ("kind", "rate", "category")] == ["charge", "21", "standard"]
    exact = {"days": None, "denominator": None, "rounding": "none"}
    assert line["explanation"] == [
        {"rule": "charge", "amount": euros(30000), "formula": "5 x 60.00", "unrounded": "30000", **exact},
        {"rule": "tax", "amount": euros(6300), "formula": "300.00 x 21 %", "unrounded": "6300", **exact},
    ]


@pytest.mark.parametrize(
    ("begun", "plan", "seats", "interval", "country", "until", "number"),
    [
        ("2027-01-31", "gotoassist-professional", 3, "month", "ES", "2027-04-30", 3),
        ("2028-02-29", "gotowebinar-standard", 7, "year", "FI", "2032-02-29", 4),
        ("2026-12-30", "gotomeeting-professional", 23, "month", "HU", "2027-03-30", 3),
        pytest.param("2027-01-31", "gotomeeting-professional", 23, "month", "HU", "2032-01-31", 60, marks=pytest.mark.slow),
    ],
)
def test_what_is_foretold_is_what_is_invoiced_period_by_period(shop, begun, plan, seats, interval, country, until, number):
    shop.on(begun)
    account = shop.open_account(country=country)
    subscription = shop.buy(plan, seats=seats, interval=interval, account=account, token="tok_ok", save=True)

    answer = foretold(shop, subscription, until)
    bill_in_time(shop, answer)

    assert len(answer["invoices"]) == number
    assert as_invoiced(answer) == invoiced(shop, begun)[1:]


def test_changes_that_wait_are_billed_at_the_next_period_and_hold_from_then_on(shop):
    subscription = shop.buy("gotoassist-professional", seats=5, token="tok_ok", save=True)
    shop.change(subscription, seats=2)
    shop.change(subscription, plan="gotoassist-standard")

    answer = foretold(shop, subscription, "2026-06-01")
    bill_in_time(shop, answer)

    assert [(each["plan"], each["seats"]) for each in answer["invoices"]] == [("gotoassist-standard", 2)] * 3
    assert as_invoiced(answer) == invoiced(shop, "2026-04-01")


def test_a_trial_becomes_paid_on_the_day_after_its_last(shop):
    subscription = shop.try_out("gotomeeting-professional", seats=3, token="tok_ok", save=True)

    answer = foretold(shop, subscription, "2026-05-01")
    bill_in_time(shop, answer)

    assert [each["date"] for each in answer["invoices"]] == ["2026-03-15", "2026-04-15"]
    assert as_invoiced(answer) == invoiced(shop, "2026-03-15")


def test_a_late_run_bills_what_was_foretold_for_the_days_it_missed(shop):
    subscription = shop.buy("gotoassist-professional", token="tok_ok", save=True)
    answer = foretold(shop, subscription, "2026-07-01")

    shop.on("2026-07-01")
    overdue = foretold(shop, subscription, "2026-07-01")
    shop.run()

    assert overdue == answer
    assert [lines for _, lines in as_invoiced(answer)] == [lines for _, lines in invoiced(shop, "2026-07-01")]


def test_reverse_charge_counts_from_the_day_it_is_proven(shop):
    account = shop.open_account(country="DE")
    subscription = shop.buy("gotoassist-professional", account=account, token="tok_ok", save=True)
    before = foretold(shop, subscription)["invoices"][0]

    set_tax_id(shop.engine, account.id, INTERNAL, check_tax_id(shop.engine, "DE136695976", "DE", "/value"))

    after = foretold(shop, subscription)["invoices"][0]
    assert (before["tax"]["amount"], after["tax"]["amount"], after["lines"][0]["category"]) == (1140, 0, "reverse_charge")


def test_without_a_day_it_reaches_a_year_ahead(shop):
    subscription = shop.buy("gotoassist-professional")

    answer = foretold(shop, subscription)

    assert (answer["until"], len(answer["invoices"]), answer["invoices"][-1]["date"]) == ("2027-03-01", 12, "2027-03-01")


def cancelled_later(shop, subscription):
    cancel(shop.engine, subscription.id, INTERNAL, at="period_end")


def cancelled_now(shop, subscription):
    cancel(shop.engine, subscription.id, INTERNAL, at="now")


@pytest.mark.parametrize(("end", "ends_on"), [(cancelled_later, "2026-04-01"), (cancelled_now, "2026-03-01")])
def test_nothing_follows_what_is_cancelled(shop, end, ends_on):
    subscription = shop.buy("gotoassist-professional")
    end(shop, subscription)

    assert [foretold(shop, subscription)[name] for name in ("ends_on", "invoices")] == [ends_on, []]


def test_nothing_follows_a_trial_without_a_payment_method(shop):
    subscription = shop.try_out("gotoassist-standard", seats=1)

    assert [foretold(shop, subscription)[name] for name in ("ends_on", "invoices")] == ["2026-03-31", []]


def test_ten_years_are_foretold_and_no_day_more(shop):
    subscription = shop.buy("gotoassist-professional", interval="year")

    assert len(foretold(shop, subscription, "2036-03-01")["invoices"]) == 10
    with pytest.raises(ValidationFailed, match="reaches 10 years ahead at most: name an earlier day") as error:
        foretold(shop, subscription, "2036-03-02")
    assert [each.pointer for each in error.value.errors] == ["/until"]


def test_a_change_that_waits_for_a_plan_that_is_gone_is_held_back_and_the_old_terms_go_on(open_shop):
    shop = open_shop()
    subscription = shop.buy("gotoassist-professional", seats=5, token="tok_ok", save=True)
    shop.change(subscription, plan="gotoassist-standard")
    later = open_shop(folder=shop.folder, disabled=["gotoassist"])

    answer = foretold(later, subscription, "2026-06-01")
    bill_in_time(later, answer)

    assert [each["plan"] for each in answer["invoices"]] == ["gotoassist-professional"] * 3
    assert as_invoiced(answer) == invoiced(later, "2026-04-01")


def test_it_writes_nothing_and_leaves_the_subscription_as_it_is(shop):
    subscription = shop.buy("gotoassist-professional", seats=5)
    shop.change(subscription, seats=2)
    before, shown = shop.contents(), shop.show(subscription)

    foretold(shop, subscription)

    assert (shop.contents(), shop.show(subscription)) == (before, shown)


def test_another_accounts_is_missing(shop):
    with pytest.raises(Missing):
        timeline(shop.engine, "sub_unknown", INTERNAL)


def test_each_further_period_asks_for_the_same(shop, monkeypatch):
    """Linear: as many questions about tax as there are periods."""
    subscription, asked = shop.buy("gotoassist-professional"), []
    real = shop.engine.plugins.call_plugin

    def counted(plugin, hook, *args, **words):
        asked.append(hook)
        return real(plugin, hook, *args, **words)

    monkeypatch.setattr(shop.engine.plugins, "call_plugin", counted)
    counts = []
    for until in ("2026-04-01", "2026-09-01", "2031-02-01"):
        asked.clear()
        foretold(shop, subscription, until)
        counts.append(asked.count("calculate_tax"))

    assert counts == [1, 6, 59]


# --- the whole life


def written(total):
    return None if total is None else str(total.decimal())


def lived(shop, subscription, until="2026-04-30"):
    stretches = life_of(shop.engine, shop.refresh(subscription), date.fromisoformat(until))
    return [(s.kind, f"{s.period.start} {s.period.end}", s.seats, written(s.total), s.formula, s.document) for s in stretches]


def test_a_life_has_what_was_billed_what_was_credited_and_what_is_to_come(shop):
    subscription = shop.buy("gotoassist-professional", seats=5)
    shop.on("2026-03-11")
    shop.change(subscription, seats=8)

    assert lived(shop, subscription) == [
        ("billed", "2026-03-01 2026-04-01", 5, "363.00", "5 x 60.00", "2026-000001"),
        ("billed", "2026-03-11 2026-04-11", 8, "580.80", "8 x 60.00", "2026-000002"),
        ("credited", "2026-03-11 2026-04-01", 5, "-245.91", "300.00 x 21/31", "2026-000002"),
        ("to come", "2026-04-11 2026-05-11", 8, "580.80", "8 x 60.00", ""),
    ]


def test_a_trial_is_drawn_while_it_runs_and_after_it_was_bought(shop):
    subscription = shop.try_out("gotomeeting-professional", seats=3, token="tok_ok", save=True)
    running = lived(shop, subscription, "2026-03-20")
    shop.on("2026-03-11")
    shop.change(subscription, interval="month")

    assert running == [
        ("trial", "2026-03-01 2026-03-15", 3, None, "", ""),
        ("to come", "2026-03-15 2026-04-15", 3, "50.82", "3 x 14.00", ""),
    ]
    assert lived(shop, subscription, "2026-03-20") == [
        ("trial", "2026-03-01 2026-03-11", 3, None, "", ""),
        ("billed", "2026-03-11 2026-04-11", 3, "50.82", "3 x 14.00", "2026-000001"),
    ]


def test_what_went_back_of_a_line_is_credited_in_a_life(shop):
    order = shop.order(shop.cart({"mode": "buy", "plan": "gotoassist-professional", "seats": 5, "interval": "month"}))
    refund_order(shop.engine, order["id"], INTERNAL, amount=eur("36.30"), reason="sorry", request=KeyedRequest("refund", "1", b""))
    shop.run()

    [subscription] = shop.engine.db.all(Subscription.select())
    assert lived(shop, subscription, "2026-03-01")[1] == ("credited", "2026-03-01 2026-04-01", 5, "-36.30", "", "CN-2026-000001")


def test_a_life_may_be_without_any_bill(shop):
    subscription = shop.try_out("gotoassist-standard", seats=1)
    cancelled_now(shop, subscription)

    assert [kind for kind, *_ in lived(shop, subscription)] == ["trial"]


def test_a_trial_that_was_bought_on_its_first_day_and_that_of_another_product_are_in_no_life(shop):
    tried = shop.try_out("gotomeeting-professional", seats=3, token="tok_ok", save=True)
    shop.change(tried, interval="month")
    shop.on("2026-03-11")
    bought = shop.buy("gotoassist-professional")

    assert [kind for each in (tried, bought) for kind, *_ in lived(shop, each, "2026-03-11")] == ["billed", "billed"]


# --- pauses


def test_nothing_is_to_come_while_it_is_paused_and_later_by_as_many_days_once_it_goes_on(shop):
    subscription = shop.buy("gotoassist-professional", token="tok_ok", save=True)
    shop.on("2026-03-11")
    pause(shop.engine, subscription.id, INTERNAL, at="now")
    paused = foretold(shop, subscription, "2026-05-31")
    shop.on("2026-03-21")
    resume(shop.engine, subscription.id, INTERNAL)

    answer = foretold(shop, subscription, "2026-05-31")
    bill_in_time(shop, answer)

    assert (paused["ends_on"], paused["invoices"]) == (None, [])
    assert [each["date"] for each in answer["invoices"]] == ["2026-04-11", "2026-05-11"]
    assert as_invoiced(answer) == invoiced(shop, "2026-04-01")


def test_nothing_is_to_come_after_a_pause_that_waits(shop):
    subscription = shop.buy("gotoassist-professional")
    pause(shop.engine, subscription.id, INTERNAL, at="period_end")

    assert [foretold(shop, subscription)[name] for name in ("ends_on", "invoices")] == [None, []]


def test_pauses_are_drawn_from_their_first_day_to_the_one_on_which_it_went_on(shop):
    subscription = shop.buy("gotoassist-professional")
    for paused_on, resumed_on in (("2026-03-11", "2026-03-21"), ("2026-03-22", "2026-03-22")):
        shop.on(paused_on)
        pause(shop.engine, subscription.id, INTERNAL, at="now")
        shop.on(resumed_on)
        resume(shop.engine, subscription.id, INTERNAL)
    shop.on("2026-03-25")
    pause(shop.engine, subscription.id, INTERNAL, at="now")
    shop.on("2026-03-26")

    assert [(kind, days) for kind, days, *_ in lived(shop, subscription)] == [
        ("billed", "2026-03-01 2026-04-01"),
        ("paused", "2026-03-11 2026-03-21"),
        ("paused", "2026-03-25 2026-03-27"),
    ]
