"""Stored methods near their end: told of once, thirty days before, by the account's calendar."""

from datetime import UTC, datetime

import pytest

from core.access import INTERNAL
from core.errors import Missing
from core.expiries import remind_of_expiries
from core.payment_methods import PaymentMethod, add_method, choose_default, default_method, delete_method, method_document
from puesto import SavedMethod


def card(shop, expires="2026-03", *, account=None, reference="ref_1"):
    return add_method(shop.engine, (account or shop.account).id, INTERNAL, "sandbox", SavedMethod(reference, "visa", "4242", expires))


def told(shop):
    return [(event["subject"], event["data"]["valid_until"]) for event in shop.events("payment_method.expiring")]


@pytest.mark.parametrize(
    ("day", "expires", "reminds"),
    [
        ("2026-03-01", "2026-03", True),
        ("2026-03-31", "2026-03", True),
        ("2026-03-31", "2026-04", True),
        ("2026-03-30", "2026-04", False),
        ("2026-04-01", "2026-03", False),
        ("2026-12-01", "2026-12", True),
        ("2028-02-01", "2028-02", True),
        ("2026-03-01", "03/26", False),
        ("2026-03-01", "2026-13", False),
        ("2026-03-01", None, False),
    ],
)
def test_it_is_told_in_the_last_thirty_days(shop, day, expires, reminds):
    method = card(shop, expires)
    shop.on(day)

    remind_of_expiries(shop.engine)

    assert [subject for subject, _ in told(shop)] == ([method.id] if reminds else [])


def test_it_is_told_once_and_anew_for_another_month(shop):
    method = card(shop)
    for _ in range(2):
        remind_of_expiries(shop.engine)
        card(shop)
    once = told(shop)
    card(shop, "2026-04")
    shop.on("2026-04-10")

    remind_of_expiries(shop.engine)

    assert (once, told(shop)) == ([(method.id, "2026-03-31")], [(method.id, "2026-03-31"), (method.id, "2026-04-30")])


def test_the_event_shows_the_method_and_no_reference(shop):
    method = card(shop)

    remind_of_expiries(shop.engine)

    [event] = shop.events("payment_method.expiring")
    assert event["account"] == shop.account.id
    assert event["data"]["payment_method"] == method_document(shop.refresh(method))
    assert "ref_1" not in str(event)


def test_the_day_is_that_of_the_account(shop):
    far = card(shop, "2026-04", account=shop.open_account(time_zone="Pacific/Kiritimati"))
    card(shop, "2026-04", reference="ref_2")

    shop.clock.move_to(datetime(2026, 3, 30, 12, tzinfo=UTC))  # on Kiritimati it is the 31st

    remind_of_expiries(shop.engine)
    assert [subject for subject, _ in told(shop)] == [far.id]


def test_a_method_that_is_forgotten_is_not_told_of(shop):
    delete_method(shop.engine, shop.account.id, card(shop).id, INTERNAL)

    remind_of_expiries(shop.engine)

    assert told(shop) == []


def test_a_method_becomes_the_default_by_choice(shop):
    first, second = card(shop), card(shop, reference="ref_2")

    chosen = choose_default(shop.engine, shop.account.id, first.id, INTERNAL)

    assert (chosen.id, chosen.default, default_method(shop.engine, shop.account.id).id) == (first.id, True, first.id)
    assert shop.engine.db.get(PaymentMethod, second.id).default is False


def test_another_accounts_method_can_not_be_chosen(shop):
    theirs = card(shop, account=shop.open_account())

    with pytest.raises(Missing):
        choose_default(shop.engine, shop.account.id, theirs.id, INTERNAL)

    assert default_method(shop.engine, shop.account.id) is None
