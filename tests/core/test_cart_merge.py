"""Carts without an account: who sees one, how an account claims it; and two carts that become one. All or nothing."""

import pytest

from core.access import INTERNAL, NOBODY, SCOPES, Caller
from core.carts import (
    CartLine,
    LineInput,
    add_line,
    cart_document,
    change_line,
    claim_cart,
    create_cart,
    delete_cart,
    get_cart,
    lines_of,
    merge_carts,
)
from core.errors import (
    CartExpired,
    CartNotOpen,
    CurrencyUnsupported,
    Missing,
    SeatsOutOfRange,
    TrialNotEligible,
    ValidationFailed,
)
from puesto import Plan, Price, Product, eur, hookimpl

BUY = {"mode": "buy", "plan": "gotoassist-standard", "interval": "month", "seats": 2}
TRY = {"mode": "trial", "plan": "gotowebinar-professional", "seats": 3}
BUSINESS = {"mode": "buy", "plan": "gotomeeting-business", "interval": "month", "seats": 10}


def of_nobody(shop, *lines, country="DE", currency="EUR"):
    """A cart without account, and whom its secret makes of a passer-by."""
    cart, secret = create_cart(shop.engine, NOBODY, [LineInput(**line) for line in lines], country=country, currency=currency)
    return cart, Caller("anonymous", NOBODY.scopes, anonymous=True, cart_secret=secret)


def shown(shop, cart):
    return cart_document(shop.engine, shop.refresh(cart))


def seats_by_plan(shop, cart):
    return [(line.plan, line.seats) for line in lines_of(shop.engine, cart)]


# --- without an account


def test_a_cart_of_nobody_is_seen_by_who_shows_its_secret_and_by_a_back_end(shop):
    cart, holder = of_nobody(shop, BUY)
    _, other = of_nobody(shop, BUY)

    assert get_cart(shop.engine, cart.id, holder) == get_cart(shop.engine, cart.id, INTERNAL) == cart
    assert holder.cart_secret not in str(shown(shop, cart))
    for nobody in (NOBODY, other, Caller("usr_1", frozenset(SCOPES), account=shop.account.id)):
        with pytest.raises(Missing):
            get_cart(shop.engine, cart.id, nobody)


def test_its_holder_edits_quotes_and_removes_it(shop):
    cart, holder = of_nobody(shop, BUY)

    add_line(shop.engine, cart.id, holder, LineInput(**TRY))
    change_line(shop.engine, cart.id, lines_of(shop.engine, cart)[0].id, holder, seats=5)
    quote = shop.quote(cart, holder)

    assert (quote.net, quote.tax, quote.payment_required) == (eur("60.00"), eur("11.40"), True)  # 5 x 12.00, 19 % in Germany
    delete_cart(shop.engine, cart.id, holder)
    assert shop.count(CartLine) == 0


def test_it_can_change_no_subscription(shop):
    subscription = shop.buy("gotoassist-standard")

    with pytest.raises(ValidationFailed, match="Only the cart of an account can change a subscription") as refused:
        of_nobody(shop, {"mode": "change", "subscription": subscription.id, "seats": 3})

    assert [each.pointer for each in refused.value.errors] == ["/lines/0/mode"]


# --- claiming


def test_an_account_that_claims_a_cart_gives_it_its_country_and_currency(shop):
    account = shop.open_account(country="FR", currency="USD")
    cart, holder = of_nobody(shop, BUY, TRY)

    claim_cart(shop.engine, cart.id, Caller("usr_1", frozenset(SCOPES), account.id, cart_secret=holder.cart_secret), account.id)

    after = shown(shop, cart)
    assert (after["account"], after["country"], after["currency"]) == (account.id, "FR", "USD")
    assert seats_by_plan(shop, cart) == [("gotoassist-standard", 2), ("gotowebinar-professional", 3)]
    assert {line.account for line in lines_of(shop.engine, cart)} == {account.id}
    with pytest.raises(Missing):
        get_cart(shop.engine, cart.id, holder)


class EuroOnly:
    @hookimpl
    def register_products(self):
        return [Product("club", {"en": "Club"}, [Plan("club-basic", {"en": "Basic"}, 1, [Price.per_seat("month", eur("9.00"))])])]


@pytest.mark.parametrize(
    ("line", "kind", "pointer"),
    [
        ({**BUY, "plan": "club-basic"}, CurrencyUnsupported, "/lines/1/plan"),
        ({**TRY, "plan": "gotoassist-professional"}, TrialNotEligible, "/lines/1/plan"),
    ],
    ids=["currency", "tried already"],
)
def test_a_claim_checks_every_line_for_the_account_and_else_leaves_the_cart_as_it_was(open_shop, line, kind, pointer):
    shop = open_shop(plugins={"club": EuroOnly()})
    account = shop.open_account(currency="GBP")
    shop.try_out("gotoassist-standard", account=account)
    cart, holder = of_nobody(shop, BUY, line)
    before = shown(shop, cart)

    with pytest.raises(kind) as refused:
        claim_cart(shop.engine, cart.id, INTERNAL, account.id)

    assert [each.pointer for each in refused.value.errors] == [pointer]
    assert shown(shop, cart) == before
    assert get_cart(shop.engine, cart.id, holder) == cart


def test_a_cart_is_claimed_once_and_only_for_an_account_of_ones_own(shop):
    cart, holder = of_nobody(shop, BUY)
    buyer = Caller("usr_1", frozenset(SCOPES), account=shop.account.id, cart_secret=holder.cart_secret)

    with pytest.raises(Missing):
        claim_cart(shop.engine, cart.id, buyer, shop.open_account().id)
    claim_cart(shop.engine, cart.id, buyer, shop.account.id)
    with pytest.raises(CartNotOpen, match="belongs to an account already"):
        claim_cart(shop.engine, cart.id, buyer, shop.account.id)

    assert shown(shop, cart)["account"] == shop.account.id


# --- merging


@pytest.mark.parametrize(("mode", "seats"), [("keep", 2), ("replace", 3), ("sum", 5)])
def test_lines_alike_keep_replace_or_sum_their_seats_and_others_come_along(shop, mode, seats):
    yearly = {**BUY, "interval": "year"}
    cart, (other, _) = shop.cart(BUY, BUSINESS), of_nobody(shop, yearly, {**BUY, "seats": 3}, TRY)

    merge_carts(shop.engine, cart.id, other.id, INTERNAL, mode)

    assert seats_by_plan(shop, cart) == [
        ("gotoassist-standard", seats),
        ("gotomeeting-business", 10),
        ("gotoassist-standard", 2),
        ("gotowebinar-professional", 3),
    ]
    assert {line.account for line in lines_of(shop.engine, cart)} == {shop.account.id}
    assert shown(shop, other)["status"] == "merged"
    assert shop.events() == []


@pytest.mark.parametrize(("mode", "seats"), [("keep", [1, 4]), ("replace", [3, 4]), ("sum", [4, 4])])
def test_of_several_lines_alike_none_is_lost(shop, mode, seats):
    cart, (other, _) = shop.cart({**BUY, "seats": 1}), of_nobody(shop, {**BUY, "seats": 3}, {**BUY, "seats": 4})

    merge_carts(shop.engine, cart.id, other.id, INTERNAL, mode)

    assert [count for _, count in seats_by_plan(shop, cart)] == seats


@pytest.mark.parametrize(("mode", "seats"), [("keep", 4), ("replace", 6), ("sum", 6)])
def test_of_two_changes_of_a_subscription_one_stays(shop, mode, seats):
    change = {"mode": "change", "subscription": shop.buy("gotoassist-standard").id}
    cart = shop.cart({**change, "seats": 4})
    other = shop.cart({**change, "seats": 6, "plan": "gotoassist-professional"})

    merge_carts(shop.engine, cart.id, other.id, INTERNAL, mode)

    plan = None if mode == "keep" else "gotoassist-professional"
    assert seats_by_plan(shop, cart) == [(plan, seats)]


@pytest.mark.parametrize(
    ("mine", "theirs", "mode", "kind", "pointer"),
    [
        ([BUY, TRY], [TRY], "sum", SeatsOutOfRange, "/lines/1/seats"),  # 3 + 3 of at most 5
        ([TRY], [BUY, {**TRY, "plan": "gotowebinar-standard", "seats": 1}], "keep", TrialNotEligible, "/lines/2/plan"),
        ([BUY] * 30, [BUSINESS] * 21, "keep", ValidationFailed, "/lines"),
    ],
    ids=["too many seats", "a second trial", "51 lines"],
)
def test_a_merge_that_may_not_stand_changes_neither_cart(shop, mine, theirs, mode, kind, pointer):
    cart, (other, _) = shop.cart(*mine), of_nobody(shop, *theirs)
    before = shown(shop, cart), shown(shop, other)

    with pytest.raises(kind) as refused:
        merge_carts(shop.engine, cart.id, other.id, INTERNAL, mode)

    assert [each.pointer for each in refused.value.errors] == [pointer]
    assert (shown(shop, cart), shown(shop, other)) == before


def test_merged_lines_are_checked_in_the_currency_of_the_cart_that_stays(open_shop):
    shop = open_shop(plugins={"club": EuroOnly()})
    cart = shop.cart(BUY, account=shop.open_account(currency="GBP"))
    other, _ = of_nobody(shop, {**BUY, "plan": "club-basic"})

    with pytest.raises(CurrencyUnsupported):
        merge_carts(shop.engine, cart.id, other.id, INTERNAL, "keep")

    assert len(lines_of(shop.engine, other)) == 1


def test_a_cart_of_another_account_or_of_nobody_one_knows_is_not_merged(shop):
    cart, theirs = shop.cart(BUY), shop.cart(BUY, account=shop.open_account())
    unknown, _ = of_nobody(shop, BUY)
    buyer = Caller("usr_1", frozenset(SCOPES), account=shop.account.id)

    for caller, other in ((INTERNAL, theirs), (buyer, theirs), (buyer, unknown)):
        with pytest.raises(Missing):
            merge_carts(shop.engine, cart.id, other.id, caller, "keep")
    with pytest.raises(ValidationFailed, match="can't be merged with itself"):
        merge_carts(shop.engine, cart.id, cart.id, buyer, "keep")

    assert len(lines_of(shop.engine, cart)) == 1


def test_a_cart_that_is_closed_expired_or_at_the_bank_is_not_merged(shop):
    cart, ordered, paying = shop.cart(BUY), shop.cart(BUY), shop.cart(BUY)
    shop.order(ordered)
    shop.order(paying, token="tok_3ds")
    merged, _ = of_nobody(shop, BUY)
    merge_carts(shop.engine, cart.id, merged.id, INTERNAL, "keep")

    for other, words in ((ordered, "is ordered"), (merged, "is merged"), (paying, "waits for the buyer at the bank")):
        with pytest.raises(CartNotOpen, match=words):
            merge_carts(shop.engine, cart.id, other.id, INTERNAL, "keep")
    shop.on("2026-04-01")
    with pytest.raises(CartExpired):
        merge_carts(shop.engine, shop.cart(BUY).id, cart.id, INTERNAL, "keep")

    assert seats_by_plan(shop, cart) == [("gotoassist-standard", 2)]


def test_a_claimed_cart_is_no_longer_ordered_with_its_former_secret(shop):
    cart, holder = of_nobody(shop, BUY)
    claim_cart(shop.engine, cart.id, INTERNAL, shop.account.id)

    with pytest.raises(Missing):
        shop.order(cart, caller=holder)

    assert shown(shop, cart)["status"] == "open"
