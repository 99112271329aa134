"""POST /v1/test-clock: where it goes, what it says has happened, and that it may be sent again."""

import pytest

from core.engine.clock import TestClock
from core.invoices import Invoice
from tests.conftest import problem

CLOCK = "/v1/test-clock"


@pytest.fixture
def renewing(shop):
    shop.buy("gotoassist-standard", token="tok_ok", save=True)


@pytest.mark.usefixtures("renewing")
def test_it_says_what_has_happened_on_the_way_and_on_which_days(client):
    answer = client.post(CLOCK, {"now": "2026-05-10T12:00:00Z"})

    def renewed(times):
        return [{"type": "order.completed", "count": times}, {"type": "subscription.renewed", "count": times}]

    assert (answer.status_code, answer.json) == (
        200,
        {
            "now": "2026-05-10T12:00:00.000Z",
            "events": renewed(2),
            "days": [{"day": "2026-04-01", "events": renewed(1)}, {"day": "2026-05-01", "events": renewed(1)}],
        },
    )


@pytest.mark.usefixtures("renewing")
def test_sent_again_it_answers_the_same_and_moves_nothing(client, shop):
    first = client.post(CLOCK, {"now": "2026-04-10T12:00:00Z"}, key="once")
    second = client.post(CLOCK, {"now": "2026-04-10T12:00:00Z"}, key="once")

    assert (second.json, second.headers["Idempotency-Replayed"]) == (first.json, "true")
    assert shop.count(Invoice) == 2


@pytest.mark.usefixtures("renewing")
def test_one_that_broke_off_goes_on_where_it_was(client, shop, monkeypatch):
    move, moves = TestClock.offset_at, []

    def breaks_off(clock, instant):
        moves.append(instant)
        if len(moves) == 2:
            raise KeyError("a piece of work that is broken")
        return move(clock, instant)

    monkeypatch.setattr(TestClock, "offset_at", breaks_off)
    with pytest.raises(AssertionError, match="500"):
        client.post(CLOCK, {"now": "2026-05-10T12:00:00Z"}, key="once")
    stopped = shop.clock.now()

    answer = client.post(CLOCK, {"now": "2026-05-10T12:00:00Z"}, key="once")

    assert f"{stopped:%Y-%m-%dT%H:%M}" == "2026-03-31T22:00"
    assert (answer.json["now"], [each["day"] for each in answer.json["days"]]) == ("2026-05-10T12:00:00.000Z", ["2026-05-01"])
    assert shop.count(Invoice) == 3


def test_what_is_past_is_refused_and_so_is_what_is_no_time(client):
    client.post(CLOCK, {"now": "2026-04-10T12:00:00Z"})

    assert problem(client.post(CLOCK, {"now": "2026-04-10T11:59:59Z"})) == (422, "validation-failed", "/now")
