import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from core.engine.settings import Secret
from core.engine.values import instant_text, new_id, to_json
from core.rules.money import eur
from core.rules.periods import Period


@dataclass(frozen=True)
class Line:
    plan: str
    net: object


def test_ids_are_unique_readable_and_sort_by_time_of_making():
    ids = [new_id("ord") for _ in range(1000)]

    assert len(set(ids)) == 1000
    assert ids == sorted(ids)
    assert all(len(each) == 36 and each.startswith("ord_") for each in ids)


def test_instants_are_written_in_utc_with_milliseconds():
    madrid = timezone(timedelta(hours=1))

    assert instant_text(datetime(2026, 11, 24, 10, 30, 0, 123_999, tzinfo=madrid)) == "2026-11-24T09:30:00.123Z"


@pytest.mark.parametrize(
    ("value", "document"),
    [
        (None, None),
        (True, True),
        (eur("121.00"), {"amount": 12100, "currency": "EUR"}),
        (Period(date(2026, 3, 1), date(2026, 4, 1)), {"start": "2026-03-01", "end": "2026-04-01"}),
        (datetime(2026, 3, 1, tzinfo=UTC), "2026-03-01T00:00:00.000Z"),
        (date(2026, 3, 1), "2026-03-01"),
        (Decimal("25.50"), "25.50"),
        (Decimal("1E+2"), "100"),
        ((1, [eur("1.00")]), [1, [{"amount": 100, "currency": "EUR"}]]),
        (frozenset({"usr_2", "usr_1"}), ["usr_1", "usr_2"]),
        ({1: Line("rescue-pro", eur("2.00"))}, {"1": {"plan": "rescue-pro", "net": {"amount": 200, "currency": "EUR"}}}),
    ],
)
def test_values_have_one_form_on_the_wire(value, document):
    assert to_json(value) == document
    assert json.loads(json.dumps(to_json(value))) == document


@pytest.mark.parametrize("value", [1.5, Secret("hunter2"), object(), Line], ids=["float", "secret", "object", "class"])
def test_what_has_no_form_is_refused_by_its_type(value):
    with pytest.raises(TypeError) as refused:
        to_json({"deep": [value]})

    assert str(refused.value) == f"{type(value).__name__} has no JSON form"
