"""Changes without a cart over HTTP: the preview is the invoice, and every refusal says what to do."""

import pytest

from puesto import ProviderUnavailable
from tests.api.scene import SEAT
from tests.conftest import Client, problem


@pytest.fixture
def subscription(shop):
    """Five seats at 60.00 a month, whose card is stored."""
    return shop.buy("gotoassist-professional", seats=5, token="tok_ok", save=True)


def path(subscription, more=""):
    return f"/v1/subscriptions/{subscription.id}/changes{more}"


def cards(shop):
    return [charge.amount.amount for charge in shop.engine.providers["sandbox"].charges() if charge.status == "captured"]


def methods(client, shop):
    """Ids of the stored methods, the default first."""
    found = client.get(f"/v1/accounts/{shop.account.id}/payment-methods").json["data"]
    return [each["id"] for each in sorted(found, key=lambda method: not method["default"])]


def refused_from_now_on(client, shop):
    """Another card becomes the default, and is used up."""
    shop.buy("rescue-standard", token="tok_ok_then_declined", save=True)


def asked_at_the_bank(client, shop):
    """Another card becomes the default, for which the bank always wants to see the buyer."""
    bought = client.check_out(client.post("/v1/carts", {"account": shop.account.id, "lines": [SEAT]}).json["id"], "tok_3ds", save=True)
    assert client.post(f"/v1/orders/{bought.json['id']}/confirm", {}).json["status"] == "completed"


def test_what_the_preview_shows_is_ordered_charged_and_invoiced_to_the_cent(client, shop, subscription):
    shop.on("2026-03-11")
    before = shop.contents()
    preview = client.post(path(subscription, "/preview"), {"seats": 8}, key=None).json
    assert shop.contents() == before

    answer = client.post(path(subscription), {"seats": 8, "quote": preview["quote"]})

    order = answer.json
    invoice = client.get(f"/v1/invoices/{order['invoice']}").json
    shown = {name: preview[name]["amount"] for name in ("net", "tax", "total", "due_now")}
    # 5 x 60.00 x 21/31 = 203.23 back, 8 x 60.00 for a new month; 100.80 - 42.68 tax
    assert shown == {"net": 27677, "tax": 5812, "total": 33489, "due_now": 33489}
    assert {name: order[name]["amount"] for name in shown} == shown
    assert [invoice[name] for name in ("net", "tax", "total")] == [preview[name] for name in ("net", "tax", "total")]
    assert (answer.status_code, answer.headers["Location"]) == (201, f"/v1/orders/{order['id']}")
    assert (order["kind"], order["cart"], order["status"]) == ("change", None, "completed")
    assert order["lines"][0]["explanation"] == preview["lines"][0]["explanation"]
    assert cards(shop) == [36300, 33489]
    now = client.get(f"/v1/subscriptions/{subscription.id}").json
    assert (now["seats"], now["current_period"]) == (8, {"start": "2026-03-11", "end": "2026-04-11"})
    assert now["next_charge"] == preview["lines"][0]["next_charge"]


def test_downwards_nothing_is_charged_and_the_change_waits(client, shop, subscription):
    order = client.post(path(subscription), {"seats": 3}).json

    assert (order["status"], order["due_now"]["amount"], order["payment"], order["invoice"]) == ("completed", 0, None, None)
    assert client.get(f"/v1/subscriptions/{subscription.id}").json["pending_changes"][0]["seats"] == 3
    assert cards(shop) == [36300]


def test_the_same_key_gets_the_first_answer(client, shop, subscription):
    first, again = (client.post(path(subscription), {"seats": 8}, key="mine") for _ in range(2))

    assert again.json == first.json
    assert (again.headers["Idempotency-Replayed"], len(cards(shop))) == ("true", 2)


def test_a_billing_contact_may_and_a_corporate_accounts_may_not(client, shop, subscription):
    token = client.token(shop.add_user(role="billing_contact"))
    assert client.post(path(subscription), {"seats": 6}, bearer=token).status_code == 201
    client.patch(f"/v1/accounts/{shop.account.id}", {"kind": "corporate"})

    refused = client.post(path(subscription), {"seats": 7}, bearer=token)

    assert problem(refused) == (403, "corporate-account")
    assert client.post(path(subscription), {"seats": 7}).status_code == 201


def test_a_quote_that_has_moved_is_refused_with_the_new_one(client, shop, subscription):
    quote = client.post(path(subscription, "/preview"), {"seats": 8}).json["quote"]
    shop.on("2026-03-11")
    before = shop.contents()

    refused = client.post(path(subscription), {"seats": 8, "quote": quote})

    assert problem(refused) == (409, "quote-changed")
    assert {"/lines/0/credit", "/due_now"} <= {change["pointer"] for change in refused.json["changes"]}
    assert shop.contents() == before
    assert client.post(path(subscription), {"seats": 8, "quote": refused.json["quote"]["quote"]}).status_code == 201


def test_a_quote_is_only_good_for_the_change_that_it_shows(client, subscription):
    quote = client.post(path(subscription, "/preview"), {"seats": 8}).json["quote"]

    assert problem(client.post(path(subscription), {"seats": 9, "quote": quote})) == (409, "quote-changed")
    assert problem(client.post(path(subscription), {"seats": 9, "quote": "q1"})) == (422, "validation-failed", "/quote")


def test_a_quote_expires(client, shop, subscription):
    quote = client.post(path(subscription, "/preview"), {"seats": 8}).json["quote"]
    shop.clock.move_to(shop.clock.now().replace(hour=20))

    assert problem(client.post(path(subscription), {"seats": 8, "quote": quote})) == (409, "quote-expired")


def test_a_refused_card_leaves_all_as_it_was(client, shop, subscription):
    refused_from_now_on(client, shop)
    before = shop.refresh(subscription).__data__

    refused = client.post(path(subscription), {"seats": 8})

    assert problem(refused) == (402, "payment-declined")
    assert (refused.json["decline_code"], shop.refresh(subscription).__data__) == ("card_declined", before)
    assert shop.events("subscription.changed", "subscription.past_due") == []


def test_another_stored_method_pays_where_it_is_named(client, shop, subscription):
    [method] = methods(client, shop)
    refused_from_now_on(client, shop)

    assert client.post(path(subscription), {"seats": 8, "payment_method": method}).json["status"] == "completed"
    assert problem(client.post(path(subscription), {"seats": 9, "payment_method": "pm_1"})) == (404, "not-found", "/payment_method")


def test_who_has_no_stored_method_is_told_to_store_one(client, shop):
    subscription = shop.buy("gotoassist-professional")
    before = shop.contents()

    assert problem(client.post(path(subscription), {"seats": 8})) == (422, "validation-failed", "/payment_method")
    assert shop.contents() == before


def test_the_bank_may_want_to_see_the_buyer(client, shop, subscription):
    asked_at_the_bank(client, shop)

    order = client.post(path(subscription), {"seats": 8}).json

    assert (order["status"], order["next_action"]["type"], shop.refresh(subscription).seats) == ("requires_action", "redirect", 5)
    assert client.post(f"/v1/orders/{order['id']}/confirm", {}).json["status"] == "completed"
    assert shop.refresh(subscription).seats == 8


def test_a_new_change_gives_up_the_one_whose_buyer_is_at_the_bank(client, shop, subscription):
    [ok] = methods(client, shop)
    asked_at_the_bank(client, shop)
    waits = client.post(path(subscription), {"seats": 8}).json
    assert client.post(path(subscription, "/preview"), {"seats": 6}).status_code == 200

    order = client.post(path(subscription), {"seats": 6, "payment_method": ok}).json

    assert (order["status"], client.get(f"/v1/orders/{waits['id']}").json["status"]) == ("completed", "cancelled")
    assert shop.refresh(subscription).seats == 6


def test_the_order_of_a_cart_that_is_being_paid_keeps_changes_off(client, shop, subscription):
    shop.order(shop.cart({"mode": "change", "subscription": subscription.id, "seats": 8}), token="tok_3ds")

    refused = client.post(path(subscription), {"seats": 6})

    assert problem(refused)[:2] == (409, "transition-invalid")


def test_a_provider_that_is_down_is_no_charge_and_the_request_may_be_repeated(client, shop, subscription, monkeypatch):
    before = shop.refresh(subscription).__data__

    def down(request):
        raise ProviderUnavailable("no route to host")

    with monkeypatch.context() as patch:
        patch.setattr(shop.engine.providers["sandbox"], "initiate_payment", down)
        answer = client.post(path(subscription), {"seats": 8}, key="mine")

    assert problem(answer) == (503, "payment-provider-unavailable")
    assert shop.refresh(subscription).__data__ == before
    assert client.post(path(subscription), {"seats": 8}, key="mine").json["status"] == "completed"
    assert cards(shop) == [36300, 58080 - 36300]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (422, "validation-failed", "/subscription")),
        ({"seats": 5}, (422, "validation-failed", "/subscription")),
        ({"seats": "8"}, (422, "validation-failed", "/seats")),
        ({"seats": 0}, (422, "seats-out-of-range", "/seats")),
        ({"plan": "rescue-standard"}, (422, "validation-failed", "/plan")),
        ({"plan": "nothing"}, (422, "plan-unavailable", "/plan")),
        ({"interval": "week"}, (422, "validation-failed", "/interval")),
        ({"seats": 1}, (409, "seats-in-use", "/seats")),
        ({"seats": 1, "release": ["usr_1"]}, (422, "validation-failed", "/release")),
        ({"seats": 8, "policy": "free"}, (422, "validation-failed", "/policy")),
        ({"seats": 3, "at": "now"}, (422, "validation-failed", "/at")),
        ({"seats": 8, "odd": 1}, (422, "validation-failed", "/odd")),
    ],
    ids=str,
)
def test_what_is_refused(client, shop, subscription, body, expected):
    shop.assign(subscription, shop.add_user(), shop.add_user())
    before = shop.contents()

    for more in ("", "/preview"):
        assert problem(client.post(path(subscription, more), body)) == expected
    assert shop.contents() == before


def test_one_that_ends_does_not_change(client, subscription):
    client.post(f"/v1/subscriptions/{subscription.id}/cancel", {})

    assert problem(client.post(path(subscription), {"seats": 8})) == (409, "transition-invalid", "/subscription")


def test_anybody_may_wait_and_staff_choose_any_policy(client, shop, subscription):
    shop.on("2026-03-11")
    token = client.token(shop.add_user(role="billing_contact"))

    def shown(body, **options):
        [line] = client.post(path(subscription, "/preview"), body, **options).json["lines"]
        return line["period"]["end"], line["subtotal"]["amount"], line["credit"]["amount"], line["next_charge"]["amount"]["amount"]

    assert shown({"seats": 8, "at": "period_end"}, bearer=token) == ("2026-04-01", 0, 0, 58080)
    assert problem(client.post(path(subscription), {"seats": 8, "policy": "prorate"}, bearer=token)) == (403, "forbidden")
    assert shown({"seats": 8, "policy": "prorate"}) == ("2026-04-01", 32516, 20323, 58080)  # 480.00 and 300.00 x 21/31
    assert shown({"seats": 3, "policy": "prorate", "at": "now"}) == ("2026-04-01", 12194, 20323, 21780)  # 180.00 x 21/31
    assert shown({"seats": 3, "policy": "restart"}) == ("2026-04-11", 18000, 20323, 21780)


def test_a_trial_changes_now_and_becomes_paid_where_an_interval_is_named(client, shop):
    trial = shop.try_out("gotomeeting-essentials", seats=2, token="tok_ok")

    more = client.post(path(trial), {"seats": 3}).json
    assert problem(client.post(path(trial), {"seats": 4, "at": "period_end"})) == (422, "validation-failed", "/at")
    paid = client.post(path(trial), {"seats": 3, "interval": "month"}).json

    assert (more["due_now"]["amount"], paid["status"], shop.refresh(trial).status) == (0, "completed", "active")
    assert cards(shop)[-1] == paid["total"]["amount"] > 0


def test_on_terms_a_change_goes_on_them_again(client, shop):
    account = shop.open_account(kind="corporate")
    cart = shop.cart({"mode": "buy", "plan": "gotoassist-professional", "interval": "month", "seats": 5}, account=account)
    [bought] = shop.order(cart, provider="invoice_terms", purchase_order="PO-1")["subscriptions"]
    changes = f"/v1/subscriptions/{bought}/changes"

    same, other = client.post(changes, {"seats": 6}).json, client.post(changes, {"seats": 7, "purchase_order": "PO-2"}).json

    assert [order["payment"]["provider"] for order in (same, other)] == ["invoice_terms"] * 2
    assert [order["purchase_order"] for order in (same, other)] == ["PO-1", "PO-2"]
    assert problem(Client(shop, ("accounts",)).post(changes, {"seats": 8})) == (403, "forbidden")


# --- taking back what waits


def pending(client, subscription):
    return client.get(f"/v1/subscriptions/{subscription.id}").json["pending_changes"]


def test_a_change_that_waits_is_taken_back_and_the_others_stay(client, shop, subscription):
    for change in ({"seats": 3}, {"plan": "gotoassist-standard"}):
        client.post(path(subscription), change)
    seats, plan = pending(client, subscription)

    answer = client.delete(path(subscription, f"/{plan['id']}"))

    assert (answer.status_code, answer.json["pending_changes"]) == (200, [seats])
    assert answer.json["next_charge"]["amount"]["amount"] == 21780  # 3 x 60.00 + 21 %
    assert shop.events("subscription.change_dropped")[-1]["data"]["change"] == plan
    last = client.delete(path(subscription, f"/{seats['id']}")).json
    assert (last["pending_changes"], last["next_charge"]["amount"]["amount"]) == ([], 36300)
    shop.on("2026-04-01")
    shop.run()
    assert (shop.refresh(subscription).seats, cards(shop)) == (5, [36300, 36300])


def test_only_what_waits_can_be_taken_back(client, shop, subscription):
    client.post(path(subscription), {"seats": 3})
    [change] = pending(client, subscription)
    other = shop.buy("gotoassist-standard")

    assert problem(client.delete(path(other, f"/{change['id']}"))) == (404, "not-found")
    assert problem(client.delete(path(subscription, "/chg_1"))) == (404, "not-found")
    shop.order(shop.cart({"mode": "change", "subscription": subscription.id, "seats": 8}), token="tok_3ds")
    assert problem(client.delete(path(subscription, f"/{change['id']}"))) == (409, "transition-invalid")
    assert pending(client, subscription) == [change]
