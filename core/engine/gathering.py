"""Many rows at once: in a transaction that does for hundreds of orders what is written for one.

What was read is not read again, and what is written is kept back and written together. Only `core.engine.database` uses it; who
reads and writes rows need not know. What is asked in any other way than by key or value sees everything that was written before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

Key = tuple[type[Any], Any]
Changed = tuple[Any, dict[str, Any]]  # a row's key, and what has changed of it
# What rows are asked for by: a field, and what others are.
Shape = tuple[Any, tuple[tuple[str, Any], ...]]


class Gathering:
    """The rows of one transaction, each one object, however often it is read. Those that are `held` nobody else can change meanwhile."""

    def __init__(self) -> None:
        self._rows: dict[Key, Any] = {}
        self._held: set[Key] = set()
        self._answers: dict[Shape, dict[Any, list[Any]]] = {}
        self._made: dict[type[Any], list[Any]] = {}
        self._made_ids: set[Any] = set()
        self._unread: set[type[Any]] = set()  # tables of which something was written that is not here
        self._led: set[tuple[type[Any], str]] = set()  # fields that were changed to lead to what was made here
        self._inserts: dict[type[Any], list[Any]] = {}
        self._unwritten: set[Key] = set()
        self._updates: dict[type[Any], dict[Any, tuple[Any, dict[str, Any]]]] = {}

    # --- reading

    def find(self, shape: Shape, value: Any, *, hold: bool) -> list[Any] | None:
        """The rows with that value, where all of them are known; else None."""
        field, _ = shape
        if field.primary_key:
            key = (field.model, value)
            return [self._rows[key]] if key in (self._held if hold else self._rows) else None
        if hold or not self._knows(shape):
            return None
        answers = self._answers_of(shape)
        found = answers.get(value, [] if value in self._made_ids else None)  # nobody else knows of what was made here
        return None if found is None else found[:] if len(found) < 2 else sorted(found, key=lambda row: row._pk)

    def adopt(self, shape: Shape, values: Iterable[Any], rows: Sequence[Any], *, hold: bool) -> list[Any]:
        """Take in what was read for these values; the rows as they are known here."""
        field, _ = shape
        known = [self._row(row, hold) for row in rows]
        if not field.primary_key and self._knows(shape):
            answers: dict[Any, list[Any]] = {value: [] for value in values}
            for row in known:
                answers[vars(row)[field.name]].append(row)
            self._answers_of(shape).update(answers)
        return known

    def _knows(self, shape: Shape) -> bool:
        """Whether what is known here of such questions is all that there is."""
        field, fixed = shape
        if field.model in self._unread:
            return False
        return not self._led or not any((field.model, name) in self._led for name in (field.name, *dict(fixed)))

    def _answers_of(self, shape: Shape) -> dict[Any, list[Any]]:
        if shape not in self._answers:
            self._answers[shape] = {}
            self._add(shape, self._made.get(shape[0].model, ()))
        return self._answers[shape]

    def _row(self, row: Any, hold: bool) -> Any:
        key = (type(row), row._pk)
        known = self._rows.setdefault(key, row)
        if hold and key not in self._held:
            vars(known).update(vars(row))  # it may have been changed until it was held
            self._held.add(key)
        return known

    def waits(self, model: type[Any]) -> bool:
        """Whether something of that table is kept back."""
        return model in self._inserts or model in self._updates

    # --- writing

    def insert(self, rows: Sequence[Any]) -> None:
        model = type(rows[0])
        self._inserts.setdefault(model, []).extend(rows)
        self._made.setdefault(model, []).extend(rows)
        for row in rows:
            if row._pk is not None:  # which the database gives out
                key = (model, row._pk)
                self._rows[key] = row
                self._held.add(key)
                self._unwritten.add(key)
                self._made_ids.add(row._pk)
        for shape in self._shapes_of(model):
            self._add(shape, rows)

    def _add(self, shape: Shape, rows: Sequence[Any]) -> None:
        field, answers = shape[0], self._answers[shape]
        for row in rows:
            value = vars(row).get(field.name)
            if value is not None and (value in answers or value in self._made_ids) and _fits(row, shape, value):
                answers.setdefault(value, []).append(row)

    def refers(self, changes: dict[str, Any]) -> list[str]:
        """Which of these changes lead to a row that was made here, which has to be written before them."""
        return [name for name, value in changes.items() if isinstance(value, str) and value in self._made_ids]

    def update(self, row: Any, changes: dict[str, Any]) -> None:
        model, key = type(row), (type(row), row._pk)
        known = self._rows.setdefault(key, row)
        self._led |= {(model, name) for name in self.refers(changes)}
        for shape in self._shapes_of(model):
            if changes.keys() & {shape[0].name, *(name for name, _ in shape[1])}:
                del self._answers[shape]
                self._unread.add(model)
        for name, value in changes.items():
            setattr(known, name, value)
        if key not in self._unwritten:
            _, before = self._updates.setdefault(model, {}).setdefault(row._pk, (known, {}))
            before.update(changes)

    def forget(self, model: type[Any]) -> None:
        """Something was written past this: what is asked of that table from now on is read."""
        self._unread.add(model)
        for key in [key for key in self._rows if key[0] is model]:
            del self._rows[key]
            self._held.discard(key)

    def take(self) -> tuple[list[tuple[type[Any], list[Changed]]], list[list[Any]]]:
        """What was kept back, and is to be written now: updates, those of the same columns together, and then inserts, since a place
        may have been made for them."""
        alike: dict[tuple[type[Any], tuple[str, ...]], list[Changed]] = {}
        for model, rows in self._updates.items():
            for key, (_, changes) in rows.items():
                alike.setdefault((model, tuple(changes)), []).append((key, changes))
        inserts = list(self._inserts.values())
        self._updates, self._inserts, self._unwritten = {}, {}, set()
        return [(model, changed) for (model, _), changed in alike.items()], inserts

    def _shapes_of(self, model: type[Any]) -> list[Shape]:
        return [shape for shape in self._answers if shape[0].model is model]


def _fits(row: Any, shape: Shape, value: Any) -> bool:
    field, fixed = shape
    return vars(row).get(field.name) == value and all(vars(row).get(name) == other for name, other in fixed)


def in_parts(rows: Sequence[Any], most: int) -> Iterator[Sequence[Any]]:
    """The rows in parts of at most so many."""
    for start in range(0, len(rows), most):
        yield rows[start : start + most]
