"""CAMT.053, the XML statement of ISO 20022, in its versions from 02 on: elements are found by their names, whatever the namespace."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from plugins.payments.bank_transfer_bookings import Booking, Statement, StatementInvalid, one_line, read_amount
from puesto import Money


def read_camt(content: bytes) -> Statement:
    """Every booked entry of every statement in the file. Raises StatementInvalid."""
    message = _message(content)
    bookings: list[Booking] = []
    pending = 0
    for statement in message.iterfind("{*}Stmt"):
        account = _text(statement, "Acct/Id/IBAN") or _text(statement, "Acct/Id/Othr/Id")
        if not account:
            raise StatementInvalid("a statement (Stmt) without account")
        for number, entry in enumerate(statement.iterfind("{*}Ntry"), 1):
            if _is_booked(entry):
                bookings += _bookings(account, entry, f"account {account}, entry {number}")
            else:
                pending += 1
    return Statement(tuple(bookings), pending)


def _message(content: bytes) -> Element:
    try:
        document: Element = fromstring(content, forbid_dtd=True)
    except ParseError as error:
        raise StatementInvalid(f"line {error.position[0]}: broken XML ({str(error).partition(':')[0]})") from None
    except DefusedXmlException:
        raise StatementInvalid("it declares a document type or entities, which no bank statement does") from None
    except (ValueError, LookupError) as error:  # an encoding that nobody knows
        raise StatementInvalid(f"broken XML ({error})") from None
    message = document.find("{*}BkToCstmrStmt")
    if message is None:
        told = next(iter(document), document)
        raise StatementInvalid(f"no CAMT.053 (BkToCstmrStmt) but {told.tag.rpartition('}')[2][:40]}")
    return message


def _is_booked(entry: Element) -> bool:
    """Version 02 has the status as text, later ones have it in a code."""
    return (_text(entry, "Sts/Cd") or _text(entry, "Sts")) == "BOOK"


def _bookings(account: str, entry: Element, place: str) -> Iterator[Booking]:
    """An entry, or each part of a batch where the parts say how much each of them is, and add up to it."""
    whole = _signed(entry, entry.find("{*}Amt"), place)
    day = _day(entry, place)
    details = entry.findall("{*}NtryDtls/{*}TxDtls")
    parts = [_part(entry, detail, whole, place) for detail in details]
    bank_id = _text(entry, "AcctSvcrRef")
    amounts = [part for part in parts if part is not None]
    if len(details) == len(amounts) > 1 and sum(amount.amount for amount in amounts) == whole.amount:
        for index, (detail, amount) in enumerate(zip(details, amounts, strict=True)):
            own = _text(detail, "Refs/AcctSvcrRef") or bank_id
            yield _booking(account, entry, [detail], amount, day, f"{own}/{index}" if own else "")
    else:
        yield _booking(account, entry, details, whole, day, bank_id or _only(details, "Refs/AcctSvcrRef"))


def _booking(account: str, entry: Element, details: list[Element], amount: Money, day: date, bank_id: str) -> Booking:
    reversal = _text(entry, "RvslInd") in ("true", "1") or any(detail.find("{*}RtrInf") is not None for detail in details)
    came_in = (amount.amount > 0) != reversal  # the parties of a reversal are those of what it undoes
    role = "Dbtr" if came_in else "Cdtr"
    texts = [text for detail in details for text in _texts(detail)]
    return Booking(
        account=account,
        bank_id=bank_id,
        amount=amount,
        booked_on=day,
        text=one_line(*texts, _text(entry, "AddtlNtryInf") if len(details) < 2 else ""),
        party=one_line(_only(details, f"RltdPties/{role}/Nm") or _only(details, f"RltdPties/{role}/Pty/Nm"))[:140],
        party_iban=one_line(_only(details, f"RltdPties/{role}Acct/Id/IBAN"))[:34],
        reversal=reversal,
    )


def _texts(detail: Element) -> Iterator[str]:
    """Whatever the payer may have written, and what the bank has made of it."""
    for path in ("RmtInf/Strd/CdtrRefInf/Ref", "RmtInf/Ustrd", "RmtInf/Strd/AddtlRmtInf", "AddtlTxInf", "Refs/EndToEndId"):
        yield from (found.text or "" for found in detail.iterfind(_path(path)) if found.text != "NOTPROVIDED")


def _part(entry: Element, detail: Element, whole: Money, place: str) -> Money | None:
    """What a part of a batch amounts to, in the currency of the whole; None: it does not say."""
    for path in ("Amt", "AmtDtls/TxAmt/Amt"):
        amount = detail.find(_path(path))
        if amount is not None and amount.get("Ccy") == whole.currency:
            return _signed(detail if detail.find("{*}CdtDbtInd") is not None else entry, amount, place)
    return None


def _signed(indicated: Element, amount: Element | None, place: str) -> Money:
    """`indicated` says whether money came in or went out, also of a reversal."""
    direction = _text(indicated, "CdtDbtInd")
    if amount is None or direction not in ("CRDT", "DBIT"):
        raise StatementInvalid(f"{place}: no amount (Amt), or it is neither CRDT nor DBIT")
    figure = read_amount((amount.text or "").strip(), amount.get("Ccy", ""), place=place)
    return figure if direction == "CRDT" else -figure


def _day(entry: Element, place: str) -> date:
    for path in ("BookgDt/Dt", "BookgDt/DtTm", "ValDt/Dt", "ValDt/DtTm"):
        if told := _text(entry, path):
            try:
                return date.fromisoformat(told[:10])
            except ValueError:
                raise StatementInvalid(f"{place}: {told[:40]!r} is no day") from None
    raise StatementInvalid(f"{place}: no booking day (BookgDt)")


def _only(details: list[Element], path: str) -> str:
    """What the one part says; nothing where there are several."""
    return _text(details[0], path) if len(details) == 1 else ""


def _text(element: Element, path: str) -> str:
    found = element.find(_path(path))
    return (found.text or "").strip() if found is not None else ""


def _path(path: str) -> str:
    return "/".join(f"{{*}}{name}" for name in path.split("/"))
