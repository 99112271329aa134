"""puesto bank-transfer: statements in, what nobody could match, and money to be sent back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click
from stdnum import iban

from plugins.payments.bank_transfer_bookings import Statement, StatementInvalid
from plugins.payments.bank_transfer_desk import Desk, Imported, Refused
from plugins.payments.bank_transfer_ledger import BankEntry
from plugins.payments.bank_transfer_matching import show_reference
from plugins.payments.bank_transfer_statements import read_statement
from puesto import Money

SHOWN_TEXT = 80


def bank_transfer_commands(desk: Desk, settings: Mapping[str, Any]) -> click.Group:
    """The command group of one shop."""

    @click.group("bank-transfer")
    def group() -> None:
        """Import bank statements; match what came in; see what is to be sent back."""
        if settings["iban"] is None:
            raise click.ClickException("no account is set: plugins.bank_transfer.iban")

    @group.command("import")
    @click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
    def import_(files: tuple[Path, ...]) -> None:
        """Book a statement, CAMT.053 or CSV. What was booked before is left alone: files may overlap.

        A file is read whole first: one that is broken, or of another account, books nothing.
        """
        for file in files:
            statement = _or_say(lambda file=file: read_statement(file, settings["iban"], settings["currency"], settings["csv"]))
            done = desk.book(statement.bookings)
            click.echo(f"{file}: {_summary(statement, done)}")
            _show(done.unmatched)
        _show_overpaid(desk)

    @group.command()
    def unmatched() -> None:
        """List the money that came in and that nobody could match, and why."""
        if not _show(desk.ledger.unmatched()):
            click.echo("nothing is unmatched")
        _show_overpaid(desk)

    @group.command()
    @click.argument("entry")
    @click.argument("reference", nargs=-1, required=True)
    def assign(entry: str, reference: tuple[str, ...]) -> None:
        """Say whose an ENTRY is: by the REFERENCE of a payment, or of a refund."""
        changed = _or_say(lambda: desk.assign(entry, "".join(reference)))
        click.echo(f"{changed.id}: {changed.money} counts for {changed.payment or changed.refund}")

    @group.command("put-aside")
    @click.argument("entry")
    @click.option("--reason", required=True, help="Why it is nobody's here.")
    def put_aside(entry: str, reason: str) -> None:
        """Say that an ENTRY is nobody's here. One that was matched does not count for its payment any more."""
        changed = _or_say(lambda: desk.put_aside(entry, reason))
        click.echo(f"{changed.id}: {changed.money} is put aside")

    @group.command()
    def refunds() -> None:
        """List the money that is to be sent back: refunds, and what came in beyond what was owed."""
        waiting = desk.ledger.unsent()
        for refund in waiting:
            whom = _payee(desk.ledger.last_payer(refund.payment))
            click.echo(f"{refund.id}  {Money(refund.transfer, refund.currency)}  {show_reference(refund.reference)}  to {whom}")
        if not (_show_overpaid(desk) or waiting):
            click.echo("nothing is to be sent back")

    @group.command("mark-paid")
    @click.argument("refund")
    def mark_paid(refund: str) -> None:
        """Say that a REFUND was transferred, where no statement will show it."""
        done = _or_say(lambda: desk.mark_paid(refund))
        click.echo(f"{done.id}: {Money(done.transfer, done.currency)} was sent back")

    return group


def _or_say(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except (Refused, StatementInvalid) as error:
        raise click.ClickException(str(error)) from None


def _summary(statement: Statement, done: Imported) -> str:
    told = {"matched": len(done.matched), "unmatched": len(done.unmatched), "known already": done.known}
    told |= {"of others": done.others, "not booked yet": statement.pending}
    return ", ".join(f"{number} {what}" for what, number in told.items() if number or what == "matched")


def _show(entries: Iterable[BankEntry]) -> bool:
    """A line per entry that waits; whether there was any."""
    shown = False
    for entry in entries:
        text = entry.text if len(entry.text) <= SHOWN_TEXT else f"{entry.text[:SHOWN_TEXT]}..."
        click.echo(f"{entry.id}  {entry.booked_on}  {entry.money}  {entry.party or '-'}  {text or '-'}  ({entry.why})")
        shown = True
    return shown


def _show_overpaid(desk: Desk) -> bool:
    """A line per payment for which too much came in; whether there was any."""
    found = desk.ledger.overpaid()
    for payment, beyond in found:
        whom = _payee(desk.ledger.last_payer(payment.id))
        click.echo(f"{payment.id}  {beyond} too much came in  {show_reference(payment.reference)}  to {whom}")
    return bool(found)


def _payee(entry: BankEntry | None) -> str:
    if entry is None or not (entry.party or entry.party_iban):
        return "whoever paid it: the statements do not say"
    return " ".join(filter(None, [entry.party, iban.format(entry.party_iban)]))
