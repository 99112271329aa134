"""`puesto bank-transfer` beside a shop: an order, the statement that shows its money, and what that does to the invoice."""

import re
from datetime import timedelta
from email import message_from_bytes, policy
from uuid import uuid4

import pytest
from click.testing import CliRunner

from core.access import INTERNAL
from core.accounts import Account
from core.checkout import settle
from core.engine.idempotency import KeyedRequest
from core.invoices import Invoice, invoice_document, invoice_of
from core.orders import Order, order_document
from core.payment_webhooks import PaymentWebhookEvent
from core.payments import Payment, Refund
from core.payments import reference as as_reference
from core.refunds import refund_order
from core.stuck import stuck_cases
from plugins.payments.bank_transfer_matching import make_reference, show_reference
from puesto import eur
from tests.plugins.payments.transfers import ACCOUNT, SETTINGS, entry, statement

LINE = {"mode": "buy", "plan": "gotoassist-standard", "seats": 10, "interval": "month"}
OFFERED = {"bank_transfer": {**SETTINGS, "accounts": "all"}}


@pytest.fixture
def shop(open_shop):
    return open_shop(tables=OFFERED)


@pytest.fixture
def command(shop, tmp_path):
    """Runs a command of the plugin in this shop, and a round of work after it; what it said."""
    [group] = shop.engine.plugins.call_plugin("bank_transfer", "register_commands")

    def run(*arguments, exit_code=0):
        result = CliRunner().invoke(group, [str(argument) for argument in arguments])
        assert result.exit_code == exit_code, (result.output, result.exception)
        shop.run()
        return result.output

    return run


@pytest.fixture
def order(shop):
    return shop.order(shop.cart(LINE), provider="bank_transfer")


@pytest.fixture
def reference(order):
    return order["payment"]["instructions"]["reference"]


def total(order):
    """In the figures of a statement."""
    return f"{order['total']['amount'] / 100:.2f}"


def stands(shop, order):
    """Payment and invoice of an order, in short: what the buyer sees."""
    now, invoice = shop.engine.db.get(Order, order["id"]), invoice_of(shop.engine, order["id"])
    payment = order_document(shop.engine, now)["payment"]
    shown = invoice_document(shop.engine, invoice)
    due = payment["instructions"] and payment["instructions"]["amount"]["amount"]
    return payment["status"], payment["captured"]["amount"], due, shown["status"], shown["due"]["amount"]


def test_the_order_completes_at_once_and_says_how_to_pay(shop, order):
    payment = order["payment"]

    assert (order["status"], payment["status"], order["next_action"], order["purchase_order"]) == ("completed", "authorized", None, None)
    assert payment["instructions"] == {
        "account_name": "Acme, S.L.",
        "iban": "ES91 2100 0418 4502 0005 1332",
        "bic": "CAIXESBBXXX",
        "reference": show_reference(make_reference("1", payment["id"])),
        "amount": order["due_now"],
    }
    assert shop.engine.db.first(Invoice.select()).due_on.isoformat() == "2026-03-15"


def test_the_confirmation_by_e_mail_says_how_to_pay(shop, order, reference):
    shop.run()

    [path] = (shop.folder / "data" / "email" / "outbox").glob("*purchase_confirmation.eml")
    text = message_from_bytes(path.read_bytes(), policy=policy.default).get_body(("plain",)).get_content()
    told = re.search(r"How to pay\n-+\n(.*?)\n\n", text.replace("\r", ""), re.DOTALL)[1].strip().splitlines()
    assert told == [
        "Account holder: Acme, S.L.",
        "IBAN: ES91 2100 0418 4502 0005 1332",
        "BIC: CAIXESBBXXX",
        f"Payment reference: {reference}",
        f"Amount: €{total(order)}",
    ]


def test_a_statement_pays_the_invoice_once_however_often_it_is_imported(shop, command, order, reference, tmp_path):
    path = statement(tmp_path / "march.xml", entry(total(order), f"thanks {reference.lower()}", "1"), entry("-750.00", "rent", "2"))

    said = [command("import", path), command("import", path)]

    assert said == [f"{path}: 1 matched, 1 of others\n", f"{path}: 0 matched, 1 known already, 1 of others\n"]
    assert stands(shop, order) == ("captured", order["total"]["amount"], None, "paid", 0)
    assert [event.status for event in shop.engine.db.all(PaymentWebhookEvent.select())] == ["done"]


def test_what_nobody_could_match_is_listed_assigned_and_counts(shop, command, order, reference, tmp_path):
    path = statement(tmp_path / "march.xml", entry(total(order), "invoice of March", "1"))
    command("import", path)

    listed = command("unmatched")
    found = re.match(r"(bte_\w+)  2026-03-10  (\S+) EUR  Example GmbH  invoice of March  \(no reference of ours\)\n\Z", listed)
    said = command("assign", found[1], *reference.split())

    assert found[2] == total(order)
    assert said == f"{found[1]}: {total(order)} EUR counts for {order['payment']['id']}\n"
    assert stands(shop, order) == ("captured", order["total"]["amount"], None, "paid", 0)
    assert command("unmatched") == "nothing is unmatched\n"


def test_what_is_put_aside_is_not_listed_any_more(shop, command, order, tmp_path):
    command("import", statement(tmp_path / "march.xml", entry("5.00", "dividend", "1")))
    found = re.match(r"bte_\w+", command("unmatched"))[0]

    assert command("put-aside", found, "--reason", "dividend") == f"{found}: 5.00 EUR is put aside\n"
    assert command("unmatched") == "nothing is unmatched\n"
    assert stands(shop, order)[0] == "authorized"


# --- parts, returns, too much, and money that goes back


def give_back(shop, order, amount):
    """The refund, as it is once the provider was asked."""
    request = KeyedRequest(f"refund {order['id']}", uuid4().hex, b"")
    answer = refund_order(shop.engine, order["id"], INTERNAL, amount=amount, reason="goodwill", request=request)
    return shop.engine.db.get(Refund, answer.body["id"])


def pay(command, path, *entries):
    return command("import", statement(path, *entries))


def news(shop):
    """What subscribers heard of money on terms: event, amount, what the invoice says is due."""
    heard = shop.events("payment.received", "payment.returned")
    return [(each["type"], each["data"]["amount"]["amount"], each["data"]["invoice"]["due"]["amount"]) for each in heard]


def test_parts_leave_the_invoice_open_until_the_last(shop, command, order, reference, tmp_path):
    whole, half = order["total"]["amount"], order["total"]["amount"] // 2
    first, rest = f"{half / 100:.2f}", f"{(whole - half) / 100:.2f}"

    pay(command, tmp_path / "1.xml", entry(first, reference, "1"))
    between = stands(shop, order)
    pay(command, tmp_path / "2.xml", entry(first, reference, "1"), entry(rest, reference, "2"))

    assert between == ("partially_captured", half, whole - half, "open", whole - half)
    assert stands(shop, order) == ("captured", whole, None, "paid", 0)
    assert news(shop) == [("payment.received", half, whole - half), ("payment.received", whole - half, 0)]


def test_the_open_invoice_says_how_to_pay_what_is_due(shop, command, order, reference, tmp_path):
    pay(command, tmp_path / "1.xml", entry("1.00", reference, "1"))

    shown = invoice_document(shop.engine, invoice_of(shop.engine, order["id"]))

    assert shown["payment_instructions"]["reference"] == reference
    assert shown["payment_instructions"]["amount"] == shown["due"] == {"amount": order["total"]["amount"] - 100, "currency": "EUR"}


def test_money_that_the_bank_returned_opens_the_invoice_again(shop, command, order, reference, tmp_path):
    whole = order["total"]["amount"]
    pay(command, tmp_path / "1.xml", entry(total(order), reference, "1"))

    pay(command, tmp_path / "2.xml", entry(f"-{total(order)}", reference, "2", reversal=True))
    returned = stands(shop, order)
    pay(command, tmp_path / "3.xml", entry(total(order), reference, "3"))

    assert returned == ("authorized", 0, whole, "open", whole)
    assert stands(shop, order) == ("captured", whole, None, "paid", 0)
    assert news(shop) == [("payment.received", whole, 0), ("payment.returned", whole, whole), ("payment.received", whole, 0)]


def test_answers_in_the_wrong_order_are_put_right_by_the_next_round(shop, command, order, reference, tmp_path):
    provider, payment = shop.engine.providers["bank_transfer"], shop.engine.db.get(Payment, order["payment"]["id"])
    pay(command, tmp_path / "1.xml", entry(total(order), reference, "1"))
    stale = provider.retrieve_payment(as_reference(payment))
    pay(command, tmp_path / "2.xml", entry(f"-{total(order)}", reference, "2", reversal=True))

    settle(shop.engine, payment, stale)
    wrong = stands(shop, order)[0]
    shop.clock.move_to(shop.clock.now() + timedelta(minutes=1))
    shop.run()

    assert (wrong, stands(shop, order)[0]) == ("captured", "authorized")
    shop.clock.move_to(shop.clock.now() + timedelta(minutes=1))
    shop.run()
    assert shop.refresh(payment).ask_at is None


def test_more_than_was_owed_is_a_stuck_case_until_it_went_back(shop, command, order, reference, tmp_path):
    too_much = f"{(order['total']['amount'] + 20_00) / 100:.2f}"

    said = pay(command, tmp_path / "1.xml", entry(too_much, reference, "1"))
    cases = stuck_cases(shop.engine, limit=10)[0]
    listed = command("refunds")
    pay(command, tmp_path / "2.xml", entry("-20.00", f"too much, {reference}", "2"))

    line = f"{order['payment']['id']}  20.00 EUR too much came in  {reference}  to Example GmbH DE89 3704 0044 0532 0130 00\n"
    assert (said.splitlines(keepends=True)[1], listed) == (line, line)
    assert [(case.kind, case.id, case.reason) for case in cases] == [("order", order["id"], "overpaid")]
    assert stands(shop, order) == ("captured", order["total"]["amount"], None, "paid", 0)
    assert (stuck_cases(shop.engine, limit=10)[0], command("refunds")) == ([], "nothing is to be sent back\n")


def test_a_refund_is_under_way_until_a_statement_shows_the_transfer(shop, command, order, reference, tmp_path):
    pay(command, tmp_path / "1.xml", entry(total(order), reference, "1"))

    refund = give_back(shop, order, eur("20.00"))
    listed = command("refunds")
    sent = make_reference("2", refund.id)
    pay(command, tmp_path / "2.xml", entry("-20.00", sent, "2"))

    assert listed == f"{refund.id}  20.00 EUR  {show_reference(sent)}  to Example GmbH DE89 3704 0044 0532 0130 00\n"
    assert (refund.status, shop.refresh(refund).status) == ("processing", "succeeded")
    assert stands(shop, order) == ("captured", order["total"]["amount"], None, "paid", 0)
    assert command("refunds") == "nothing is to be sent back\n"


def test_a_refund_that_a_human_has_sent_is_through(shop, command, order, reference, tmp_path):
    pay(command, tmp_path / "1.xml", entry(total(order), reference, "1"))
    refund = give_back(shop, order, eur("20.00"))

    assert command("mark-paid", refund.id) == f"{refund.id}: 20.00 EUR was sent back\n"
    assert shop.refresh(refund).status == "succeeded"


def test_a_credit_on_an_open_invoice_lowers_what_is_due_and_the_rest_pays_it(shop, command, order, reference, tmp_path):
    whole = order["total"]["amount"]

    refund = give_back(shop, order, eur("20.00"))
    shop.run()
    credited = stands(shop, order)
    pay(command, tmp_path / "1.xml", entry(f"{(whole - 20_00) / 100:.2f}", reference, "1"))

    assert refund.status == "succeeded"
    assert credited == ("authorized", 0, whole - 20_00, "open", whole - 20_00)
    assert stands(shop, order) == ("partially_captured", whole - 20_00, None, "paid", 0)
    assert [note.total for note in shop.engine.db.all(Invoice.select().where(Invoice.kind == "credit_note"))] == [-20_00]


def test_money_for_an_order_that_was_refunded_waits(shop, command, order, reference, tmp_path):
    give_back(shop, order, None)
    shop.run()

    said = pay(command, tmp_path / "1.xml", entry(total(order), reference, "1"))

    assert f"(nothing is due for {reference} any more)" in said
    assert shop.engine.db.get(Order, order["id"]).status == "refunded"
    assert stands(shop, order) == ("authorized", 0, None, "void", 0)


# --- what is asked wrongly


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["assign", "bte_0", "RF61123345554188"], "Error: there is no entry bte_0\n"),
        (["put-aside", "bte_0", "--reason", "x"], "Error: there is no entry bte_0\n"),
        (["mark-paid", "ref_0"], "Error: there is no refund ref_0 to transfer\n"),
        (["import", "nope.xml"], "Error: nope.xml: No such file or directory; nothing was imported\n"),
    ],
)
def test_what_is_asked_wrongly_is_refused_in_one_line(command, arguments, problem):
    assert command(*arguments, exit_code=1) == problem


def test_a_file_of_another_account_books_nothing(shop, command, order, reference, tmp_path):
    path = statement(tmp_path / "other.xml", entry(total(order), reference, "1"), account="DE89370400440532013000")

    assert command("import", path, exit_code=1) == (
        f"Error: {path}: of account DE89370400440532013000, not of {ACCOUNT}; nothing was imported\n"
    )
    assert stands(shop, order)[0] == "authorized"


def test_a_corporate_order_needs_no_purchase_order_number(shop, order):
    account = shop.open_account(kind="corporate")

    bought = shop.order(shop.cart(LINE, account=account), provider="bank_transfer")

    assert (bought["status"], bought["purchase_order"]) == ("completed", None)
    assert shop.engine.db.count(Account.select()) == 2


def test_without_an_iban_a_shop_starts_and_its_commands_say_what_is_missing(open_shop):
    shop = open_shop()
    [group] = shop.engine.plugins.call_plugin("bank_transfer", "register_commands")

    result = CliRunner().invoke(group, ["unmatched"])

    assert "bank_transfer" not in shop.engine.providers
    assert (result.exit_code, result.output) == (1, "Error: no account is set: plugins.bank_transfer.iban\n")
    assert CliRunner().invoke(group, ["--help"]).exit_code == 0
