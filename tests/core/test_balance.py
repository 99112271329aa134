"""The balance: what an account's orders leave over and use up, entry by entry."""

from collections import Counter
from functools import partial

import pytest

from core.access import INTERNAL
from core.accounts import Account
from core.balance import BalanceEntry, entry_document, post
from core.checkout import cancel_order
from core.errors import PaymentDeclined
from tests.conftest import Client, problem
from tests.core.racing import at_once

BUY = {"mode": "buy", "plan": "gotoassist-standard", "seats": 10, "interval": "month"}


def entries(shop):
    return shop.engine.db.all(BalanceEntry.select().order_by(BalanceEntry.id))


def movements(shop):
    return [(entry.kind, entry.amount, entry.balance) for entry in entries(shop)]


def check_sums(shop):
    """Each balance is the sum of its entries, and each entry knows what it was then."""
    sums = Counter()
    for entry in entries(shop):
        sums[entry.account] += entry.amount
        assert entry.balance == sums[entry.account]
    assert {account.id: account.balance for account in shop.engine.db.all(Account.select()) if account.balance} == +sums


def test_what_orders_leave_over_and_use_up_is_written_down(shop):
    first = shop.buy("gotoassist-standard", seats=10, interval="year")
    left_over = shop.change(first, interval="month")
    used = shop.order(shop.cart(BUY))

    credit = left_over["credit_left"]["amount"]
    assert used["credit_used"]["amount"] == used["total"]["amount"] < credit
    assert [entry.cause for entry in entries(shop)] == [left_over["id"], used["id"]]
    assert movements(shop) == [("credited", credit, credit), ("used", -used["total"]["amount"], credit - used["total"]["amount"])]
    check_sums(shop)


def test_where_no_credit_moves_nothing_is_written(shop):
    shop.buy("gotoassist-standard")

    assert (entries(shop), shop.account.balance) == ([], 0)


@pytest.mark.parametrize("end", ["declined", "cancelled", "voided"])
def test_the_credit_of_an_order_that_came_to_nothing_is_given_back_once(open_shop, end):
    shop = open_shop(payments={"capture": "manual" if end == "voided" else "automatic"})
    credit = shop.change(shop.buy("gotoassist-standard", interval="year"), interval="month")["credit_left"]["amount"]
    cart = shop.cart({**BUY, "seats": 50})

    if end == "declined":
        with pytest.raises(PaymentDeclined):
            shop.order(cart, token="tok_card_declined")
    elif end == "cancelled":
        cancel_order(shop.engine, shop.order(cart, token="tok_3ds")["id"], INTERNAL)
    else:
        Client(shop).post(f"/v1/orders/{shop.order(cart)['id']}/void")

    assert movements(shop) == [("credited", credit, credit), ("used", -credit, 0), ("given_back", credit, credit)]
    check_sums(shop)


def move(shop, account, number, amount):
    with shop.engine.db.transaction():
        post(shop.engine, account, "credited" if amount > 0 else "used", f"ord_{number}", amount)


def test_many_that_post_at_once_lose_nothing(shop):
    account = shop.account.id

    at_once(shop, [partial(move, shop, account, number, 100 + number) for number in range(6)])

    assert shop.account.balance == 615
    check_sums(shop)


def test_its_api_lists_the_entries_from_the_newest_back_a_page_at_a_time(shop, client):
    for number, amount in enumerate([500, -200, 30]):
        move(shop, shop.account.id, number, amount)
    path = f"/v1/accounts/{shop.account.id}/balance"

    first = client.get(path, query_string={"limit": 2}).json
    second = client.get(path, query_string={"cursor": first["next_cursor"]}).json

    assert first["balance"] == second["balance"] == {"amount": 330, "currency": "EUR"}
    assert [entry["amount"]["amount"] for page in (first, second) for entry in page["data"]] == [30, -200, 500]
    assert first["data"] == [entry_document(entry) for entry in entries(shop)[:0:-1]]
    assert second["next_cursor"] is None


def test_its_api_shows_no_entry_of_another_account(shop, client):
    move(shop, shop.open_account().id, 1, 500)

    shown = client.get(f"/v1/accounts/{shop.account.id}/balance").json

    assert shown == {"balance": {"amount": 0, "currency": "EUR"}, "data": [], "next_cursor": None}
    assert problem(client.get("/v1/accounts/acc_nobody/balance")) == (404, "not-found")
