"""Databases that fail: real full disks, real servers that stop. Each is a block inside which the shop's database is away."""

from __future__ import annotations

import gc
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from puesto.testing.shop import Shop
from tests.databases import PostgresqlServer

OURS = "FROM pg_stat_activity WHERE datname = %s"


# --- SQLite, on a small disk of its own (`small_disk`)


@contextmanager
def small_disk(folder: Any) -> Iterator[None]:
    """Skips the test where nothing may be mounted: who runs the tests must be root for this."""
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)], check=False).returncode:
        pytest.skip("nothing may be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def full_disk(shop: Shop) -> Iterator[None]:
    shop.engine.db.raw().execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")  # else its room is used again
    ballast = shop.folder / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def read_only_disk(shop: Shop) -> Iterator[None]:
    shop.engine.close()
    shop.engine.jobs.huey.storage.close()
    gc.collect()  # a file that is open for writing keeps its disk writable
    remount(shop, "ro")
    try:
        yield
    finally:
        remount(shop, "rw")


@contextmanager
def read_only_file(shop: Shop) -> Iterator[None]:
    """Its folder can be written. A connection that was opened meanwhile can only ever read."""
    shop.engine.close()
    file = str(shop.folder / "shop.db")
    subprocess.run(["mount", "--bind", file, file], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", file], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", file], check=True)


def remount(shop: Shop, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(shop.folder)], check=True)


@contextmanager
def locked_file(shop: Shop) -> Iterator[None]:
    """Another process keeps the file longer than anybody waits."""
    other = sqlite3.connect(shop.folder / "shop.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


# --- PostgreSQL


def name_of(shop: Shop) -> str:
    return shop.engine.db.url.partition("?")[0].rpartition("/")[2]


def kill_backends(server: PostgresqlServer, database: str) -> None:
    """Of everybody who is connected, and wait until they are gone."""
    with server.connect() as admin:
        admin.execute(f"SELECT pg_terminate_backend(pid, 10000) {OURS}", [database])


@contextmanager
def stopped(shop: Shop, server: PostgresqlServer) -> Iterator[None]:
    server.stop()
    try:
        yield
    finally:
        server.start()


@contextmanager
def altered(shop: Shop, server: PostgresqlServer, to: str, back: str) -> Iterator[None]:
    database = name_of(shop)
    server.run(f"ALTER DATABASE {database} {to}")
    kill_backends(server, database)
    try:
        yield
    finally:
        server.run(f"ALTER DATABASE {database} {back}")
        kill_backends(server, database)


def read_only(shop: Shop, server: PostgresqlServer) -> Any:
    return altered(shop, server, "SET default_transaction_read_only = on", "RESET default_transaction_read_only")


def no_connection_left(shop: Shop, server: PostgresqlServer) -> Any:
    return altered(shop, server, "CONNECTION LIMIT 0", "CONNECTION LIMIT -1")


@contextmanager
def at_statement(shop: Shop, text: str, then: Any) -> Iterator[None]:
    """Once, after a statement of this thread that has `text`, do something."""
    hooks, waiting = shop.engine.db.raw().query_hooks, [then]

    def look(event: Any) -> None:
        if text in event.sql and waiting:
            waiting.pop()()

    hooks.append(look)
    try:
        yield
    finally:
        hooks.remove(look)
        assert not waiting, f"no statement had {text}"


def backend_killed(shop: Shop, server: PostgresqlServer) -> Any:
    """In the middle of the transaction that places an order."""
    return at_statement(shop, 'INTO "orders"', lambda: kill_backends(server, name_of(shop)))


@contextmanager
def locked_row(shop: Shop, server: PostgresqlServer) -> Iterator[None]:
    with server.connect(name_of(shop)) as other, other.transaction():
        other.execute("SELECT 1 FROM account FOR UPDATE")
        yield


@contextmanager
def deadlock(shop: Shop, server: PostgresqlServer) -> Iterator[None]:
    """Somebody has a cart and wants the account; who has the account and wants the cart is the one who notices."""
    with server.connect(name_of(shop)) as other:
        other.execute("SET deadlock_timeout = '1h'")
        other.execute("BEGIN")
        other.execute("SELECT 1 FROM cart FOR UPDATE")
        waiter = threading.Thread(target=other.execute, args=["SELECT 1 FROM account FOR UPDATE"])
        with at_statement(shop, '"account" AS "t1" WHERE', waiter.start):
            yield
        waiter.join()
        other.execute("ROLLBACK")


