"""The floor must not be lower than it says: it writes what Puesto writes, and is answered for it alike."""

import json

from benchmarks.counting import check_out
from benchmarks.floor.app import create_app
from benchmarks.shops import MadeShop
from core.access import SCOPES, create_key
from tests.conftest import app_of


def made(shop):
    _, key = create_key(shop.engine, "benchmark", list(SCOPES))
    return MadeShop(shop.engine.db.url, shop.engine.data_root, key, (shop.account.id,))


def test_the_floor_writes_as_many_rows_of_each_table_as_puesto(open_shop):
    puesto, floor = open_shop(), open_shop()
    check_out(app_of(puesto), made(puesto), 5)
    check_out(app_of(floor), made(floor), 5)  # which makes the gateway's books
    bare = create_app(floor.engine.db.url, f"sqlite:///{made(floor).gateway}")

    before, charged = floor.rows(), len(floor.engine.providers["sandbox"].charges())
    check_out(bare, made(floor), 5)
    bare.extensions["floor"].rows.connection.close()

    added = {table: rows - before[table] for table, rows in floor.rows().items() if rows != before[table]}
    fixed = ("account", "invoice_series")  # one row, however many orders
    assert added == {table: rows for table, rows in puesto.rows().items() if rows and table not in fixed}
    assert len(floor.engine.providers["sandbox"].charges()) == charged + 1


def test_what_the_floor_tells_of_an_order_is_as_long_as_what_puesto_tells(open_shop):
    shop = open_shop()
    check_out(app_of(shop), made(shop), 5)
    bare = create_app(shop.engine.db.url, f"sqlite:///{made(shop).gateway}")

    check_out(bare, made(shop), 7)
    bare.extensions["floor"].rows.connection.close()

    ours, theirs = shop.events("order.completed")
    assert 0.9 < len(json.dumps(theirs)) / len(json.dumps(ours)) < 1.1
    assert theirs["data"]["order"]["total"] == {"amount": 11858, "currency": "EUR"}  # 7 x 14.00, and 21 %
