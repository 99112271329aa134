"""Credit notes: what went back is credited line by line, gapless in its own series, and never a cent more than the invoice."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.captures import capture_order
from core.checkout import cancel_order
from core.credit_notes import LineRefund
from core.engine.idempotency import KeyedRequest
from core.errors import RefundExceedsPayment, ValidationFailed
from core.invoices import Invoice, invoice_document
from core.payments import Payment, Refund, reference
from core.recovery import recover
from core.refunds import refund_order
from puesto import Money, ProviderTimeout, RefundResult, eur, usd
from puesto.testing.shop import INTERNAL, Shop
from tests.core.gateway import GatewayPlugin, raises
from tests.core.racing import at_once, kinds

SEATS = {"mode": "buy", "plan": "gotoassist-standard", "seats": 3, "interval": "month"}  # 36.00 + 7.56 = 43.56
WEBINAR = {"mode": "buy", "plan": "gotowebinar-standard", "seats": 3, "interval": "month"}


@pytest.fixture
def shop(open_shop):
    """A shop whose gateway goes wrong on demand."""
    return open_shop(plugins={"sandbox": GatewayPlugin})


@pytest.fixture
def order(shop):
    return shop.order(shop.cart(SEATS, WEBINAR))


def refund(shop: Any, order: dict[str, Any], amount: Money | None = None, lines: Sequence[LineRefund] = (), key: str = "") -> Any:
    request = KeyedRequest(f"refund {order['id']}", key or uuid4().hex, b"")
    return refund_order(shop.engine, order["id"], INTERNAL, amount=amount, reason="wrong", request=request, lines=lines).body


def gateway(shop: Any) -> Any:
    return shop.engine.providers["sandbox"]


def notes(shop: Any) -> list[dict[str, Any]]:
    """Every credit note of an invoice, the oldest first."""
    rows = shop.engine.db.all(Invoice.select().where(Invoice.credits.is_null(False)).order_by(Invoice.id))
    return [invoice_document(shop.engine, row) for row in rows]


def invoice(shop: Any, order: dict[str, Any]) -> dict[str, Any]:
    return invoice_document(shop.engine, shop.engine.db.get(Invoice, order["invoice"]))


def amounts(document: dict[str, Any]) -> tuple[int, int, int]:
    return document["net"]["amount"], document["tax"]["amount"], document["total"]["amount"]


def sums(documents: list[dict[str, Any]]) -> tuple[int, ...]:
    return tuple(map(sum, zip(*map(amounts, documents), strict=True)))


def check(shop: Any, order: dict[str, Any]) -> None:
    """Each note adds up, and no line has gone back beyond itself."""
    whole = invoice(shop, order)
    for note in notes(shop):
        assert amounts(note) == sums(note["lines"])
        assert note["net"]["amount"] + note["tax"]["amount"] == note["total"]["amount"] < 0
        assert (note["kind"], note["status"], note["credits"], note["order"]) == ("credit_note", "paid", whole["id"], order["id"])
    for line in whole["lines"]:
        gone = sums([each for note in notes(shop) for each in note["lines"] if each["subscription"] == line["subscription"]] or [line])
        assert gone == amounts(line) or all(0 <= -part <= most for part, most in zip(gone, amounts(line), strict=True))


# --- what it says


def test_a_refund_of_everything_is_the_invoice_turned_round(shop, order):
    answer = refund(shop, order)

    [note], whole = notes(shop), invoice(shop, order)
    assert answer["credit_note"] == note["id"]
    assert amounts(note) == tuple(-amount for amount in amounts(whole))
    assert [amounts(line) for line in note["lines"]] == [tuple(-amount for amount in amounts(line)) for line in whole["lines"]]
    same = ("seller", "buyer", "notes", "locale", "currency", "account", "order")
    assert {name: note[name] for name in same} == {name: whole[name] for name in same}
    assert (note["number"], note["issued_on"], note["due_on"]) == ("CN-2026-000001", "2026-03-01", None)
    assert (note["paid"]["amount"], note["due"]["amount"]) == (0, 0)
    shown = {name: note[name] for name in ("id", "number", "issued_on", "total")}
    assert (whole["credit_notes"], whole["status"]) == ([shown], "paid")
    assert [event["data"]["credit_note"] for event in shop.events("payment.refunded")] == [note]
    check(shop, order)


def test_an_amount_is_shared_out_over_the_lines(shop):
    order = shop.order(shop.cart(SEATS, {**SEATS, "seats": 1}))  # 43.56 and 14.52

    refund(shop, order, eur("10.00"))

    [note] = notes(shop)
    assert [amounts(line) for line in note["lines"]] == [(-6_20, -1_30, -7_50), (-2_07, -43, -2_50)]
    check(shop, order)


def test_one_line_is_given_back(shop, order):
    first, second = order["lines"]

    refund(shop, order, lines=[LineRefund(second["id"])])

    [note] = notes(shop)
    assert amounts(note) == tuple(-amount for amount in amounts(second))
    assert [line["subscription"] for line in note["lines"]] == [second["subscription"]]
    with pytest.raises(RefundExceedsPayment) as refused:
        refund(shop, order, lines=[LineRefund(second["id"])])
    assert refused.value.extra == {"refundable": {"amount": 0, "currency": "EUR"}}
    assert refund(shop, order)["amount"] == first["total"]


def test_a_part_of_a_line_is_given_back_at_its_own_rate(shop, order):
    line = order["lines"][0]

    refund(shop, order, eur("14.52"), [LineRefund(line["id"], eur("14.52"))])

    assert [amounts(note) for note in notes(shop)] == [(-12_00, -2_52, -14_52)]


def test_a_credit_on_the_invoice_is_taken_back_with_it(shop):
    subscription = shop.buy("gotoassist-standard", interval="year")
    shop.on("2026-05-13")  # 73 of 365 days
    order = shop.change(subscription, seats=2)  # 240.00 - 96.00

    refund(shop, order)

    [note] = notes(shop)
    assert [amounts(line) for line in note["lines"]] == [(-240_00, -50_40, -290_40), (96_00, 20_16, 116_16)]
    assert amounts(note) == (-144_00, -30_24, -174_24)


def test_a_renewal_is_given_back_by_its_line(shop):
    shop.buy("gotoassist-standard", token="tok_ok", save=True)
    shop.on("2026-04-01")
    shop.run()
    order = shop.events("order.completed")[-1]["data"]["order"]

    refund(shop, order, lines=[LineRefund(order["lines"][0]["id"])])

    assert (order["kind"], [amounts(note) for note in notes(shop)]) == ("renewal", [(-12_00, -2_52, -14_52)])


def test_a_credit_on_terms_lowers_what_is_due(shop):
    account = shop.open_account(kind="corporate")
    order = shop.order(shop.cart(SEATS, account=account), provider="invoice_terms", purchase_order="PO-7")

    refund(shop, order, eur("13.56"))

    whole = invoice(shop, order)
    assert (whole["status"], whole["paid"]["amount"], whole["due"]["amount"]) == ("open", 0, 30_00)
    assert [note["total"]["amount"] for note in whole["credit_notes"]] == [-13_56]


def test_what_is_credited_in_full_on_terms_owes_nothing(shop):
    account = shop.open_account(kind="corporate")
    order = shop.order(shop.cart(SEATS, account=account), provider="invoice_terms", purchase_order="PO-7")

    refund(shop, order, eur("43.56"))

    whole = invoice(shop, order)
    assert (whole["status"], whole["paid"]["amount"], whole["due"]["amount"]) == ("void", 0, 0)


# --- what can't be


def test_what_is_no_line_of_the_order_is_refused(shop, order):
    other = shop.order(shop.cart(SEATS))
    first = order["lines"][0]["id"]

    for lines, pointer in [
        ([LineRefund(other["lines"][0]["id"])], "/lines/0/line"),
        ([LineRefund(first), LineRefund(first)], "/lines/1/line"),
    ]:
        with pytest.raises(ValidationFailed) as refused:
            refund(shop, order, lines=lines)
        assert [error.pointer for error in refused.value.errors] == [pointer]
    assert (shop.count(Refund), notes(shop)) == (0, [])


@pytest.mark.parametrize("amount", [eur("43.57"), Money(0, "EUR"), eur("-1.00"), usd("1.00")])
def test_more_than_a_line_is_refused_and_says_what_is_left(shop, order, amount):
    with pytest.raises(RefundExceedsPayment) as refused:
        refund(shop, order, lines=[LineRefund(order["lines"][0]["id"], amount)])

    assert str(refused.value) == f"{amount} of this line can't be refunded: 43.56 EUR is left."
    assert ([error.pointer for error in refused.value.errors], shop.count(Refund)) == (["/lines/0/amount"], 0)


def test_an_amount_that_is_not_that_of_the_lines_is_refused(shop, order):
    with pytest.raises(ValidationFailed) as refused:
        refund(shop, order, eur("43.00"), [LineRefund(order["lines"][0]["id"])])

    assert (str(refused.value), shop.count(Refund)) == ("The lines add up to 43.56 EUR: leave amount out, or give that.", 0)


# --- what happens at the provider


def test_a_refund_that_fails_leaves_no_note_and_no_number(shop, order):
    gateway(shop).instead["refund_payment"] = lambda real, request: RefundResult("failed", eur(0))
    assert refund(shop, order)["credit_note"] is None
    gateway(shop).instead.clear()

    refund(shop, order, lines=[LineRefund(order["lines"][0]["id"])])

    assert [note["number"] for note in notes(shop)] == ["CN-2026-000001"]
    check(shop, order)


def test_a_note_comes_with_the_money_and_its_line_is_kept_for_it_meanwhile(shop, order):
    gateway(shop).instead["refund_payment"] = raises(ProviderTimeout("silence"))
    line = order["lines"][0]
    assert refund(shop, order, lines=[LineRefund(line["id"])])["credit_note"] is None
    assert notes(shop) == []

    with pytest.raises(RefundExceedsPayment):
        refund(shop, order, lines=[LineRefund(line["id"], eur("0.01"))])
    gateway(shop).instead.clear()
    for _ in range(3):
        shop.clock.move_to(shop.clock.now() + timedelta(minutes=1))
        recover(shop.engine)

    assert [amounts(note) for note in notes(shop)] == [tuple(-amount for amount in amounts(line))]
    check(shop, order)


def test_ten_refunds_at_once_are_ten_notes_without_a_gap(shop, order):
    answers = at_once(shop, [lambda: refund(shop, order, eur("1.01")) for _ in range(10)])

    assert kinds(answers) == {dict: 10}
    assert [note["number"] for note in notes(shop)] == [f"CN-2026-{number:06d}" for number in range(1, 11)]
    check(shop, order)


def test_one_line_for_ten_at_once_goes_back_once(shop, order):
    line = order["lines"][0]

    answers = at_once(shop, [lambda: refund(shop, order, lines=[LineRefund(line["id"])]) for _ in range(10)])

    assert kinds(answers) == {dict: 1, RefundExceedsPayment: 9}
    assert [amounts(note) for note in notes(shop)] == [tuple(-amount for amount in amounts(line))]


def test_money_that_came_too_late_was_never_invoiced(shop):
    order = shop.order(shop.cart(SEATS), token="tok_3ds")
    cancel_order(shop.engine, order["id"], INTERNAL)
    gateway(shop).confirm_payment(reference(shop.engine.db.first(Payment.select())), {})

    for _ in range(3):
        shop.clock.move_to(shop.clock.now() + timedelta(hours=2))
        recover(shop.engine)

    assert ([row.status for row in shop.engine.db.all(Refund.select())], shop.count(Invoice)) == (["succeeded"], 0)


def test_the_rest_that_a_final_capture_lets_go_is_credited(open_shop):
    shop = open_shop(payments={"capture": "manual"})
    order = shop.order(shop.cart(SEATS))
    request = KeyedRequest("capture", "key", b"")

    capture_order(shop.engine, order["id"], INTERNAL, amount=eur("40.00"), final=True, request=request)
    refund(shop, order)

    whole = invoice(shop, order)
    assert (whole["status"], whole["paid"]["amount"], whole["due"]["amount"]) == ("paid", 40_00, 0)
    assert [note["total"]["amount"] for note in notes(shop)] == [-3_56, -40_00]
    assert sums(notes(shop)) == tuple(-amount for amount in amounts(whole))


# --- whatever is given back


@pytest.mark.only_on("sqlite", reason="figures are worked out in Python, and each example has a database of its own")
@settings(max_examples=10)
@given(
    st.lists(st.tuples(st.sampled_from(["gotoassist-standard", "gotowebinar-standard"]), st.integers(1, 7)), min_size=1, max_size=4),
    st.sampled_from(["ES", "FI", "HU", "DE"]),
    st.lists(st.tuples(st.integers(1, 20_000), st.integers(0, 4), st.booleans()), max_size=8),
)
def test_all_that_goes_back_is_the_invoice_to_the_cent(lines, country, tries):
    with TemporaryDirectory() as folder:
        shop = Shop(Path(folder), plugins={"sandbox": GatewayPlugin})
        cart = [{"mode": "buy", "plan": plan, "seats": seats, "interval": "month"} for plan, seats in lines]
        order = shop.order(shop.cart(*cart, account=shop.open_account(country=country)))

        for amount, line, fails in tries:
            gateway(shop).instead["refund_payment"] = _refuse if fails else _as_it_is
            part = Money(amount, "EUR")
            try:
                if line < len(lines):
                    refund(shop, order, lines=[LineRefund(order["lines"][line]["id"], part)])
                else:
                    refund(shop, order, part)
            except RefundExceedsPayment:
                pass
            check(shop, order)
        gateway(shop).instead.clear()
        if shop.engine.db.first(Payment.select()).refundable:
            refund(shop, order)

        assert sums(notes(shop)) == tuple(-amount for amount in amounts(invoice(shop, order)))
        assert [note["number"] for note in notes(shop)] == [f"CN-2026-{number:06d}" for number in range(1, len(notes(shop)) + 1)]
        shop.close()


def _refuse(real: Any, request: Any) -> RefundResult:
    return RefundResult("failed", Money(0, "EUR"))


def _as_it_is(real: Any, request: Any) -> Any:
    return real(request)
