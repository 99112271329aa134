"""Opening the shop that the settings describe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from core import schema
from core.engine.engine import Engine


@contextmanager
def open_shop() -> Iterator[Engine]:
    """The engine of puesto.toml and the environment, ready to use; a database that is not there yet is made.

    Raises SettingsInvalid, also for a database whose schema is older or newer than this code.
    """
    engine = Engine()
    try:
        get_ready(engine)
        yield engine
    finally:
        engine.close()


def get_ready(engine: Engine) -> None:
    """Make the database if it is not there yet, hold its schema against the code, and take over the time of the shop."""
    if is_new(engine):
        schema.upgrade(engine)
        click.echo(f"Made the database {engine.db.shown}", err=True)
    schema.check(engine)
    engine.refresh_clock()


def is_new(engine: Engine) -> bool:
    """Whether no migration was ever applied."""
    return all(step.applied is None for step in schema.status(engine))
