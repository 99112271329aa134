"""E-mail: purchases, trials, failed payments and assigned seats, as text and HTML, in the account's language."""

from __future__ import annotations

import os
import re
import smtplib
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import parseaddr
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import peewee
from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from plugins.notifications.rendering import Renderer
from puesto import Event, InstantField, PluginContext, PluginFailed, Row, SecretField, Tables, hookimpl

# Seconds per step of the conversation; a hook has 60 for all of them.
SMTP_TIMEOUT = 20
# Every server takes seven bits, and a file looks like what went over the wire.
WIRE = policy.SMTP.clone(cte_type="7bit")
# No quoting, no list, no comment: what a person types as an address.
ADDRESS = re.compile(r"""[^\s@<>()\[\],;:\\"]+@[^\s@<>()\[\],;:\\"]+""")
# The document that a kind of message brings along, as the event names it.
ATTACHED = {"purchase_confirmation": "invoice", "credit_note": "credit_note"}
Deliver = Callable[[EmailMessage, str], None]


def one_address(value: str, name: str = "") -> Address:
    """`value` as exactly one address, accents allowed. Raises ValueError for anything else, line breaks above all."""
    if not ADDRESS.fullmatch(value):
        raise ValueError("not exactly one e-mail address")
    user, domain = value.split("@")
    return Address(name, user, domain)


def parse_sender(value: str) -> Address:
    """`Puesto <billing@puesto.example>` as an address. Raises ValidationError for anything else."""
    name, address = parseaddr(value)
    try:
        return one_address(address, name)
    except ValueError:
        raise ValidationError("write it like Puesto <billing@puesto.example>") from None


def check_folder(value: str) -> None:
    """Raises ValidationError where there is no such folder."""
    if not Path(value).is_dir():
        raise ValidationError("there is no such folder")


class EmailSettings(Schema):
    """Messages go to a server where `smtp_host` is set, else into files in `folder` (default: `outbox` in the plugin's data folder).

    templates:   a folder whose files stand in for the bundled ones of the same name; `fr.po` there adds French.
    account_url: the page where buyers manage seats and payment, linked from the messages where it is set.
    """

    sender = fields.String(load_default="Puesto <billing@puesto.example>", validate=parse_sender)
    account_url = fields.Url(load_default=None, require_tld=False)
    templates = fields.String(load_default=None, validate=check_folder)
    folder = fields.String(load_default=None)
    smtp_host = fields.String(load_default=None)
    smtp_port = fields.Integer(load_default=25, validate=validate.Range(1, 65535))
    smtp_user = fields.String(load_default=None)
    smtp_password = SecretField(load_default=None)
    smtp_starttls = fields.Boolean(load_default=False)

    @validates_schema
    def _check_login(self, data: Mapping[str, Any], **kwargs: Any) -> None:
        if (data["smtp_user"] is None) != (data["smtp_password"] is None):
            raise ValidationError("smtp_user and smtp_password go together", "smtp_user")


class SentMessage(Row):
    """A message of an event that was handed over to the server or the folder."""

    event = peewee.CharField(max_length=40)
    kind = peewee.CharField(max_length=40)
    account = peewee.CharField(max_length=40)
    recipient = peewee.CharField(max_length=254)
    sent_at = InstantField()

    class Meta:
        table_name = "email_message"
        indexes = ((("event", "kind"), True),)


class EmailNotifications:
    """Sends on news of orders and subscriptions. Whatever fails is raised, so that the event is delivered again later.

    What was handed over is remembered and not sent again. At least once stays the promise: what is lost between the two is sent
    twice, with the same Message-ID both times.
    """

    settings_schema = EmailSettings

    def __init__(self, context: PluginContext) -> None:
        settings, self._context = context.settings, context
        self._sender = parse_sender(settings["sender"])
        self._renderer = Renderer(settings["templates"], seller=self._sender.display_name, account_url=settings["account_url"])
        if settings["smtp_host"]:
            self._deliver = to_server(settings)
        else:
            self._deliver = to_folder(Path(settings["folder"] or context.data_dir / "outbox"))

    @hookimpl
    def register_tables(self) -> Tables:
        return Tables(models=(SentMessage,), migrations=Path(__file__).parent / "email_migrations")

    @hookimpl
    def order_completed(self, event: Event) -> None:
        """Confirm a purchase or a renewal. An order of trials alone is confirmed by `trial_started`."""
        if any(line["mode"] != "trial" for line in event.data["order"]["lines"]):
            self._send(event, "purchase_confirmation", event.data["account"])

    @hookimpl
    def trial_started(self, event: Event) -> None:
        """Two messages: what was agreed, and how to start."""
        self._send(event, "trial_confirmation", event.data["account"])
        self._send(event, "welcome", event.data["account"])

    @hookimpl
    def trial_ending(self, event: Event) -> None:
        """Say what comes then, what it costs, and until when it can be cancelled."""
        self._send(event, "trial_ending", event.data["account"])

    @hookimpl
    def renewal_coming(self, event: Event) -> None:
        """Say when, how much, and until when it can be cancelled."""
        self._send(event, "renewal_coming", event.data["account"])

    @hookimpl
    def trial_extended(self, event: Event) -> None:
        """Say until when it lasts now."""
        self._send(event, "trial_extended", event.data["account"])

    @hookimpl
    def payment_failed(self, event: Event) -> None:
        """Say why, in plain words, and what to do."""
        self._send(event, "payment_failed", event.data["account"])

    @hookimpl
    def credit_note_issued(self, event: Event) -> None:
        """Tell what goes back, need not be paid any more, or is there for later orders."""
        self._send(event, "credit_note", event.data["account"])

    @hookimpl
    def subscription_past_due(self, event: Event) -> None:
        """Where a payment was refused `payment_failed` says so: this is for who has no method."""
        if event.data["order"] is None:
            self._send(event, "past_due", event.data["account"])

    @hookimpl
    def past_due_ending(self, event: Event) -> None:
        """The last warning."""
        self._send(event, "past_due_ending", event.data["account"])

    @hookimpl
    def subscription_recovered(self, event: Event) -> None:
        """Whoever was worried is not any more."""
        self._send(event, "recovered", event.data["account"])

    @hookimpl
    def subscription_cancelled(self, event: Event) -> None:
        """Who has cancelled knows it: this is for what ended unpaid."""
        if event.data.get("cause") == "unpaid":
            self._send(event, "ended_unpaid", event.data["account"])

    @hookimpl
    def subscription_paused(self, event: Event) -> None:
        """Say since when, and what is kept; or why, where it was not asked for."""
        kind = "paused_unpaid" if event.data.get("cause") == "unpaid" else "subscription_paused"
        self._send(event, kind, event.data["account"])

    @hookimpl
    def subscription_resumed(self, event: Event) -> None:
        """Say what is charged next, and when."""
        self._send(event, "subscription_resumed", event.data["account"])

    @hookimpl
    def payment_method_expiring(self, event: Event) -> None:
        """Say until when, and what to do before."""
        self._send(event, "method_expiring", event.data["account"])

    @hookimpl
    def seat_assigned(self, event: Event) -> None:
        """Tell the user, not the account."""
        self._send(event, "seat_assigned", event.data["user"])

    def _send(self, event: Event, kind: str, recipient: Mapping[str, Any]) -> None:
        """Hand a message over, unless it was before, and remember it. Two at once both do; one of them remembers."""
        db = self._context.db
        if db.first(SentMessage.select().where(SentMessage.event == event.id, SentMessage.kind == kind)):
            return
        self._deliver(self._compose(event, kind, recipient["email"]), f"{event.id}-{kind}")
        sent = SentMessage(event=event.id, kind=kind, account=event.account, recipient=recipient["email"], sent_at=self._context.now())
        with suppress(peewee.IntegrityError):
            db.insert(sent)

    def _compose(self, event: Event, kind: str, recipient: str) -> EmailMessage:
        """Raises ValueError for a recipient that is not exactly one address."""
        # An order and its documents keep the locale it was placed in; seats, and what nobody can be charged for, have no order.
        locale = (event.data.get("order") or event.data.get("credit_note") or event.data["account"])["locale"]
        rendered = self._renderer.render(kind, locale, event.data)
        message = EmailMessage(policy=WIRE)
        message["Subject"] = rendered.subject
        message["From"] = self._sender
        # The bare address: a name that a stranger chose has no business in a header.
        message["To"] = one_address(recipient)
        message["Date"] = event.occurred_at
        message["Message-ID"] = f"<{event.id}.{kind}@{self._sender.domain}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(rendered.text)
        message.add_alternative(rendered.html, subtype="html")
        if document := event.data.get(ATTACHED.get(kind, "")):
            self._attach(message, document, locale)
        return message

    def _attach(self, message: EmailMessage, document: dict[str, Any], locale: str) -> None:
        """The document as a PDF, where a plugin prints it. One that fails, which is logged, does not keep back what has all figures."""
        with suppress(PluginFailed):
            pdf = self._context.hooks.render_invoice(document=document, locale=locale)
            if pdf is not None:
                message.add_attachment(pdf, maintype="application", subtype="pdf", filename=f"{document['number']}.pdf")


def to_folder(folder: Path) -> Deliver:
    """Each message becomes `<name>.eml`, whole or not at all; the same name again replaces it."""

    def deliver(message: EmailMessage, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(message.as_bytes())
        os.replace(file.name, folder / f"{name}.eml")

    return deliver


def to_server(settings: Mapping[str, Any]) -> Deliver:
    """Over SMTP, a connection per message. Raises OSError or smtplib.SMTPException where the server does not take it."""

    def deliver(message: EmailMessage, name: str) -> None:
        with smtplib.SMTP(settings["smtp_host"], settings["smtp_port"], timeout=SMTP_TIMEOUT) as server:
            if settings["smtp_starttls"]:
                server.starttls(context=ssl.create_default_context())
            if settings["smtp_user"]:
                server.login(settings["smtp_user"], settings["smtp_password"].reveal())
            server.send_message(message)

    return deliver
