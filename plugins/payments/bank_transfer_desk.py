"""What the bank has booked is matched with what is expected. What is not beyond doubt waits for a human, who decides it here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from plugins.payments.bank_transfer_bookings import Booking
from plugins.payments.bank_transfer_ledger import BankEntry, BankRefund, ExpectedPayment, Ledger
from plugins.payments.bank_transfer_matching import find_references, show_reference
from puesto import Money, ProviderEvent

Report = Callable[[list[ProviderEvent]], None]


class Refused(Exception):
    """What was asked for does not fit the books; why, in one line."""


@dataclass(frozen=True)
class Match:
    """Whose a booking is; or why it is not beyond doubt. `concerns_us` is False for money that went out for something else."""

    payment: ExpectedPayment | None = None
    refund: BankRefund | None = None
    why: str | None = None
    concerns_us: bool = True


@dataclass
class Imported:
    """What became of a statement's bookings. known: imported before. others: money that went out for something else."""

    matched: list[BankEntry] = field(default_factory=list)
    unmatched: list[BankEntry] = field(default_factory=list)
    known: int = 0
    others: int = 0


class Desk:
    """Books what the bank says, and tells the engine, by `report`, of each payment that has changed."""

    def __init__(self, ledger: Ledger, report: Report) -> None:
        self.ledger, self._report = ledger, report

    # --- statements

    def book(self, bookings: Iterable[Booking]) -> Imported:
        """Book each once. What was booked before is told again, in case that a former run died before it could."""
        bookings = list(bookings)
        known = self.ledger.known(booking.id for booking in bookings)
        done = Imported()
        for booking in bookings:
            if booking.id not in known:
                self._book(booking, done)
        done.known = len(known)
        self._tell([*known.values(), *done.matched])
        return done

    def _book(self, booking: Booking, done: Imported) -> None:
        match = self._match(booking)
        if not match.concerns_us:
            done.others += 1
            return
        entry = self.ledger.write(booking, payment=match.payment, refund=match.refund, why=match.why)
        if entry is None:
            done.known += 1
        else:
            (done.unmatched if entry.status == "unmatched" else done.matched).append(entry)

    def _match(self, booking: Booking) -> Match:
        """Raises nothing: whatever is not beyond doubt has a reason why."""
        found = self.ledger.by_reference(find_references(booking.text))
        if not found:
            return Match(why="no reference of ours", concerns_us=booking.amount.amount > 0 or booking.reversal)
        if len(found) > 1:
            return Match(why=f"several references of ours: {', '.join(show_reference(each.reference) for each in found)}")
        [row] = found
        if row.currency != booking.amount.currency:
            return Match(why=f"{show_reference(row.reference)} is in {row.currency}")
        return self._refund_match(row, booking) if isinstance(row, BankRefund) else self._payment_match(row, booking)

    def _payment_match(self, payment: ExpectedPayment, booking: Booking) -> Match:
        shown = show_reference(payment.reference)
        excess = self.ledger.excess(payment)
        if booking.amount.amount > 0:
            if booking.reversal:
                return Match(why=f"undoes money that went out with {shown}")
            return Match(payment) if excess < 0 else Match(why=f"nothing is due for {shown} any more")
        if booking.reversal:
            enough = self.ledger.received(payment) >= -booking.amount.amount
            return Match(payment) if enough else Match(why=f"more than has come in for {shown} went back")
        sent = [refund for refund in self.ledger.unsent() if (refund.payment, -refund.transfer) == (payment.id, booking.amount.amount)]
        if sent:
            return Match(refund=sent[0])
        if 0 < -booking.amount.amount <= excess:
            return Match(payment)
        return Match(why=f"money went out with {shown}, and no refund of that amount waits")

    def _refund_match(self, refund: BankRefund, booking: Booking) -> Match:
        shown = show_reference(refund.reference)
        if booking.amount.amount > 0:
            return Match(why=f"the refund {refund.id} ({shown}) came back")
        if self.ledger.is_sent(refund):
            return Match(why=f"the refund {refund.id} ({shown}) was sent before")
        if -booking.amount.amount != refund.transfer:
            return Match(why=f"the refund {refund.id} ({shown}) is of {Money(refund.transfer, refund.currency)}")
        return Match(refund=refund)

    # --- what a human decides

    def assign(self, entry_id: str, reference: str) -> BankEntry:
        """Say whose an entry is, by the reference of a payment or refund. The same again changes nothing. Raises Refused."""
        entry = self._entry(entry_id)
        found = self.ledger.by_reference(find_references(reference))
        if len(found) != 1:
            raise Refused(f"no payment and no refund has the reference {reference}")
        [row] = found
        whose = {"payment": None, "refund": row.id} if isinstance(row, BankRefund) else {"payment": row.id, "refund": None}
        if entry.status == "matched":
            if (entry.payment, entry.refund) != (whose["payment"], whose["refund"]):
                raise Refused(f"{entry.id} is matched with {entry.payment or entry.refund}: put it aside first")
        else:
            self._check_assignment(entry, row)
            self._change(entry, **whose, account=row.account, status="matched", why=None)
        self._tell([changed := self._entry(entry_id)])
        return changed

    def _check_assignment(self, entry: BankEntry, row: ExpectedPayment | BankRefund) -> None:
        if entry.currency != row.currency:
            raise Refused(f"{entry.id} is in {entry.currency}, {show_reference(row.reference)} in {row.currency}")
        if isinstance(row, BankRefund):
            if entry.amount != -row.transfer or self.ledger.is_sent(row):
                raise Refused(f"{entry.id} is of {entry.money}; {row.id} waits for no such transfer")
        elif entry.amount < 0 and self.ledger.received(row) < -entry.amount:
            raise Refused(f"{-entry.money} went out, and less has come in for {show_reference(row.reference)}")

    def put_aside(self, entry_id: str, reason: str) -> BankEntry:
        """Say that an entry is nobody's here, also of one that was matched: its payment has received that much less."""
        entry = self._entry(entry_id)
        if entry.refund is not None:
            raise Refused(f"{entry.id} has carried out {entry.refund}")
        if entry.status != "put_aside":
            self._change(entry, status="put_aside", why=reason)
        self._tell([changed := self._entry(entry_id)])
        return changed

    def mark_paid(self, refund_id: str) -> BankRefund:
        """Say that a refund was transferred, though no statement shows it. Raises Refused."""
        refund = self.ledger.db.get(BankRefund, refund_id)
        if refund is None or not refund.transfer:
            raise Refused(f"there is no refund {refund_id} to transfer")
        if not self.ledger.is_sent(refund):
            self.ledger.mark_paid(refund)
        self._report([refund_event(refund, f"{refund.id}.paid", refund.paid_at or refund.created_at)])
        return refund

    def _tell(self, entries: Sequence[BankEntry]) -> None:
        refunds = {entry.refund: self.ledger.db.get(BankRefund, entry.refund) for entry in entries if entry.refund}
        events = [
            refund_event(refunds[entry.refund], f"{entry.id}.{entry.version}", entry.changed_at) if entry.refund else payment_event(entry)
            for entry in entries
            if entry.refund or entry.payment
        ]
        if events:
            self._report(events)

    def _entry(self, entry_id: str) -> BankEntry:
        entry = self.ledger.db.get(BankEntry, entry_id)
        if entry is None:
            raise Refused(f"there is no entry {entry_id}")
        return entry

    def _change(self, entry: BankEntry, **columns: object) -> None:
        if not self.ledger.change(entry, **columns):
            raise Refused(f"somebody else has just changed {entry.id}: look again")


def payment_event(entry: ExpectedPayment | BankEntry) -> ProviderEvent:
    """A payment that was begun, or a change of one of its entries, as news."""
    if isinstance(entry, ExpectedPayment):
        amount = Money(entry.amount, entry.currency)
        return ProviderEvent(f"{entry.id}.expected", "payment.authorized", entry.id, None, None, amount, entry.created_at)
    kind = "payment.received" if entry.status == "matched" and entry.amount > 0 else "payment.returned"
    amount = Money(abs(entry.amount), entry.currency)
    return ProviderEvent(f"{entry.id}.{entry.version}", kind, entry.payment, None, None, amount, entry.changed_at)


def refund_event(refund: BankRefund, event_id: str, at: datetime) -> ProviderEvent:
    amount = Money(refund.amount, refund.currency)
    return ProviderEvent(event_id, "refund.succeeded", refund.payment, None, refund.id, amount, at)


def credit_event(refund: BankRefund) -> ProviderEvent:
    """News of the payment whose refund it is: less is owed."""
    amount = Money(refund.amount, refund.currency)
    return ProviderEvent(f"{refund.id}.credited", "payment.credited", refund.payment, None, None, amount, refund.created_at)
