"""Stuck cases: one list of whatever waits for a human, and what puts it back to work."""

from datetime import timedelta

import pytest

from core.checkout import cancel_order
from core.engine.deliveries import MAX_ATTEMPTS, Delivery, drain
from core.engine.setbacks import MOST_TRIES, attempt
from core.errors import Missing, PaymentAmountMismatch
from core.orders import Order
from core.payment_webhooks import MAX_ATTEMPTS as MOST_APPLIED
from core.payment_webhooks import PaymentWebhookEvent, apply_events
from core.payments import Payment, Refund, reference
from core.recovery import recover
from core.stuck import Case, count_stuck, retry, retry_all, stuck_cases
from puesto import PaymentResult, ProviderTimeout, RefundResult, eur, hookimpl
from puesto.testing.shop import INTERNAL
from tests.core.gateway import answers, raises
from tests.core.test_payment_webhooks import TellingPlugin, tell

SEAT = {"mode": "buy", "plan": "gotoassist-standard", "seats": 1, "interval": "month"}
NOTHING = dict.fromkeys(("capture", "change", "delivery", "difference", "dispute", "order", "payment", "refund", "webhook", "work"), 0)


class Ear:
    """A subscriber; deaf until told otherwise."""

    def __init__(self):
        self.deaf, self.heard = True, []

    @hookimpl
    def order_completed(self, event):
        if self.deaf:
            raise ZeroDivisionError("no mail today")
        self.heard.append(event.subject)


@pytest.fixture
def ear():
    return Ear()


@pytest.fixture
def shop(open_shop, ear):
    return open_shop(plugins={"sandbox": TellingPlugin, "ear": ear})


def gateway(shop):
    return shop.engine.providers["sandbox"]


def later(shop, **time):
    shop.clock.move_to(shop.clock.now() + timedelta(**time))


def first(shop, table):
    return shop.engine.db.first(table.select().order_by(table.id.desc()))


def cases(shop):
    return stuck_cases(shop.engine, limit=100)[0]


def the_case(shop):
    [case] = cases(shop)
    return case


# --- how each comes to be stuck


def park_delivery(shop):
    order = shop.order(shop.cart(SEAT))
    for _ in range(MAX_ATTEMPTS):
        drain(shop.engine)
        later(shop, hours=6)
    return order


def lose_payment(shop):
    gateway(shop).instead |= {name: raises(ProviderTimeout("silence")) for name in ("initiate_payment", "retrieve_payment")}
    order = shop.order(shop.cart(SEAT))
    later(shop, minutes=15)
    recover(shop.engine)
    return order


def hold_order(shop):
    gateway(shop).instead["initiate_payment"] = answers(PaymentResult("captured", eur("1.00")))
    with pytest.raises(PaymentAmountMismatch):
        shop.order(shop.cart(SEAT))
    later(shop, minutes=15)


def pay_late(shop):
    order = shop.order(shop.cart(SEAT), token="tok_3ds")
    cancel_order(shop.engine, order["id"], INTERNAL)
    gateway(shop).confirm_payment(reference(first(shop, Payment)), {})
    gateway(shop).instead["refund_payment"] = raises(ProviderTimeout("silence"))
    for _ in range(2):
        later(shop, hours=2)
        recover(shop.engine)
    return order


def break_work(shop):
    for _ in range(MOST_TRIES):
        attempt(shop.engine, "end_subscription", "sub_1", shop.account.id, lambda: 1 / 0)


# --- what is shown of it


def test_where_all_is_well_nothing_is_stuck(shop, ear):
    ear.deaf = False
    shop.order(shop.cart(SEAT))
    shop.run()
    later(shop, days=30)

    assert (stuck_cases(shop.engine, limit=100), count_stuck(shop.engine)) == (([], None), NOTHING)


def test_a_parked_delivery(shop):
    order = park_delivery(shop)

    case, delivery = the_case(shop), shop.engine.db.first(Delivery.select().where(Delivery.plugin == "ear"))
    assert (case.kind, case.id, case.account, case.subject) == ("delivery", f"dlv_{delivery.id}", order["account"], order["id"])
    assert (case.since, case.tries, case.next_try) == (first(shop, Order).created_at, MAX_ATTEMPTS, None)
    assert case.reason == "ear, order_completed: ZeroDivisionError: no mail today"
    assert str(case.remedy) == f"Mend what the reason says, then: puesto jobs retry {case.id}"


def test_a_payment_whose_end_stays_unknown(shop):
    order = lose_payment(shop)

    payment = first(shop, Payment)
    assert the_case(shop) == Case(
        kind="payment",
        id=payment.id,
        account=order["account"],
        subject=order["id"],
        since=payment.created_at,
        tries=1,
        next_try=payment.ask_at,
        reason="sandbox gives no answer: silence",
        remedy=the_case(shop).remedy,
    )
    assert str(the_case(shop).remedy) == f"Look up {payment.id} at sandbox. To ask it now: puesto jobs retry {payment.id}"


@pytest.mark.parametrize(("token", "minutes"), [("tok_timeout", 15), ("tok_3ds", 75)])
def test_a_payment_has_its_time_before_it_counts_as_stuck(shop, token, minutes):
    shop.order(shop.cart(SEAT), token=token)

    later(shop, minutes=minutes, seconds=-1)
    before = cases(shop)
    later(shop, seconds=1)

    assert (before, [case.kind for case in cases(shop)]) == ([], ["payment"])


def test_an_order_that_is_held_is_listed_once(shop):
    hold_order(shop)

    case, order = the_case(shop), first(shop, Order)
    assert (case.kind, case.id, case.subject, case.reason, case.next_try) == ("order", order.id, order.id, "amount-mismatch", None)


def test_money_that_came_late_is_listed_until_it_has_gone_back(shop):
    order = pay_late(shop)
    stuck = {case.kind: case for case in cases(shop)}

    gateway(shop).instead.clear()
    later(shop, days=1)
    recover(shop.engine)

    assert stuck.keys() == {"order", "refund"}
    assert (stuck["order"].id, stuck["order"].reason) == (order["id"], "late-payment")
    assert (stuck["refund"].subject, stuck["refund"].reason) == (order["id"], "sandbox gives no answer: silence")
    assert (first(shop, Order).problem, cases(shop)) == ("late-payment", [])


def test_a_refund_that_is_under_way_has_a_week(shop, ear):
    ear.deaf = False
    pay_late(shop)
    gateway(shop).instead["refund_payment"] = answers(RefundResult("processing", eur("14.52")))
    later(shop, days=1)
    recover(shop.engine)

    kinds = []
    for _ in range(2):
        kinds.append([case.kind for case in cases(shop)])
        later(shop, days=5)

    assert (first(shop, Refund).status, kinds, [case.kind for case in cases(shop)]) == (
        "processing",
        [["order"], ["order"]],
        ["order", "refund"],
    )


def test_parked_work_of_any_other_kind(shop):
    break_work(shop)

    case = the_case(shop)
    assert (case.kind, case.account, case.subject, case.tries) == ("work", shop.account.id, "sub_1", MOST_TRIES)
    assert (case.since, case.next_try, case.reason) == (shop.clock.now(), None, "end_subscription: ZeroDivisionError: division by zero")


# --- pages and numbers


def everything(shop):
    """Something of each kind, two of some."""
    park_delivery(shop)
    park_delivery(shop)
    pay_late(shop)
    lose_payment(shop)
    lose_payment(shop)
    break_work(shop)


def test_pages_hold_every_case_once_kind_by_kind_and_the_newest_first(shop):
    everything(shop)
    whole, end = stuck_cases(shop.engine, limit=100)

    parts, cursor = [], None
    while cursor is not None or not parts:
        page, cursor = stuck_cases(shop.engine, limit=2, cursor=cursor)
        parts.append(page)

    assert [case for page in parts for case in page] == whole
    assert [len(page) for page in parts] == [2, 2, 2, 1]
    assert [case.kind for case in whole] == ["delivery", "delivery", "order", "payment", "payment", "refund", "work"]
    assert (whole[0].since > whole[1].since, whole[3].since > whole[4].since, end) == (True, True, None)
    counted = {"delivery": 2, "order": 1, "payment": 2, "refund": 1, "work": 1}
    assert count_stuck(shop.engine) == {**NOTHING, **counted}


@pytest.mark.parametrize("cursor", ["nonsense", "delivery:dlv_x", "delivery:" + "9" * 50, "zzz:", ":", "order:"])
def test_a_cursor_that_was_never_given_does_no_harm(shop, cursor):
    park_delivery(shop)

    assert len(stuck_cases(shop.engine, limit=10, cursor=cursor)[0]) <= 1


def test_a_webhook_about_money_that_nobody_here_asked_for(shop):
    tell(shop, "pay_of_somebody")

    [case] = cases(shop)

    assert (case.kind, case.account, case.subject, case.tries, case.next_try) == ("webhook", None, "evt_1", 0, None)
    assert case.reason == "sandbox, payment.captured: no payment of this shop"
    with pytest.raises(Missing):
        retry(shop.engine, case.id)


# --- back to work


def test_a_webhook_is_acted_on_once_more(shop):
    order = shop.order(shop.cart(SEAT), token="tok_3ds")
    payment = first(shop, Payment)
    gateway(shop).confirm_payment(reference(payment), {})
    gateway(shop).instead["retrieve_payment"] = raises(ProviderTimeout("no answer"))
    tell(shop, payment.id)
    for _ in range(MOST_APPLIED):
        apply_events(shop.engine)
        later(shop, hours=7)
    [case] = [case for case in cases(shop) if case.kind == "webhook"]
    gateway(shop).instead.clear()

    done = retry(shop.engine, case.id)
    apply_events(shop.engine)

    assert (case.account, case.subject) == (shop.account.id, payment.id)
    assert case.reason == "sandbox, payment.captured: ProviderTimeout: no answer"
    assert (done, first(shop, PaymentWebhookEvent).status, cases(shop)) == (1, "done", [])
    assert shop.engine.db.get(Order, order["id"]).status == "completed"


def test_one_case_is_put_back_to_work(shop, ear):
    order = park_delivery(shop)
    lose_payment(shop)
    payment = first(shop, Payment)
    ear.deaf = False

    done = retry(shop.engine, cases(shop)[0].id)
    drain(shop.engine)

    assert (done, ear.heard, [case.id for case in cases(shop)]) == (1, [order["id"]], [payment.id])


@pytest.mark.parametrize(("stick", "kind"), [(lose_payment, "payment"), (hold_order, "order"), (pay_late, "refund")])
def test_a_provider_is_asked_at_once(shop, stick, kind):
    stick(shop)
    gateway(shop).instead.clear()
    [case] = [case for case in cases(shop) if case.kind == kind]
    gateway(shop).calls.clear()

    done = retry(shop.engine, case.id)
    recover(shop.engine)

    assert (done, gateway(shop).calls) == (1, ["refund_payment" if kind == "refund" else "retrieve_payment"])
    assert cases(shop) == []


def test_all_of_it_is_put_back_to_work(shop, ear):
    everything(shop)
    gateway(shop).instead.clear()
    ear.deaf = False

    done = retry_all(shop.engine)
    recover(shop.engine)
    drain(shop.engine)

    assert (done, retry_all(shop.engine)) == (6, 0)
    assert (len(ear.heard), cases(shop)) == (2, [])


@pytest.mark.parametrize("case", ["dlv_99", "dlv_x", "pay_1", "ord_1", "cap_1", "ref_1", "job_1", "pwe_1", "nonsense", ""])
def test_what_is_not_stuck_is_not_retried(shop, case):
    shop.order(shop.cart(SEAT))
    before = shop.rows()

    with pytest.raises(Missing):
        retry(shop.engine, case)

    assert shop.rows() == before
