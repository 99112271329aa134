"""One order whose buyer is at the bank, and all who may learn what became of it, in every order of their steps."""

import shutil
from contextlib import closing
from datetime import timedelta
from functools import partial
from itertools import combinations
from pathlib import Path
from random import Random
from sqlite3 import connect
from tempfile import TemporaryDirectory

import pytest

from core.carts import Cart
from core.checkout import buyer_returned, cancel_order, confirm_order
from core.engine.idempotency import KeyedRequest
from core.invoices import Invoice
from core.orders import Order
from core.payment_webhooks import apply_events
from core.payments import Payment, reference
from core.recovery import recover
from core.subscriptions import Subscription
from puesto.testing.shop import INTERNAL
from tests.core.interleaving import explore, wander
from tests.core.test_payment_webhooks import SEAT, TellingPlugin, tell

pytestmark = pytest.mark.only_on("sqlite", reason="schedules are run on copies of a file")
NEWS = ("confirm", "webhook", "return page", "sweeper")
DATABASES = ("shop.db", "shop.db-jobs", "gateway.db")
MEMORY = Path("/dev/shm")


class Story:
    """One order at the bank, put back to where it was before each schedule."""

    def __init__(self, shop, token, approved):
        self.shop, self.gateway = shop, shop.engine.providers["sandbox"]
        self.order = shop.order(shop.cart(SEAT), token=token)["id"]
        [self.payment] = shop.engine.db.all(Payment.select())
        if approved:
            self.gateway.confirm_payment(reference(self.payment), {})
        shop.clock.move_to(shop.clock.now() + timedelta(hours=1, seconds=1))  # the sweeper's time has come
        self.began = shop.clock.offset
        shop.engine.close()
        self.kept = shop.folder.with_name("kept")
        shutil.copytree(shop.folder, self.kept)

    def reset(self):
        for name in DATABASES:
            for kept in self.kept.rglob(name):
                # Not file by file: the gateway keeps its own open.
                with closing(connect(kept)) as before, closing(connect(self.shop.folder / kept.relative_to(self.kept))) as now:
                    before.backup(now)
        self.shop.clock.offset = self.began

    # --- who learns of it

    def bodies(self, names):
        every = {
            "confirm": lambda: confirm_order(self.shop.engine, self.order, INTERNAL, data={}, request=KeyedRequest("c", "key", b"")),
            "webhook": self.hear,
            "return page": lambda: buyer_returned(self.shop.engine, self.order, {}),
            "sweeper": lambda: recover(self.shop.engine),
            "cancel": lambda: cancel_order(self.shop.engine, self.order, INTERNAL),
        }
        return {name: every[name] for name in names}

    def hear(self):
        tell(self.shop, self.payment.id)
        apply_events(self.shop.engine)

    # --- what became of it

    def come_to_rest(self):
        """Whatever is left to the sweeper, in its time."""
        for _ in range(3):
            self.shop.clock.move_to(self.shop.clock.now() + timedelta(hours=2))
            apply_events(self.shop.engine)
            recover(self.shop.engine)

    def outcome(self):
        """The order's status, the cart's, what the buyer has been charged and given back; invoices, subscriptions, completions."""
        shop = self.shop
        order = shop.engine.db.get(Order, self.order)
        charges = [(charge.amount.amount, charge.refunded.amount) for charge in self.gateway.charges() if charge.amount.amount]
        cart = shop.engine.db.get(Cart, order.cart).status
        return order.status, cart, charges, shop.count(Invoice), shop.count(Subscription), len(shop.events("order.completed"))


PAID = ("completed", "ordered", [(14_52, 0)], 1, 1, 1)  # 12.00 x 1.21
NEVER_PAID = [(status, "open", [], 0, 0, 0) for status in ("failed", "cancelled")]
GIVEN_BACK = [(status, "open", [(14_52, 14_52)], 0, 0, 0) for status in ("failed", "cancelled")]
# Name, token, whether the bank has approved it before, and how it may end.
APPROVED = ("approved", "tok_3ds", True, [PAID])
UNDECIDED = ("undecided", "tok_3ds", False, [PAID, *NEVER_PAID, *GIVEN_BACK])
REFUSED = ("refused", "tok_3ds_fails", False, NEVER_PAID)
CALLED_OFF = ("called off", "tok_3ds", True, [PAID, *GIVEN_BACK])


@pytest.fixture
def play(open_shop):
    """play(scene, names, how): run the actors in the orders that `how` goes through; the schedule that ends otherwise is named."""
    with TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:

        def run(scene, names, how):
            _, token, approved, ends = scene
            story = Story(open_shop(plugins={"sandbox": TellingPlugin}, folder=Path(folder) / "shop"), token, approved)

            def check(schedule):
                story.come_to_rest()
                assert story.outcome() in ends, " > ".join(schedule)

            how(story.shop, story.gateway, story.reset, story.bodies(names), check)

        yield run


def some(size, scenes, among=NEWS, *marks):
    named = [(scene, names) for scene in scenes for names in combinations(among, size)]
    return [pytest.param(scene, names, marks=marks, id=f"{scene[0]}: {', '.join(names)}") for scene, names in named]


@pytest.mark.parametrize(
    ("scene", "names"),
    [
        *some(2, [APPROVED]),
        *(pytest.param(CALLED_OFF, (name, "cancel"), id=f"called off: {name}, cancel") for name in NEWS),
        *some(2, [UNDECIDED, REFUSED, CALLED_OFF], NEWS, pytest.mark.slow),
    ],
)
def test_two_at_once_end_as_they_may_in_every_order(play, scene, names):
    play(scene, names, explore)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("scene", "names"), some(4, [APPROVED]))
def test_all_at_once_end_as_they_may_in_every_order_of_asking_and_writing(play, scene, names):
    """Between the provider's answer and its being written anybody may cut in, and so may any number of others."""
    play(scene, names, partial(explore, coarse=True))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("scene", "names"), some(4, [APPROVED, UNDECIDED, REFUSED]) + some(5, [CALLED_OFF], (*NEWS, "cancel")))
def test_all_at_once_end_as_they_may_in_orders_drawn_by_lot(play, scene, names, seed):
    play(scene, names, partial(wander, draw=Random(seed), times=100))
