"""The story of `puesto demo`, as clients, mail server and clock see it: a real server over HTTP, a real SMTP server."""

import time
from email import message_from_bytes, policy
from uuid import uuid4

import httpx
import pytest
from aiosmtpd.controller import Controller

from api.cli.running import free_port, run_puesto, running_server

SCOPES = "catalog:read,accounts,checkout,billing,staff"
FIVE_SEATS = {"mode": "buy", "plan": "gotomeeting-professional", "interval": "month", "seats": 5}


class Mailbox:
    def __init__(self):
        self.messages = []

    async def handle_DATA(self, server, session, envelope):
        self.messages.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"

    def wait_for(self, count):
        """What has come, once `count` messages are there: (to, subject), sorted."""
        deadline = time.monotonic() + 60
        while len(self.messages) < count and time.monotonic() < deadline:
            time.sleep(0.05)
        return sorted((message["To"], message["Subject"]) for message in self.messages)


class Shop:
    """A client of the running server."""

    def __init__(self, url, secret):
        self.http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=60)

    def call(self, method, path, status, json=None):
        answer = self.http.request(method, path, json=json, headers={"Idempotency-Key": uuid4().hex})
        assert answer.status_code == status, answer.text
        return answer.json()

    def account(self, **fields):
        return self.call("POST", "/v1/accounts", 201, fields)["id"]

    def review(self, account, line):
        cart = self.call("POST", "/v1/carts", 201, {"account": account, "lines": [line]})["id"]
        return cart, self.call("GET", f"/v1/carts/{cart}/quote", 200)

    def order(self, cart, quote, token=None, status=201):
        body = {"quote": quote["quote"]} | ({"payment": {"provider": "sandbox", "token": token}} if token else {})
        return self.call("POST", f"/v1/carts/{cart}/checkout", status, body)

    def entitlement(self, user, product):
        answer = self.call("GET", f"/v1/entitlements?user={user}&product={product}", 200)
        return answer["entitled"], answer["reason"]


def figures(quote):
    return [quote[name]["amount"] for name in ("net", "tax", "total", "due_now")]


@pytest.fixture(scope="module")
def mailbox():
    kept, port = Mailbox(), free_port()
    controller = Controller(kept, hostname="127.0.0.1", port=port)
    controller.start()
    kept.port = port
    yield kept
    controller.stop()


@pytest.fixture(scope="module")
def shop(tmp_path_factory, lasting_database_in, mailbox):
    folder = tmp_path_factory.mktemp("shop")
    settings = {
        "PUESTO_DATABASE": lasting_database_in(folder),
        "PUESTO_PLUGINS__EMAIL__SMTP_HOST": "127.0.0.1",
        "PUESTO_PLUGINS__EMAIL__SMTP_PORT": str(mailbox.port),
    }
    secret = run_puesto(folder, "keys", "create", "--name", "story", "--scopes", SCOPES, **settings).stdout.strip()
    with running_server(folder, **settings) as server:
        yield Shop(server.url, secret)


@pytest.mark.timeout(240)
def test_the_main_job(shop, mailbox):
    shop.call("POST", "/v1/test-clock", 200, {"now": "2050-03-01T12:00:00Z"})
    spanish = shop.account(name="Taller Rueda, S.L.", email="compras@rueda.example", country="ES", locale="es")

    # A trial of three seats costs nothing and asks for nothing.
    cart, quote = shop.review(spanish, {"mode": "trial", "plan": "gotoassist-standard", "seats": 3})
    assert (figures(quote), quote["payment_required"]) == ([0, 0, 0, 0], False)
    trial = shop.order(cart, quote)
    assert trial["status"] == "completed"

    # Five seats: 5 x 14.00, and 21 % VAT.
    cart, quote = shop.review(spanish, FIVE_SEATS)
    assert figures(quote) == [7000, 1470, 8470, 8470]
    bought = shop.order(cart, quote, "tok_ok")
    assert (bought["status"], bought["total"]["amount"]) == ("completed", 8470)
    [subscription] = bought["subscriptions"]

    # A German business: no VAT once its number is confirmed. Its first card is declined, and charged nothing.
    german = shop.account(name="Radwerk GmbH", email="einkauf@radwerk.example", country="DE")
    cart, quote = shop.review(german, FIVE_SEATS)
    assert (figures(quote), quote["lines"][0]["taxes"][0]["rate"]) == ([7000, 1330, 8330, 8330], "19")
    assert shop.call("PUT", f"/v1/accounts/{german}/tax-id", 200, {"value": "DE136695976"})["status"] == "valid"
    quote = shop.call("GET", f"/v1/carts/{cart}/quote", 200)
    assert (figures(quote), quote["lines"][0]["taxes"][0]["category"]) == ([7000, 0, 7000, 7000], "reverse_charge")
    declined = shop.order(cart, quote, "tok_card_declined", status=402)
    assert (declined["type"], declined["decline_code"]) == ("/problems/payment-declined", "card_declined")
    paid = shop.order(cart, quote, "tok_ok")
    [note] = shop.call("GET", f"/v1/invoices/{paid['invoice']}", 200)["notes"]
    assert note.startswith("Reverse charge")

    # Three seats more after ten of 31 days: 112.00 - 70.00 x 21/31 = 64.58; VAT 23.52 - 9.96.
    shop.call("POST", "/v1/test-clock", 200, {"now": "2050-03-11T12:00:00Z"})
    cart, quote = shop.review(spanish, {"mode": "change", "subscription": subscription, "seats": 8})
    [line] = quote["lines"]
    assert (line["credit"]["amount"], figures(quote)) == (4742, [6458, 1356, 7814, 7814])
    assert (line["period"], line["next_charge"]["date"]) == ({"start": "2050-03-11", "end": "2050-04-11"}, "2050-04-11")
    shop.order(cart, quote, "tok_ok")
    now = shop.call("GET", f"/v1/subscriptions/{subscription}", 200)
    assert (now["seats"], now["anchor_day"], now["next_charge"]["amount"]["amount"]) == (8, 11, 13552)

    # Eight of nine people get a seat.
    people = [
        shop.call("POST", f"/v1/accounts/{spanish}/users", 201, {"email": f"p{i}@rueda.example", "name": f"P{i}"})["id"] for i in range(9)
    ]
    shop.call("POST", f"/v1/subscriptions/{subscription}/seats", 200, {"users": people[:8]})
    refused = shop.call("PUT", f"/v1/subscriptions/{subscription}/seats/{people[8]}", 409)
    assert (refused["type"], refused["seats"]) == ("/problems/no-seat-left", 8)
    assert shop.entitlement(people[0], "gotomeeting") == (True, "seat_assigned")
    assert shop.entitlement(people[8], "gotomeeting") == (False, "no_seat")
    assert shop.entitlement(people[0], "gotoassist") == (False, "no_seat")

    # Everybody was told, in their language.
    invoices = [invoice["number"] for invoice in shop.call("GET", "/v1/invoices", 200)["data"]]
    assert invoices == ["2050-000003", "2050-000002", "2050-000001"]
    assert mailbox.wait_for(14) == sorted(
        [
            ("compras@rueda.example", "Su prueba gratuita de GoToAssist Asistencia remota ha comenzado"),
            ("compras@rueda.example", "Le damos la bienvenida a GoToAssist Asistencia remota: cómo empezar"),
            ("compras@rueda.example", "Su pedido está confirmado, factura 2050-000001"),
            ("compras@rueda.example", "Su pedido está confirmado, factura 2050-000003"),
            ("einkauf@radwerk.example", "Your payment did not go through"),
            ("einkauf@radwerk.example", "Your order is confirmed, invoice 2050-000002"),
            *((f"p{i}@rueda.example", "Tiene un puesto en GoToMeeting") for i in range(8)),
        ]
    )
