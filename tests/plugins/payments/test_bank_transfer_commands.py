"""`puesto bank-transfer` beside a shop: an order, the statement that shows its money, and what that does to the invoice."""

import re
from email import message_from_bytes, policy

import pytest
from click.testing import CliRunner

from core.accounts import Account
from core.invoices import Invoice, invoice_document, invoice_of
from core.orders import Order, order_document
from core.payment_webhooks import PaymentWebhookEvent
from plugins.payments.bank_transfer_matching import make_reference, show_reference
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
