"""Accounts and their users: defaults, fields that can't be right, VAT numbers as states, one address per user."""

import pytest

from core.access import INTERNAL, SCOPES, Caller, create_token, identify
from core.accounts import (
    Account,
    User,
    account_document,
    add_user,
    check_tax_id,
    create_account,
    find_user,
    get_account,
    set_tax_id,
    split_tax_id,
    tax_id_document,
    update_account,
    update_user,
    user_document,
)
from core.errors import EmailTaken, Missing, PreconditionFailed, TaxIdRejected, TransitionInvalid, Unauthorized, ValidationFailed

GERMAN = "DE136695976"
REGISTRY = {"simulated_vat_registry": {"invalid": ["FR40303265045"], "unavailable": ["IT00743110157"]}}


def pointers(error):
    return [each.pointer for each in error.value.errors]


def stranger(shop):
    return Caller("usr_1", frozenset(SCOPES), account=shop.open_account().id)


# --- accounts


def test_what_is_left_out_takes_the_sellers_country_currency_and_zone_and_english(open_shop):
    shop = open_shop(seller={"country": "FR", "currency": "USD", "time_zone": "Europe/Paris"})

    account = create_account(shop.engine, name="Acme", email="billing@acme.example")

    assert account_document(account) == {
        "id": account.id,
        "name": "Acme",
        "email": "billing@acme.example",
        "kind": "self_service",
        "country": "FR",
        "address": None,
        "currency": "USD",
        "locale": "en",
        "time_zone": "Europe/Paris",
        "representative": None,
        "created_at": "2026-03-01T12:00:00.000Z",
        "tax_id": None,
    }
    assert shop.rows() == {**dict.fromkeys(shop.rows(), 0), "account": 1}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("country", code) for code in ("es", "ESP", "EL", "UK", "EU", "ZZ", "12", "")),
        *(("currency", code) for code in ("eur", "EURO", "XXY", "")),
        *(("locale", tag) for tag in ("español", "x", "es_MX", "", "../../etc")),
        *(("time_zone", name) for name in ("Madrid", "UTC+1", "", "../../etc/passwd", "Europe/\0")),
        ("kind", "private"),
    ],
)
def test_a_field_that_can_not_be_right_is_pointed_at(shop, field, value):
    account = shop.open_account()

    with pytest.raises(ValidationFailed) as refused:
        shop.open_account(**{field: value})
    with pytest.raises(ValidationFailed):
        update_account(shop.engine, account.id, INTERNAL, **{field: value})

    assert pointers(refused) == [f"/{field}"]
    assert (shop.count(Account), shop.refresh(account).version) == (1, 1)


def test_every_wrong_field_is_named_at_once(shop):
    with pytest.raises(ValidationFailed) as refused:
        shop.open_account(country="Spain", currency="euro", time_zone="Madrid")

    assert [(each.pointer, str(each.message)) for each in refused.value.errors] == [
        ("/country", "write an ISO 3166-1 code such as ES"),
        ("/currency", "write an ISO 4217 code such as EUR"),
        ("/time_zone", "write an IANA name such as Europe/Madrid"),
    ]


@pytest.mark.parametrize(("given", "kept"), [("es", "es"), ("ES-mx", "es-MX"), ("PT-br", "pt-BR"), ("zh-hant-TW", "zh-Hant-TW")])
def test_a_language_tag_is_kept_as_everybody_writes_it(shop, given, kept):
    account = shop.open_account(locale=given)

    assert account.locale == kept
    assert update_account(shop.engine, account.id, INTERNAL, locale=given).locale == kept


@pytest.mark.parametrize("name", ["Müller & Söhne 🚀", "شركة", "x" * 200, "<script>", "'; DROP TABLE account; --"])
def test_a_name_is_kept_as_it_was_given(shop, name):
    account = shop.open_account(name=name)

    assert account_document(shop.refresh(account))["name"] == name


def test_a_change_moves_the_version_and_leaves_the_rest(shop):
    account = shop.open_account()
    before = account_document(account)

    update_account(shop.engine, account.id, INTERNAL, 1, name="Beta", time_zone="Atlantic/Canary")

    assert account_document(shop.refresh(account)) == {**before, "name": "Beta", "time_zone": "Atlantic/Canary"}
    with pytest.raises(PreconditionFailed):
        update_account(shop.engine, account.id, INTERNAL, 1, name="Gamma")
    assert (shop.refresh(account).name, shop.refresh(account).version) == ("Beta", 2)


def test_another_account_is_missing(shop):
    account = shop.open_account()

    for act in (
        get_account,
        update_account,
        lambda *a: set_tax_id(*a, {"country": "ES"}),
        lambda *a: add_user(*a, email="a@b.example", name="A"),
    ):
        with pytest.raises(Missing, match=f"There is no account {account.id}"):
            act(shop.engine, account.id, stranger(shop))

    assert (shop.refresh(account).version, shop.count(User)) == (1, 0)


def test_the_currency_stays_once_something_was_ordered(shop):
    account = shop.open_account()
    update_account(shop.engine, account.id, INTERNAL, currency="USD")
    shop.try_out("gotoassist-standard", account=shop.refresh(account))

    with pytest.raises(TransitionInvalid, match="has orders in USD: its currency can't change") as refused:
        update_account(shop.engine, account.id, INTERNAL, currency="EUR", name="Beta")

    assert pointers(refused) == ["/currency"]
    update_account(shop.engine, account.id, INTERNAL, currency="USD", name="Gamma")
    assert (shop.refresh(account).currency, shop.refresh(account).name) == ("USD", "Gamma")


# --- VAT numbers


@pytest.mark.parametrize(
    ("country", "value", "status", "number"),
    [
        ("DE", GERMAN, "valid", "136695976"),
        ("DE", "de 136 695 976", "valid", "136695976"),
        ("DE", "136695976", "valid", "136695976"),
        ("GR", "EL 094259216", "valid", "094259216"),
        ("GR", "GR094259216", "valid", "094259216"),
        ("MC", "FR83404833048", "valid", "83404833048"),
        ("FR", "FR40303265045", "invalid", "40303265045"),
        ("IT", "IT00743110157", "unverified", "00743110157"),
        ("US", "12-3456789", "unverified", "123456789"),
    ],
)
def test_a_number_is_what_the_registry_says(open_shop, country, value, status, number):
    shop = open_shop(tables=REGISTRY)

    tax_id = shop.open_account(country=country, tax_id=value).tax_id

    assert (tax_id["value"], tax_id["number"], tax_id["status"]) == (value, number, status)
    assert tax_id["checked_at"] == "2026-03-01T12:00:00.000Z"
    assert (tax_id["consultation_number"] is not None) is (status == "valid")
    assert set(tax_id_document(tax_id)) == {"value", "country", "status", "checked_at", "consultation_number"}


def test_a_number_that_no_registry_is_asked_about_is_unverified(open_shop):
    shop = open_shop(disabled=["simulated_vat_registry"])

    tax_id = check_tax_id(shop.engine, GERMAN, "DE", "/value")

    assert (tax_id["status"], tax_id["checked_at"], tax_id["source"]) == ("unverified", None, "")


@pytest.mark.parametrize(
    ("country", "value", "words"),
    [
        ("DE", "DE136695977", "check digits"),
        ("DE", "DE13669597", "too few or too many"),
        ("ES", GERMAN, "This number belongs to DE, the account to ES"),
        ("ES", "EL094259216", "This number belongs to GR, the account to ES"),
        ("GB", "XI110305878", "This number belongs to XI, the account to GB"),
        ("DE", "EU372000041", "This number belongs to EU, the account to DE"),
    ],
)
def test_a_number_that_can_not_be_right_or_is_another_countrys_is_refused(shop, country, value, words):
    with pytest.raises(TaxIdRejected, match=words) as refused:
        check_tax_id(shop.engine, value, country, "/tax_id")

    assert pointers(refused) == ["/tax_id"]


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("ESB58378431", ("ES", "B58378431")),
        ("B58378431", ("ES", "B58378431")),
        ("EL094259216", ("GR", "094259216")),
        ("xi 110 305 878", ("XI", "110305878")),
        ("", ("ES", "")),
    ],
)
def test_a_prefix_is_told_from_a_number_that_has_none(value, parts):
    assert split_tax_id(value, "ES") == parts


def test_a_new_country_drops_the_number_of_the_old_one(shop):
    account = shop.open_account(country="FR", tax_id="FR83404833048")

    assert update_account(shop.engine, account.id, INTERNAL, country="MC").tax_id["number"] == "83404833048"
    assert update_account(shop.engine, account.id, INTERNAL, country="DE").tax_id is None


def test_a_number_checked_for_a_country_that_the_account_has_left_is_refused(shop):
    account = shop.open_account(country="DE")
    tax_id = check_tax_id(shop.engine, GERMAN, "DE", "/value")
    update_account(shop.engine, account.id, INTERNAL, country="ES")

    with pytest.raises(TaxIdRejected) as refused:
        set_tax_id(shop.engine, account.id, INTERNAL, tax_id)

    assert (pointers(refused), shop.refresh(account).tax_id) == (["/value"], None)


# --- users


def test_an_address_is_taken_once_per_account(shop):
    ana, berta = shop.add_user(email="ana@acme.example"), shop.add_user(email="berta@acme.example")

    with pytest.raises(EmailTaken) as refused:
        shop.add_user(email="ana@acme.example")
    with pytest.raises(EmailTaken):
        update_user(shop.engine, berta.account, berta.id, INTERNAL, email="ana@acme.example", name="Berta")

    assert pointers(refused) == ["/email"]
    assert [user_document(shop.refresh(user))["email"] for user in (ana, berta)] == ["ana@acme.example", "berta@acme.example"]
    assert shop.refresh(berta).name == "Ana"
    shop.add_user(shop.open_account(), email="ana@acme.example")


def test_a_user_is_found_in_their_own_account_only(shop):
    ana, other = shop.add_user(), shop.open_account()

    assert find_user(shop.engine, ana.account, ana.id, INTERNAL) == ana
    for account, caller in ((other.id, INTERNAL), (ana.account, stranger(shop)), ("acc_none", INTERNAL)):
        with pytest.raises(Missing):
            find_user(shop.engine, account, ana.id, caller)


def test_a_new_role_ends_the_tokens_of_the_old_one(shop):
    ana = shop.add_user(role="billing_contact")
    tokens = [create_token(shop.engine, ana.account, ana.id, ana.role)[0] for _ in range(2)]

    update_user(shop.engine, ana.account, ana.id, INTERNAL, name="Ana María")
    assert identify(shop.engine, tokens[0]).id == ana.id
    with pytest.raises(PreconditionFailed):
        update_user(shop.engine, ana.account, ana.id, INTERNAL, 1, role="member")
    update_user(shop.engine, ana.account, ana.id, INTERNAL, 2, role="member")

    for token in tokens:
        with pytest.raises(Unauthorized):
            identify(shop.engine, token)
