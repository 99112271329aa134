"""Texts of all kinds in accounts and users: kept as they are where they can be, refused with the field's name where not."""

import pytest

from tests.api.shared_shop import shared_shop
from tests.conftest import problem

shop, client, scene = shared_shop()

ACCOUNT = {"name": "Acme", "email": "billing@acme.example"}
NAMES = {
    "emoji": "Acme 🛒👩‍💻",
    "right to left": "شركة الأمل \u202eلتجارة",
    "combining": "e\u0301clair A\u030a",
    "four bytes each": "𝕬𝖈𝖒𝖊",
    "markup": "<script>alert(1)</script> & \"Söhne\" 'S.L.'",
    "SQL": "'; DROP TABLE account; --",
    "template": "{name} {{7*7}} ${x} %s",
    "line breaks and tabs": "Acme\r\n\tS.L.",
    "spaces around": "  Acme  ",
    "200 characters": "x" * 200,
    "200 emoji": "🛒" * 200,
}
FIELDS = {
    "empty name": ({"name": ""}, "/name"),
    "name of 201 characters": ({"name": "x" * 201}, "/name"),
    "name of 10,000 characters": ({"name": "ñ" * 10_000}, "/name"),
    "name as a number": ({"name": 5}, "/name"),
    "name null": ({"name": None}, "/name"),
    "no address": ({"email": "nobody"}, "/email"),
    "address of 10,000 characters": ({"email": f"{'x' * 10_000}@acme.example"}, "/email"),
    "address with a line break": ({"email": "a@acme.example\nBcc: b@acme.example"}, "/email"),
    "two addresses": ({"email": "a@acme.example,b@acme.example"}, "/email"),
    "country that is none": ({"country": "XX"}, "/country"),
    "country by its name": ({"country": "Spain"}, "/country"),
    "continent": ({"country": "15"}, "/country"),
    "currency that is none": ({"currency": "XYZ"}, "/currency"),
    "currency by its sign": ({"currency": "€"}, "/currency"),
    "locale that is none": ({"locale": "xx-klingon"}, "/locale"),
    "locale of 10,000 characters": ({"locale": "x" * 10_000}, "/locale"),
    "time zone that is none": ({"time_zone": "Mars/Olympus"}, "/time_zone"),
    "time zone outside its folder": ({"time_zone": "../../../etc/passwd"}, "/time_zone"),
    "folder as time zone": ({"time_zone": "Europe"}, "/time_zone"),
    "kind that is none": ({"kind": "charity"}, "/kind"),
    "address as a text": ({"address": "Calle Mayor 1"}, "/address"),
    "unknown part of an address": ({"address": {"street": "Mayor"}}, "/address/street"),
    "long part of an address": ({"address": {"postcode": "2" * 17}}, "/address/postcode"),
    "representative with a script": ({"representative": {"portal": "javascript:alert(1)"}}, "/representative/portal"),
    "id": ({"id": "acc_1"}, "/id"),
    "balance": ({"balance": 1_000_000}, "/balance"),
}
NUMBERS = {
    "wrong check digit": ("ESB58378432", "tax-id-rejected"),
    "too short": ("ES123", "tax-id-rejected"),
    "of another country": ("DE136695976", "tax-id-rejected"),
    "emoji": ("ES🛒🛒🛒🛒", "tax-id-rejected"),
    "right to left": ("ESأبجد", "tax-id-rejected"),
    "3 characters": ("ES1", "validation-failed"),
    "33 characters": ("ES" + "1" * 31, "validation-failed"),
    "10,000 characters": ("E" * 10_000, "validation-failed"),
    "number": (58378431, "validation-failed"),
    "null": (None, "validation-failed"),
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_is_kept_to_the_letter(client, name):
    made = client.post("/v1/accounts", {**ACCOUNT, "name": name})

    read = client.get(made.headers["Location"])

    assert (made.status_code, made.json["name"], read.json["name"]) == (201, name, name)


@pytest.mark.parametrize(("fields", "pointer"), FIELDS.values(), ids=FIELDS)
def test_what_no_account_can_have_is_refused(client, shop, fields, pointer):
    path = f"/v1/accounts/{shop.account.id}"
    known, before = client.get(path).json, shop.contents()

    made, changed = client.post("/v1/accounts", {**ACCOUNT, **fields}), client.patch(path, fields)

    assert problem(made) == problem(changed) == (422, "validation-failed", pointer)
    assert (client.get(path).json, shop.contents()) == (known, before)


@pytest.mark.parametrize("name", ["name", "email"])
def test_an_account_has_a_name_and_an_address(client, shop, name):
    before = shop.contents()

    answer = client.post("/v1/accounts", {other: ACCOUNT[other] for other in ACCOUNT if other != name})

    assert problem(answer) == (422, "validation-failed", f"/{name}")
    assert shop.contents() == before


@pytest.mark.parametrize(("value", "code"), NUMBERS.values(), ids=NUMBERS)
def test_a_vat_number_that_can_not_be_right_is_refused(client, shop, value, code):
    path = f"/v1/accounts/{shop.account.id}"
    known, before = client.get(path).json, shop.contents()

    made, put = client.post("/v1/accounts", {**ACCOUNT, "tax_id": value}), client.put(f"{path}/tax-id", {"value": value})

    assert (problem(made), problem(put)) == ((422, code, "/tax_id"), (422, code, "/value"))
    assert (client.get(path).json, shop.contents()) == (known, before)


def test_a_vat_number_of_another_country_says_whose_it_is(client, shop):
    answer = client.put(f"/v1/accounts/{shop.account.id}/tax-id", {"value": "DE136695976"})

    assert answer.json["detail"].startswith("This number belongs to DE, the account to ES.")


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"email": "nobody"}, "/email"),
        ({"name": ""}, "/name"),
        ({"name": "x" * 201}, "/name"),
        ({"role": "king"}, "/role"),
        ({"role": None}, "/role"),
        ({"account": "acc_1"}, "/account"),
    ],
    ids=str,
)
def test_what_no_user_can_have_is_refused(client, shop, fields, pointer):
    user = shop.add_user()
    path = f"/v1/accounts/{shop.account.id}/users"
    before = shop.contents()

    made = client.post(path, {"email": "new@acme.example", "name": "New", **fields})
    changed = client.patch(f"{path}/{user.id}", fields)

    assert problem(made) == problem(changed) == (422, "validation-failed", pointer)
    assert shop.contents() == before


def test_an_address_is_one_users_of_an_account(client, shop):
    first, second = shop.add_user(email="ana@acme.example"), shop.add_user()
    path = f"/v1/accounts/{shop.account.id}/users"
    before = shop.contents()

    made, changed = client.post(path, {"email": first.email, "name": "Twin"}), client.patch(f"{path}/{second.id}", {"email": first.email})

    assert problem(made) == problem(changed) == (409, "email-taken", "/email")
    assert shop.contents() == before
    assert client.get(f"{path}/{second.id}").json["email"] == second.email


@pytest.mark.parametrize("reason", ["🛒" * 500, "\u202eback", None])
def test_a_reason_is_any_short_text(client, shop, reason):
    subscription = shop.buy("rescue-standard")

    assert client.post(f"/v1/subscriptions/{subscription.id}/cancel", {"reason": reason}).status_code == 200


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [({"reason": "x" * 501}, "/reason"), ({"reason": 5}, "/reason"), ({"at": "yesterday"}, "/at"), ({"at": None}, "/at")],
)
def test_a_cancellation_that_can_not_be_is_refused(client, shop, fields, pointer):
    subscription = shop.buy("rescue-standard")
    before = shop.contents()

    answer = client.post(f"/v1/subscriptions/{subscription.id}/cancel", fields)

    assert problem(answer) == (422, "validation-failed", pointer)
    assert shop.contents() == before
    assert shop.refresh(subscription).cancel_at is None
