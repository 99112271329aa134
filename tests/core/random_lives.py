"""A world in which subscriptions live at random: a shop, accounts, a bank that may refuse, and a power supply that may fail.

What happens is an `Act`, plain data, so that the same acts can be done again in a fresh world, which must come to the same documents.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from core.accounts import Account
from core.cancellations import cancel, reactivate
from core.carts import LineInput, create_cart
from core.changes import Change, Means, order_change
from core.checkout import checkout, quote_cart
from core.engine.clock import day_in
from core.engine.idempotency import KeyedRequest
from core.errors import PuestoError
from core.orders import Order
from core.pauses import pause, resume
from core.payment_methods import add_method, save_at_provider
from core.payments import PaymentChoice
from core.refunds import refund_order
from core.rules.policies import DIRECTIONS
from core.subscriptions import RUNNING, Subscription
from core.time_machine import travel
from core.timeline import timeline
from puesto import (
    Capabilities,
    ChangePolicy,
    Money,
    PaymentError,
    PaymentProvider,
    PaymentReference,
    PaymentRequest,
    PaymentResult,
    PaymentUnknown,
    Plan,
    Price,
    Product,
    RefundRequest,
    RefundResult,
    SavedMethod,
    Trial,
    eur,
    hookimpl,
)
from puesto.testing.shop import INTERNAL, Shop
from tests.core.test_checkout_crashes import Fuse, PowerCut

BEGIN = datetime(2027, 1, 31, 12, tzinfo=UTC)
END = BEGIN + timedelta(days=5 * 365)
ENABLED = ["wares", "bank", "vat", "vat_rates", "dunning"]
# What an act may be refused with.
REFUSALS = {
    "transition-invalid", "validation-failed", "payment-declined", "trial-not-eligible", "seats-out-of-range", "refund-exceeds-payment",
}  # fmt: skip


# --- what is sold


def _policy(*switches: str) -> dict[Any, Any]:
    return dict.fromkeys(DIRECTIONS, ChangePolicy("/".join(switches), *switches))  # type: ignore[arg-type]


def _tiered(interval: Any, first: str, further: str) -> Price:
    return Price.graduated(interval, (3, eur(first)), (None, eur(further)))


def _by_seat(month: str, year: str) -> list[Price]:
    return [Price.per_seat("month", eur(month)), Price.per_seat("year", eur(year))]


class Wares:
    """Two products whose amounts divide badly, and a plan for each way in which a change can go."""

    @hookimpl
    def register_products(self) -> list[Product]:
        card, free = Trial(14, 9, requires_payment_method=True), Trial(30, 3)
        return [
            Product("desk", {"en": "Desk"}, [
                Plan("desk-usual", {"en": "Usual"}, 1, _by_seat("14.99", "149.95"), trial=card),
                Plan("desk-kept", {"en": "Kept"}, 2, [_tiered("month", "25.00", "19.99"), _tiered("year", "249.95", "99.99")],
                     changes=_policy("now", "keep", "none", "now")),
                Plan("desk-lost", {"en": "Lost"}, 3, _by_seat("33.33", "333.33"), changes=_policy("now", "move", "none", "now")),
                Plan("desk-later", {"en": "Later"}, 4, _by_seat("45.01", "449.99"),
                     changes=_policy("now", "keep", "unused", "next_invoice") | {"interval": "restart"}),
            ]),
            Product("chat", {"en": "Chat"}, [
                Plan("chat-one", {"en": "One"}, 1, _by_seat("0.07", "0.71"), trial=free),
            ]),
        ]  # fmt: skip


PLANS = ("desk-usual", "desk-kept", "desk-lost", "desk-later", "chat-one")


# --- the bank


@dataclass
class Books:
    """What the bank has done, by the key it was asked with; it lives on where the shop dies. refusing: customers whose cards don't pay."""

    taken: dict[str, Money] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    given_back: dict[str, tuple[str, Money]] = field(default_factory=dict)
    refusing: set[str] = field(default_factory=set)
    owner: dict[str, str] = field(default_factory=dict)


class Bank(PaymentProvider):
    name = "bank"
    capabilities = Capabilities(refund=True, partial_refund=True, save_method=True, off_session=True, sandbox=True)

    def __init__(self, books: Books) -> None:
        self.books = books

    def initiate_payment(self, request: PaymentRequest) -> PaymentResult:
        key, books = request.idempotency_key, self.books
        if key not in books.taken and key not in books.refused:
            books.owner[key] = request.customer.account
            if request.customer.account in books.refusing:
                books.refused.add(key)
            else:
                books.taken[key] = request.amount
        return self._result(key, request.amount)

    def save_method(self, request: PaymentRequest) -> PaymentResult:
        if request.idempotency_key.startswith("pay"):
            self.books.taken.setdefault(request.idempotency_key, request.amount)
            self.books.owner[request.idempotency_key] = request.customer.account
        return PaymentResult("captured", request.amount, saved_method=SavedMethod(f"card of {request.customer.account}", "visa", "4242"))

    def retrieve_payment(self, payment: PaymentReference) -> PaymentResult:
        return self._result(payment.idempotency_key, payment.amount)

    def refund_payment(self, request: RefundRequest) -> RefundResult:
        self.books.given_back.setdefault(request.idempotency_key, (request.payment.payment_id, request.amount))
        return RefundResult("succeeded", request.amount)

    def _result(self, key: str, amount: Money) -> PaymentResult:
        if key in self.books.refused:
            return PaymentResult("declined", amount, error=PaymentError("card_declined"))
        if key not in self.books.taken:
            raise PaymentUnknown(key)
        return PaymentResult("captured", amount, saved_method=SavedMethod(f"card of {self.books.owner[key]}", "visa", "4242"))


class BankPlugin:
    def __init__(self, books: Books) -> None:
        self._books = books

    @hookimpl
    def register_payment_providers(self) -> list[PaymentProvider]:
        return [Bank(self._books)]


# --- the world


@dataclass(frozen=True)
class Act:
    """What somebody does, and when. Accounts, subscriptions and orders go by the number in which they came to be."""

    at: datetime
    name: str
    what: dict[str, Any]


class World:
    """open_shop(plugins=...) opens the shop, and opens it again where it has died."""

    def __init__(self, open_shop: Callable[..., Shop]) -> None:
        self.books = Books()
        self._open = lambda: open_shop(plugins={"wares": Wares(), "bank": BankPlugin(self.books)}, enabled=ENABLED)
        self.shop = self._open()
        self.shop.clock.move_to(BEGIN)
        self.accounts: list[str] = []
        self.acts: list[Act] = []
        self.outcomes: list[str] = []
        self.deaths = 0

    # --- doing

    def do(self, act: Act, dies_at: int | None = None) -> str:
        """The outcome: `done`, or the code of a refusal; what falls due by it is done.

        dies_at: the power fails before that write to the disk or call of the bank; whoever was at it comes again with the same key.
        """
        self.go_to(act.at)
        self.acts.append(act)
        attempt = Attempt(self, act)
        outcome = None
        if dies_at is not None:
            with self.failing_at(dies_at):
                outcome = attempt()
            if outcome is None:
                self.restart()
        self.outcomes.append(outcome or attempt())
        self.go_to(self.now)
        return self.outcomes[-1]

    def go_to(self, instant: datetime, dies_at: int | None = None) -> None:
        """Live until then; where the power fails on the way, go on."""
        if dies_at is not None:
            with self.failing_at(dies_at):
                travel(self.shop.engine, max(instant, self.now))
                return
            self.restart()
        travel(self.shop.engine, max(instant, self.now))

    @contextmanager
    def failing_at(self, dies_at: int) -> Iterator[None]:
        """The power fails in the block, before so many writes or calls, and is back behind it; unless the block ends earlier."""
        fuse = Fuse(self.shop, dies_at)
        with suppress(PowerCut):
            yield
        fuse.take_out()

    def restart(self) -> None:
        """A new process, two minutes later: calls that were under way are over, and a request that is repeated resumes."""
        now, self.deaths = self.now + timedelta(minutes=2), self.deaths + 1
        self.shop.close()
        self.shop = self._open()
        self.shop.clock.move_to(now)

    # --- looking

    @property
    def now(self) -> datetime:
        return self.shop.clock.now()

    def rows(self, table: Any) -> list[Any]:
        """Every row, in the order of making."""
        return self.shop.engine.db.all(table.select().order_by(table.id))

    @property
    def subscriptions(self) -> list[Subscription]:
        return self.rows(Subscription)

    def foretold(self, until: datetime) -> dict[str, list[tuple[Any, ...]]]:
        """What the timelines of all that run say will be billed by then."""
        engine, zones = self.shop.engine, {account.id: account.time_zone for account in self.rows(Account)}
        running = [each for each in self.subscriptions if each.status in RUNNING]
        found = {each.id: timeline(engine, each.id, INTERNAL, day_in(until, zones[each.account])) for each in running}
        return {
            name: [
                (line["period"]["start"], line["period"]["end"], line["net"]["amount"], line["tax"]["amount"])
                for invoice in told["invoices"]
                for line in invoice["lines"]
            ]
            for name, told in found.items()
        }

    @property
    def running(self) -> int:
        return sum(each.cancelled_at is None for each in self.subscriptions)


class Attempt:
    """An act, which may be tried again with the same keys when it was cut off."""

    def __init__(self, world: World, act: Act) -> None:
        self.world, self.act = world, act
        self._key, self._cart = uuid4().hex, ""

    def __call__(self) -> str:
        try:
            getattr(self, self.act.name)(**self.act.what)
        except PuestoError as error:
            if error.code not in REFUSALS:
                raise
            return error.code
        return "done"

    @property
    def _engine(self) -> Any:
        return self.world.shop.engine

    def _request(self) -> KeyedRequest:
        return KeyedRequest(self.act.name, self._key, b"")

    def open(self, country: str, zone: str) -> None:
        made = self.world.shop.open_account(country=country, time_zone=zone, name=f"{len(self.world.accounts)}")
        self.world.accounts.append(made.id)

    def buy(self, account: int, plan: str, seats: int, interval: str, save: bool) -> None:
        line = LineInput("buy", plan=plan, seats=seats, interval=interval)  # type: ignore[arg-type]
        self._order(account, line, PaymentChoice("bank", token="card", save=save))

    def try_out(self, account: int, plan: str, seats: int) -> None:
        self._order(account, LineInput("trial", plan=plan, seats=seats), PaymentChoice("bank", token="card", save=True))

    def change_in_cart(self, subscription: int, **wanted: Any) -> None:
        row = self.world.subscriptions[subscription]
        line = LineInput("change", subscription=row.id, **wanted)
        self._order(self.world.accounts.index(row.account), line, PaymentChoice("bank", token="card"))

    def _order(self, account: int, line: LineInput, payment: PaymentChoice) -> None:
        """What was shown stays what was shown, also where the checkout is repeated."""
        if not self._cart:
            self._cart = create_cart(self._engine, INTERNAL, [line], account=self.world.accounts[account])[0].id
        cart, options = self._cart, {"purchase_order": None, "request": self._request()}
        self._quote = getattr(self, "_quote", None) or quote_cart(self._engine, cart, INTERNAL)
        choice = payment if self._quote.payment_required else None
        checkout(self._engine, cart, INTERNAL, quote=self._quote.seal, payment=choice, **options)

    def change(self, subscription: int, policy: str | None, **wanted: Any) -> None:
        row = self.world.subscriptions[subscription]
        order_change(self._engine, row.id, INTERNAL, Change(policy=policy, **wanted), Means(), quote=None, request=self._request())

    def cancel(self, subscription: int, at: str, unused: Any = None) -> None:
        cancel(self._engine, self.world.subscriptions[subscription].id, INTERNAL, at=at, unused=unused)

    def reactivate(self, subscription: int) -> None:
        reactivate(self._engine, self.world.subscriptions[subscription].id, INTERNAL)

    def pause(self, subscription: int, at: str) -> None:
        pause(self._engine, self.world.subscriptions[subscription].id, INTERNAL, at=at)

    def resume(self, subscription: int) -> None:
        resume(self._engine, self.world.subscriptions[subscription].id, INTERNAL)

    def store_card(self, account: int) -> None:
        account_id = self.world.accounts[account]
        add_method(self._engine, account_id, INTERNAL, "bank", save_at_provider(self._engine, account_id, INTERNAL, "bank", "card"))

    def refuse(self, account: int, refusing: bool) -> None:
        change = self.world.books.refusing.add if refusing else self.world.books.refusing.discard
        change(self.world.accounts[account])

    def refund(self, order: int, percent: int) -> None:
        orders = [row for row in self.world.rows(Order) if row.due_now]
        row = orders[order % len(orders)]
        amount = Money(max(row.due_now * percent // 100, 1), row.currency)
        refund_order(self._engine, row.id, INTERNAL, amount=amount, reason="goodwill", request=self._request())
