from datetime import timedelta

import pytest

from core.engine.idempotency import Answer, IdempotencyKey, KeyedRequest, begin, claim, finish, once, release, sweep
from core.errors import IdempotencyKeyReused, RequestInProgress

REQUEST = KeyedRequest("key_1 POST /v1/carts", "abc", b'{"seats": 1}', "acc_1")


@pytest.fixture
def shop(open_shop):
    return open_shop(enabled=[])


@pytest.fixture
def engine(shop):
    return shop.engine


def began(engine, request=REQUEST):
    with engine.db.transaction():
        return begin(engine, request)


def claimed(engine, request=REQUEST):
    with engine.db.transaction():
        claim(engine, request, "ord_1")


# --- operations of one transaction


def test_the_work_is_done_once_and_its_answer_repeated(engine):
    done = []

    answers = [once(engine, REQUEST, lambda: done.append("work") or {"id": "crt_1"}) for _ in range(3)]

    assert answers == [Answer({"id": "crt_1"}), *[Answer({"id": "crt_1"}, replayed=True)] * 2]
    assert done == ["work"]


def test_an_answer_of_nothing_is_repeated_too(engine):
    answers = [once(engine, REQUEST, lambda: None) for _ in range(2)]

    assert answers == [Answer(None), Answer(None, replayed=True)]


def test_the_key_is_written_with_the_work_or_not_at_all(engine):
    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        once(engine, REQUEST, fail)

    assert engine.db.count(IdempotencyKey.select()) == 0
    assert once(engine, REQUEST, lambda: "done") == Answer("done")


@pytest.mark.parametrize("body", [b'{"seats": 2}', b'{"seats":1}', b""])
def test_the_same_key_with_another_body_is_refused(engine, body):
    once(engine, REQUEST, lambda: "done")
    other = KeyedRequest(REQUEST.scope, REQUEST.key, body)

    with pytest.raises(IdempotencyKeyReused):
        once(engine, other, lambda: "again")
    with pytest.raises(IdempotencyKeyReused):
        began(engine, other)


@pytest.mark.parametrize(
    "other",
    [
        KeyedRequest("key_2 POST /v1/carts", "abc", b""),
        KeyedRequest("key_1 POST /v1/orders", "abc", b""),
        KeyedRequest(REQUEST.scope, "abd", b""),
    ],
    ids=["caller", "operation", "key"],
)
def test_callers_operations_and_keys_are_told_apart(engine, other):
    once(engine, REQUEST, lambda: "mine")

    assert once(engine, other, lambda: "other") == Answer("other")


# --- operations of several transactions


def test_a_new_key_is_for_the_caller_to_claim(engine):
    assert began(engine) is None
    assert engine.db.count(IdempotencyKey.select()) == 0


def test_while_the_first_request_runs_its_repetition_waits(shop, engine):
    claimed(engine)
    shop.clock.move_to(shop.clock.now() + timedelta(seconds=59))

    with pytest.raises(RequestInProgress) as refused:
        began(engine)

    assert refused.value.extra == {"retry_after": 2}


def test_a_request_that_died_is_resumed_by_one_repetition(shop, engine):
    claimed(engine)
    shop.clock.move_to(shop.clock.now() + timedelta(seconds=60))

    resumed = began(engine)

    assert (resumed.resource, resumed.answer) == ("ord_1", None)
    with pytest.raises(RequestInProgress):
        began(engine)


def test_a_finished_operation_repeats_its_answer(engine):
    claimed(engine)
    with engine.db.transaction():
        first = finish(engine, REQUEST, {"id": "ord_1"})

    assert first == Answer({"id": "ord_1"})
    assert began(engine) == Answer({"id": "ord_1"}, replayed=True)


def test_a_released_key_is_new_again(engine):
    claimed(engine)

    release(engine, REQUEST)

    assert began(engine) is None


# --- their end


@pytest.mark.parametrize("age", [timedelta(hours=24), timedelta(days=30)])
def test_after_a_day_a_key_is_new_again(shop, engine, age):
    once(engine, REQUEST, lambda: "first")
    shop.clock.move_to(shop.clock.now() + age)

    assert once(engine, REQUEST, lambda: "second") == Answer("second")
    assert engine.db.count(IdempotencyKey.select()) == 1


def test_within_a_day_it_is_not(shop, engine):
    once(engine, REQUEST, lambda: "first")
    shop.clock.move_to(shop.clock.now() + timedelta(hours=24) - timedelta(seconds=1))

    assert once(engine, REQUEST, lambda: "second") == Answer("first", replayed=True)


def test_background_work_sweeps_keys_older_than_a_day(shop, engine):
    once(engine, REQUEST, lambda: "old")
    shop.clock.move_to(shop.clock.now() + timedelta(hours=1))
    once(engine, KeyedRequest(REQUEST.scope, "new", b""), lambda: "new")
    shop.clock.move_to(shop.clock.now() + timedelta(hours=23, seconds=1))

    shop.run()

    assert [row.answer["body"] for row in engine.db.all(IdempotencyKey.select())] == ["new"]
    assert sweep(engine) == 0


def test_keys_and_bodies_are_stored_as_hashes_only(shop, engine):
    once(engine, KeyedRequest("scope", "a-secret-key", b"a-secret-body"), lambda: None)

    stored = b"".join(path.read_bytes() for path in shop.folder.glob("shop.db*"))
    assert (b"a-secret-key" in stored, b"a-secret-body" in stored) == (False, False)
