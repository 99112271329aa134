"""What `puesto db check` finds: the database against the models of the core and of every plugin."""

import pytest

from core import schema

LINES = """
CREATE TABLE invoice_line (id VARCHAR(40) NOT NULL PRIMARY KEY, account VARCHAR(40) NOT NULL, invoice VARCHAR(40) NOT NULL{},
    subscription VARCHAR(40) NOT NULL, item VARCHAR(40) NOT NULL, kind VARCHAR(8) NOT NULL, description VARCHAR(500) NOT NULL,
    seats INTEGER NOT NULL, period_start DATE NOT NULL, period_end DATE NOT NULL CHECK (period_start < period_end),
    net INTEGER NOT NULL, tax INTEGER NOT NULL, rate VARCHAR(12) NOT NULL, category VARCHAR(16) NOT NULL, interval VARCHAR(8),
    prices TEXT, explanation TEXT, discount INTEGER, credits VARCHAR(40));
CREATE INDEX invoice_line_invoice ON invoice_line (invoice);
CREATE INDEX invoice_line_credits ON invoice_line (credits) WHERE credits IS NOT NULL;
CREATE UNIQUE INDEX invoice_line_subscription_item_period_start_kind ON invoice_line (subscription, item, period_start, kind)
"""
SAYS = ", the models say"


@pytest.fixture
def change(shop):
    """Change the schema behind the models' back."""

    def run(statements):
        for statement in statements.split(";"):
            shop.engine.db.raw().execute_sql(statement)

    return run


def test_a_fresh_database_is_as_the_models_say_and_looking_changes_nothing(shop):
    before = sorted(shop.engine.db.raw().get_tables())

    assert [schema.compare(shop.engine) for _ in range(2)] == [[], []]

    assert sorted(shop.engine.db.raw().get_tables()) == before
    assert not shop.engine.db.in_transaction()


@pytest.mark.parametrize(
    "statements",
    [
        "DROP INDEX cart_to_sweep; CREATE INDEX cart_to_sweep ON cart (expires_at) WHERE status != 'ordering'",
        'DROP INDEX payment_order; CREATE INDEX payment_order ON payment  ("order")',
        "ALTER TABLE account DROP COLUMN version; ALTER TABLE account ADD COLUMN version INTEGER NOT NULL DEFAULT 1",
    ],
)
def test_the_same_written_otherwise_is_no_difference(shop, change, statements):
    change(statements)

    assert schema.compare(shop.engine) == []


@pytest.mark.parametrize(
    ("statements", "told"),
    [
        ("DROP TABLE trial", "trial: the table is missing"),
        ("DROP TABLE email_message", "email_message: the table is missing"),
        ("CREATE TABLE more (id INTEGER)", "more: no model has this table"),
        ("CREATE TABLE email_more (id INTEGER)", "email_more: no model has this table"),
        ("ALTER TABLE account DROP COLUMN address", "account: column address is missing"),
        ("ALTER TABLE account ADD COLUMN more TEXT", "account: column more is in no model"),
        ("DROP INDEX order_of_cart", "orders: index order_of_cart is missing"),
        ("DROP INDEX invoice_series_sequence", "invoice: index invoice_series_sequence is missing"),
        ("CREATE INDEX more ON account (name)", "account: index more is in no model"),
    ],
)
def test_what_is_missing_or_too_much_is_told(shop, change, statements, told):
    change(statements)

    assert schema.compare(shop.engine) == [told]


@pytest.mark.only_on("sqlite", reason="PostgreSQL has more than one kind of integer")
def test_whole_numbers_are_one_kind_to_sqlite(shop, change):
    change("ALTER TABLE account DROP COLUMN version; ALTER TABLE account ADD COLUMN version BIGINT NOT NULL DEFAULT 1")

    assert schema.compare(shop.engine) == []


@pytest.mark.only_on("sqlite", reason="names of types are SQLite's; below are PostgreSQL's")
@pytest.mark.parametrize(
    ("statements", "told"),
    [
        (
            "DROP TABLE invoice_series; CREATE TABLE invoice_series (id VARCHAR(16) NOT NULL PRIMARY KEY, last TEXT CHECK (last >= 0))",
            f"invoice_series: column last is TEXT null{SAYS} INTEGER not null",
        ),
        (
            "DROP TABLE invoice_series; CREATE TABLE invoice_series (id VARCHAR(16) NOT NULL PRIMARY KEY, last INTEGER NOT NULL)",
            "invoice_series: check last >= 0 is missing",
        ),
        (
            "DROP TABLE invoice_series; CREATE TABLE invoice_series (id VARCHAR(16) NOT NULL, last INTEGER NOT NULL CHECK (last >= 0))",
            f"invoice_series: column id is VARCHAR(16) not null{SAYS} VARCHAR(16) not null primary key",
        ),
        (
            "DROP INDEX order_of_cart; CREATE UNIQUE INDEX order_of_cart ON orders (cart)",
            f"orders: index order_of_cart is unique orders (cart){SAYS} unique orders (cart) WHERE status NOT IN ('failed', 'cancelled')",
        ),
        (
            "DROP INDEX invoice_number; CREATE INDEX invoice_number ON invoice (number)",
            f"invoice: index invoice_number is invoice (number){SAYS} unique invoice (number)",
        ),
        ("DROP TABLE invoice_line; " + LINES.replace("{}", ""), "invoice_line: reference of invoice is missing"),
        (
            "DROP TABLE invoice_line; " + LINES.replace("{}", " REFERENCES invoice (id) ON DELETE CASCADE"),
            f"invoice_line: reference of invoice is invoice(id), on delete cascade{SAYS} invoice(id), on delete no action",
        ),
    ],
)
def test_what_differs_on_sqlite_is_told(shop, change, statements, told):
    change(statements)

    assert schema.compare(shop.engine) == [told]


@pytest.mark.only_on("postgresql", reason="names of types are PostgreSQL's; above are SQLite's")
@pytest.mark.parametrize(
    ("statements", "told"),
    [
        (
            "ALTER TABLE invoice_series ALTER COLUMN last TYPE BIGINT",
            f"invoice_series: column last is bigint not null{SAYS} integer not null",
        ),
        (
            "ALTER TABLE invoice_series ALTER COLUMN last DROP NOT NULL",
            f"invoice_series: column last is integer null{SAYS} integer not null",
        ),
        (
            "ALTER TABLE account ALTER COLUMN country TYPE VARCHAR(3)",
            f"account: column country is character varying(3) not null{SAYS} character varying(2) not null",
        ),
        ("ALTER TABLE invoice_series DROP CONSTRAINT invoice_series_last_check", "invoice_series: CHECK ((last >= 0)) is missing"),
        ("ALTER TABLE invoice_series ADD CHECK (last < 9)", "invoice_series: CHECK ((last < 9)) is in no model"),
        ("ALTER TABLE invoice_series DROP CONSTRAINT invoice_series_pkey", "invoice_series: PRIMARY KEY (id) is missing"),
        (
            "ALTER TABLE invoice_series ADD UNIQUE (last)",
            "invoice_series: UNIQUE (last) is in no model",
        ),
        (
            "ALTER TABLE seat_assignment DROP CONSTRAINT seat_assignment_subscription_fkey",
            "seat_assignment: FOREIGN KEY (subscription) REFERENCES subscription(id) is missing",
        ),
        (
            "DROP INDEX invoice_number; CREATE INDEX invoice_number ON invoice (number)",
            f"invoice: index invoice_number is btree (number){SAYS} unique btree (number)",
        ),
        (
            "DROP INDEX refund_to_ask_about; CREATE INDEX refund_to_ask_about ON refund (ask_at)",
            f"refund: index refund_to_ask_about is btree (ask_at){SAYS} btree (ask_at) WHERE ask_at IS NOT NULL",
        ),
    ],
)
def test_what_differs_on_postgresql_is_told(shop, change, statements, told):
    change(statements)

    assert schema.compare(shop.engine) == [told]


@pytest.mark.only_on("postgresql", reason="SQLite keeps the queue in a file of its own")
def test_the_tables_of_the_queue_are_no_difference(shop):
    shop.engine.jobs.nudge()

    assert schema.compare(shop.engine) == []
    assert shop.engine.db.raw().table_exists("huey_task")
