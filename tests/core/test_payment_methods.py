"""Stored payment methods: stored at the provider first, one is the default, and none shows its reference."""

from typing import Any

import pytest

from core.access import Caller
from core.errors import Missing, PaymentActionRequired, PaymentDeclined, PaymentProviderUnavailable, ValidationFailed
from core.payment_methods import PaymentMethod, add_method, default_method, delete_method, method_document, save_at_provider
from puesto import PaymentResult, PaymentUnknown, ProviderTimeout, ProviderUnavailable, SavedMethod, eur
from puesto.testing.shop import INTERNAL
from tests.core.gateway import GatewayPlugin, answers, raises

SEAT = {"mode": "buy", "plan": "gotoassist-standard", "seats": 1, "interval": "month"}


@pytest.fixture
def shop(open_shop):
    """A shop whose gateway goes wrong on demand."""
    return open_shop(plugins={"sandbox": GatewayPlugin})


def gateway(shop: Any) -> Any:
    return shop.engine.providers["sandbox"]


def store(shop: Any, token: str = "tok_ok", *, account: Any = None, provider: str = "sandbox", caller: Caller = INTERNAL) -> Any:
    account = account or shop.account
    return add_method(shop.engine, account.id, caller, provider, save_at_provider(shop.engine, account.id, caller, provider, token))


def methods(shop: Any) -> list[Any]:
    return shop.engine.db.all(PaymentMethod.select().order_by(PaymentMethod.id))


def test_a_method_is_stored_without_a_charge_and_shows_no_reference(shop):
    method = store(shop)

    assert method_document(method) == {
        "id": method.id, "provider": "sandbox", "brand": "visa", "last4": "4242", "expires": "2099-12", "default": True,
    }  # fmt: skip
    assert gateway(shop).charges() == []
    assert shop.order(shop.cart(SEAT), payment_method=method.id)["status"] == "completed"


def test_the_latest_method_is_the_default(shop):
    theirs = store(shop, account=shop.open_account())

    first, second = store(shop), store(shop)

    assert [method.default for method in methods(shop)] == [True, False, True]
    assert default_method(shop.engine, shop.account.id).id == shop.refresh(second).id != first.id
    assert default_method(shop.engine, theirs.account).id == theirs.id


def test_a_method_that_is_known_is_not_doubled(shop):
    known = add_method(shop.engine, shop.account.id, INTERNAL, "sandbox", SavedMethod("ref_1", "visa", "4242", "2026-12"))
    store(shop)
    delete_method(shop.engine, shop.account.id, known.id, INTERNAL)

    again = add_method(shop.engine, shop.account.id, INTERNAL, "sandbox", SavedMethod("ref_1", "visa", "4242", "2031-12"))

    assert (again.id, again.expires, again.deleted_at) == (known.id, "2031-12", None)
    assert [(method.id == known.id, method.default) for method in methods(shop)] == [(True, True), (False, False)]


@pytest.mark.parametrize("token", ["tok_card_declined", "tok_insufficient_funds", "tok_expired_card", "tok_fraud_suspected"])
def test_a_declined_token_is_not_stored(shop, token):
    with pytest.raises(PaymentDeclined) as declined:
        store(shop, token)

    assert declined.value.extra["decline_code"] == token.removeprefix("tok_")
    assert methods(shop) == []


def test_a_bank_that_wants_to_see_the_buyer_needs_an_order(shop):
    with pytest.raises(PaymentActionRequired) as refused:
        store(shop, "tok_3ds")

    assert refused.value.extra["next_action"]["type"] == "redirect"
    assert methods(shop) == []


@pytest.mark.parametrize("provider", ["stripe", "invoice_terms"])
def test_a_provider_that_stores_nothing_is_refused_and_others_named(shop, provider):
    with pytest.raises(ValidationFailed) as refused:
        store(shop, provider=provider)

    assert [(error.pointer, str(error.message)) for error in refused.value.errors] == [
        ("/provider", "Choose a provider that stores methods: sandbox.")
    ]


@pytest.mark.parametrize(
    "fault",
    [
        raises(ProviderUnavailable("down")),
        raises(ProviderTimeout("silence")),
        raises(PaymentUnknown("never heard of it")),
        raises(ZeroDivisionError("a bug")),
        answers("stored"),
        answers(PaymentResult("captured", eur("0.00"), saved_method="ref_1")),
    ],
)
def test_without_a_sound_answer_nothing_is_stored(shop, fault):
    gateway(shop).instead["save_method"] = fault

    with pytest.raises(PaymentProviderUnavailable) as away:
        store(shop)

    assert away.value.extra == {"provider": "sandbox"}
    assert methods(shop) == []


def test_another_accounts_methods_are_out_of_reach(shop):
    method, stranger = store(shop), Caller("usr_1", frozenset({"accounts"}), account=shop.open_account().id)
    gateway(shop).calls.clear()

    for act in (lambda: store(shop, caller=stranger), lambda: delete_method(shop.engine, method.account, method.id, stranger)):
        with pytest.raises(Missing):
            act()

    assert (len(methods(shop)), gateway(shop).calls) == (1, [])


# --- while an order is paid


def test_a_card_is_stored_with_the_purchase_where_asked(shop):
    shop.order(shop.cart(SEAT), token="tok_ok", save=True)

    assert [(method.account, method.default) for method in methods(shop)] == [(shop.account.id, True)]


def test_a_card_that_nobody_asked_to_store_is_not_stored(shop):
    offered = PaymentResult("captured", eur("14.52"), saved_method=SavedMethod("ref_1", "visa", "4242"))
    gateway(shop).instead["initiate_payment"] = answers(offered)

    order = shop.order(shop.cart(SEAT), token="tok_ok")

    assert (order["status"], order["payment"]["method"], methods(shop)) == ("completed", None, [])


def test_a_card_whose_payment_is_declined_is_not_stored(shop):
    with pytest.raises(PaymentDeclined):
        shop.order(shop.cart(SEAT), token="tok_card_declined", save=True)

    assert methods(shop) == []


def test_a_stored_card_goes_on_behaving_as_its_token(shop):
    shop.order(shop.cart(SEAT), token="tok_ok_then_declined", save=True)

    with pytest.raises(PaymentDeclined) as declined:
        shop.order(shop.cart(SEAT), payment_method=methods(shop)[0].id)

    assert declined.value.extra["decline_code"] == "card_declined"


# --- forgotten


def test_a_deleted_method_is_forgotten_here_and_at_its_provider(shop):
    method = store(shop)

    delete_method(shop.engine, shop.account.id, method.id, INTERNAL)

    assert gateway(shop).calls[-1] == "delete_method"
    assert default_method(shop.engine, shop.account.id) is None
    with pytest.raises(Missing):
        shop.order(shop.cart(SEAT), payment_method=method.id)
    with pytest.raises(Missing):
        delete_method(shop.engine, shop.account.id, method.id, INTERNAL)


@pytest.mark.parametrize("fault", [raises(ProviderUnavailable("down")), raises(PaymentUnknown("never heard of it")), answers("deleted")])
def test_a_method_that_its_provider_did_not_forget_stays(shop, fault):
    method = store(shop)
    gateway(shop).instead["delete_method"] = fault

    with pytest.raises(PaymentProviderUnavailable):
        delete_method(shop.engine, shop.account.id, method.id, INTERNAL)

    assert shop.refresh(method).deleted_at is None
    assert default_method(shop.engine, shop.account.id).id == method.id


def test_without_its_plugin_a_method_is_still_forgotten_here(open_shop, shop):
    method = store(shop)
    without = open_shop(folder=shop.folder, disabled=["sandbox"])

    delete_method(without.engine, method.account, method.id, INTERNAL)

    assert without.refresh(method).deleted_at == without.clock.now()
