"""puesto db: the tables of the database."""

from __future__ import annotations

import sys

import click

from api.cli.output import show_table
from core import schema
from core.engine.engine import Engine


@click.group()
def db() -> None:
    """Make and upgrade the tables."""


@db.command()
def upgrade() -> None:
    """Apply the migrations that are missing. Safe to run twice, or to kill."""
    engine = Engine()
    try:
        applied = schema.upgrade(engine, lambda name: click.echo(f"applied {name}"))
    finally:
        engine.close()
    if not applied:
        click.echo("up to date")


@db.command()
def status() -> None:
    """Show every migration and when it was applied."""
    engine = Engine()
    try:
        steps = schema.status(engine)
    finally:
        engine.close()
    show_table(("chain", "migration", "applied"), [(step.chain, step.name, step.state) for step in steps])


@db.command()
def check() -> None:
    """Hold the database against the models. Exit status 1, and a line per difference, where they differ."""
    engine = Engine()
    try:
        found = schema.compare(engine)
    finally:
        engine.close()
    click.echo("\n".join(found) or "the database is as the models say")
    sys.exit(1 if found else 0)
