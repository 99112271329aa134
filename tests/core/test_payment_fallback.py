"""A second provider is tried where the first is down, and never where it has refused or nobody knows: one order, one charge."""

import pytest

from core.access import INTERNAL
from core.checkout import settle
from core.errors import PaymentDeclined, PaymentProviderUnavailable
from core.invoices import Invoice
from core.orders import Order
from core.payment_methods import PaymentMethod, add_method, delete_method, save_at_provider
from core.payments import Payment, PaymentChoice, Refund, never_begun, reference
from core.recovery import recover
from core.subscriptions import Subscription
from puesto import PaymentResult, ProviderMisconfigured, ProviderTimeout, ProviderUnavailable, eur
from tests.conftest import Client, problem
from tests.core.gateway import GatewayPlugin, SparePlugin, raises

SEAT = {"mode": "buy", "plan": "gotoassist-standard", "seats": 1, "interval": "month"}  # 12.00, with tax 14.52
DOWN = ProviderUnavailable("down")


@pytest.fixture
def shop(open_shop):
    return open_shop(plugins={"sandbox": GatewayPlugin, "spare": SparePlugin})


@pytest.fixture
def first(shop):
    return shop.engine.providers["sandbox"]


@pytest.fixture
def second(shop):
    return shop.engine.providers["spare"]


def pay(shop, *fallbacks, token="tok_ok", **options):
    """Order a seat with the first provider, or else with the others."""
    choices = tuple(PaymentChoice(**{"provider": "spare", **each}) for each in fallbacks or ({"token": "tok_ok"},))
    return shop.order(shop.cart(SEAT), token=token, fallbacks=choices, **options)


def attempts(shop):
    rows = shop.engine.db.all(Payment.select().order_by(Payment.id))
    return [(row.provider, row.status, row.problem) for row in rows]


def charged(*providers):
    charges = [charge for provider in providers for charge in provider.charges() if charge.amount.amount]
    return [(charge.amount.amount, charge.refunded.amount) for charge in charges]


@pytest.mark.parametrize("fault", [DOWN, ProviderMisconfigured("bad key")], ids=["away", "misconfigured"])
def test_where_the_first_is_down_the_second_charges(shop, first, second, fault):
    first.instead["initiate_payment"] = raises(fault)

    order = pay(shop)

    assert (order["status"], order["payment"]["provider"], order["payment"]["status"]) == ("completed", "spare", "captured")
    assert attempts(shop) == [("sandbox", "failed", None), ("spare", "captured", None)]
    assert (charged(first), charged(second)) == ([], [(1452, 0)])
    assert [event["type"] for event in shop.events()] == ["order.completed", "subscription.started"]
    assert first.calls == second.calls == ["initiate_payment"]


@pytest.mark.parametrize("token", ["tok_ok", "tok_3ds", "tok_timeout"])
def test_where_the_first_answers_or_nobody_knows_the_second_is_not_asked(shop, second, token):
    pay(shop, token=token)

    assert second.calls == []
    assert [row[0] for row in attempts(shop)] == ["sandbox"]


def test_after_a_refusal_the_second_is_not_asked(shop, second):
    with pytest.raises(PaymentDeclined):
        pay(shop, token="tok_card_declined")

    assert (second.calls, attempts(shop)) == ([], [("sandbox", "declined", None)])


@pytest.mark.parametrize("fault", [ProviderTimeout("silent"), RuntimeError("bug")])
def test_whatever_leaves_the_outcome_unknown_is_no_reason_to_try_another(shop, first, second, fault):
    first.instead["initiate_payment"] = raises(fault)

    order = pay(shop)

    assert (order["status"], second.calls, attempts(shop)) == ("processing", [], [("sandbox", "processing", None)])


def test_what_the_second_answers_is_the_answer(shop, first):
    first.instead["initiate_payment"] = raises(DOWN)

    with pytest.raises(PaymentDeclined) as refused:
        pay(shop, {"token": "tok_expired_card"})

    assert refused.value.extra["decline_code"] == "expired_card"
    assert attempts(shop) == [("sandbox", "failed", None), ("spare", "declined", None)]


def test_where_all_are_down_the_order_fails_and_the_cart_is_open(shop, first, second):
    first.instead["initiate_payment"] = second.instead["initiate_payment"] = raises(DOWN)

    with pytest.raises(PaymentProviderUnavailable) as away:
        pay(shop)

    assert away.value.extra == {"provider": "spare"}
    [order] = shop.engine.db.all(Order.select())
    assert (order.status, attempts(shop)) == ("failed", [("sandbox", "failed", None), ("spare", "failed", None)])
    assert shop.events() == []


def test_a_stored_method_can_be_the_fallback(shop, first):
    account = shop.account.id
    method = add_method(shop.engine, account, INTERNAL, "spare", save_at_provider(shop.engine, account, INTERNAL, "spare", "tok_ok"))
    first.instead["initiate_payment"] = raises(DOWN)

    order = pay(shop, {"payment_method": method.id})

    assert (order["status"], order["payment"]["method"]) == ("completed", {"brand": "visa", "last4": "4242"})


def test_a_stored_method_that_goes_meanwhile_is_passed_over(shop, first):
    account = shop.account.id
    method = add_method(shop.engine, account, INTERNAL, "spare", save_at_provider(shop.engine, account, INTERNAL, "spare", "tok_ok"))

    def forgotten_meanwhile(_real, *_arguments):
        delete_method(shop.engine, account, method.id, INTERNAL)
        raise DOWN

    first.instead["initiate_payment"] = forgotten_meanwhile

    with pytest.raises(PaymentProviderUnavailable):
        pay(shop, {"payment_method": method.id})

    assert attempts(shop) == [("sandbox", "failed", None)]
    assert shop.engine.db.first(Order.select()).status == "failed"


def test_the_method_of_the_one_that_charged_is_kept(shop, first):
    first.instead["initiate_payment"] = raises(DOWN)

    pay(shop, save=True)

    [method] = shop.engine.db.all(PaymentMethod.select())
    assert (method.provider, method.default) == ("spare", True)


# --- what comes late from the first


def test_recovery_that_learns_late_of_the_first_does_not_end_the_order(shop, first, second):
    def meanwhile(real, *arguments):
        settle(shop.engine, _payment(shop, "sandbox"), never_begun(_payment(shop, "sandbox")))
        return real(*arguments)

    first.instead["initiate_payment"] = raises(DOWN)
    second.instead["initiate_payment"] = meanwhile

    order = pay(shop)

    assert (order["status"], order["problem"]) == ("completed", None)
    assert attempts(shop) == [("sandbox", "failed", None), ("spare", "captured", None)]


@pytest.mark.parametrize("when", ["before the second answers", "afterwards"])
def test_money_that_the_first_took_although_it_said_it_was_down_goes_back(shop, first, second, when):
    def charge_and_deny(real, *arguments):
        real(*arguments)
        raise DOWN

    def learn(real=None, *arguments):
        payment = _payment(shop, "sandbox")
        settle(shop.engine, payment, first.retrieve_payment(reference(payment)))
        return real(*arguments) if real else None

    first.instead["initiate_payment"] = charge_and_deny
    if when == "before the second answers":
        second.instead["initiate_payment"] = learn

    order = pay(shop)
    learn()
    first.instead.clear()
    shop.clock.move_to(shop.clock.now().replace(hour=13))
    recover(shop.engine)

    assert shop.engine.db.get(Order, order["id"]).status == "completed"
    assert (charged(first), charged(second)) == ([(1452, 1452)], [(1452, 0)])
    assert (shop.count(Refund), shop.count(Subscription), shop.count(Invoice)) == (1, 1, 1)
    assert attempts(shop) == [("sandbox", "captured", "late-payment"), ("spare", "captured", None)]


def test_money_that_the_first_set_aside_although_it_said_it_was_down_is_let_go(shop, first, second):
    def set_aside_and_deny(real, *arguments):
        real(*arguments)
        raise DOWN

    shop.engine.settings["payments"]["capture"] = "manual"
    first.instead["initiate_payment"] = set_aside_and_deny
    order = pay(shop)
    payment = _payment(shop, "sandbox")
    settle(shop.engine, payment, first.retrieve_payment(reference(payment)))
    first.instead.clear()

    shop.clock.move_to(shop.clock.now().replace(hour=13))
    recover(shop.engine)

    now = shop.engine.db.get(Order, order["id"])
    assert (now.status, now.problem, shop.engine.db.first(Subscription.select()).status) == ("completed", None, "active")
    assert attempts(shop) == [("sandbox", "canceled", None), ("spare", "authorized", None)]
    assert ([charge.status for charge in first.charges()], shop.events("order.voided")) == (["canceled"], [])


def test_another_amount_at_the_first_is_for_a_human_and_the_order_stays_complete(shop, first):
    first.instead["initiate_payment"] = raises(DOWN)
    order = pay(shop)

    settle(shop.engine, _payment(shop, "sandbox"), PaymentResult("captured", eur("1.00"), "ch_1"))

    now = shop.engine.db.get(Order, order["id"])
    assert (now.status, now.problem, shop.count(Refund)) == ("completed", "amount-mismatch", 0)


def _payment(shop, provider):
    return shop.engine.db.first(Payment.select().where(Payment.provider == provider))


# --- over HTTP


def test_over_http_the_next_provider_is_named_with_its_token(shop, first):
    client = Client(shop)
    first.instead["initiate_payment"] = raises(DOWN)
    cart = shop.cart(SEAT).id
    body = {
        "quote": client.get(f"/v1/carts/{cart}/quote").json["quote"],
        "payment": {"provider": "sandbox", "token": "tok_ok", "fallbacks": [{"provider": "spare", "token": "tok_ok"}]},
    }

    answers = [client.post(f"/v1/carts/{cart}/checkout", body, key="one") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json == answers[1].json
    assert answers[0].json["payment"]["provider"] == "spare"


@pytest.mark.parametrize(
    ("fallback", "pointer"),
    [
        ({"provider": "nobody", "token": "tok_ok"}, "/payment/fallbacks/0/provider"),
        ({"provider": "sandbox", "token": "tok_ok"}, "/payment/fallbacks/0/provider"),
        ({"provider": "invoice_terms"}, "/payment/fallbacks/0/provider"),
        ({"provider": "spare"}, "/payment/fallbacks/0/token"),
        ({"provider": "spare", "payment_method": "pm_none"}, "/payment/fallbacks/0/payment_method"),
        ({"provider": "spare", "token": "tok_ok", "save": True}, "/payment/fallbacks/0/save"),
        ({"provider": "spare", "token": "tok_ok", "fallbacks": []}, "/payment/fallbacks/0/fallbacks"),
    ],
    ids=["unknown", "the same", "refuses the cart", "no token", "unknown method", "saves apart", "nested"],
)
def test_a_fallback_that_could_not_be_tried_is_refused_before_anything_is_charged(shop, first, fallback, pointer):
    client = Client(shop)
    cart = shop.cart(SEAT).id
    payment = {"provider": "sandbox", "token": "tok_ok", "fallbacks": [fallback]}

    refused = client.post(
        f"/v1/carts/{cart}/checkout", {"quote": client.get(f"/v1/carts/{cart}/quote").json["quote"], "payment": payment}
    )

    assert (problem(refused)[0], problem(refused)[2:]) in [(422, (pointer,)), (404, (pointer,))]
    assert (first.calls, shop.count(Order), shop.count(Payment)) == ([], 0, 0)
