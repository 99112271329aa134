"""Setbacks: rows that a round could not carry on. Each waits for its next turn, or is parked, and says why; none holds up another.

Deliveries keep this themselves, and so do payments and refunds, which are never parked: somebody's money is in them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TypeVar

import peewee

from core.engine.engine import Engine
from core.engine.jobs import backoff, explain
from core.engine.rows import InstantField, Row
from core.engine.values import new_id
from core.errors import DatabaseUnavailable

log = logging.getLogger("puesto.jobs")
T = TypeVar("T")
MOST_TRIES = 12
FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=6)


class Setback(Row):
    """A piece of work that fails: `work` to be done on the row `subject`. There is none for what goes well.

    next_at: when it is tried again; None: it is parked.
    """

    id = peewee.CharField(primary_key=True, max_length=40)
    account = peewee.CharField(max_length=40)
    work = peewee.CharField(max_length=32)
    subject = peewee.CharField(max_length=40)
    tries = peewee.IntegerField()
    error = peewee.TextField()
    since = InstantField()
    next_at = InstantField(null=True)

    class Meta:
        indexes = ((("work", "subject"), True),)


Setback.add_index(Setback.index(Setback.id, name="setback_parked").where(Setback.next_at.is_null()))


def resting(engine: Engine, work: str) -> set[str]:
    """The subjects whose turn it is not: parked, or waiting until later."""
    later = Setback.next_at.is_null() | (Setback.next_at > engine.clock.now())
    return {row.subject for row in engine.db.all(Setback.select(Setback.subject).where((Setback.work == work) & later))}


def attempt(engine: Engine, work: str, subject: str, account: str, carry_on: Callable[[], bool]) -> bool:
    """What `carry_on` answers; False where it raises, which is kept. Raises DatabaseUnavailable, which is no fault of the row."""
    known = engine.db.first(Setback.select().where((Setback.work == work) & (Setback.subject == subject)))
    try:
        done = carry_on()
    except DatabaseUnavailable:
        raise
    except Exception as error:  # whatever is wrong with one row is no matter of the others
        log.exception("%s of %s fails", work, subject)
        _keep(engine, known or _first(engine, work, subject, account), explain(error))
        return False
    if known is not None:
        engine.db.delete(known)
    return done


def attempt_together(
    engine: Engine, work: str, accounts: Sequence[str], carry_on: Callable[[Sequence[str]], Mapping[str, T]]
) -> dict[str, T]:
    """What `carry_on` answers of many accounts, each of which is a subject. Where it raises, which has to leave nothing done, each is
    tried alone; what it raises for one is kept. Raises DatabaseUnavailable."""
    theirs = (Setback.work == work) & engine.db.among(Setback.subject, accounts)
    known = {row.subject: row for row in engine.db.all(Setback.select().where(theirs))} if accounts else {}
    try:
        done = dict(carry_on(accounts)) if accounts else {}
    except DatabaseUnavailable:
        raise
    except Exception as error:
        if len(accounts) > 1:
            return {name: each for one in accounts for name, each in attempt_together(engine, work, [one], carry_on).items()}
        log.exception("%s of %s fails", work, accounts[0])
        _keep(engine, known.get(accounts[0]) or _first(engine, work, accounts[0], accounts[0]), explain(error))
        return {}
    for row in known.values():
        engine.db.delete(row)
    return done


def forget(engine: Engine, work: str, subject: str) -> None:
    """It was done by somebody else."""
    engine.db.execute(Setback.delete().where((Setback.work == work) & (Setback.subject == subject)))


def was_met(engine: Engine, work: str, subject: str) -> bool:
    """Whether it was tried, and failed."""
    return engine.db.first(Setback.select().where((Setback.work == work) & (Setback.subject == subject))) is not None


def retry(engine: Engine, setback_id: str | None = None) -> int:
    """Put what is parked (one, or all) back to work; how many."""
    query = Setback.update(next_at=engine.clock.now(), tries=0).where(Setback.next_at.is_null())
    return engine.db.execute(query if setback_id is None else query.where(Setback.id == setback_id))


def _first(engine: Engine, work: str, subject: str, account: str) -> Setback:
    now = engine.clock.now()
    made = Setback(id=new_id("job"), account=account, work=work, subject=subject, tries=0, error="", since=now, next_at=now)
    with suppress(peewee.IntegrityError):  # another worker has met with it at the same time
        engine.db.insert(made)
    return made


def _keep(engine: Engine, setback: Setback, error: str) -> None:
    tries = setback.tries + 1
    parked = tries >= MOST_TRIES
    next_at = None if parked else engine.clock.now() + backoff(tries, FIRST_PAUSE, LONGEST_PAUSE)
    engine.db.update(setback, tries=tries, error=error, next_at=next_at)
    if parked:
        log.error("%s of %s is parked: %s", setback.work, setback.subject, error)
