"""Changes that take effect now and are collected with the next invoice: by hand, once, and also where no next invoice comes."""

from collections import Counter
from contextlib import suppress
from functools import partial
from itertools import count

import pytest

from core.accounts import update_account
from core.cancellations import cancel, end_due
from core.engine.setbacks import Setback
from core.invoices import Invoice, InvoiceLine, invoice_document
from core.orders import Order
from core.payments import Payment
from core.put_off import collect_put_off
from core.renewals import renew, renew_due
from core.subscriptions import Subscription
from core.timeline import timeline
from core.worker import run_round
from puesto import ChangePolicy, Plan, Price, Product, ProviderTimeout, eur, hookimpl
from puesto.testing.shop import INTERNAL
from tests.core.racing import at_once
from tests.core.test_checkout_crashes import Fuse, PowerCut, Street

LATER = ChangePolicy("later", "now", "keep", "unused", "next_invoice")
FORFEIT_LATER = ChangePolicy("forfeit_later", "now", "keep", "none", "next_invoice")
PLUGINS = ["sandbox", "club", "vat", "vat_rates"]


def club(changes):
    """Basic at 10.00 and Pro at 20.00 a month; 100.00 and 200.00 a year."""

    class Club:
        @hookimpl
        def register_products(self):
            def plan(name, tier):
                prices = [Price.per_seat("month", eur("10.00") * tier), Price.per_seat("year", eur("100.00") * tier)]
                return Plan(f"club-{name}", {"en": name.title()}, tier, prices, changes=changes)

            return [Product("club", {"en": "Club"}, [plan("basic", 1), plan("pro", 2)])]

    return Club()


@pytest.fixture
def open_club(open_shop):
    return lambda policy=LATER, **changes: open_shop(
        plugins={"club": club(dict.fromkeys(("seats_up", "seats_down", "plan_up", "plan_down"), policy) | changes)}
    )


def euros(amount):
    return amount / 100


def total(shown):
    return euros(shown["amount"])


def invoices(shop, account=None):
    """Every invoice and credit note, the oldest first: its lines as (kind, seats, from, to, net), and net, tax, total."""
    found = shop.engine.db.all(Invoice.select().order_by(Invoice.id))
    documents = [invoice_document(shop.engine, each) for each in found if account in (None, each.account)]
    return [
        (
            [
                (each["kind"], each["seats"], each["period"]["start"][5:], each["period"]["end"][5:], total(each["net"]))
                for each in document["lines"]
            ],
            *(total(document[name]) for name in ("net", "tax", "total")),
        )
        for document in documents
    ]


def taken(shop):
    return [euros(charge.amount.amount) for charge in shop.engine.providers["sandbox"].charges() if charge.status == "captured"]


def buy(shop, seats=3, plan="club-basic", **options):
    return shop.buy(plan, seats=seats, token="tok_ok", save=True, **options)


def on(shop, day):
    shop.on(day)
    shop.run()


# Bought on 03-01 (3 seats of Basic, 30.00), changed on 03-11: 21 of 31 days are left, and 21 % is the tax.
@pytest.mark.parametrize(
    ("policy", "changes", "put_off", "lines", "sums"),
    [
        (  # 30.00 x 21/31 = 20.3226; 60.00 x 21/31 = 40.6452; tax 8.5365 - 4.2672; then 60.00
            LATER,
            {"seats": 6},
            24.60,
            [("charge", 6, "03-11", "04-01", 40.65), ("credit", 3, "03-11", "04-01", -20.32), ("charge", 6, "04-01", "05-01", 60.00)],
            (80.33, 16.87, 97.20),
        ),
        (  # nothing goes back: 40.65 + 8.54; then 60.00
            FORFEIT_LATER,
            {"seats": 6},
            49.19,
            [("charge", 6, "03-11", "04-01", 40.65), ("charge", 6, "04-01", "05-01", 60.00)],
            (100.65, 21.14, 121.79),
        ),
        (  # 10.00 x 21/31 = 6.7742; tax 1.4217 - 4.2672; then 10.00
            LATER,
            {"seats": 1},
            -16.40,
            [("charge", 1, "03-11", "04-01", 6.77), ("credit", 3, "03-11", "04-01", -20.32), ("charge", 1, "04-01", "05-01", 10.00)],
            (-3.55, -0.75, -4.30),
        ),
        (  # to Pro: 60.00 x 21/31
            LATER,
            {"plan": "club-pro"},
            24.60,
            [("charge", 3, "03-11", "04-01", 40.65), ("credit", 3, "03-11", "04-01", -20.32), ("charge", 3, "04-01", "05-01", 60.00)],
            (80.33, 16.87, 97.20),
        ),
    ],
    ids=["seats up", "seats up, forfeited", "seats down", "plan up"],
)
def test_what_is_put_off_stands_on_the_invoice_of_the_next_renewal(open_club, policy, changes, put_off, lines, sums):
    shop = open_club(policy)
    subscription = buy(shop)
    shop.on("2026-03-11")

    order = shop.change(subscription, **changes)

    shown, [line] = shop.show(subscription), order["lines"]
    assert (order["status"], total(order["total"]), order["payment"], order["invoice"]) == ("completed", 0.0, None, None)
    assert (shown["plan"], shown["seats"]) == (changes.get("plan", "club-basic"), changes.get("seats", 3))
    assert (shown["current_period"]["end"], len(taken(shop)), len(invoices(shop))) == ("2026-04-01", 1, 1)
    assert (total(shown["put_off"]), total(line["put_off"])) == (put_off, put_off)
    assert (shown["next_charge"], total(shown["next_charge"]["amount"])) == (line["next_charge"], sums[-1])
    assert len([step for step in line["explanation"] if step["rule"] == "tax"]) == len(lines) - 1
    foretold = timeline(shop.engine, subscription.id, INTERNAL)["invoices"][0]
    on(shop, "2026-04-01")

    assert invoices(shop)[1:] == [(lines, *sums)]
    assert [foretold[name]["amount"] for name in ("net", "tax", "total")] == [round(each * 100) for each in sums]
    assert taken(shop)[1:] == [sums[-1]] * (sums[-1] > 0)
    assert shop.account.balance == max(-round(sums[-1] * 100), 0)
    after = shop.show(subscription)
    assert (after["put_off"]["amount"], after["next_charge"]["amount"]["amount"]) == (0, foretold["total"]["amount"] - round(put_off * 100))
    on(shop, "2026-05-01")
    assert len(invoices(shop)[2][0]) == 1


def test_many_changes_wait_together_and_the_later_credits_what_the_earlier_will_charge(open_club):
    shop = open_club()
    subscription = buy(shop)
    shop.on("2026-03-11")
    shop.change(subscription, seats=6)
    shop.change(subscription, seats=4)  # on the same day
    shop.on("2026-03-31")
    shop.change(subscription, seats=5)  # on the last

    on(shop, "2026-04-01")

    [(lines, net, *_)] = invoices(shop)[1:]
    assert [line[-1] for line in lines] == [40.65, -20.32, 27.10, -40.65, 1.61, -1.29, 50.00]  # 40.00 x 21/31, x 1/31, 50.00 x 1/31
    assert net == pytest.approx(57.10)
    assert len({line.item for line in shop.engine.db.all(InvoiceLine.select())}) == 8


def test_a_change_that_waits_leaves_it_and_one_that_is_collected_at_once_brings_it_along(open_club):
    shop = open_club(plan_up="prorate", seats_down="next_period")
    subscription = buy(shop)
    shop.on("2026-03-11")
    shop.change(subscription, seats=6)
    waits = shop.change(subscription, seats=2)["lines"][0]
    assert (total(waits["put_off"]), total(waits["next_charge"]["amount"])) == (24.60, 48.80)  # 20.00 + 4.20 + 24.60

    order = shop.change(subscription, plan="club-pro")

    # put off: 40.65 and -20.32; now 60.00 x 21/31 back, 120.00 x 21/31
    assert [line[-1] for line in invoices(shop)[1][0]] == [40.65, -20.32, 81.29, -40.65]
    assert (total(order["lines"][0]["subtotal"]), total(order["lines"][0]["credit"])) == (121.94, 60.97)
    assert taken(shop)[1] == total(order["total"]) == invoices(shop)[1][-1]
    shown = shop.show(subscription)
    assert (shown["put_off"]["amount"], total(shown["next_charge"]["amount"])) == (0, 48.40)  # 2 x 20.00 + 21 %


def test_it_is_taxed_as_on_the_day_of_the_change(open_club):
    shop = open_club()
    subscription = buy(shop)
    shop.on("2026-03-11")
    shop.change(subscription, seats=6)
    update_account(shop.engine, shop.account.id, INTERNAL, country="DE")

    on(shop, "2026-04-01")

    document = invoice_document(shop.engine, shop.engine.db.all(Invoice.select().order_by(Invoice.id))[1])
    assert [(line["rate"], total(line["tax"])) for line in document["lines"]] == [("21", 8.54), ("21", -4.27), ("19", 11.40)]


def test_a_change_whose_card_is_refused_leaves_what_was_put_off(open_club):
    shop = open_club(plan_up="prorate")
    subscription = shop.buy("club-basic", seats=3, token="tok_ok_then_declined", save=True)
    shop.change(subscription, seats=6)
    before = shop.refresh(subscription).put_off

    on(shop, "2026-04-01")

    assert (shop.show(subscription)["status"], shop.refresh(subscription).put_off) == ("past_due", before)
    assert len(invoices(shop)) == 1


# --- where no renewal comes


def test_what_is_owed_is_collected_as_the_subscription_ends(open_club):
    shop = open_club()
    subscription = buy(shop)
    shop.on("2026-03-11")
    shop.change(subscription, seats=6)
    cancel(shop.engine, subscription.id, INTERNAL, at="period_end")
    on(shop, "2026-03-31")
    assert (len(invoices(shop)), total(shop.show(subscription)["put_off"])) == (1, 24.60)
    foretold = timeline(shop.engine, subscription.id, INTERNAL)

    on(shop, "2026-04-01")

    lines = [("charge", 6, "03-11", "04-01", 40.65), ("credit", 3, "03-11", "04-01", -20.32)]
    assert invoices(shop)[1:] == [(lines, 20.33, 4.27, 24.60)]
    assert (taken(shop)[1:], shop.show(subscription)["status"], shop.show(subscription)["put_off"]["amount"]) == ([24.60], "cancelled", 0)
    order = shop.engine.db.all(Order.select().order_by(Order.id))[-1]
    assert (order.kind, order.status) == ("renewal", "completed")
    [bill] = foretold["invoices"]
    assert (foretold["ends_on"], bill["date"], total(bill["total"])) == ("2026-04-01", "2026-04-01", 24.60)
    assert bill["lines"] == invoice_document(shop.engine, shop.engine.db.first(Invoice.select().where(Invoice.order == order.id)))["lines"]
    assert timeline(shop.engine, subscription.id, INTERNAL)["invoices"] == []
    on(shop, "2026-05-01")
    assert len(invoices(shop)) == 2


def test_what_goes_back_is_credited_as_the_subscription_ends(open_club):
    shop = open_club()
    subscription = buy(shop)
    shop.on("2026-03-11")
    shop.change(subscription, seats=1)
    cancel(shop.engine, subscription.id, INTERNAL, at="period_end")

    on(shop, "2026-04-01")

    assert (invoices(shop)[1][1:], shop.account.balance, taken(shop)) == ((-13.55, -2.85, -16.40), 1640, [36.30])
    assert shop.show(subscription)["status"] == "cancelled"


def test_cancelled_now_it_is_collected_first_and_then_what_was_not_used_is_credited(open_club):
    shop = open_club()
    subscription = buy(shop)
    shop.on("2026-03-11")
    shop.change(subscription, seats=6)
    shop.on("2026-03-21")

    cancel(shop.engine, subscription.id, INTERNAL, at="now", unused="credit")
    assert shop.show(subscription)["status"] == "active"  # until the worker looks
    shop.run()

    # 60.00 x 11/31 = 21.2903 of the 40.65 that was charged last
    assert [each[1] for each in invoices(shop)] == [30.00, 20.33, -21.29]
    assert (shop.show(subscription)["status"], taken(shop)) == ("cancelled", [36.30, 24.60])
    assert shop.account.balance == 2129 + 447  # and its tax


def test_who_can_t_be_charged_ends_all_the_same_and_the_debt_is_kept_in_view(open_club):
    shop = open_club()
    subscription = shop.buy("club-basic", seats=3)
    shop.on("2026-03-11")
    shop.change(subscription, seats=6)
    cancel(shop.engine, subscription.id, INTERNAL, at="period_end")

    on(shop, "2026-04-01")

    [setback] = shop.engine.db.all(Setback.select())
    assert (setback.work, setback.subject) == ("collect_put_off", subscription.id)
    assert "24.60" in setback.error
    assert (shop.show(subscription)["status"], total(shop.show(subscription)["put_off"])) == ("cancelled", 24.60)
    buy(shop)
    on(shop, "2026-04-02")
    assert (taken(shop)[-1], shop.show(subscription)["put_off"]["amount"], shop.count(Setback)) == (24.60, 0, 0)


def test_a_refused_card_is_tried_again_ever_more_rarely(open_club):
    shop = open_club()
    subscription = shop.buy("club-basic", seats=3, token="tok_ok_then_declined", save=True)
    shop.change(subscription, seats=6)
    cancel(shop.engine, subscription.id, INTERNAL, at="period_end")

    on(shop, "2026-04-01")
    shop.run()

    failed = [order.status for order in shop.engine.db.all(Order.select().order_by(Order.id))][2:]
    assert (failed, shop.show(subscription)["status"]) == (["failed"], "cancelled")
    assert shop.events("subscription.past_due") == []
    assert len(shop.events("payment.failed")) == 1


# --- once


def test_two_workers_bring_it_onto_one_invoice(open_club, open_shop):
    shop = open_club()
    plugins = {"club": club({"seats_up": LATER})}
    workers = [shop, *(open_shop(plugins=plugins, folder=shop.folder) for _ in range(3))]
    bought = [buy(shop, account=shop.open_account()) for _ in range(3)]
    for number, each in enumerate(bought):
        shop.change(each, seats=6)
        if number:
            cancel(shop.engine, each.id, INTERNAL, at="period_end")
    for worker in workers:
        worker.on("2026-04-01")

    at_once(shop, [partial(run_round, worker.engine) for worker in workers])
    shop.run()

    for each in bought:
        kinds = Counter(line[0] for invoice in invoices(shop, each.account) for line in invoice[0] if line[2] == "03-01")
        assert kinds == {"charge": 2, "credit": 1}
    assert sum(taken(shop)) == pytest.approx(sum(invoice[-1] for invoice in invoices(shop)))


@pytest.mark.parametrize("ends", [False, True], ids=["renewed", "ended"])
def test_a_run_that_dies_collects_it_once(tmp_path, new_shop, ends):
    street = Street(partial(new_shop, tmp_path, {"club": club({"seats_up": LATER})}, enabled=PLUGINS))
    for at in count(1):
        shop = street.shop
        account = shop.open_account()
        subscription = buy(shop, account=account)
        shop.change(subscription, seats=6)
        if ends:
            cancel(shop.engine, subscription.id, INTERNAL, at="period_end")
        on_the_day = shop.refresh(subscription).period_end.isoformat()
        shop.on(on_the_day)  # the accounts before it are left alone
        fuse = Fuse(shop, at)
        with suppress(PowerCut):
            bill(shop, account)
        street.restart()
        for _ in range(3):
            street.recover(rounds=(0, 1))
            bill(street.shop, account)

        found = invoices(street.shop, account.id)
        assert [len(lines) for lines, *_ in found] == [1, 2 if ends else 3]
        charges = street.charges().values()
        mine = sum(each.amount.amount for each in charges if each.status == "captured" and payer(street, each) == account.id)
        assert mine == round(sum(invoice[-1] for invoice in found) * 100)
        row = street.shop.engine.db.get(Subscription, subscription.id)
        assert (row.status, row.put_off, row.changing) == ("cancelled" if ends else "active", None, None)
        if not fuse.blown:
            break


def bill(shop, account):
    """What a round does that this is about."""
    collect_put_off(shop.engine)
    end_due(shop.engine)
    renew(shop.engine, [account.id])


def payer(street, charge):
    return street.shop.engine.db.get(Payment, charge.payment_id).account


def test_a_renewal_run_alone_leaves_what_ends_to_the_final_bill(open_club):
    shop = open_club()
    subscription = buy(shop)
    shop.change(subscription, seats=6)
    cancel(shop.engine, subscription.id, INTERNAL, at="period_end")
    shop.on("2026-04-01")

    renew_due(shop.engine)

    assert len(invoices(shop)) == 1


def test_a_subscription_does_not_end_before_what_was_put_off_is_collected(open_club):
    shop = open_club()
    subscription = buy(shop)
    shop.change(subscription, seats=6)
    cancel(shop.engine, subscription.id, INTERNAL, at="period_end")
    shop.on("2026-04-01")

    end_due(shop.engine)
    assert shop.show(subscription)["status"] == "active"
    collect_put_off(shop.engine)
    end_due(shop.engine)

    assert (shop.show(subscription)["status"], len(invoices(shop))) == ("cancelled", 2)


def test_a_provider_that_gives_no_answer_is_asked_again_and_nothing_stays_behind(open_club, monkeypatch):
    shop = open_club()
    subscription = buy(shop)
    shop.change(subscription, seats=6)
    cancel(shop.engine, subscription.id, INTERNAL, at="period_end")
    shop.on("2026-04-01")

    def silent(request):
        raise ProviderTimeout("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(shop.engine.providers["sandbox"], "initiate_payment", silent)
        collect_put_off(shop.engine)
    assert (shop.count(Setback), len(invoices(shop)), shop.show(subscription)["status"]) == (1, 1, "active")
    on(shop, "2026-04-02")

    assert (shop.count(Setback), len(invoices(shop)), len(taken(shop)), shop.show(subscription)["status"]) == (0, 2, 2, "cancelled")
