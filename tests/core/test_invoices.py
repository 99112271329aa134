"""Invoices: numbered 1 to n without a gap whatever fails beside them, and never changed afterwards."""

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from threading import Event

import peewee
import pytest

from core.access import INTERNAL, Caller
from core.accounts import update_account
from core.engine.values import new_id
from core.errors import PaymentDeclined
from core.invoices import Invoice, InvoiceLine, InvoiceSeries, Settlement, invoice_document, issue_credit_note, issue_invoice
from core.subscriptions import Subscription
from puesto import Money, eur
from puesto.testing.shop import Shop
from tests.databases import UNIQUE

STAFF = Caller("key_staff", frozenset({"checkout", "staff"}))
BUY = {"mode": "buy", "plan": "gotoassist-standard", "seats": 3, "interval": "month"}


@pytest.fixture(scope="module")
def printed(tmp_path_factory, lasting_database_in):
    """A shop that has sold something, for tests that change nothing."""
    folder = tmp_path_factory.mktemp("printed")
    shop = Shop(folder, database=lasting_database_in(folder), data=str(folder / "data"))
    shop.buy("gotoassist-standard")
    yield shop
    shop.close()


def invoices(shop):
    return shop.engine.db.all(Invoice.select().order_by(Invoice.id))


def numbers(shop):
    return [invoice.number for invoice in invoices(shop)]


def document(shop, order):
    return invoice_document(shop.engine, shop.engine.db.get(Invoice, order["invoice"]))


def euros(text):
    return {"amount": eur(text).amount, "currency": "EUR"}


def test_an_invoice_says_who_sells_what_to_whom(shop):
    account = shop.open_account(address={"line1": "Calle Sol 1", "postcode": "28001"}, tax_id="ESB58378431")

    order = shop.order(shop.cart(BUY, account=account))

    invoice, subscription = document(shop, order), order["subscriptions"][0]
    assert invoice == {
        "id": order["invoice"],
        "account": account.id,
        "order": order["id"],
        "kind": "invoice",
        "number": "2026-000001",
        "status": "paid",
        "currency": "EUR",
        "seller": dict(shop.engine.settings["seller"]),
        "buyer": {
            "name": "Acme, S.L.",
            "address": {"line1": "Calle Sol 1", "postcode": "28001"},
            "country": "ES",
            "tax_id": {
                "value": "ESB58378431",
                "country": "ES",
                "status": "valid",
                "checked_at": "2026-03-01T12:00:00.000Z",
                "consultation_number": account.tax_id["consultation_number"],
            },
        },
        "notes": [],
        "locale": "en",
        "purchase_order": None,
        "issued_on": "2026-03-01",
        "due_on": None,
        "net": euros("36.00"),
        "tax": euros("7.56"),
        "total": euros("43.56"),
        "paid": euros("43.56"),
        "due": euros("0.00"),
        "settlement": {"kind": "paid", "amount": euros("43.56"), "credit_used": euros("0.00"), "instructions": None},
        "payment_instructions": None,
        "credits": None,
        "corrects": [],
        "credit_notes": [],
        "lines": [
            {
                "kind": "charge",
                "description": "GoToAssist Remote Support – Standard",
                "seats": 3,
                "subscription": subscription,
                "period": {"start": "2026-03-01", "end": "2026-04-01"},
                "discount": euros("0.00"),
                "net": euros("36.00"),
                "tax": euros("7.56"),
                "total": euros("43.56"),
                "rate": "21",
                "category": "standard",
                "interval": "month",
                "prices": [{"count": 3, "unit_amount": euros("12.00"), "included": None}],
                "explanation": order["lines"][0]["explanation"],
            }
        ],
    }


@pytest.mark.parametrize(
    ("locale", "note"),
    [
        ("en", "Reverse charge: VAT to be accounted for by the recipient (Directive 2006/112/EC, art. 196)"),
        ("es-MX", "Inversión del sujeto pasivo: el destinatario debe declarar el IVA (Directiva 2006/112/CE, art. 196)"),
        ("de", "Steuerschuldnerschaft des Leistungsempfängers (Richtlinie 2006/112/EG, Art. 196)"),
    ],
)
def test_the_words_of_the_reverse_charge_stand_once_in_the_orders_language(shop, locale, note):
    account = shop.open_account(country="DE", tax_id="DE136695976", locale=locale)

    invoice = document(shop, shop.order(shop.cart(BUY, BUY, account=account)))

    assert (invoice["notes"], invoice["tax"], invoice["total"]) == ([note], euros("0.00"), euros("72.00"))


def test_an_invoice_on_terms_is_open_until_its_day(shop):
    account = shop.open_account(kind="corporate")

    order = shop.order(shop.cart(BUY, account=account), caller=STAFF, provider="invoice_terms", purchase_order="PO-7")

    invoice = document(shop, order)
    assert (invoice["status"], invoice["due_on"], invoice["purchase_order"]) == ("open", "2026-03-31", "PO-7")


def test_what_was_invoiced_stays_as_it_was(open_shop):
    shop = open_shop()
    order = shop.order(shop.cart(BUY))
    before = document(shop, order)

    update_account(shop.engine, order["account"], INTERNAL, name="Beta, S.L.", country="DE", locale="es", address={"city": "Berlin"})
    shop.on("2026-03-11")
    shop.change(shop.engine.db.get(Subscription, order["subscriptions"][0]), seats=5)
    later = open_shop(folder=shop.folder, disabled=["gotoassist"], seller={"name": "Another Seller"})

    assert document(shop, order) == document(later, order) == before


def test_each_line_keeps_how_its_net_and_its_tax_came_about(shop):
    order = shop.order(shop.cart(BUY))
    shop.on("2026-03-11")

    [charge, credit] = document(shop, shop.change(shop.engine.db.get(Subscription, order["subscriptions"][0]), seats=5))["lines"]

    formulas = [[step["formula"] for step in line["explanation"]] for line in (charge, credit)]
    assert formulas == [["5 x 12.00", "60.00 x 21 %"], ["36.00 x 21/31", "-24.39 x 21 %"]]
    for line in (charge, credit):
        assert [step["amount"]["amount"] for step in line["explanation"]] == [abs(line["net"]["amount"]), line["tax"]["amount"]]


# --- numbers


def test_a_credit_note_has_a_series_of_its_own(shop):
    subscription = shop.buy("gotoassist-standard", interval="year")

    order = shop.change(subscription, interval="month")
    shop.buy("gotoassist-standard")

    assert numbers(shop) == ["2026-000001", "CN-2026-000001", "2026-000002"]
    note = document(shop, order)
    assert (note["kind"], note["net"], note["tax"], note["total"]) == ("credit_note", euros("-108.00"), euros("-22.68"), euros("-130.68"))
    assert [line["kind"] for line in note["lines"]] == ["charge", "credit"]
    assert [each["number"] for each in note["corrects"]] == ["2026-000001"]
    assert note["settlement"]["kind"] == "credit"  # of the account, which grows by it
    assert note["settlement"]["amount"] == euros("130.68")


def test_a_credit_note_corrects_what_charged_the_credited_days_last(shop):
    first, other = shop.buy("gotoassist-standard", interval="year"), shop.buy("gotoassist-standard", interval="year")
    shop.on("2026-03-11")
    shop.change(first, seats=2)

    order = shop.change(first, interval="month")

    assert numbers(shop) == ["2026-000001", "2026-000002", "2026-000003", "CN-2026-000001"]
    assert [each["number"] for each in document(shop, order)["corrects"]] == ["2026-000003"]
    assert shop.refresh(other).seats == 1


def test_two_sellers_in_one_database_have_a_series_each(open_shop):
    one = open_shop(seller={"series": "ACME"})
    other = open_shop(folder=one.folder)
    subscription = one.buy("gotoassist-standard", interval="year")
    other.buy("gotoassist-standard")

    one.change(subscription, interval="month")
    one.buy("gotoassist-standard")

    assert numbers(one) == ["ACME-2026-000001", "2026-000001", "ACME-CN-2026-000001", "ACME-2026-000002"]


# --- what is printed


def columns(*tables):
    return [(table._meta.table_name, name) for table in tables for name in table._meta.columns if (table, name) != (Invoice, "status")]


@pytest.mark.parametrize(("table", "column"), columns(Invoice, InvoiceLine))
def test_the_database_lets_nobody_change_what_was_printed(printed, table, column):
    with pytest.raises(peewee.IntegrityError, match="stays as it is"), printed.engine.db.guarded():
        printed.engine.db.raw().execute_sql(f'UPDATE {table} SET "{column}" = "{column}"')


@pytest.mark.parametrize("table", ["invoice", "invoice_line"])
def test_the_database_lets_nobody_remove_a_document(printed, table):
    with pytest.raises(peewee.IntegrityError, match="stays as it is"), printed.engine.db.guarded():
        printed.engine.db.raw().execute_sql(f"DELETE FROM {table}")


def test_each_year_begins_a_series_by_the_sellers_day(shop):
    east, west = (shop.open_account(time_zone=zone) for zone in ("Pacific/Kiritimati", "Pacific/Niue"))
    shop.on("2026-12-31")  # 13:00 in Madrid, the new year in Kiritimati
    shop.buy("gotoassist-standard", account=east)
    shop.on("2027-01-01")
    shop.buy("gotoassist-standard", account=west)
    shop.buy("gotoassist-standard", account=east)

    assert numbers(shop) == ["2026-000001", "2027-000001", "2027-000002"]
    assert [invoice.issued_on for invoice in invoices(shop)] == [date(2026, 12, 31), date(2027, 1, 1), date(2027, 1, 1)]


def test_an_order_for_nothing_has_no_invoice_and_takes_no_number(shop):
    order = shop.order(shop.cart({"mode": "trial", "plan": "gotoassist-standard", "seats": 1}))

    assert (order["invoice"], numbers(shop), shop.count(InvoiceSeries)) == (None, [], 0)


def test_eight_threads_that_buy_pay_and_fail_at_once_leave_no_gap(shop):
    accounts = [shop.open_account() for _ in range(8)]

    def work(account):
        subscription = shop.buy("gotoassist-professional", interval="year", account=account)
        with pytest.raises(PaymentDeclined):
            shop.buy("rescue-standard", account=account, token="tok_card_declined")
        shop.change(subscription, interval="month")
        shop.try_out("gotowebinar-standard", account=account)
        shop.buy("gotoassist-standard", account=account)
        shop.engine.db.close()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, accounts))

    by_series = defaultdict(list)
    for invoice in invoices(shop):
        by_series[invoice.series].append(invoice.sequence)
    assert {series: sorted(taken) for series, taken in by_series.items()} == {"2026": [*range(1, 17)], "CN-2026": [*range(1, 9)]}
    assert len(set(numbers(shop))) == 24


@pytest.mark.only_on("postgresql", reason="SQLite has one writer at a time")
def test_two_who_need_numbers_of_both_series_do_not_wait_for_each_other(shop):
    shop.buy("gotoassist-standard")
    [printed] = invoices(shop)
    lines = [(line, line.net, line.tax) for line in shop.engine.db.having(InvoiceLine.invoice, printed.id)]
    begun = {"invoice": Event(), "credit note": Event()}

    def issue(kind):
        if kind == "invoice":
            nothing = Money(0, "EUR")
            options = {
                "currency": "EUR",
                "locale": "en",
                "due_on": None,
                "purchase_order": None,
                "settlement": Settlement("credit", nothing, nothing),
            }
            issue_invoice(shop.engine, shop.account, new_id("ord"), [], **options)
        else:
            issue_credit_note(shop.engine, printed, new_id("ref"), lines, "credit")

    def issue_both(first, second):
        with shop.engine.db.transaction():
            issue(first)
            begun[first].set()
            begun[second].wait(0.5)  # in vain where the other one has to wait for this transaction
            issue(second)
        shop.engine.db.close()

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(issue_both, begun, reversed(begun)))

    assert sorted(numbers(shop)) == ["2026-000001", "2026-000002", "2026-000003", "CN-2026-000001", "CN-2026-000002"]


@pytest.mark.only_on("sqlite", reason="the trigger that plays a full disk is SQLite's")
def test_a_number_whose_transaction_is_rolled_back_is_given_again(shop):
    shop.buy("gotoassist-standard")
    database = shop.engine.db.raw()
    database.execute_sql("CREATE TRIGGER full BEFORE INSERT ON event BEGIN SELECT RAISE(ABORT, 'the disk is full'); END")

    with pytest.raises(peewee.IntegrityError, match="the disk is full"):  # events are written after the invoice
        shop.buy("gotoassist-standard")

    assert numbers(shop) == ["2026-000001"]
    database.execute_sql("DROP TRIGGER full")
    shop.clock.move_to(shop.clock.now() + timedelta(minutes=5))
    shop.run()  # recovery finds that the payment went through
    assert numbers(shop) == ["2026-000001", "2026-000002"]


def test_the_same_item_is_billed_once_for_a_period(shop):
    shop.buy("gotoassist-standard")
    (line,) = shop.engine.db.all(InvoiceLine.select())
    again = InvoiceLine(**{**line.__data__, "id": "inl_again"})

    with pytest.raises(peewee.IntegrityError, match=UNIQUE):
        shop.engine.db.insert(again)

    shop.engine.db.insert(InvoiceLine(**{**again.__data__, "period_start": date(2026, 4, 1), "period_end": date(2026, 5, 1)}))
