"""Messages as a real SMTP server, or a folder, receives them."""

import asyncio
import html
import re
import smtplib
import socket
import ssl
from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path
from typing import ClassVar

import peewee
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po
from jinja2 import UndefinedError
from marshmallow import ValidationError

from core.engine.clock import TestClock
from core.engine.plugin_rows import PluginDatabase
from core.engine.plugins import AskHooks, Plugins
from core.engine.sqlite import Sqlite
from plugins.notifications.email import EmailNotifications, SentMessage
from plugins.notifications.rendering import TEMPLATES, choose_locale, harmless
from puesto import Event, PluginContext

NOW = datetime(2026, 3, 11, 9, 30, tzinfo=UTC)
LOCALHOST = Path(__file__).parent / "localhost.pem"
DECLINES = [
    "card_declined",
    "insufficient_funds",
    "expired_card",
    "authentication_failed",
    "amount_too_small",
    "currency_unsupported",
    "fraud_suspected",
    "provider_error",
]


# --- snapshots, as the outbox hands them over


def eur(minor):
    return {"amount": minor, "currency": "EUR"}


def an_account(locale="en", **changes):
    same = {"id": "acc_1", "name": "Acme, S.L.", "email": "billing@acme.example", "kind": "self_service", "country": "ES"}
    rest = {"address": "", "currency": "EUR", "locale": locale, "time_zone": "Europe/Madrid"}
    return {**same, **rest, "tax_id": {"value": "ESB99286320", "country": "ES", "status": "valid"}, **changes}


def a_line(**changes):
    """Eight seats instead of five after 10 of 31 days."""
    what = {"id": "ol_1", "mode": "change", "product": "gotoassist", "plan": "gotoassist-professional", "subscription": "sub_1"}
    names = {"product_name": "Remote Support", "plan_name": "Professional", "interval": "month", "seats": 8}
    before_tax = {"unit_amount": eur(6000), "subtotal": eur(48000), "discount": eur(1000), "credit": eur(20323), "net": eur(26677)}
    tax = {"tax": eur(5602), "total": eur(32279), "taxes": [a_tax("21", 5602)], "explanation": []}
    when = {"period": {"start": "2026-03-11", "end": "2026-04-11"}, "next_charge": {"date": "2026-04-11", "amount": eur(58080)}}
    return {**what, **names, **before_tax, **tax, **when, **changes}


def a_trial_line(**changes):
    nothing = {name: eur(0) for name in ("subtotal", "discount", "credit", "net", "tax", "total")}
    when = {"period": {"start": "2026-03-11", "end": "2026-03-18"}, "next_charge": None}
    return (
        a_line(id="ol_2", mode="trial", product_name="Webinar", plan_name="Starter", seats=1, unit_amount=None, taxes=[]) | nothing | when
    )


def a_tax(rate, minor, category="standard", reason="domestic"):
    return {"rate": rate, "amount": eur(minor), "category": category, "reason": reason}


def an_order(locale="en", lines=None, **changes):
    same = {"id": "ord_1", "account": "acc_1", "status": "completed", "locale": locale, "purchase_order": None, "invoice": "inv_1"}
    totals = {
        "net": eur(26677),
        "tax": eur(5602),
        "total": eur(32279),
        "credit_used": eur(2279),
        "due_now": eur(30000),
        "credit_left": eur(150),
    }
    method = {"brand": "visa", "last4": "4242"}
    payment = {"id": "pay_1", "provider": "sandbox", "status": "captured", "amount": eur(30000), "method": method, "error": None}
    times = {"created_at": "2026-03-11T09:29:58Z", "completed_at": "2026-03-11T09:30:00Z"}
    return {**same, "lines": lines or [a_line()], **totals, "payment": payment, "subscriptions": ["sub_1"], **times, **changes}


def an_invoice(**changes):
    same = {"id": "inv_1", "number": "2026-000001", "status": "paid", "issued_on": "2026-03-11", "due_on": None, "lines": []}
    return {**same, "net": eur(26677), "tax": eur(5602), "total": eur(32279), "notes": [], **changes}


def a_trial(**changes):
    what = {"id": "sub_2", "account": "acc_1", "product": "gotowebinar", "product_name": "Webinar", "plan": "gotowebinar-starter"}
    seats = {"plan_name": "Starter", "seats": 5, "seats_assigned": 0, "interval": "month", "status": "trialing"}
    when = {"current_period": {"start": "2026-03-11", "end": "2026-03-18"}, "trial_end": "2026-03-18", "next_charge": None}
    return {**what, **seats, **when, **changes}


def news(type, id="evt_1", **data):
    return Event(id, type, "acc_1", "ord_1", NOW, data)


def bought(locale="en", **order):
    return news("order.completed", order=an_order(locale, **order), account=an_account(locale), invoice=an_invoice(), subscriptions=[])


def began_trial(locale="en", **trial):
    order = an_order(locale, lines=[a_trial_line()])
    return news("trial.started", subscription=a_trial(**trial), account=an_account(locale), order=order)


def was_declined(locale="en", code="card_declined"):
    error = {"code": code, "retryable": False} if code else None
    payment = {"id": "pay_1", "provider": "sandbox", "status": "declined", "amount": eur(30000), "error": error}
    return news("payment.failed", order=an_order(locale), account=an_account(locale), payment=payment)


def got_seat(locale="en", **user):
    someone = {"id": "usr_1", "email": "ana@acme.example", "name": "Ana", "role": "member", **user}
    return news("seat.assigned", subscription=a_trial(), account=an_account(locale), user=someone)


# --- receiving


class Mailbox:
    """What an SMTP server does with messages: keep them, or refuse them with `answer`, the first ones with `answers`.

    meanwhile: what happens once, while the server has the first message in its hands.
    """

    def __init__(self):
        self.messages, self.answer, self.answers, self.users = [], "250 OK", [], []
        self.meanwhile = None

    async def handle_DATA(self, server, session, envelope):
        if (meanwhile := self.meanwhile) is not None:
            self.meanwhile = None
            await asyncio.to_thread(meanwhile)
        answer = self.answers.pop(0) if self.answers else self.answer
        if answer.startswith("250"):
            message = message_from_bytes(envelope.content, policy=policy.default)
            self.messages.append((envelope.rcpt_tos, message))
        return answer

    def authenticate(self, server, session, envelope, mechanism, data):
        self.users.append((data.login, data.password))
        return AuthResult(success=data.password == b"right", handled=False)


@pytest.fixture
def mailbox():
    return Mailbox()


@pytest.fixture
def serve(mailbox):
    """Starts a server for the mailbox and answers its port."""
    running = []

    def start(**options):
        with socket.create_server(("localhost", 0)) as free:
            port = free.getsockname()[1]
        running.append(Controller(mailbox, "localhost", port, **options))
        running[-1].start()
        return port

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def database(tmp_path):
    opened = Sqlite(f"sqlite:///{tmp_path / 'shop.db'}")
    peewee.SchemaManager(SentMessage, opened.raw()).create_all()
    yield opened
    opened.close_all()


@pytest.fixture
def rows(database):
    """What is remembered of messages."""

    def read():
        kept = database.all(SentMessage.select().order_by(SentMessage.id))
        return [(row.event, row.kind, row.account, row.recipient, row.sent_at) for row in kept]

    return read


@pytest.fixture
def plugin(tmp_path, database):
    """The plugin under some settings; without `smtp_host` it writes into tmp_path / "email" / "outbox"."""

    def make(**settings):
        loaded = EmailNotifications.settings_schema().load(settings)
        nobody = Plugins()
        nobody.finish()
        clock, hooks, rows = TestClock(NOW, frozen=True), AskHooks(nobody), PluginDatabase(database)
        return EmailNotifications(PluginContext("email", loaded, "sandbox", "http://127.0.0.1:8000", hooks, rows, clock, tmp_path))

    return make


@pytest.fixture
def outbox(tmp_path):
    """The messages in the folder, by file name."""

    def read():
        files = sorted((tmp_path / "email" / "outbox").glob("*"))
        return {file.name: message_from_bytes(file.read_bytes(), policy=policy.default) for file in files}

    return read


def parts(message):
    """Both parts as words, with a single space between them; the no-break space before a currency stays."""
    assert message.get_content_type() == "multipart/alternative"
    text, page = message.iter_parts()
    assert (text.get_content_type(), page.get_content_type()) == ("text/plain", "text/html")
    return [re.sub(r"[ \r\n]+", " ", words) for words in (text.get_content(), html.unescape(re.sub("<[^>]*>", " ", page.get_content())))]


def assert_rows(message, rows):
    """Every (label, value) stands in both parts, side by side."""
    text, page = parts(message)
    for label, value in rows:
        assert f"{label}: {value}" in text
        assert f" {label} {value} " in page


# --- what is sent, over SMTP

PURCHASE_ROWS = {
    "en": [
        ("Remote Support Professional 8 seats, billed monthly March 11, 2026 to April 10, 2026 Price per seat", "€60.00"),
        ("Price", "€480.00"),
        ("Discount", "-€10.00"),
        ("Credit for unused time", "-€203.23"),
        ("Net", "€266.77"),
        ("VAT 21% (domestic rate)", "€56.02"),
        ("Total of this line", "€322.79"),
        ("Next charge on April 11, 2026", "€580.80"),
        ("VAT", "€56.02"),
        ("Total", "€322.79"),
        ("Credit used", "-€22.79"),
        ("Paid", "€300.00"),
        ("Credit left for later orders", "€1.50"),
        ("Invoice", "2026-000001"),
        ("Issued on", "March 11, 2026"),
        ("Order", "ord_1"),
        ("Your VAT number", "ESB99286320"),
        ("Payment method", "Visa ending in 4242"),
    ],
    "es": [
        (
            "Remote Support Professional 8 puestos, facturación mensual del 11 de marzo de 2026 al 10 de abril de 2026 Precio por puesto",
            "60,00\xa0€",
        ),
        ("Precio", "480,00\xa0€"),
        ("Descuento", "-10,00\xa0€"),
        ("Abono por el tiempo no usado", "-203,23\xa0€"),
        ("Base imponible", "266,77\xa0€"),
        ("IVA 21\xa0% (tipo nacional)", "56,02\xa0€"),
        ("Total de esta línea", "322,79\xa0€"),
        ("Próximo cargo el 11 de abril de 2026", "580,80\xa0€"),
        ("IVA", "56,02\xa0€"),
        ("Total", "322,79\xa0€"),
        ("Saldo utilizado", "-22,79\xa0€"),
        ("Pagado", "300,00\xa0€"),
        ("Saldo restante para otros pedidos", "1,50\xa0€"),
        ("Factura", "2026-000001"),
        ("Fecha de emisión", "11 de marzo de 2026"),
        ("Pedido", "ord_1"),
        ("Su NIF-IVA", "ESB99286320"),
        ("Forma de pago", "Visa terminada en 4242"),
    ],
}
SUBJECTS = {
    "en": [
        "Your order is confirmed, invoice 2026-000001",
        "Your free trial of Webinar has begun",
        "Welcome to Webinar: how to start",
        "Your payment did not go through",
        "You have a seat in Webinar",
    ],
    "es": [
        "Su pedido está confirmado, factura 2026-000001",
        "Su prueba gratuita de Webinar ha comenzado",
        "Le damos la bienvenida a Webinar: cómo empezar",
        "Su pago no se ha podido realizar",
        "Tiene un puesto en Webinar",
    ],
}
TRIAL_ROWS = {
    "en": [("Product", "Webinar"), ("Plan", "Starter"), ("Seats", "5"), ("First day", "March 11, 2026"), ("Last day", "March 17, 2026")],
    "es": [
        ("Producto", "Webinar"),
        ("Plan", "Starter"),
        ("Puestos", "5"),
        ("Primer día", "11 de marzo de 2026"),
        ("Último día", "17 de marzo de 2026"),
    ],
}
WELCOMES = {
    "en": "Your trial of the plan Starter has 5 seats. Until the end of March 17, 2026 you can try all of it.",
    "es": "Su prueba del plan Starter tiene 5 puestos. Hasta el final del 17 de marzo de 2026 puede probarlo todo.",
}


@pytest.mark.parametrize("locale", ["en", "es"])
def test_a_server_receives_every_kind_of_message_in_the_language_of_the_order(plugin, serve, mailbox, locale):
    email = plugin(smtp_host="localhost", smtp_port=serve())

    email.order_completed(bought(locale))
    email.trial_started(began_trial(locale))
    email.payment_failed(was_declined(locale))
    email.seat_assigned(got_seat(locale))

    assert [message["Subject"] for _, message in mailbox.messages] == SUBJECTS[locale]
    assert [recipients for recipients, _ in mailbox.messages] == [["billing@acme.example"]] * 4 + [["ana@acme.example"]]
    purchase, trial, welcome, failed, seat = [message for _, message in mailbox.messages]
    assert_rows(purchase, PURCHASE_ROWS[locale])
    assert_rows(trial, TRIAL_ROWS[locale])
    assert all(WELCOMES[locale] in part for part in parts(welcome))
    assert_rows(failed, [{"en": ("Amount", "€300.00"), "es": ("Importe", "300,00\xa0€")}[locale]])
    assert_rows(seat, [{"en": ("Assigned by", "Acme, S.L."), "es": ("Asignado por", "Acme, S.L.")}[locale]])


def test_the_headers_tell_who_when_which_and_that_a_machine_wrote_it(plugin, serve, mailbox):
    event = replace(bought(), id="evt_0192f0c1-7b1c-7def-8000-0123456789ab")

    plugin(smtp_host="localhost", smtp_port=serve()).order_completed(event)

    [(_, message)] = mailbox.messages
    assert message["From"] == "Puesto <billing@puesto.example>"
    assert message["To"] == "billing@acme.example"
    assert message["Date"].datetime == NOW
    assert message["Message-ID"] == "<evt_0192f0c1-7b1c-7def-8000-0123456789ab.purchase_confirmation@puesto.example>"
    assert message["Auto-Submitted"] == "auto-generated"


def test_a_repeated_delivery_sends_nothing_more(plugin, serve, mailbox):
    email = plugin(smtp_host="localhost", smtp_port=serve())

    email.trial_started(began_trial())
    email.trial_started(began_trial())

    ids = [message["Message-ID"] for _, message in mailbox.messages]
    assert ids == ["<evt_1.trial_confirmation@puesto.example>", "<evt_1.welcome@puesto.example>"]


def test_after_a_failure_only_what_was_not_sent_is_sent(plugin, serve, mailbox, rows):
    email = plugin(smtp_host="localhost", smtp_port=serve())
    mailbox.answers = ["250 OK", "451 greylisted"]
    with pytest.raises(smtplib.SMTPDataError, match="greylisted"):
        email.trial_started(began_trial())
    kept = rows()

    email.trial_started(began_trial())

    assert [message["Subject"] for _, message in mailbox.messages] == SUBJECTS["en"][1:3]
    assert kept == [("evt_1", "trial_confirmation", "acc_1", "billing@acme.example", NOW)]
    assert rows() == [*kept, ("evt_1", "welcome", "acc_1", "billing@acme.example", NOW)]


def test_two_deliveries_at_once_are_remembered_as_one(plugin, serve, mailbox, rows):
    email = plugin(smtp_host="localhost", smtp_port=serve())
    mailbox.meanwhile = lambda: email.seat_assigned(got_seat())

    email.seat_assigned(got_seat())

    assert [message["Message-ID"] for _, message in mailbox.messages] == ["<evt_1.seat_assigned@puesto.example>"] * 2
    assert rows() == [("evt_1", "seat_assigned", "acc_1", "ana@acme.example", NOW)]


def test_a_server_that_refuses_the_message_raises(plugin, serve, mailbox):
    mailbox.answer = "550 mailbox full"

    with pytest.raises(smtplib.SMTPDataError, match="mailbox full"):
        plugin(smtp_host="localhost", smtp_port=serve()).seat_assigned(got_seat())


def test_a_server_that_is_not_there_raises(plugin):
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]

    with pytest.raises(ConnectionRefusedError):
        plugin(smtp_host="localhost", smtp_port=port).seat_assigned(got_seat())


# --- logging in


@pytest.fixture
def tls():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(LOCALHOST)
    return context


@pytest.fixture
def login(monkeypatch):
    monkeypatch.setenv("TEST_SMTP_PASSWORD", "right")
    return {"smtp_user": "puesto", "smtp_password": "env:TEST_SMTP_PASSWORD", "smtp_starttls": True, "smtp_host": "localhost"}


def test_user_and_password_go_over_a_verified_connection(plugin, serve, mailbox, tls, login, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(LOCALHOST))
    port = serve(tls_context=tls, require_starttls=True, authenticator=mailbox.authenticate, auth_required=True)

    plugin(smtp_port=port, **login).seat_assigned(got_seat())

    assert mailbox.users == [(b"puesto", b"right")]
    assert len(mailbox.messages) == 1


def test_no_password_is_shown_to_a_server_whose_certificate_nobody_vouches_for(plugin, serve, mailbox, tls, login):
    port = serve(tls_context=tls, authenticator=mailbox.authenticate)

    with pytest.raises(ssl.SSLCertVerificationError):
        plugin(smtp_port=port, **login).seat_assigned(got_seat())
    assert mailbox.users == []


def test_no_password_goes_in_clear_where_the_server_has_no_encryption(plugin, serve, mailbox, login):
    port = serve(authenticator=mailbox.authenticate, auth_require_tls=False)

    with pytest.raises(smtplib.SMTPNotSupportedError):
        plugin(smtp_port=port, **login).seat_assigned(got_seat())
    assert mailbox.users == []


# --- into a folder


def test_without_a_server_messages_become_files_and_one_that_was_not_remembered_is_replaced(plugin, outbox, database):
    email = plugin()

    email.trial_started(began_trial())
    database.execute(SentMessage.delete())
    email.trial_started(began_trial(seats=2))

    assert list(outbox()) == ["evt_1-trial_confirmation.eml", "evt_1-welcome.eml"]
    assert_rows(outbox()["evt_1-trial_confirmation.eml"], [("Seats", "2")])


def test_the_folder_can_be_set(plugin, tmp_path):
    plugin(folder=str(tmp_path / "elsewhere" / "mail")).seat_assigned(got_seat())

    assert [file.name for file in (tmp_path / "elsewhere" / "mail").iterdir()] == ["evt_1-seat_assigned.eml"]


# --- purchases


def test_an_order_of_trials_alone_is_no_purchase(plugin, outbox):
    plugin().order_completed(bought(lines=[a_trial_line()]))

    assert outbox() == {}


def test_a_trial_bought_beside_something_is_named_as_free(plugin, outbox):
    plugin().order_completed(bought(lines=[a_line(), a_trial_line()]))

    [message] = outbox().values()
    for part in parts(message):
        assert "Webinar Starter free trial, 1 seat March 11, 2026 to March 17, 2026 Net" in part


def test_a_yearly_plan_says_so(plugin, outbox):
    plugin().order_completed(bought(lines=[a_line(interval="year", period={"start": "2026-03-11", "end": "2027-03-11"})]))

    [message] = outbox().values()
    for part in parts(message):
        assert "8 seats, billed yearly March 11, 2026 to March 10, 2027" in part


def test_reverse_charge_is_named_on_the_line_and_in_the_words_of_the_invoice(plugin, outbox):
    note = "Inversión del sujeto pasivo (artículo 196 de la Directiva 2006/112/CE)"
    line = a_line(tax=eur(0), total=eur(26677), taxes=[a_tax("0", 0, "reverse_charge", "reverse_charge")])
    event = bought("es", lines=[line], tax=eur(0), total=eur(26677), credit_used=eur(0), due_now=eur(26677))
    event.data["invoice"] = an_invoice(notes=[note])

    plugin().order_completed(event)

    [message] = outbox().values()
    assert_rows(message, [("IVA 0\xa0% (inversión del sujeto pasivo)", "0,00\xa0€"), ("Pagado", "266,77\xa0€")])
    assert all(note in part for part in parts(message))


def test_rates_with_a_fraction_keep_it_and_an_unknown_reason_falls_back_to_the_category(plugin, outbox):
    line = a_line(taxes=[a_tax("25.5", 100, reason="other_state_consumer"), a_tax("10", 200, "exempt", "a_plugins_own")])

    plugin().order_completed(bought(lines=[line]))

    [message] = outbox().values()
    assert_rows(message, [("VAT 25.5% (rate of your country)", "€1.00"), ("VAT 10% (exempt)", "€2.00")])


@pytest.mark.parametrize("locale", ["en", "es"])
def test_an_invoice_on_terms_says_until_when_it_is_to_be_paid(plugin, outbox, locale):
    event = bought(locale, purchase_order="PO-77", payment=an_order()["payment"] | {"method": None, "provider": "invoice_terms"})
    event.data["invoice"] = an_invoice(status="open", due_on="2026-04-10")

    plugin().order_completed(event)

    [message] = outbox().values()
    rows = {
        "en": [("To be paid by April 10, 2026", "€300.00"), ("Due on", "April 10, 2026"), ("Your purchase order", "PO-77")],
        "es": [
            ("A pagar hasta el 10 de abril de 2026", "300,00\xa0€"),
            ("Vencimiento", "10 de abril de 2026"),
            ("Su orden de compra", "PO-77"),
        ],
    }
    assert_rows(message, rows[locale])
    assert not {"Paid", "Pagado", "Visa"} & set(parts(message)[0].replace(":", "").split())


@pytest.mark.parametrize(
    ("locale", "subject", "absent"),
    [
        ("en", "Your subscription goes on, invoice 2026-000001", "Assign seats"),
        ("es", "Su suscripción continúa, factura 2026-000001", "Asignar"),
    ],
)
def test_a_renewal_says_that_it_goes_on_and_names_its_invoice_but_no_first_steps(plugin, outbox, locale, subject, absent):
    plugin(account_url="https://shop.example/seats").order_completed(bought(locale, kind="renewal", lines=[a_line(mode="renewal")]))

    [message] = outbox().values()
    assert message["Subject"] == subject
    assert_rows(message, PURCHASE_ROWS[locale])
    assert [part for part in parts(message) if absent in part or "https://shop.example/seats" in part] == []


def fell_past_due(locale="en", order=None):
    """Five seats, of which nobody has paid the next month."""
    due = {"status": "past_due", "trial_end": None, "next_charge": {"date": "2026-04-11", "amount": eur(36300)}}
    return news("subscription.past_due", subscription=a_trial(**due), account=an_account(locale), order=order)


@pytest.mark.parametrize(
    ("locale", "subject", "row", "what"),
    [
        ("en", "A payment method is missing for Webinar", ("Due since April 11, 2026", "€363.00"), "Store another payment method"),
        ("es", "Falta una forma de pago para Webinar", ("Pendiente desde el 11 de abril de 2026", "363,00\xa0€"), "Guarde otra forma"),
    ],
)
def test_who_has_no_method_is_told_what_is_due_and_what_to_do(plugin, outbox, locale, subject, row, what):
    plugin().subscription_past_due(fell_past_due(locale))

    [message] = outbox().values()
    assert (message["Subject"], message["To"]) == (subject, "billing@acme.example")
    assert_rows(message, [row])
    assert all(what in part for part in parts(message))


def unpaid(**changes):
    """How it stands with five seats of which nobody has paid the next month, from a day's first minute in Madrid on."""
    kept = {"since": "2026-04-10T22:00:30.000Z", "attempts": 1, "next_try": "2026-04-11T22:00:30.000Z"}
    ends = {"ends_at": "2026-04-17T22:00:30.000Z", "then": "cancel", "access_until": None}
    due = {"status": "past_due", "trial_end": None, "next_charge": {"date": "2026-04-11", "amount": eur(36300)}}
    return a_trial(**due, past_due={**kept, **ends, **changes})


def refused_again(locale="en", **changes):
    event = was_declined(locale)
    order = {**event.data["order"], "kind": "renewal"}
    return replace(event, data={**event.data, "order": order, "subscriptions": [unpaid(**changes)]})


NEXT = {
    "en": {
        "again": "The stored payment method is charged again on April 12, 2026.",
        "never": "This payment method is not charged again.",
        "ends": "If nothing has been paid by April 18, 2026, your subscription ends.",
        "pauses": "If nothing has been paid by April 18, 2026, your subscription is paused.",
        "works": "Until then the product can be used as before.",
        "until": "The product can be used until April 14, 2026.",
        "shut": "The product can't be used until it is paid.",
    },
    "es": {
        "again": "El 12 de abril de 2026 volveremos a cargarlo en la forma de pago guardada.",
        "never": "No volveremos a usar esta forma de pago.",
        "ends": "Si el 18 de abril de 2026 sigue sin pagarse, su suscripción terminará.",
        "pauses": "Si el 18 de abril de 2026 sigue sin pagarse, su suscripción quedará en pausa.",
        "works": "Hasta entonces puede usar el producto como siempre.",
        "until": "El producto se puede usar hasta el 14 de abril de 2026.",
        "shut": "El producto no se puede usar hasta que se pague.",
    },
}


@pytest.mark.parametrize("locale", NEXT)
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, {"again", "ends", "works"}),
        ({"next_try": None}, {"never", "ends", "works"}),
        ({"then": "pause"}, {"again", "pauses", "works"}),
        ({"ends_at": None, "then": None}, {"again", "works"}),
        ({"access_until": "2026-04-13T22:00:30.000Z"}, {"again", "ends", "until"}),
        ({"access_until": "2026-04-10T22:00:30.000Z"}, {"again", "ends", "shut"}),
    ],
)
def test_whose_renewal_was_refused_is_told_what_happens_next(plugin, outbox, locale, changes, said):
    plugin().payment_failed(refused_again(locale, **changes))

    [message] = outbox().values()
    for part in parts(message):
        assert {name for name, sentence in NEXT[locale].items() if sentence in part} == said


def test_who_has_no_method_is_not_told_that_one_is_charged_again(plugin, outbox):
    event = fell_past_due()
    event.data["subscription"] = unpaid(next_try=None)

    plugin().subscription_past_due(event)

    [message] = outbox().values()
    for part in parts(message):
        assert {name for name, sentence in NEXT["en"].items() if sentence in part} == {"ends", "works"}


@pytest.mark.parametrize(
    ("locale", "then", "subject", "row"),
    [
        ("en", "cancel", "Last reminder: Webinar ends on April 18, 2026", ("Due since April 11, 2026", "€363.00")),
        ("en", "pause", "Last reminder: Webinar is paused on April 18, 2026", ("Due since April 11, 2026", "€363.00")),
        ("es", "cancel", "Último aviso: Webinar terminará el 18 de abril de 2026", ("Plan", "Starter")),
        ("es", "pause", "Último aviso: Webinar quedará en pausa el 18 de abril de 2026", ("Puestos", "5")),
    ],
)
def test_the_last_warning_says_when_it_ends_and_what_is_due(plugin, outbox, locale, then, subject, row):
    plugin().past_due_ending(news("past_due.ending", subscription=unpaid(then=then), account=an_account(locale)))

    [message] = outbox().values()
    assert (message["Subject"], message["To"]) == (subject, "billing@acme.example")
    assert_rows(message, [row])


@pytest.mark.parametrize(
    ("locale", "subject", "row", "said"),
    [
        ("en", "Webinar has ended", ("Paid up to and including", "March 17, 2026"), "Nothing more is charged"),
        ("es", "Webinar ha terminado", ("Pagado hasta el final del", "17 de marzo de 2026"), "No se cobrará nada más"),
    ],
)
def test_what_ended_unpaid_is_told_and_what_was_cancelled_is_not(plugin, outbox, locale, subject, row, said):
    ended = {"subscription": a_trial(status="cancelled", past_due=None), "account": an_account(locale)}
    plugin().subscription_cancelled(news("subscription.cancelled", "evt_2", **ended, cause=None))
    plugin().subscription_cancelled(news("subscription.cancelled", "evt_3", **ended))
    assert outbox() == {}

    plugin().subscription_cancelled(news("subscription.cancelled", **ended, cause="unpaid"))

    [message] = outbox().values()
    assert message["Subject"] == subject
    assert_rows(message, [row])
    assert all(said in part for part in parts(message))


def test_who_still_owes_for_a_change_is_not_told_that_nothing_more_is_charged(plugin, outbox):
    ended = a_trial(status="cancelled", past_due=None, put_off=eur(1200))

    plugin().subscription_cancelled(news("subscription.cancelled", subscription=ended, account=an_account(), cause="unpaid"))

    [message] = outbox().values()
    assert not any("Nothing more is charged" in part for part in parts(message))


@pytest.mark.parametrize(
    ("locale", "subject", "rows"),
    [
        (
            "en",
            "Webinar is paid, thank you",
            [("Paid up to and including", "May 10, 2026"), ("Next charge on May 11, 2026", "€363.00")],
        ),
        (
            "es",
            "Webinar está pagado, gracias",
            [("Pagado hasta el final del", "10 de mayo de 2026"), ("Próximo cargo el 11 de mayo de 2026", "363,00\xa0€")],
        ),
    ],
)
def test_who_has_paid_what_was_due_is_told_that_all_is_well(plugin, outbox, locale, subject, rows):
    goes_on = {"current_period": {"start": "2026-04-11", "end": "2026-05-11"}, "next_charge": {"date": "2026-05-11", "amount": eur(36300)}}
    paid = a_trial(status="active", trial_end=None, past_due=None, **goes_on)

    plugin().subscription_recovered(news("subscription.recovered", subscription=paid, account=an_account(locale), order=an_order(locale)))

    [message] = outbox().values()
    assert (message["Subject"], message["To"]) == (subject, "billing@acme.example")
    assert_rows(message, rows)


FIRST_CHARGE = {"date": "2026-03-18", "amount": eur(36300)}


@pytest.mark.parametrize(
    ("locale", "charge", "subject", "said"),
    [
        ("en", FIRST_CHARGE, "Your trial of Webinar ends soon", "cancel until the end of March 17, 2026, and nothing is charged"),
        ("en", None, "Your trial of Webinar ends soon", "until the end of March 17, 2026. Then it is over; nothing is charged."),
        ("es", FIRST_CHARGE, "Su prueba de Webinar termina pronto", "cancele antes del final del 17 de marzo de 2026 y no se cobrará nada"),
        ("es", None, "Su prueba de Webinar termina pronto", "hasta el final del 17 de marzo de 2026. Después se acaba; no se cobra nada."),
    ],
)
def test_before_a_trial_ends_its_account_is_told_what_comes_and_how_to_get_out(plugin, outbox, locale, charge, subject, said):
    plugin().trial_ending(news("trial.ending", subscription=a_trial(next_charge=charge), account=an_account(locale)))

    [message] = outbox().values()
    assert (message["Subject"], message["To"]) == (subject, "billing@acme.example")
    for part in parts(message):
        assert said in part
        assert ("363" in part) == bool(charge)


@pytest.mark.parametrize(
    ("locale", "subject", "row", "said"),
    [
        (
            "en",
            "Webinar is renewed on March 11, 2027",
            ("Next charge on March 11, 2027", "€363.00"),
            "cancel until the end of March 10, 2027",
        ),
        (
            "es",
            "Webinar se renueva el 11 de marzo de 2027",
            ("Próximo cargo el 11 de marzo de 2027", "363,00\xa0€"),
            "cancele antes del final del 10 de marzo de 2027",
        ),
    ],
)
def test_before_a_year_is_renewed_its_account_is_told_what_it_costs_and_how_to_get_out(plugin, outbox, locale, subject, row, said):
    yearly = a_trial(status="active", interval="year", trial_end=None, next_charge={"date": "2027-03-11", "amount": eur(36300)})

    plugin().renewal_coming(news("renewal.coming", subscription=yearly, account=an_account(locale)))

    [message] = outbox().values()
    assert (message["Subject"], message["To"]) == (subject, "billing@acme.example")
    assert_rows(message, [row])
    assert all(said in part for part in parts(message))


@pytest.mark.parametrize(
    ("locale", "subject", "rows"),
    [
        ("en", "Your free trial of Webinar lasts longer", [("Last day", "March 31, 2026")]),
        ("es", "Su prueba gratuita de Webinar dura más", [("Último día", "31 de marzo de 2026")]),
    ],
)
def test_whose_trial_is_extended_is_told_until_when(plugin, outbox, locale, subject, rows):
    longer = a_trial(trial_end="2026-04-01", next_charge=None)
    plugin().trial_extended(news("trial.extended", subscription=longer, account=an_account(locale), before={"trial_end": "2026-03-18"}))

    [message] = outbox().values()
    assert (message["Subject"], message["To"]) == (subject, "billing@acme.example")
    assert_rows(message, rows)


def paused(locale="en", ended_on=None):
    pause = {"paused_on": "2026-04-11", "ended_on": ended_on, "days_left": 21, "reason": None}
    charge = {"date": "2026-06-01", "amount": eur(36300)} if ended_on else None
    subscription = a_trial(status="active" if ended_on else "paused", trial_end=None, next_charge=charge)
    kind = "subscription.resumed" if ended_on else "subscription.paused"
    return news(kind, subscription=subscription, account=an_account(locale), pause=pause)


@pytest.mark.parametrize(
    ("locale", "subject", "rows"),
    [
        ("en", "Your subscription to Webinar is paused", [("Paused since", "April 11, 2026"), ("Days that are kept", "21")]),
        ("es", "Su suscripción a Webinar está en pausa", [("En pausa desde", "11 de abril de 2026"), ("Días que se conservan", "21")]),
    ],
)
def test_a_pause_says_since_when_and_what_is_kept(plugin, outbox, locale, subject, rows):
    plugin().subscription_paused(paused(locale))

    [message] = outbox().values()
    assert (message["Subject"], message["To"]) == (subject, "billing@acme.example")
    assert_rows(message, rows)


@pytest.mark.parametrize(
    ("locale", "row", "said"),
    [
        ("en", ("Paid up to and including", "March 17, 2026"), "store another payment method and resume the subscription"),
        ("es", ("Pagado hasta el final del", "17 de marzo de 2026"), "guarde otra forma de pago y reanude la suscripción"),
    ],
)
def test_a_pause_for_want_of_payment_says_why_and_how_to_go_on(plugin, outbox, locale, row, said):
    event = paused(locale)

    plugin().subscription_paused(replace(event, data={**event.data, "cause": "unpaid"}))

    [message] = outbox().values()
    assert_rows(message, [row])
    assert all(said in part for part in parts(message))


@pytest.mark.parametrize(
    ("locale", "subject", "rows"),
    [
        ("en", "Your subscription to Webinar goes on", [("Resumed on", "May 11, 2026"), ("Next charge on June 1, 2026", "€363.00")]),
        ("es", "Su suscripción a Webinar continúa", [("Próximo cargo el 1 de junio de 2026", "363,00\xa0€")]),
    ],
)
def test_what_goes_on_says_what_is_charged_next(plugin, outbox, locale, subject, rows):
    plugin().subscription_resumed(paused(locale, ended_on="2026-05-11"))

    [message] = outbox().values()
    assert (message["Subject"], message["To"]) == (subject, "billing@acme.example")
    assert_rows(message, rows)


def expiring(locale="en", **method):
    method = {"id": "pm_1", "provider": "sandbox", "brand": "visa", "last4": "4242", "expires": "2026-04", "default": True, **method}
    return news("payment_method.expiring", payment_method=method, valid_until="2026-04-30", account=an_account(locale))


@pytest.mark.parametrize(
    ("locale", "subject", "until", "what"),
    [
        ("en", "Your card ending in 4242 expires soon", "April 30, 2026", "Renewals are charged to it"),
        ("es", "Su tarjeta terminada en 4242 caduca pronto", "30 de abril de 2026", "Las renovaciones se cobran"),
    ],
)
def test_whose_card_expires_is_told_until_when_it_can_be_charged(plugin, outbox, locale, subject, until, what):
    plugin().payment_method_expiring(expiring(locale))

    [message] = outbox().values()
    assert (message["Subject"], message["To"]) == (subject, "billing@acme.example")
    assert all(until in part and what in part for part in parts(message))


def test_a_card_that_nothing_is_charged_to_is_not_said_to_be_needed(plugin, outbox):
    plugin().payment_method_expiring(expiring(default=False))

    [message] = outbox().values()
    assert not any("Renewals are charged to it" in part for part in parts(message))


def test_whose_method_was_refused_is_told_once_and_why(plugin, outbox):
    order = an_order(kind="renewal", lines=[a_line(mode="renewal")])
    payment = {**order["payment"], "status": "declined", "error": {"code": "expired_card", "retryable": False, "provider_code": None}}
    refused = news("payment.failed", "evt_2", order=order, account=an_account(), payment=payment)

    plugin().subscription_past_due(fell_past_due(order=order))
    plugin().payment_failed(refused)

    [message] = outbox().values()
    for part in parts(message):
        assert "The card has expired." in part and "what is due is charged to it at once" in part


def test_an_order_that_charged_nothing_is_confirmed_without_invoice(plugin, outbox):
    event = bought(payment=None, invoice=None, due_now=eur(0))
    event.data["invoice"] = None

    plugin().order_completed(event)

    [message] = outbox().values()
    assert message["Subject"] == "Your order is confirmed"
    assert_rows(message, [("Paid", "€0.00")])
    assert "Invoice" not in parts(message)[0]


def test_a_trial_that_goes_on_says_what_it_will_cost(plugin, outbox):
    plugin().trial_started(began_trial(next_charge={"date": "2026-03-18", "amount": eur(7260)}))

    assert_rows(outbox()["evt_1-trial_confirmation.eml"], [("First charge on March 18, 2026, unless you cancel before", "€72.60")])


# --- declines


@pytest.mark.parametrize("locale", ["en", "es"])
def test_every_decline_code_has_its_own_reason_and_advice(plugin, outbox, locale):
    email = plugin()

    for code in DECLINES:
        email.payment_failed(replace(was_declined(locale, code), id=code))

    said = {name: parts(message)[0].split("Remote Support")[0] for name, message in outbox().items()}
    assert set(said) == {f"{code}-payment_failed.eml" for code in DECLINES}
    assert len(set(said.values())) == len(DECLINES)


def test_a_suspicion_is_never_spelled_out(plugin, outbox):
    plugin().payment_failed(was_declined(code="fraud_suspected"))

    [message] = outbox().values()
    for part in parts(message):
        assert "An automatic check stopped the payment as a precaution. That can happen to anybody." in part
        assert "fraud" not in part.lower()


@pytest.mark.parametrize("code", [None, "a_code_of_tomorrow"])
def test_a_decline_without_a_known_code_is_a_technical_problem(plugin, outbox, code):
    plugin().payment_failed(was_declined(code=code))

    [message] = outbox().values()
    assert all("There was a technical problem with the payment. It is not your fault." in part for part in parts(message))


# --- languages


@pytest.mark.parametrize(
    ("tag", "chosen"),
    [
        ("en", "en"),
        ("en-GB", "en_GB"),
        ("es", "es"),
        ("es-MX", "es_MX"),
        ("es-XX", "es"),
        ("fr", "en"),
        ("ca-ES", "en"),
        ("", "en"),
        ("../es", "en"),
    ],
)
def test_the_locale_is_the_accounts_or_else_english(tag, chosen):
    assert str(choose_locale(tag, {"en", "es"})) == chosen


def test_a_locale_writes_its_own_figures_in_its_language(plugin, outbox):
    plugin().order_completed(bought("es-MX"))

    [message] = outbox().values()
    assert_rows(message, [("Base imponible", "EUR266.77"), ("Fecha de emisión", "11 de marzo de 2026")])


def test_every_sentence_of_the_templates_is_translated_and_no_translation_is_left_over():
    options = {"**.j2": {"silent": "false"}}
    found = extract_from_dir(TEMPLATES, [("**.j2", "jinja2")], options, keywords={"_": None, "ngettext": (1, 2)})
    sentences = {message for _, _, message, _, _ in found}

    for file in TEMPLATES.glob("*.po"):
        catalogue = [message for message in read_po(file.open("rb")) if message.id]
        assert {message.id for message in catalogue} == sentences
        assert [message.id for message in catalogue if message.fuzzy or not message.string or not all(message.string)] == []
        assert [error for message in catalogue for error in message.check()] == []


def test_an_integrator_replaces_templates_and_adds_a_language(plugin, outbox, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "seat_assigned.j2").write_text("{% set subject = _('A seat') %}{{ _('A seat') }} & {{ user.name }}")
    (own / "fr.po").write_text('msgid "A seat"\nmsgstr "Une place"\n\nmsgid "Welcome to %(product)s"\nmsgstr "Bienvenue"\n')

    email = plugin(templates=str(own))
    email.seat_assigned(got_seat("fr", name="<Ana>"))
    email.trial_started(began_trial("fr"))

    assert outbox()["evt_1-seat_assigned.eml"]["Subject"] == "Une place"
    text, page = outbox()["evt_1-seat_assigned.eml"].iter_parts()
    assert (text.get_content(), page.get_content()) == ("Une place & <Ana>\r\n", "Une place & &lt;Ana&gt;\r\n")
    assert parts(outbox()["evt_1-welcome.eml"])[0].startswith("Bienvenue Your trial")  # ours, with what is translated


# --- hostile and missing data


class TestHostileNames:
    NAME: ClassVar = "Évil 🚀\r\nBcc: victim@example.com\r\n\r\n<script>alert(1)</script>\u202e\ud800"

    def test_a_name_can_neither_add_headers_nor_markup(self, plugin, serve, mailbox):
        event = got_seat(name=self.NAME)
        event.data["subscription"]["product_name"] = self.NAME

        plugin(smtp_host="localhost", smtp_port=serve()).seat_assigned(event)

        [(recipients, message)] = mailbox.messages
        one_line = "Évil 🚀 Bcc: victim@example.com <script>alert(1)</script>"
        assert recipients == ["ana@acme.example"]
        assert message["Subject"] == f"You have a seat in {one_line}"
        assert message["Bcc"] is None
        text, page = message.iter_parts()
        assert f"Hello {one_line}, you can use" in text.get_content()
        assert "<script>" not in page.get_content()
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.get_content()

    @pytest.mark.parametrize("address", ["a@b.example\r\nBcc: victim@example.com", "a@b.example, victim@example.com", "nobody", ""])
    def test_an_address_that_is_not_exactly_one_is_refused(self, plugin, serve, mailbox, address):
        with pytest.raises(ValueError):
            plugin(smtp_host="localhost", smtp_port=serve()).seat_assigned(got_seat(email=address))
        assert mailbox.messages == []

    def test_an_address_with_accents_is_written_to_as_it_is(self, plugin, serve, mailbox):
        port = serve(enable_SMTPUTF8=True)

        plugin(smtp_host="localhost", smtp_port=port).seat_assigned(got_seat(email="josé@acme.example"))

        [(recipients, _)] = mailbox.messages
        assert recipients == ["josé@acme.example"]

    def test_right_to_left_names_stand_apart_from_the_figures_beside_them(self):
        assert harmless({"names": ["\u202eאבג", "Acme"], "seats": 3}) == {"names": ["\u2068אבג\u2069", "Acme"], "seats": 3}


@pytest.mark.parametrize(
    ("event", "lost"),
    [
        (bought, ("order", "due_now")),
        (bought, ("invoice", "number")),
        (began_trial, ("subscription", "trial_end")),
        (was_declined, ("payment", "amount")),
        (got_seat, ("user", "name")),
    ],
)
def test_a_snapshot_that_lacks_something_raises_and_sends_nothing(plugin, outbox, event, lost):
    incomplete = event()
    del incomplete.data[lost[0]][lost[1]]

    with pytest.raises(UndefinedError, match=lost[1]):
        getattr(plugin(), incomplete.type.replace(".", "_"))(incomplete)
    assert outbox() == {}


# --- settings


def test_the_link_to_the_account_page_appears_where_it_is_set(plugin, outbox):
    plugin(account_url="https://shop.example/account").trial_started(began_trial())

    text, page = outbox()["evt_1-welcome.eml"].iter_parts()
    assert "Assign seats: https://shop.example/account\r\n" in text.get_content()
    assert '<a href="https://shop.example/account"' in page.get_content()


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"sender": "Puesto"}, {"sender": ["write it like Puesto <billing@puesto.example>"]}),
        ({"sender": "Puesto <billing>"}, {"sender": ["write it like Puesto <billing@puesto.example>"]}),
        ({"templates": "/nowhere"}, {"templates": ["there is no such folder"]}),
        ({"smtp_user": "puesto"}, {"smtp_user": ["smtp_user and smtp_password go together"]}),
        ({"smtp_password": "hunter2"}, {"smtp_password": ["write a secret as env:NAME or file:/path, never its value"]}),
    ],
)
def test_wrong_settings_are_refused_at_the_start(settings, problem):
    with pytest.raises(ValidationError) as refused:
        EmailNotifications.settings_schema().load(settings)

    assert refused.value.messages == problem


def test_the_plugin_fits_the_hooks_it_implements(plugin):
    plugins = Plugins()

    plugins.register("email", plugin())
    plugins.finish()

    news = ("credit_note_issued", "order_completed", "past_due_ending", "payment_failed", "payment_method_expiring", "register_tables")
    news += ("renewal_coming", "seat_assigned", "subscription_cancelled", "subscription_past_due", "subscription_paused")
    news += ("subscription_recovered", "subscription_resumed", "trial_ending", "trial_extended", "trial_started")
    assert plugins.hooks_of("email") == news
