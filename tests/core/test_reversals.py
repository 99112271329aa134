"""What begins at the provider, refunds and disputes: written down once, told of once, and never lost."""

import pytest

from core.checkout import settle
from core.disputes import Dispute
from core.errors import RefundExceedsPayment
from core.invoices import Invoice, invoice_document
from core.orders import Order, get_order, order_document
from core.payment_webhooks import apply_events
from core.payments import Payment, Refund, reference, refund_document, retrieve
from core.refunds import settle_refund
from core.stuck import count_stuck, stuck_cases
from puesto import Dispute as Reported
from puesto import PaymentResult, ProviderRefund, ProviderTimeout, RefundResult, eur, usd
from puesto.testing.shop import INTERNAL
from tests.core.gateway import answers, raises
from tests.core.test_payment_webhooks import TellingPlugin, tell
from tests.core.test_refunds import given_back, later, refund, refunded, status

SEAT = {"mode": "buy", "plan": "gotoassist-standard", "seats": 1, "interval": "month"}
PAID = eur("14.52")  # 12.00 x 1.21


@pytest.fixture
def shop(open_shop):
    return open_shop(plugins={"sandbox": TellingPlugin})


@pytest.fixture
def gateway(shop):
    return shop.engine.providers["sandbox"]


@pytest.fixture
def payment(shop):
    return paid(shop)


def paid(shop):
    order = shop.order(shop.cart(SEAT))
    return shop.engine.db.first(Payment.select().where(Payment.order == order["id"]))


def look(shop, payment):
    """Ask the provider, and write what it says."""
    result = retrieve(shop.engine, payment)
    assert result is not None
    settle(shop.engine, payment, result)


def report(shop, payment, *reversals, **changes):
    """Write an answer of the provider: that it has these refunds and disputes."""
    refunds = tuple(each for each in reversals if isinstance(each, ProviderRefund))
    disputes = tuple(each for each in reversals if isinstance(each, Reported))
    settle(shop.engine, payment, PaymentResult("captured", PAID, "sbp_1", refunds=refunds, disputes=disputes, **changes))


def shown(shop, payment):
    """The payment, as the order's document shows it."""
    return order_document(shop.engine, get_order(shop.engine, payment.order, INTERNAL))["payment"]


def refunds(shop):
    """Who began each refund, how it stands, its amount."""
    return [(row.origin, row.status, row.amount) for row in shop.engine.db.all(Refund.select().order_by(Refund.id))]


def problems(shop, payment):
    return shop.refresh(payment).problem, shop.engine.db.get(Order, payment.order).problem


def stuck(shop):
    return {kind: number for kind, number in count_stuck(shop.engine).items() if number}


# --- refunds begun at the provider


def test_a_refund_in_the_providers_dashboard_is_learnt_by_its_webhook(shop, gateway, payment):
    gateway.dashboard.refund(payment.id, 4_52)
    before = shop.rows()

    tell(shop, payment.id, "refund.succeeded")
    apply_events(shop.engine)

    assert (refunds(shop), refunded(shop)) == ([("external", "succeeded", 4_52)], 4_52)
    row = shop.engine.db.first(Refund.select())
    assert shown(shop, payment)["refunds"] == [refund_document(row)]
    assert (row.reason, row.ask_at, status(shop, payment.order)) == ("", None, "completed")
    [event] = shop.events("payment.refunded")
    assert event["data"]["refund"] == refund_document(row)
    assert event["data"]["order"]["payment"]["refunded"] == {"amount": 4_52, "currency": "EUR"}
    assert event["data"]["credit_note"]["total"] == {"amount": -4_52, "currency": "EUR"}
    written = ("refund", "payment_webhook_event", "invoice", "invoice_line", "invoice_series")
    assert shop.rows() == {**before, **{name: before[name] + 1 for name in written}, "event": before["event"] + 2}


def test_what_is_told_twice_is_written_once(shop, gateway, payment):
    gateway.dashboard.refund(payment.id)
    gateway.dashboard.open_dispute(paid(shop).id)
    payments = shop.engine.db.all(Payment.select())
    for each in payments:
        look(shop, each)
    before = shop.rows(), shop.engine.db.all(Payment.select().dicts()), shop.engine.db.all(Order.select().dicts())

    for each in payments:
        look(shop, each)

    assert (shop.rows(), shop.engine.db.all(Payment.select().dicts()), shop.engine.db.all(Order.select().dicts())) == before


def test_an_order_whose_money_went_back_there_is_refunded(shop, gateway, payment):
    refund(shop, payment.order, eur("10.00"))

    gateway.dashboard.refund(payment.id)
    look(shop, payment)

    assert (refunds(shop), status(shop, payment.order)) == ([("ours", "succeeded", 10_00), ("external", "succeeded", 4_52)], "refunded")
    with pytest.raises(RefundExceedsPayment):
        refund(shop, payment.order, eur("0.01"), key="another")


def test_an_external_refund_is_never_asked_for(shop, gateway, payment):
    report(shop, payment, ProviderRefund("re_1", eur("2.00"), "processing"))
    row = shop.engine.db.first(Refund.select())

    settle_refund(shop.engine, row.id)
    later(shop, days=2)

    assert ("refund_payment" in gateway.calls, refunds(shop)) == (False, [("external", "processing", 2_00)])
    assert (given_back(shop), refunded(shop), shop.events("payment.refunded")) == ([0], 2_00, [])


@pytest.mark.parametrize(("end", "counted", "told"), [("succeeded", 2_00, 1), ("failed", 0, 0)])
def test_an_external_refund_comes_to_its_end_and_stays_there(shop, payment, end, counted, told):
    for said in ("processing", end, "processing", "failed", "succeeded"):
        report(shop, payment, ProviderRefund("re_1", eur("2.00"), said))

    assert (refunds(shop), refunded(shop)) == ([("external", end, 2_00)], counted)
    assert len(shop.events("payment.refunded")) == told


# --- refunds of ours in the provider's books


def lost(real, request):
    """The money goes back, and the answer gets lost."""
    real(request)
    raise ProviderTimeout("silence")


def test_a_refund_of_ours_whose_answer_was_lost_is_known_by_our_id(shop, gateway, payment):
    gateway.instead["refund_payment"] = lost
    refund(shop, payment.order)

    look(shop, payment)
    calls = gateway.calls.count("refund_payment")
    later(shop, days=1)

    assert (refunds(shop), refunded(shop)) == ([("ours", "succeeded", 14_52)], 14_52)
    assert (calls, gateway.calls.count("refund_payment")) == (1, 1)
    assert (len(shop.events("payment.refunded")), status(shop, payment.order)) == (1, "refunded")


def test_a_provider_that_does_not_know_our_id_doubles_nothing(shop, gateway, payment):
    gateway.instead["refund_payment"] = lost
    refund(shop, payment.order, eur("3.00"))
    nameless = ProviderRefund("re_1", eur("3.00"), "succeeded"), ProviderRefund("re_2", eur("3.00"), "succeeded")

    report(shop, payment, *nameless)
    report(shop, payment, *nameless)

    assert (refunds(shop), refunded(shop)) == ([("ours", "succeeded", 3_00), ("external", "succeeded", 3_00)], 6_00)
    assert len(shop.events("payment.refunded")) == 2


def test_one_that_is_named_is_not_taken_for_another(shop, gateway, payment):
    gateway.instead["refund_payment"] = raises(ProviderTimeout("silence"))
    ours = refund(shop, payment.order, eur("3.00")).body["id"]

    report(shop, payment, ProviderRefund("re_2", eur("3.00"), "succeeded"), ProviderRefund("re_1", eur("3.00"), "succeeded", ours))

    refs = {row.origin: row.provider_ref for row in shop.engine.db.all(Refund.select())}
    assert (refs, refunded(shop)) == ({"ours": "re_1", "external": "re_2"}, 6_00)


def test_a_refund_id_that_nobody_here_has_given_is_external(shop, payment):
    report(shop, payment, ProviderRefund("re_1", eur("3.00"), "succeeded", "ref_of_a_lost_database"))

    assert refunds(shop) == [("external", "succeeded", 3_00)]


# --- more than was paid


def test_what_goes_back_beyond_what_was_paid_is_kept_and_is_a_problem_until_it_fits(shop, gateway, payment):
    gateway.instead["refund_payment"] = raises(ProviderTimeout("silence"))
    refund(shop, payment.order, eur("10.00"))

    report(shop, payment, ProviderRefund("re_1", PAID, "succeeded"))
    then = refunds(shop), refunded(shop), problems(shop, payment), stuck(shop)
    gateway.instead["refund_payment"] = answers(RefundResult("failed", eur("0.00")))
    later(shop, minutes=1)

    assert then[0] == [("ours", "created", 10_00), ("external", "succeeded", 14_52)]
    assert then[1:] == (14_52, ("reversal-mismatch", "reversal-mismatch"), {"order": 1})
    assert (refunds(shop)[0], refunded(shop), problems(shop, payment)) == (("ours", "failed", 10_00), 14_52, (None, None))


def test_money_in_another_currency_is_kept_and_counts_for_nothing(shop, payment):
    report(shop, payment, ProviderRefund("re_1", usd("5.00"), "succeeded"), Reported("dp_1", usd("5.00"), "opened"))

    assert (refunds(shop), refunded(shop), shop.refresh(payment).disputed) == ([("external", "succeeded", 5_00)], 0, 0)
    assert (problems(shop, payment), status(shop, payment.order)) == (("reversal-mismatch", "reversal-mismatch"), "completed")


NONSENSE = [
    ProviderRefund("re_1", eur("0.00"), "succeeded"),
    Reported("", eur("1.00"), "lost"),
    Reported("r" * 256, eur("1.00"), "won"),
]


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_nonsense_is_logged_and_left_out(shop, payment, nonsense, caplog):
    before = shop.rows()

    report(shop, payment, nonsense, ProviderRefund("re_2", eur("1.00"), "processing"))

    assert shop.rows() == {**before, "refund": 1}
    assert f"payment {payment.id}: sandbox reports nonsense" in caplog.text


# --- money that came late


def given_up(shop, gateway):
    """A payment that went through after its order was given up; its refund is not written yet."""
    order = shop.order(shop.cart(SEAT), token="tok_3ds")
    payment = shop.engine.db.first(Payment.select().where(Payment.order == order["id"]))
    gateway.instead["cancel_payment"] = raises(ProviderTimeout("silence"))
    later(shop, hours=2)
    gateway.confirm_payment(reference(payment), {})
    return payment


def test_late_money_that_somebody_gave_back_there_is_not_given_back_again(shop, gateway):
    payment = given_up(shop, gateway)
    gateway.dashboard.refund(payment.id)

    look(shop, payment)
    later(shop, days=1)

    assert (given_back(shop), refunds(shop)) == ([14_52], [("external", "succeeded", 14_52)])
    assert (status(shop, payment.order), stuck(shop)) == ("cancelled", {})


def test_late_money_that_is_disputed_goes_back_once_the_dispute_is_won(shop, gateway):
    payment = given_up(shop, gateway)
    dispute = gateway.dashboard.open_dispute(payment.id)
    look(shop, payment)
    meanwhile = refunds(shop)

    gateway.dashboard.close_dispute(dispute, "won")
    look(shop, payment)
    later(shop, minutes=1)

    assert (meanwhile, given_back(shop), refunds(shop)) == ([], [14_52], [("ours", "succeeded", 14_52)])


# --- disputes


def test_a_dispute_waits_for_a_human_and_holds_its_money_back(shop, gateway, payment):
    gateway.dashboard.open_dispute(payment.id, 10_00, "product_not_received")

    tell(shop, payment.id, "dispute.opened")
    shop.run()

    [dispute] = shown(shop, payment)["disputes"]
    assert dispute == {
        "id": shop.engine.db.first(Dispute.select()).id,
        "order": payment.order,
        "amount": {"amount": 10_00, "currency": "EUR"},
        "status": "opened",
        "reason": "product_not_received",
        "opened_at": "2026-03-01T12:00:00.000Z",
        "closed_at": None,
    }
    assert shown(shop, payment)["disputed"] == {"amount": 10_00, "currency": "EUR"}
    assert [event["data"]["dispute"] for event in shop.events("payment.disputed")] == [dispute]
    [case] = stuck_cases(shop.engine, limit=10)[0]
    assert (case.kind, case.id, case.subject, case.reason) == (
        "dispute",
        dispute["id"],
        payment.order,
        "sandbox says: product_not_received",
    )
    with pytest.raises(RefundExceedsPayment) as refused:
        refund(shop, payment.order, eur("4.53"))
    assert str(refused.value) == "4.53 EUR can't be refunded: 4.52 EUR of the payment is left, and 10.00 EUR is disputed."
    assert refused.value.extra == {"refundable": {"amount": 4_52, "currency": "EUR"}, "disputed": {"amount": 10_00, "currency": "EUR"}}
    assert refund(shop, payment.order, key="rest").body["amount"] == {"amount": 4_52, "currency": "EUR"}


def test_a_dispute_that_is_won_gives_the_money_free(shop, gateway, payment):
    dispute = gateway.dashboard.open_dispute(payment.id)
    look(shop, payment)

    gateway.dashboard.close_dispute(dispute, "won")
    tell(shop, payment.id, "dispute.won")
    shop.run()

    assert (shown(shop, payment)["disputed"]["amount"], shown(shop, payment)["disputes"][0]["status"], stuck(shop)) == (0, "won", {})
    assert [event["data"]["dispute"]["status"] for event in shop.events("payment.dispute_closed")] == ["won"]
    assert shop.engine.db.first(Invoice.select()).status == "paid"
    assert refund(shop, payment.order).body["status"] == "succeeded"


def test_a_dispute_that_is_lost_takes_the_money_and_opens_the_invoice(shop, gateway, payment):
    dispute = gateway.dashboard.open_dispute(payment.id)
    look(shop, payment)

    gateway.dashboard.close_dispute(dispute, "lost")
    look(shop, payment)

    document = invoice_document(shop.engine, shop.engine.db.first(Invoice.select()))
    assert (shown(shop, payment)["disputed"]["amount"], shown(shop, payment)["lost"]["amount"]) == (0, 14_52)
    assert (document["status"], document["paid"]["amount"], document["due"]["amount"]) == ("open", 0, 14_52)
    assert [event["data"]["dispute"]["status"] for event in shop.events("payment.dispute_closed")] == ["lost"]
    assert (stuck(shop), problems(shop, payment), status(shop, payment.order)) == ({}, (None, None), "completed")
    with pytest.raises(RefundExceedsPayment) as refused:
        refund(shop, payment.order)
    assert refused.value.extra["refundable"] == {"amount": 0, "currency": "EUR"}


def test_an_invoice_that_was_lost_is_not_paid_by_hearing_of_its_payment_again(shop, payment):
    report(shop, payment, Reported("dp_1", eur("4.00"), "lost"))
    report(shop, payment)

    document = invoice_document(shop.engine, shop.engine.db.first(Invoice.select()))
    assert (document["status"], document["paid"]["amount"], document["due"]["amount"]) == ("open", 10_52, 4_00)


@pytest.mark.parametrize("end", ["won", "lost"])
def test_a_dispute_that_has_ended_stays_so_whatever_comes_late(shop, payment, end):
    for said in ("opened", end, "opened", "lost", "won"):
        report(shop, payment, Reported("dp_1", PAID, said))

    assert [row.status for row in shop.engine.db.all(Dispute.select())] == [end]
    assert [event["type"] for event in shop.events() if "dispute" in event["type"]] == ["payment.disputed", "payment.dispute_closed"]


def test_one_that_is_learnt_of_at_its_end_is_told_of_from_its_beginning(shop, payment):
    report(shop, payment, Reported("dp_1", PAID, "lost", "fraudulent"))

    told = [(event["type"], event["data"]["dispute"]["status"]) for event in shop.events() if "dispute" in event["type"]]
    assert told == [("payment.disputed", "opened"), ("payment.dispute_closed", "lost")]
    assert shop.engine.db.first(Invoice.select()).status == "open"


def test_what_was_refunded_and_is_lost_as_well_is_a_problem(shop, payment):
    refund(shop, payment.order, eur("10.00"))

    report(shop, payment, Reported("dp_1", PAID, "opened"))
    while_open = problems(shop, payment)
    report(shop, payment, Reported("dp_1", PAID, "lost"))

    assert (while_open, problems(shop, payment)) == ((None, None), ("reversal-mismatch", "reversal-mismatch"))
    assert (refunded(shop), shop.refresh(payment).refundable) == (10_00, 0)


def test_an_event_that_names_a_refund_of_nobody_here_is_about_the_payment(shop, gateway, payment):
    gateway.dashboard.refund(payment.id, 1_00)

    tell(shop, payment.id, "refund.succeeded", refund_id="ref_of_a_lost_database")
    shop.run()

    assert refunds(shop) == [("external", "succeeded", 1_00)]


def test_a_payment_that_completes_its_order_and_is_disputed_at_once(shop, gateway):
    gateway.instead["initiate_payment"] = answers(PaymentResult("captured", PAID, "sbp_1", disputes=(Reported("dp_1", PAID, "opened"),)))

    order = shop.order(shop.cart(SEAT))

    assert (order["status"], [each["status"] for each in order["payment"]["disputes"]]) == ("completed", ["opened"])
    assert [event["type"] for event in shop.events()] == ["order.completed", "subscription.started", "payment.disputed"]
