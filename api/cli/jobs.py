"""puesto jobs: work that is stuck, and events once more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import click

from api.cli.output import Failure, show_table
from api.cli.shop import open_shop
from core.engine.deliveries import replay as replay_events
from core.engine.engine import Engine
from core.errors import Missing
from core.stuck import Case, retry_all, stuck_cases
from core.stuck import retry as retry_case

COLUMNS = ("kind", "id", "account", "about", "since", "tries", "next try", "why")
PAGE = 100


@click.group(invoke_without_command=True)
@click.pass_context
def jobs(context: click.Context) -> None:
    """Show what is stuck, retry it, deliver events once more.

    Shown is what waits for a human: parked work, orders with a problem, payments and refunds whose end has been unknown for too
    long. The same list as GET /v1/stuck-cases.
    """
    if context.invoked_subcommand is None:
        with open_shop() as engine:
            rows = [_row(case) for case in _every(engine)]
        show_table(COLUMNS, rows) if rows else click.echo("nothing is stuck")


@jobs.command()
@click.argument("case", metavar="ID", required=False)
@click.option("--all", "everything", is_flag=True, help="Everything that is stuck.")
def retry(case: str | None, everything: bool) -> None:
    """Put a stuck case back to work, by the id that `puesto jobs` shows; a worker takes it up within a minute."""
    if (case is None) != everything:
        raise Failure("name the ID that `puesto jobs` shows, or say --all", exit_code=2)
    with open_shop() as engine:
        done = _or_refuse(lambda: retry_all(engine) if case is None else retry_case(engine, case))
    click.echo(f"back to work: {done}")


@jobs.command()
@click.argument("event", metavar="EVENT", required=False)
@click.option("--from", "first", metavar="EVENT|TIME", help="From this event or instant on: evt_..., 2026-11-24T09:30:00Z.")
@click.option("--to", "last", metavar="EVENT|TIME", help="Up to this one, included.")
@click.option("--plugin", metavar="NAME", help="To this subscriber alone.")
def replay(event: str | None, first: str | None, last: str | None, plugin: str | None) -> None:
    """Deliver events once more, one or a range.

    To everybody who subscribes now, or to one plugin: under the same event ids, so that who has acted on one can tell.
    """
    if (event is None) == (first is None and last is None):
        raise Failure("name one EVENT, or a range with --from, --to or both", exit_code=2)
    begin, end = (event, event) if event else (_point(first), _point(last))
    with open_shop() as engine:
        if plugin is not None and plugin not in engine.plugins.names:
            raise Failure(f"there is no enabled plugin {plugin}", exit_code=2)
        done = _or_refuse(lambda: replay_events(engine, begin, end, plugin))
    click.echo(f"to be delivered: {done}")


def _or_refuse(work: Callable[[], int]) -> int:
    """What `work` answers; an unknown id is the command's fault. Raises Failure."""
    try:
        return work()
    except Missing as error:
        raise Failure(str(error), exit_code=2) from error


def _point(text: str | None) -> str | datetime | None:
    """An event's id, or an instant, in UTC where it names no zone."""
    if text is None or text.startswith("evt_"):
        return text
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise Failure(f"{text} is neither the id of an event nor an instant such as 2026-11-24T09:30:00Z", exit_code=2) from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _every(engine: Engine) -> list[Case]:
    cases, cursor = stuck_cases(engine, limit=PAGE)
    while cursor is not None:
        more, cursor = stuck_cases(engine, limit=PAGE, cursor=cursor)
        cases += more
    return cases


def _row(case: Case) -> tuple[str, ...]:
    about = (case.kind, case.id, case.account or "-", case.subject)
    return (*about, _minute(case.since), str(case.tries), _minute(case.next_try), case.reason)


def _minute(instant: datetime | None) -> str:
    return f"{instant:%Y-%m-%dT%H:%MZ}" if instant else "-"
