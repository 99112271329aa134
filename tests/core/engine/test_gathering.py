"""Many at once: the same is read and written as one by one, in fewer statements."""

from collections import Counter
from contextlib import nullcontext

import peewee
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.engine.rows import Row, refers_to
from core.engine.sqlite import Sqlite


class Shelf(Row):
    id = peewee.CharField(primary_key=True)
    seats = peewee.IntegerField(default=0)
    text = peewee.CharField(null=True)


class Book(Row):
    id = peewee.CharField(primary_key=True)
    shelf = refers_to(Shelf)
    text = peewee.CharField(null=True)


def opened(folder):
    database = Sqlite(f"sqlite:///{folder / 'shop.db'}")
    for model in (Shelf, Book):
        peewee.SchemaManager(model, database.raw()).create_all()
    return database


@pytest.fixture
def db(tmp_path):
    database = opened(tmp_path)
    database.insert(*(Shelf(id=each, text=each) for each in "abc"), Shelf(id="d"))
    database.insert(Book(id="1", shelf="a"), Book(id="2", shelf="b"), Book(id="3", shelf="a"))
    yield database
    database.close_all()


@pytest.fixture
def sent(db):
    """The first words of each statement from now on."""
    statements = []
    db.raw().query_hooks.append(lambda event: statements.append(event.sql.split()[0]))
    return statements


def shown(rows):
    return [sorted(row.__data__.items()) for row in rows]


def test_what_is_foreseen_is_read_once_and_each_row_is_one_object(db, sent):
    with db.gathered():
        db.foresee(Shelf.id, "abcz", hold=True)
        db.foresee(Book.shelf, "abc")
        found = [[book.id for book in db.having(Book.shelf, each)] for each in "abc"]
        same = db.get(Shelf, "a") is db.lock(Shelf, "a")

    assert (found, same) == ([["1", "3"], ["2"], []], True)
    assert Counter(sent)["SELECT"] == 2


def test_what_is_written_is_kept_back_and_written_together(db, sent):
    with db.gathered():
        for number in range(5):
            shelf = Shelf(id=f"new {number}")
            db.insert(shelf)
            db.insert(Book(id=f"of {number}", shelf=shelf.id))
            db.update(shelf, seats=number)
            db.update(db.having(Book.shelf, shelf.id)[0], text="here")
            assert db.get(Shelf, shelf.id).seats == number
        before = list(sent)

    assert before == []
    assert Counter(sent) == {"INSERT": 2}
    assert [row.seats for row in db.all(Shelf.select().where(Shelf.id.startswith("new")).order_by(Shelf.id))] == [0, 1, 2, 3, 4]
    assert {row.text for row in db.all(Book.select().where(Book.id.startswith("of")))} == {"here"}


def test_changes_of_a_row_are_one_update(db, sent):
    with db.gathered():
        shelf = db.lock(Shelf, "a")
        db.update(shelf, seats=1)
        db.update(shelf, seats=2, text="x")

    assert Counter(sent) == {"SELECT": 1, "UPDATE": 1}
    assert shown([db.get(Shelf, "a")]) == [[("id", "a"), ("seats", 2), ("text", "x")]]


def test_whatever_else_is_asked_sees_what_was_written(db):
    with db.gathered():
        db.update(db.get(Shelf, "a"), seats=7)
        db.insert(Shelf(id="e", seats=7))

        assert db.count(Shelf.select().where(Shelf.seats == 7)) == 2
        assert db.execute(Shelf.update(seats=8).where(Shelf.seats == 7)) == 2
        assert [db.get(Shelf, each).seats for each in "ae"] == [8, 8]
        assert [shelf.id for shelf in db.having(Shelf.seats, 8)] == ["a", "e"]


def test_answers_follow_what_is_written_in_the_order_of_keys(db):
    with db.gathered():
        db.foresee(Book.shelf, "ab")
        db.insert(Book(id="0", shelf="a"))
        assert [book.id for book in db.having(Book.shelf, "a")] == ["0", "1", "3"]

        db.insert(Shelf(id="e"))
        db.update(db.get(Book, "1"), shelf="e")
        found = {each: [book.id for book in db.having(Book.shelf, each)] for each in "abe"}

    assert found == {"a": ["0", "3"], "b": ["2"], "e": ["1"]}


def test_a_row_that_comes_to_refer_to_a_new_one_is_found(db):
    with db.gathered():
        db.insert(Shelf(id="e"))
        db.update(db.get(Book, "2"), shelf="e")

        assert [book.id for book in db.having(Book.shelf, "e")] == ["2"]


def test_nothing_is_left_of_it_where_it_fails(db):
    rows = shown(db.all(Shelf.select()))
    with pytest.raises(ZeroDivisionError), db.gathered():
        db.update(db.get(Shelf, "a"), seats=7)
        db.insert(Shelf(id="e"))
        raise ZeroDivisionError

    assert shown(db.all(Shelf.select())) == rows
    db.insert(Shelf(id="e"))  # by itself again
    assert db.get(Shelf, "e") is not db.get(Shelf, "e")


def test_a_key_that_exists_is_refused_in_the_end(db):
    with pytest.raises(peewee.IntegrityError), db.gathered():
        db.insert(Shelf(id="a"))

    assert db.get(Shelf, "a").text == "a"


def test_many_rows_are_foreseen_in_one_statement(db, sent):
    db.insert(*(Shelf(id=f"{number:04}") for number in range(600)))
    sent.clear()

    with db.gathered():
        found = db.foresee(Shelf.id, [f"{number:04}" for number in range(600)])

    assert len({row.id for row in found}) == len(found) == 600
    assert Counter(sent) == {"SELECT": 1}


KEYS, TEXTS = st.sampled_from("abcxyz"), st.sampled_from(["p", "q", None])
STEPS = st.one_of(
    st.tuples(st.just("insert"), KEYS, TEXTS),
    st.tuples(st.just("update"), KEYS, TEXTS),
    st.tuples(st.just("book"), KEYS, TEXTS),
    st.tuples(st.just("rename"), KEYS, TEXTS),
    st.tuples(st.just("delete"), KEYS, TEXTS),
    st.tuples(st.just("get"), KEYS, TEXTS),
    st.tuples(st.just("lock"), KEYS, TEXTS),
    st.tuples(st.just("books"), KEYS, TEXTS),
    st.tuples(st.just("texts"), KEYS, TEXTS),
    st.tuples(st.just("count"), KEYS, TEXTS),
    st.tuples(st.just("foresee"), KEYS, TEXTS),
)


def do(db, gathered, step, number):
    """A step, where it makes sense; what it tells."""
    kind, key, text = step
    there = db.get(Shelf, key)
    if kind == "insert" and there is None:
        db.insert(Shelf(id=key, text=text, seats=number))
    elif kind == "book" and there is not None:
        db.insert(Book(id=f"n{number:03}", shelf=key, text=text))
    elif kind == "update" and there is not None:
        db.update(there, text=text, seats=number)
    elif kind == "rename":
        return db.execute(Book.update(text=text).where(Book.shelf == key))
    elif kind == "delete" and there is not None and not db.having(Book.shelf, key):
        db.delete(there)
    elif kind == "lock":
        return shown(filter(None, [db.lock(Shelf, key)]))
    elif kind == "books":
        return shown(db.having(Book.shelf, key, text=None)), shown(db.having(Book.shelf, key))
    elif kind == "texts":
        return shown(db.having(Shelf.text, text))
    elif kind == "count":
        return db.count(Shelf.select().where(Shelf.text == text))
    elif kind == "foresee":
        if gathered:
            db.foresee(Book.shelf, "abcxyz")
            db.foresee(Shelf.id, "abcxyz", hold=True)
        return None
    return shown(filter(None, [db.get(Shelf, key)]))


@settings(max_examples=12)
@given(st.lists(STEPS, max_size=25))
def test_whatever_is_done_it_comes_to_the_same_as_one_by_one(tmp_path_factory, steps):
    outcomes = []
    for gathered in (False, True):
        db = opened(tmp_path_factory.mktemp("shelves"))
        db.insert(Shelf(id="a", text="p"), Shelf(id="b"))
        db.insert(Book(id="m", shelf="a"))
        with db.transaction(), db.gathered() if gathered else nullcontext():
            told = [do(db, gathered, step, number) for number, step in enumerate(steps)]
        outcomes.append((told, shown(db.all(Shelf.select().order_by(Shelf.id))), shown(db.all(Book.select().order_by(Book.id)))))
        db.close_all()

    assert outcomes[0] == outcomes[1]
