"""Lines of invoices keep how their amounts came about, and that stays as it is, too."""

from typing import Any

from peewee import SqliteDatabase

WORDS = "an issued document stays as it is: correct it by a credit note"


def up(migrator: object, db: Any) -> None:
    sqlite = isinstance(db, SqliteDatabase)
    then = f"BEGIN SELECT RAISE(ABORT, '{WORDS}'); END" if sqlite else "FOR EACH ROW EXECUTE FUNCTION invoice_stays()"
    db.execute_sql("ALTER TABLE invoice_line ADD COLUMN explanation TEXT")
    db.execute_sql("DROP TRIGGER invoice_line_stays_update" + ("" if sqlite else " ON invoice_line"))
    db.execute_sql(f"CREATE TRIGGER invoice_line_stays_update BEFORE UPDATE ON invoice_line {then}")
