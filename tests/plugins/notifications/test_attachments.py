"""What comes with a message: the invoice or the credit note, as the API prints it; and the message of a refund."""

from email import message_from_bytes, policy

import pytest

from core.access import INTERNAL, Caller
from core.cancellations import cancel
from core.documents import print_invoice
from core.engine.idempotency import KeyedRequest
from core.invoices import Invoice
from core.refunds import refund_order
from core.renewals import renew_due
from puesto import eur, hookimpl

SEATS = {"mode": "buy", "plan": "gotoassist-standard", "seats": 3, "interval": "month"}
STAFF = Caller("key_staff", frozenset({"checkout", "staff"}))


def messages(shop, kind):
    """Those of a kind that went out, the oldest first."""
    shop.run()
    files = sorted((shop.folder / "data" / "email" / "outbox").glob(f"*-{kind}.eml"))
    return [message_from_bytes(file.read_bytes(), policy=policy.default) for file in files]


def attachments(message):
    return {part.get_filename(): (part.get_content_type(), part.get_content()) for part in message.iter_attachments()}


def text(message):
    return " ".join(message.get_body(("plain",)).get_content().split())


def refund(shop, order, amount=None):
    request = KeyedRequest(f"refund {order['id']}", str(amount), b"")
    refund_order(shop.engine, order["id"], INTERNAL, amount=amount, reason="goodwill", request=request)


def printed(shop, number):
    invoice = shop.engine.db.first(Invoice.select().where(Invoice.number == number))
    return print_invoice(shop.engine, invoice.id, INTERNAL)[1]


def test_a_purchase_and_a_renewal_bring_their_invoices(shop):
    shop.buy("gotoassist-standard", token="tok_ok", save=True)
    shop.on("2026-04-01")
    renew_due(shop.engine)

    bought, renewed = messages(shop, "purchase_confirmation")

    assert attachments(bought) == {"2026-000001.pdf": ("application/pdf", printed(shop, "2026-000001"))}
    assert attachments(renewed) == {"2026-000002.pdf": ("application/pdf", printed(shop, "2026-000002"))}


@pytest.mark.parametrize(
    ("locale", "subject", "said", "rows"),
    [
        (
            "en",
            "Your refund, credit note CN-2026-000001",
            "Hello Acme, S.L., €12.10 goes back to you. The money takes the way it was paid.",
            "GoToAssist Remote Support – Standard March 1, 2026 to March 31, 2026 Net: €10.00 VAT: €2.10 Total: €12.10 For your records "
            "---------------- Credit note: CN-2026-000001 Issued on: March 1, 2026 Corrects invoice: 2026-000001 Order: ",
        ),
        (
            "es",
            "Su reembolso, factura rectificativa CN-2026-000001",
            "Hola, Acme, S.L.: le devolvemos 12,10 €. El dinero vuelve por la misma vía por la que se pagó.",
            "GoToAssist Asistencia remota – Estándar del 1 de marzo de 2026 al 31 de marzo de 2026 Base imponible: 10,00 € IVA: 2,10 € "
            "Total: 12,10 € Para su archivo --------------- Factura rectificativa: CN-2026-000001 Fecha de emisión: 1 de marzo de 2026 "
            "Rectifica la factura: 2026-000001 Pedido: ",
        ),
    ],
)
def test_a_refund_is_told_with_its_credit_note(shop, locale, subject, said, rows):
    refund(shop, shop.order(shop.cart(SEATS, account=shop.open_account(locale=locale))), eur("12.10"))

    [message] = messages(shop, "credit_note")

    assert (message["Subject"], message["To"]) == (subject, "billing@acme.example")
    assert said in text(message)
    assert rows in text(message)
    assert "goodwill" not in text(message)  # the seller's own reason
    assert attachments(message) == {"CN-2026-000001.pdf": ("application/pdf", printed(shop, "CN-2026-000001"))}


def test_where_nothing_was_paid_yet_less_is_owed_and_nothing_goes_back(shop):
    account = shop.open_account(kind="corporate")
    order = shop.order(shop.cart(SEATS, account=account), caller=STAFF, provider="invoice_terms", purchase_order="PO-7")

    refund(shop, order, eur("13.56"))

    [message] = messages(shop, "credit_note")
    assert message["Subject"] == "Less to pay, credit note CN-2026-000001"
    assert "Hello Acme, S.L., you need not pay €13.56 of your invoice any more." in text(message)
    assert "Your purchase order: PO-7" in text(message)
    assert "back to you" not in text(message)


@pytest.mark.parametrize(
    ("unused", "subject", "said"),
    [
        ("refund", "Your refund, credit note CN-2026-000001", "€8.89 goes back to you."),
        ("credit", "Credit for your account, credit note CN-2026-000001", "your account has €8.89 more credit"),
    ],
)
def test_who_cancels_before_the_end_is_told_what_becomes_of_the_rest(open_shop, unused, subject, said):
    shop = open_shop(subscriptions={"unused": unused})
    subscription = shop.buy("gotoassist-standard")
    shop.on("2026-03-13")

    cancel(shop.engine, subscription.id, INTERNAL, at="now")

    [message] = messages(shop, "credit_note")
    assert message["Subject"] == subject
    assert said in text(message)  # 12.00 x 19/31 = 7.35, and 1.54 of VAT
    assert list(attachments(message)) == ["CN-2026-000001.pdf"]


@pytest.mark.parametrize(
    ("locale", "words"), [("en", "Reserved at your bank, to be charged later: €43.56"), ("es", "se cobrará más adelante: 43,56 €")]
)
def test_money_that_is_only_set_aside_is_not_called_paid(open_shop, locale, words):
    shop = open_shop(payments={"capture": "manual"})
    shop.order(shop.cart(SEATS, account=shop.open_account(locale=locale)))

    [message] = messages(shop, "purchase_confirmation")

    assert words in text(message)
    assert not {"Paid:", "Pagado:"} & set(text(message).split())


def test_a_trial_brings_no_document(shop):
    shop.try_out("gotoassist-standard")

    assert [attachments(message) for message in messages(shop, "trial_confirmation")] == [{}]


class Jammed:
    """A printer that fails, and counts how often it was asked."""

    asked = 0

    @hookimpl(tryfirst=True)
    def render_invoice(self):
        self.asked += 1
        raise RuntimeError("no paper")


def test_a_printer_that_fails_does_not_keep_the_message_back(open_shop):
    printer = Jammed()
    shop = open_shop(plugins={"jammed": printer})
    shop.order(shop.cart(SEATS))

    [message] = messages(shop, "purchase_confirmation")

    assert (attachments(message), printer.asked) == ({}, 1)
    assert "Invoice: 2026-000001" in text(message)


def test_without_a_printer_messages_go_out_all_the_same(open_shop):
    shop = open_shop(disabled=["pdf"])
    shop.order(shop.cart(SEATS))

    assert [attachments(message) for message in messages(shop, "purchase_confirmation")] == [{}]
