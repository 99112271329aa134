"""A plugin that raises in a hook: its fault is named or kept for later, its secrets are not told, and nothing is half-written."""

from datetime import timedelta

import pytest

from core.checkout import settle
from core.engine.deliveries import Delivery
from core.errors import PluginFailed
from core.payment_methods import PaymentMethod
from core.payments import Payment, retrieve
from puesto import Money, PaymentResult, Plan, Price, Product, eur, hookimpl
from tests.api.scene import SEAT, Scene, quoted, state
from tests.conftest import Client, problem

SECRET = "a secret inside"
FAULT = RuntimeError(SECRET)
MENDED = "2026-03-01T12:01:00Z"


class Failing:
    """Fails in one hook, before all others are asked, until it is mended; `heard` is what it was told then."""

    def __init__(self, answer=FAULT):
        self.answer, self.heard = answer, []

    def told(self, given):
        if isinstance(self.answer, Exception):
            raise self.answer
        self.heard.append(given)
        return self.answer


def failing(hook, **of_plugin):
    """A plugin that implements `hook` with as many arguments as it likes to name: none, or the news."""

    def deaf(self):
        return self.told(None)

    def listening(self, event):
        return self.told(event)

    implementation = deaf if hook not in NEWS else listening
    return type("Plugin", (Failing,), {hook: hookimpl(tryfirst=True)(implementation)})(**of_plugin)


class OwnProduct(Failing):
    @hookimpl
    def register_products(self):
        return [Product("own", {"en": "Own"}, (Plan("own-only", {"en": "Only"}, 1, (Price.per_seat("month", eur("1.00")),)),))]

    @hookimpl
    def provision(self, request):
        self.told(request)


def put_number(scene):
    return scene.client.put(f"/v1/accounts/{scene.account.id}/tax-id", {"value": "ESB58378431"})


def open_account(scene):
    return scene.client.post("/v1/accounts", {"name": "Acme", "email": "it@acme.example", "tax_id": "ESB58378431"})


def review(scene):
    return scene.client.get(f"/v1/carts/{scene.cart['id']}/quote")


def order(line, token="tok_ok"):
    def check_out(scene):
        cart = scene.client.post("/v1/carts", {"account": scene.account.id, "lines": [line(scene)]}).json["id"]
        return scene.client.check_out(cart, token)

    return check_out


buy = order(lambda scene: SEAT)
try_out = order(lambda scene: {"mode": "trial", "plan": "gotoassist-standard", "seats": 1})
change = order(lambda scene: {"mode": "change", "subscription": scene.subscription.id, "seats": 9})


def seat(method, who):
    return lambda scene: scene.client.send(method, f"/v1/subscriptions/{scene.subscription.id}/seats/{who(scene).id}")


def a_month_later(*, stored):
    def move(scene):
        assert not stored or scene.method
        return scene.client.post("/v1/test-clock", {"now": "2026-03-31T22:00:00Z"})  # the day begins; nothing is told a second time yet

    return move


def reminded(make, day):
    """So many days before what `make` has bought ends, as a day begins in Madrid."""

    def move(scene):
        make(scene)
        return scene.client.post("/v1/test-clock", {"now": f"{day}T23:00:00Z"})

    return move


def warned(scene):
    """Past due for six days."""
    a_month_later(stored=False)(scene)
    return scene.client.post("/v1/test-clock", {"now": "2026-04-06T22:00:00Z"})


def paid_after_all(scene):
    a_month_later(stored=False)(scene)
    return scene.client.get(f"/v1/accounts/{scene.account.id}/payment-methods/{scene.method['id']}")


def a_card_near_its_end(scene):
    method = scene.client.get(f"/v1/accounts/{scene.account.id}/payment-methods/{scene.method['id']}")
    scene.shop.engine.db.update(scene.shop.engine.db.get(PaymentMethod, scene.method["id"]), expires="2026-03")
    return method


def disputed(status):
    """A dispute that the provider tells of when it is asked."""

    def learn(scene):
        gateway, payment = scene.shop.engine.providers["sandbox"], scene.shop.engine.db.get(Payment, scene.paid["payment"]["id"])
        dispute = gateway.dashboard.open_dispute(payment.id)
        if status != "opened":
            gateway.dashboard.close_dispute(dispute, status)
        settle(scene.shop.engine, payment, retrieve(scene.shop.engine, payment))
        return scene.client.get(f"/v1/orders/{scene.paid['id']}")

    return learn


def on_terms(*captured):
    """The provider says, time after time, how much of an order on terms has come in."""

    def learn(scene):
        payment = scene.shop.engine.db.get(Payment, scene.paid["payment"]["id"])
        scene.shop.engine.db.update(payment, due_on="2026-04-01", status="authorized", captured=0)
        for amount in captured:
            status = "partially_captured" if amount else "authorized"
            settle(scene.shop.engine, payment, PaymentResult(status, payment.money, captured=Money(amount, payment.currency)))
        scene.shop.engine.db.update(payment, ask_at=None)  # the sandbox would say otherwise
        return scene.client.get(f"/v1/orders/{scene.paid['id']}")

    return learn


def cart_with_coupon(scene):
    return scene.client.post("/v1/carts", {"account": scene.account.id, "lines": [SEAT], "coupon": "SPRING"})


def resumed(scene):
    """What was paused goes on."""
    for act in ("pause", "resume"):
        answer = scene.client.post(f"/v1/subscriptions/{scene.subscription.id}/{act}", {"at": "now"} if act == "pause" else None)
    return answer


AT_START = ("register_products", "register_payment_providers", "register_tables")
ON_THE_COMMAND_LINE = ("register_commands",)
CLOSED = {
    "calculate_tax": [review],
    "find_tax_rate": [review],
    "validate_tax_id": [put_number, open_account],
    "find_payment_providers": [review],
    "discount_line": [cart_with_coupon],
    "render_invoice": [lambda scene: scene.client.get(f"/v1/invoices/{scene.invoice}.pdf")],
}
SKIPPED = ("find_cart_warnings", "retry_schedule")
NEWS = {  # what makes the news, and what is answered although somebody can't bear to hear them
    "order_completed": (buy, 201),
    "payment_failed": (order(lambda scene: SEAT, "tok_card_declined"), 402),
    "order_voided": (lambda scene: scene.client.post(f"/v1/orders/{scene.untouched['id']}/void"), 200),
    "payment_captured": (lambda scene: scene.client.post(f"/v1/orders/{scene.set_aside['id']}/captures", {}), 201),
    "payment_received": (on_terms(500), 200),
    "payment_returned": (on_terms(500, 0), 200),
    "payment_refunded": (lambda scene: scene.client.post(f"/v1/orders/{scene.paid['id']}/refunds", {"reason": "goodwill"}), 201),
    "credit_note_issued": (lambda scene: scene.client.post(f"/v1/orders/{scene.paid['id']}/refunds", {"reason": "goodwill"}), 201),
    "payment_disputed": (disputed("opened"), 200),
    "payment_dispute_closed": (disputed("lost"), 200),
    "payment_method_expiring": (a_card_near_its_end, 200),
    "trial_started": (try_out, 201),
    "trial_ending": (reminded(try_out, "2026-03-27"), 200),
    "renewal_coming": (reminded(order(lambda scene: {**SEAT, "interval": "year"}), "2027-02-14"), 200),
    "subscription_started": (buy, 201),
    "subscription_changed": (change, 201),
    "subscription_renewed": (a_month_later(stored=True), 200),
    "subscription_past_due": (a_month_later(stored=False), 200),
    "past_due_ending": (warned, 200),
    "subscription_recovered": (paid_after_all, 200),
    "trial_extended": (
        lambda scene: scene.client.post(f"/v1/subscriptions/{scene.trial.id}/extend-trial", {"days": 7}),
        200,
    ),
    "subscription_paused": (
        lambda scene: scene.client.post(f"/v1/subscriptions/{scene.subscription.id}/pause", {"at": "now"}),
        200,
    ),
    "subscription_resumed": (resumed, 200),
    "subscription_cancelled": (
        lambda scene: scene.client.post(f"/v1/subscriptions/{scene.subscription.id}/cancel", {"at": "now"}),
        200,
    ),
    "seat_assigned": (seat("PUT", lambda scene: scene.shop.add_user()), 200),
    "seat_released": (seat("DELETE", lambda scene: scene.user), 204),
}


def test_the_tables_name_every_hook(shop):
    assert {*AT_START, *ON_THE_COMMAND_LINE, *CLOSED, *SKIPPED, *NEWS, "provision"} == shop.engine.plugins.policies.keys()


@pytest.mark.parametrize("hook", AT_START)
def test_a_plugin_that_can_not_register_stops_the_start(open_shop, hook):
    with pytest.raises(PluginFailed) as failed:
        open_shop(plugins={"failing": failing(hook)})

    assert failed.value.extra == {"plugin": "failing", "hook": hook}
    assert SECRET not in str(failed.value)


@pytest.mark.parametrize("hook", ON_THE_COMMAND_LINE)
def test_a_fault_of_the_command_line_is_none_of_the_api(open_shop, hook):
    scene = Scene(Client(open_shop(plugins={"failing": failing(hook)})))

    assert buy(scene).json["status"] == "completed"


@pytest.mark.parametrize(("hook", "ask"), [(hook, ask) for hook, requests in CLOSED.items() for ask in requests])
@pytest.mark.parametrize("answer", [FAULT, SystemExit(SECRET), object()], ids=["raises", "exits", "answers nonsense"])
def test_a_request_that_needs_the_answer_fails_and_names_the_plugin(open_shop, hook, ask, answer):
    scene = Scene(Client(open_shop(plugins={"failing": failing(hook, answer=answer)})))
    assert scene.cart and scene.account and (hook != "render_invoice" or scene.invoice)
    before = state(scene.shop)

    failed = ask(scene)

    assert problem(failed) == (503, "plugin-failed")
    assert (failed.json["plugin"], failed.json["hook"]) == ("failing", hook)
    assert failed.headers["Retry-After"] == "5"
    assert [word for word in (SECRET, "Traceback", "RuntimeError:", "File ") if word in failed.text] == []
    assert state(scene.shop) == before


@pytest.mark.parametrize("hook", ["calculate_tax", "find_tax_rate"])
def test_a_checkout_that_fails_in_between_charges_nothing(open_shop, hook):
    plugin = failing(hook, answer=None)
    scene = Scene(Client(open_shop(plugins={"failing": plugin})))
    body = {"quote": quoted(scene.client, scene.cart["id"]), "payment": {"provider": "sandbox", "token": "tok_ok"}}
    plugin.answer = FAULT
    before = state(scene.shop)

    failed = scene.client.post(f"/v1/carts/{scene.cart['id']}/checkout", body, key="mine")
    unchanged = state(scene.shop)
    plugin.answer = None
    again = scene.client.post(f"/v1/carts/{scene.cart['id']}/checkout", body, key="mine")

    assert (problem(failed), unchanged) == ((503, "plugin-failed"), before)
    assert (again.status_code, again.json["status"]) == (201, "completed")


def test_who_only_warns_is_passed_over(open_shop):
    scene = Scene(Client(open_shop(plugins={"failing": failing("find_cart_warnings")})))

    cart, quote = scene.client.get(f"/v1/carts/{scene.cart['id']}"), review(scene)

    warning = {"code": "plugin-skipped", "pointer": "", "detail": "The plugin failing failed."}
    assert (cart.json["warnings"], quote.json["warnings"]) == ([warning], [warning])
    assert buy(scene).json["status"] == "completed"


def deliveries(shop, hook):
    """How the latest news of a kind stand with each subscriber: status, attempts, whether the error is kept."""
    rows = shop.engine.db.all(Delivery.select().where(Delivery.hook == hook).order_by(Delivery.id))
    return {row.plugin: (row.status, row.attempts, SECRET in (row.error or "")) for row in rows}


@pytest.mark.parametrize("hook", NEWS)
def test_news_wait_for_who_can_not_bear_them_and_hold_up_nobody(open_shop, hook):
    plugin, (make, status) = failing(hook), NEWS[hook]
    scene = Scene(Client(open_shop(plugins={"failing": plugin})))
    assert scene.subscription and scene.paid
    plugin.answer = None
    scene.shop.run()
    plugin.answer, plugin.heard = FAULT, []

    answer = make(scene)
    scene.shop.run()
    waiting = deliveries(scene.shop, hook)
    plugin.answer = None
    scene.shop.clock.move_to(scene.shop.clock.now() + timedelta(minutes=1))
    scene.shop.run()

    assert answer.status_code == status
    assert SECRET not in answer.text
    assert waiting["failing"] == ("waiting", 1, True)
    assert [state for name, state in waiting.items() if name != "failing" and state != ("done", 1, False)] == []
    assert {event.type.replace(".", "_") for event in plugin.heard} == {hook}
    assert len({event.id for event in plugin.heard}) == len(plugin.heard)
    assert deliveries(scene.shop, hook)["failing"] == ("done", 2, False)


def test_a_product_that_can_not_be_provisioned_is_told_again(open_shop):
    plugin = OwnProduct()
    scene = Scene(Client(open_shop(plugins={"own": plugin})))

    bought = order(lambda scene: {**SEAT, "plan": "own-only"})(scene).json
    scene.shop.run()
    waiting = deliveries(scene.shop, "provision")
    plugin.answer = None
    scene.client.post("/v1/test-clock", {"now": MENDED})

    assert (bought["status"], waiting) == ("completed", {"own": ("waiting", 1, True)})
    assert [(told.action, told.subscription, told.seats) for told in plugin.heard] == [("grant", bought["subscriptions"][0], 5)]
    assert deliveries(scene.shop, "provision") == {"own": ("done", 2, False)}
