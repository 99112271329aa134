"""The inbox of payment webhooks: each event once, acted on after it is stored, and never believed where the provider says otherwise."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from core.engine.engine import Engine
from core.engine.settings import CoreSettings, check_settings
from core.errors import Missing, PluginFailed, SettingsInvalid, Unauthorized
from core.invoices import Invoice
from core.orders import Order
from core.payment_webhooks import LIFETIME, MAX_ATTEMPTS, PaymentWebhookEvent, apply_events, receive
from core.payments import Payment, Refund, reference
from core.refunds import write_refund
from plugins.payments.sandbox_webhooks import parse, sign
from puesto import ProviderEvent, ProviderUnavailable, RefundResult, eur, hookimpl
from tests.core.gateway import Gateway, GatewayPlugin, answers, raises
from tests.plugins.payments.gateway import WEBHOOK_SECRETS

SEAT = {"mode": "buy", "plan": "gotoassist-standard", "seats": 1, "interval": "month"}


class TellingGateway(Gateway):
    """Knows the newer secret and, while keys are rotated, the older."""

    @property
    def capabilities(self):
        return replace(super().capabilities, webhooks=True, list_changes=False)

    def parse_webhook(self, headers, body, received_at):
        if "parse_webhook" in self.instead:
            return self.instead["parse_webhook"](None)
        return parse(WEBHOOK_SECRETS, headers, body, received_at)


class TellingPlugin(GatewayPlugin):
    @hookimpl
    def register_payment_providers(self):
        return [TellingGateway(self._context)]


@pytest.fixture
def shop(open_shop):
    return open_shop(plugins={"sandbox": TellingPlugin})


@pytest.fixture
def gateway(shop):
    return shop.engine.providers["sandbox"]


def webhook(shop, payment, type="payment.captured", *, event="evt_1", secret=WEBHOOK_SECRETS[0], **data):
    """What the gateway sends: headers and body."""
    told = {"payment_id": payment, "provider_ref": "ch_1", "refund_id": None, "amount": {"amount": 14_52, "currency": "EUR"}, **data}
    body = json.dumps({"type": type, "timestamp": "2026-03-01T12:00:00+00:00", "data": told}).encode()
    timestamp = str(int(shop.clock.now().timestamp()))
    return {"Webhook-Id": event, "Webhook-Timestamp": timestamp, "Webhook-Signature": sign(secret, event, timestamp, body)}, body


def tell(shop, payment, type="payment.captured", **changes):
    receive(shop.engine, "sandbox", *webhook(shop, payment, type, **changes))


def at_the_bank(shop):
    """The payment of an order whose buyer was sent to the bank."""
    order = shop.order(shop.cart(SEAT), token="tok_3ds")
    return shop.engine.db.first(Payment.select().where(Payment.order == order["id"]))


def approve(gateway, payment):
    """The buyer agrees at the bank, and never comes back."""
    gateway.confirm_payment(reference(payment), {})


def inbox(shop):
    events = shop.engine.db.all(PaymentWebhookEvent.select().order_by(PaymentWebhookEvent.id))
    return [(event.event_id, event.status, event.attempts, event.error) for event in events]


def order_status(shop):
    return shop.engine.db.first(Order.select()).status


def charged(gateway):
    return [(charge.amount.amount, charge.refunded.amount) for charge in gateway.charges()]


def test_a_buyer_who_never_comes_back_has_an_order(shop, gateway):
    payment = at_the_bank(shop)
    approve(gateway, payment)

    tell(shop, payment.id)
    stored = inbox(shop), order_status(shop)
    shop.run()

    assert stored == ([("evt_1", "waiting", 0, None)], "requires_action")
    assert (inbox(shop), order_status(shop)) == ([("evt_1", "done", 1, None)], "completed")
    assert charged(gateway) == [(14_52, 0)]  # 12.00 x 1.21
    assert [event["type"] for event in shop.events()] == ["order.completed", "subscription.started"]


def test_an_event_told_again_is_stored_once_and_does_nothing_more(shop, gateway):
    payment = at_the_bank(shop)
    approve(gateway, payment)
    tell(shop, payment.id)
    shop.run()
    before = shop.rows(), shop.events()

    tell(shop, payment.id)
    gateway.calls.clear()
    shop.run()

    assert (shop.rows(), shop.events(), gateway.calls) == (*before, [])


def test_what_it_tells_is_not_believed(shop, gateway):
    payment = at_the_bank(shop)

    tell(shop, payment.id, amount={"amount": 1, "currency": "USD"})
    shop.run()

    assert (inbox(shop), order_status(shop)) == ([("evt_1", "done", 1, None)], "requires_action")
    assert (shop.count(Invoice), shop.events()) == (0, [])


@pytest.mark.parametrize("late", ["payment.requires_action", "payment.declined"])
def test_news_of_yesterday_takes_nothing_back(shop, gateway, late):
    payment = at_the_bank(shop)
    approve(gateway, payment)
    tell(shop, payment.id)
    shop.run()
    before = shop.rows() | {"payment_webhook_event": 2}

    tell(shop, payment.id, late, event="evt_0")
    shop.run()

    assert (order_status(shop), shop.rows()) == ("completed", before)


def test_it_may_come_before_the_call_has_answered(shop, gateway):
    def told_meanwhile(real, request):
        result = real(request)
        tell(shop, request.payment_id)
        shop.run()
        return result

    gateway.instead["initiate_payment"] = told_meanwhile

    order = shop.order(shop.cart(SEAT))

    assert (order["status"], inbox(shop)) == ("completed", [("evt_1", "done", 1, None)])
    assert charged(gateway) == [(14_52, 0)]
    assert [event["type"] for event in shop.events()] == ["order.completed", "subscription.started"]


def test_money_for_an_order_that_was_given_up_goes_back(shop, gateway):
    payment = at_the_bank(shop)
    gateway.instead["cancel_payment"] = raises(ProviderUnavailable("down"))
    shop.clock.move_to(shop.clock.now() + timedelta(hours=2))
    shop.run()
    approve(gateway, payment)

    tell(shop, payment.id)
    shop.run()
    shop.clock.move_to(shop.clock.now() + timedelta(minutes=1))
    shop.run()

    assert order_status(shop) == "cancelled"
    assert charged(gateway) == [(14_52, 14_52)]


def test_a_refund_that_took_its_time_is_settled(shop, gateway):
    order = shop.order(shop.cart(SEAT))
    payment = shop.engine.db.first(Payment.select())
    with shop.engine.db.transaction():
        refund = write_refund(shop.engine, payment, None, "goodwill")
    gateway.instead["refund_payment"] = answers(RefundResult("processing", eur("14.52")))
    shop.clock.move_to(shop.clock.now() + timedelta(minutes=1))
    shop.run()
    before = shop.refresh(refund).status
    del gateway.instead["refund_payment"]

    tell(shop, payment.id, "refund.succeeded", refund_id=refund.id)
    apply_events(shop.engine)

    assert (before, shop.engine.db.first(Refund.select()).status) == ("processing", "succeeded")
    assert shop.engine.db.get(Order, order["id"]).status == "refunded"
    assert charged(gateway) == [(14_52, 14_52)]


def test_a_payment_is_also_found_by_the_providers_reference(shop, gateway):
    payment = at_the_bank(shop)
    approve(gateway, payment)

    tell(shop, None, provider_ref=payment.provider_ref)
    shop.run()

    assert (inbox(shop), order_status(shop)) == ([("evt_1", "done", 1, None)], "completed")


def strange(shop):
    return "pay_of_somebody"


def another_providers(shop):
    payment = at_the_bank(shop)
    shop.engine.db.update(payment, provider="invoice_terms")
    return payment.id


@pytest.mark.parametrize("payment", [strange, another_providers])
def test_a_payment_that_is_not_ours_is_parked_with_why(shop, gateway, payment):
    tell(shop, payment(shop))
    gateway.calls.clear()
    shop.run()

    assert inbox(shop) == [("evt_1", "parked", 0, "no payment of this shop")]
    assert gateway.calls == []


def test_while_the_provider_is_away_the_event_waits(shop, gateway):
    payment = at_the_bank(shop)
    approve(gateway, payment)
    tell(shop, payment.id)
    gateway.instead["retrieve_payment"] = raises(ProviderUnavailable("down"))

    apply_events(shop.engine)
    apply_events(shop.engine)  # its time has not come
    waiting = inbox(shop), order_status(shop)
    del gateway.instead["retrieve_payment"]
    shop.clock.move_to(shop.clock.now() + timedelta(minutes=1))
    apply_events(shop.engine)

    assert waiting == ([("evt_1", "waiting", 1, "ProviderUnavailable: down")], "requires_action")
    assert (inbox(shop), order_status(shop)) == ([("evt_1", "done", 2, None)], "completed")


def test_what_never_works_is_parked_in_the_end_and_holds_up_no_other(shop, gateway):
    stuck, other = at_the_bank(shop), at_the_bank(shop)
    for payment in (stuck, other):
        approve(gateway, payment)
    tell(shop, stuck.id)
    gateway.instead["retrieve_payment"] = lambda real, asked: real(
        replace(asked, provider_ref="?") if asked.payment_id == stuck.id else asked
    )

    for _ in range(MAX_ATTEMPTS):
        apply_events(shop.engine)
        shop.clock.move_to(shop.clock.now() + timedelta(hours=7))
    tell(shop, other.id, event="evt_2")
    apply_events(shop.engine)

    parked = ("evt_1", "parked", MAX_ATTEMPTS, "ProviderTimeout: sandbox tells of a payment that it does not know")
    assert inbox(shop) == [parked, ("evt_2", "done", 1, None)]


def unsigned(shop):
    headers, body = webhook(shop, "pay_1")
    return {name: value for name, value in headers.items() if name != "Webhook-Signature"}, body


def altered(shop):
    headers, body = webhook(shop, "pay_1")
    return headers, body.replace(b"14", b"15", 1)


def of_a_stranger(shop):
    return webhook(shop, "pay_1", secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")


def old(shop):
    sent = webhook(shop, "pay_1")
    shop.clock.move_to(shop.clock.now() + timedelta(minutes=6))
    return sent


@pytest.mark.parametrize("sent", [unsigned, altered, of_a_stranger, old])
def test_what_is_not_signed_is_stored_nowhere(shop, sent):
    before = shop.rows()

    with pytest.raises(Unauthorized):
        receive(shop.engine, "sandbox", *sent(shop))

    assert shop.rows() == before


def test_while_keys_are_rotated_the_old_secret_is_good(shop):
    payment = at_the_bank(shop)

    tell(shop, payment.id, secret=WEBHOOK_SECRETS[1])

    assert inbox(shop) == [("evt_1", "waiting", 0, None)]


@pytest.mark.parametrize("provider", ["invoice_terms", "paypal"])
def test_a_provider_that_takes_none_is_missing(shop, provider):
    with pytest.raises(Missing):
        receive(shop.engine, provider, *webhook(shop, "pay_1"))


@pytest.mark.parametrize("fault", [raises(KeyError("type")), raises(SystemExit()), lambda _: None, lambda _: [{"event_id": "evt_1"}]])
def test_a_provider_that_can_not_read_it_is_named_and_nothing_is_stored(shop, gateway, fault):
    gateway.instead["parse_webhook"] = fault
    before = shop.rows()

    with pytest.raises(PluginFailed) as failed:
        receive(shop.engine, "sandbox", *webhook(shop, "pay_1"))

    assert failed.value.extra == {"plugin": "sandbox", "hook": "parse_webhook"}
    assert shop.rows() == before


def test_no_events_store_nothing(shop):
    before = shop.rows()

    tell(shop, "pay_1", "payout.created")

    assert shop.rows() == before


def test_what_is_done_or_nobodys_is_kept_for_a_month(shop, gateway):
    payment = at_the_bank(shop)
    tell(shop, payment.id)
    tell(shop, "pay_of_somebody", event="evt_2")
    shop.run()

    shop.clock.move_to(shop.clock.now() + LIFETIME)
    shop.run()
    kept = len(inbox(shop))
    shop.clock.move_to(shop.clock.now() + timedelta(seconds=1))
    shop.run()

    assert (kept, inbox(shop)) == (2, [])


# --- what a plugin of this process reports of its own provider


def told(payment, event_id="evt_1"):
    return ProviderEvent(event_id, "payment.captured", payment, None, None, eur("14.52"), datetime(2026, 3, 1, 12, tzinfo=UTC))


class Reporting(GatewayPlugin):
    """Hands its context out, as a command of the plugin would use it."""

    def __init__(self, context):
        super().__init__(context)
        self.context = Reporting.context = context


def test_what_a_plugin_reports_is_stored_once_and_its_provider_is_asked(open_shop):
    shop = open_shop(plugins={"sandbox": Reporting})
    order = shop.order(shop.cart(SEAT))
    payment = order["payment"]["id"]
    shop.engine.providers["sandbox"].calls.clear()

    for _ in range(2):
        Reporting.context.report("sandbox", [told(payment), told("pay_0", "evt_2")])
    shop.run()

    assert inbox(shop) == [("evt_1", "done", 1, None), ("evt_2", "parked", 0, "no payment of this shop")]
    assert shop.engine.providers["sandbox"].calls == ["retrieve_payment"]


@pytest.mark.parametrize(
    ("provider", "events", "error"),
    [("nobody", [], LookupError), ("sandbox", ["evt_1"], TypeError), ("sandbox", [told(None), None], TypeError)],
)
def test_a_report_that_makes_no_sense_stores_nothing(open_shop, provider, events, error):
    shop = open_shop(plugins={"sandbox": Reporting})

    with pytest.raises(error):
        Reporting.context.report(provider, events)

    assert inbox(shop) == []


def test_a_plugin_can_not_report_while_it_is_made():
    class Hasty:
        def __init__(self, context):
            context.report("sandbox", [])

    with pytest.raises(SettingsInvalid, match="a plugin reports once the engine has started"):
        Engine(check_settings(CoreSettings(), {}), plugins={"hasty": Hasty})
