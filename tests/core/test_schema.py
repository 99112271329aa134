"""The schema: made from nothing, refused when old; every table carries its account."""

import pytest

from core import schema
from core.errors import SettingsInvalid
from tests.core.chains import CORE

# Tables without the account that a row belongs to, and why.
WITHOUT_ACCOUNT = {
    "account": "it is one",
    "api_key": "a back end's, which sees every account",
    "clock_offset": "the shop's: one row",
    "feed": "positions run through the accounts: one row",
    "reconciliation": "a provider's books run through the accounts: a row per provider",
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

    assert optional == {"cart", "cart_line", "difference", "idempotency_key", "payment_webhook_event"}
