"""How many statements and transactions a checkout takes, as the database itself sees them, in this process and with one client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import Any

from flask import Flask

from api.app import create_app
from benchmarks.driver import checkout
from benchmarks.floor.app import create_app as create_floor
from benchmarks.shops import MadeShop


@dataclass(frozen=True)
class Counts:
    """Per checkout; BEGIN and COMMIT are statements too. The gateway's books and the queue's file do not count."""

    statements: float
    commits: float


def count(shop: MadeShop, which: str, seats: int, times: int = 5) -> Counts:
    """which: `puesto` or `floor`, on the shop's database. The first checkout of a connection is left out."""
    with _app(shop, which) as (app, connection), TemporaryFile("w+") as trace:
        check_out(app, shop, seats)
        seen = _Statements(connection(), trace)
        for _ in range(times):
            check_out(app, shop, seats)
        return seen.per(times)


@contextmanager
def _app(shop: MadeShop, which: str) -> Iterator[tuple[Flask, Any]]:
    """The app, and what gives this thread's connection of its driver."""
    if which == "floor":
        floor = create_floor(shop.database, f"sqlite:///{shop.gateway}")
        yield floor, lambda: floor.extensions["floor"].rows.connection
        return
    engine = shop.open()
    try:
        yield create_app(engine), engine.db.raw().connection
    finally:
        engine.close()


def check_out(app: Flask, shop: MadeShop, seats: int) -> None:
    """One checkout without a server in between."""
    client, talk = app.test_client(), checkout(shop.key, shop.accounts[0], seats)
    request = next(talk)
    while True:
        head, _, body = request.partition(b"\r\n\r\n")
        first, *headers = head.decode().split("\r\n")
        method, path, _ = first.split(" ")
        answer = client.open(path, method=method, data=body, headers=[tuple(each.split(": ", 1)) for each in headers])
        try:
            request = talk.send((answer.status_code, answer.data))
        except StopIteration:
            return


class _Statements:
    """What a connection sends from now on."""

    def __init__(self, connection: Any, trace: Any) -> None:
        self._connection, self._trace, self._sent = connection, trace, []
        if hasattr(connection, "set_trace_callback"):
            connection.set_trace_callback(self._sent.append)
        else:
            connection.prepare_threshold = None  # what is prepared is sent without its text
            connection.pgconn.trace(trace.fileno())

    def per(self, times: int) -> Counts:
        """The statements so far, of which so many checkouts are the cause."""
        sent = self._sent or self._traced()
        return Counts(len(sent) / times, sum("COMMIT" in each for each in sent) / times)

    def _traced(self) -> list[str]:
        """What libpq has written down: a statement is sent as Query, or to be Parsed."""
        self._connection.pgconn.untrace()
        self._trace.seek(0)
        messages = [line.split("\t") for line in self._trace]
        return [" ".join(rest) for _, who, _, kind, *rest in messages if who == "F" and kind.strip() in ("Query", "Parse")]
