"""Idempotency keys: a repeated request gets the first answer, stored in the transaction of the effect.

After draft-ietf-httpapi-idempotency-key-header: the same key with another body is refused, a key whose first request still
runs is told to wait, and one whose first request died is resumed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import peewee

from core.engine.engine import Engine
from core.engine.rows import InstantField, JsonField, Row
from core.errors import IdempotencyKeyReused, RequestInProgress

LIFETIME = timedelta(hours=24)
# A request that has not answered for so long has died with its process.
RUNNING_LIMIT = timedelta(seconds=60)


class IdempotencyKey(Row):
    """One key of one caller for one operation. `answer` is None while the operation runs; `resource` is what it works on."""

    id = peewee.CharField(primary_key=True, max_length=64)
    account = peewee.CharField(null=True, max_length=40)
    fingerprint = peewee.CharField(max_length=64)
    resource = peewee.CharField(null=True, max_length=40)
    answer = JsonField(null=True)
    created_at = InstantField(index=True)


@dataclass(frozen=True)
class Answer:
    """What was answered, as JSON. `replayed`: it was answered before."""

    body: Any
    replayed: bool = False


@dataclass(frozen=True)
class KeyedRequest:
    """A request that may come again.

    scope: who calls which operation, so that two callers, or two operations, never share a key.
    body:  the request as sent, byte for byte.
    """

    scope: str
    key: str
    body: bytes
    account: str | None = None

    @property
    def id(self) -> str:
        return hashlib.sha256(f"{self.scope}\0{self.key}".encode()).hexdigest()

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


def once(engine: Engine, request: KeyedRequest, work: Callable[[], Any]) -> Answer:
    """Run `work`, which writes in this one transaction and returns JSON, and store that with it; or answer what was answered before.

    Raises IdempotencyKeyReused. An error that `work` raises is not stored: the request may be repeated.
    """
    with engine.db.transaction():
        row = _find(engine, request)
        if row is not None:
            return _stored(row)
        answer = Answer(work())
        _insert(engine, _row(engine, request, answer={"body": answer.body}, resource=None))
        return answer


def begin(engine: Engine, request: KeyedRequest) -> IdempotencyKey | Answer | None:
    """Look a key up before an operation of several transactions, inside its first.

    None: it is new, call `claim`. An Answer: repeat it. The row: its first request died while it worked on `resource`; resume.
    Raises RequestInProgress while the first request may still be running.
    """
    row = _find(engine, request)
    if row is None:
        return None
    if row.answer is not None:
        return _stored(row)
    if engine.clock.now() - row.created_at < RUNNING_LIMIT:
        raise _in_progress()
    engine.db.update(row, created_at=engine.clock.now())
    return row


def take(engine: Engine, request: KeyedRequest, resource: str) -> IdempotencyKey | Answer | None:
    """`begin` and `claim` in one, where the resource's id is known before; None: the key was new, and is taken."""
    row = _row(engine, request, answer=None, resource=resource)
    if engine.db.insert_new(row):
        return None
    known = begin(engine, request)
    if known is None:
        claim(engine, request, resource)
    return known


def claim(engine: Engine, request: KeyedRequest, resource: str) -> None:
    """Take a new key for an operation on `resource`, inside the operation's first transaction."""
    _insert(engine, _row(engine, request, answer=None, resource=resource))


def finish(engine: Engine, request: KeyedRequest, body: Any) -> Answer:
    """Store the answer, inside the operation's last transaction."""
    engine.db.set(IdempotencyKey, request.id, answer={"body": body})
    return Answer(body)


def release(engine: Engine, request: KeyedRequest) -> None:
    """Forget a claimed key whose operation came to nothing, so that the same request may be tried again."""
    engine.db.execute(IdempotencyKey.delete().where(IdempotencyKey.id == request.id))


def sweep(engine: Engine) -> int:
    """Forget keys older than a day; how many."""
    return engine.db.execute(IdempotencyKey.delete().where(IdempotencyKey.created_at < engine.clock.now() - LIFETIME))


def _find(engine: Engine, request: KeyedRequest) -> IdempotencyKey | None:
    row = engine.db.lock(IdempotencyKey, request.id)
    if row is None or engine.clock.now() - row.created_at >= LIFETIME:
        if row is not None:
            engine.db.delete(row)
        return None
    if row.fingerprint != request.fingerprint:
        raise IdempotencyKeyReused("This Idempotency-Key came with another body before. Send a new key with a new request.")
    return row


def _stored(row: IdempotencyKey) -> Answer:
    return Answer(row.answer["body"], replayed=True)


def _row(engine: Engine, request: KeyedRequest, *, answer: Any, resource: str | None) -> IdempotencyKey:
    return IdempotencyKey(
        id=request.id,
        account=request.account,
        fingerprint=request.fingerprint,
        resource=resource,
        answer=answer,
        created_at=engine.clock.now(),
    )


def _insert(engine: Engine, row: IdempotencyKey) -> None:
    if not engine.db.insert_new(row):  # where rows are locked one by one, two may find no key at once
        raise _in_progress()


def _in_progress() -> RequestInProgress:
    return RequestInProgress("A request with this Idempotency-Key is still running.", extra={"retry_after": 2})
