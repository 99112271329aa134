"""Seats for 10,000 users, one by one and together; and the events of that, delivered: `python -m benchmarks.seats --database sqlite`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import click

from benchmarks.floor.rows import Rows
from benchmarks.lives import START, open_at, subscribe
from benchmarks.shops import DATABASES, Databases, databases
from benchmarks.tables import table
from core.access import INTERNAL
from core.accounts import User
from core.engine.deliveries import Delivery, drain
from core.engine.engine import Engine
from core.engine.events import EventRow
from core.engine.values import new_id
from core.seats import assign_seats, assigned_users
from core.subscriptions import Subscription
from puesto import Event, hookimpl


class Listener:
    """Hears of seats, and counts."""

    heard = 0

    @hookimpl
    def seat_assigned(self, event: Event) -> None:
        self.heard += 1


def users_of(engine: Engine, subscription: Subscription, number: int) -> list[str]:
    """So many users, and as many seats."""
    now, account = engine.clock.now(), subscription.account
    same = {"account": account, "role": "member", "created_at": now}
    made = [User(id=new_id("usr"), email=f"u{n}@acme.example", name=f"User {n}", **same) for n in range(number)]
    engine.db.insert(*made)
    engine.db.update(subscription, seats=2 * number)
    return [user.id for user in made]


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(kind: str, made: Databases, number: int, one_by_one: int) -> list[list[str]]:
    shop, listener = made.shop(0), Listener()
    engine = open_at(shop.database, str(shop.data), START, {"listener": listener})
    subscribe(engine, 1)
    [subscription] = engine.db.all(Subscription.select())
    users = users_of(engine, subscription, number + one_by_one)

    def assign(some: Sequence[str]) -> None:
        assign_seats(engine, subscription.id, INTERNAL, some)

    together = timed(lambda: assign(users[:number]))
    singly = timed(lambda: [assign([user]) for user in users[number:]])
    delivered = timed(lambda: drained(engine, listener, len(users)))
    if len(assigned_users(engine, subscription)) != len(users):
        raise click.ClickException("not everybody has a seat")
    bare = timed(lambda: bare_loop(shop.database, listener))
    engine.close()
    return [
        [kind, f"{number:,} seats in one request", *_each(together, number), ""],
        [kind, f"a seat at a time, {number:,} being assigned", *_each(singly, one_by_one), ""],
        [kind, "an event delivered", *_each(delivered, len(users)), f"{bare / delivered:.2f}"],
        [kind, "the same in a bare loop", *_each(bare, len(users)), "1"],
    ]


def drained(engine: Engine, listener: Listener, number: int) -> None:
    """Let the worker deliver until everything is heard."""
    drain(engine)
    while engine.db.count(Delivery.select().where(Delivery.status != "done")):
        drain(engine)
    if listener.heard != number:
        raise click.ClickException(f"of {number} events {listener.heard} were heard")


def bare_loop(database: str, listener: Listener) -> None:
    """Read each event, call the listener, and note that it has heard, in a transaction each: at least once, and nothing else."""
    rows = Rows(database)
    sequences = [sequence for (sequence,) in rows.run("SELECT sequence FROM event ORDER BY sequence").fetchall()]
    for sequence in sequences:
        [(event_id, data)] = rows.run("SELECT id, data FROM event WHERE sequence = ?", (sequence,)).fetchall()
        listener.seat_assigned(Event(event_id, "seat.assigned", "", "", None, EventRow.data.python_value(data)))  # type: ignore[arg-type]
        with rows.transaction():
            rows.run("UPDATE delivery SET status = 'done', attempts = 1 WHERE event = ?", (sequence,))


def _each(seconds: float, number: int) -> tuple[str, str]:
    return f"{number / seconds:,.0f}", f"{1e6 * seconds / number:,.0f}"


@click.command()
@click.option("--database", "kinds", multiple=True, type=click.Choice(DATABASES), default=DATABASES, show_default=True)
@click.option("--users", default=10_000, show_default=True)
@click.option("--one-by-one", default=200, show_default=True, help="Of those that get theirs alone.")
def main(kinds: tuple[str, ...], users: int, one_by_one: int) -> None:
    """Seats and events."""
    rows = []
    for kind in kinds:
        with databases(kind) as made:
            rows += measure(kind, made, users, one_by_one)
    click.echo("### Seats and events\n")
    click.echo(table(["database", "", "a second", "us each", "x bare loop"], rows))


if __name__ == "__main__":
    main()
