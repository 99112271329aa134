"""Who may be asked to pay a cart: by the settings, by what each provider can, and by what plugins say."""

import pytest

from core.access import INTERNAL
from core.checkout import quote_cart
from core.errors import PluginFailed, SettingsInvalid, ValidationFailed
from core.payment_methods import add_method, save_at_provider
from puesto import Capabilities, PaymentProvider, hookimpl
from tests.core.gateway import GatewayPlugin, SparePlugin

SEAT = {"mode": "buy", "plan": "gotoassist-standard", "seats": 1, "interval": "month"}  # 12.00, with tax 14.52


class Bringing:
    """A plugin with providers of these names."""

    def __init__(self, *names):
        members = {"capabilities": Capabilities(save_method=True)}
        self.providers = [type("Named", (PaymentProvider,), {"name": name, **members})() for name in names]

    @hookimpl
    def register_payment_providers(self):
        return self.providers


class Saying:
    """A plugin that answers `find_payment_providers` with `answer`, and remembers what it was asked."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    @hookimpl
    def find_payment_providers(self, cart, providers):
        self.asked.append((cart, providers))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def chosen(shop, *, account=None, caller=INTERNAL):
    return quote_cart(shop.engine, shop.cart(SEAT, account=account).id, caller).providers


# --- the settings


def test_providers_are_offered_in_the_order_of_the_settings_and_no_others(open_shop):
    shop = open_shop(plugins={"cards": Bringing("visa", "amex", "diners")}, payments={"providers": ["diners", "sandbox", "visa"]})

    choice = chosen(shop)

    assert choice.offered == ("diners", "sandbox", "visa")
    assert choice.stored == ("amex",)
    assert choice.left_out == {"amex": "stored_methods_only", "invoice_terms": "corporate_accounts_only"}


def test_with_no_settings_all_are_offered_in_the_order_of_plugins(open_shop):
    shop = open_shop(plugins={"cards": Bringing("visa", "amex")}, enabled=["sandbox", "cards", "gotoassist", "vat", "vat_rates"])

    assert chosen(shop).offered == ("sandbox", "visa", "amex")


@pytest.mark.parametrize(
    ("payments", "told"),
    [
        ({"providers": ["sandbox", "strype"]}, "setting payments.providers: no plugin brings a provider strype in this mode"),
        ({"rules": {"strype": {"currencies": ["EUR"]}}}, "setting payments.rules.strype: no plugin brings a provider strype in this mode"),
        ({"rules": {"sandbox": {"currencies": ["EURO"]}}}, "setting payments.rules.sandbox.currencies.0: write an ISO 4217 code"),
        ({"rules": {"sandbox": {"currency": ["EUR"]}}}, "setting payments.rules.sandbox.currency: there is no such setting"),
    ],
)
def test_a_provider_or_a_rule_that_makes_no_sense_stops_the_start_in_one_line(open_shop, payments, told):
    with pytest.raises(SettingsInvalid) as stopped:
        open_shop(payments=payments)

    assert str(stopped.value).startswith(told)
    assert "\n" not in str(stopped.value)


def test_the_sandbox_that_live_mode_leaves_out_can_not_be_offered_there(open_shop):
    with pytest.raises(SettingsInvalid, match="no plugin brings a provider sandbox in this mode, only invoice_terms;"):
        open_shop(mode="live", payments={"providers": ["sandbox"]})


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"currencies": ["USD"]}, "currency_unsupported"),
        ({"countries": ["DE", "FR"]}, "country_unsupported"),
        ({"minimum": {"EUR": 1453}}, "amount_too_small"),
        ({"maximum": {"EUR": 1451}}, "amount_too_large"),
        ({"accounts": ["corporate"]}, "account_kind_unsupported"),
        (
            {"currencies": ["EUR"], "countries": ["ES"], "minimum": {"EUR": 1452}, "maximum": {"EUR": 1452}, "accounts": ["self_service"]},
            None,
        ),
        ({"minimum": {"USD": 10_000}}, None),
    ],
)
def test_a_rule_leaves_a_provider_out_of_what_it_does_not_allow(open_shop, rule, reason):
    choice = chosen(open_shop(payments={"rules": {"sandbox": rule}}))

    assert (choice.offered, choice.left_out.get("sandbox")) == (() if reason else ("sandbox",), reason)


# --- what is not offered any more


def test_a_former_provider_charges_the_methods_it_has_stored_and_takes_no_new_ones(open_shop):
    before = open_shop()
    account = before.account
    method = add_method(
        before.engine, account.id, INTERNAL, "sandbox", save_at_provider(before.engine, account.id, INTERNAL, "sandbox", "tok_ok")
    )
    after = open_shop(plugins={"sandbox": GatewayPlugin, "spare": SparePlugin}, folder=before.folder, payments={"providers": ["spare"]})
    cart = after.cart(SEAT, account=account)

    with pytest.raises(ValidationFailed, match="This can be paid with spare; not with sandbox"):
        after.order(cart, provider="sandbox", token="tok_ok")
    with pytest.raises(ValidationFailed, match="Choose a provider that stores methods: spare"):
        save_at_provider(after.engine, account.id, INTERNAL, "sandbox", "tok_ok")
    order = after.order(cart, provider="sandbox", payment_method=method.id)

    assert after.engine.providers["sandbox"].calls == ["initiate_payment"]
    assert (order["status"], order["payment"]["provider"], order["payment"]["method"]["last4"]) == ("completed", "sandbox", method.last4)


# --- what plugins say


def test_a_cart_can_be_paid_with_what_every_plugin_leaves_in_the_order_of_the_first(open_shop):
    none, first, second = Saying(None), Saying(["diners", "visa", "sandbox", "unheard-of", "visa"]), Saying(["sandbox", "diners"])
    plugins = {"cards": Bringing("visa", "amex", "diners"), "none": none, "one": first, "two": second}
    shop = open_shop(plugins=plugins, enabled=["sandbox", *plugins, "gotoassist", "vat", "vat_rates"])

    choice = chosen(shop)

    assert choice.offered == ("diners", "sandbox")
    assert choice.left_out == {"amex": "plugin:one", "visa": "plugin:two"}
    [(cart, providers)] = second.asked
    assert providers == ("sandbox", "visa", "amex", "diners")
    assert (cart.amount.amount, cart.country, cart.corporate, cart.staff, cart.account) == (1452, "ES", False, True, shop.account.id)


def test_where_a_plugin_leaves_nobody_nothing_can_be_ordered(open_shop):
    shop = open_shop(plugins={"strict": Saying([])})

    with pytest.raises(ValidationFailed, match="This can be paid with no provider; not with sandbox"):
        shop.order(shop.cart(SEAT))

    assert shop.events() == []


@pytest.mark.parametrize("answer", [RuntimeError("no"), "sandbox", [1]], ids=["raises", "text", "numbers"])
def test_a_plugin_that_can_not_say_which_providers_stay_lets_nobody_pay(open_shop, answer):
    shop = open_shop(plugins={"strict": Saying(answer)})

    with pytest.raises(PluginFailed) as failed:
        shop.order(shop.cart(SEAT))

    assert failed.value.extra == {"plugin": "strict", "hook": "find_payment_providers"}
    assert shop.engine.providers["sandbox"].charges() == []


@pytest.mark.parametrize(("preferred", "offered"), [(True, ("invoice_terms", "sandbox")), (False, ("sandbox", "invoice_terms"))])
def test_terms_come_first_where_they_are_preferred(open_shop, preferred, offered):
    settings = {"providers": ["sandbox", "invoice_terms"]}
    shop = open_shop(tables={"invoice_terms": {"preferred": preferred}}, payments=settings)

    assert chosen(shop, account=shop.open_account(kind="corporate")).offered == offered
    assert chosen(shop).offered == ("sandbox",)
