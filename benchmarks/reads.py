"""Entitlement checks and the catalog over HTTP, held against bare Flask: `python -m benchmarks.reads --database sqlite`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from statistics import median

import click

from benchmarks.driver import Talk, drive
from benchmarks.servers import WORKERS, Server, serving
from benchmarks.shops import DATABASES, Databases, MadeShop, databases
from benchmarks.tables import table

PUESTO, FLOOR = "api.app:from_settings", "benchmarks.floor.reads:from_environment"
PRODUCT = "gotomeeting"
TALK = 50  # requests of one conversation
# What is asked, and what it is held against.
CASES = (
    ("entitlement check", "entitled", ("bare, one look-up by key", "user"), ("bare, the same look-ups", "entitled")),
    ("catalog", "catalog", ("bare, a text that is ready", "ready")),
    ("catalog, If-None-Match", "unchanged", ("bare, a text that is ready", "ready")),
)


@dataclass(frozen=True)
class Sides:
    """Both servers, and the request of each name: its server, its bytes, and the status and a part of the body of a right answer."""

    puesto: Server
    bare: Server
    requests: dict[str, tuple[str, str, dict[str, str], int, str]]


@contextmanager
def both(made: Databases) -> Iterator[Sides]:
    shop = made.shop(1)
    with serving(PUESTO, {**shop.environment, "PUESTO_MODE": "live"}) as puesto:
        user, etag = _furnish(shop, puesto)
        environment = {"FLOOR_DATABASE": shop.database, "FLOOR_CATALOG": str(shop.data / "catalog.json")}
        with serving(FLOOR, environment) as bare:
            yield Sides(puesto, bare, _requests(shop, user, etag))


def _furnish(shop: MadeShop, puesto: Server) -> tuple[str, str]:
    """A user with a seat, and the catalog in a file; the user's id and the catalog's tag."""
    from benchmarks.lives import START, open_at, subscribe
    from core.access import INTERNAL
    from core.accounts import add_user
    from core.seats import assign_seats
    from core.subscriptions import Subscription

    engine = open_at(shop.database, str(shop.data), START)
    subscribe(engine, 1)
    [subscription] = engine.db.all(Subscription.select())
    user = add_user(engine, subscription.account, INTERNAL, email="ana@acme.example", name="Ana", role="member")
    assign_seats(engine, subscription.id, INTERNAL, [user.id])
    engine.close()
    connection = HTTPConnection("127.0.0.1", puesto.port)
    connection.request("GET", "/v1/products")
    answer = connection.getresponse()
    (shop.data / "catalog.json").write_bytes(answer.read())
    return user.id, answer.headers["ETag"]


def _requests(shop: MadeShop, user: str, etag: str) -> dict[str, tuple[str, str, dict[str, str], int, str]]:
    key, asked = {"Authorization": f"Bearer {shop.key}"}, f"?user={user}&product={PRODUCT}"
    return {
        "puesto entitled": ("puesto", f"/v1/entitlements{asked}", key, 200, '"entitled":true'),
        "puesto catalog": ("puesto", "/v1/products", {}, 200, '"gotomeeting-professional"'),
        "puesto unchanged": ("puesto", "/v1/products", {"If-None-Match": etag}, 304, ""),
        "bare user": ("bare", f"/user{asked}", {}, 200, '"ana@acme.example"'),
        "bare entitled": ("bare", f"/entitled{asked}", key, 200, '"entitled":true'),
        "bare ready": ("bare", "/ready", {}, 200, '"gotomeeting-professional"'),
    }


def talk(path: str, headers: dict[str, str], status: int, part: str) -> Talk:
    """Raises AssertionError for an answer that is not right."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"GET {path} HTTP/1.1\r\nHost: benchmark\r\n{lines}\r\n".encode()
    for _ in range(TALK):
        answer = yield request
        assert answer[0] == status and part.encode() in answer[1], answer


def load(sides: Sides, name: str, clients: int, seconds: float) -> tuple[float, float]:
    """Requests a second, and microseconds of the server's CPU for each."""
    side, *request = sides.requests[name]
    server: Server = getattr(sides, side)
    before, given = server.cpu(), {"port": server.port, "request": request, "clients": clients, "seconds": seconds}
    command = [sys.executable, "-m", "benchmarks.reads", "--drive"]
    done = subprocess.run(command, input=json.dumps(given), cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"the driver met a wrong answer:\n{done.stderr}")
    number, took = json.loads(done.stdout)
    return number / took, 1e6 * (server.cpu() - before) / number


def driven() -> None:
    given = json.load(sys.stdin)
    report = drive(given["port"], [lambda: talk(*given["request"])] * given["clients"], given["seconds"])
    click.echo(json.dumps([len(report.requests), report.ended - report.began]))


def rows_of(kind: str, sides: Sides, clients: int, rounds: int, seconds: float) -> list[list[str]]:
    rows = []
    for what, ours, *references in CASES:
        for reference, theirs in references:
            names = (f"puesto {ours}", f"bare {theirs}")
            for name in names:
                load(sides, name, clients, seconds / 2)
            pairs = [[load(sides, name, clients, seconds) for name in names] for _ in range(rounds)]
            ratio = median(mine[0] / bare[0] for mine, bare in pairs)
            rates = [median(pair[side][0] for pair in pairs) for side in (0, 1)]
            cpu = [median(pair[side][1] for pair in pairs) for side in (0, 1)]
            rows.append([kind, what, reference, *(f"{each:,.0f}" for each in rates), f"{ratio:.2f}", *(f"{each:.0f}" for each in cpu)])
    return rows


HEAD = ["database", "", "held against", "a second", "the other", "x", "server CPU, us", "the other's"]


@click.command()
@click.option("--database", "kinds", multiple=True, type=click.Choice(DATABASES), default=DATABASES, show_default=True)
@click.option("--clients", default=8, show_default=True)
@click.option("--rounds", default=3, show_default=True, help="Pairs of rounds.")
@click.option("--seconds", default=1.0, show_default=True, help="Of each round.")
@click.option("--drive", "as_driver", is_flag=True, hidden=True)
def main(kinds: tuple[str, ...], clients: int, rounds: int, seconds: float, as_driver: bool) -> None:
    """Entitlement checks and the catalog over HTTP."""
    if as_driver:
        driven()
        return
    rows = []
    for kind in kinds:
        with databases(kind) as made, both(made) as sides:
            rows += rows_of(kind, sides, clients, rounds, seconds)
    click.echo(f"### Reads: {clients} clients, {WORKERS} server processes, live mode\n")
    click.echo(table(HEAD, rows))


if __name__ == "__main__":
    main()
