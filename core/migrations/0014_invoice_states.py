"""Invoices that were voided or given up; how they were to be settled and what a seat cost, as printed; what is printed stays as it is.

Whoever makes the table anew on SQLite makes the triggers anew, too: they go with it.
"""

from typing import Any

from peewee import SqliteDatabase

OLD, NEW = "('open', 'paid')", "('open', 'paid', 'void', 'uncollectible')"
WIDER = f"""
    ALTER TABLE invoice ALTER COLUMN status TYPE VARCHAR(16);
    ALTER TABLE invoice DROP CONSTRAINT invoice_status_check;
    ALTER TABLE invoice ADD CONSTRAINT invoice_status_check CHECK (status IN {NEW})
""".split(";")
COLUMNS = [
    "ALTER TABLE invoice ADD COLUMN settlement TEXT",
    "ALTER TABLE invoice_line ADD COLUMN interval VARCHAR(8)",
    "ALTER TABLE invoice_line ADD COLUMN prices TEXT",
]
WORDS = "an issued document stays as it is: correct it by a credit note"
FUNCTION = f"""
    CREATE FUNCTION invoice_stays() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'integrity_constraint_violation', MESSAGE = '{WORDS}'; END $$
"""
GUARDED = {"invoice": {"status"}, "invoice_line": set[str]()}


def up(migrator: object, db: Any) -> None:
    sqlite = isinstance(db, SqliteDatabase)
    if sqlite:
        _rebuild(db)
    for statement in COLUMNS if sqlite else [*WIDER, *COLUMNS, FUNCTION]:
        db.execute_sql(statement)
    for table, free in GUARDED.items():
        printed = ", ".join(f'"{column.name}"' for column in db.get_columns(table) if column.name not in free)
        for event in (f"UPDATE OF {printed}", "DELETE"):
            then = f"BEGIN SELECT RAISE(ABORT, '{WORDS}'); END" if sqlite else "FOR EACH ROW EXECUTE FUNCTION invoice_stays()"
            db.execute_sql(f"CREATE TRIGGER {table}_stays_{event[:6].lower()} BEFORE {event} ON {table} {then}")


def _rebuild(db: Any) -> None:
    """SQLite can't change a column: the table is made anew beside, filled, and put in place, as its own manual has it."""
    (made,) = db.execute_sql("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'invoice'").fetchone()
    indexes = db.execute_sql("SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'invoice' AND sql IS NOT NULL").fetchall()
    wider = made.replace('"invoice"', '"invoice_new"', 1).replace('"status" VARCHAR(8)', '"status" VARCHAR(16)').replace(OLD, NEW)
    for statement in (wider, "INSERT INTO invoice_new SELECT * FROM invoice", "DROP TABLE invoice"):
        db.execute_sql(statement)
    db.execute_sql("ALTER TABLE invoice_new RENAME TO invoice")
    for (index,) in indexes:
        db.execute_sql(index)
