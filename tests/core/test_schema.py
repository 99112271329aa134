"""The schema: made from nothing, refused when old; every table carries its account; no query reads a table that grows from end to end."""

import logging

import pytest

from core import schema
from core.access import INTERNAL, SCOPES, Caller, create_token, identify, page
from core.accounts import User
from core.checkout import cancel_order
from core.errors import PaymentDeclined, SettingsInvalid
from core.invoices import Invoice
from core.orders import Order
from core.payment_methods import PaymentMethod
from core.seats import check_entitlement, remove_user
from core.subscriptions import Subscription, cancel
from tests.core.chains import CORE

# Tables without the account that a row belongs to, and why.
WITHOUT_ACCOUNT = {
    "account": "it is one",
    "api_key": "a back end's, which sees every account",
    "clock_offset": "the shop's: one row",
    "feed": "positions run through the accounts: one row",
    "invoice_series": "numbers run through the accounts: a row per year",
}


def test_an_empty_database_is_refused_in_one_line_that_says_what_to_run(start):
    empty = start()

    with pytest.raises(SettingsInvalid) as refused:
        schema.check(empty)

    assert str(refused.value) == f"The database lacks {', '.join(CORE)}: run `puesto db upgrade`."
    assert [(step.key, step.state) for step in schema.status(empty)] == [(name, "missing") for name in CORE]


def test_an_upgrade_makes_every_table_once(start):
    empty = start()

    assert [schema.upgrade(empty) for _ in range(2)] == [CORE, []]

    schema.check(empty)
    tables = {table._meta.table_name for table in schema.TABLES}
    assert set(empty.db.raw().get_tables()) == tables | {"puesto_migration"}


def test_every_table_carries_its_account():
    without = {table._meta.table_name for table in schema.TABLES if "account" not in table._meta.fields}

    assert without == set(WITHOUT_ACCOUNT)


def test_only_what_nobody_has_claimed_or_sent_a_key_for_may_have_no_account():
    optional = {table._meta.table_name for table in schema.TABLES if "account" in table._meta.fields and table.account.null}

    assert optional == {"cart", "cart_line", "idempotency_key", "payment_webhook_event"}


def trade(shop):
    """A life in short: buy, try, change, fail, give up, assign, remove, cancel, look, and the work in the background."""
    line = {"plan": "gotoassist-standard", "seats": 2}
    bought = shop.buy("gotoassist-professional", seats=2, token="tok_ok", save=True)
    shop.try_out("gotomeeting-professional")
    shop.change(bought, seats=1)
    with pytest.raises(PaymentDeclined):
        shop.buy("rescue-standard", token="tok_card_declined")
    cart = shop.cart({"mode": "change", "subscription": bought.id, "seats": 5}, {"mode": "buy", "interval": "year", **line})
    cancel_order(shop.engine, shop.order(cart, token="tok_3ds")["id"], INTERNAL)
    user = shop.add_user()
    shop.assign(bought, user)
    identify(shop.engine, create_token(shop.engine, user.account, user.id, user.role)[0])
    check_entitlement(shop.engine, user.id, "gotoassist", INTERNAL)
    remove_user(shop.engine, user.account, user.id, INTERNAL)
    cancel(shop.engine, bought.id, INTERNAL, at="period_end")
    for table in (User, Order, Subscription, Invoice, PaymentMethod):
        for caller in (INTERNAL, Caller("usr_1", frozenset(SCOPES), account=shop.account.id)):
            page(shop.engine, table, caller, limit=10, cursor="zzz")
    shop.run()
    shop.on("2026-05-01")
    shop.run()


@pytest.mark.only_on("sqlite", reason="PostgreSQL plans by the size of its tables, which are empty here")
def test_no_query_reads_a_whole_table(shop, caplog):
    with caplog.at_level(logging.DEBUG, logger="peewee"):
        trade(shop)
    statements = dict(record.msg for record in caplog.records if record.name == "peewee")

    scans = {
        (sql, step[3])
        for sql, params in statements.items()
        if sql.startswith(("SELECT", "UPDATE", "DELETE"))
        for step in shop.engine.db.raw().execute_sql(f"EXPLAIN QUERY PLAN {sql}", params)
        if step[3].startswith("SCAN") and "INDEX" not in step[3]
    }

    assert len(statements) > 60
    assert scans == set()


@pytest.mark.only_on("sqlite", reason="PostgreSQL plans by the size of its tables, which are empty here")
def test_a_page_comes_in_its_order_without_sorting(shop, caplog):
    account = Caller("usr_1", frozenset(SCOPES), account=shop.account.id)
    with caplog.at_level(logging.DEBUG, logger="peewee"):
        for table in (User, Order, Subscription, Invoice):
            for caller in (INTERNAL, account):
                page(shop.engine, table, caller, limit=10, cursor="zzz")
    statements = [record.msg for record in caplog.records if record.name == "peewee"]

    plans = [step[3] for sql, params in statements for step in shop.engine.db.raw().execute_sql(f"EXPLAIN QUERY PLAN {sql}", params)]

    assert len(plans) == 8
    assert not any("TEMP B-TREE" in step for step in plans)
