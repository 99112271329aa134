"""puesto jobs: what is stuck, back to work, events once more."""

import pytest

from core.engine.deliveries import Delivery, drain
from core.engine.engine import Engine
from core.engine.events import append, events_after
from core.engine.setbacks import MOST_TRIES, Setback, attempt
from core.engine.settings import load_settings


@pytest.fixture
def engine(puesto):
    """The engine of the fresh directory, whose database is made."""
    puesto("db", "upgrade")
    opened = Engine(load_settings())
    yield opened
    opened.close()


def break_work(engine, subject="sub_1"):
    for _ in range(MOST_TRIES):
        attempt(engine, "end_subscription", subject, "acc_1", lambda: 1 / 0)
    return engine.db.first(Setback.select().where(Setback.subject == subject)).id


def tell(engine, *subjects):
    """Events that e-mail hears of; their ids. It can't tell of an order that says nothing."""
    for subject in subjects:
        with engine.db.transaction():
            append(engine, "payment.failed", account="acc_1", subject=subject, data={})
    drain(engine)
    engine.db.execute(Delivery.update(status="parked"))
    return [row.id for row in engine.db.all(Delivery.select().order_by(Delivery.id))]


def events(engine):
    return [event["id"] for event in events_after(engine, None, None, 100)]


def lines(result):
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout.splitlines()


def test_where_nothing_is_stuck_it_says_so(puesto, engine):
    assert lines(puesto("jobs")) == ["nothing is stuck"]


def test_what_is_stuck_is_listed(puesto, engine):
    job, [delivery] = break_work(engine), tell(engine, "ord_1")

    head, *rows = [line.split(None, 7) for line in lines(puesto("jobs"))]

    assert " ".join(head).split() == ["kind", "id", "account", "about", "since", "tries", "next", "try", "why"]
    assert [row[:4] for row in rows] == [["delivery", f"dlv_{delivery}", "acc_1", "ord_1"], ["work", job, "acc_1", "sub_1"]]
    assert rows[1][5:] == [str(MOST_TRIES), "-", "end_subscription: ZeroDivisionError: division by zero"]


def test_one_case_is_retried(puesto, engine):
    job, other = break_work(engine), break_work(engine, "sub_2")

    assert lines(puesto("jobs", "retry", job)) == ["back to work: 1"]

    assert [line.split()[1] for line in lines(puesto("jobs"))[1:]] == [other]


def test_everything_is_retried(puesto, engine):
    break_work(engine)
    tell(engine, "ord_1", "ord_2")

    assert lines(puesto("jobs", "retry", "--all")) == ["back to work: 3"]

    assert lines(puesto("jobs")) == ["nothing is stuck"]
    assert lines(puesto("jobs", "retry", "--all")) == ["back to work: 0"]


def test_one_event_is_delivered_once_more_or_a_range_of_them(puesto, engine):
    tell(engine, "ord_1", "ord_2", "ord_3")
    first, second, third = events(engine)

    counts = [
        lines(puesto("jobs", "replay", *arguments))
        for arguments in (
            (second,),
            ("--from", second),
            ("--from", first, "--to", second),
            ("--to", third, "--plugin", "email"),
            ("--from", "2026-01-01"),
            ("--to", "2026-01-01T00:00:00+01:00"),
            (first, "--plugin", "gotoassist"),
        )
    ]

    assert counts == [[f"to be delivered: {n}"] for n in (1, 2, 2, 3, 3, 0, 0)]
    assert engine.db.count(Delivery.select().where(Delivery.status == "waiting")) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("retry", "job_unknown"), "There is no stuck case job_unknown."),
        (("retry",), "name the ID that `puesto jobs` shows, or say --all"),
        (("retry", "job_1", "--all"), "name the ID that `puesto jobs` shows, or say --all"),
        (("replay", "evt_unknown"), "There is no event evt_unknown."),
        (("replay", "--from", "evt_unknown"), "There is no event evt_unknown."),
        (("replay",), "name one EVENT, or a range with --from, --to or both"),
        (("replay", "evt_1", "--to", "evt_2"), "name one EVENT, or a range with --from, --to or both"),
        (("replay", "--to", "soon"), "soon is neither the id of an event nor an instant such as 2026-11-24T09:30:00Z"),
        (("replay", "--to", "2026-01-01", "--plugin", "pigeon"), "there is no enabled plugin pigeon"),
    ],
)
def test_what_makes_no_sense_is_told_in_one_line(puesto, engine, arguments, said):
    result = puesto("jobs", *arguments)

    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"puesto: {said}\n")


def test_help_makes_one_engine(puesto, monkeypatch):
    made, make = [], Engine.__init__
    monkeypatch.setattr(Engine, "__init__", lambda self, *given, **named: made.append(self) or make(self, *given, **named))

    assert "sandbox-gateway" in puesto("--help").stdout

    assert len(made) == 1
