"""A customer's year, as the back office tells it over HTTP: what is charged, which documents and e-mails come of it, on which day.

Every amount is worked out by hand beside it.
"""

from email import message_from_bytes, policy

import pytest

from tests.conftest import Client


class Office:
    """The seller's back office, and the outbox that its customers' e-mails leave through."""

    def __init__(self, shop):
        self.client, self._shop, self._read = Client(shop), shop, set()

    def call(self, method, path, status, json=None):
        answer = self.client.send(method, f"/v1{path}", json)
        assert answer.status_code == status, answer.text
        return answer.json

    def on(self, day):
        """That day comes, at noon UTC, and all that falls due before has been done; the days on which something happened."""
        return [each["day"] for each in self.call("POST", "/test-clock", 200, {"now": f"{day}T12:00:00Z"})["days"]]

    def sign_up(self, name, email, **place):
        return self.call("POST", "/accounts", 201, {"name": name, "email": email, **place})["id"]

    def order(self, account, line, token=None, *, save=True):
        """Put into a cart, reviewed, and ordered as it was reviewed."""
        cart = self.call("POST", "/carts", 201, {"account": account, "lines": [line]})["id"]
        quote = self.call("GET", f"/carts/{cart}/quote", 200)
        payment = {"payment": {"provider": "sandbox", "token": token, "save": save}} if token else {}
        return self.call("POST", f"/carts/{cart}/checkout", 201, {"quote": quote["quote"], **payment})

    def store_card(self, account, token):
        self.call("POST", f"/accounts/{account}/payment-methods", 201, {"provider": "sandbox", "token": token})

    def subscription(self, subscription):
        """(status, plan, seats, first day, day after the last, what is charged next)"""
        found = self.call("GET", f"/subscriptions/{subscription}", 200)
        charge = found["next_charge"]
        return found["status"], found["plan"], found["seats"], *found["current_period"].values(), charge and charge["amount"]["amount"]

    def documents(self, account):
        """(number, day, status, lines as (kind, seats, first day, day after the last, net), tax, total), the oldest first."""
        found = self.call("GET", f"/invoices?account={account}&limit=100", 200)["data"]
        return [
            (
                each["number"],
                each["issued_on"],
                each["status"],
                [(line["kind"], line["seats"], *line["period"].values(), line["net"]["amount"]) for line in each["lines"]],
                each["tax"]["amount"],
                each["total"]["amount"],
            )
            for each in reversed(found)
        ]

    def new_mails(self):
        """(to, subject) of what has gone out since the last look."""
        self._shop.run()
        files = sorted(path for path in self._shop.engine.data_root.rglob("*.eml") if path not in self._read)
        self._read.update(files)
        mails = [message_from_bytes(path.read_bytes(), policy=policy.default) for path in files]
        return [(mail["To"], mail["Subject"]) for mail in mails]

    def charged(self):
        """What the bank has taken, the oldest first."""
        charges = self._shop.engine.providers["sandbox"].charges()
        return [charge.amount.amount for charge in charges if charge.status == "captured" and charge.amount]

    def given_back(self):
        return [charge.refunded.amount for charge in self._shop.engine.providers["sandbox"].charges() if charge.refunded]


@pytest.fixture
def office(shop):
    return Office(shop)


MADRID, DUBLIN = "compras@rueda.example", "accounts@liffey.example"


def test_a_workshop_in_madrid_grows_can_not_pay_and_shrinks(office):
    account = office.sign_up("Taller Rueda, S.L.", MADRID, country="ES", locale="es", time_zone="Europe/Madrid")

    # Five seats by the month: 5 x 14.00 = 70.00, and 21 % VAT: 14.70.
    order = office.order(account, {"mode": "buy", "plan": "gotomeeting-professional", "interval": "month", "seats": 5}, "tok_ok")
    [subscription] = order["subscriptions"]
    assert order["due_now"]["amount"] == 84_70
    assert office.new_mails() == [(MADRID, "Su pedido está confirmado, factura 2026-000001")]

    # Three more after 10 of 31 days. A new month for 8 x 14.00 = 112.00, less the rest of the old one, 70.00 x 21/31 = 47.42: 64.58.
    # VAT 23.52 - 9.96 = 13.56. From now on the 11th is the billing date.
    office.on("2026-03-11")
    order = office.order(account, {"mode": "change", "subscription": subscription, "seats": 8}, "tok_ok")
    assert order["due_now"]["amount"] == 78_14
    assert office.new_mails() == [(MADRID, "Su pedido está confirmado, factura 2026-000002")]

    # Another card is stored, which pays once. The renewal: 112.00 + 23.52 = 135.52.
    office.store_card(account, "tok_ok_then_declined")
    assert office.on("2026-04-20") == ["2026-04-11"]
    assert office.subscription(subscription) == ("active", "gotomeeting-professional", 8, "2026-04-11", "2026-05-11", 135_52)
    assert office.new_mails() == [(MADRID, "Su suscripción continúa, factura 2026-000003")]

    # Then it is refused, and again one and three days later. Nobody is locked out meanwhile.
    assert office.on("2026-05-15") == ["2026-05-11", "2026-05-12", "2026-05-14"]
    assert office.subscription(subscription) == ("past_due", "gotomeeting-professional", 8, "2026-04-11", "2026-05-11", 135_52)
    assert office.new_mails() == [(MADRID, "Su pago no se ha podido realizar")] * 3

    # A new card puts all right, for the days that were due.
    office.store_card(account, "tok_ok")
    assert office.on("2026-05-16") == ["2026-05-15"]
    assert office.subscription(subscription) == ("active", "gotomeeting-professional", 8, "2026-05-11", "2026-06-11", 135_52)
    assert office.new_mails() == [(MADRID, "Su suscripción continúa, factura 2026-000004"), (MADRID, "GoToMeeting está pagado, gracias")]

    # Fewer seats of a smaller plan, from the next period on: 4 x 9.00 = 36.00, and VAT 7.56.
    order = office.order(account, {"mode": "change", "subscription": subscription, "seats": 4, "plan": "gotomeeting-essentials"})
    assert (order["due_now"]["amount"], order["lines"][0]["next_charge"]["date"]) == (0, "2026-06-11")
    assert office.subscription(subscription) == ("active", "gotomeeting-professional", 8, "2026-05-11", "2026-06-11", 43_56)
    office.on("2026-06-12")
    assert office.new_mails() == [(MADRID, "Su pedido está confirmado"), (MADRID, "Su suscripción continúa, factura 2026-000005")]

    # Cancelled, it goes on to the end of what is paid for, and nothing more is charged.
    office.call("POST", f"/subscriptions/{subscription}/cancel", 200, {"at": "period_end"})
    assert office.on("2026-12-31") == ["2026-07-11"]
    assert office.subscription(subscription) == ("cancelled", "gotomeeting-essentials", 4, "2026-06-11", "2026-07-11", None)

    charge, credit = "charge", "credit"
    assert office.documents(account) == [
        ("2026-000001", "2026-03-01", "paid", [(charge, 5, "2026-03-01", "2026-04-01", 70_00)], 14_70, 84_70),
        (
            "2026-000002",
            "2026-03-11",
            "paid",
            [(charge, 8, "2026-03-11", "2026-04-11", 112_00), (credit, 5, "2026-03-11", "2026-04-01", -47_42)],
            13_56,
            78_14,
        ),
        ("2026-000003", "2026-04-11", "paid", [(charge, 8, "2026-04-11", "2026-05-11", 112_00)], 23_52, 135_52),
        ("2026-000004", "2026-05-15", "paid", [(charge, 8, "2026-05-11", "2026-06-11", 112_00)], 23_52, 135_52),
        ("2026-000005", "2026-06-11", "paid", [(charge, 4, "2026-06-11", "2026-07-11", 36_00)], 7_56, 43_56),
    ]
    assert office.charged() == [84_70, 78_14, 135_52, 135_52, 43_56]


def test_an_agency_in_dublin_tries_moves_to_a_year_and_leaves(office):
    account = office.sign_up("Liffey Design Ltd", DUBLIN, country="IE", locale="en", time_zone="Europe/Dublin")

    # A trial of 14 days, for which a card is stored. It will cost 2 x 14.00 = 28.00, and 23 % VAT: 6.44.
    order = office.order(account, {"mode": "trial", "plan": "gotomeeting-professional", "seats": 2}, "tok_ok")
    [subscription] = order["subscriptions"]
    assert office.subscription(subscription) == ("trialing", "gotomeeting-professional", 2, "2026-03-01", "2026-03-15", 34_44)
    assert office.new_mails() == [
        (DUBLIN, "Your free trial of GoToMeeting has begun"),
        (DUBLIN, "Welcome to GoToMeeting: how to start"),
    ]

    # They are told three days before it ends; then it goes on, paid.
    assert office.on("2026-03-16") == ["2026-03-12", "2026-03-15"]
    assert office.subscription(subscription) == ("active", "gotomeeting-professional", 2, "2026-03-15", "2026-04-15", 34_44)
    assert office.new_mails() == [
        (DUBLIN, "Your trial of GoToMeeting ends soon"),
        (DUBLIN, "Your subscription goes on, invoice 2026-000001"),
    ]

    # By the year instead, a day later: 2 x 140.00 = 280.00, less 28.00 x 30/31 = 27.10: 252.90. VAT 64.40 - 6.23 = 58.17.
    order = office.order(account, {"mode": "change", "subscription": subscription, "interval": "year"}, "tok_ok")
    assert order["due_now"]["amount"] == 311_07

    # A year is told of two weeks before it is renewed: 280.00, and VAT 64.40.
    assert office.on("2027-03-20") == ["2027-03-02", "2027-03-16"]
    assert office.new_mails() == [
        (DUBLIN, "Your order is confirmed, invoice 2026-000002"),
        (DUBLIN, "GoToMeeting is renewed on March 16, 2027"),
        (DUBLIN, "Your subscription goes on, invoice 2027-000001"),
    ]

    # They leave after 4 of its 366 days, and get the rest back: 280.00 x 362/366 = 276.94, and VAT 63.70.
    left = office.call("POST", f"/subscriptions/{subscription}/cancel", 200, {"at": "now", "unused": "refund"})["unused"]
    assert (left["policy"], left["net"]["amount"], left["tax"]["amount"]) == ("refund", 276_94, 63_70)
    assert office.on("2027-03-21") == ["2027-03-20"]
    assert office.subscription(subscription) == ("cancelled", "gotomeeting-professional", 2, "2027-03-16", "2028-03-16", None)
    assert office.new_mails() == [(DUBLIN, "Your refund, credit note CN-2027-000001")]

    charge, credit = "charge", "credit"
    assert office.documents(account) == [
        ("2026-000001", "2026-03-15", "paid", [(charge, 2, "2026-03-15", "2026-04-15", 28_00)], 6_44, 34_44),
        (
            "2026-000002",
            "2026-03-16",
            "paid",
            [(charge, 2, "2026-03-16", "2027-03-16", 280_00), (credit, 2, "2026-03-16", "2026-04-15", -27_10)],
            58_17,
            311_07,
        ),
        ("2027-000001", "2027-03-16", "paid", [(charge, 2, "2027-03-16", "2028-03-16", 280_00)], 64_40, 344_40),
        ("CN-2027-000001", "2027-03-20", "paid", [(credit, 2, "2027-03-16", "2028-03-16", -276_94)], -63_70, -340_64),
    ]
    assert office.charged() == [34_44, 311_07, 344_40]
    assert office.given_back() == [340_64]
