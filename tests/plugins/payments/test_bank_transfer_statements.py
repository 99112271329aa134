"""Statements of banks: three versions of CAMT.053 and CSV, and what is refused whole, with its place."""

from datetime import date

import pytest

from plugins.payments.bank_transfer_bookings import StatementInvalid
from plugins.payments.bank_transfer_csv import CsvSettings
from plugins.payments.bank_transfer_statements import read_statement
from puesto import eur, usd
from tests.plugins.payments.transfers import ACCOUNT, COLUMNS, STATEMENTS, entry, statement

CSV = CsvSettings().load(COLUMNS)


def read(path, columns=None):
    return read_statement(path, ACCOUNT, "EUR", columns)


def told(found):
    return [(each.amount, each.booked_on.day, each.text, each.party, each.party_iban, each.reversal) for each in found.bookings]


def test_version_08_with_a_batch_and_an_entry_that_is_not_booked():
    found = read(STATEMENTS / "version_08.xml")

    assert told(found) == [
        (eur("121.00"), 10, "RF61123345554188", "Example GmbH", "DE89370400440532013000", False),
        (eur("-750.00"), 10, "Alquiler marzo ALQ-2026-03", "Oficinas Centro, S.A.", "ES7921000813610123456789", False),
        (eur("100.00"), 10, "gracias, ref rf56 1263-4102 8641 un saludo E2E-17", "Ana Ruiz", "NL91ABNA0417164300", False),
        (eur("200.00"), 10, "RF83199314278602", "Boutique Martin", "FR1420041010050500013M02606", False),
    ]
    assert {each.booked_on for each in found.bookings} == {date(2026, 3, 10)}
    assert found.pending == 1


def test_version_02_in_another_encoding_with_a_reversal_and_a_batch():
    found = read(STATEMENTS / "version_02.xml")

    text = "SVWZ+RF61123345554188 Rechnung 2026-000017"
    assert told(found) == [
        (eur("121.00"), 11, text, "Müller & Sohn", "DE75512108001245126199", False),
        (eur("-121.00"), 12, text, "Müller & Sohn", "DE75512108001245126199", True),
        (eur("30.00"), 12, "RF56126341028641", "Uno", "", False),
        (eur("50.00"), 12, "RF83199314278602", "Dos", "", False),
    ]
    assert found.bookings[0].bank_id == "9983421"


def test_version_04_with_a_return_and_a_batch_in_another_currency_than_the_account():
    found = read(STATEMENTS / "version_04_returned.xml")

    assert told(found) == [
        (eur("-100.00"), 13, "RF56126341028641 E2E-17", "Ana Ruiz", "", True),
        (eur("90.00"), 13, "RF61123345554188 RF83199314278602", "", "", False),  # its parts don't say how much of it they are
    ]


def test_csv_by_the_names_of_its_columns():
    found = read(STATEMENTS / "columns.csv", CSV)

    assert told(found) == [
        (eur("1121.00"), 11, "RF61 1233 4555 4188 Gutschrift", "Example GmbH", "DE89370400440532013000", False),
        (eur("5.00"), 11, "RF56126341028641 Gutschrift", "Ana Ruiz", "NL91ABNA0417164300", False),
        (eur("5.00"), 11, "RF56126341028641 Gutschrift", "Ana Ruiz", "NL91ABNA0417164300", False),
        (eur("-7.50"), 12, "Kontoführung Entgelt", "", "", False),
    ]
    assert found.pending == 1


def test_two_that_are_alike_stay_two_and_keep_their_ids_in_an_overlapping_file(tmp_path):
    whole = [each.id for each in read(STATEMENTS / "columns.csv", CSV).bookings]
    lines = (STATEMENTS / "columns.csv").read_text().splitlines(keepends=True)
    (tmp_path / "later.csv").write_text("".join([lines[0], *lines[3:]]))

    later = [each.id for each in read(tmp_path / "later.csv", CSV).bookings]

    assert len(set(whole)) == 4
    assert later == whole[1:]


def test_ids_stay_when_the_bank_rewrites_the_text(tmp_path):
    first = statement(tmp_path / "first.xml", entry("121.00", "RF61", "77"))
    second = statement(tmp_path / "second.xml", entry("121.00", "RF61123345554188", "77"))

    assert [each.id for each in read(first).bookings] == [each.id for each in read(second).bookings]


def test_money_in_a_currency_of_its_own_is_read_as_such(tmp_path):
    assert read(statement(tmp_path / "a.xml", entry("5.00", "", "1", currency="USD"))).bookings[0].amount == usd("5.00")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("<Document>\n<BkToCstmrStmt>\n<Stmt>\n</Document>", "line 4: broken XML (mismatched tag)"),
        ("<?xml version='1.0' encoding='klingon'?><Document/>", "broken XML (unknown encoding: klingon)"),
        ("<Document><BkToCstmrAcctRpt/></Document>", "no CAMT.053 (BkToCstmrStmt) but BkToCstmrAcctRpt"),
        ("<html/>", "no CAMT.053 (BkToCstmrStmt) but html"),
        ("<Document><BkToCstmrStmt><Stmt/></BkToCstmrStmt></Document>", "a statement (Stmt) without account"),
        ("Buchungstag;Betrag\n", "no XML; to read CSV, name its columns in plugins.bank_transfer.csv"),
        ("", "no XML; to read CSV, name its columns in plugins.bank_transfer.csv"),
    ],
)
def test_what_is_no_statement_is_refused_in_one_line(tmp_path, content, problem):
    path = tmp_path / "file"
    path.write_text(content)

    with pytest.raises(StatementInvalid) as refused:
        read(path)

    assert str(refused.value) == f"{path}: {problem}; nothing was imported"


@pytest.mark.parametrize(
    "bomb",
    [
        '<!DOCTYPE a [<!ENTITY b "b"><!ENTITY c "&b;&b;&b;&b;">]><Document>&c;</Document>',
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><Document>&b;</Document>',
        '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd"><Document/>',
    ],
)
def test_xml_bombs_and_links_to_elsewhere_are_refused(tmp_path, bomb):
    path = tmp_path / "bomb.xml"
    path.write_text(bomb)

    with pytest.raises(StatementInvalid, match="declares a document type or entities"):
        read(path)


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (('Ccy="EUR">121.00', 'Ccy="EUR">1,21'), "entry 2: '1,21' EUR is no amount"),
        (('Ccy="EUR">121.00', 'Ccy="EUR">121.005'), "entry 2: '121.005' EUR is no amount"),
        (('Ccy="EUR">121.00', 'Ccy="XXY">121.00'), "entry 2: '121.00' XXY is no amount"),
        (("<CdtDbtInd>CRDT", "<CdtDbtInd>"), "entry 2: no amount (Amt), or it is neither CRDT nor DBIT"),
        (("<Dt>2026-03-10", "<Dt>10.03.2026"), "entry 2: '10.03.2026' is no day"),
        (("<Dt>2026-03-10</Dt>", ""), "entry 2: no booking day (BookgDt)"),
    ],
)
def test_an_entry_that_makes_no_sense_is_named(tmp_path, broken, problem):
    path = statement(tmp_path / "a.xml", entry("5.00", "", "1"), entry("121.00", "", "2").replace(*broken))

    with pytest.raises(StatementInvalid) as refused:
        read(path)

    assert str(refused.value) == f"{path}: account {ACCOUNT}, {problem}; nothing was imported"


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (("Betrag;", "Summe;"), "line 1: there is no column Betrag"),
        (("1.121,00", "viel"), "line 3: 'viel' EUR is no amount"),
        (("12.03.2026", "2026-03-12"), "line 6: '2026-03-12' is no day like %d.%m.%Y"),
    ],
)
def test_a_line_of_csv_that_makes_no_sense_is_named(tmp_path, broken, problem):
    path = tmp_path / "a.csv"
    path.write_text((STATEMENTS / "columns.csv").read_text().replace(*broken))

    with pytest.raises(StatementInvalid) as refused:
        read(path, CSV)

    assert str(refused.value) == f"{path}: {problem}; nothing was imported"


def test_csv_that_is_cut_off_or_in_another_encoding_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes((STATEMENTS / "columns.csv").read_text().encode("latin-1"))

    with pytest.raises(StatementInvalid, match="not in the encoding utf-8-sig"):
        read(path, CSV)


def test_a_statement_of_another_account_is_refused_and_both_are_named(tmp_path):
    path = statement(tmp_path / "other.xml", entry("5.00", "", "1"), account="DE89370400440532013000")

    with pytest.raises(StatementInvalid) as refused:
        read(path)

    assert str(refused.value) == f"{path}: of account DE89370400440532013000, not of {ACCOUNT}; nothing was imported"


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StatementInvalid, match=r"nope\.xml: No such file or directory"):
        read(tmp_path / "nope.xml")


def test_ten_megabytes_are_read_whole(tmp_path):
    entries = [entry("1.00", "x" * 10_000, str(number)) for number in range(1_000)]
    path = statement(tmp_path / "large.xml", *entries)

    found = read(path)

    assert path.stat().st_size > 10_000_000
    assert len({each.id for each in found.bookings}) == 1_000
