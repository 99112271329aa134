"""Warnings: what is no error, said beside the answer, in carts and in quotes alike."""

import pytest

from puesto import Capabilities, CartWarning, Message, PaymentProvider, hookimpl
from tests.api.scene import SEAT, WEBINAR
from tests.conftest import Client, problem


class Raising:
    @hookimpl
    def find_cart_warnings(self, cart):
        raise RuntimeError("a secret inside")


class Announcing:
    @hookimpl
    def find_cart_warnings(self, cart):
        news = Message("{plan} gets dearer.", {"plan": cart.plans[0]})
        return [CartWarning("price-soon", "/lines/0/plan", news), CartWarning("holidays", "", Message("We are back on Monday."))]


class Undecided(PaymentProvider):
    name = "undecided"
    capabilities = Capabilities()

    def refusal(self, cart):
        raise RuntimeError("a secret inside")

    @hookimpl
    def register_payment_providers(self):
        return [self]


SKIPPED = {"code": "plugin-skipped", "pointer": "", "detail": "The plugin raising failed."}
NUMBERS = {
    "invalid": "The registry does not know the VAT number: VAT is charged as without one. Correct the number.",
    "unverified": "The VAT number could not be confirmed yet: VAT is charged as without one until it is.",
}
NUMEROS = {
    "invalid": "El registro no conoce el NIF-IVA: se cobra el IVA como si no lo hubiera. Corrija el número.",
    "unverified": "El NIF-IVA no se ha podido confirmar todavía: hasta entonces se cobra el IVA como si no lo hubiera.",
}


def told(client, cart, language="en"):
    """The warnings of a cart and of its quote, which are the same."""
    path, headers = f"/v1/carts/{cart}", {"Accept-Language": language}
    shown, quoted = client.get(path, headers=headers).json, client.get(f"{path}/quote", headers=headers).json
    assert shown["warnings"] == quoted["warnings"]
    return shown["warnings"]


def cart_of(client, *lines, **account):
    account = client.shop.open_account(**account)
    return client.post("/v1/carts", {"account": account.id, "lines": list(lines)}).json["id"]


def test_nothing_odd_is_no_warning(client):
    assert told(client, cart_of(client, SEAT)) == []


def test_a_plugin_that_raises_is_skipped_and_named(open_shop):
    client = Client(open_shop(plugins={"raising": Raising()}))

    made = client.post("/v1/carts", {"account": client.shop.account.id, "lines": [SEAT]})

    assert made.status_code == 201
    assert told(client, made.json["id"]) == [SKIPPED]
    assert client.check_out(made.json["id"]).json["status"] == "completed"


def test_the_others_are_still_heard(open_shop):
    client = Client(open_shop(plugins={"raising": Raising(), "announcing": Announcing()}))

    assert told(client, cart_of(client, SEAT)) == [
        {"code": "price-soon", "pointer": "/lines/0/plan", "detail": "gotomeeting-professional gets dearer."},
        {"code": "holidays", "pointer": "", "detail": "We are back on Monday."},
        SKIPPED,
    ]


def test_a_provider_that_can_not_say_whether_it_takes_a_cart_is_skipped(open_shop):
    client = Client(open_shop(plugins={"undecided": Undecided()}))
    cart = cart_of(client, SEAT)

    quote = client.get(f"/v1/carts/{cart}/quote").json

    assert quote["payment_providers"] == ["sandbox"]
    assert [(w["code"], w["pointer"]) for w in quote["warnings"]] == [("plugin-skipped", "/payment_providers")]
    assert "undecided" in quote["warnings"][0]["detail"]


@pytest.mark.parametrize("status", ["invalid", "unverified"])
@pytest.mark.parametrize(("language", "sentences"), [("en", NUMBERS), ("es", NUMEROS)])
def test_a_vat_number_that_does_not_count_is_told(open_shop, status, language, sentences):
    listed = {"invalid": "invalid", "unverified": "unavailable"}[status]
    client = Client(open_shop(tables={"simulated_vat_registry": {listed: ["DE136695976"]}}))

    cart = cart_of(client, SEAT, country="DE", tax_id="DE136695976")

    assert told(client, cart, language) == [{"code": f"tax-id-{status}", "pointer": "/account/tax_id", "detail": sentences[status]}]


def test_a_plan_that_has_left_the_catalog_is_told_and_can_not_be_bought(tmp_path, new_shop):
    before = new_shop(tmp_path)
    cart = cart_of(Client(before), SEAT, WEBINAR)
    before.close()
    after = new_shop(tmp_path, disabled=["gotowebinar"])
    client = Client(after)

    shown, quoted = client.get(f"/v1/carts/{cart}"), client.get(f"/v1/carts/{cart}/quote")

    assert shown.json["warnings"] == [
        {"code": "plan-unavailable", "pointer": "/lines/1/plan", "detail": "gotowebinar-standard is no longer in the catalog."}
    ]
    assert problem(quoted) == (422, "plan-unavailable", "/lines/1/plan")
    after.close()
