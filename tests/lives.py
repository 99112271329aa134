"""Runs the lives of subscriptions that docs/billing.md tells, in a shop, and writes down what was billed as the document does.

An example is a block of the language `life`. Its first lines are plans (`Team: 10.00 a month, 100.00 a year, 14 days of trial`), perhaps
the buyer (`Buyer: FI`; without, one to whom no tax is owed) and coupons (`Coupon: HELLO, 20 % off 2 periods`). Then come days with what
happens on them, and beneath each what is billed for it. A word for something else that can happen is a function below, marked with the
pattern that it answers to.
"""

import re

from core.access import INTERNAL
from core.cancellations import cancel
from core.carts import change_cart
from core.orders import Order, lines_of
from core.pauses import pause, resume
from core.payment_methods import add_method, save_at_provider
from core.payments import Refund
from core.rules.policies import DIRECTIONS
from core.subscriptions import Subscription
from puesto import ChangePolicy, Money, Plan, Price, Product, Trial, eur, hookimpl

INDENT = " " * 12
WORDS = {}


def word(pattern):
    def remember(function):
        WORDS[re.compile(pattern)] = function
        return function

    return remember


class Life:
    """One example, as it goes. `told` becomes the block again."""

    def __init__(self, open_shop, text):
        head = re.search(r"\A(?:\D.*\n)+", text)[0]
        self.told, self.days = head.splitlines(), re.findall(r"^(\d{4}-\d\d-\d\d)  (.+)$", text, re.MULTILINE)
        self.policies, self.subscription, self.seen, self.news = {}, None, "", []
        heads = [line.partition(": ")[::2] for line in self.told]
        buyer = dict(heads).get("Buyer", "US")
        plans = [(name, offers) for name, offers in heads if name not in ("Buyer", "Coupon")]
        codes = dict(map(coupon, (what for name, what in heads if name == "Coupon")))
        self.shop = open_shop(
            plugins={"example": Example([self.plan(tier, *each) for tier, each in enumerate(plans)])}, tables={"coupons": {"codes": codes}}
        )
        self.shop.on(self.days[0][0])
        self.account = self.shop.open_account(country=buyer, time_zone="UTC")

    def plan(self, tier, name, offers):
        prices = [Price.per_seat(interval, eur(unit)) for unit, interval in re.findall(r"([\d.]+) a (month|year)", offers)]
        days = re.search(r"(\d+) days of trial", offers)
        trial = Trial(days=int(days[1]), seats=100, requires_payment_method=True) if days else None
        return Plan(name, {"en": name}, tier, prices, trial=trial, changes=self.policies)

    def tell(self):
        """The block, with what was really billed."""
        for day, happening in self.days:
            self.shop.on(day)
            self.told.append(f"{day}  {happening}")
            function, match = next((f, m) for pattern, f in WORDS.items() if (m := pattern.fullmatch(happening)))
            function(self, *match.groups())
            self.told.extend(f"{INDENT}{line}" for line in self.billed())
        return "\n".join(self.told) + "\n"

    def billed(self):
        new = (Order.account == self.account.id) & (Order.id > self.seen) & (Order.status == "completed")
        orders = self.shop.engine.db.all(Order.select().where(new).order_by(Order.id))
        for order in orders:
            self.seen = order.id
            yield from (row for line in lines_of(self.shop.engine, order) for item in line.items for row in told_item(item))
        yield from self.news
        self.news.clear()
        yield "; ".join([*(self.totals(orders)), self.next()])

    def totals(self, orders):
        for order in orders:
            yield f"due {written(order.due_now)}"
            yield from (f"credit {name} {written(amount)}" for name in ("used", "left") if (amount := getattr(order, f"credit_{name}")))

    def next(self):
        shown = self.shop.show(self.subscription)
        if unpaid := shown["past_due"]:
            again = f"tried again on {unpaid['next_try'][:10]}" if unpaid["next_try"] else "not tried again"
            return f"past due; {again}, ends on {unpaid['ends_at'][:10]}"
        charge = shown["next_charge"]
        return f"next {written(charge['amount']['amount'])} on {charge['date']}" if charge else "nothing follows"


class Example:
    def __init__(self, plans):
        self.plans = plans

    @hookimpl
    def register_products(self):
        return [Product("example", {"en": "Example"}, plans=self.plans)]


def coupon(text):
    """A code and what the settings say of it: `HELLO, 20 % off 2 periods`."""
    code, percent, periods = re.fullmatch(r"(\w+), ([\d.]+) % off (\d+) periods", text).groups()
    return code, {"percent": percent, "periods": int(periods)}


def written(amount):
    return str(Money(amount, "EUR").decimal())


def told_item(item):
    days = f"{item['period']['start']} to {item['period']['end']}"
    yield f"{item['kind']} {item['explanation'][0]['formula']} = {written(abs(item['net']['amount']))}, {days}"
    if item["tax"]["amount"]:
        yield f"tax {written(item['net']['amount'])} x {item['rate']} % = {written(item['tax']['amount'])}"


@word(r"buy (\d+) seats? of (\w+) by the (month|year)(, with a card that is refused later)?")
def buy(life, seats, plan, interval, refused):
    token = "tok_ok_then_declined" if refused else "tok_ok"
    life.subscription = life.shop.buy(plan, seats=int(seats), interval=interval, account=life.account, token=token, save=True)


@word(r"another card is stored")
def store(life):
    saved = save_at_provider(life.shop.engine, life.account.id, INTERNAL, "sandbox", "tok_ok")
    add_method(life.shop.engine, life.account.id, INTERNAL, "sandbox", saved)
    life.shop.run()


@word(r"buy (\d+) seats? of (\w+) by the (month|year) with (\w+)")
def buy_with_coupon(life, seats, plan, interval, code):
    cart = life.shop.cart({"mode": "buy", "plan": plan, "seats": int(seats), "interval": interval}, account=life.account)
    order = life.shop.order(change_cart(life.shop.engine, cart.id, INTERNAL, coupon=code), token="tok_ok", save=True)
    life.subscription = life.shop.engine.db.get(Subscription, order["subscriptions"][0])


@word(r"try (\d+) seats? of (\w+)")
def try_out(life, seats, plan):
    life.subscription = life.shop.try_out(plan, seats=int(seats), account=life.account, token="tok_ok", save=True)


@word(r"change to (\d+) seats?(?: of (\w+))?(?: by the (month|year))?(?:, ([\w/]+))?")
def change(life, seats, plan, interval, policy):
    """A policy is a name, or its four switches: `now/keep/none/now`. None: those of the engine's defaults."""
    own = ChangePolicy("own", *policy.split("/")) if policy and "/" in policy else policy
    life.policies.clear()
    life.policies.update(dict.fromkeys(DIRECTIONS, own) if own else {})
    wanted = {"seats": int(seats), "plan": plan, "interval": interval}
    life.shop.change(life.subscription, **{name: value for name, value in wanted.items() if value})


@word(r"what is due is billed")
def bill(life):
    life.shop.run()


@word(r"cancel at the period's end")
def cancel_later(life):
    cancel(life.shop.engine, life.subscription.id, INTERNAL, at="period_end")


@word(r"cancel now, (none|credit|refund)")
def cancel_now(life, policy):
    """What becomes of the unused days, and of the tax in them."""
    ended = cancel(life.shop.engine, life.subscription.id, INTERNAL, at="now", unused=policy).unused
    net, tax, total = (written(ended[name]["amount"]) for name in ("net", "tax", "total"))
    life.news.extend(f"credit note {step['formula']} = {net}, with its tax {tax}: {total}" for step in ended["explanation"])
    refunded = sum(life.shop.engine.db.get(Refund, refund).amount for refund in ended["refunds"])
    balance = life.shop.refresh(life.account).balance
    life.news.append(f"refunded {written(refunded)}, balance {written(balance)}")


@word(r"pause (now|at the period's end)")
def pause_it(life, when):
    pause(life.shop.engine, life.subscription.id, INTERNAL, at="now" if when == "now" else "period_end")


@word(r"resume")
def resume_it(life):
    resume(life.shop.engine, life.subscription.id, INTERNAL)
