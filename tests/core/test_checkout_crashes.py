"""The process dies at every point of a purchase: nobody is charged twice, or charged for nothing, and nothing stays half done."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import pytest

from core.accounts import Account
from core.carts import Cart, LineInput, claim_cart, create_cart, merge_carts
from core.checkout import checkout, confirm_order, quote_cart
from core.engine.idempotency import KeyedRequest, once
from core.errors import PuestoError
from core.invoices import Invoice
from core.orders import Order
from core.payments import Payment, PaymentChoice, Refund
from core.recovery import recover
from core.refunds import refund_order
from core.seats import assign_seats, assigned_users
from core.subscriptions import Subscription, Trial
from plugins.payments.sandbox import SandboxPlugin, SandboxProvider
from puesto import PaymentProvider, hookimpl
from puesto.testing.shop import INTERNAL, Shop

PLUGINS = ["sandbox", "spare", "gotoassist", "gotomeeting", "vat", "vat_rates"]
SEAT = {"mode": "buy", "plan": "gotoassist-standard", "seats": 1, "interval": "month"}
FREE_TRIAL = {"mode": "trial", "plan": "gotoassist-standard", "seats": 1}
CARD_TRIAL = {"mode": "trial", "plan": "gotomeeting-essentials", "seats": 1}


class Spare(SandboxPlugin):
    """Another provider, with books of its own."""

    @hookimpl
    def register_payment_providers(self) -> list[PaymentProvider]:
        return [type("SpareProvider", (SandboxProvider,), {"name": "spare"})(self._context)]


class PowerCut(BaseException):
    """The process is gone."""


class Fuse:
    """Cuts the power before the `at`-th commit or call of the provider: in between, nothing changes on any disk.

    statements: before the `at`-th statement that writes, too.
    """

    def __init__(self, shop: Shop, at: int, *, statements: bool = False) -> None:
        self._left, self.blown = at, False
        database = shop.engine.db.raw()
        database.commit = self._behind(database.commit)
        if statements:
            database.begin, database.execute_sql = self._behind(database.begin), self._behind(database.execute_sql)
        for provider in shop.engine.providers.values():
            for name in ("initiate_payment", "save_method", "confirm_payment", "retrieve_payment", "refund_payment"):
                setattr(provider, name, self._behind(getattr(provider, name)))

    def take_out(self) -> None:
        """From now on the power stays on."""
        self._left = -1

    def _behind(self, call: Any) -> Any:
        def guarded(*args: Any, **options: Any) -> Any:
            reads = bool(args) and str(args[0]).startswith("SELECT")
            self._left -= 0 if reads else 1
            self.blown = self.blown or not self._left
            if self.blown:
                raise PowerCut
            return call(*args, **options)

        return guarded


class Street:
    """A database on which one process after the other runs, and dies."""

    def __init__(self, open_shop: Callable[[], Shop]) -> None:
        self._open = open_shop
        self.shop = open_shop()

    def restart(self) -> None:
        """A new process, two minutes later: calls that were under way are over, and a request that is repeated resumes."""
        now = self.shop.clock.now() + timedelta(minutes=2)
        self.shop.close()
        self.shop = self._open()
        self.shop.clock.move_to(now)

    def recover(self, rounds: tuple[int, ...] = (0, 1, 119)) -> None:
        """Background work, minutes apart. In two hours orders are given up whose buyer never comes back from the bank."""
        for minutes in rounds:
            self.shop.clock.move_to(self.shop.clock.now() + timedelta(minutes=minutes))
            recover(self.shop.engine)

    def charges(self) -> dict[str, Any]:
        providers = self.shop.engine.providers.values()
        return {charge.payment_id: charge for provider in providers for charge in provider.charges()}


class Buyer:
    """Goes through the steps of a story, and repeats one under the same key until it has an answer; an unexpected one is the end."""

    def __init__(self, street: Street, story: "Story") -> None:
        shop = street.shop
        self.street, self.account, self._story = street, shop.open_account(), story
        self.users = [shop.add_user(self.account).id for _ in range(2)]
        self.subscription = story.before(shop, self.account) if story.before else None
        self.balance = shop.refresh(self.account).balance
        line = {**story.line, "subscription": self.subscription.id} if story.line["mode"] == "change" else story.line
        self.cart = self._cart(shop, line)
        self.seal = quote_cart(shop.engine, self.cart, INTERNAL).seal
        self.answers: list[Any] = []

    def _cart(self, shop: Shop, line: dict[str, Any]) -> str:
        if claim in self._story.steps:
            return create_cart(shop.engine, INTERNAL, [LineInput(**line)], country="ES", currency="EUR")[0].id
        return shop.cart(line, account=self.account).id

    def go_on(self) -> None:
        while (done := len(self.answers)) < len(self._story.steps) and self.answers == self._story.answers[:done]:
            try:
                self.answers.append(self._story.steps[done](self, KeyedRequest(self.cart, f"step {done}", b"")))
            except PuestoError as problem:
                self.answers.append(problem.code)

    @property
    def orders(self) -> list[Order]:
        db = self.street.shop.engine.db
        return db.all(Order.select().where(Order.cart == self.cart).order_by(Order.id))


def earn_credit(shop: Shop, account: Account) -> None:
    """A year, changed to a month on the same day: (120.00 - 12.00) x 1.21 = 130.68 is left over."""
    shop.change(one_seat_for_a_year(shop, account), interval="month")


def one_seat_for_a_year(shop: Shop, account: Account) -> Subscription:
    return shop.buy("gotoassist-standard", interval="year", account=account)


def order(token: str | None, *, spare: str | None = None) -> Any:
    """spare: the token of another provider, for the case that the first one is down."""

    def step(buyer: Buyer, request: KeyedRequest) -> Any:
        fallbacks = (PaymentChoice("spare", token=spare),) if spare else ()
        payment = PaymentChoice("sandbox", token=token, fallbacks=fallbacks) if token else None
        engine = buyer.street.shop.engine
        answer = checkout(engine, buyer.cart, INTERNAL, quote=buyer.seal, payment=payment, purchase_order=None, request=request)
        return answer.body["status"]

    return step


def confirm(buyer: Buyer, request: KeyedRequest) -> Any:
    return confirm_order(buyer.street.shop.engine, buyer.orders[-1].id, INTERNAL, data={}, request=request).body["status"]


def refund(buyer: Buyer, request: KeyedRequest) -> Any:
    refunded = refund_order(buyer.street.shop.engine, buyer.orders[-1].id, INTERNAL, amount=None, reason="wrong", request=request)
    return refunded.body["status"]


def claim(buyer: Buyer, request: KeyedRequest) -> Any:
    engine = buyer.street.shop.engine
    answer = once(engine, request, lambda: claim_cart(engine, buyer.cart, INTERNAL, buyer.account.id).status)
    buyer.seal = quote_cart(engine, buyer.cart, INTERNAL).seal
    return answer.body


def merge(buyer: Buyer, request: KeyedRequest) -> Any:
    """The lines of another cart come in; it is made in the same transaction, for the buyer has one cart only."""
    engine = buyer.street.shop.engine

    def work() -> Any:
        other = create_cart(engine, INTERNAL, [LineInput(**SEAT)], account=buyer.account.id)[0]
        return merge_carts(engine, buyer.cart, other.id, INTERNAL, "sum").status

    answer = once(engine, request, work)
    buyer.seal = quote_cart(engine, buyer.cart, INTERNAL).seal
    return answer.body


def assign(buyer: Buyer, request: KeyedRequest) -> Any:
    engine = buyer.street.shop.engine
    [subscription] = engine.db.all(Subscription.select().where(Subscription.account == buyer.account.id))
    return assign_seats(engine, subscription.id, INTERNAL, buyer.users).seats_assigned


class Story(NamedTuple):
    """before: what the account does before its cart, undisturbed; a change is of the subscription that it returns."""

    steps: list[Any]
    answers: list[Any]
    line: dict[str, Any] = SEAT
    before: Any = None


STORIES = {
    "paid": Story([order("tok_ok")], ["completed"]),
    "paid, never answered": Story([order("tok_timeout")], ["processing"]),
    "declined, then paid": Story([order("tok_card_declined"), order("tok_ok")], ["payment-declined", "completed"]),
    "provider away, then paid": Story([order("tok_unavailable"), order("tok_ok")], ["payment-provider-unavailable", "completed"]),
    "provider away, paid with another": Story([order("tok_unavailable", spare="tok_ok")], ["completed"]),
    "provider away, the other is silent": Story([order("tok_unavailable", spare="tok_timeout")], ["processing"]),
    "provider away, the other's bank": Story([order("tok_unavailable", spare="tok_3ds"), confirm], ["requires_action", "completed"]),
    "both away, then paid": Story(
        [order("tok_unavailable", spare="tok_unavailable"), order("tok_ok")], ["payment-provider-unavailable", "completed"]
    ),
    "confirmed at the bank": Story([order("tok_3ds"), confirm], ["requires_action", "completed"]),
    "refused at the bank": Story([order("tok_3ds_fails"), confirm], ["requires_action", "payment-declined"]),
    "never confirmed": Story([order("tok_3ds")], ["requires_action"]),
    "given up, then paid": Story([order("tok_3ds"), order("tok_ok")], ["requires_action", "completed"]),
    "paid, then refunded": Story([order("tok_ok"), refund], ["completed", "succeeded"]),
    "paid in part with credit": Story([order("tok_ok")], ["completed"], {**SEAT, "seats": 10}, before=earn_credit),
    "declined, with credit": Story([order("tok_card_declined")], ["payment-declined"], {**SEAT, "seats": 10}, before=earn_credit),
    "paid with credit": Story([order(None)], ["completed"], before=earn_credit),
    "free trial": Story([order(None)], ["completed"], FREE_TRIAL),
    "trial with a card": Story([order("tok_ok")], ["completed"], CARD_TRIAL),
    "two more seats": Story([order("tok_ok")], ["completed"], {"mode": "change", "seats": 3}, before=one_seat_for_a_year),
    "two more seats, declined": Story(
        [order("tok_card_declined")], ["payment-declined"], {"mode": "change", "seats": 3}, before=one_seat_for_a_year
    ),
    "a month instead": Story([order(None)], ["completed"], {"mode": "change", "interval": "month"}, before=one_seat_for_a_year),
    "claimed, merged, then paid": Story([claim, merge, order("tok_ok")], ["open", "open", "completed"]),
    "paid, then seats assigned": Story([order("tok_ok"), assign], ["completed", 2], {**SEAT, "seats": 2}),
}


def outcome(buyer: Buyer) -> dict[str, Any]:
    """What the buyer has in the end, of everything that this cart could bring."""
    db, account = buyer.street.shop.engine.db, buyer.account.id
    cart = db.get(Cart, buyer.cart)
    charges = [charge for order in buyer.orders for charge in charges_of(buyer.street, order)]
    return {
        "cart": cart.status,
        "taken": [charge.amount.amount for charge in charges if charge.amount.amount],
        "given back": [charge.refunded.amount for charge in charges if charge.refunded.amount],
        "orders": Counter(order.status for order in buyer.orders if order.status in ("completed", "refunded")),
        "subscriptions": db.count(Subscription.select().where(Subscription.account == account)),
        "invoices": db.count(Invoice.select().where(Invoice.account == account)),
        "balance": db.get(Account, account).balance,
        "seats": [(each.seats, each.seats_assigned) for each in db.all(Subscription.select().where(Subscription.account == account))],
    }


def charges_of(street: Street, order: Order) -> list[Any]:
    payments = street.shop.engine.db.all(Payment.select().where(Payment.order == order.id))
    charges = street.charges()
    return [charges[payment.id] for payment in payments if payment.id in charges]


def check_books(buyer: Buyer) -> None:
    """What holds whenever recovery has done its work, wherever the power went."""
    shop, db = buyer.street.shop, buyer.street.shop.engine.db
    for order in buyer.orders:
        kept = sum(charge.amount.amount - charge.refunded.amount for charge in charges_of(buyer.street, order))
        assert (order.status, kept) in {("completed", order.due_now), ("refunded", 0), ("failed", 0), ("cancelled", 0)}
    live = [order for order in buyer.orders if order.status in ("completed", "refunded")]
    assert len(live) <= 1
    assert db.get(Cart, buyer.cart).status == ("ordered" if live else "open")
    assert set(buyer.street.charges()) <= {payment.id for payment in db.all(Payment.select())}
    assert db.get(Account, buyer.account.id).balance == buyer.balance + sum(max(-order.total, 0) - order.credit_used for order in live)
    assert db.count(Trial.select().where(Trial.ordering.is_null(False))) == 0
    assert db.count(Subscription.select().where(Subscription.changing.is_null(False))) == 0
    assert db.count(Refund.select().where(Refund.status != "succeeded")) == 0
    invoices = db.all(Invoice.select().where(Invoice.series == "2026").order_by(Invoice.sequence))
    assert [invoice.sequence for invoice in invoices] == list(range(1, len(invoices) + 1))
    told = [event for event in shop.events() if event["account"] == buyer.account.id]
    completed = [event["subject"] for event in told if event["type"] == "order.completed"]
    orders = db.all(Order.select().where(Order.account == buyer.account.id))
    assert sorted(completed) == sorted(order.id for order in orders if order.completed_at)
    for subscription in db.all(Subscription.select().where(Subscription.account == buyer.account.id)):
        assigned = assigned_users(shop.engine, subscription)
        assert len(assigned) == subscription.seats_assigned <= subscription.seats
        assert [event["data"]["user"]["id"] for event in told if event["type"] == "seat.assigned"] == assigned


def dying_buyers(street: Street, story: Story, **options: Any) -> Iterator[Buyer]:
    """A buyer whose process dies at the first point of the story, one at the second, ... and one who is not disturbed."""
    for at in count(1):
        buyer = Buyer(street, story)
        fuse = Fuse(street.shop, at, **options)
        with suppress(PowerCut):
            buyer.go_on()
        street.restart()
        yield buyer
        if not fuse.blown:
            assert at > 2
            return


def recover_dying(street: Street) -> None:
    """Recovery dies at its first point, the next one at its second, ... and then one has two days to itself."""
    for at in count(1):
        fuse = Fuse(street.shop, at)
        with suppress(PowerCut):
            street.recover()
        street.restart()
        if not fuse.blown:
            break
    street.recover(rounds=(24 * 60, 24 * 60))


# One of each way that a checkout ends.
COMMON = ("paid", "paid, never answered", "provider away, paid with another", "confirmed at the bank", "paid, then refunded", "free trial")


def these_stories(*names: str) -> Any:
    """These in every run, all the others in the longer one."""
    marks = {name: () if name in names else pytest.mark.slow for name in STORIES}
    return pytest.mark.parametrize("story", [pytest.param(story, id=name, marks=marks[name]) for name, story in STORIES.items()])


@these_stories(*COMMON)
def test_recovery_settles_what_its_buyer_left_behind_though_it_dies_too(tmp_path, new_shop, story):
    street = Street(partial(new_shop, tmp_path, {"spare": Spare}, enabled=PLUGINS))

    for buyer in dying_buyers(street, story):
        recover_dying(street)

        check_books(buyer)


@pytest.mark.slow
@these_stories("paid in part with credit", "paid, then seats assigned")
def test_between_two_statements_it_is_no_different(tmp_path, new_shop, story):
    street = Street(partial(new_shop, tmp_path, {"spare": Spare}, enabled=PLUGINS))
    undisturbed = Buyer(street, story)
    undisturbed.go_on()
    street.recover()

    for buyer in dying_buyers(street, story, statements=True):
        buyer.go_on()
        street.recover()

        check_books(buyer)
        assert outcome(buyer) == outcome(undisturbed)


@these_stories(*COMMON)
def test_who_repeats_the_request_gets_what_it_asked_for(tmp_path, new_shop, story):
    street = Street(partial(new_shop, tmp_path, {"spare": Spare}, enabled=PLUGINS))
    undisturbed = Buyer(street, story)
    undisturbed.go_on()
    street.recover()

    for buyer in dying_buyers(street, story):
        buyer.go_on()
        street.recover()

        check_books(buyer)
        assert outcome(buyer) == outcome(undisturbed)
    assert undisturbed.answers == story.answers


@these_stories("paid", "paid, never answered", "confirmed at the bank", "given up, then paid", "paid, then refunded")
def test_who_repeats_the_request_after_recovery_is_not_charged_again(tmp_path, new_shop, story):
    street = Street(partial(new_shop, tmp_path, {"spare": Spare}, enabled=PLUGINS))

    for buyer in dying_buyers(street, story):
        street.recover(rounds=(0, 1))
        buyer.go_on()
        street.recover()

        check_books(buyer)
