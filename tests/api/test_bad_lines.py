"""Lines that can't be: the problem names the field, and nothing is written."""

import pytest

from puesto import Plan, Price, Product, eur, hookimpl
from tests.api.scene import SEAT
from tests.api.shared_shop import shared_shop
from tests.conftest import problem

ONE_SEAT = {"mode": "buy", "plan": "gotomeeting-essentials", "interval": "month", "seats": 1}
TEN_UP_BY_FIVE = {**SEAT, "plan": "gotomeeting-business", "seats": 10}
TRIAL = {"mode": "trial", "plan": "gotoassist-standard", "seats": 1}
WRONG_TYPE = "validation-failed"
OUT_OF_RANGE = "seats-out-of-range"

SEATS = {  # a line of a plan with 1 to 10 seats
    "none": (0, OUT_OF_RANGE),
    "negative": (-5, OUT_OF_RANGE),
    "above the maximum": (11, OUT_OF_RANGE),
    "a million millions": (10**12, OUT_OF_RANGE),
    "more than an integer holds": (2**63, OUT_OF_RANGE),
    "thirty digits": (10**30, OUT_OF_RANGE),
    "text": ("5", WRONG_TYPE),
    "fraction": (5.5, WRONG_TYPE),
    "whole fraction": (5.0, WRONG_TYPE),
    "true": (True, WRONG_TYPE),
    "null": (None, WRONG_TYPE),
    "list": ([5], WRONG_TYPE),
    "object": ({"amount": 5}, WRONG_TYPE),
}
LINES = {
    "below the minimum": ({**TEN_UP_BY_FIVE, "seats": 5}, "seats-out-of-range", "seats"),
    "off step": ({**TEN_UP_BY_FIVE, "seats": 12}, "seats-out-of-range", "seats"),
    "seats of a trial above its own limit": ({**TRIAL, "seats": 6}, "seats-out-of-range", "seats"),
    "seats left out": ({name: SEAT[name] for name in ("mode", "plan", "interval")}, "validation-failed", "seats"),
    "unknown plan": ({**SEAT, "plan": "gotomeeting-platinum"}, "plan-unavailable", "plan"),
    "product for a plan": ({**SEAT, "plan": "gotomeeting"}, "plan-unavailable", "plan"),
    "plan of 10,000 characters": ({**SEAT, "plan": "x" * 10_000}, "validation-failed", "plan"),
    "empty plan": ({**SEAT, "plan": ""}, "validation-failed", "plan"),
    "plan as a number": ({**SEAT, "plan": 1}, "validation-failed", "plan"),
    "unknown interval": ({**SEAT, "interval": "week"}, "validation-failed", "interval"),
    "interval left out": ({name: SEAT[name] for name in ("mode", "plan", "seats")}, "validation-failed", "interval"),
    "interval that the plan lacks": ({**SEAT, "plan": "monthly-only", "interval": "year"}, "plan-unavailable", "interval"),
    "unknown mode": ({**SEAT, "mode": "rent"}, "validation-failed", "mode"),
    "mode left out": ({name: SEAT[name] for name in ("plan", "interval", "seats")}, "validation-failed", "mode"),
    "unknown field": ({**SEAT, "price": 1}, "validation-failed", "price"),
    "subscription in a purchase": ({**SEAT, "subscription": "sub_1"}, "validation-failed", "subscription"),
    "people to lose seats in a purchase": ({**SEAT, "release": ["usr_1"]}, "validation-failed", "release"),
    "trial of a plan without one": ({**TRIAL, "plan": "rescue-standard"}, "trial-not-eligible", "plan"),
    "change of nothing in particular": ({"mode": "change", "seats": 5}, "validation-failed", "subscription"),
    "change of an unknown subscription": ({"mode": "change", "subscription": "sub_1", "seats": 5}, "not-found", "subscription"),
}
STATUS = {"validation-failed": 422, "plan-unavailable": 422, "seats-out-of-range": 422, "trial-not-eligible": 409, "not-found": 404}


class MonthlyOnly:
    @hookimpl
    def register_products(self):
        plan = Plan("monthly-only", {"en": "Monthly"}, 1, (Price.per_seat("month", eur("1.00")),))
        return [Product("monthly", {"en": "Monthly"}, (plan,))]


shop, client, scene = shared_shop(plugins={"monthly": MonthlyOnly()})


@pytest.fixture(scope="module")
def cart(client, shop):
    """An open cart with one line."""
    return client.post("/v1/carts", {"account": shop.account.id, "lines": [ONE_SEAT]}).json


@pytest.fixture(scope="module")
def subscription(shop):
    return shop.buy("gotomeeting-professional", seats=5)


@pytest.mark.parametrize(("seats", "code"), SEATS.values(), ids=SEATS)
def test_seats_that_are_not_sold_are_refused_wherever_they_are_asked_for(client, shop, cart, seats, code):
    path, line = f"/v1/carts/{cart['id']}/lines", {**ONE_SEAT, "seats": seats}
    before = shop.contents()

    new_cart = client.post("/v1/carts", {"account": shop.account.id, "lines": [ONE_SEAT, line]})
    new_line = client.post(path, line)
    changed_line = client.patch(f"{path}/{cart['lines'][0]['id']}", {"seats": seats})

    assert problem(new_cart) == (422, code, "/lines/1/seats")
    assert problem(new_line) == (422, code, "/seats")
    assert problem(changed_line) == (422, code, "/seats")
    assert shop.contents() == before
    assert client.get(f"/v1/carts/{cart['id']}").json == cart


@pytest.mark.parametrize(("line", "code", "field"), LINES.values(), ids=LINES)
def test_a_line_that_can_not_be_is_refused(client, shop, cart, line, code, field):
    before = shop.contents()

    new_cart = client.post("/v1/carts", {"account": shop.account.id, "lines": [ONE_SEAT, line]})
    new_line = client.post(f"/v1/carts/{cart['id']}/lines", line)

    assert problem(new_cart) == (STATUS[code], code, f"/lines/1/{field}")
    assert problem(new_line) == (STATUS[code], code, f"/{field}")
    assert shop.contents() == before
    assert client.get(f"/v1/carts/{cart['id']}").json == cart


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"plan": "gotomeeting-platinum"}, "plan-unavailable", "plan"),
        ({"plan": "gotomeeting-business"}, "seats-out-of-range", "seats"),
        ({"interval": "week"}, "validation-failed", "interval"),
        ({"plan": "monthly-only", "interval": "year"}, "plan-unavailable", "interval"),
        ({"release": ["usr_1"]}, "validation-failed", "release"),
        ({"mode": "trial"}, "validation-failed", "mode"),
        ({"id": "cln_1"}, "validation-failed", "id"),
        ({"plan": None}, "validation-failed", "plan"),
    ],
)
def test_a_line_can_not_become_what_it_can_not_be(client, shop, cart, changes, code, field):
    before = shop.contents()

    answer = client.patch(f"/v1/carts/{cart['id']}/lines/{cart['lines'][0]['id']}", changes)

    assert problem(answer) == (422, code, f"/{field}")
    assert shop.contents() == before
    assert client.get(f"/v1/carts/{cart['id']}").json == cart


def test_every_wrong_field_is_named_at_once(client, shop):
    lines = [ONE_SEAT, {**ONE_SEAT, "seats": "5", "interval": "week"}, {"plan": 1}]

    answer = client.post("/v1/carts", {"account": shop.account.id, "lines": lines})

    assert sorted(problem(answer)[2:]) == ["/lines/1/interval", "/lines/1/seats", "/lines/2/mode", "/lines/2/plan"]


def test_one_bad_line_keeps_the_whole_cart_from_being_made(client, shop):
    before = shop.contents()

    answer = client.post("/v1/carts", {"account": shop.account.id, "lines": [*[ONE_SEAT] * 49, {**ONE_SEAT, "seats": 0}]})

    assert problem(answer) == (422, "seats-out-of-range", "/lines/49/seats")
    assert shop.contents() == before


def test_a_cart_has_at_most_50_lines(client, shop):
    full = client.post("/v1/carts", {"account": shop.account.id, "lines": [ONE_SEAT] * 50}).json
    before = shop.contents()

    too_many = client.post("/v1/carts", {"account": shop.account.id, "lines": [ONE_SEAT] * 51})
    one_more = client.post(f"/v1/carts/{full['id']}/lines", ONE_SEAT)

    assert problem(too_many) == problem(one_more) == (422, "validation-failed", "/lines")
    assert shop.contents() == before


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"country": "ES", "currency": "JPY"}, "/lines/0/plan"),
        ({"country": "ES", "currency": "USD", "lines": [{**ONE_SEAT, "plan": "monthly-only"}]}, "/lines/0/plan"),
    ],
)
def test_a_plan_is_not_sold_in_every_currency(client, shop, fields, pointer):
    before = shop.contents()

    answer = client.post("/v1/carts", {"lines": [ONE_SEAT], **fields})

    assert problem(answer) == (422, "currency-unsupported", pointer)
    assert shop.contents() == before


@pytest.mark.parametrize(
    ("fields", "pointers"),
    [
        ({}, ["/account"]),
        ({"country": "ES"}, ["/account"]),
        ({"country": "XX", "currency": "EUR"}, ["/country"]),
        ({"country": "es", "currency": "eur"}, ["/country", "/currency"]),
        ({"country": "ESP", "currency": "EURO"}, ["/country", "/currency"]),
        ({"country": 34, "currency": None}, ["/country", "/currency"]),
    ],
)
def test_a_cart_without_account_has_a_country_and_a_currency(client, shop, fields, pointers):
    before = shop.contents()

    answer = client.post("/v1/carts", fields)

    assert problem(answer) == (422, "validation-failed", *pointers)
    assert shop.contents() == before


@pytest.mark.parametrize("name", ["country", "currency"])
def test_the_cart_of_an_account_takes_country_and_currency_from_it(client, shop, name):
    before = shop.contents()

    answer = client.post("/v1/carts", {"account": shop.account.id, name: {"country": "FR", "currency": "USD"}[name]})

    assert problem(answer) == (422, "validation-failed", f"/{name}")
    assert shop.contents() == before


def test_a_trial_is_had_once(client, shop):
    shop.try_out("gotoassist-standard")
    before = shop.contents()

    again = client.post("/v1/carts", {"account": shop.account.id, "lines": [TRIAL]})
    another_plan = client.post("/v1/carts", {"account": shop.account.id, "lines": [{**TRIAL, "plan": "gotoassist-professional"}]})

    assert problem(again) == problem(another_plan) == (409, "trial-not-eligible", "/lines/0/plan")
    assert shop.contents() == before


def test_a_cart_has_one_trial_of_a_product(client, shop):
    account = shop.open_account(name="Beta")
    before = shop.contents()

    answer = client.post("/v1/carts", {"account": account.id, "lines": [TRIAL, {**TRIAL, "plan": "gotoassist-professional"}]})

    assert problem(answer) == (409, "trial-not-eligible", "/lines/1/plan")
    assert shop.contents() == before


@pytest.mark.parametrize(
    ("changes", "status", "code", "field"),
    [
        ({}, 422, "validation-failed", "subscription"),
        ({"seats": 5}, 422, "validation-failed", "subscription"),
        ({"seats": 0}, 422, "seats-out-of-range", "seats"),
        ({"plan": "rescue-standard"}, 422, "validation-failed", "plan"),
        ({"plan": "gotomeeting-business"}, 422, "seats-out-of-range", "seats"),
        ({"seats": 6, "release": ["usr_1"]}, 422, "validation-failed", "release"),
        ({"seats": 6, "release": "usr_1"}, 422, "validation-failed", "release"),
    ],
    ids=str,
)
def test_a_change_that_can_not_be_is_refused(client, shop, subscription, changes, status, code, field):
    before = shop.contents()

    line = {"mode": "change", "subscription": subscription.id, **changes}
    answer = client.post("/v1/carts", {"account": subscription.account, "lines": [line]})

    assert problem(answer) == (status, code, f"/lines/0/{field}")
    assert shop.contents() == before


def test_a_subscription_of_another_account_can_not_be_changed(client, shop, subscription):
    before = shop.rows()

    line = {"mode": "change", "subscription": subscription.id, "seats": 9}
    answer = client.post("/v1/carts", {"account": shop.open_account(name="Other").id, "lines": [line]})

    assert problem(answer) == (404, "not-found", "/lines/0/subscription")
    assert shop.rows() == {**before, "account": before["account"] + 1}
