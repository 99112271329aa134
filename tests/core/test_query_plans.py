"""No statement that a request or the background work runs reads a table that grows from end to end, on either database."""

import json
import re

import pytest

from core.access import INTERNAL, SCOPES, Caller, create_token, identify, page
from core.accounts import User
from core.cancellations import cancel
from core.checkout import cancel_order
from core.engine.sqlite import Sqlite
from core.errors import PaymentDeclined
from core.invoices import Invoice
from core.orders import Order
from core.payment_methods import PaymentMethod
from core.seats import check_entitlement, remove_user
from core.subscriptions import Subscription
from tests.api.contract import operations
from tests.api.scene import Scene
from tests.conftest import Client

# Tables that stay small, however long a shop trades.
SMALL = re.compile(r'FROM "(api_key|clock_offset|feed|setback|reconciliation|invoice_series|puesto_migration|main"\.sqlite_master)')


class Statements(dict):
    """Every statement of an engine's threads, with parameters that it had once."""

    def __init__(self, engine):
        self._db = engine.db.raw()
        self._db.query_hooks.append(self._note)

    def _note(self, event):
        if event.sql.startswith(("SELECT", "UPDATE", "DELETE")):
            self[event.sql] = event.params

    def end(self):
        self._db.query_hooks.remove(self._note)


def steps(db, sql, params, *without):
    """What the database would do, as (step, table, index); `without` what it is told not to do if it can help it."""
    if isinstance(db, Sqlite):
        for row in db.raw().execute_sql(f"EXPLAIN QUERY PLAN {sql}", params):
            kind, _, rest = row[3].partition(" ")
            yield kind, rest.split(" ")[0], " INDEX " in rest
        return
    with db.transaction():
        for each in without:
            db.raw().execute_sql(f"SET LOCAL enable_{each} = off")
        [plan] = db.raw().execute_sql(f"EXPLAIN (FORMAT JSON) {sql}", params).fetchone()
    yield from nodes((plan if isinstance(plan, list) else json.loads(plan))[0]["Plan"])


def nodes(plan):
    yield plan["Node Type"], plan.get("Relation Name", ""), plan.get("Index Cond")
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def scans(db, statements):
    """Statements that read a whole table. On PostgreSQL: those for which no index can be used, even if reading the whole table
    is said to cost any amount; whether it would be used on a large table is for its statistics to say."""
    return {
        (sql, table)
        for sql, params in statements.items()
        for step, table, index in steps(db, sql, params, "seqscan")
        if step in ("SCAN", "Seq Scan") and not index and not SMALL.search(sql) and not is_beginning_of_a_list(sql)
    }


def is_beginning_of_a_list(sql):
    """SQLite says that it scans the table also where it stops after some rows."""
    return " WHERE " not in sql and " LIMIT " in sql


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


def test_no_request_and_no_work_in_the_background_reads_a_whole_table(shop):
    scene, statements = Scene(Client(shop)), Statements(shop.engine)

    trade(shop)
    for operation in sorted(operations(), key=lambda operation: operation.method == "DELETE"):
        scene.send(operation)
    statements.end()

    assert len(statements) > 100
    assert scans(shop.engine.db, statements) == set()


def test_a_page_comes_in_its_order_without_sorting(shop):
    account, statements = Caller("usr_1", frozenset(SCOPES), account=shop.account.id), Statements(shop.engine)
    for table in (User, Order, Subscription, Invoice):
        for caller in (INTERNAL, account):
            page(shop.engine, table, caller, limit=10, cursor="zzz")
    statements.end()

    done = [step for sql, params in statements.items() for step in steps(shop.engine.db, sql, params, "seqscan", "sort", "bitmapscan")]

    assert len(statements) == 8
    assert [step for step in done if step[0] in ("USE", "Sort", "Incremental Sort", "SCAN", "Seq Scan") and not step[2]] == []


@pytest.mark.parametrize("sql", ['SELECT 1 FROM "payment" WHERE "status" = %s', 'DELETE FROM "cart" WHERE "country" = %s'])
def test_a_statement_without_an_index_is_found(shop, sql):
    sql = sql.replace("%s", "?") if isinstance(shop.engine.db, Sqlite) else sql

    assert len(scans(shop.engine.db, {sql: ("ES",)})) == 1
