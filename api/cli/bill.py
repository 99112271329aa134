"""puesto bill: what falls due, now."""

from __future__ import annotations

from datetime import date, datetime

import click
from rich.console import Console
from rich.progress import Progress

from api.cli.clock import move, noon
from api.cli.output import Failure
from api.cli.shop import open_shop
from core.cancellations import end_due
from core.engine.engine import Engine
from core.engine.memory import collect_by_the_batch, keep_for_good
from core.past_due import count_past_due, end_past_due, retry_past_due
from core.renewals import due_accounts, renew

# What tells that an account was billed.
BILLED = ("subscription.renewed", "subscription.started", "subscription.past_due", "payment.failed")


@click.command()
@click.option("--on", "day", type=click.DateTime(["%Y-%m-%d"]), metavar="DATE", help="Only what falls due by that day.")
@click.option("--past-due", is_flag=True, help="Also try again what is past due, whose payment method was refused.")
def bill(day: datetime | None, past_due: bool) -> None:
    """Renew what is due, with a progress bar.

    A worker does the same by itself, a part of it every minute. Safe to run twice, at once, or to kill: each period is billed once.
    In sandbox mode a DATE that is still to come moves the test clock there, and does all else that falls due on the way.
    """
    with open_shop() as engine:
        keep_for_good()
        collect_by_the_batch()
        until = day.date() if day else None
        billed = _reach(engine, until)
        if past_due:
            retry_past_due(engine)
        while end_due(engine):
            pass
        billed, unpaid = billed + _renew(engine, until), 0
        while ended := end_past_due(engine):
            unpaid += ended
        ends = f"; ended unpaid: {unpaid}" if unpaid else ""
        click.echo(f"accounts billed: {billed}; subscriptions past due: {count_past_due(engine)}{ends}")


def _reach(engine: Engine, until: date | None) -> int:
    """Be on that day, where it is still to come; how many accounts are billed on the way. Raises Failure in live mode."""
    if until is None or until <= engine.clock.now().date():
        return 0
    if not engine.sandbox:
        raise Failure(f"{until} is still to come: nothing is billed ahead", exit_code=2)
    accounts = move(engine, noon(until)).accounts
    return len(set().union(*(accounts[kind] for kind in BILLED)))


def _renew(engine: Engine, until: date | None) -> int:
    """Renew until nothing is found that was not tried in vain in this run; how many accounts were billed."""
    billed, found, in_vain = 0, 0, set[str]()
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("Renewing", total=None)
        while accounts := [account for account in due_accounts(engine, until) if account not in in_vain]:
            found += len(accounts)
            progress.update(bar, total=found)
            renewed = renew(engine, accounts, until, lambda: progress.advance(bar))
            billed += len(renewed)
            in_vain.update(set(accounts) - renewed)
    return billed
