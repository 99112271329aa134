"""A shop of the first released schema, with all it has traded, is upgraded and goes on.

`first_release.sql` has its rows: two accounts, a monthly subscription with fewer seats to come, a trial, a yearly one that ends with
its period, a declined payment, an open cart, messages that went out, and events that no worker has seen yet.
"""

import shutil
from pathlib import Path

import pytest

from core import schema
from core.access import INTERNAL
from core.accounts import Account
from core.balance import BalanceEntry
from core.cancellations import cancel
from core.errors import TrialNotEligible
from core.invoices import Invoice
from core.subscriptions import Subscription
from tests.core.chains import CORE

ROWS = Path(__file__).with_name("first_release.sql").read_text().splitlines()
ACME, BETA = "acc_01a210620e1376919e6cf2ccf918f1ab", "acc_01a210620e227343a3e6803ff03ceefb"
MONTHLY, TRIAL, YEARLY = (
    "sub_01a210620e9b73f2bc0e5594ba4f7c15",
    "sub_01a210620f1c73fa89bd3dfc7c8f31e9",
    "sub_01a2106210c877a6b75780dce71f834d",
)


@pytest.fixture
def old(start, tmp_path, monkeypatch):
    """The database, made by the first migration alone and filled."""
    (tmp_path / "first").mkdir()
    shutil.copy(schema.MIGRATIONS / "0001_initial.py", tmp_path / "first")
    engine = start()
    with monkeypatch.context() as patched:
        patched.setattr(schema, "MIGRATIONS", tmp_path / "first")
        assert schema.upgrade(engine) == ["0001_initial"]
    with engine.db.transaction():
        for statement in ROWS:
            engine.db.raw().execute_sql(statement.replace("%", "%%") if postgresql(engine) else statement)
        for table, column in [("event", "sequence"), ("delivery", "id")] if postgresql(engine) else []:
            serial = f"pg_get_serial_sequence('{table}', '{column}')"
            engine.db.raw().execute_sql(f"SELECT setval({serial}, (SELECT max({column}) FROM {table}))")
    return engine


def postgresql(engine):
    return engine.db.url.startswith("postgresql")


def contents(engine):
    """Every row of every table but that of migrations, by table and primary key, its values as text."""
    found = {}
    for table in engine.db.raw().get_tables():
        [key] = engine.db.raw().get_primary_keys(table)
        cursor = engine.db.raw().execute_sql(f'SELECT * FROM "{table}"')
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, map(str, row), strict=True)) for row in cursor.fetchall()]
        found[table] = {row[key]: row for row in rows}
    del found["puesto_migration"]
    return found


def test_every_row_is_kept(old):
    before = contents(old)

    assert schema.upgrade(old) == CORE[1:]

    after = contents(old)
    assert sum(map(len, before.values())) == len(ROWS)
    for table, rows in before.items():
        assert after[table].keys() == rows.keys()
        for key, row in rows.items():
            kept = after[table][key]
            assert {name: kept[name] for name in row if name in kept} == {name: row[name] for name in row if name in kept}
    assert schema.compare(old) == []


@pytest.fixture
def shop(old, open_shop):
    opened = open_shop(database=old.db.url)
    opened.on("2026-03-06")
    return opened


def sent(shop):
    return sorted(path.name.partition("-")[2] for path in (shop.engine.data_root / "email" / "outbox").iterdir())


def test_what_was_waiting_to_be_told_is_told_once(shop):
    for _ in range(2):
        shop.run()

    assert sent(shop) == ["payment_failed.eml", "purchase_confirmation.eml", "purchase_confirmation.eml", "seat_assigned.eml"]
    assert shop.engine.db.raw().execute_sql("SELECT DISTINCT status FROM delivery").fetchall() == [("done",)]


def test_the_accounts_go_on_buying_under_the_next_numbers(shop):
    acme, beta = (shop.engine.db.get(Account, account) for account in (ACME, BETA))

    bought = shop.buy("gotoassist-standard", seats=2, account=beta)
    changed = shop.change(shop.engine.db.get(Subscription, MONTHLY), seats=4)

    assert (bought.status, bought.account) == ("active", BETA)
    assert (changed["status"], shop.engine.db.get(Subscription, MONTHLY).seats) == ("completed", 4)
    numbers = [invoice.number for invoice in shop.engine.db.all(Invoice.select().order_by(Invoice.sequence))]
    assert numbers == ["2026-000001", "2026-000002", "2026-000003", "2026-000004"]
    with pytest.raises(TrialNotEligible):
        shop.try_out("gotomeeting-professional", account=acme)


def test_credit_from_before_the_ledger_is_its_first_entry(old):
    old.db.raw().execute_sql(f"UPDATE account SET balance = 500 WHERE id = '{BETA}'")

    schema.upgrade(old)

    (entry,) = old.db.all(BalanceEntry.select())
    assert (entry.id, entry.account, entry.kind, entry.cause) == (BETA.replace("acc", "bal"), BETA, "opening", BETA)
    assert (entry.amount, entry.balance, entry.currency) == (500, 500, "EUR")


def test_what_was_to_end_ends(shop):
    cancel(shop.engine, TRIAL, INTERNAL, at="now")
    shop.on("2027-03-05")
    shop.run()

    statuses = {key: shop.engine.db.get(Subscription, key).status for key in (TRIAL, YEARLY)}
    assert statuses == {TRIAL: "cancelled", YEARLY: "cancelled"}
