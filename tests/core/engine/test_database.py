import fcntl
import logging
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone

import peewee
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.engine.database import MOST_VARIABLES
from core.engine.rows import DayField, InstantField, JsonField, Row, refers_to
from core.engine.sqlite import FairLock, Sqlite, WriterQueue
from core.errors import DatabaseUnavailable, NoSeatLeft, SettingsInvalid

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SYNCHRONOUS = Sqlite.synchronous  # before shops of tests are told to wait for no disk


class Shelf(Row):
    id = peewee.CharField(primary_key=True)
    seats = peewee.IntegerField(default=0)
    text = peewee.TextField(null=True)


class Note(Row):
    shelf = refers_to(Shelf)
    at = InstantField(null=True)
    day = DayField(null=True)
    data = JsonField(null=True)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "shop.db"


@pytest.fixture
def db(path):
    database = Sqlite(f"sqlite:///{path}")
    for model in (Shelf, Note):
        peewee.SchemaManager(model, database.raw()).create_all()
    yield database
    database.close_all()


@pytest.fixture
def elsewhere(path):
    """A connection as another process has it, which never waits."""
    connection = sqlite3.connect(path, timeout=0, isolation_level=None)
    yield connection
    connection.close()


def ids(db):
    return [shelf.id for shelf in db.all(Shelf.select().order_by(Shelf.id))]


def committed(elsewhere):
    return [row[0] for row in elsewhere.execute("SELECT id FROM shelf ORDER BY id")]


# --- opening


@pytest.mark.parametrize(
    "url",
    ["", "shop.db", "sqlite:///", "sqlite://shop.db", "SQLITE:///shop.db", "postgresql://puesto:hunter2@db/shop", "mysql:///hunter2"],
)
def test_a_url_of_another_kind_is_refused_without_showing_it(url):
    with pytest.raises(SettingsInvalid) as refused:
        Sqlite(url)

    assert str(refused.value) == (
        "setting database: write sqlite:///file.db, sqlite:////folder/file.db for an absolute path, or postgresql://user@host/name"
    )


def test_three_slashes_are_relative_and_four_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    for url in ("sqlite:///near.db", f"sqlite:///{tmp_path}/far.db"):
        database = Sqlite(url)
        database.raw().connect()
        database.close_all()

    assert sorted(file.name for file in tmp_path.iterdir()) == ["far.db", "near.db"]


def test_nothing_is_opened_before_the_first_statement(path):
    Sqlite(f"sqlite:///{path}")

    assert not path.exists()


def test_commits_are_synced_to_disk_and_foreign_keys_are_kept(db, monkeypatch):
    monkeypatch.setattr(Sqlite, "synchronous", SYNCHRONOUS)
    db.close_all()  # the next connections are opened as production's are

    pragmas = {name: db.raw().execute_sql(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "foreign_keys")}

    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    with pytest.raises(peewee.IntegrityError):
        db.insert(Note(shelf="nowhere"))


def test_a_file_that_is_no_database_is_a_database_that_is_away(tmp_path):
    path = tmp_path / "shop.db"
    path.write_bytes(b"this is a text file, whatever its name says" * 100)

    with pytest.raises(DatabaseUnavailable):
        Sqlite(f"sqlite:///{path}").all(Shelf.select())


def test_a_folder_that_is_not_there_is_a_wrong_setting(tmp_path):
    with pytest.raises(SettingsInvalid, match=r"setting database: there is no folder for .*/nowhere/shop\.db"):
        Sqlite(f"sqlite:///{tmp_path}/nowhere/shop.db")

    assert list(tmp_path.iterdir()) == []


# --- reading and writing


def test_rows_are_inserted_read_updated_and_deleted(db):
    one, two = Shelf(id="one", seats=1), Shelf(id="two", seats=2)
    db.insert(one, two)
    db.insert()

    db.update(one, seats=5, text="five")
    db.delete(two)

    assert (one.seats, one.text) == (5, "five")
    read = db.get(Shelf, "one")
    assert (read.seats, read.text) == (5, "five")
    assert db.get(Shelf, "two") is None
    assert db.first(Shelf.select().where(Shelf.seats > 5)) is None
    assert (db.count(Shelf.select()), db.scalar(Shelf.select(peewee.fn.SUM(Shelf.seats)))) == (1, 5)


def test_execute_tells_how_many_rows_it_touched(db):
    db.insert(Shelf(id="one"), Shelf(id="two"))

    assert db.execute(Shelf.update(seats=3)) == 2
    assert db.execute(Shelf.update(seats=3).where(Shelf.id == "three")) == 0
    assert db.execute(Shelf.delete().where(Shelf.id == "one")) == 1


def test_a_row_keeps_its_values_where_the_update_fails(db):
    shelf = Shelf(id="one", seats=1)
    db.insert(shelf)

    with pytest.raises(peewee.IntegrityError):
        db.update(shelf, seats=None)

    assert shelf.seats == db.get(Shelf, "one").seats == 1


def test_a_reference_holds_the_id_and_loads_nothing(db):
    db.insert(Shelf(id="one"))
    db.insert(Note(shelf="one"))

    note = db.first(Note.select())

    assert note.shelf == "one"
    assert Note.shelf.column_name == "shelf"


def noted_on(shelf, text):
    counted = (Shelf.text == text) & (Shelf.seats > 1)
    columns = (Shelf.text, Note.at, Note.day, Note.data, Note.id.alias("note"))
    return Shelf.select(*columns).join(Note, peewee.JOIN.LEFT_OUTER).where((Shelf.id == shelf) & counted)


def test_what_is_composed_once_is_asked_with_other_values(db):
    db.insert(*(Shelf(id=each, text=f"{each}!", seats=2) for each in "ab"), Shelf(id="c", text="c!", seats=1))
    db.insert(Note(shelf="a", at=NOON, day=date(2026, 3, 1), data={"x": [1]}))
    mine = [*db.all(Note.select())]

    asked = [db.ask(noted_on, each, f"{each}!") for each in "abcd"]

    assert asked == [[("a!", NOON, date(2026, 3, 1), {"x": [1]}, mine[0].id)], [("b!", None, None, None, None)], [], []]
    assert asked[0][0]._fields == ("text", "at", "day", "data", "note")
    assert db.ask(noted_on, "a", "b!") == []


def on_shelf(shelf):
    return Note.select(Note.day, Note.data).where(Note.shelf == shelf)


def test_two_questions_are_answered_by_one_statement(db):
    db.insert(*(Shelf(id=each, text=f"{each}!", seats=2) for each in "ab"))
    db.insert(Note(shelf="a", day=date(2026, 3, 1), data={"x": [1]}), Note(shelf="b"), Note(shelf="b", data=[]))
    sent = []
    db.raw().query_hooks.append(lambda event: sent.append(event.sql))

    asked = [db.ask_both((noted_on, first, f"{first}!"), (on_shelf, second)) for first, second in ("ab", "za", "bz", "zz")]

    assert len(sent) == 4
    assert [([row.text for row in first], second) for first, second in asked] == [
        (["a!"], [(None, None), (None, [])]),
        ([], [(date(2026, 3, 1), {"x": [1]})]),
        (["b!", "b!"], []),
        ([], []),
    ]
    assert asked[0] == (db.ask(noted_on, "a", "a!"), db.ask(on_shelf, "b"))
    assert asked[1][1][0]._fields == ("day", "data")


def test_a_row_is_its_values_and_none_where_it_has_none(db):
    row = Shelf(id="a", text="x")
    db.insert(row)
    row.seats = 5

    read, short = db.get(Shelf, "a"), db.first(Shelf.select(Shelf.text))

    assert vars(row) == {"id": "a", "text": "x", "seats": 5}
    assert (vars(read), read._pk, read == row) == ({"id": "a", "text": "x", "seats": 0}, "a", True)
    assert (short.text, short.id, short.seats) == ("x", None, None)
    assert Shelf.text.name == "text"


def test_rows_are_found_among_more_values_than_a_statement_has_places(db):
    db.insert(*(Shelf(id=each, text=text) for each, text in (("c", "x"), ("a", "x"), ("b", 'quo"ted'), ("d", None))))
    many = [str(number) for number in range(MOST_VARIABLES + 1)]

    found = [
        [row.id for row in db.all(Shelf.select().where(db.among(Shelf.text, [*many, *some])).order_by(Shelf.id))]
        for some in ("x", ['quo"ted', "x"], "")
    ]

    assert found == [["a", "c"], ["a", "b", "c"], []]


def test_rows_are_found_by_a_value_in_the_order_of_their_keys(db):
    db.insert(*(Shelf(id=each, text=text, seats=2) for each, text in (("c", "x"), ("a", "x"), ("b", None), ("d", "y"))))

    assert [each.id for each in db.having(Shelf.text, "x")] == ["a", "c"]
    assert [each.id for each in db.having(Shelf.seats, 2, text=None)] == ["b"]
    assert [each.id for each in db.having(Shelf.seats, 2, text="y")] == ["d"]
    assert db.having(Shelf.text, "z") == []


def test_a_column_that_only_some_rows_have_is_null_in_the_others(db):
    db.insert(Shelf(id="a"), Shelf(id="b", text="b"))

    assert [(each.id, each.text, each.seats) for each in db.all(Shelf.select().order_by(Shelf.id))] == [("a", None, 0), ("b", "b", 0)]


def test_values_come_back_as_they_were_written(db):
    db.insert(Shelf(id="one"))
    madrid = datetime(2026, 3, 1, 13, 0, 0, 123_456, tzinfo=timezone(timedelta(hours=1)))

    db.insert(Note(shelf="one", at=madrid, day=date(2026, 3, 1), data={"name": "Ñandú", "seats": [1, None, True]}), Note(shelf="one"))

    full, empty = db.all(Note.select().order_by(Note.id))
    assert (full.at, full.at.tzinfo, full.day) == (madrid, UTC, date(2026, 3, 1))
    assert full.data == {"name": "Ñandú", "seats": [1, None, True]}
    assert (empty.at, empty.day, empty.data) == (None, None, None)


INSTANTS = st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2100, 1, 1), timezones=st.timezones())


@given(INSTANTS, INSTANTS)
def test_instants_order_as_text_as_they_do_in_time(one, other):
    field = InstantField()

    assert (field.db_value(one) < field.db_value(other)) == (one.astimezone(UTC) < other.astimezone(UTC))
    assert field.python_value(field.db_value(one)) == one.astimezone(UTC)


# --- transactions


def test_a_transaction_is_seen_elsewhere_once_it_is_in(db, elsewhere):
    with db.transaction():
        db.insert(Shelf(id="one"))
        inside = (db.in_transaction(), ids(db), committed(elsewhere))

    assert inside == (True, ["one"], [])
    assert (db.in_transaction(), committed(elsewhere)) == (False, ["one"])


def test_a_write_outside_a_transaction_is_one_of_its_own(db, elsewhere):
    db.insert(Shelf(id="one"))

    assert committed(elsewhere) == ["one"]


def test_any_exception_rolls_back_and_comes_out_as_it_is(db):
    error = NoSeatLeft("No seat is left.")

    with pytest.raises(NoSeatLeft) as raised, db.transaction():
        db.insert(Shelf(id="one"))
        raise error

    assert raised.value is error
    assert ids(db) == []


def test_a_transaction_inside_another_is_part_of_it(db, elsewhere):
    with pytest.raises(ValueError, match="changed my mind"), db.transaction():
        with db.transaction():
            db.insert(Shelf(id="one"))
        inside = (db.in_transaction(), committed(elsewhere))
        raise ValueError("changed my mind")

    assert inside == (True, [])
    assert ids(db) == []


def test_a_transaction_holds_the_write_lock_from_its_beginning(db, elsewhere):
    with db.transaction():
        with pytest.raises(sqlite3.OperationalError, match="database is locked"):
            elsewhere.execute("BEGIN IMMEDIATE")
        readable = committed(elsewhere)

    assert readable == []
    elsewhere.execute("BEGIN IMMEDIATE")


def test_who_reads_and_then_writes_never_works_on_old_data(path, db):
    db.insert(Shelf(id="one"))
    other_process = Sqlite(f"sqlite:///{path}")  # with a queue of its own

    def take_seats(database):
        for _ in range(20):
            with database.transaction():
                shelf = database.lock(Shelf, "one")
                database.update(shelf, seats=shelf.seats + 1)
        database.close()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(take_seats, [db, db, other_process, other_process]))

    assert db.get(Shelf, "one").seats == 80


def test_more_rows_than_a_statement_takes_are_inserted_all_or_none(db):
    many = MOST_VARIABLES // 2 + 1
    with pytest.raises(peewee.IntegrityError):
        db.insert(*(Shelf(id=str(number % many), seats=1) for number in range(many + 1)))
    assert db.count(Shelf.select()) == 0

    db.insert(*(Shelf(id=str(number), seats=1) for number in range(many)))

    assert db.count(Shelf.select()) == many


@pytest.fixture
def statements(db):
    """What the database is told from now on."""
    told = []
    db.raw().connection().set_trace_callback(told.append)
    return told


def test_a_row_that_is_held_is_known_until_the_transaction_ends(db, statements):
    db.insert(Shelf(id="one"), Shelf(id="two"))

    with db.transaction():
        del statements[:]
        held = db.lock(Shelf, "one")
        assert db.lock(Shelf, "one") is held and db.get(Shelf, "one") is held
        db.update(held, seats=5)
        assert db.get(Shelf, "one") is held
        assert len(statements) == 2
        assert db.get(Shelf, "two") is not db.get(Shelf, "two")
    with db.transaction():
        again = db.lock(Shelf, "one")

    assert again is not held
    assert (again.seats, held.seats) == (5, 5)


@pytest.mark.parametrize(
    "change",
    [
        lambda db: db.execute(Shelf.update(seats=7).where(Shelf.id == "one")),
        lambda db: db.update(db.having(Shelf.seats, 0)[0], seats=7),
    ],
    ids=["by condition", "by another object"],
)
def test_a_row_that_is_held_is_read_anew_after_another_way_of_changing_it(db, change):
    db.insert(Shelf(id="one"))

    with db.transaction():
        db.lock(Shelf, "one")
        change(db)

        assert db.get(Shelf, "one").seats == 7
        assert db.lock(Shelf, "one").seats == 7


def test_a_row_that_was_held_and_is_removed_is_not_there(db):
    db.insert(Shelf(id="one"))

    with db.transaction():
        db.delete(db.lock(Shelf, "one"))

        assert db.lock(Shelf, "one") is None


def test_what_was_held_by_a_transaction_that_failed_is_read_anew(db):
    db.insert(Shelf(id="one"))

    with pytest.raises(ValueError), db.transaction():
        db.update(db.lock(Shelf, "one"), seats=5)
        raise ValueError

    assert db.get(Shelf, "one").seats == 0


def test_a_row_is_locked_inside_a_transaction_only(db):
    with pytest.raises(RuntimeError, match="rows are locked inside a transaction"):
        db.lock(Shelf, "one")


def test_a_key_that_exists_is_no_database_that_is_away(db):
    db.insert(Shelf(id="one"))

    with pytest.raises(peewee.IntegrityError):
        db.insert(Shelf(id="one"))
    with pytest.raises(peewee.IntegrityError), db.transaction(), db.transaction():
        db.insert(Shelf(id="two"))
        db.insert(Shelf(id="one"))

    assert ids(db) == ["one"]


# --- after commit


def test_what_is_to_follow_a_commit_runs_once_and_in_order_when_it_is_in(db, elsewhere):
    seen = []

    def tell():
        seen.append(("tell", committed(elsewhere)))

    with db.transaction():
        db.after_commit(tell)
        with db.transaction():
            db.after_commit(lambda: seen.append("second"))
            db.after_commit(tell)
        db.insert(Shelf(id="one"))
        before = list(seen)

    assert before == []
    assert seen == [("tell", ["one"]), "second"]


def test_nothing_follows_a_transaction_that_is_rolled_back_nor_the_one_after_it(db):
    seen = []

    with pytest.raises(ValueError), db.transaction():
        db.after_commit(lambda: seen.append("never"))
        raise ValueError
    with db.transaction():
        pass

    assert seen == []


def test_what_fails_after_a_commit_is_logged_and_hides_nothing(db, caplog):
    seen = []

    def fail():
        raise OSError("the queue is full")

    with db.transaction():
        db.after_commit(fail)
        db.after_commit(lambda: seen.append("nudged"))
        db.insert(Shelf(id="one"))

    assert (ids(db), seen) == (["one"], ["nudged"])
    [record] = caplog.records
    assert (record.name, record.levelno, record.exc_info[0]) == ("puesto.database", logging.ERROR, OSError)


def test_outside_a_transaction_it_runs_at_once_and_fails_as_quietly(db, caplog):
    seen = []

    db.after_commit(lambda: seen.append("now"))
    db.after_commit(lambda: 1 / 0)

    assert (seen, len(caplog.records)) == (["now"], 1)


def test_what_follows_a_commit_may_write(db):
    with db.transaction():
        db.after_commit(lambda: db.insert(Shelf(id="two")))
        db.after_commit(lambda: db.insert(Shelf(id="three")))
        db.insert(Shelf(id="one"))

    assert ids(db) == ["one", "three", "two"]


def test_threads_have_their_own_transactions_and_what_follows_them(db):
    seen = []

    def look():
        db.after_commit(lambda: seen.append("other thread"))
        result = (db.in_transaction(), ids(db))
        db.close()
        return result

    with db.transaction(), ThreadPoolExecutor(1) as thread:
        db.insert(Shelf(id="one"))
        db.after_commit(lambda: seen.append("this thread"))
        other = thread.submit(look).result()

    assert other == (False, [])
    assert seen == ["other thread", "this thread"]


# --- a database that is away


def away(db):
    """Try to write two rows in one transaction, the second a large one; what is told."""
    with pytest.raises(DatabaseUnavailable) as raised, db.transaction():
        db.insert(Shelf(id="small"))
        db.insert(Shelf(id="large", text="x" * 1_000_000))
    return str(raised.value)


def works_again(db):
    db.insert(Shelf(id="later"))
    return ids(db) == ["later"]


def test_a_full_disk_leaves_nothing_half_written_and_works_once_there_is_room(db):
    [used] = db.raw().execute_sql("PRAGMA page_count").fetchone()
    db.raw().execute_sql(f"PRAGMA max_page_count = {used + 2}")

    assert away(db) == "The database can't be reached or written: database or disk is full."
    assert (ids(db), db.in_transaction()) == ([], False)

    db.raw().execute_sql(f"PRAGMA max_page_count = {used + 1000}")
    assert works_again(db)


def test_a_database_that_may_only_be_read_says_so(db):
    db.raw().execute_sql("PRAGMA query_only = 1")

    assert away(db) == "The database can't be reached or written: attempt to write a readonly database."
    assert ids(db) == []

    db.raw().execute_sql("PRAGMA query_only = 0")
    assert works_again(db)


def test_a_file_that_is_damaged_further_in_is_told_while_its_rows_are_fetched(db, path):
    db.insert(*(Shelf(id=f"{number:04}", text="x" * 3000) for number in range(200)))
    db.close_all()
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"damage" * 20_000)

    with pytest.raises(DatabaseUnavailable, match="malformed"):
        db.all(Shelf.select(Shelf.text))


def test_a_connection_that_was_opened_while_the_file_could_only_be_read_is_not_kept(db):
    db.raw().execute_sql("PRAGMA query_only = 1")
    away(db)

    assert works_again(db)


def test_a_lock_that_another_process_keeps_is_given_up_on_in_the_end(db, elsewhere):
    db.raw().execute_sql("PRAGMA busy_timeout = 10")
    elsewhere.execute("BEGIN IMMEDIATE")

    assert away(db) == "The database can't be reached or written: database is locked."
    assert (ids(db), db.in_transaction()) == ([], False)

    elsewhere.execute("ROLLBACK")
    assert works_again(db)


def test_it_is_told_once_however_deep_it_happens(db):
    db.raw().execute_sql("PRAGMA query_only = 1")

    with pytest.raises(DatabaseUnavailable) as raised, db.transaction(), db.transaction():
        db.insert(Shelf(id="one"))

    assert str(raised.value).count("can't be reached") == 1
    assert isinstance(raised.value.__cause__, peewee.OperationalError)


# --- closing


def test_a_closed_connection_opens_again_when_it_is_needed(db):
    db.insert(Shelf(id="one"))

    db.close()

    assert ids(db) == ["one"]


def test_closing_all_takes_the_connections_of_threads_that_live_on(db, path):
    opened, closed, used_again = (threading.Event() for _ in range(3))
    seen = []

    def worker():
        db.insert(Shelf(id="one"))
        opened.set()
        closed.wait()
        seen.append(ids(db))
        db.close()
        used_again.set()

    threading.Thread(target=worker).start()
    opened.wait()
    wal = path.with_name("shop.db-wal")
    before = wal.exists()
    db.close_all()
    after = wal.exists()  # SQLite removes it with the last connection
    closed.set()
    used_again.wait()

    assert (before, after, seen) == (True, False, [["one"]])


def test_the_connection_of_a_thread_that_has_ended_goes_when_another_is_opened(db, path):
    db.close()
    thread = threading.Thread(target=lambda: db.insert(Shelf(id="one")))
    thread.start()
    thread.join()

    seen = ids(db)
    db.close()

    assert seen == ["one"]
    assert not path.with_name("shop.db-wal").exists()


def test_closing_inside_a_transaction_is_refused_and_leaves_it_whole(db):
    with db.transaction():
        db.insert(Shelf(id="one"))
        with pytest.raises(peewee.OperationalError):
            db.close_all()

    assert ids(db) == ["one"]


# --- the queue of writers


def wait_for(condition):
    while not condition():
        time.sleep(0.001)


def test_who_comes_first_is_served_first():
    lock, served = FairLock(), []

    def come(number):
        with lock:
            served.append(number)

    threads = [threading.Thread(target=come, args=(number,)) for number in range(8)]
    with lock:
        for number, thread in enumerate(threads, 1):
            thread.start()
            wait_for(lambda number=number: len(lock._waiters) == number + 1)
    for thread in threads:
        thread.join()

    assert served == list(range(8))


def test_writers_are_served_in_the_order_they_came(db):
    served = []

    def write(number):
        db.insert(Shelf(id=f"{number}"))
        served.append(number)

    def write_more(number):
        with db.transaction():
            db.insert(Shelf(id=f"{number}"))
            served.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number, work in enumerate([write_more, write, write_more])]
    with db.transaction():
        for number, thread in enumerate(threads, 1):
            thread.start()
            wait_for(lambda number=number: len(db._writers._waiters) == number + 1)
    for thread in threads:
        thread.join()

    assert ids(db) == ["0", "1", "2"]
    assert [number for number in served if number != 1] == [0, 2]  # the middle one tells after it has let go


def someone_stands_at(path):
    with open(path) as file, suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    return True


def test_a_process_that_waits_has_its_turn_before_those_that_come_later(path):
    ours, theirs, third, served = WriterQueue(str(path)), WriterQueue(str(path)), WriterQueue(str(path)), []

    def come(queue, name):
        with queue:
            served.append(name)

    threads = [threading.Thread(target=come, args=each) for each in [(theirs, "theirs"), (ours, "ours"), (third, "third")]]
    with ours:
        threads[0].start()
        wait_for(lambda: someone_stands_at(f"{path}-next"))
        threads[1].start()
        threads[2].start()
        wait_for(lambda: len(ours._waiters) == 2 and len(third._waiters) == 1)
    for thread in threads:
        thread.join()

    assert served[0] == "theirs"
    assert sorted(served) == ["ours", "theirs", "third"]


def test_the_turn_of_a_process_that_dies_is_over(path):
    dies = "import os, sys; from core.engine.sqlite import WriterQueue; WriterQueue(sys.argv[1]).__enter__(); os._exit(9)"
    subprocess.run([sys.executable, "-c", dies, str(path)], check=False)

    with WriterQueue(str(path)):
        assert someone_stands_at(f"{path}-turn")


def test_where_no_file_can_be_made_writers_of_the_process_still_queue(tmp_path):
    with WriterQueue(str(tmp_path / "nowhere" / "shop.db")):
        pass


def test_no_two_hold_the_lock_at_a_time():
    lock, start, most = FairLock(), threading.Barrier(4), []
    inside = 0

    def work():
        nonlocal inside
        start.wait()
        for _ in range(200):
            with lock:
                inside += 1
                time.sleep(0)  # lets another thread in, if anything does
                most.append(inside)
                inside -= 1

    with ThreadPoolExecutor(4) as threads:
        for each in [threads.submit(work) for _ in range(4)]:
            each.result()

    assert most == [1] * 800


def test_the_lock_is_free_again_after_an_exception():
    lock = FairLock()

    with pytest.raises(ValueError), lock:
        raise ValueError

    with lock:
        pass


class Interrupted(BaseException):
    """What Ctrl-C does, by another signal."""


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals reach a thread on POSIX only")
@pytest.mark.parametrize("first", [True, False], ids=["next in line", "further back"])
def test_who_is_interrupted_while_waiting_leaves_the_queue(first):
    lock, release, interrupted, served = FairLock(), threading.Event(), threading.Event(), []

    def hold():
        with lock:
            release.wait()

    def interrupt(_, frame):
        if frame.f_code is FairLock.__enter__.__code__ and not interrupted.is_set():
            interrupted.set()
            raise Interrupted

    def keep_interrupting():
        wait_for(lambda: len(lock._waiters) > len(holders))
        while not interrupted.wait(0.001):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    holders = [threading.Thread(target=hold) for _ in range(1 if first else 2)]
    for number, thread in enumerate(holders, 1):
        thread.start()
        wait_for(lambda number=number: len(lock._waiters) == number)
    before = signal.signal(signal.SIGUSR1, interrupt)
    helper = threading.Thread(target=keep_interrupting)
    helper.start()
    try:
        with pytest.raises(Interrupted), lock:
            served.append("interrupted")
        helper.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
        release.set()
    for thread in holders:
        thread.join()

    with lock:
        served.append("next")
    assert served == ["next"]


# --- by key


def test_a_row_is_inserted_unless_its_key_is_there(db):
    assert db.insert_new(Shelf(id="one", seats=1)) is True
    assert db.insert_new(Shelf(id="one", seats=2)) is False

    assert db.get(Shelf, "one").seats == 1


def test_a_row_is_changed_by_its_key_if_it_is_there(db):
    db.insert(Shelf(id="one"), Shelf(id="two"))

    with db.transaction():
        held = db.lock(Shelf, "one")
        db.set(Shelf, "one", seats=5)
        db.set(Shelf, "nowhere", seats=7)
        assert db.lock(Shelf, "one").seats == 5

    assert held.seats == 0
    assert [row.seats for row in db.all(Shelf.select().order_by(Shelf.id))] == [5, 0]


def test_a_row_that_a_gathered_transaction_knows_is_changed_by_its_key_with_what_else_changes(db, statements):
    db.insert(Shelf(id="one"), Shelf(id="two"))

    with db.gathered():
        known = db.get(Shelf, "one")
        db.set(Shelf, "one", seats=5)
        assert known.seats == 5
        db.update(known, text="x")
        del statements[:]

    assert [statement.partition(" WHERE")[0] for statement in statements] == [
        'UPDATE "shelf" SET "seats" = 5, "text" = \'x\'',
        "COMMIT",
    ]


def test_a_row_that_a_gathered_transaction_does_not_know_is_changed_at_once_and_read_anew(db):
    db.insert(Shelf(id="one"), Shelf(id="two"))

    with db.gathered():
        db.update(db.get(Shelf, "one"), seats=5)
        db.set(Shelf, "two", seats=7)

        assert (db.get(Shelf, "one").seats, db.get(Shelf, "two").seats) == (5, 7)
