"""The books of the provider `bank_transfer`: what is expected, what the bank has booked of it, and what is to be sent back.

No sum is stored: what a payment has received is the sum of its entries, so that one insert or update of an entry is all that ever
changes it, and a process that dies leaves no half of a booking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import peewee

from plugins.payments.bank_transfer_bookings import Booking
from plugins.payments.bank_transfer_matching import PAYMENT, REFUND, make_reference
from puesto import DayField, InstantField, Money, PaymentReference, PaymentRequest, PluginDatabase, RefundRequest, Row, Tables


class ExpectedPayment(Row):
    """A payment that a buyer makes by transfer, with `reference`."""

    id = peewee.CharField(primary_key=True, max_length=40)
    account = peewee.CharField(max_length=40)
    key = peewee.CharField(max_length=255, unique=True)
    reference = peewee.CharField(max_length=25, unique=True)
    amount = peewee.BigIntegerField()
    currency = peewee.CharField(max_length=3)
    due_on = DayField()
    created_at = InstantField()

    class Meta:
        table_name = "bank_transfer_payment"

    @property
    def changed_at(self) -> datetime:
        return self.created_at  # type: ignore[no-any-return]


class BankEntry(Row):
    """A booking of the bank. status: `matched` (it counts for `payment`, or has carried out `refund`), `unmatched` or `put_aside`.

    amount:  negative where money went out.
    payment: whose money it is, or was until it was put aside.
    why:     why it is not matched.
    version: rises with each change, so that each is news of its own.
    """

    id = peewee.CharField(primary_key=True, max_length=40)
    account = peewee.CharField(max_length=40, null=True)
    payment = peewee.CharField(max_length=40, null=True, index=True)
    refund = peewee.CharField(max_length=40, null=True, index=True)
    amount = peewee.BigIntegerField()
    currency = peewee.CharField(max_length=3)
    booked_on = DayField()
    text = peewee.TextField()
    party = peewee.CharField(max_length=140)
    party_iban = peewee.CharField(max_length=34)
    status = peewee.CharField(max_length=9, index=True, constraints=[peewee.Check("status IN ('matched','unmatched','put_aside')")])
    why = peewee.TextField(null=True)
    version = peewee.IntegerField()
    changed_at = InstantField(index=True)

    class Meta:
        table_name = "bank_transfer_entry"

    @property
    def money(self) -> Money:
        return Money(self.amount, self.currency)


class BankRefund(Row):
    """A refund. transfer: what of it is sent back by hand; the rest only lowers what is owed. paid_at: when a human said that it was."""

    id = peewee.CharField(primary_key=True, max_length=40)
    account = peewee.CharField(max_length=40)
    payment = peewee.CharField(max_length=40, index=True)
    reference = peewee.CharField(max_length=25, unique=True)
    amount = peewee.BigIntegerField()
    transfer = peewee.BigIntegerField()
    currency = peewee.CharField(max_length=3)
    created_at = InstantField()
    paid_at = InstantField(null=True)

    class Meta:
        table_name = "bank_transfer_refund"


TABLES = Tables(models=(ExpectedPayment, BankEntry, BankRefund), migrations=Path(__file__).parent / "bank_transfer_migrations")
MATCHED = BankEntry.status == "matched"


class Ledger:
    """Reads and writes the books. Each method that writes may be called again with the same arguments, and then changes nothing more."""

    def __init__(self, db: PluginDatabase, now: Callable[[], datetime]) -> None:
        self.db, self._now = db, now

    # --- payments

    def expect(self, request: PaymentRequest, due_on: date) -> ExpectedPayment:
        """The payment of a request, written down the first time."""

        def row(reference: str) -> ExpectedPayment:
            return ExpectedPayment(
                id=request.payment_id,
                account=request.customer.account,
                key=request.idempotency_key,
                reference=reference,
                amount=request.amount.amount,
                currency=request.amount.currency,
                due_on=due_on,
                created_at=self._now(),
            )

        return self._once(ExpectedPayment, ExpectedPayment.key == request.idempotency_key, PAYMENT, request.idempotency_key, row)

    def find(self, asked: PaymentReference) -> ExpectedPayment | None:
        return self.db.first(ExpectedPayment.select().where(ExpectedPayment.key == asked.idempotency_key))

    def received(self, payment: ExpectedPayment) -> int:
        """What has come in for it, less what was returned."""
        entries = self.db.all(BankEntry.select(BankEntry.amount).where(MATCHED & (BankEntry.payment == payment.id)))
        return sum(entry.amount for entry in entries)

    def excess(self, payment: ExpectedPayment) -> int:
        """What came in beyond what is owed, and is in no refund's transfer; negative: what is still due."""
        credited = sum(refund.amount - refund.transfer for refund in self.refunds_of(payment))
        return int(self.received(payment) - payment.amount + credited)

    def overpaid(self) -> list[tuple[ExpectedPayment, Money]]:
        """Payments that more has come in for than was owed, and how much more."""
        total = peewee.fn.SUM(BankEntry.amount)
        paid_more = BankEntry.select(BankEntry.payment).where(MATCHED & BankEntry.payment.is_null(False)).group_by(BankEntry.payment)
        refunded = BankRefund.select(BankRefund.payment)
        asked = ExpectedPayment.select(ExpectedPayment.amount).where(ExpectedPayment.id == BankEntry.payment)
        suspects = ExpectedPayment.id.in_(paid_more.having(total > asked)) | ExpectedPayment.id.in_(refunded)
        rows = self.db.all(ExpectedPayment.select().where(suspects).order_by(ExpectedPayment.id))
        return [(row, Money(beyond, row.currency)) for row in rows if (beyond := self.excess(row)) > 0]

    def last_payer(self, payment_id: str) -> BankEntry | None:
        """Who sent the latest money: where a refund goes."""
        came = MATCHED & (BankEntry.payment == payment_id) & (BankEntry.amount > 0)
        return self.db.first(BankEntry.select().where(came).order_by(BankEntry.booked_on.desc(), BankEntry.id))

    # --- refunds

    def refund(self, request: RefundRequest, payment: ExpectedPayment) -> BankRefund:
        """The refund of a request, written down the first time: what was received beyond what is owed then is sent back."""
        known = self.db.get(BankRefund, request.refund_id)
        if known is not None:
            return known
        transfer = max(0, min(request.amount.amount, self.excess(payment) + request.amount.amount))

        def row(reference: str) -> BankRefund:
            return BankRefund(
                id=request.refund_id,
                account=payment.account,
                payment=payment.id,
                reference=reference,
                amount=request.amount.amount,
                transfer=transfer,
                currency=payment.currency,
                created_at=self._now(),
                paid_at=None,
            )

        return self._once(BankRefund, BankRefund.id == request.refund_id, REFUND, request.refund_id, row)

    def refunds_of(self, payment: ExpectedPayment) -> list[BankRefund]:
        return self.db.all(BankRefund.select().where(BankRefund.payment == payment.id).order_by(BankRefund.id))

    def is_sent(self, refund: BankRefund) -> bool:
        """Whether nothing of it has to be sent (any more)."""
        if not refund.transfer or refund.paid_at is not None:
            return True
        return self.db.first(BankEntry.select().where(MATCHED & (BankEntry.refund == refund.id))) is not None

    def unsent(self) -> list[BankRefund]:
        """Refunds that somebody has to transfer, the oldest first."""
        shown = BankEntry.select(BankEntry.refund).where(MATCHED & BankEntry.refund.is_null(False))
        open_ones = (BankRefund.transfer > 0) & BankRefund.paid_at.is_null() & BankRefund.id.not_in(shown)
        return self.db.all(BankRefund.select().where(open_ones).order_by(BankRefund.id))

    def mark_paid(self, refund: BankRefund) -> None:
        self.db.update(refund, paid_at=self._now())

    # --- entries

    def known(self, ids: Iterable[str]) -> dict[str, BankEntry]:
        """Those of the entries that were imported before, by id."""
        wanted = list(ids)
        found: dict[str, BankEntry] = {}
        for start in range(0, len(wanted), 500):
            found |= {row.id: row for row in self.db.all(BankEntry.select().where(BankEntry.id.in_(wanted[start : start + 500])))}
        return found

    def write(self, booking: Booking, *, payment: ExpectedPayment | None, refund: BankRefund | None, why: str | None) -> BankEntry | None:
        """An entry as it was matched; None where another import has just written it."""
        entry = BankEntry(
            id=booking.id,
            account=payment.account if payment else refund.account if refund else None,
            payment=payment.id if payment else None,
            refund=refund.id if refund else None,
            amount=booking.amount.amount,
            currency=booking.amount.currency,
            booked_on=booking.booked_on,
            text=booking.text,
            party=booking.party,
            party_iban=booking.party_iban,
            status="unmatched" if payment is None and refund is None else "matched",
            why=why,
            version=1,
            changed_at=self._now(),
        )
        try:
            self.db.insert(entry)
        except peewee.IntegrityError:
            return None
        return entry

    def change(self, entry: BankEntry, **columns: Any) -> bool:
        """Change an entry, unless somebody else has changed it since it was read."""
        same = (BankEntry.id == entry.id) & (BankEntry.version == entry.version)
        columns |= {"version": entry.version + 1, "changed_at": self._now()}
        return bool(self.db.execute(BankEntry.update(columns).where(same)))

    def unmatched(self) -> list[BankEntry]:
        waiting = BankEntry.status == "unmatched"
        return self.db.all(BankEntry.select().where(waiting).order_by(BankEntry.booked_on, BankEntry.id))

    def changed_since(self, since: datetime, after: str, limit: int) -> list[ExpectedPayment | BankEntry]:
        """Payments begun, and entries of payments changed, from an instant on, the earliest first; `after` is the last one seen of it."""

        def later(model: Any, at: Any) -> Any:
            query = model.select().where((at > since) | ((at == since) & (model.id > after)))
            return query.order_by(at, model.id).limit(limit)

        entries = later(BankEntry, BankEntry.changed_at).where(BankEntry.payment.is_null(False))
        found = [*self.db.all(later(ExpectedPayment, ExpectedPayment.created_at)), *self.db.all(entries)]
        return sorted(found, key=lambda row: (row.changed_at, row.id))[:limit]

    # --- references

    def by_reference(self, references: list[str]) -> list[ExpectedPayment | BankRefund]:
        """Whose they are, in their order; without those that are nobody's."""
        if not references:
            return []
        payments = self.db.all(ExpectedPayment.select().where(ExpectedPayment.reference.in_(references)))
        refunds = self.db.all(BankRefund.select().where(BankRefund.reference.in_(references)))
        return sorted([*payments, *refunds], key=lambda row: references.index(row.reference))

    def _once(self, model: Any, is_it: Any, kind: str, key: str, row: Callable[[str], Any]) -> Any:
        """The row of a key, made with a reference that nobody else has where there is none."""
        for attempt in range(100):
            known = self.db.first(model.select().where(is_it))
            if known is not None:
                return known
            try:
                self.db.insert(made := row(make_reference(kind, key, attempt)))
            except peewee.IntegrityError:  # it is there by now, or its reference is another's
                continue
            return made
        raise RuntimeError(f"no reference is free for {key}")
