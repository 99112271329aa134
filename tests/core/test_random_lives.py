"""Random lives of subscriptions over five years: whatever is bought, changed, refused, cancelled and refunded, in any order, and wherever
the power fails, the books are right; and who does the same again comes to the same documents.

PUESTO_TEST_LIVES=500 lives more of them; PUESTO_TEST_SEED repeats a run; PUESTO_TEST_SHRINK=1 looks for the shortest life that fails.
"""

import os
from datetime import timedelta
from functools import partial
from itertools import count

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from core.hooks.products import UNUSED
from tests.core.lives_audit import audit, documents, foretold, lives
from tests.core.random_lives import BEGIN, END, PLANS, Act, World

ZONES = ("Europe/Madrid", "Pacific/Kiritimati", "Pacific/Niue", "America/Santiago")
COUNTRIES = ("ES", "FI", "US")
PLACES = st.tuples(st.sampled_from(COUNTRIES), st.sampled_from(ZONES))
POLICIES = (None, "restart", "prorate", "next_period")
ACCOUNTS, SEATS = st.integers(0, 1), st.integers(1, 7)
INTERVALS = st.sampled_from(["month", "year", "year"])
# Which of those that have not ended.
ONES = st.integers(0, 2)
# How many days later.
DAYS = st.sampled_from([0, 1, 14, 30, 31, 59, 100, 181, 365])
# Where the power fails, counted in writes to the disk and calls of the bank; None, mostly: it does not.
DEATHS = st.sampled_from([None, None, None, *range(1, 13)])

with_one = precondition(lambda self: self.world.running)


class Lives(RuleBasedStateMachine):
    """Hypothesis draws what happens next. `open_world` comes from the test."""

    open_world = staticmethod(World)
    # Whether the last audit found nothing.
    right = False

    @initialize(place=PLACES, other=PLACES, plan=st.sampled_from(PLANS), seats=SEATS, every=INTERVALS)
    def begin(self, place, other, plan, seats, every):
        self.world = self.open_world()
        self.at = BEGIN
        for country, zone in (place, other):
            self.do("open", country=country, zone=zone)
        self.do("buy", account=0, plan=plan, seats=seats, interval=every, save=True)

    def do(self, name, days=0, dies=None, **what):
        """After so many days, on the way to which the power may fail too."""
        self.wait(days, dies)
        self.right = False
        self.world.do(Act(self.world.now, name, what), dies)
        audit(self.world)
        self.right = True

    def one(self, number):
        """One that has not ended."""
        running = [index for index, row in enumerate(self.world.subscriptions) if row.cancelled_at is None]
        return running[number % len(running)]

    def teardown(self):
        if self.right:
            done_again(self.open_world, self.world)

    # --- what can happen

    @rule(days=DAYS, dies=DEATHS)
    def wait(self, days, dies):
        self.right = False
        since = self.world.now
        self.at = min(max(self.at, since) + timedelta(days=days), END)
        said = self.world.foretold(max(self.at, since))
        self.world.go_to(self.at, dies if days else None)
        audit(self.world)
        foretold(self.world, said, since)
        self.right = True

    @precondition(lambda self: self.world.running < 3)
    @rule(account=ACCOUNTS, plan=st.sampled_from(PLANS), seats=SEATS, every=INTERVALS, save=st.booleans(), days=DAYS, dies=DEATHS)
    def buy(self, every, **what):
        self.do("buy", interval=every, **what)

    @precondition(lambda self: self.world.running < 3)
    @rule(account=ACCOUNTS, plan=st.sampled_from(["desk-usual", "chat-one"]), seats=st.integers(1, 3), days=DAYS, dies=DEATHS)
    def try_out(self, **what):
        self.do("try_out", **what)

    @with_one
    @rule(number=ONES, policy=st.sampled_from(POLICIES), seats=SEATS, days=DAYS, dies=DEATHS)
    def change_seats(self, number, **what):
        self.do("change", subscription=self.one(number), **what)

    @with_one
    @rule(number=ONES, policy=st.sampled_from(POLICIES), plan=st.sampled_from(PLANS[:4]), seats=SEATS, days=DAYS, dies=DEATHS)
    def change_plan(self, number, **what):
        self.do("change", subscription=self.one(number), **what)

    @with_one
    @rule(number=ONES, policy=st.sampled_from(POLICIES), every=INTERVALS, days=DAYS, dies=DEATHS)
    def change_interval(self, number, every, **what):
        self.do("change", subscription=self.one(number), interval=every, **what)

    @with_one
    @rule(number=ONES, plan=st.none() | st.sampled_from(PLANS[:4]), seats=SEATS, days=DAYS, dies=DEATHS)
    def change_in_cart(self, number, **what):
        self.do("change_in_cart", subscription=self.one(number), **what)

    @with_one
    @rule(number=ONES, days=DAYS, dies=DEATHS)
    def cancel_later(self, number, **what):
        self.do("cancel", subscription=self.one(number), at="period_end", **what)

    @with_one
    @rule(number=ONES, unused=st.sampled_from([None, *UNUSED]), days=DAYS, dies=DEATHS)
    def cancel_now(self, number, **what):
        self.do("cancel", subscription=self.one(number), at="now", **what)

    @precondition(lambda self: any(row.cancel_at and not row.cancelled_at for row in self.world.subscriptions))
    @rule(number=ONES, dies=DEATHS)
    def reactivate(self, number, dies):
        self.do("reactivate", dies=dies, subscription=self.one(number))

    @with_one
    @rule(number=ONES, at=st.sampled_from(["now", "period_end"]), days=DAYS, dies=DEATHS)
    def pause(self, number, **what):
        self.do("pause", subscription=self.one(number), **what)

    @precondition(lambda self: any(row.paused_on or row.pause_at for row in self.world.subscriptions if not row.cancelled_at))
    @rule(number=ONES, days=DAYS, dies=DEATHS)
    def resume(self, number, **what):
        self.do("resume", subscription=self.one(number), **what)

    @rule(account=ACCOUNTS, refusing=st.booleans(), days=DAYS)
    def refuse(self, **what):
        self.do("refuse", **what)

    @rule(account=ACCOUNTS, days=DAYS, dies=DEATHS)
    def store_card(self, **what):
        self.do("store_card", **what)

    @rule(order=st.integers(0, 20), percent=st.sampled_from([1, 33, 50, 100]), days=DAYS, dies=DEATHS)
    def refund(self, **what):
        self.do("refund", **what)


def done_again(open_world, world):
    """The same acts at the same instants in a fresh world, where the power never fails and time goes on in other steps."""
    again = open_world()
    for act in world.acts:
        while again.now < act.at:
            again.go_to(min(act.at, again.now + timedelta(days=47)))
        again.do(act)
    again.go_to(world.now)
    assert again.outcomes == world.outcomes
    assert documents(again) == documents(world)
    assert lives(again) == lives(world)
    again.shop.close()
    world.shop.close()


@pytest.fixture
def open_world(tmp_path, new_shop):
    """Each world has a folder of its own."""
    numbers = count()

    def make():
        folder = tmp_path / f"world{next(numbers)}"
        folder.mkdir()
        return World(partial(new_shop, folder))

    return make


def lives_in(open_world):
    return type("Lives", (Lives,), {"open_world": staticmethod(open_world)})


def live(open_world, examples, steps):
    machine = lives_in(open_world)
    if "PUESTO_TEST_SEED" in os.environ:
        machine = seed(int(os.environ["PUESTO_TEST_SEED"]))(machine)
    phases = [Phase.generate, Phase.shrink] if os.environ.get("PUESTO_TEST_SHRINK") else [Phase.generate]
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, phases=phases, database=None, deadline=None, suppress_health_check=checks
        ),
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_books_of_a_life_with_a_bit_of_everything_are_right(open_world):
    """What random lives rarely have all at once, while the power fails on every second step."""
    life = lives_in(open_world)()
    life.begin(place=("FI", "Pacific/Kiritimati"), other=("ES", "America/Santiago"), plan="desk-kept", seats=4, every="month")
    life.try_out(account=1, plan="desk-usual", seats=2, days=1, dies=3)
    life.change_seats(number=0, policy=None, seats=7, days=14, dies=None)  # kept: the rest of the month is charged, nothing is given back
    life.change_plan(number=0, policy=None, plan="desk-later", seats=5, days=1, dies=6)  # put off
    life.pause(number=0, at="now", days=3, dies=None)
    life.resume(number=0, days=30, dies=2)
    life.change_seats(number=0, policy="next_period", seats=3, days=0, dies=None)
    life.refuse(account=0, refusing=True, days=0)
    life.wait(days=14, dies=9)  # the card of the first is refused for a while, and the trial of the second becomes paid
    life.refuse(account=0, refusing=False, days=1)
    life.change_interval(number=1, policy=None, every="year", days=0, dies=5)
    life.cancel_now(number=1, unused="refund", days=59, dies=4)
    life.change_plan(number=0, policy="restart", plan="desk-lost", seats=6, days=14, dies=8)
    life.pause(number=0, at="now", days=3, dies=None)
    life.resume(number=0, days=1, dies=None)
    life.cancel_now(number=0, unused="credit", days=1, dies=1)
    life.refund(order=0, percent=33, days=0, dies=None)

    assert {row.status for row in life.world.subscriptions} == {"cancelled"}
    assert set(life.world.outcomes) == {"done"}
    assert (life.world.deaths, len(documents(life.world))) == (7, 12)
    life.teardown()


def test_the_books_of_a_life_that_ends_on_its_first_day_are_right(open_world):
    """Of which everything is given back, so that no day of it is paid for."""
    life = lives_in(open_world)()
    life.begin(place=("ES", "Pacific/Niue"), other=("US", "America/Santiago"), plan="chat-one", seats=4, every="year")
    life.cancel_now(number=0, unused="refund", days=0, dies=None)

    assert sorted(document[2] for document in documents(life.world)) == ["credit_note", "invoice"]
    life.teardown()


def test_the_books_of_a_life_that_is_refused_after_a_pause_between_two_periods_are_right(open_world):
    """Its next period would begin when the pause ends, not where the last one had ended."""
    life = lives_in(open_world)()
    life.begin(place=("FI", "Pacific/Kiritimati"), other=("US", "Pacific/Niue"), plan="desk-usual", seats=7, every="month")
    life.pause(number=0, at="period_end", days=1, dies=None)
    life.refuse(account=0, refusing=True, days=31)
    life.resume(number=0, days=1, dies=None)

    [subscription] = life.world.subscriptions
    assert (subscription.status, str(subscription.period_end)) == ("past_due", "2027-03-06")
    life.teardown()


@pytest.mark.timeout(300)
def test_the_books_of_random_lives_are_right(open_world):
    live(open_world, 3, 5)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_books_of_many_long_random_lives_are_right(open_world):
    live(open_world, int(os.environ.get("PUESTO_TEST_LIVES", "15")), 20)
