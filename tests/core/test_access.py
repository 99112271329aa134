"""Who calls: keys and tokens, what each may do, and that no account sees another's rows."""

from datetime import timedelta

import pytest

from core.access import (
    INTERNAL,
    NOBODY,
    SCOPES,
    AccountToken,
    ApiKey,
    Caller,
    create_key,
    create_token,
    find,
    identify,
    list_keys,
    page,
    revoke_key,
    sweep_tokens,
)
from core.accounts import Account, User
from core.carts import Cart
from core.errors import Forbidden, Missing, PreconditionFailed, Unauthorized, ValidationFailed
from core.invoices import Invoice
from core.orders import Order
from core.subscriptions import Subscription

BUY = {"mode": "buy", "plan": "gotoassist-standard", "seats": 1, "interval": "month"}


def of(account):
    return Caller("usr_1", frozenset(SCOPES), account=account.id)


def names(rows):
    return [row.name for row in rows]


# --- keys and tokens


def test_a_key_opens_its_scopes_until_it_is_revoked(shop):
    key, secret = create_key(shop.engine, "back end", ["checkout", "accounts", "checkout"])

    caller = identify(shop.engine, secret, "cart secret")

    assert (caller.id, caller.scopes, caller.account) == (key.id, {"accounts", "checkout"}, None)
    assert (caller.cart_secret, caller.staff, caller.anonymous) == ("cart secret", False, False)
    revoke_key(shop.engine, key.id)
    with pytest.raises(Unauthorized):
        identify(shop.engine, secret)
    assert [(each.name, each.revoked_at) for each in list_keys(shop.engine)] == [("back end", shop.clock.now())]


def test_revoking_a_key_again_keeps_the_first_instant(shop):
    key, _ = create_key(shop.engine, "back end", ["checkout"])
    revoked_at = revoke_key(shop.engine, key.id).revoked_at
    shop.on("2026-03-02")

    assert revoke_key(shop.engine, key.id).revoked_at == revoked_at
    with pytest.raises(Missing, match="There is no key key_none"):
        revoke_key(shop.engine, "key_none")


@pytest.mark.parametrize("scopes", [[], ["checkout", "everything"]])
def test_a_key_has_known_scopes_and_at_least_one(shop, scopes):
    with pytest.raises(ValidationFailed, match="scopes are some of catalog:read") as refused:
        create_key(shop.engine, "back end", scopes)

    assert [each.pointer for each in refused.value.errors] == ["/scopes"]
    assert shop.count(ApiKey) == 0


@pytest.mark.parametrize(
    ("role", "scopes"),
    [("billing_contact", {"catalog:read", "accounts", "checkout", "billing"}), ("member", {"catalog:read"})],
)
def test_a_token_opens_what_its_role_may_do_in_its_account_for_an_hour(shop, role, scopes):
    user = shop.add_user(role=role)
    secret, expires_at = create_token(shop.engine, user.account, user.id, user.role)

    caller = identify(shop.engine, secret)

    assert (caller.id, caller.account, caller.scopes, caller.staff) == (user.id, user.account, scopes, False)
    assert expires_at == shop.clock.now() + timedelta(hours=1)
    shop.clock.move_to(expires_at - timedelta(seconds=1))
    assert identify(shop.engine, secret) == caller
    shop.clock.move_to(expires_at)
    with pytest.raises(Unauthorized):
        identify(shop.engine, secret)


@pytest.mark.parametrize("bearer", ["", "sk_", "at_", "sk_guessed", "at_guessed", "Bearer", "🔑"])
def test_what_opens_nothing_is_unauthorized(shop, bearer):
    with pytest.raises(Unauthorized):
        identify(shop.engine, bearer)


def test_a_token_is_no_key_and_a_key_is_no_token(shop):
    user = shop.add_user()
    secrets = [create_key(shop.engine, "back end", ["checkout"])[1], create_token(shop.engine, user.account, user.id, user.role)[0]]

    for secret, prefix in zip(secrets, ("at_", "sk_"), strict=True):
        with pytest.raises(Unauthorized):
            identify(shop.engine, prefix + secret[3:])


def test_secrets_are_not_stored(shop):
    user = shop.add_user()
    secrets = [create_key(shop.engine, "back end", ["checkout"])[1], create_token(shop.engine, user.account, user.id, user.role)[0]]

    stored = [str(row.__data__) for table in (ApiKey, AccountToken) for row in shop.engine.db.all(table.select())]

    assert len(stored) == 2
    assert not any(secret[3:] in row for secret in secrets for row in stored)


def test_nobody_may_look_at_the_catalog_only(shop):
    nobody = identify(shop.engine, None, "cart secret")

    assert (nobody.anonymous, nobody.cart_secret) == (True, "cart secret")
    nobody.need("catalog:read")
    with pytest.raises(Unauthorized):
        nobody.need("checkout")
    with pytest.raises(Forbidden, match="This needs the scope staff"):
        Caller("key_1", frozenset({"checkout"})).need("staff")


def test_expired_tokens_are_forgotten(shop):
    user = shop.add_user()
    create_token(shop.engine, user.account, user.id, user.role)
    shop.on("2026-03-02")
    create_token(shop.engine, user.account, user.id, user.role)

    assert [sweep_tokens(shop.engine) for _ in range(2)] == [1, 0]
    assert shop.count(AccountToken) == 1


# --- whose rows


@pytest.fixture
def two_accounts(shop):
    """Two accounts with a user, a cart, an order, a subscription and an invoice each."""
    accounts = [shop.open_account(name=name) for name in ("Acme", "Beta")]
    for account in accounts:
        shop.buy("gotoassist-standard", account=account)
        shop.add_user(account)
    return accounts


@pytest.mark.parametrize("table", [User, Cart, Order, Subscription, Invoice])
def test_a_row_is_found_by_its_account_and_a_back_end_and_nobody_else(shop, two_accounts, table):
    acme, beta = two_accounts
    row = shop.engine.db.first(table.select().where(table.account == acme.id))

    assert find(shop.engine, table, row.id, of(acme)) == find(shop.engine, table, row.id, INTERNAL) == row
    for caller, row_id in ((of(beta), row.id), (NOBODY, row.id), (INTERNAL, "none")):
        with pytest.raises(Missing, match=f"There is no {table._meta.table_name.rstrip('s')} {row_id}"):
            find(shop.engine, table, row_id, caller)


def test_an_account_is_found_by_itself(shop, two_accounts):
    acme, beta = two_accounts

    assert find(shop.engine, Account, acme.id, of(acme), version=1) == acme
    with pytest.raises(Missing):
        find(shop.engine, Account, acme.id, of(beta))
    with pytest.raises(PreconditionFailed):
        find(shop.engine, Account, acme.id, of(acme), version=2)


@pytest.mark.parametrize("table", [User, Order, Subscription, Invoice])
def test_a_page_has_the_callers_rows_only(shop, two_accounts, table):
    acme, beta = two_accounts

    def seen(caller, account=None):
        rows, cursor = page(shop.engine, table, caller, account=account, limit=10, cursor=None)
        assert cursor is None
        return [row.account for row in rows]

    assert seen(of(acme)) == seen(of(acme), acme.id) == seen(INTERNAL, acme.id) == [acme.id]
    assert seen(INTERNAL) == [beta.id, acme.id]
    assert seen(of(acme), beta.id) == seen(NOBODY) == seen(NOBODY, acme.id) == []


def test_pages_follow_each_other_without_gap_or_repeat_while_rows_come_in(shop):
    account = shop.open_account()
    for index in range(5):
        shop.add_user(account, name=str(index))

    first, cursor = page(shop.engine, User, of(account), limit=2, cursor=None)
    shop.add_user(account, name="late")
    second, cursor = page(shop.engine, User, of(account), limit=2, cursor=cursor)
    third, end = page(shop.engine, User, of(account), limit=2, cursor=cursor)

    assert (names(first), names(second), names(third), end) == (["4", "3"], ["2", "1"], ["0"], None)


def test_a_page_that_is_just_full_is_the_last(shop):
    account = shop.open_account()
    for index in range(2):
        shop.add_user(account, name=str(index))

    rows, cursor = page(shop.engine, User, of(account), limit=2, cursor=None)

    assert (names(rows), cursor) == (["1", "0"], None)


def test_a_further_condition_narrows_a_page(shop):
    account = shop.open_account()
    for role in ("member", "billing_contact", "member"):
        shop.add_user(account, name=role, role=role)

    rows, _ = page(shop.engine, User, of(account), User.role == "member", limit=10, cursor=None)

    assert names(rows) == ["member", "member"]
    assert page(shop.engine, User, of(account), User.role == "owner", limit=10, cursor="usr_z") == ([], None)
