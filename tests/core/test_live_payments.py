"""Live or test is a property of each payment: money of the other mode confirms nothing."""

from dataclasses import replace

import pytest

from core.access import INTERNAL
from core.checkout import settle
from core.errors import PaymentProviderUnavailable
from core.orders import Order
from core.payment_methods import PaymentMethod, save_at_provider
from core.payment_webhooks import PaymentWebhookEvent, apply_events, receive
from core.payments import Payment, reference
from core.recovery import recover
from core.stuck import stuck_cases
from core.subscriptions import Subscription
from puesto import Capabilities, PaymentProvider, PaymentResult, ProviderEvent, SavedMethod, eur, hookimpl
from tests.core.test_payment_webhooks import TellingPlugin

SEAT = {"mode": "buy", "plan": "gotoassist-standard", "seats": 1, "interval": "month"}  # 12.00, with tax 14.52


class Till(PaymentProvider):
    """Takes everything, and says `live` of it."""

    name = "till"
    capabilities = Capabilities(save_method=True)

    def __init__(self, live):
        self.live = live

    def initiate_payment(self, request):
        saved = SavedMethod("till-1", "visa", "4242") if request.save_method else None
        return PaymentResult("captured", request.amount, "till-1", saved_method=saved, live=self.live)

    save_method = initiate_payment

    def retrieve_payment(self, payment):
        return PaymentResult("captured", payment.amount, "till-1", live=self.live)


class TillPlugin:
    def __init__(self, live):
        self.till = Till(live)

    @hookimpl
    def register_payment_providers(self):
        return [self.till]


def order(shop, **payment):
    return shop.order(shop.cart(SEAT), provider="till", token="tok", **payment)


def an_hour_later(shop):
    shop.clock.move_to(shop.clock.now().replace(hour=13))
    recover(shop.engine)


@pytest.mark.parametrize(("mode", "live"), [("live", True), ("live", None), ("sandbox", False), ("sandbox", None)])
def test_a_payment_is_of_the_mode_that_the_shop_is_in(open_shop, mode, live):
    shop = open_shop(plugins={"till": TillPlugin(live)}, mode=mode, disabled=["simulated_vat_registry"])

    paid = order(shop)

    assert (paid["status"], paid["problem"], paid["payment"]["live"]) == ("completed", None, mode == "live")


@pytest.mark.parametrize(("mode", "live"), [("live", False), ("sandbox", True)])
def test_money_of_the_other_mode_holds_the_order(open_shop, mode, live):
    shop = open_shop(plugins={"till": TillPlugin(live)}, mode=mode, disabled=["simulated_vat_registry"])

    held = order(shop, save=True)
    an_hour_later(shop)

    assert (held["status"], held["problem"], held["payment"]["live"]) == ("processing", "test-payment", not live)
    assert (shop.count(Subscription), shop.count(PaymentMethod), shop.events()) == (0, 0, [])
    [case], _ = stuck_cases(shop.engine, limit=9)
    assert (case.kind, case.id, case.reason) == ("order", held["id"], "test-payment")


@pytest.mark.parametrize(
    ("answer", "status"),
    [(PaymentResult("captured", eur("14.52"), live=True), "completed"), (PaymentResult("canceled", eur("0.00"), live=False), "failed")],
    ids=["paid after all", "voided"],
)
def test_a_held_order_goes_on_once_the_provider_says_otherwise(open_shop, answer, status):
    shop = open_shop(plugins={"till": TillPlugin(False)}, mode="live", disabled=["simulated_vat_registry"])
    held = order(shop)

    settle(shop.engine, shop.engine.db.first(Payment.select()), answer)

    now = shop.engine.db.get(Order, held["id"])
    assert (now.status, now.problem) == (status, None)


def test_a_method_of_the_other_mode_is_not_stored(open_shop):
    shop = open_shop(plugins={"till": TillPlugin(True)})

    with pytest.raises(PaymentProviderUnavailable):
        save_at_provider(shop.engine, shop.account.id, INTERNAL, "till", "tok")

    assert shop.count(PaymentMethod) == 0


@pytest.mark.parametrize(("live", "ours"), [(True, False), (False, True), (None, True)])
def test_news_of_the_other_mode_are_parked_and_never_acted_on(open_shop, live, ours):
    shop = open_shop(plugins={"sandbox": TellingPlugin})
    waiting = shop.order(shop.cart(SEAT), token="tok_3ds")
    gateway = shop.engine.providers["sandbox"]
    event = ProviderEvent("evt_1", "payment.captured", waiting["payment"]["id"], None, None, eur("14.52"), shop.clock.now())
    gateway.instead["parse_webhook"] = lambda _: [replace(event, live=live)]
    gateway.calls.clear()

    receive(shop.engine, "sandbox", {}, b"")
    apply_events(shop.engine)

    row = shop.engine.db.first(PaymentWebhookEvent.select())
    parked = ("parked", None, "about live money, which this payment is not")
    assert (row.status, row.payment, row.error) == (("done", waiting["payment"]["id"], None) if ours else parked)
    assert gateway.calls == (["retrieve_payment"] if ours else [])


def test_news_of_the_other_mode_about_nothing_of_ours_say_so(open_shop):
    shop = open_shop(plugins={"sandbox": TellingPlugin})
    event = ProviderEvent("evt_1", "payment.captured", "pay_else", None, None, eur("14.52"), shop.clock.now(), live=True)
    shop.engine.providers["sandbox"].instead["parse_webhook"] = lambda _: [event]

    receive(shop.engine, "sandbox", {}, b"")

    row = shop.engine.db.first(PaymentWebhookEvent.select())
    assert (row.status, row.error) == ("parked", "about live money, which this shop is not")


def test_the_sandbox_says_that_no_money_moves(shop):
    paid = shop.order(shop.cart(SEAT))
    payment = shop.engine.db.get(Payment, paid["payment"]["id"])

    assert shop.engine.providers["sandbox"].retrieve_payment(reference(payment)).live is False
