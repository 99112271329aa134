"""The balance of an account: an append-only ledger of the credit that its next orders use up."""

from __future__ import annotations

from typing import Any, Literal

import peewee

from core.accounts import Account, lock_account
from core.engine.engine import Engine
from core.engine.rows import InstantField, Row, refers_to
from core.engine.values import new_id, to_json
from core.rules.money import Money

Kind = Literal["opening", "credited", "used", "given_back", "refunded", "refund_failed"]
KINDS: tuple[Kind, ...] = ("opening", "credited", "used", "given_back", "refunded", "refund_failed")


class BalanceEntry(Row):
    """A movement of an account's balance. Entries are never changed: `Account.balance` is their sum, and `balance` what it was then.

    kind:  `credited`: an order or a credit note left so much over; `used`: it paid a part of an order; `given_back`: that order came to
           nothing; `refunded`: it is paid out by a refund; `refund_failed`: it was not; `opening`: what there was before the ledger.
    cause: id of the order, credit note or refund; of the account itself for `opening`. One entry of a kind for each.
    """

    id = peewee.CharField(primary_key=True, max_length=40)
    account = refers_to(Account, index=False)
    currency = peewee.CharField(max_length=3)
    kind = peewee.CharField(max_length=16, constraints=[peewee.Check(f"kind IN ({', '.join(map(repr, KINDS))})")])
    cause = peewee.CharField(max_length=40)
    amount = peewee.BigIntegerField(constraints=[peewee.Check("amount <> 0")])
    balance = peewee.BigIntegerField(constraints=[peewee.Check("balance >= 0")])
    created_at = InstantField()

    class Meta:
        table_name = "balance_entry"
        indexes = ((("account", "id"), False), (("cause", "kind"), True))


def post(engine: Engine, account_id: str, kind: Kind, cause: str, amount: int) -> None:
    """Move the balance of an account, inside a transaction; the only function that does. Its row stays locked.

    amount: minor units of the account's currency, negative where credit goes; 0: nothing is written.
    """
    if not amount:
        return
    account = lock_account(engine, account_id)
    engine.db.update(account, balance=account.balance + amount)
    entry = BalanceEntry(
        id=new_id("bal"),
        account=account.id,
        currency=account.currency,
        kind=kind,
        cause=cause,
        amount=amount,
        balance=account.balance,
        created_at=engine.clock.now(),
    )
    engine.db.insert(entry)


def entry_of(engine: Engine, kind: Kind, cause: str) -> BalanceEntry | None:
    """What was posted of that kind for an order, credit note or refund."""
    found: BalanceEntry | None = engine.db.first(BalanceEntry.select().where((BalanceEntry.cause == cause) & (BalanceEntry.kind == kind)))
    return found


def entry_document(entry: BalanceEntry) -> dict[str, Any]:
    """The entry as the API shows it."""
    same = {name: to_json(getattr(entry, name)) for name in ("id", "kind", "cause", "created_at")}
    return {**same, **{name: to_json(Money(getattr(entry, name), entry.currency)) for name in ("amount", "balance")}}
