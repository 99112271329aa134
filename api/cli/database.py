"""puesto db: the tables of the database."""

from __future__ import annotations

import click

from api.cli.output import show_table
from core import schema
from core.engine.engine import Engine


@click.group()
def db() -> None:
    """Make and upgrade the tables."""


@db.command()
def upgrade() -> None:
    """Apply the migrations that are missing. Safe to run twice."""
    engine = Engine()
    try:
        applied = schema.upgrade(engine)
    finally:
        engine.close()
    for name in applied:
        click.echo(f"applied {name}")
    if not applied:
        click.echo("up to date")


@db.command()
def status() -> None:
    """Show every migration and when it was applied."""
    engine = Engine()
    try:
        found = schema.status(engine)
    finally:
        engine.close()
    show_table(("migration", "applied"), [(name, f"{applied:%Y-%m-%d %H:%M}" if applied else "missing") for name, applied in found])
