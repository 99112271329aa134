"""Rows: peewee models without a database of their own, and columns for what the domain knows."""

from __future__ import annotations

from datetime import UTC, date, datetime
from operator import attrgetter
from typing import Any, ClassVar

import orjson
import peewee

from core.engine.values import to_json


class _Column:
    """A field, where a class of rows is asked for it. What a row has there is an attribute of its own; None where it has none."""

    def __init__(self, field: peewee.Field) -> None:
        self._field = field

    def __get__(self, row: Row | None, model: object = None) -> peewee.Field | None:
        return self._field if row is None else None


class Row(peewee.Model):
    """Base of every table. Values are plain attributes, `vars(row)`: peewee's own way to them takes four times as long."""

    _pk: Any  # the primary key
    _dirty: ClassVar[set[str]] = set()  # what peewee would save, which is never asked to

    def __init__(self, **values: Any) -> None:
        """A new row, or one that was read."""
        if not values.pop("__no_default__", False):
            vars(self).update(self._meta.get_default_dict())  # type: ignore[no-untyped-call]
        vars(self).update(values)

    @classmethod
    def validate_model(cls) -> None:
        """What peewee calls as soon as a class is made."""
        for name, field in cls._meta.fields.items():
            setattr(cls, name, _Column(field))
        key: Any = cls._meta.primary_key
        cls.__data__, cls._pk = property(vars), property(attrgetter(key.name))

    class Meta:
        legacy_table_names = False


class InstantField(peewee.Field):
    """An instant in UTC: aware in Python, ISO 8601 without zone in the database, so that text order is time order."""

    field_type = "DATETIME"

    def db_value(self, value: datetime | None) -> str | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")

    def python_value(self, value: str | datetime | None) -> datetime | None:
        if value is None:
            return None
        return (datetime.fromisoformat(value) if isinstance(value, str) else value).replace(tzinfo=UTC)


class DayField(peewee.Field):
    """A calendar day."""

    field_type = "DATE"

    def db_value(self, value: date | None) -> str | None:
        return None if value is None else value.isoformat()

    def python_value(self, value: str | date | None) -> date | None:
        return date.fromisoformat(value) if isinstance(value, str) else value


# What JSON knows by itself is written by orjson, all else is turned into JSON by `to_json`.
_AS_TO_JSON_HAS_IT = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS


class JsonField(peewee.TextField):
    """A JSON document, as text: alike on every database. Money, days and the like are written as `to_json` has them."""

    def db_value(self, value: Any) -> str | None:
        return None if value is None else orjson.dumps(value, to_json, _AS_TO_JSON_HAS_IT).decode()

    def python_value(self, value: str | None) -> Any:
        return None if value is None else orjson.loads(value)


class _Reference(peewee.ForeignKeyField):
    def bind(self, model: Any, name: str, set_attribute: bool = True) -> None:
        self.column_name = self.column_name or name
        super().bind(model, name, set_attribute)


def refers_to(model: type[Row], **options: Any) -> Any:
    """A foreign key whose column and attribute hold the other row's id: nothing is loaded behind one's back."""
    return _Reference(model, lazy_load=False, **options)
