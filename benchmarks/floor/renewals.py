"""The floor of renewals: the rows that Puesto writes for one, with other ids, for hundreds at a time, by hand-written SQL.

A renewal by Puesto is the pattern; each text of it in which an id stands is a template. Nothing is computed, asked or checked.
As Puesto does, it writes the intents of a batch, has each charged, and writes the outcomes, both in a transaction.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Any

from uuid_utils import uuid7

BATCH = 200
# What is written before the provider is called, and after.
INTENT, OUTCOME = ("orders", "order_line", "payment"), ("invoice", "invoice_line", "event")
ID = re.compile(r"\b[a-z]{2,4}_[0-9a-f]{32}\b")
Row = dict[str, Any]
Values = dict[str, Any]


def connect(url: str) -> tuple[Any, str]:
    """A connection as durable as Puesto's, and how its driver writes the place of a value."""
    if not url.startswith("sqlite"):
        import psycopg

        return psycopg.connect(url), "%s"
    connection = sqlite3.connect(url.partition(":///")[2], timeout=30)
    connection.execute("PRAGMA synchronous = full")
    connection.execute("PRAGMA foreign_keys = on")
    return connection, "?"


class Pattern:
    """The rows of the renewal that was written last, with places for ids and for the invoice's number."""

    def __init__(self, connection: Any) -> None:
        found = _rows(connection, "orders", "kind = 'renewal'", "ORDER BY id DESC LIMIT 1")
        order, account = found[0]["id"], found[0]["account"]
        theirs = dict.fromkeys(("order_line", "payment", "invoice"), f"\"order\" = '{order}'")
        lines = f"invoice = (SELECT id FROM invoice WHERE {theirs['invoice']})"
        # Its order, and the subscription: what came first is not ours.
        events = f"account = '{account}' AND (subject = '{order}' OR type = 'subscription.renewed')"
        conditions = {**theirs, "invoice_line": lines, "event": events}
        rows = {"orders": found, **{table: _rows(connection, table, where) for table, where in conditions.items()}}
        rows["event"] = rows["event"][-2:]
        number = rows["invoice"][0]["number"]
        self._series = number.rpartition("-")[0]
        texts = [value for each in rows.values() for row in each for value in row.values() if isinstance(value, str)]
        self.ids = list(dict.fromkeys(each for text in texts for each in ID.findall(text)))
        self.order, self.payment, self.account = order, rows["payment"][0]["id"], account
        self.subscription, self.method = rows["order_line"][0]["subscription"], rows["payment"][0]["method"]
        self._number = re.compile("|".join([*self.ids, re.escape(number)]))
        self._rows = {table: [self._placed(table, row) for row in each] for table, each in rows.items()}

    def _placed(self, table: str, row: Row) -> Row:
        left_out = ("sequence", "position") if table == "event" else ()
        return {name: self._template(value) for name, value in row.items() if name not in left_out}

    def _template(self, value: Any) -> Any:
        if not isinstance(value, str) or not self._number.search(value):
            return value
        return _Template(self._number.sub(lambda found: f"%({found[0]})s", value.replace("%", "%%")))

    def values(self, account: str, subscription: str, method: str, sequence: int) -> Values:
        """What stands in the places of one renewal."""
        made: Values = {each: f"{each.partition('_')[0]}_{uuid7().hex}" for each in self.ids}
        made |= {self.account: account, self.subscription: subscription, self.method: method}
        return {**made, self._number_of_pattern: f"{self._series}-{sequence:06d}", "sequence": sequence}

    @property
    def _number_of_pattern(self) -> str:
        return self._number.pattern.rpartition("|")[2].replace("\\", "")

    def fill(self, table: str, values: Values) -> Iterator[Row]:
        for row in self._rows[table]:
            filled = {name: each % values if isinstance(each, _Template) else each for name, each in row.items()}
            yield {**filled, "sequence": values["sequence"]} if table == "invoice" else filled


class _Template(str):
    pass


def _rows(connection: Any, table: str, where: str, order: str = "ORDER BY id") -> list[Row]:
    cursor = connection.cursor()
    cursor.execute(f"SELECT * FROM {table} WHERE {where} {order}")
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


class Renewals:
    def __init__(self, connection: Any, place: str, pattern: Pattern, charge: Callable[[str], object]) -> None:
        self._connection, self._place, self._pattern, self._charge = connection, place, pattern, charge
        self._cursor = connection.cursor()

    def renew(self, until: date, end: date) -> int:
        """Renew all that ends by `until`, to `end`; how many."""
        done = 0
        while due := self._due(until):
            self._batch(due, end)
            done += len(due)
        return done

    def _batch(self, due: Sequence[tuple[str, str, str]], end: date) -> None:
        first, pattern = self._numbers(len(due)), self._pattern
        made = [pattern.values(*each, sequence=first + number) for number, each in enumerate(due)]
        reserved = ("UPDATE subscription SET changing = {0} WHERE id = {0}", (pattern.order, pattern.subscription))
        self._write(INTENT, made, [reserved])
        for each in made:
            self._charge(each[pattern.payment])
        paid = "UPDATE payment SET status = 'captured', captured = amount, provider_ref = {0}, ask_at = NULL WHERE id = {0}"
        completed = "UPDATE orders SET status = 'completed', completed_at = created_at, version = 2 WHERE id = {0}"
        period = f"changing = NULL, period_start = period_end, period_end = '{end}', version = version + 1"
        renewed = f"UPDATE subscription SET {period} WHERE id = {{0}}"
        updates = ((paid, (pattern.payment,) * 2), (completed, (pattern.order,)), (renewed, (pattern.subscription,)))
        self._write(OUTCOME, made, updates)

    def _due(self, until: date) -> list[tuple[str, str, str]]:
        self._cursor.execute(
            "SELECT s.account, s.id, m.id FROM subscription s JOIN account a ON a.id = s.account JOIN payment_method m ON m.account = a.id"
            f" WHERE s.cancelled_at IS NULL AND s.period_end <= '{until}' ORDER BY s.period_end LIMIT {BATCH}"
        )
        found: list[tuple[str, str, str]] = self._cursor.fetchall()
        return found

    def _numbers(self, count: int) -> int:
        """The first of so many numbers of the series."""
        self._cursor.execute("SELECT coalesce(max(last), 0) FROM invoice_series")
        [(last,)] = self._cursor.fetchall()
        self._cursor.execute(f"UPDATE invoice_series SET last = {last + count}")
        return int(last) + 1

    def _write(self, tables: Sequence[str], made: Sequence[Values], updates: Sequence[tuple[str, Sequence[str]]]) -> None:
        for table in tables:
            rows = [row for values in made for row in self._pattern.fill(table, values)]
            columns = ", ".join(f'"{column}"' for column in rows[0])
            places = ", ".join([self._place] * len(rows[0]))
            self._cursor.executemany(f"INSERT INTO {table} ({columns}) VALUES ({places})", [tuple(row.values()) for row in rows])
        for statement, names in updates:
            self._cursor.executemany(statement.format(self._place), [tuple(values[name] for name in names) for values in made])
        self._connection.commit()
