"""Seats: never more assigned than bought, however many requests race; and what holding one entitles to."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from core.access import INTERNAL, SCOPES, Caller, create_token, identify
from core.accounts import User
from core.cancellations import cancel
from core.engine.database import MOST_VARIABLES
from core.engine.gathering import in_parts
from core.engine.values import new_id
from core.errors import Missing, NoSeatLeft, PreconditionFailed, TransitionInvalid, Unauthorized
from core.seats import (
    Entitlement,
    SeatAssignment,
    assign_seats,
    assigned_users,
    check_entitlement,
    release_seat,
    release_seats,
    remove_user,
)
from core.subscriptions import Subscription
from puesto import Plan, Price, Product, eur, hookimpl


def ids(users):
    return [user.id for user in users]


def users_of(shop, count):
    return [shop.add_user(email=f"{index}@acme.example") for index in range(count)]


def told(shop, event_type):
    return [event["data"]["user"]["id"] for event in shop.events(event_type)]


def entitlement(shop, user, product="gotoassist"):
    return check_entitlement(shop.engine, user.id, product, INTERNAL)


# --- assigning


def test_users_get_a_seat_each_in_the_order_given(shop):
    subscription, users = shop.buy("gotoassist-standard", seats=3), users_of(shop, 3)

    assign_seats(shop.engine, subscription.id, INTERNAL, ids([users[2], users[0]]))

    assert assigned_users(shop.engine, subscription) == ids([users[2], users[0]])
    shown = shop.show(subscription)
    assert (shown["seats"], shown["seats_assigned"]) == (3, 2)
    first, second = shop.events("seat.assigned")
    assert first["data"]["user"] == {"id": users[2].id, "email": "2@acme.example", "name": "Ana", "role": "member"}
    assert second["data"]["subscription"] == shown
    assert {first["subject"], second["subject"]} == {subscription.id}


def test_who_has_a_seat_keeps_it_and_takes_no_second(shop):
    subscription, (ana, berta) = shop.buy("gotoassist-standard", seats=2), users_of(shop, 2)
    shop.assign(subscription, ana)
    version = shop.refresh(subscription).version

    shop.assign(subscription, ana)
    shop.assign(subscription, ana, berta, berta)

    assert assigned_users(shop.engine, subscription) == ids([ana, berta])
    assert told(shop, "seat.assigned") == ids([ana, berta])
    assert shop.refresh(subscription).version == version + 1


def test_one_too_many_and_nobody_gets_a_seat(shop):
    subscription, users = shop.buy("gotoassist-standard", seats=2), users_of(shop, 3)
    shop.assign(subscription, users[0])

    with pytest.raises(NoSeatLeft, match="has 2 seats, 1 are assigned") as refused:
        shop.assign(subscription, users[1], users[2])

    assert refused.value.extra == {"seats": 2, "assigned": 1}
    assert assigned_users(shop.engine, subscription) == [users[0].id]
    assert told(shop, "seat.assigned") == [users[0].id]


def test_a_user_that_is_unknown_or_of_another_account_is_missing_and_nobody_gets_a_seat(shop):
    subscription, (ana,) = shop.buy("gotoassist-standard", seats=3), users_of(shop, 1)
    stranger = shop.add_user(shop.open_account())

    for other in ("usr_nobody", stranger.id):
        with pytest.raises(Missing, match=f"There is no user {other}"):
            assign_seats(shop.engine, subscription.id, INTERNAL, [ana.id, other])

    assert (shop.count(SeatAssignment), shop.events("seat.assigned")) == (0, [])


def test_a_subscription_that_has_ended_has_no_seats_to_assign(shop):
    subscription, (ana,) = shop.buy("gotoassist-standard"), users_of(shop, 1)
    cancel(shop.engine, subscription.id, INTERNAL, at="now")

    with pytest.raises(TransitionInvalid, match="The subscription is cancelled"):
        shop.assign(subscription, ana)

    assert shop.count(SeatAssignment) == 0


def test_another_accounts_subscription_is_missing(shop):
    subscription, (ana,) = shop.buy("gotoassist-standard"), users_of(shop, 1)
    shop.assign(subscription, ana)
    stranger = Caller("usr_1", frozenset(SCOPES), account=shop.open_account().id)

    for act in (
        lambda: assign_seats(shop.engine, subscription.id, stranger, []),
        lambda: release_seat(shop.engine, subscription.id, stranger, ana.id),
    ):
        with pytest.raises(Missing):
            act()

    assert assigned_users(shop.engine, subscription) == [ana.id]


def test_a_hundred_at_once_take_ten_seats_and_no_more(shop):
    subscription, users = shop.buy("gotoassist-standard", seats=10), users_of(shop, 100)
    at_once = Barrier(20)

    def take(user):
        at_once.wait()
        try:
            assign_seats(shop.engine, subscription.id, INTERNAL, [user])
        except NoSeatLeft:
            return None
        finally:
            shop.engine.db.close()
        return user

    with ThreadPoolExecutor(20) as threads:
        lucky = [user for user in threads.map(take, ids(users)) if user is not None]

    assert len(lucky) == 10
    assert sorted(assigned_users(shop.engine, subscription)) == sorted(told(shop, "seat.assigned")) == sorted(lucky)
    assert shop.show(subscription)["seats_assigned"] == 10


# --- releasing


def test_a_released_seat_is_free_for_another(shop):
    subscription, (ana, berta) = shop.buy("gotoassist-standard", seats=1), users_of(shop, 2)
    shop.assign(subscription, ana)

    release_seat(shop.engine, subscription.id, INTERNAL, ana.id)
    shop.assign(subscription, berta)

    assert assigned_users(shop.engine, subscription) == [berta.id]
    (released,) = shop.events("seat.released")
    assert (released["data"]["user"]["id"], released["data"]["subscription"]["seats_assigned"]) == (ana.id, 0)


def test_who_has_no_seat_can_lose_none(shop):
    subscription, (ana,) = shop.buy("gotoassist-standard"), users_of(shop, 1)

    with pytest.raises(Missing, match="There is no seat of user"):
        release_seat(shop.engine, subscription.id, INTERNAL, ana.id)

    assert shop.events("seat.released") == []


def test_a_removed_user_leaves_their_seats_and_tokens_behind(shop):
    first, second = shop.buy("gotoassist-standard"), shop.buy("rescue-standard")
    ana, berta = users_of(shop, 2)
    for subscription in (first, second):
        shop.assign(subscription, ana)
    token, _ = create_token(shop.engine, ana.account, ana.id, ana.role)
    other, _ = create_token(shop.engine, berta.account, berta.id, berta.role)

    with pytest.raises(PreconditionFailed):
        remove_user(shop.engine, ana.account, ana.id, INTERNAL, version=7)
    remove_user(shop.engine, ana.account, ana.id, INTERNAL)

    assert [shop.show(each)["seats_assigned"] for each in (first, second)] == [0, 0]
    assert told(shop, "seat.released") == [ana.id, ana.id]
    assert (shop.count(SeatAssignment), shop.count(User)) == (0, 1)
    with pytest.raises(Unauthorized):
        identify(shop.engine, token)
    assert identify(shop.engine, other).id == berta.id


# --- entitlement


def test_a_user_with_a_seat_may_use_the_product_at_once(shop):
    account = shop.open_account(locale="es-MX")
    subscription, user = shop.buy("gotoassist-professional", account=account), shop.add_user(account)

    shop.assign(subscription, user)

    features = ("Ocho sesiones a la vez por técnico", "Acceso desatendido a 100 equipos", "Grabación de sesiones")
    assert entitlement(shop, user) == Entitlement(True, "seat_assigned", "gotoassist-professional", features, subscription.id)
    release_seat(shop.engine, subscription.id, INTERNAL, user.id)
    assert entitlement(shop, user) == Entitlement(False, "no_seat", subscription=subscription.id)


@pytest.mark.parametrize("at", ["now", "period_end"])
def test_a_cancelled_subscription_entitles_until_it_ends(shop, at):
    subscription, (ana,) = shop.buy("gotoassist-standard"), users_of(shop, 1)
    shop.assign(subscription, ana)

    cancel(shop.engine, subscription.id, INTERNAL, at=at)

    assert entitlement(shop, ana).entitled is (at == "period_end")
    shop.on("2026-04-01")  # whether or not the background work has run
    assert entitlement(shop, ana) == Entitlement(False, "cancelled", subscription=subscription.id)


def test_a_trial_entitles_until_it_ends(shop):
    subscription, (ana,) = shop.try_out("gotoassist-standard"), users_of(shop, 1)
    shop.assign(subscription, ana)
    assert entitlement(shop, ana).reason == "seat_assigned"

    shop.on("2026-03-31")

    assert entitlement(shop, ana) == Entitlement(False, "trial_ended", subscription=subscription.id)
    shop.run()
    assert entitlement(shop, ana).reason == "trial_ended"


def test_of_another_product_there_is_no_subscription(shop):
    subscription, (ana,) = shop.buy("gotoassist-standard"), users_of(shop, 1)
    shop.assign(subscription, ana)

    assert entitlement(shop, ana, "rescue") == entitlement(shop, ana, "no-such-product") == Entitlement(False, "no_subscription")


def test_another_accounts_user_is_missing(shop):
    (ana,) = users_of(shop, 1)

    for caller in (Caller("usr_1", frozenset(SCOPES), account=shop.open_account().id), Caller("anonymous", frozenset(), anonymous=True)):
        with pytest.raises(Missing):
            check_entitlement(shop.engine, ana.id, "gotoassist", caller)


def test_of_several_subscriptions_the_best_counts(shop):
    professional, standard, ended = (shop.buy(f"gotoassist-{plan}") for plan in ("professional", "standard", "professional"))
    (ana,) = users_of(shop, 1)
    cancel(shop.engine, ended.id, INTERNAL, at="now")

    seen = [entitlement(shop, ana)]
    shop.assign(standard, ana)
    seen.append(entitlement(shop, ana))
    shop.assign(professional, ana)
    seen.append(entitlement(shop, ana))

    assert [(each.reason, each.subscription) for each in seen] == [
        ("no_seat", professional.id),
        ("seat_assigned", standard.id),
        ("seat_assigned", professional.id),
    ]


class Wordless:
    @hookimpl
    def register_products(self):
        return [Product("club", {"en": "Club"}, [Plan("club-basic", {"en": "Basic"}, 1, [Price.per_seat("month", eur("1.00"))])])]


def test_a_product_whose_plugin_is_gone_entitles_as_before(open_shop):
    shop = open_shop(plugins={"club": Wordless()})
    subscription, (ana,) = shop.buy("club-basic"), users_of(shop, 1)
    shop.assign(subscription, ana)

    without = open_shop(folder=shop.folder)

    assert entitlement(without, ana, "club") == Entitlement(True, "seat_assigned", "club-basic", (), subscription.id)


@pytest.mark.slow
def test_more_users_lose_their_seats_at_once_than_a_statement_has_places(shop):
    many, now = MOST_VARIABLES + 1, shop.clock.now()
    subscription = shop.buy("gotoassist-standard", seats=many)
    same = {"account": subscription.account, "name": "Ana", "role": "member", "created_at": now}
    rows = [User(id=new_id("usr"), email=f"{number}@acme.example", **same) for number in range(many)]
    shop.engine.db.insert(*rows)
    for part in in_parts(rows, 10_000):
        assign_seats(shop.engine, subscription.id, INTERNAL, ids(part))

    with shop.engine.db.transaction():
        released = release_seats(shop.engine, shop.engine.db.lock(Subscription, subscription.id), ids(rows[1:]))

    assert (released, assigned_users(shop.engine, subscription)) == (many - 1, [rows[0].id])
