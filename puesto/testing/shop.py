"""A whole shop in a test: engine, a database of its own, builders, and a clock that stands still until it is moved.

    from puesto.testing.shop import shop  # a pytest fixture

    def test_three_more_seats_are_prorated(shop):
        shop.on("2026-03-01")
        subscription = shop.buy("my-plan", seats=5, interval="month")

        shop.on("2026-03-11")
        order = shop.change(subscription, seats=8)

        assert order["lines"][0]["credit"] == {"amount": 20323, "currency": "EUR"}
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from core import schema
from core.access import INTERNAL, Caller
from core.accounts import Account, User, add_user, check_tax_id, create_account
from core.carts import Cart, LineInput, create_cart
from core.checkout import checkout, quote_cart
from core.engine.clock import TestClock
from core.engine.engine import Engine
from core.engine.events import EventRow, event_document
from core.engine.idempotency import KeyedRequest
from core.engine.rows import Row
from core.engine.settings import CoreSettings, check_settings
from core.payments import PaymentChoice
from core.quotes import Quote
from core.seats import assign_seats
from core.subscriptions import Subscription, subscription_document
from core.worker import equip, run_round

START = "2026-03-01"


class Shop:
    """One shop. Installed plugins are there, as in production; `plugins` adds some of the test's own, by name.

    tables:   the settings of plugins: `tables={"vat": {"registered_in": ["CH"]}}`.
    settings: all others, as in puesto.toml: `Shop(folder, plugins={"mine": MyPlugin}, disabled=["email"])`.
    """

    def __init__(
        self,
        folder: Path,
        plugins: Mapping[str, object] | None = None,
        tables: Mapping[str, Mapping[str, Any]] | None = None,
        **settings: Any,
    ) -> None:
        raw = {"database": f"sqlite:///{folder / 'shop.db'}", "plugins": dict(tables or {}), **settings}
        self.folder = folder
        self.clock = TestClock(_noon(START), frozen=True)
        self.engine = Engine(check_settings(CoreSettings(), raw), clock=self.clock, plugins=plugins)
        schema.upgrade(self.engine)
        equip(self.engine)
        self._account: Account | None = None

    @property
    def account(self) -> Account:
        """The account that buys where none is named: self-service, Spanish, in EUR. Read anew each time."""
        if self._account is None:
            self._account = self.open_account()
        account = self.engine.db.get(Account, self._account.id)
        assert account is not None
        return account

    def on(self, day: str) -> None:
        """Make it noon, UTC, of that day: `shop.on("2026-03-11")`."""
        self.clock.move_to(_noon(day))

    def open_account(self, *, tax_id: str | None = None, **changes: Any) -> Account:
        """An account; a VAT number is checked as at the API."""
        fields = {"name": "Acme, S.L.", "email": "billing@acme.example", "country": "ES", **changes}
        checked = check_tax_id(self.engine, tax_id, fields["country"], "/tax_id") if tax_id else None
        return create_account(self.engine, checked, **fields)

    def add_user(self, account: Account | None = None, **changes: Any) -> User:
        fields = {"email": f"{uuid4().hex[:12]}@acme.example", "name": "Ana", **changes}
        return add_user(self.engine, (account or self.account).id, INTERNAL, **fields)

    # --- buying

    def cart(self, *lines: Mapping[str, Any], account: Account | None = None, coupon: str | None = None) -> Cart:
        """An open cart; lines as at the API, as dictionaries."""
        inputs = [LineInput(**{**line, "release": tuple(line.get("release", ()))}) for line in lines]
        return create_cart(self.engine, INTERNAL, inputs, account=(account or self.account).id, coupon=coupon)[0]

    def quote(self, cart: Cart, caller: Caller = INTERNAL) -> Quote:
        return quote_cart(self.engine, cart.id, caller)

    def order(
        self,
        cart: Cart,
        *,
        caller: Caller = INTERNAL,
        quote: str | None = None,
        key: str | None = None,
        purchase_order: str | None = None,
        **payment: Any,
    ) -> dict[str, Any]:
        """Order the cart, and pay what is due with `tok_ok` of the sandbox, or as `payment` says.

        quote: the seal of what was shown; None: as it is quoted now.
        Returns the order as the API shows it. Raises as `core.checkout.checkout` does.
        """
        now = self.quote(cart, caller)
        seal = now.seal if quote is None else quote
        choice = PaymentChoice(**{"provider": "sandbox", **(payment or {"token": "tok_ok"})}) if now.payment_required else None
        request = KeyedRequest(f"test checkout {cart.id}", key or uuid4().hex, seal.encode())
        answer = checkout(self.engine, cart.id, caller, quote=seal, payment=choice, purchase_order=purchase_order, request=request)
        return dict(answer.body)

    def buy(self, plan: str, *, seats: int = 1, interval: str = "month", account: Account | None = None, **payment: Any) -> Subscription:
        line = {"mode": "buy", "plan": plan, "seats": seats, "interval": interval}
        return self._started(self.order(self.cart(line, account=account), **payment))

    def try_out(self, plan: str, *, seats: int = 1, account: Account | None = None, **payment: Any) -> Subscription:
        return self._started(self.order(self.cart({"mode": "trial", "plan": plan, "seats": seats}, account=account), **payment))

    def change(self, subscription: Subscription, *, key: str | None = None, **changes: Any) -> dict[str, Any]:
        """Order a change of `seats`, `plan` or `interval`; the order as the API shows it."""
        line = {"mode": "change", "subscription": subscription.id, **changes}
        return self.order(self.cart(line, account=self.engine.db.get(Account, subscription.account)), key=key)

    def assign(self, subscription: Subscription, *users: User) -> None:
        assign_seats(self.engine, subscription.id, INTERNAL, [user.id for user in users])

    def _started(self, order: Mapping[str, Any]) -> Subscription:
        subscription = self.engine.db.get(Subscription, order["subscriptions"][0])
        assert subscription is not None
        return subscription

    # --- looking

    def refresh(self, row: Any) -> Any:
        """The row as it is now."""
        return self.engine.db.get(type(row), row.id)

    def show(self, subscription: Subscription) -> dict[str, Any]:
        """The subscription as the API shows it now, in English."""
        return subscription_document(self.engine, self.refresh(subscription), "en")

    def run(self) -> None:
        """One round of background work, here and now."""
        run_round(self.engine)

    def events(self, *types: str) -> list[dict[str, Any]]:
        """Events written so far, the oldest first; of all types, or of those named."""
        written = self.engine.db.all(EventRow.select().order_by(EventRow.sequence))
        return [event_document(row) for row in written if not types or row.type in types]

    def rows(self) -> dict[str, int]:
        """How many rows each table has, but those of keys, clock, reconciliation and the end of the feed."""
        return {table: len(rows) for table, rows in self.contents().items()}

    def contents(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of those tables, as it is stored: what a refused request must leave as it was."""
        names = [table._meta.table_name for table in schema.TABLES]
        return {name: self._stored(name) for name in names if name not in ("clock_offset", "api_key", "feed", "reconciliation")}

    def _stored(self, table: str) -> list[tuple[Any, ...]]:
        database: Any = self.engine.db.raw()
        with self.engine.db.guarded():
            return list(database.execute_sql(f'SELECT * FROM "{table}"').fetchall())

    def count(self, table: type[Row]) -> int:
        return self.engine.db.count(table.select())

    def close(self) -> None:
        self.engine.close()


def _noon(day: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), time(12), UTC)


@pytest.fixture
def database_in() -> Callable[[Path], str]:
    """Where the database of a shop in a folder is. Override it to run the same tests on another database."""
    return lambda folder: f"sqlite:///{folder / 'shop.db'}"


@pytest.fixture
def open_shop(tmp_path: Path, database_in: Callable[[Path], str]) -> Iterator[Any]:
    """open_shop(plugins={...}, **settings) opens a shop that is closed when the test ends.

    Each has a folder of its own, unless it is told one: `open_shop(folder=shop.folder)` is another process on the same database.
    """
    shops: list[Shop] = []

    def build(
        plugins: Mapping[str, object] | None = None,
        tables: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        folder: Path | None = None,
        **settings: Any,
    ) -> Shop:
        folder = folder or tmp_path / f"shop{len(shops)}"
        folder.mkdir(exist_ok=True)
        shops.append(Shop(folder, plugins, tables, **{"database": database_in(folder), "data": str(folder / "data"), **settings}))
        return shops[-1]

    yield build
    for shop in shops:
        shop.close()


@pytest.fixture
def shop(open_shop: Any) -> Shop:
    """A shop with every installed plugin, on 2026-03-01."""
    opened: Shop = open_shop()
    return opened
