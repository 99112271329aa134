"""`puesto invoice`: documents as files."""

from __future__ import annotations

from typing import BinaryIO

import click

from api.cli.shop import open_shop
from core.documents import print_numbered


@click.group()
def invoice() -> None:
    """Read invoices and credit notes."""


@invoice.command()
@click.argument("number")
@click.option("-o", "--output", type=click.File("wb", lazy=True), help="Where to; default: NUMBER.pdf here. A dash: standard output.")
def pdf(number: str, output: BinaryIO | None) -> None:
    """Write the document NUMBER as a PDF, as it was issued."""
    with open_shop() as engine:
        printed = print_numbered(engine, number)
    file = output or click.open_file(f"{number}.pdf", "wb")
    with file:
        file.write(printed)
    click.echo(f"Wrote {file.name}", err=True)
