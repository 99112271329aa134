"""Carts: how one is made, edited, expires and is swept. What may stand in one: test_cart_lines."""

from dataclasses import replace
from datetime import timedelta

import pytest

from core.access import INTERNAL, NOBODY, SCOPES, Caller
from core.carts import (
    Cart,
    CartLine,
    LineInput,
    add_line,
    cart_document,
    change_cart,
    change_line,
    create_cart,
    delete_cart,
    get_cart,
    lines_of,
    remove_line,
    sweep_carts,
)
from core.errors import (
    CartExpired,
    CartNotOpen,
    CurrencyUnsupported,
    Forbidden,
    Missing,
    PaymentDeclined,
    PlanUnavailable,
    PreconditionFailed,
    SeatsOutOfRange,
    ValidationFailed,
)
from core.orders import Order

BUY = {"mode": "buy", "plan": "gotoassist-standard", "interval": "month", "seats": 2}
TRY = {"mode": "trial", "plan": "gotowebinar-standard", "seats": 1}
MEETING = {"mode": "buy", "plan": "gotomeeting-business", "interval": "year", "seats": 10}


def pointers(error):
    return [each.pointer for each in error.value.errors]


def shown(shop, cart):
    return cart_document(shop.engine, shop.refresh(cart))


def seats_of(shop, cart):
    return [line.seats for line in lines_of(shop.engine, cart)]


# --- making


def test_a_cart_of_an_account_takes_its_country_and_currency(shop):
    account = shop.open_account(country="DE", currency="USD")

    cart = shop.cart(BUY, TRY, account=account)

    bought, tried = lines_of(shop.engine, cart)
    assert shown(shop, cart) == {
        "id": cart.id,
        "account": account.id,
        "status": "open",
        "country": "DE",
        "currency": "USD",
        "coupon": None,
        "expires_at": "2026-03-31T12:00:00.000Z",
        "lines": [
            {**BUY, "id": bought.id, "subscription": None, "release": []},
            {**TRY, "id": tried.id, "interval": "month", "subscription": None, "release": []},
        ],
        "warnings": [],
    }
    assert (shop.count(Cart), shop.count(CartLine), shop.events()) == (1, 2, [])


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        ({}, "/account"),
        ({"country": "ES"}, "/account"),
        ({"currency": "EUR"}, "/account"),
        ({"country": "Spain", "currency": "EUR"}, "/country"),
        ({"country": "ES", "currency": "EURO"}, "/currency"),
    ],
)
def test_a_cart_without_account_needs_a_country_and_a_currency(shop, given, pointer):
    with pytest.raises(ValidationFailed) as refused:
        create_cart(shop.engine, NOBODY, **given)

    assert pointers(refused) == [pointer]
    assert shop.count(Cart) == 0


def test_a_cart_of_an_account_has_no_country_of_its_own(shop):
    account = shop.open_account()

    with pytest.raises(ValidationFailed, match="Give the account, or country and currency"):
        create_cart(shop.engine, INTERNAL, account=account.id, country="DE", currency="USD")

    assert shop.count(Cart) == 0


# --- editing


def test_lines_are_added_changed_and_removed(shop):
    cart = shop.cart(BUY)
    first = lines_of(shop.engine, cart)[0]

    add_line(shop.engine, cart.id, INTERNAL, LineInput(**MEETING))
    change_line(shop.engine, cart.id, first.id, INTERNAL, plan="gotoassist-professional", interval="year", seats=7)

    changed, added = shown(shop, cart)["lines"]
    assert (changed["plan"], changed["interval"], changed["seats"]) == ("gotoassist-professional", "year", 7)
    assert (added["plan"], added["seats"]) == ("gotomeeting-business", 10)
    remove_line(shop.engine, cart.id, first.id, INTERNAL)
    assert [line["id"] for line in shown(shop, cart)["lines"]] == [added["id"]]


@pytest.mark.parametrize(
    ("changes", "kind", "pointer"),
    [
        ({"seats": 0}, SeatsOutOfRange, "/seats"),
        ({"plan": "gotonowhere-basic"}, PlanUnavailable, "/plan"),
        ({"plan": "gotomeeting-business"}, SeatsOutOfRange, "/seats"),
        ({"release": ["usr_1"]}, ValidationFailed, "/release"),
    ],
)
def test_a_change_of_a_line_that_may_not_stand_leaves_it_as_it_was(shop, changes, kind, pointer):
    cart = shop.cart(BUY)
    before = shown(shop, cart)

    with pytest.raises(kind) as refused:
        change_line(shop.engine, cart.id, before["lines"][0]["id"], INTERNAL, **changes)

    assert pointers(refused) == [pointer]
    assert shown(shop, cart) == before


def test_a_line_of_another_cart_is_missing(shop):
    cart, other = shop.cart(BUY), shop.cart(BUY)
    line = lines_of(shop.engine, other)[0]

    with pytest.raises(Missing):
        change_line(shop.engine, cart.id, line.id, INTERNAL, seats=3)
    with pytest.raises(Missing):
        remove_line(shop.engine, cart.id, line.id, INTERNAL)

    assert seats_of(shop, other) == [2]


@pytest.mark.parametrize(
    "edit",
    [
        lambda engine, cart, line, version: add_line(engine, cart, INTERNAL, LineInput(**BUY), version),
        lambda engine, cart, line, version: change_line(engine, cart, line, INTERNAL, version, seats=3),
        lambda engine, cart, line, version: remove_line(engine, cart, line, INTERNAL, version),
        lambda engine, cart, line, version: delete_cart(engine, cart, INTERNAL, version),
    ],
    ids=["add", "change", "remove", "delete"],
)
def test_an_edit_of_a_version_that_has_moved_on_is_refused(shop, edit):
    cart = shop.cart(BUY, BUY)
    read = shop.refresh(cart).version
    first, second = lines_of(shop.engine, cart)
    change_line(shop.engine, cart.id, first.id, INTERNAL, read, seats=9)
    before = shown(shop, cart)

    with pytest.raises(PreconditionFailed):
        edit(shop.engine, cart.id, second.id, read)

    assert shown(shop, cart) == before
    edit(shop.engine, cart.id, second.id, read + 1)
    assert shop.refresh(cart) is None or shown(shop, cart) != before


def test_a_cart_is_for_who_may_order_for_its_account(shop):
    cart = shop.cart(BUY)
    buyer = Caller("usr_1", frozenset({"checkout"}), account=shop.account.id)
    member = Caller("usr_2", frozenset({"catalog:read"}), account=shop.account.id)
    stranger = Caller("usr_3", frozenset(SCOPES), account=shop.open_account().id)

    assert get_cart(shop.engine, cart.id, buyer) == cart
    with pytest.raises(Forbidden):
        get_cart(shop.engine, cart.id, member)
    for nobody in (stranger, NOBODY):
        with pytest.raises(Missing):
            get_cart(shop.engine, cart.id, nobody)


# --- the end of a cart


def test_an_ordered_cart_is_neither_edited_nor_removed(shop):
    cart = shop.cart(BUY)
    shop.order(cart)

    for edit in (lambda: add_line(shop.engine, cart.id, INTERNAL, LineInput(**BUY)), lambda: delete_cart(shop.engine, cart.id, INTERNAL)):
        with pytest.raises(CartNotOpen, match="The cart is ordered"):
            edit()


def test_a_cart_is_not_removed_while_its_buyer_is_at_the_bank(shop):
    cart = shop.cart(BUY)
    shop.order(cart, token="tok_3ds")

    with pytest.raises(CartNotOpen, match="An order of this cart waits for the buyer"):
        delete_cart(shop.engine, cart.id, INTERNAL)

    assert seats_of(shop, cart) == [2]


def test_every_edit_puts_the_expiry_off_and_an_expired_cart_is_only_looked_at(shop):
    cart = shop.cart(BUY)
    shop.on("2026-03-30")
    add_line(shop.engine, cart.id, INTERNAL, LineInput(**BUY))

    assert shown(shop, cart)["expires_at"] == "2026-04-29T12:00:00.000Z"
    shop.clock.move_to(shop.refresh(cart).expires_at - timedelta(seconds=1))
    assert len(shop.quote(cart).lines) == 2
    shop.on("2026-04-29")
    with pytest.raises(CartExpired):
        add_line(shop.engine, cart.id, INTERNAL, LineInput(**BUY))
    with pytest.raises(CartExpired):
        shop.quote(cart)

    assert len(shown(shop, cart)["lines"]) == 2


def test_expired_carts_are_swept_a_batch_at_a_time_and_their_orders_stay(shop):
    failed, ordered = shop.cart(BUY), shop.cart(BUY)
    with pytest.raises(PaymentDeclined):
        shop.order(failed, token="tok_card_declined")
    shop.order(ordered)
    shop.cart(BUY)
    shop.on("2026-03-30")
    fresh = shop.cart(BUY)
    shop.on("2026-04-01")

    swept = [sweep_carts(shop.engine, limit=2) for _ in range(3)]

    assert swept == [2, 1, 0]
    assert [line.cart for line in shop.engine.db.all(CartLine.select())] == [fresh.id]
    assert sorted(order.status for order in shop.engine.db.all(Order.select())) == ["completed", "failed"]


def test_a_cart_whose_order_is_being_paid_is_not_swept(shop):
    cart = shop.cart(BUY)
    shop.order(cart, token="tok_timeout")
    shop.on("2026-05-01")

    assert sweep_carts(shop.engine) == 0
    assert shop.refresh(cart).status == "ordering"


# --- country and currency of a cart without account


def test_country_and_currency_of_a_cart_without_account_change_with_its_lines_checked_again(shop):
    cart, secret = create_cart(shop.engine, NOBODY, [LineInput(**BUY)], country="ES", currency="EUR")
    holder = replace(NOBODY, cart_secret=secret)

    changed = change_cart(shop.engine, cart.id, holder, country="US", currency="USD")

    assert (changed.country, changed.currency, changed.version) == ("US", "USD", 2)
    with pytest.raises(CurrencyUnsupported):
        change_cart(shop.engine, cart.id, holder, currency="JPY")
    assert (shop.refresh(cart).currency, shop.refresh(cart).version) == ("USD", 2)


def test_the_cart_of_an_account_has_its_country_and_currency(shop):
    cart = shop.cart(BUY)

    with pytest.raises(ValidationFailed) as refused:
        change_cart(shop.engine, cart.id, INTERNAL, currency="USD")

    assert pointers(refused) == ["/account"]
    assert shop.refresh(cart).currency == "EUR"
