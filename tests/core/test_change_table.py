"""Every policy in every direction, and every awkward day, worked out by hand and compared with the invoice."""

from datetime import datetime

import pytest

from core.changes import Change, Means, order_change, preview_change
from core.engine.idempotency import KeyedRequest
from core.invoices import Invoice, invoice_document
from core.quotes import quote_document
from puesto import ChangePolicy, Plan, Price, Product, eur, hookimpl
from puesto.testing.shop import INTERNAL, Shop

POLICIES = {
    "restart": "restart",
    "prorate": "prorate",
    "next_period": "next_period",
    "begin_anew": ChangePolicy("begin_anew", "now", "move", "none", "now"),
    "forfeit": ChangePolicy("forfeit", "now", "keep", "none", "now"),
}
DIRECTIONS = ("seats_up", "seats_down", "plan_up", "plan_down", "interval")
FREE = "free"


class Products:
    """A product per policy, all alike: Basic at 10.00 a month and 120.00 a year, Pro at 20.00 and 240.00; and one that costs nothing."""

    @hookimpl
    def register_products(self):
        return [self._product(name, policy, 1) for name, policy in POLICIES.items()] + [self._product(FREE, "restart", 0)]

    def _product(self, name, policy, unit):
        prices = {
            tier: [Price.per_seat("month", eur("10.00") * tier * unit), Price.per_seat("year", eur("120.00") * tier * unit)]
            for tier in (1, 2)
        }
        changes = dict.fromkeys(DIRECTIONS, policy)
        plans = [Plan(f"{name}-{tier}", {"en": f"{name} {tier}"}, tier, prices[tier], changes=changes) for tier in (1, 2)]
        return Product(name, {"en": name}, plans)


# (policy, bought on, tier, seats, interval) (changed on, what) -> charge, credit, the new period, the total with 21 % of tax on each
ROWS = [
    # Bought on 03-01; on 03-11 21 of 31 days are left. 30.00 x 21/31 = 20.3226
    ("restart", "2026-03-01", 1, 3, "month", "2026-03-11", {"seats": 4}, 40.00, 20.32, "2026-03-11", "2026-04-11", 23.81),
    ("restart", "2026-03-01", 1, 3, "month", "2026-03-11", {"seats": 2}, 20.00, 20.32, "2026-03-11", "2026-04-11", -0.39),
    ("restart", "2026-03-01", 1, 3, "month", "2026-03-11", {"plan": 2}, 60.00, 20.32, "2026-03-11", "2026-04-11", 48.01),
    ("restart", "2026-03-01", 2, 3, "month", "2026-03-11", {"plan": 1}, 30.00, 40.65, "2026-03-11", "2026-04-11", -12.89),
    ("restart", "2026-03-01", 1, 3, "month", "2026-03-11", {"interval": "year"}, 360.00, 20.32, "2026-03-11", "2027-03-11", 411.01),
    # 40.00 x 21/31 = 27.0968; 20.00: 13.5484; 60.00: 40.6452
    ("prorate", "2026-03-01", 1, 3, "month", "2026-03-11", {"seats": 4}, 27.10, 20.32, "2026-03-01", "2026-04-01", 8.20),
    ("prorate", "2026-03-01", 1, 3, "month", "2026-03-11", {"seats": 2}, 13.55, 20.32, "2026-03-01", "2026-04-01", -8.19),
    ("prorate", "2026-03-01", 1, 3, "month", "2026-03-11", {"plan": 2}, 40.65, 20.32, "2026-03-01", "2026-04-01", 24.60),
    ("prorate", "2026-03-01", 2, 3, "month", "2026-03-11", {"plan": 1}, 20.32, 40.65, "2026-03-01", "2026-04-01", -24.60),
    ("prorate", "2026-03-01", 1, 3, "month", "2026-03-11", {"interval": "year"}, 360.00, 20.32, "2026-03-11", "2027-03-11", 411.01),
    # nothing goes back
    ("begin_anew", "2026-03-01", 1, 3, "month", "2026-03-11", {"seats": 4}, 40.00, 0, "2026-03-11", "2026-04-11", 48.40),
    ("begin_anew", "2026-03-01", 1, 3, "month", "2026-03-11", {"seats": 2}, 20.00, 0, "2026-03-11", "2026-04-11", 24.20),
    ("begin_anew", "2026-03-01", 2, 3, "month", "2026-03-11", {"plan": 1}, 30.00, 0, "2026-03-11", "2026-04-11", 36.30),
    ("begin_anew", "2026-03-01", 1, 3, "month", "2026-03-11", {"interval": "year"}, 360.00, 0, "2026-03-11", "2027-03-11", 435.60),
    ("forfeit", "2026-03-01", 1, 3, "month", "2026-03-11", {"seats": 4}, 27.10, 0, "2026-03-01", "2026-04-01", 32.79),
    ("forfeit", "2026-03-01", 1, 3, "month", "2026-03-11", {"plan": 2}, 40.65, 0, "2026-03-01", "2026-04-01", 49.19),
    # nothing is billed now
    ("next_period", "2026-03-01", 1, 3, "month", "2026-03-11", {"seats": 4}, 0, 0, "2026-03-01", "2026-04-01", 0),
    ("next_period", "2026-03-01", 2, 3, "month", "2026-03-11", {"plan": 1}, 0, 0, "2026-03-01", "2026-04-01", 0),
    ("next_period", "2026-03-01", 1, 3, "month", "2026-03-11", {"interval": "year"}, 0, 0, "2026-03-01", "2026-04-01", 0),
    # the same day gives everything back
    ("restart", "2026-03-11", 1, 3, "month", "2026-03-11", {"seats": 4}, 40.00, 30.00, "2026-03-11", "2026-04-11", 12.10),
    # nothing costs nothing
    (FREE, "2026-03-11", 1, 3, "month", "2026-03-11", {"seats": 4}, 0, 0, "2026-03-11", "2026-04-11", 0),
    # DST: clocks go forward in Madrid on 03-29; days are days. 30.00 x 1/31 = 0.9677, 40.00 x 1/31 = 1.2903; and the last day of a period
    ("prorate", "2026-03-01", 1, 3, "month", "2026-03-31", {"seats": 4}, 1.29, 0.97, "2026-03-01", "2026-04-01", 0.39),
    ("restart", "2026-03-01", 1, 3, "month", "2026-03-29", {"seats": 4}, 40.00, 2.90, "2026-03-29", "2026-04-29", 44.89),
    # anchored on the 31st: 03-31 to 04-30 are 30 days, 20 of them from 04-10 on, and one on 04-29
    ("prorate", "2026-03-31", 1, 3, "month", "2026-04-10", {"seats": 4}, 26.67, 20.00, "2026-03-31", "2026-04-30", 8.07),
    ("restart", "2026-03-31", 1, 3, "month", "2026-04-29", {"seats": 4}, 40.00, 1.00, "2026-04-29", "2026-05-29", 47.19),
    # a year over 29 February has 366 days, of which 245 are left on 12-31
    ("prorate", "2027-09-01", 1, 1, "year", "2027-12-31", {"seats": 2}, 160.66, 80.33, "2027-09-01", "2028-09-01", 97.20),
    # begun anew on 29 February, with 338 of 366 days left, it ends on the 28th
    ("restart", "2028-02-01", 1, 1, "year", "2028-02-29", {"seats": 2}, 240.00, 110.82, "2028-02-29", "2029-02-28", 156.31),
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What each row has come to: the preview, the order, its invoice, and the subscription; all in one shop, day by day."""
    shop = Shop(tmp_path_factory.mktemp("table"), {"table": Products()}, enabled=["sandbox", "table", "vat", "vat_rates"])
    begun, found = {}, {}
    for day, changes, number in sorted((row[5 if step else 1], step, number) for number, row in enumerate(ROWS) for step in (0, 1)):
        shop.clock.move_to(max(shop.clock.now(), datetime.fromisoformat(f"{day}T12:00:00+00:00")))
        policy, _, tier, seats, interval, _, what = ROWS[number][:7]
        if changes:
            found[number] = change(shop, begun[number], {**what, **({"plan": f"{policy}-{what['plan']}"} if "plan" in what else {})})
        else:
            account = shop.open_account()
            card = {} if policy == FREE else {"token": "tok_ok", "save": True}
            begun[number] = shop.buy(f"{policy}-{tier}", seats=seats, interval=interval, account=account, **card)
    yield found
    shop.close()


def change(shop, subscription, what):
    preview = quote_document(preview_change(shop.engine, subscription.id, INTERNAL, Change(**what)))
    request = KeyedRequest("test table", subscription.id, b"")
    order = order_change(shop.engine, subscription.id, INTERNAL, Change(**what), Means(), quote=preview["quote"], request=request).body
    invoice = invoice_document(shop.engine, shop.engine.db.get(Invoice, order["invoice"])) if order["invoice"] else None
    charges = [charge for charge in shop.engine.providers["sandbox"].charges() if charge.payment_id == (order["payment"] or {}).get("id")]
    return preview, order, invoice, shop.show(subscription), sum(charge.amount.amount for charge in charges)


@pytest.mark.parametrize("number", range(len(ROWS)), ids=lambda number: f"{ROWS[number][0]} {ROWS[number][5]} {ROWS[number][6]}")
def test_a_change_is_billed_as_by_hand(outcomes, number):
    *_, charge, credit, start, end, total = ROWS[number]
    preview, order, invoice, shown, taken = outcomes[number]

    [line] = order["lines"]
    assert (line["subtotal"]["amount"], line["credit"]["amount"], line["total"]["amount"]) == cents(charge, credit, total)
    assert [each[name] for each in (preview, order) for name in ("net", "tax", "total", "due_now")] == [
        order[name] for name in ("net", "tax", "total", "due_now")
    ] * 2
    assert (shown["current_period"], order["status"]) == ({"start": start, "end": end}, "completed")
    assert shown["anchor_day"] == (31 if (start, end) == ("2026-03-31", "2026-04-30") else int(start[-2:]))
    assert taken == order["due_now"]["amount"] == max(order["total"]["amount"], 0)
    lines = [(each["kind"], each["net"]["amount"]) for each in invoice["lines"]] if invoice else []
    assert lines == [
        (kind, sign * amount) for kind, sign, (amount,) in (("charge", 1, cents(charge)), ("credit", -1, cents(credit))) if amount
    ]
    assert invoice is None or (invoice["total"], invoice["kind"]) == (order["total"], "credit_note" if total < 0 else "invoice")
    waits = ROWS[number][0] == "next_period"
    assert len(shown["pending_changes"]) == waits
    assert shown["next_charge"] == line["next_charge"] == preview["lines"][0]["next_charge"]


def cents(*amounts):
    return tuple(round(amount * 100) for amount in amounts)
