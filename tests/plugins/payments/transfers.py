"""The plugin `bank_transfer` in tests: its settings, statements that are written for a test, and bookings."""

from datetime import date
from pathlib import Path

from plugins.payments.bank_transfer_bookings import Booking
from puesto import Money, eur

ACCOUNT = "ES9121000418450200051332"
SETTINGS = {"iban": ACCOUNT, "bic": "CAIXESBBXXX", "account_name": "Acme, S.L."}
STATEMENTS = Path(__file__).parent / "statements"
# Those of payments with these keys.
REFERENCES = {"pay_1": "RF61123345554188", "pay_2": "RF56126341028641", "pay_3": "RF83199314278602"}
COLUMNS = {
    "booked_on": "Buchungstag",
    "amount": "Betrag",
    "text": ["Verwendungszweck", "Umsatztext"],
    "currency": "Währung",
    "account": "Kontonummer",
    "party": "Name",
    "party_iban": "IBAN",
    "status": "Status",
    "booked": "gebucht",
}

ENTRY = """
<Ntry><Amt Ccy="{currency}">{amount}</Amt><CdtDbtInd>{direction}</CdtDbtInd><RvslInd>{reversal}</RvslInd><Sts>BOOK</Sts>
<BookgDt><Dt>{day}</Dt></BookgDt><AcctSvcrRef>{bank_id}</AcctSvcrRef><NtryDtls><TxDtls><RltdPties><Dbtr><Nm>Example GmbH</Nm></Dbtr>
<DbtrAcct><Id><IBAN>DE89370400440532013000</IBAN></Id></DbtrAcct></RltdPties><RmtInf><Ustrd>{text}</Ustrd></RmtInf></TxDtls></NtryDtls></Ntry>"""
DOCUMENT = """<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.02"><BkToCstmrStmt><Stmt>
<Acct><Id><IBAN>{account}</IBAN></Id></Acct>{entries}</Stmt></BkToCstmrStmt></Document>"""


def entry(amount, text, bank_id, *, currency="EUR", day="2026-03-10", reversal=False):
    """A booked entry as CAMT.053 has it; negative: money went out."""
    direction, figure = ("DBIT", amount[1:]) if amount.startswith("-") else ("CRDT", amount)
    told = {"currency": currency, "day": day, "bank_id": bank_id, "text": text}
    return ENTRY.format(amount=figure, direction=direction, reversal=str(reversal).lower(), **told)


def statement(path, *entries, account=ACCOUNT):
    path.write_text(DOCUMENT.format(account=account, entries="".join(entries)))
    return path


def booking(amount, text, bank_id="1", *, day=date(2026, 3, 10), **changes):
    """`amount` in euro, or as Money of another currency."""
    money = amount if isinstance(amount, Money) else eur(amount)
    return Booking(ACCOUNT, bank_id, money, day, text, "Example GmbH", "DE89370400440532013000", **changes)
