"""Carts: what somebody is about to buy, try or change."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import peewee

from core.access import Caller, check_version, digest, find, missing
from core.accounts import Account, check_fields
from core.engine.clock import day_in
from core.engine.engine import Engine
from core.engine.plugins import plugin_failed
from core.engine.rows import InstantField, JsonField, Row, refers_to
from core.engine.values import new_id, to_json
from core.errors import CartExpired, CartNotOpen, Message, TrialNotEligible, ValidationFailed
from core.hooks.carts import CartView, CartWarning
from core.hooks.discounts import DiscountedLine
from core.hooks.tax import Party
from core.rules.discounts import Discount
from core.rules.periods import Interval
from core.seats import check_release
from core.subscriptions import Subscription, find_subscription, trial_refusal
from core.tax import buyer_of
from core.terms import Terms, discounted, find_terms, next_terms

MODES = ("buy", "trial", "change")
MERGE_MODES = ("keep", "replace", "sum")
MOST_LINES = 50


class Cart(Row):
    """A cart. One without an account is opened with a secret, of which the hash is kept, until an account claims it.

    status: `open`; `ordering` while an order of it is being paid; `ordered`; `merged` into another one.
    order:  id of its order that is not failed or cancelled. The cart is open while that order's buyer is at the bank.
    """

    id = peewee.CharField(primary_key=True, max_length=40)
    account = refers_to(Account, null=True, index=False)
    status = peewee.CharField(
        max_length=10, default="open", constraints=[peewee.Check("status IN ('open', 'ordering', 'ordered', 'merged')")]
    )
    country = peewee.CharField(max_length=2)
    currency = peewee.CharField(max_length=3)
    coupon = peewee.CharField(max_length=64, null=True)
    order = peewee.CharField(max_length=40, null=True)
    secret_hash = peewee.CharField(max_length=64, null=True)
    version = peewee.IntegerField(default=1)
    created_at = InstantField()
    expires_at = InstantField()


Cart.add_index(Cart.index(Cart.expires_at, name="cart_to_sweep").where(Cart.status != peewee.SQL("'ordering'")))


class CartLine(Row):
    """A line. `subscription` is what a line of mode `change` changes; `release` names users who lose their seats by it.

    For a change, `plan`, `seats` and `interval` are None where they stay as they are.
    """

    id = peewee.CharField(primary_key=True, max_length=40)
    cart = refers_to(Cart, on_delete="CASCADE")
    account = peewee.CharField(max_length=40, null=True)
    mode = peewee.CharField(max_length=8, constraints=[peewee.Check("mode IN ('buy', 'trial', 'change')")])
    plan = peewee.CharField(max_length=64, null=True)
    interval: peewee.Field[Interval | None] = peewee.CharField(  # type: ignore[assignment]
        max_length=8, null=True, constraints=[peewee.Check("interval IN ('month', 'year')")]
    )
    seats = peewee.IntegerField(null=True, constraints=[peewee.Check("seats > 0")])
    subscription = peewee.CharField(max_length=40, null=True)
    release = JsonField(null=True)

    class Meta:
        table_name = "cart_line"


@dataclass(frozen=True)
class LineInput:
    """A line as a client gives it; which fields are needed depends on `mode`."""

    mode: str
    plan: str | None = None
    interval: Interval | None = None
    seats: int | None = None
    subscription: str | None = None
    release: tuple[str, ...] = ()


# --- making and reading


def create_cart(
    engine: Engine,
    caller: Caller,
    lines: Sequence[LineInput] = (),
    *,
    account: str | None = None,
    country: str | None = None,
    currency: str | None = None,
    coupon: str | None = None,
) -> tuple[Cart, str | None]:
    """A cart, for an account or for nobody yet; the secret of the latter is told here and never again.

    Raises Missing for an account the caller may not see, ValidationFailed, and what `check_line` raises.
    """
    owner = find(engine, Account, account, caller) if account is not None else None
    if (owner is None) == (country is None or currency is None):
        raise ValidationFailed("Give the account, or country and currency of a cart without one.", pointer="/account")
    check_fields({"country": country, "currency": currency} if owner is None else {})
    secret = None if owner else secrets.token_urlsafe(24)
    now = engine.clock.now()
    cart = Cart(
        id=new_id("crt"),
        account=account,
        status="open",
        country=owner.country if owner else country,
        currency=owner.currency if owner else currency,
        coupon=coupon,
        order=None,
        secret_hash=digest(secret) if secret else None,
        version=1,
        created_at=now,
        expires_at=now + timedelta(days=engine.settings["cart_days"]),
    )
    with engine.db.transaction():
        rows = _new_lines(engine, cart, lines, "/lines/{index}")
        engine.db.insert(cart)
        engine.db.insert(*rows)
    return cart, secret


def get_cart(engine: Engine, cart_id: str, caller: Caller, *, lock: bool = False) -> Cart:
    """The cart, for who shows its secret, or may order for its account. Raises Missing, Forbidden where the scope lacks."""
    cart = engine.db.lock(Cart, cart_id) if lock else engine.db.get(Cart, cart_id)
    if cart is not None and caller.cart_secret is not None and digest(caller.cart_secret) == cart.secret_hash:
        return cart
    if cart is None or not caller.owns(cart.account):
        raise missing("cart", cart_id)
    caller.need("checkout")
    return cart


def lines_of(engine: Engine, cart: Cart) -> list[CartLine]:
    """The lines, in the order in which they were added."""
    return engine.db.having(CartLine.cart, cart.id)


# --- editing


def add_line(engine: Engine, cart_id: str, caller: Caller, line: LineInput, version: int | None = None) -> Cart:
    """Add a line to an open cart. Raises CartNotOpen, CartExpired, PreconditionFailed, and what `check_line` raises."""
    with engine.db.transaction():
        cart = _editable(engine, cart_id, caller, version)
        engine.db.insert(*_new_lines(engine, cart, [line], "", others=lines_of(engine, cart)))
        _touch(engine, cart)
    return cart


def change_line(engine: Engine, cart_id: str, line_id: str, caller: Caller, version: int | None = None, **changes: Any) -> Cart:
    """Change plan, interval, seats or release of a line; the whole line is checked again."""
    with engine.db.transaction():
        cart = _editable(engine, cart_id, caller, version)
        line = _line(engine, cart, line_id)
        if "release" in changes:
            changes["release"] = list(changes["release"])
        for name, value in changes.items():
            setattr(line, name, value)
        others = [other for other in lines_of(engine, cart) if other.id != line.id]
        check_line(engine, cart, _input(line), "", others)
        if changes:
            engine.db.update(line, **changes)
            _touch(engine, cart)
    return cart


def remove_line(engine: Engine, cart_id: str, line_id: str, caller: Caller, version: int | None = None) -> Cart:
    with engine.db.transaction():
        cart = _editable(engine, cart_id, caller, version)
        engine.db.delete(_line(engine, cart, line_id))
        _touch(engine, cart)
    return cart


def delete_cart(engine: Engine, cart_id: str, caller: Caller, version: int | None = None) -> None:
    """Remove an open or expired cart with its lines; orders of it that came to nothing stay."""
    with engine.db.transaction():
        cart = get_cart(engine, cart_id, caller, lock=True)
        check_version(cart.version, version)
        if cart.status != "open":
            raise CartNotOpen("The cart is {status}; only an open cart can be removed.", status=cart.status)
        _check_no_order(cart)
        engine.db.delete(cart)


def change_cart(engine: Engine, cart_id: str, caller: Caller, version: int | None = None, **changes: str | None) -> Cart:
    """Change the coupon, or country and currency of a cart without account; every line is checked again.

    Raises PreconditionFailed, CartNotOpen, CartExpired, ValidationFailed for an account's cart, and what `check_line` raises.
    """
    own = {name: value for name, value in changes.items() if name != "coupon"}
    check_fields(own)
    with engine.db.transaction():
        cart = _editable(engine, cart_id, caller, version)
        if cart.account is not None and own:
            raise ValidationFailed("The cart has country and currency of its account: change them there.", pointer="/account")
        engine.db.update(cart, **changes)
        _check_all(engine, cart)
        if changes:
            _touch(engine, cart)
    return cart


def claim_cart(engine: Engine, cart_id: str, caller: Caller, account_id: str) -> Cart:
    """Give an anonymous cart to an account: its country and currency hold from now on, every line is checked again.

    Raises CartNotOpen where it has an account already, and what `check_line` raises; then the cart stays as it was.
    """
    with engine.db.transaction():
        cart = _editable(engine, cart_id, caller, None)
        if cart.account is not None:
            raise CartNotOpen("The cart belongs to an account already.")
        account = find(engine, Account, account_id, caller)
        engine.db.update(cart, account=account.id, country=account.country, currency=account.currency, secret_hash=None)
        _check_all(engine, cart)
        engine.db.execute(CartLine.update(account=account.id).where(CartLine.cart == cart.id))
        _touch(engine, cart)
    return cart


def merge_carts(engine: Engine, cart_id: str, other_id: str, caller: Caller, mode: str) -> Cart:
    """Move the lines of `other` into the cart, all or nothing; `other` is then `merged`.

    mode: what counts where both have a line of the same plan, interval and mode: `keep` this cart's seats, `replace` them by the
    other's, or `sum` both. Two changes of a subscription are no sum: there `sum` replaces.
    Raises CartNotOpen, CartExpired, and what `check_line` raises, with a pointer into the merged lines.
    """
    if cart_id == other_id:
        raise ValidationFailed("A cart can't be merged with itself.", pointer="/cart")
    with engine.db.transaction():
        for each in sorted((cart_id, other_id)):  # in the same order, whichever is merged into which
            get_cart(engine, each, caller, lock=True)
        cart, other = _editable(engine, cart_id, caller, None), _editable(engine, other_id, caller, None)
        if other.account not in (None, cart.account):
            raise missing("cart", other_id)
        _check_no_order(other)
        mine = defaultdict(list)
        for line in lines_of(engine, cart):
            mine[_likeness(line)].append(line)
        for line in lines_of(engine, other):
            alike = mine[_likeness(line)]
            twin = alike.pop(0) if alike else None
            if twin is None:
                engine.db.update(line, cart=cart.id, account=cart.account)
            elif mode == "sum" and line.mode != "change":
                engine.db.update(twin, seats=(twin.seats or 0) + (line.seats or 0))
            elif mode != "keep":
                engine.db.update(twin, plan=line.plan, interval=line.interval, seats=line.seats, release=line.release)
        engine.db.update(other, status="merged")
        _check_all(engine, cart)
        _touch(engine, cart)
    return cart


def sweep_carts(engine: Engine, limit: int = 1000) -> int:
    """Remove carts that have expired, a batch at a time; how many. What was ordered stays in the order."""
    expired = (Cart.status != peewee.SQL("'ordering'")) & (Cart.expires_at < engine.clock.now())
    return engine.db.execute(Cart.delete().where(Cart.id.in_(Cart.select(Cart.id).where(expired).limit(limit))))


def check_open(engine: Engine, cart: Cart) -> None:
    """Raises CartNotOpen or CartExpired."""
    if cart.status == "ordering":
        raise CartNotOpen("An order of this cart is being paid right now.")
    if cart.status != "open":
        raise CartNotOpen("The cart is {status}. Make a new one.", status=cart.status)
    if cart.expires_at <= engine.clock.now():
        raise CartExpired("The cart has expired. Make a new one.")


def _check_no_order(cart: Cart) -> None:
    if cart.order is not None:
        raise CartNotOpen("An order of this cart waits for the buyer at the bank. Confirm it, or cancel it.")


def _editable(engine: Engine, cart_id: str, caller: Caller, version: int | None) -> Cart:
    cart = get_cart(engine, cart_id, caller, lock=True)
    check_version(cart.version, version)
    check_open(engine, cart)
    return cart


def _line(engine: Engine, cart: Cart, line_id: str) -> CartLine:
    line = engine.db.get(CartLine, line_id)
    if line is None or line.cart != cart.id:
        raise missing("cart line", line_id)
    return line


def _touch(engine: Engine, cart: Cart) -> None:
    expires_at = engine.clock.now() + timedelta(days=engine.settings["cart_days"])
    engine.db.update(cart, version=cart.version + 1, expires_at=expires_at)


def _likeness(line: CartLine) -> tuple[Any, ...]:
    return line.mode, line.plan if line.mode != "change" else None, line.interval if line.mode == "buy" else None, line.subscription


# --- checking lines


def _new_lines(engine: Engine, cart: Cart, inputs: Sequence[LineInput], pointer: str, others: Sequence[CartLine] = ()) -> list[CartLine]:
    _check_count(len(others) + len(inputs))
    rows: list[CartLine] = []
    for index, given in enumerate(inputs):
        terms = check_line(engine, cart, given, pointer.format(index=index), [*others, *rows])
        rows.append(
            CartLine(
                id=new_id("cln"),
                cart=cart.id,
                account=cart.account,
                mode=given.mode,
                plan=given.plan,
                interval=given.interval if given.mode == "change" else terms.interval,
                seats=given.seats,
                subscription=given.subscription,
                release=list(given.release),
            )
        )
    return rows


def _check_all(engine: Engine, cart: Cart) -> None:
    lines = lines_of(engine, cart)
    _check_count(len(lines))
    for index, line in enumerate(lines):
        check_line(engine, cart, _input(line), f"/lines/{index}", lines[:index])


def _check_count(lines: int) -> None:
    if lines > MOST_LINES:
        raise ValidationFailed("A cart has at most {most} lines.", pointer="/lines", most=MOST_LINES)


def _input(line: CartLine) -> LineInput:
    return LineInput(line.mode, line.plan, line.interval, line.seats, line.subscription, tuple(line.release or ()))


def check_line(engine: Engine, cart: Cart, line: LineInput, pointer: str, others: Sequence[CartLine]) -> Terms:
    """Whether this line may stand in this cart beside `others`; what it stands for.

    pointer: where the line stands in the request, for the errors' pointers.
    Raises ValidationFailed, and what `line_terms` raises.
    """
    _check_fields(line, pointer)
    terms, _ = line_terms(engine, cart, line, pointer)
    if line.mode == "change" and any(other.subscription == line.subscription for other in others):
        raise ValidationFailed("The cart changes this subscription already; edit that line.", pointer=f"{pointer}/subscription")
    if line.mode == "trial" and any(other.mode == "trial" and other.plan in {p.id for p in terms.product.plans} for other in others):
        raise TrialNotEligible("The cart has a trial of {product} already.", pointer=f"{pointer}/plan", product=terms.product.id)
    return terms


def _check_fields(line: LineInput, pointer: str) -> None:
    needed = {"buy": ("plan", "interval", "seats"), "trial": ("plan", "seats"), "change": ("subscription",)}[line.mode]
    allowed = {"buy": (), "trial": ("interval",), "change": ("plan", "interval", "seats", "release")}[line.mode]
    for name in ("plan", "interval", "seats", "subscription", "release"):
        given = getattr(line, name) not in (None, ())
        if name in needed and not given:
            raise ValidationFailed("A line of mode {mode} needs {name}.", pointer=f"{pointer}/{name}", mode=line.mode, name=name)
        if given and name not in needed and name not in allowed:
            raise ValidationFailed("A line of mode {mode} has no {name}.", pointer=f"{pointer}/{name}", mode=line.mode, name=name)


def line_terms(engine: Engine, cart: Cart, line: LineInput | CartLine, pointer: str) -> tuple[Terms, Subscription | None]:
    """What a line stands for now: the terms that begin, and the subscription that changes to them. Catalog, trials and
    subscriptions move on while a cart waits: asked whenever a line is edited, and again when it is quoted.

    Raises PlanUnavailable, CurrencyUnsupported, SeatsOutOfRange, TrialNotEligible, SeatsInUse, TransitionInvalid, Missing, and
    ValidationFailed for a change that changes nothing, or in a cart without account.
    """
    if line.mode == "change":
        if cart.account is None:
            raise ValidationFailed("Only the cart of an account can change a subscription.", pointer=f"{pointer}/mode")
        return change_terms(engine, cart.account, cart.id, line, pointer)
    assert line.plan is not None and line.seats is not None
    terms = find_terms(engine, line.plan, line.interval, line.seats, cart.currency, pointer, trial=line.mode == "trial")
    if terms.trial and cart.account is not None and (refusal := trial_refusal(engine, cart.account, terms.product.id, cart.id)):
        raise TrialNotEligible(refusal, pointer=f"{pointer}/plan", product=terms.product.id)
    return discounted(terms, _discount(engine, cart, line)), None


def _discount(engine: Engine, cart: Cart, line: LineInput | CartLine) -> Discount | None:
    """What the cart's coupon takes off a line that buys."""
    known = engine.products.plans.get(line.plan or "")
    price = known[1].price(line.interval, cart.currency) if known and line.interval and line.mode == "buy" else None
    if cart.coupon is None or known is None or price is None or not line.seats:
        return None
    account = engine.db.get(Account, cart.account) if cart.account else None
    today = day_in(engine.clock.now(), account.time_zone if account else engine.settings["seller"]["time_zone"])
    view = DiscountedLine(cart.account, known[0].id, known[1].id, price.interval, line.seats, price.amount(line.seats))
    plugin, found = engine.plugins.first_named("discount_line", coupon=cart.coupon, line=view, on=today)
    discount: Discount | None = found
    if discount is not None and discount.amount is not None and discount.amount.currency != price.currency:
        raise plugin_failed(plugin, "discount_line", f"takes {discount.amount.currency} off {price.currency}")
    return discount


def change_terms(engine: Engine, account: str, holder: str, line: LineInput | CartLine, pointer: str) -> tuple[Terms, Subscription]:
    """What a line changes a subscription of the account to. `holder`: what may have reserved it, as `Subscription.changing` has it.

    Raises as `line_terms` does.
    """
    assert line.subscription is not None
    subscription = find_subscription(engine, line.subscription, account, f"{pointer}/subscription")
    terms = next_terms(engine, subscription, holder, pointer, plan=line.plan, seats=line.seats, interval=line.interval)
    check_release(engine, subscription, terms.seats, line.release or (), pointer)
    return terms, subscription


def cart_document(engine: Engine, cart: Cart) -> dict[str, Any]:
    """The cart as the API shows it."""
    names = ("id", "account", "status", "country", "currency", "coupon", "expires_at")
    of_line = ("id", "mode", "plan", "interval", "seats", "subscription", "release")
    lines, account = lines_of(engine, cart), engine.db.get(Account, cart.account) if cart.account else None
    return {
        **{name: to_json(getattr(cart, name)) for name in names},
        "lines": [{name: getattr(line, name) for name in of_line} for line in lines],
        "warnings": to_json(cart_warnings(engine, cart, lines, buyer_of(account) if account else Party(cart.country))),
    }


def cart_warnings(engine: Engine, cart: Cart, lines: Sequence[CartLine], buyer: Party) -> list[CartWarning]:
    """What is no error, or none yet: a plan that has left the catalog since its line was added, and what plugins have to say."""
    gone = [
        CartWarning("plan-unavailable", f"/lines/{index}/plan", Message("{plan} is no longer in the catalog.", {"plan": line.plan}))
        for index, line in enumerate(lines)
        if line.plan is not None and line.plan not in engine.products.plans
    ]
    if cart.coupon is not None and lines and not any(_discount(engine, cart, line) for line in lines):
        unused = Message("The coupon {coupon} takes nothing off this cart.", {"coupon": cart.coupon})
        gone.append(CartWarning("coupon-unused", "/coupon", unused))
    return [
        *gone,
        *plugin_warnings(engine, CartView(cart.account, buyer, cart.currency, tuple(filter(None, (line.plan for line in lines))))),
    ]


def plugin_warnings(engine: Engine, view: CartView) -> list[CartWarning]:
    """What plugins have to say of a cart, or of a change without one; and which of them failed."""
    found = engine.plugins.collect("find_cart_warnings", cart=view)
    skipped = [CartWarning("plugin-skipped", "", Message("The plugin {plugin} failed.", {"plugin": plugin})) for plugin in found.skipped]
    return [*(warning for _, warnings in found.answers for warning in warnings), *skipped]
