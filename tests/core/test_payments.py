"""Payments: who may pay how, what a faulty provider can do to an order, and providers whose plugin has gone."""

import threading
from datetime import timedelta
from typing import Any

import pytest

from core.access import Caller
from core.checkout import buyer_returned, checkout, confirm_order
from core.engine.idempotency import KeyedRequest
from core.errors import CorporateAccount, Missing, PaymentProviderUnavailable, ValidationFailed
from core.invoices import Invoice
from core.orders import Order, order_document
from core.payment_methods import PaymentMethod, add_method
from core.payments import PaymentChoice
from core.refunds import refund_order
from puesto import (
    Money,
    PaymentError,
    PaymentResult,
    PaymentUnknown,
    ProviderMisconfigured,
    ProviderTimeout,
    ProviderUnavailable,
    SavedMethod,
    TaxIdRejected,
    eur,
    hookimpl,
)
from puesto.testing.shop import INTERNAL
from tests.core.gateway import GatewayPlugin, answers, hangs, raises

SEAT = {"mode": "buy", "plan": "gotoassist-standard", "seats": 1, "interval": "month"}
DUE = eur("14.52")  # 12.00 x 1.21
CARD_TRIAL = {"mode": "trial", "plan": "gotomeeting-essentials", "seats": 1}
FREE_TRIAL = {"mode": "trial", "plan": "gotoassist-standard", "seats": 1}
CUSTOMER = Caller("usr_1", frozenset({"checkout"}))
REPRESENTATIVE = {"name": "Eva Gil", "email": "eva@seller.example", "portal": "https://portal.seller.example"}
TERMS = PaymentChoice("invoice_terms")


class SecondGateway(GatewayPlugin):
    """A provider beside the sandbox."""

    @hookimpl
    def register_payment_providers(self) -> list[Any]:
        (provider,) = super().register_payment_providers()
        provider.name = "second"
        return [provider]


@pytest.fixture
def faulty(open_shop):
    """A shop whose gateway goes wrong on demand."""
    return open_shop(plugins={"sandbox": GatewayPlugin})


def check_out(shop: Any, cart: Any, payment: PaymentChoice | None, caller: Caller = INTERNAL, purchase_order: str | None = None) -> Any:
    quote, request = shop.quote(cart, caller).seal, KeyedRequest(f"checkout {cart.id}", "key", b"")
    answer = checkout(shop.engine, cart.id, caller, quote=quote, payment=payment, purchase_order=purchase_order, request=request)
    return answer.body


def confirm(shop: Any, order: dict[str, Any]) -> Any:
    return confirm_order(shop.engine, order["id"], INTERNAL, data={}, request=KeyedRequest("confirm", order["id"], b"")).body


def charges(shop: Any) -> list[tuple[str, int]]:
    return [(charge.status, charge.amount.amount) for charge in shop.engine.providers["sandbox"].charges()]


def recovered(shop: Any, order: dict[str, Any]) -> str:
    """The order's status after the next background work."""
    shop.clock.move_to(shop.clock.now() + timedelta(minutes=1))
    shop.run()
    return str(shop.engine.db.get(Order, order["id"]).status)


# --- the choice


@pytest.mark.parametrize(
    ("line", "payment", "pointer"),
    [
        (SEAT, None, "/payment"),
        (CARD_TRIAL, None, "/payment"),
        (FREE_TRIAL, PaymentChoice("sandbox", token="tok_ok"), "/payment"),
        (SEAT, PaymentChoice("stripe", token="tok_ok"), "/payment/provider"),
        (SEAT, TERMS, "/payment/provider"),
        (SEAT, PaymentChoice("sandbox"), "/payment/token"),
    ],
    ids=["none", "none_for_a_trial_that_needs_it", "where_nothing_is_due", "unknown", "not_for_this_account", "no_token"],
)
def test_a_payment_that_does_not_fit_is_refused_and_nothing_written(shop, line, payment, pointer):
    cart = shop.cart(line)
    before = shop.rows()

    with pytest.raises(ValidationFailed) as refused:
        check_out(shop, cart, payment)

    assert [error.pointer for error in refused.value.errors] == [pointer]
    assert (shop.rows(), shop.refresh(cart).status) == (before, "open")


def test_a_token_and_a_stored_method_are_one_too_many(shop):
    shop.buy("gotoassist-standard", token="tok_ok", save=True)
    method = shop.engine.db.first(PaymentMethod.select())

    with pytest.raises(ValidationFailed) as refused:
        shop.order(shop.cart(SEAT), token="tok_ok", payment_method=method.id)

    assert [error.pointer for error in refused.value.errors] == ["/payment/token"]
    assert charges(shop) == [("captured", 14_52)]


def test_another_accounts_method_does_not_pay(shop):
    shop.buy("gotoassist-standard", token="tok_ok", save=True, account=shop.open_account())
    method = shop.engine.db.first(PaymentMethod.select())

    with pytest.raises(Missing) as refused:
        shop.order(shop.cart(SEAT), payment_method=method.id)

    assert [error.pointer for error in refused.value.errors] == ["/payment/payment_method"]
    assert charges(shop) == [("captured", 14_52)]


def test_a_stored_method_pays_with_its_own_provider(open_shop):
    shop = open_shop(plugins={"second": SecondGateway})
    method = add_method(shop.engine, shop.account.id, INTERNAL, "sandbox", SavedMethod("ref_1", "visa", "4242"))
    before = shop.rows()

    with pytest.raises(ValidationFailed) as refused:
        check_out(shop, shop.cart(SEAT), PaymentChoice("second", payment_method=method.id))

    assert [error.pointer for error in refused.value.errors] == ["/payment/provider"]
    assert shop.rows() == {**before, "cart": 1, "cart_line": 1}


# --- corporate accounts


def test_a_corporate_account_is_sent_to_its_representative(shop):
    cart = shop.cart(SEAT, account=shop.open_account(kind="corporate", representative=REPRESENTATIVE))
    before = shop.rows()

    with pytest.raises(CorporateAccount) as refused:
        check_out(shop, cart, TERMS, CUSTOMER, "PO-7")

    assert str(refused.value) == "Orders of this account are placed by its representative, Eva Gil."
    assert refused.value.extra == {"representative": REPRESENTATIVE, "portal": "https://portal.seller.example"}
    assert (shop.rows(), shop.refresh(cart).status) == (before, "open")


@pytest.mark.parametrize(("net_days", "due_on"), [(30, "2026-03-31"), (14, "2026-03-15")])
def test_staff_places_its_order_on_invoice_terms(open_shop, net_days, due_on):
    shop = open_shop(tables={"invoice_terms": {"net_days": net_days}})
    cart = shop.cart(SEAT, account=shop.open_account(kind="corporate"))

    order = check_out(shop, cart, TERMS, purchase_order="PO-7")

    invoice = shop.engine.db.get(Invoice, order["invoice"])
    assert (order["status"], order["payment"]["status"], order["purchase_order"]) == ("completed", "authorized", "PO-7")
    assert (invoice.status, invoice.due_on.isoformat(), invoice.purchase_order) == ("open", due_on, "PO-7")  # 1 March + 30, + 14 days


@pytest.mark.parametrize(
    ("payment", "purchase_order", "pointer"),
    [
        (TERMS, None, "/purchase_order"),
        (PaymentChoice("invoice_terms", token="tok_ok"), "PO-7", "/payment/token"),
        (PaymentChoice("invoice_terms", save=True), "PO-7", "/payment/save"),
    ],
)
def test_terms_need_a_purchase_order_and_nothing_else(shop, payment, purchase_order, pointer):
    cart = shop.cart(SEAT, account=shop.open_account(kind="corporate"))
    before = shop.rows()

    with pytest.raises(ValidationFailed) as refused:
        check_out(shop, cart, payment, purchase_order=purchase_order)

    assert [error.pointer for error in refused.value.errors] == [pointer]
    assert (shop.rows(), shop.refresh(cart).status) == (before, "open")


# --- a provider that goes wrong

NONSENSE = {
    "none": None,
    "text": "captured",
    "status": PaymentResult("paid", DUE),
    "amount": PaymentResult("captured", 14.52),
    "reference": PaymentResult("captured", DUE, provider_ref=7),
    "code": PaymentResult("declined", DUE, error=PaymentError("no_reason")),
    "data": PaymentResult("captured", DUE, data={"at": object()}),
    "due_on": PaymentResult("authorized", DUE, due_on="2026-03-15"),
}
FAULTS = {
    **{f"answers_{name}": (answers(value), "completed") for name, value in NONSENSE.items()},
    "raises": (raises(ZeroDivisionError("no such amount")), "failed"),
    "raises_an_error_of_ours": (raises(TaxIdRejected("not mine to raise")), "failed"),
    "exits": (raises(SystemExit(1)), "failed"),
    "knows_nothing": (raises(PaymentUnknown("never heard of it")), "failed"),
}


@pytest.mark.parametrize(("fault", "end"), FAULTS.values(), ids=FAULTS)
def test_a_fault_leaves_the_order_processing_until_recovery_asks(faulty, caplog, fault, end):
    cart = faulty.cart(SEAT)
    faulty.engine.providers["sandbox"].instead["initiate_payment"] = fault

    order = faulty.order(cart)

    assert (order["status"], order["invoice"], order["subscriptions"]) == ("processing", None, [])
    assert "provider sandbox " in caplog.text
    assert faulty.refresh(cart).status == "ordering"
    assert recovered(faulty, order) == end
    assert charges(faulty) == ([("captured", 14_52)] if end == "completed" else [])


def test_a_provider_that_hangs_is_abandoned_at_its_deadline(faulty):
    over, gateway = threading.Event(), faulty.engine.providers["sandbox"]
    gateway.deadline, gateway.instead["initiate_payment"] = 0.05, hangs(over)

    order = faulty.order(faulty.cart(SEAT))
    over.set()

    assert order["status"] == "processing"
    gateway.deadline = 20.0
    assert recovered(faulty, order) == "completed"
    assert charges(faulty) == [("captured", 14_52)]


def test_a_provider_with_wrong_credentials_is_unavailable(faulty, caplog):
    cart = faulty.cart(SEAT)
    faulty.engine.providers["sandbox"].instead["initiate_payment"] = raises(ProviderMisconfigured("the key was revoked"))

    with pytest.raises(PaymentProviderUnavailable):
        faulty.order(cart)

    assert "provider sandbox is misconfigured: the key was revoked" in caplog.text
    assert (faulty.refresh(cart).status, faulty.events()) == ("open", [])


@pytest.mark.parametrize(("fault", "end"), [(answers(None), "completed"), (raises(ProviderTimeout("silence")), "requires_action")])
@pytest.mark.parametrize("come_back", [confirm, lambda shop, order: {"status": buyer_returned(shop.engine, order["id"], {})}])
def test_a_confirmation_with_no_answer_leaves_the_order_processing(faulty, come_back, fault, end):
    order = faulty.order(faulty.cart(SEAT), token="tok_3ds")
    faulty.engine.providers["sandbox"].instead["confirm_payment"] = fault

    status = come_back(faulty, order)["status"]

    assert status == "processing"
    assert recovered(faulty, order) == end


def test_a_confirmation_that_reaches_nobody_may_be_repeated(faulty):
    order = faulty.order(faulty.cart(SEAT), token="tok_3ds")
    gateway = faulty.engine.providers["sandbox"]
    gateway.instead["confirm_payment"] = raises(ProviderUnavailable("the gateway is down"))

    with pytest.raises(PaymentProviderUnavailable):
        confirm(faulty, order)

    assert faulty.engine.db.get(Order, order["id"]).status == buyer_returned(faulty.engine, order["id"], {}) == "requires_action"
    del gateway.instead["confirm_payment"]
    assert confirm(faulty, order)["status"] == "completed"
    assert charges(faulty) == [("captured", 14_52)]


# --- a provider whose plugin is gone


def test_without_its_plugin_an_order_still_reads_but_can_not_be_refunded(open_shop, shop):
    order = shop.order(shop.cart(SEAT))
    without = open_shop(folder=shop.folder, disabled=["sandbox"])
    before = without.rows()

    with pytest.raises(PaymentProviderUnavailable) as refused:
        refund_order(without.engine, order["id"], INTERNAL, amount=None, reason="wrong", request=KeyedRequest("refund", "key", b""))

    assert refused.value.extra == {"provider": "sandbox"}
    assert without.rows() == before
    assert order_document(without.engine, without.engine.db.get(Order, order["id"])) == order


def test_without_its_plugin_an_unsettled_payment_waits(open_shop, shop):
    order = shop.order(shop.cart(SEAT), token="tok_timeout")
    without = open_shop(folder=shop.folder, disabled=["sandbox"])

    status = recovered(without, order)

    assert status == "processing"
    shop.on("2026-03-02")
    assert recovered(shop, order) == "completed"


def test_amounts_are_minor_units_of_the_orders_currency(shop):
    cart = shop.cart({**SEAT, "seats": 3}, account=shop.open_account(country="US", currency="USD"))

    order = check_out(shop, cart, PaymentChoice("sandbox", token="tok_ok"))

    assert order["payment"]["amount"] == {"amount": 39_00, "currency": "USD"}  # 3 x 13.00, no VAT
    assert [charge.amount for charge in shop.engine.providers["sandbox"].charges()] == [Money(39_00, "USD")]


# --- what a provider is told


@pytest.fixture
def asked(faulty):
    """The requests that the gateway gets from now on."""
    seen: list[Any] = []
    gateway = faulty.engine.providers["sandbox"]
    gateway.instead["initiate_payment"] = lambda real, request: (seen.append(request), real(request))[1]
    return seen


def test_a_provider_is_told_what_is_paid_for_and_where_the_buyer_goes(faulty, asked):
    order = faulty.order(faulty.cart({**SEAT, "seats": 3}, {**SEAT, "plan": "gotowebinar-standard", "seats": 3}))

    [request] = asked
    page = f"http://127.0.0.1:8000/v1/orders/{order['id']}"
    assert (request.return_url, request.cancel_url, request.capture_mode) == (f"{page}/return", f"{page}/cancelled", "automatic")
    assert [line.description for line in request.lines] == ["GoToAssist Remote Support – Standard", "GoToWebinar – Standard"]
    assert [line.amount.amount for line in request.lines] == [line["total"]["amount"] for line in order["lines"]]
    assert sum(line.amount.amount for line in request.lines) == request.amount.amount


def test_renewals_are_charged_at_once_also_where_orders_are_captured_by_hand(open_shop):
    shop = open_shop(payments={"capture": "manual"})
    shop.buy("gotoassist-standard", token="tok_ok", save=True)

    shop.on("2026-04-01")
    shop.run()

    assert charges(shop) == [("authorized", 0), ("captured", 14_52)]
