"""Orders: what was quoted is what is ordered, carried out and invoiced; once, or not at all."""

import peewee
import pytest

from core.access import INTERNAL, SCOPES, Caller
from core.accounts import Account, update_account
from core.checkout import cancel_order
from core.errors import Missing, PaymentDeclined, PreconditionFailed
from core.invoices import Invoice, invoice_document
from core.orders import Order, OrderLine, complete_order, get_order, lines_of, order_document
from core.quotes import quote_document
from puesto import eur
from tests.databases import CHECK, UNIQUE

BUY = {"mode": "buy", "plan": "gotoassist-standard", "seats": 3, "interval": "month"}
TRY = {"mode": "trial", "plan": "gotowebinar-standard", "seats": 1}
AMOUNTS = ("net", "tax", "total", "credit_used", "due_now", "credit_left")


def euros(text):
    return {"amount": eur(text).amount, "currency": "EUR"}


def with_credit(shop):
    """An account with 130.68 of credit: a year bought and changed to a month on the same day."""
    shop.change(shop.buy("gotoassist-standard", interval="year"), interval="month")
    return shop.account


def test_an_order_is_the_quote_with_what_became_of_it(shop):
    cart = shop.cart(BUY, TRY)
    quote = quote_document(shop.quote(cart))

    order = shop.order(cart)

    bought, tried = order["lines"]
    same = [
        {**line, "id": shown["id"], "subscription": shown["subscription"]}
        for line, shown in zip(quote["lines"], order["lines"], strict=True)
    ]
    assert order["lines"] == same
    assert {name: order[name] for name in AMOUNTS} == {name: quote[name] for name in AMOUNTS}
    assert order["subscriptions"] == [bought["subscription"], tried["subscription"]]
    assert (order["status"], order["cart"], order["locale"], order["next_action"]) == ("completed", cart.id, "en", None)
    assert (order["payment"]["status"], order["payment"]["amount"]) == ("captured", euros("43.56"))
    assert (order["created_at"], order["completed_at"], order["problem"]) == ("2026-03-01T12:00:00.000Z",) * 2 + (None,)
    assert shop.refresh(cart).status == "ordered"


def test_an_order_starts_tries_and_changes_in_one_go_and_tells_of_each(shop):
    changing = shop.buy("gotoassist-standard", seats=1, interval="year")
    before = len(shop.events())

    order = shop.order(shop.cart(BUY, TRY, {"mode": "change", "subscription": changing.id, "seats": 2}))

    # 36.00 + 240.00 - 120.00, on the first day; 7.56 + 50.40 - 25.20 tax
    assert (order["net"], order["tax"], order["total"]) == (euros("156.00"), euros("32.76"), euros("188.76"))
    assert [event["type"] for event in shop.events()][before:] == [
        "order.completed",
        "subscription.started",
        "trial.started",
        "subscription.changed",
    ]
    completed = shop.events("order.completed")[-1]["data"]
    assert (completed["order"], completed["account"]["id"]) == (order, shop.account.id)
    assert completed["invoice"] == invoice_document(shop.engine, shop.engine.db.get(Invoice, order["invoice"]))
    assert [each["id"] for each in completed["subscriptions"]] == order["subscriptions"]
    charged = [(line["kind"], line["subscription"], line["total"]) for line in completed["invoice"]["lines"]]
    bought, _, changed = order["subscriptions"]
    assert charged == [
        ("charge", bought, euros("43.56")),
        ("charge", changed, euros("290.40")),
        ("credit", changed, euros("-145.20")),
    ]


def test_the_tax_decision_and_how_it_came_about_stay_with_the_order(shop):
    order = shop.order(shop.cart(BUY, account=shop.open_account(country="DE")))

    decision = shop.engine.db.get(Order, order["id"]).tax_decision
    assert [(line["rate"], line["tax"], line["jurisdiction"], line["reason"]) for line in decision["lines"]] == [
        ("19", euros("6.84"), "DE", "other_state_consumer"),
        ("19", euros("6.84"), "DE", "other_state_consumer"),  # of the next charge
    ]
    assert decision["trace"] == [
        ["domestic", "no: seller in ES, buyer in DE"],
        ["reverse_charge", "no: buyer in DE, no VAT number"],
        ["other_state_consumer", "yes: buyer in DE, no VAT number"],
        ["rate", "19 % in DE since 2021-01-01"],
    ]


def test_an_order_keeps_the_language_it_was_placed_in(shop):
    order = shop.order(shop.cart(BUY, account=shop.open_account(locale="es")))

    update_account(shop.engine, order["account"], INTERNAL, locale="en")

    assert order_document(shop.engine, shop.engine.db.get(Order, order["id"]))["lines"][0]["plan_name"] == "Estándar"


# --- credit


def test_credit_is_taken_when_the_order_is_placed_and_what_is_over_stays(shop):
    assert with_credit(shop).balance == 13068

    paid_by_credit, topped_up = shop.order(shop.cart(BUY)), shop.order(shop.cart({**BUY, "seats": 10}))

    assert (paid_by_credit["credit_used"], paid_by_credit["due_now"], paid_by_credit["payment"]) == (euros("43.56"), euros("0.00"), None)
    assert (topped_up["credit_used"], topped_up["due_now"]) == (euros("87.12"), euros("58.08"))  # of 145.20
    assert topped_up["payment"]["amount"] == euros("58.08")
    assert shop.account.balance == 0


@pytest.mark.parametrize("end", ["declined", "cancelled"])
def test_the_credit_of_an_order_that_came_to_nothing_comes_back(shop, end):
    with_credit(shop)
    cart = shop.cart({**BUY, "seats": 10})

    if end == "declined":
        with pytest.raises(PaymentDeclined):
            shop.order(cart, token="tok_card_declined")
    else:
        order = shop.order(cart, token="tok_3ds")
        assert shop.account.balance == 0
        cancel_order(shop.engine, order["id"], INTERNAL)

    assert (shop.account.balance, shop.refresh(cart).status, shop.refresh(cart).order) == (13068, "open", None)


def test_two_orders_at_the_bank_do_not_use_the_same_credit(shop):
    with_credit(shop)
    first, second = (shop.cart({**BUY, "seats": 10}) for _ in range(2))

    used = [shop.order(cart, token="tok_3ds")["credit_used"] for cart in (first, second)]

    assert used == [euros("130.68"), euros("0.00")]
    again = shop.order(first)  # gives the one at the bank up, whose credit it uses
    assert (again["credit_used"], shop.account.balance) == (euros("130.68"), 0)


# --- once


def test_completing_an_order_again_does_nothing(shop):
    order = shop.order(shop.cart(BUY))
    row, rows, events = shop.engine.db.get(Order, order["id"]), shop.rows(), shop.events()

    with shop.engine.db.transaction():
        complete_order(shop.engine, row, None)

    assert (shop.rows(), shop.events()) == (rows, events)
    assert order_document(shop.engine, row) == order


def test_a_cart_has_one_order_that_is_not_failed_or_cancelled(shop):
    order = shop.order(shop.cart(BUY))
    row = shop.engine.db.get(Order, order["id"])

    with pytest.raises(peewee.IntegrityError, match=UNIQUE):
        shop.engine.db.insert(Order(**{**row.__data__, "id": "ord_again", "status": "pending"}))

    shop.engine.db.insert(Order(**{**row.__data__, "id": "ord_failed", "status": "failed"}))


@pytest.mark.parametrize("wrong", [{"total": 1}, {"due_now": -1}, {"credit_used": -1}, {"status": "lost"}])
def test_the_database_refuses_an_order_whose_figures_or_status_can_not_be(shop, wrong):
    order = shop.order(shop.cart(BUY))
    row = shop.engine.db.get(Order, order["id"])

    with pytest.raises(peewee.IntegrityError, match=CHECK):
        shop.engine.db.update(row, **wrong)

    assert shop.engine.db.get(Order, order["id"]).total == 4356


def test_the_database_refuses_a_line_whose_figures_do_not_add_up_and_credit_below_zero(shop):
    order = shop.order(shop.cart(BUY))
    (line,) = lines_of(shop.engine, shop.engine.db.get(Order, order["id"]))

    with pytest.raises(peewee.IntegrityError, match=CHECK):
        shop.engine.db.update(line, tax=0)
    with pytest.raises(peewee.IntegrityError, match=CHECK):
        shop.engine.db.execute(Account.update(balance=-1).where(Account.id == order["account"]))

    assert shop.engine.db.get(OrderLine, line.id).tax == 756


# --- reading


def test_another_accounts_order_is_missing_and_a_version_that_moved_on_is_refused(shop):
    order = shop.order(shop.cart(BUY))

    with pytest.raises(Missing):
        get_order(shop.engine, order["id"], Caller("usr_1", frozenset(SCOPES), account=shop.open_account().id))
    with pytest.raises(PreconditionFailed):
        get_order(shop.engine, order["id"], INTERNAL, version=1)

    assert get_order(shop.engine, order["id"], INTERNAL, version=2).id == order["id"]
