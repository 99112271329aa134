"""Open invoices that nobody will pay: void, with a credit note, or uncollectible. What can't follow is refused."""

from datetime import date

import pytest

from core.access import INTERNAL, Caller
from core.checkout import settle
from core.engine.idempotency import Answer, KeyedRequest
from core.errors import Missing, TransitionInvalid
from core.invoices import TRANSITIONS, Invoice, invoice_document, move_invoice
from core.payments import Payment, Refund
from core.recovery import recover
from core.refunds import refund_order
from core.subscriptions import Subscription
from core.write_offs import void_invoice, write_off_invoice
from puesto import PaymentResult, ProviderTimeout, RefundResult, eur
from tests.core.racing import at_once, kinds

SEATS = {"mode": "buy", "plan": "gotoassist-standard", "seats": 3, "interval": "month"}
IBAN = {"iban": "ES9121000418450200051332", "account_name": "Puesto Demo, S.L."}


@pytest.fixture
def shop(open_shop):
    return open_shop(tables={"bank_transfer": IBAN})


def owe(shop, provider="invoice_terms"):
    """An order of 43.56 on terms; its invoice's id."""
    account = shop.open_account(kind="corporate")
    return shop.order(shop.cart(SEATS, account=account), provider=provider, purchase_order="PO-7")["invoice"]


def void(shop, invoice, key="key", caller=INTERNAL):
    request = KeyedRequest(f"void {invoice}", key, b"")
    return void_invoice(shop.engine, invoice, caller, reason="Ordered twice", request=request)


def write_off(shop, invoice, caller=INTERNAL):
    return write_off_invoice(shop.engine, invoice, caller, reason="Insolvent")


def shown(shop, invoice):
    document = invoice_document(shop.engine, shop.engine.db.get(Invoice, invoice))
    return document["status"], document["paid"]["amount"], document["due"]["amount"]


def come_in(shop, invoice, amount):
    """So much is there, by the provider's books."""
    order = shop.engine.db.get(Invoice, invoice).order
    payment = shop.engine.db.first(Payment.select().where(Payment.order == order))
    status = "captured" if amount == payment.money else "partially_captured" if amount else "authorized"
    told = PaymentResult(status, payment.money, payment.provider_ref, due_on=date.fromisoformat(payment.due_on), captured=amount)
    settle(shop.engine, payment, told)


def refund(shop, invoice, amount):
    order = shop.engine.db.get(Invoice, invoice).order
    request = KeyedRequest(f"refund {order}", str(amount), b"")
    return refund_order(shop.engine, order, INTERNAL, amount=amount, reason="", request=request)


@pytest.mark.parametrize("provider", ["invoice_terms", "bank_transfer"])
def test_a_void_invoice_is_credited_as_a_whole_and_its_subscription_goes_on(shop, provider):
    invoice = owe(shop, provider)

    answer = void(shop, invoice)

    assert (answer.body["status"], answer.body["number"]) == ("void", "2026-000001")
    assert [(note["number"], note["total"]["amount"]) for note in answer.body["credit_notes"]] == [("CN-2026-000001", -43_56)]
    assert shown(shop, invoice) == ("void", 0, 0)
    note = invoice_document(shop.engine, shop.engine.db.get(Invoice, answer.body["credit_notes"][0]["id"]))
    assert (note["settlement"]["kind"], [each["id"] for each in note["corrects"]]) == ("reduced", [invoice])
    assert shop.engine.db.first(Subscription.select()).status == "active"


def test_what_is_left_after_a_credit_can_be_voided(shop):
    invoice = owe(shop)
    refund(shop, invoice, eur("13.56"))

    answer = void(shop, invoice)

    assert [note["total"]["amount"] for note in answer.body["credit_notes"]] == [-13_56, -30_00]
    assert shown(shop, invoice) == ("void", 0, 0)


def test_the_same_request_again_is_answered_alike_and_credits_once(shop):
    invoice = owe(shop)
    first = void(shop, invoice)

    again = void(shop, invoice)

    assert (again.body, again.replayed, shop.count(Refund)) == (first.body, True, 1)


def test_two_voids_at_once_credit_once(shop):
    invoice = owe(shop)

    answers = at_once(shop, [lambda: void(shop, invoice, "one"), lambda: void(shop, invoice, "two")])

    assert kinds(answers) == {Answer: 1, TransitionInvalid: 1}
    assert (shown(shop, invoice), shop.count(Refund)) == (("void", 0, 0), 1)


def test_a_provider_that_gives_no_answer_leaves_it_open_until_it_does(shop, monkeypatch):
    invoice = owe(shop)
    provider = shop.engine.providers["invoice_terms"]
    with monkeypatch.context() as away:
        away.setattr(provider, "refund_payment", _away)
        assert void(shop, invoice).body["status"] == "open"
    shop.on("2026-03-02")

    recover(shop.engine)

    assert shown(shop, invoice) == ("void", 0, 0)


@pytest.mark.parametrize(("paid", "way"), [("0.00", "reduced"), ("30.00", "reduced"), ("30.01", "refunded"), ("43.56", "refunded")])
def test_a_credit_note_says_whether_money_goes_back_or_less_is_owed(shop, paid, way):
    invoice = owe(shop)
    come_in(shop, invoice, eur(paid))

    refund(shop, invoice, eur("13.56"))

    (event,) = shop.events("credit_note.issued")
    settlement = event["data"]["credit_note"]["settlement"]
    assert (settlement["kind"], settlement["amount"]["amount"]) == (way, 13_56)


@pytest.mark.parametrize(("end", "then"), [("succeeded", ("void", 0, 0)), ("failed", ("open", 0, 43_56))])
def test_it_is_void_once_that_is_certain(shop, monkeypatch, end, then):
    invoice, provider = owe(shop), shop.engine.providers["invoice_terms"]
    for status, stands in (("processing", ("open", 0, 0)), (end, then)):
        monkeypatch.setattr(provider, "refund_payment", lambda asked, status=status: RefundResult(status, asked.amount, "re_1"))

        void(shop, invoice) if status == "processing" else recover(shop.engine)

        assert shown(shop, invoice) == stands
        shop.on("2026-03-02")


def _away(request):
    raise ProviderTimeout("no answer")


def test_what_is_uncollectible_is_owed_all_the_same(shop):
    invoice = owe(shop)

    document = write_off(shop, invoice)

    assert (document["status"], shown(shop, invoice)) == ("uncollectible", ("uncollectible", 0, 43_56))
    (event,) = shop.events("invoice.uncollectible")
    assert (event["data"]["invoice"], event["data"]["reason"]) == (document, "Insolvent")
    assert shop.count(Invoice) == 1  # no credit note: it is still owed


def test_an_uncollectible_invoice_can_still_be_credited_and_voided(shop):
    invoice = owe(shop)
    write_off(shop, invoice)
    refund(shop, invoice, eur("13.56"))
    assert shown(shop, invoice) == ("uncollectible", 0, 30_00)

    void(shop, invoice)

    assert shown(shop, invoice) == ("void", 0, 0)


def test_money_that_comes_in_all_the_same_pays_an_uncollectible_invoice(shop):
    invoice = owe(shop)
    write_off(shop, invoice)

    come_in(shop, invoice, eur("10.00"))
    assert shown(shop, invoice) == ("uncollectible", 10_00, 33_56)
    come_in(shop, invoice, eur("43.56"))
    assert shown(shop, invoice) == ("paid", 43_56, 0)
    come_in(shop, invoice, eur("0.00"))  # the bank took it back
    assert shown(shop, invoice) == ("open", 0, 43_56)


def test_what_is_void_stays_void_whatever_comes_in(shop):
    invoice = owe(shop)
    void(shop, invoice)

    come_in(shop, invoice, eur("43.56"))

    assert shop.engine.db.get(Invoice, invoice).status == "void"


# --- what can't be


def test_an_invoice_that_is_paid_in_part_is_refunded_instead(shop):
    invoice = owe(shop)
    come_in(shop, invoice, eur("10.00"))

    with pytest.raises(TransitionInvalid, match="A part of the invoice is paid"):
        void(shop, invoice)


def test_what_is_paid_or_over_is_refused(shop):
    paid = shop.order(shop.cart(SEATS))["invoice"]
    gone, off = owe(shop), owe(shop)
    void(shop, gone)
    write_off(shop, off)

    for act, invoice in [(void, paid), (void, gone), (write_off, paid), (write_off, gone), (write_off, off)]:
        before = shop.contents()
        with pytest.raises(TransitionInvalid):
            act(shop, invoice, *["another key"] * (act is void))
        assert shop.contents() == before


def test_a_credit_note_is_neither_voided_nor_written_off(shop):
    invoice = owe(shop)
    refund(shop, invoice, eur("13.56"))
    (note,) = invoice_document(shop.engine, shop.engine.db.get(Invoice, invoice))["credit_notes"]

    for act in (void, write_off):
        with pytest.raises(TransitionInvalid, match="The invoice is paid"):
            act(shop, note["id"])


def test_an_invoice_that_credit_has_paid_in_part_is_refunded_instead(shop):
    account = shop.open_account(kind="corporate")
    shop.engine.db.update(account, balance=10_00)
    invoice = shop.order(shop.cart(SEATS, account=account), provider="invoice_terms", purchase_order="PO-7")["invoice"]

    with pytest.raises(TransitionInvalid, match="A part of the invoice is paid"):
        void(shop, invoice)

    assert shown(shop, invoice) == ("open", 10_00, 33_56)
    refund(shop, invoice, eur("33.56"))
    assert shown(shop, invoice) == ("paid", 10_00, 0)  # what credit has paid was not in vain


def test_another_account_has_no_such_invoice(shop):
    invoice, stranger = owe(shop), Caller("usr_1", frozenset({"staff"}), account="acc_other")

    for act in (void, write_off):
        with pytest.raises(Missing):
            act(shop, invoice, caller=stranger)


@pytest.mark.parametrize("before", TRANSITIONS)
@pytest.mark.parametrize("after", TRANSITIONS)
def test_a_status_moves_by_the_table_and_no_other_way(shop, before, after):
    allowed = {("open", "paid"), ("open", "void"), ("open", "uncollectible"), ("paid", "open")}
    allowed |= {("uncollectible", "paid"), ("uncollectible", "void")}
    invoice = shop.engine.db.get(Invoice, owe(shop))
    shop.engine.db.update(invoice, status=before)

    move_invoice(shop.engine, invoice, after)

    assert shop.refresh(invoice).status == (after if (before, after) in allowed else before)
