"""Any cart and any life of a subscription: the figures add up, follow from what explains them, and no day is paid for twice."""

from contextlib import contextmanager
from datetime import date, timedelta
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import SeatsOutOfRange, ValidationFailed
from core.invoices import Invoice, invoice_document
from core.quotes import quote_document
from core.rules.money import round_half_away
from core.rules.periods import next_boundary
from core.subscriptions import Subscription
from plugins.products import gotoassist, gotomeeting, gotowebinar, rescue
from puesto.testing.shop import START

pytestmark = pytest.mark.only_on("sqlite", reason="figures are worked out in Python, and each example has a database of its own")

PLANS = {
    plan.id: plan
    for module in (gotoassist, gotomeeting, gotowebinar, rescue)
    for plan in vars(module).values()
    if getattr(plan, "prices", None)
}
BUYERS = (
    {"country": "ES"},
    {"country": "FI"},
    {"country": "HU"},
    {"country": "US"},
    {"country": "DE", "tax_id": "DE136695976"},
)
INTERVALS = ("month", "year")
FIRST_DAY = date.fromisoformat(START)


def seats(plan):
    """A number of seats that a plan is sold with, at most 40 steps above its minimum."""
    rule = PLANS[plan].seats
    most = 40 if rule.max is None else min(40, (rule.max - rule.min) // rule.step)
    return st.integers(0, most).map(lambda steps: rule.min + steps * rule.step)


@st.composite
def purchase(draw):
    plan = draw(st.sampled_from(sorted(PLANS)))
    return {"mode": "buy", "plan": plan, "interval": draw(st.sampled_from(INTERVALS)), "seats": draw(seats(plan))}


@st.composite
def change(draw, product):
    """Days that go by, and what is changed then: plan, seats that it is sold with, and perhaps the interval."""
    plan = draw(st.sampled_from(sorted(each for each in PLANS if each.startswith(product))))
    changes = {"plan": plan, "seats": draw(seats(plan))}
    if draw(st.integers(0, 3)) == 0:
        changes["interval"] = draw(st.sampled_from(INTERVALS))
    return draw(st.integers(0, 20)), changes


@st.composite
def life(draw):
    """A purchase on some day, and changes after it."""
    bought = draw(purchase())
    product = bought["plan"].split("-")[0]
    return draw(st.integers(0, 800)), bought, draw(st.lists(change(product), min_size=1, max_size=6))


@contextmanager
def another(new_shop):
    with TemporaryDirectory() as folder:
        shop = new_shop(Path(folder))
        yield shop
        shop.close()


def amount(document, *names):
    values = tuple(document[name]["amount"] for name in names)
    return values if len(values) > 1 else values[0]


def total_of(documents, name):
    return sum(amount(document, name) for document in documents)


def check_line(line):
    """The figures of a line add up, and its explanation leads to each."""
    assert amount(line, "net") == amount(line, "subtotal") - amount(line, "discount") - amount(line, "credit")
    assert amount(line, "total") == amount(line, "net") + amount(line, "tax")
    assert sum(part["amount"]["amount"] for part in line["taxes"]) == amount(line, "tax")
    for step in line["explanation"]:
        exact = Fraction(step["unrounded"])
        assert step["amount"]["amount"] == round_half_away(exact)
        assert (step["rounding"] == "none") == (exact.denominator == 1)
    assert explained(line, "charge", "charge_rest") == amount(line, "subtotal")
    assert explained(line, "credit_unused") == amount(line, "credit")
    assert explained(line, "tax") == amount(line, "tax")


def explained(line, *rules):
    return total_of([step for step in line["explanation"] if step["rule"] in rules], "amount")


def check_sums(document):
    for name in ("net", "tax", "total"):
        assert amount(document, name) == total_of(document["lines"], name)
    assert amount(document, "total") == amount(document, "net") + amount(document, "tax")


def check_invoice(shop, order):
    """The invoice has the order's figures, line by line."""
    if order["invoice"] is None:
        assert all(amount(line, "subtotal", "credit", "tax") == (0, 0, 0) for line in order["lines"])
        return
    invoice = invoice_document(shop.engine, shop.engine.db.get(Invoice, order["invoice"]))
    check_sums(invoice)
    for line in order["lines"]:
        items = [item for item in invoice["lines"] if item["subscription"] == line["subscription"]]
        assert (total_of(items, "net"), total_of(items, "tax")) == amount(line, "net", "tax")
    assert amount(invoice, "net", "tax", "total") == amount(order, "net", "tax", "total")
    assert (invoice["kind"] == "credit_note") == (amount(invoice, "total") < 0)


def buy(new_shop, lines, buyer, currency):
    """What is quoted is ordered, charged and invoiced, and adds up."""
    with another(new_shop) as shop:
        cart = shop.cart(*lines, account=shop.open_account(currency=currency, **buyer))

        quote = quote_document(shop.quote(cart))
        order = shop.order(cart)

        for line in quote["lines"]:
            check_line(line)
        check_sums(quote)
        check_sums(order)
        check_invoice(shop, order)
        names = ("net", "tax", "total", "credit_used", "due_now", "credit_left")
        assert amount(order, *names) == amount(quote, *names)
        assert amount(quote, "due_now") == amount(quote, "total")
        assert [charge.amount.amount for charge in shop.engine.providers["sandbox"].charges()] == [amount(quote, "total")]
        for quoted, ordered in zip(quote["lines"], order["lines"], strict=True):
            assert ordered == {**quoted, "id": ordered["id"], "subscription": ordered["subscription"]}


def check_term(subscription, today):
    """Today is in the period, and the period is one of its interval and anchor."""
    assert subscription.period_start <= today < subscription.period_end
    assert 1 <= subscription.anchor_day <= 31
    assert subscription.period_end == next_boundary(subscription.period_start, subscription.interval, subscription.anchor_day)


def try_change(shop, subscription, changes):
    """The order of a change; None for one that changes nothing, or that a change which waits does not allow."""
    try:
        return shop.change(subscription, **changes)
    except (SeatsOutOfRange, ValidationFailed):
        return None


def paid(total, credit):
    """What is paid of a total by credit, and what is due."""
    used = min(max(total, 0), credit)
    return used, max(total, 0) - used


def live(new_shop, story):
    """A subscription costs what its days were worth."""
    began, bought, changes = story
    with another(new_shop) as shop:
        today = FIRST_DAY + timedelta(days=began)
        shop.on(today.isoformat())
        first = shop.order(shop.cart(bought))
        subscription = shop.engine.db.get(Subscription, first["subscriptions"][0])
        orders, used, balance = [first], Fraction(0), 0

        for days, wanted in changes:
            then = today + timedelta(days=days)
            if then >= subscription.period_end:
                break
            used += Fraction(subscription.term_amount * days, subscription.term.period.days)
            shop.on(then.isoformat())
            order = try_change(shop, subscription, wanted)
            orders += [order] if order else []
            today, subscription = then, shop.refresh(subscription)
            check_term(subscription, today)

        for order in orders:
            for line in order["lines"]:
                check_line(line)
            check_sums(order)
            check_invoice(shop, order)
            balance += max(-amount(order, "total"), 0) - amount(order, "credit_used")
            assert amount(order, "credit_used", "due_now") == paid(amount(order, "total"), balance + amount(order, "credit_used"))
        assert shop.account.balance == balance
        left = Fraction(subscription.term_amount * (subscription.period_end - today).days, subscription.term.period.days)
        shares = [step for order in orders for step in order["lines"][0]["explanation"] if step["denominator"]]
        assert abs(total_of(orders, "net") - used - left) <= Fraction(len(shares), 2)


PURCHASES = (st.lists(purchase(), min_size=1, max_size=8), st.sampled_from(BUYERS), st.sampled_from(["EUR", "USD", "GBP"]))


@settings(max_examples=20)
@given(*PURCHASES)
def test_what_is_quoted_is_ordered_charged_and_invoiced_and_adds_up(new_shop, lines, buyer, currency):
    buy(new_shop, lines, buyer, currency)


@pytest.mark.slow
@pytest.mark.timeout(600)
@settings(max_examples=100)
@given(*PURCHASES)
def test_many_more_purchases_add_up(new_shop, lines, buyer, currency):
    buy(new_shop, lines, buyer, currency)


@settings(max_examples=20)
@given(life())
def test_a_subscription_costs_what_its_days_were_worth_whatever_is_changed(new_shop, story):
    live(new_shop, story)


@pytest.mark.slow
@pytest.mark.timeout(600)
@settings(max_examples=100)
@given(life())
def test_many_more_subscriptions_cost_what_their_days_were_worth(new_shop, story):
    live(new_shop, story)
