"""Printed invoices and credit notes: what the law wants on them, in two languages, whatever people are called."""

import io
import re
from pathlib import Path

import pytest
from babel.messages.extract import extract_from_file
from babel.messages.pofile import read_po
from pypdf import PdfReader

from core.access import INTERNAL, Caller
from core.documents import issued, print_invoice
from core.engine.idempotency import KeyedRequest
from core.errors import Missing, PluginFailed, SettingsInvalid
from core.invoices import Invoice
from core.refunds import refund_order
from core.subscriptions import Subscription
from core.write_offs import void_invoice
from plugins.documents.printed import FOLDER, Printer
from puesto import Money, Plan, Price, Product, eur, hookimpl
from puesto.testing import DocumentPrinterContract
from puesto.testing.documents import NAMES
from tests.conftest import problem

SEATS = {"mode": "buy", "plan": "gotoassist-standard", "seats": 3, "interval": "month"}
STAFF = Caller("key_staff", frozenset({"checkout", "staff"}))
MADRID = {"line1": "Calle Sol 1", "postcode": "28001", "city": "Madrid"}
BERLIN = {"line1": "Unter den Linden 5", "postcode": "10117", "city": "Berlin"}
BANK = {"bank_transfer": {"iban": "ES9121000418450200051332", "account_name": "Puesto Demo, S.L.", "accounts": "all"}}


def pdf_of(shop, invoice):
    return print_invoice(shop.engine, invoice, INTERNAL)[1]


def text_of(pdf):
    """All text of a PDF, its white space as single spaces."""
    words = " ".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages)
    return " ".join(words.replace("\u200b", "").replace("\u2068", "").replace("\u2069", "").split())


def printed(shop, order):
    return text_of(pdf_of(shop, order["invoice"]))


def refund(shop, order, amount=None):
    request = KeyedRequest(f"refund {order['id']}", str(amount), b"")
    refund_order(shop.engine, order["id"], INTERNAL, amount=amount, reason="", request=request)
    return shop.events("payment.refunded")[-1]["data"]["credit_note"]


def test_a_domestic_invoice_reads_from_top_to_bottom(shop):
    account = shop.open_account(address=MADRID, tax_id="ESB58378431")

    text = printed(shop, shop.order(shop.cart(SEATS, account=account)))

    assert text == (
        "Invoice Number 2026-000001 Date of issue March 1, 2026 "
        "From Puesto Demo, S.L. Calle Mayor 1 28013 Madrid Spain billing@puesto.example VAT number ESB99286320 "
        "To Acme, S.L. Calle Sol 1 28001 Madrid Spain VAT number ESB58378431 "
        "Description Seats Unit price VAT Net "
        "GoToAssist Remote Support – Standard March 1, 2026 to March 31, 2026 3 €12.00 / month 21% €36.00 "
        "VAT rate Taxable amount VAT amount 21% €36.00 €7.56 Net €36.00 VAT €7.56 Total €43.56 Paid €43.56 "
        "Puesto Demo, S.L. · VAT number ESB99286320 Page 1 of 1"
    )


# Directive 2006/112/EC, art. 226, by point. Left out are those that can't arise here: 7a (cash accounting), 10a (self-billing), 11 (exempt
# supplies; the plugin of whoever has them brings the note), 12 to 14 (means of transport, margin schemes), 15 (tax representatives).
ARTICLE_226 = {
    "1, the date of issue": ["Fecha de expedición 1 de marzo de 2026"],
    "2, a sequential number": ["Número 2026-000001"],
    "3, the seller's VAT number": ["NIF-IVA ESB99286320"],
    "4, the customer's VAT number": ["NIF-IVA DE136695976"],
    "5, names and addresses": [
        "De Puesto Demo, S.L. Calle Mayor 1 28013 Madrid España",
        "Para Müller & Söhne GmbH Unter den Linden 5 10117 Berlin Alemania",
    ],
    "6, extent and nature of the services": ["GoToAssist Asistencia remota – Estándar", "Puestos", " 3 12,00 € / mes"],
    "7, the date of supply": ["Del 1 de marzo de 2026 al 31 de marzo de 2026"],
    "8, the taxable amount per rate and the unit price": ["0 % · Inversión del sujeto pasivo 36,00 €", "12,00 € / mes 0 % 36,00 €"],
    "9, the rate": ["Tipo de IVA", "0 %"],
    "10, the VAT amount": ["Cuota 0 % · Inversión del sujeto pasivo 36,00 € 0,00 €"],
    "11a, the words for the reverse charge": ["Inversión del sujeto pasivo: el destinatario debe declarar el IVA"],
}


@pytest.fixture(scope="module")
def foreign_invoice(tmp_path_factory, new_shop):
    """To a business in another member state, in Spanish, to be paid by transfer."""
    shop = new_shop(tmp_path_factory.mktemp("foreign"), tables=BANK)
    account = shop.open_account(name="Müller & Söhne GmbH", country="DE", address=BERLIN, tax_id="DE136695976", locale="es")
    shop.engine.db.update(account, kind="corporate")
    order = shop.order(shop.cart(SEATS, account=account), caller=STAFF, provider="bank_transfer", purchase_order="PO-7")
    yield printed(shop, order)
    shop.close()


@pytest.mark.parametrize("point", ARTICLE_226)
def test_what_the_law_wants_is_printed(foreign_invoice, point):
    assert [words for words in ARTICLE_226[point] if words not in foreign_invoice] == []


def test_who_owes_reads_when_and_how_to_pay(foreign_invoice):
    assert "Vencimiento 15 de marzo de 2026 Su orden de compra PO-7" in foreign_invoice
    assert "Importe pendiente 36,00 €" in foreign_invoice
    assert "Cómo pagar Le rogamos que pague 36,00 € hasta el 15 de marzo de 2026." in foreign_invoice
    assert "IBAN ES91 2100 0418 4502 0005 1332 Referencia del pago RF" in foreign_invoice


@pytest.mark.parametrize(
    ("locale", "words"),
    [
        ("en", "Credit note Number CN-2026-000001 Date of issue March 1, 2026 Corrects invoice 2026-000001 of Mar 1, 2026"),
        (
            "es",
            "Factura rectificativa Número CN-2026-000001 Fecha de expedición 1 de marzo de 2026 "
            "Rectifica la factura 2026-000001 del 1 mar 2026",
        ),
    ],
)
def test_a_credit_note_names_the_invoice_that_it_corrects(shop, locale, words):
    order = shop.order(shop.cart(SEATS, account=shop.open_account(locale=locale)))

    note = refund(shop, order, eur("12.10"))

    text = text_of(pdf_of(shop, note["id"]))
    assert text.startswith(words)
    assert ("Part of the price of a month" in text) == (locale == "en")
    assert "unused" not in text  # a refund is not for time
    assert Money(-12_10, "EUR").format(locale).replace("\xa0", " ") in text


@pytest.mark.parametrize(
    ("sold", "words"),
    [
        (("month", "captured"), "Total €14.52 Paid €14.52"),
        (("month", "manual"), "Total €14.52 Reserved at your bank, to be charged later €14.52"),
        (("month", "balance"), "Total €14.52 Credit of your account used -€10.00 Paid €4.52"),
        (("month", "covered"), "Total €14.52 Credit of your account used -€14.52 Paid with the credit of your account €14.52"),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
def test_what_becomes_of_the_total(open_shop, sold, words):
    interval, how = sold
    shop = open_shop(payments={"capture": "manual" if how == "manual" else "automatic"})
    if how in ("balance", "covered"):
        shop.engine.db.update(shop.account, balance=10_00 if how == "balance" else 50_00)

    order = shop.order(shop.cart({**SEATS, "seats": 1, "interval": interval}))

    assert words in printed(shop, order)


def test_a_downgrade_adds_to_the_credit_and_shows_what_is_given_back(shop):
    subscription = shop.buy("gotoassist-standard", interval="year")
    shop.on("2026-03-11")

    order = shop.change(shop.engine.db.get(Subscription, subscription.id), interval="month")

    text = printed(shop, order)
    assert "March 11, 2026 to February 28, 2027 Credit for unused time 355 of 365 days 1 €120.00 / year 21%" in text
    assert re.search(r"Added to the credit of your account €\d+\.\d\d Puesto Demo", text)
    assert "Corrects invoice 2026-000001 of Mar 1, 2026" in text


def test_lines_of_one_rate_are_one_row_of_the_summary(shop):
    text = printed(shop, shop.order(shop.cart(SEATS, SEATS)))

    assert "VAT rate Taxable amount VAT amount 21% €72.00 €15.12 Net €72.00 VAT €15.12 Total €87.12" in text


def test_a_printer_is_not_told_what_became_of_it_later(shop):
    order = shop.order(shop.cart(SEATS))

    told = issued(shop.engine, shop.engine.db.get(Invoice, order["invoice"]))

    assert {"status", "paid", "due", "payment_instructions", "credit_notes"} & told.keys() == set()
    assert told.keys() >= {"number", "issued_on", "seller", "buyer", "lines", "settlement", "corrects", "notes"}


class Tiered:
    @hookimpl
    def register_products(self):
        price = Price.graduated("year", (10, eur("9.00")), (None, eur("8.00")))
        fee = Price.flat("month", eur("50.00"), 5, eur("4.00"))
        plans = [Plan("board-team", {"en": "Team"}, 1, [price]), Plan("board-flat", {"en": "Flat"}, 2, [fee])]
        return [Product("board", {"en": "Board"}, plans)]


@pytest.mark.parametrize(
    ("plan", "interval", "words"),
    [
        ("board-team", "year", "Board – Team March 1, 2026 to February 28, 2027 10 × €9.00 + 2 × €8.00 12 21% €106.00"),
        ("board-flat", "month", "Board – Flat March 1, 2026 to March 31, 2026 €50.00 (5 seats included) + 7 × €4.00 12 21% €78.00"),
    ],
)
def test_prices_in_steps_are_shown_step_by_step(open_shop, plan, interval, words):
    shop = open_shop(plugins={"board": Tiered()})

    order = shop.order(shop.cart({"mode": "buy", "plan": plan, "seats": 12, "interval": interval}))

    assert words in printed(shop, order)


def test_a_discount_is_named_beside_the_price_of_a_seat(open_shop):
    shop = open_shop(tables={"coupons": {"codes": {"WELCOME": {"percent": "20"}}}})
    subscription = shop._started(order := shop.order(shop.cart(SEATS, coupon="welcome"), token="tok_ok", save=True))
    shop.on("2026-03-11")

    whole, changed = printed(shop, order), printed(shop, shop.change(subscription, seats=4))

    assert "Standard (WELCOME: −20 %) March 1, 2026 to March 31, 2026 Discount -€7.20 3 €12.00 / month 21% €28.80" in whole
    assert "Standard (WELCOME: −20 %) March 11, 2026 to April 10, 2026 Discount -€9.60 4 €12.00 / month 21% €38.40" in changed
    # 36.00 x 21/31 = 24.39, of which 28.80 x 21/31 = 19.51 had been charged
    assert "Credit for unused time 21 of 31 days Discount €4.88 3 €12.00 / month 21% -€19.51" in changed


# --- the file


def test_a_document_is_printed_alike_for_ever(open_shop):
    shop = open_shop()
    order = shop.order(shop.cart(SEATS, account=shop.open_account(kind="corporate")), provider="invoice_terms", purchase_order="PO-7")
    before = pdf_of(shop, order["invoice"])

    void_invoice(shop.engine, order["invoice"], INTERNAL, reason="", request=KeyedRequest("void", "key", b""))
    shop.on("2027-03-01")
    later = open_shop(folder=shop.folder, seller={"name": "Another Seller"})

    assert pdf_of(shop, order["invoice"]) == pdf_of(later, order["invoice"]) == before


def test_it_is_an_archivable_and_accessible_file(shop):
    order = shop.order(shop.cart(SEATS, account=shop.open_account(locale="es", name="שלום בע״מ")))

    reader = PdfReader(io.BytesIO(pdf_of(shop, order["invoice"])))

    said = reader.metadata
    assert (said.title, said.author, said.creation_date.date().isoformat()) == ("Factura 2026-000001", "Puesto Demo, S.L.", "2026-03-01")
    assert reader.root_object["/Lang"] == "es"
    assert reader.root_object["/MarkInfo"]["/Marked"]
    standards = reader.root_object["/Metadata"].get_data().decode()
    assert re.findall(r"<pdf(?:aid|uaid):(part|conformance)>(\w+)<", standards) == [("part", "2"), ("conformance", "A"), ("part", "1")]


def test_many_lines_go_over_pages_that_say_so(shop):
    order = shop.order(shop.cart(*[SEATS] * 40))

    reader = PdfReader(io.BytesIO(pdf_of(shop, order["invoice"])))

    texts = [page.extract_text() for page in reader.pages]
    assert [re.search(r"Page (\d of \d)", text)[1] for text in texts] == ["1 of 3", "2 of 3", "3 of 3"]
    assert all("Unit price" in text for text in texts)  # the head of the table
    assert sum(text.count("GoToAssist") for text in texts) == 40


class TestPdf(DocumentPrinterContract):
    plugin = "pdf"


@pytest.mark.parametrize("name", [*NAMES.values(), "one\ntwo\r\nthree\tfour"], ids=[*NAMES, "lines"])
def test_whatever_a_buyer_is_called_is_printed_as_text(shop, name):
    order = shop.order(shop.cart(SEATS))
    document = issued(shop.engine, shop.engine.db.get(Invoice, order["invoice"]))
    document["buyer"]["name"] = document["purchase_order"] = name

    text = text_of(shop.engine.plugins.first("render_invoice", document=document, locale="en"))

    read = "".join(text.replace("\0", "").split())
    assert "Total€43.56Paid€43.56PuestoDemo" in read
    if name != NAMES["right to left"]:  # which is read back in another order
        assert read.count("".join(re.sub("[🦄漢字]", "", name).split())) == 2


def test_a_word_of_ten_thousand_letters_is_broken_and_takes_pages(shop):
    order = shop.order(shop.cart(SEATS))
    document = issued(shop.engine, shop.engine.db.get(Invoice, order["invoice"]))
    document["buyer"]["name"] = "Mm" * 5_000

    pdf = shop.engine.plugins.first("render_invoice", document=document, locale="en")

    assert (text_of(pdf).count("Mm"), len(PdfReader(io.BytesIO(pdf)).pages) > 4) == (5_000, True)


# --- settings, and who prints


def test_a_template_of_one_s_own_reads_the_same_data(open_shop, tmp_path):
    (tmp_path / "mine.typ").write_text('#let d = json(bytes(sys.inputs.data))\n#d.title #d.number for #d.buyer.name, #read("words.txt")')
    (tmp_path / "words.txt").write_text("with love")
    shop = open_shop(tables={"pdf": {"template": str(tmp_path / "mine.typ")}})

    assert printed(shop, shop.order(shop.cart(SEATS))) == "Invoice 2026-000001 for Acme, S.L., with love"


def test_a_line_of_the_seller_s_own_stands_on_each_page(open_shop):
    shop = open_shop(tables={"pdf": {"footer": "Registro Mercantil de Madrid, hoja M-1"}})

    assert "ESB99286320 · Registro Mercantil de Madrid, hoja M-1 Page 1 of 1" in printed(shop, shop.order(shop.cart(SEATS)))


@pytest.mark.parametrize("settings", [{"template": "/nowhere.typ"}, {"accent": "green"}, {"colour": "#000000"}])
def test_a_wrong_setting_stops_the_start(open_shop, settings):
    with pytest.raises(SettingsInvalid, match=f"setting plugins.pdf.{next(iter(settings))}:"):
        open_shop(tables={"pdf": settings})


def test_a_template_that_is_broken_is_the_plugin_s_fault(open_shop, tmp_path):
    (tmp_path / "mine.typ").write_text("#nothing")
    shop = open_shop(tables={"pdf": {"template": str(tmp_path / "mine.typ")}})
    order = shop.order(shop.cart(SEATS))

    with pytest.raises(PluginFailed, match="The plugin pdf failed in render_invoice"):
        pdf_of(shop, order["invoice"])


def test_without_a_printer_there_is_nothing_to_read(open_shop):
    shop = open_shop(disabled=["pdf"])
    order = shop.order(shop.cart(SEATS))

    with pytest.raises(Missing, match="No plugin prints documents"):
        pdf_of(shop, order["invoice"])


def test_the_api_serves_it_under_its_number(client, shop):
    order = shop.order(shop.cart(SEATS))
    path = f"/v1/invoices/{order['invoice']}.pdf"

    answer = client.get(path)

    assert (answer.status_code, answer.mimetype, answer.data) == (200, "application/pdf", pdf_of(shop, order["invoice"]))
    assert answer.headers["Content-Disposition"] == 'inline; filename="2026-000001.pdf"'
    again = client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert problem(client.get("/v1/invoices/inv_nothing.pdf")) == (404, "not-found")


# --- words


def test_every_word_has_its_spanish():
    used = {message for _, message, _, _ in extract_from_file("python", FOLDER / "printed.py", keywords={"_": None})}
    with (FOLDER / "es.po").open("rb") as file:
        known = {message.id: message.string for message in read_po(file) if message.id}

    assert known.keys() == used
    assert all(known.values())


def test_a_language_without_a_catalogue_is_printed_in_english():
    document = {"kind": "invoice", "number": "1", "issued_on": "2026-03-01", "due_on": None, "purchase_order": None, "notes": []}
    parties = {"seller": {"name": "", "address": "", "country": "ES", "email": "", "tax_id": ""}, "lines": [], "currency": "EUR"}
    buyer = {"buyer": {"name": "", "address": None, "country": "JP", "tax_id": None}, "settlement": None}
    totals = {name: {"amount": 0, "currency": "EUR"} for name in ("net", "tax", "total")}

    view = Printer().view({**document, **parties, **buyer, **totals}, "ja")

    assert (view["title"], view["language"], view["final"], view["payment"]) == ("Invoice", "en", [], None)


def test_the_template_is_installed():
    assert {path.name for path in Path(FOLDER).iterdir()} >= {"invoice.typ", "es.po"}
