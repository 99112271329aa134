"""puesto keys: the secret keys of back ends."""

from __future__ import annotations

from datetime import datetime

import click

from api.cli.output import show_table
from api.cli.shop import open_shop
from core.access import SCOPES, create_key, list_keys, revoke_key


@click.group()
def keys() -> None:
    """Make, list and revoke secret keys."""


@keys.command()
@click.option("--name", required=True, help="What the key is for, as `puesto keys list` shows it.")
@click.option("--scopes", required=True, metavar="A,B", help=f"What it may do: some of {', '.join(SCOPES)}.")
def create(name: str, scopes: str) -> None:
    """Make a key. Its secret is printed once, alone on standard output; only its hash is stored.

    Send it with each request: Authorization: Bearer sk_...
    """
    with open_shop() as engine:
        key, secret = create_key(engine, name, [scope.strip() for scope in scopes.split(",") if scope.strip()])
    click.echo(f"Key {key.id} with {', '.join(key.scopes)}. Keep its secret, it can't be shown again:", err=True)
    click.echo(secret)


@keys.command("list")
def list_() -> None:
    """Show every key, never its secret."""
    with open_shop() as engine:
        found = list_keys(engine)
    rows = [(key.id, key.name, ",".join(key.scopes), _day(key.created_at), _day(key.revoked_at)) for key in found]
    show_table(("id", "name", "scopes", "created", "revoked"), rows)


@keys.command()
@click.argument("key", metavar="ID")
def revoke(key: str) -> None:
    """End a key: from now on it opens nothing."""
    with open_shop() as engine:
        revoked = revoke_key(engine, key)
    click.echo(f"Key {revoked.id} ({revoked.name}) is revoked.")


def _day(instant: datetime | None) -> str:
    return f"{instant:%Y-%m-%d}" if instant else "-"
