"""What is past due is paid by the buyer over the API, in any way that a cart can be paid; the schedule is none the wiser if not."""

from datetime import timedelta

import pytest

from core.invoices import Invoice
from core.recovery import recover
from puesto import ProviderTimeout, ProviderUnavailable
from tests.conftest import problem
from tests.core.gateway import GatewayPlugin, raises

PLUGINS = ["sandbox", "gotoassist", "gotomeeting", "vat", "vat_rates", "dunning", "invoice_terms"]


@pytest.fixture
def shop(open_shop):
    return open_shop(plugins={"sandbox": GatewayPlugin}, enabled=PLUGINS)


@pytest.fixture
def unpaid(shop):
    """A subscription whose stored card was refused for good on its day."""
    subscription = shop.buy("gotoassist-professional", token="tok_ok_then_declined", save=True)
    shop.on("2026-04-01")
    shop.run()
    assert shop.show(subscription)["past_due"]["next_try"] == "2026-04-02T12:00:00.000Z"
    return subscription


def pay(client, subscription, token="tok_ok", **more):
    payment = {"provider": "sandbox", "token": token, **more.pop("payment", {})}
    return client.post(f"/v1/subscriptions/{subscription.id}/pay", {"payment": payment, **more.pop("body", {})}, **more)


def captured(shop):
    return [charge.amount.amount for charge in shop.engine.providers["sandbox"].charges() if charge.status == "captured"]


def test_it_is_paid_with_a_card_that_is_kept_and_goes_on(shop, client, unpaid):
    shop.on("2026-04-03")

    answer = pay(client, unpaid, payment={"save": True})

    order, shown = answer.json, client.get(f"/v1/subscriptions/{unpaid.id}").json
    assert (answer.status_code, answer.headers["Location"]) == (201, f"/v1/orders/{order['id']}")
    assert (order["status"], order["kind"], order["due_now"]["amount"]) == ("completed", "renewal", 7260)
    assert (shown["status"], shown["past_due"], shown["current_period"]) == ("active", None, {"start": "2026-04-01", "end": "2026-05-01"})
    assert client.get(f"/v1/invoices/{order['invoice']}").json["status"] == "paid"
    assert len(shop.events("subscription.recovered")) == 1
    shop.on("2026-05-01")
    shop.run()
    assert (captured(shop), shop.show(unpaid)["status"]) == ([7260] * 3, "active")


def test_the_bank_may_ask_the_buyer_and_the_schedule_waits_for_that(shop, client, unpaid):
    order = pay(client, unpaid, "tok_3ds").json
    assert (order["status"], order["next_action"]["type"]) == ("requires_action", "redirect")
    shop.clock.move_to(shop.clock.now() + timedelta(minutes=5))

    done = client.post(f"/v1/orders/{order['id']}/confirm", {}).json

    assert (done["status"], shop.show(unpaid)["status"]) == ("completed", "active")


def test_a_buyer_who_tries_again_gives_up_the_try_at_the_bank(shop, client, unpaid):
    left = pay(client, unpaid, "tok_3ds").json

    assert pay(client, unpaid).json["status"] == "completed"

    assert client.get(f"/v1/orders/{left['id']}").json["status"] == "cancelled"
    assert (captured(shop), shop.show(unpaid)["status"]) == ([7260] * 2, "active")


def test_a_refusal_is_no_attempt_of_the_schedule(shop, client, unpaid):
    before = client.get(f"/v1/subscriptions/{unpaid.id}").json

    refused = pay(client, unpaid, "tok_expired_card")

    after = client.get(f"/v1/subscriptions/{unpaid.id}").json
    assert problem(refused) == (402, "payment-declined")
    assert after["past_due"] == before["past_due"]
    assert (after["status"], shop.refresh(unpaid).changing) == ("past_due", None)


def test_who_leaves_the_bank_undone_is_no_worse_off(shop, client, unpaid):
    before = shop.show(unpaid)["past_due"]
    pay(client, unpaid, "tok_3ds")

    shop.clock.move_to(shop.clock.now() + timedelta(hours=2))
    shop.run()

    assert (shop.show(unpaid)["past_due"], shop.refresh(unpaid).changing) == (before, None)


def test_it_is_paid_on_terms_by_staff(shop, client):
    account = shop.open_account(kind="corporate")
    subscription = shop.buy("gotoassist-professional", account=account, token="tok_ok")
    shop.on("2026-04-01")
    shop.run()
    body = {"payment": {"provider": "invoice_terms"}, "purchase_order": "PO-7"}

    token = client.token(shop.add_user(account, role="billing_contact"))
    theirs = client.post(f"/v1/subscriptions/{subscription.id}/pay", body, bearer=token)
    order = client.post(f"/v1/subscriptions/{subscription.id}/pay", body).json

    assert problem(theirs) == (403, "corporate-account")
    assert (order["status"], order["purchase_order"], shop.show(subscription)["status"]) == ("completed", "PO-7", "active")
    [invoice] = shop.engine.db.all(Invoice.select().where(Invoice.order == order["id"]))
    assert (invoice.status, str(invoice.due_on)) == ("open", "2026-05-01")


def test_what_is_not_past_due_is_not_paid(shop, client):
    subscription = shop.buy("gotoassist-professional")

    assert problem(pay(client, subscription)) == (409, "transition-invalid")
    assert captured(shop) == [7260]


def test_while_it_is_charged_by_the_schedule_it_is_not_paid_twice(shop, client, unpaid):
    subscription = shop.refresh(unpaid)
    shop.engine.db.update(subscription, changing="ord_of_the_schedule")

    assert problem(pay(client, unpaid)) == (409, "transition-invalid")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/payment"),
        ({"payment": {"provider": "sandbox"}}, "/payment/token"),
        ({"payment": {"provider": "bank", "token": "tok_ok"}}, "/payment/provider"),
        ({"amount": 1}, "/amount"),
    ],
)
def test_what_is_wrong_is_named(client, unpaid, body, pointer):
    assert problem(client.post(f"/v1/subscriptions/{unpaid.id}/pay", body)) == (422, "validation-failed", pointer)


def test_the_same_key_charges_once(shop, client, unpaid):
    first, again = pay(client, unpaid, key="mine"), pay(client, unpaid, key="mine")

    assert (first.status_code, again.json, again.headers["Idempotency-Replayed"]) == (201, first.json, "true")
    assert captured(shop) == [7260] * 2


def test_a_provider_that_is_down_changes_nothing(shop, client, unpaid):
    shop.engine.providers["sandbox"].instead["initiate_payment"] = raises(ProviderUnavailable("down"))

    answer = pay(client, unpaid)

    assert problem(answer) == (503, "payment-provider-unavailable")
    assert (shop.show(unpaid)["past_due"]["attempts"], shop.refresh(unpaid).changing) == (1, None)


def test_a_call_that_got_lost_is_not_made_anew_without_the_card(shop, client, unpaid):
    gateway = shop.engine.providers["sandbox"]
    gateway.instead["initiate_payment"] = raises(ProviderTimeout("silence"))
    order = pay(client, unpaid).json
    assert order["status"] == "processing"
    gateway.instead.clear()
    gateway.calls.clear()

    shop.clock.move_to(shop.clock.now() + timedelta(minutes=1))
    recover(shop.engine)

    assert (gateway.calls, client.get(f"/v1/orders/{order['id']}").json["status"]) == (["retrieve_payment"], "failed")
    assert (shop.show(unpaid)["past_due"]["attempts"], shop.refresh(unpaid).changing) == (1, None)
