"""What PostgreSQL does differently from SQLite: connections that break, and are counted; transactions that fail in the middle."""

import threading
from datetime import UTC, datetime

import peewee
import pytest

from core.engine import postgresql
from core.engine.deliveries import drain
from core.engine.engine import open_database
from core.engine.events import EventRow, append
from core.engine.rows import DayField, InstantField, JsonField, Row
from core.errors import DatabaseUnavailable, SettingsInvalid
from core.subscriptions import Subscription
from puesto import hookimpl

pytestmark = pytest.mark.only_on("postgresql", reason="a file has no connections that break")


@pytest.fixture
def server(request):
    return request.getfixturevalue("postgresql")


@pytest.fixture
def admin(server):
    """Who looks at the shop's database from outside, and kills."""
    with server.connect() as connection:
        yield lambda sql, *values: connection.execute(sql, values).fetchall()


OURS = "FROM pg_stat_activity WHERE datname = %s"



@pytest.fixture
def name(shop):
    return shop.engine.db.raw().execute_sql("SELECT current_database()").fetchone()[0]


@pytest.fixture
def connections(admin, name):
    return lambda: admin(f"SELECT count(*) {OURS} AND application_name = ''", name)[0][0]


def kill(admin, name):
    """Every backend of the database, and wait until they are gone."""
    assert {killed for (killed,) in admin(f"SELECT pg_terminate_backend(pid, 10000) {OURS}", name)} == {True}


def in_a_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_a_connection_that_broke_while_it_was_idle_is_replaced_unseen(shop, admin, name):
    db = shop.engine.db

    read = [db.count(Subscription.select()), kill(admin, name), db.count(Subscription.select())]
    kill(admin, name)
    with db.transaction():
        append(shop.engine, "test.happened", account="acc_1", subject="ord_1", data={})

    assert read == [0, None, 0]
    assert [event["subject"] for event in shop.events()] == ["ord_1"]


class Odd(Row):
    id = peewee.CharField(primary_key=True)
    number = peewee.BigIntegerField(default=0)
    yes = peewee.BooleanField(null=True)
    share = peewee.DoubleField(null=True)
    at = InstantField(null=True)
    day = DayField(null=True)
    data = JsonField(null=True)
    text = peewee.TextField(null=True)


TEXTS = ("", "null", "it's", 'a "quoted" \\ text', "Ünïcode 🎟", "{1,2}", "\n\t\x01", "%s", "\\N")


def odd(number):
    at, text = datetime(2026, 3, 1, 12, 0, 0, number, tzinfo=UTC), TEXTS[number % len(TEXTS)]
    plain = {"number": 2**63 - 1 - number, "yes": number % 2 == 0, "share": number / 7, "text": text}
    return Odd(id=f"{number:04}", at=at, day=at.date(), data=[text, {}], **plain)


def test_many_rows_are_written_as_one_is(shop):
    db = shop.engine.db
    peewee.SchemaManager(Odd, db.raw()).create_all()
    rows = [odd(number) for number in range(postgresql.MANY + len(TEXTS))]

    with db.gathered():
        db.insert(*rows, Odd(id="none"))
    with db.gathered():
        for row in db.foresee(Odd.id, ["none", *(row.id for row in rows)], hold=True):
            db.update(row, text=row.text and f"{row.text}!", number=-row.number, at=None)

    read = db.all(Odd.select().order_by(Odd.id))
    assert vars(read.pop()) == {**dict.fromkeys(Odd._meta.fields), "id": "none", "number": 0}
    assert [vars(row) for row in read] == [
        vars(row) | {"number": -row.number, "at": None, "text": row.text and f"{row.text}!"} for row in map(odd, range(len(rows)))
    ]


def test_a_transaction_whose_connection_breaks_is_not_carried_on_with_another(shop, admin, name):
    db = shop.engine.db

    with pytest.raises(DatabaseUnavailable, match="terminating connection") as raised, db.transaction():
        append(shop.engine, "test.happened", account="acc_1", subject="ord_1", data={})
        kill(admin, name)
        db.count(EventRow.select())

    assert isinstance(raised.value.__cause__, peewee.OperationalError)
    assert (shop.events(), db.in_transaction()) == ([], False)


def test_a_commit_that_reaches_nobody_is_no_commit(shop, admin, name):
    db = shop.engine.db

    with pytest.raises(DatabaseUnavailable), db.transaction():
        append(shop.engine, "test.happened", account="acc_1", subject="ord_1", data={})
        kill(admin, name)

    assert shop.events() == []


def test_a_failure_that_is_swallowed_inside_a_transaction_is_told_at_its_end(shop):
    db, user = shop.engine.db, shop.add_user()

    with pytest.raises(DatabaseUnavailable, match="a statement of the transaction has failed"), db.transaction():
        append(shop.engine, "test.happened", account="acc_1", subject="ord_1", data={})
        with pytest.raises(peewee.IntegrityError):
            db.insert(user)

    assert shop.events() == []


def test_a_transaction_that_falls_silent_lets_go_of_its_locks(open_shop, monkeypatch, admin):
    monkeypatch.setitem(postgresql.SESSION, "idle_in_transaction_session_timeout", "10ms")
    shop = open_shop(enabled=["sandbox"])
    db, account = shop.engine.db, shop.account

    with pytest.raises(DatabaseUnavailable), db.transaction():
        db.update(account, name="Silence")
        me = db.raw().execute_sql("SELECT pg_backend_pid()").fetchone()[0]
        while admin("SELECT 1 FROM pg_stat_activity WHERE pid = %s", me):
            pass
        db.update(account, name="Silence, broken")

    assert shop.account.name == "Acme, S.L."


def test_a_server_that_is_away_is_told_and_found_again(shop, server):
    server.stop()
    try:
        with pytest.raises(DatabaseUnavailable):
            shop.engine.db.count(Subscription.select())
        with pytest.raises(DatabaseUnavailable):
            shop.add_user(shop._account)
    finally:
        server.start()

    assert shop.engine.db.count(Subscription.select()) == 0


def test_threads_that_die_leave_no_connection_behind(shop, connections):
    before = connections()

    for _ in range(30):
        in_a_thread(lambda: shop.engine.db.count(Subscription.select()))

    assert connections() - before <= 1


def test_a_thread_that_closed_its_connection_takes_no_other_threads_away(shop):
    db, pids, mine = shop.engine.db, [], threading.Event()
    db.close()

    def first():
        db.raw().execute_sql("SELECT 1")
        db.close()
        in_a_thread_that_stays.start()
        started.wait(10)
        db.raw().execute_sql("SELECT 1")

    def second():
        with db.transaction():
            pids.append(db.raw().execute_sql("SELECT pg_backend_pid()").fetchone())
            started.set()
            mine.wait(10)
            pids.append(db.raw().execute_sql("SELECT pg_backend_pid()").fetchone())

    started, in_a_thread_that_stays = threading.Event(), threading.Thread(target=second)
    in_a_thread(first)
    others = db.raw().execute_sql("SELECT pg_backend_pid()").fetchone()
    mine.set()
    in_a_thread_that_stays.join()

    assert pids[0] == pids[1] != others


class Ear:
    def __init__(self):
        self.heard = 0

    @hookimpl
    def order_completed(self, event):
        self.heard += 1


def test_lanes_of_the_outbox_leave_no_connection_behind(open_shop, admin):
    ear = Ear()
    shop = open_shop(plugins={"ear": ear}, enabled=["ear"])
    name = shop.engine.db.raw().execute_sql("SELECT current_database()").fetchone()[0]

    for number in range(30):
        with shop.engine.db.transaction():
            append(shop.engine, "order.completed", account="acc_1", subject=f"ord_{number}", data={})
        drain(shop.engine)

    assert ear.heard == 30
    assert admin(f"SELECT count(*) {OURS}", name)[0][0] <= 4  # this thread's, a lane's, and the queue's two


def test_either_name_of_the_scheme_leads_there(shop):
    url = shop.engine.db.url

    other = open_database(url.replace("postgresql:", "postgres:"))

    assert other.count(Subscription.select()) == 0
    assert "@" not in other.shown
    other.close_all()


@pytest.mark.parametrize("url", ["postgresql://[hunter2", "postgresql://host/name?hunter2", "postgres:hunter2"])
def test_what_libpq_can_not_read_is_a_wrong_setting(url):
    with pytest.raises(SettingsInvalid) as refused:
        open_database(url)

    assert str(refused.value) == "setting database: write postgresql://user:password@host/name, as libpq reads it"
