"""What commands print: tables, and what went wrong."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import IO, Any

import click


class Failure(click.ClickException):
    """What somebody at a terminal can mend: one line on standard error, exit status 1, no traceback.

    exit_code: 2 where the command itself was given something wrong.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"puesto: {' '.join(self.message.split())}", err=True)


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; on a terminal that is too narrow for it, a paragraph per row."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    if sys.stdout.isatty() and sum(widths) + 2 * len(widths) > shutil.get_terminal_size().columns:
        name_width = max(map(len, columns)) + 2
        for row in rows:
            click.echo("\n".join(f"{name:{name_width}}{value}" for name, value in zip(columns, row, strict=True)) + "\n")
        return
    for row in (columns, *rows):
        click.echo("  ".join(f"{value:{width}}" for value, width in zip(row, widths, strict=True)).rstrip())
