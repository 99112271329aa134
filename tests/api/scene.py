"""One of everything, made when it is first asked for, and a request of every operation on it."""

import re
from datetime import timedelta
from functools import cached_property

from core.accounts import Account
from core.past_due import fall_past_due
from puesto import FailedAttempt

SEAT = {"mode": "buy", "plan": "gotomeeting-professional", "interval": "month", "seats": 5}
WEBINAR = {"mode": "buy", "plan": "gotowebinar-standard", "interval": "month", "seats": 3}
CARD = {"provider": "sandbox", "token": "tok_ok"}
ONE_EURO = {"amount": 100, "currency": "EUR"}
LATER = "2026-03-02T12:00:00Z"
# An order to wait for the buyer at the bank; a subscription to have been cancelled.
OF_WAITING = {"confirm_order", "cancel_order", "return_from_provider", "left_at_provider"}
OF_INVOICES = {"void_invoice": "owed", "write_off_invoice": "given_up"}  # to be on terms
OF_SUBSCRIPTIONS = {"pay_past_due": "unpaid", "extend_trial": "trial"}
OF_NOBODY = ("claim_cart", "change_cart")  # what works on a cart without account


class Scene:
    """What the account `account` has. `client` is a back end."""

    def __init__(self, client):
        self.client, self.shop = client, client.shop

    @cached_property
    def account(self):
        return self.shop.account

    @cached_property
    def user(self):
        return self.shop.add_user(self.account, role="billing_contact")

    @cached_property
    def cart(self):
        return self._cart(SEAT, WEBINAR)

    @cached_property
    def anonymous_cart(self):
        return self.client.post("/v1/carts", {"country": "ES", "currency": "EUR", "lines": [SEAT]}, bearer=None).json

    @cached_property
    def subscription(self):
        subscription = self.shop.buy("gotomeeting-professional", seats=5, account=self.account)
        self.shop.assign(subscription, self.user)
        return subscription

    @cached_property
    def pending_change(self):
        """The id of a change that waits for the period's end."""
        path = f"/v1/subscriptions/{self.subscription.id}"
        self.client.post(f"{path}/changes", {"seats": 3})
        return self.client.get(path).json["pending_changes"][0]["id"]

    @cached_property
    def unpaid(self):
        """One whose period ends today, past due."""
        subscription, engine = self.shop.buy("rescue-standard", account=self.account), self.shop.engine
        engine.db.update(subscription, period_start=subscription.period_start - timedelta(days=28), period_end=subscription.period_start)
        with engine.db.transaction():
            fall_past_due(engine, subscription.id, FailedAttempt(engine.clock.now(), "card_declined"))
        return subscription

    @cached_property
    def trial(self):
        """As if it had been tried: its product has been bought before."""
        subscription = self.shop.buy("rescue-standard", account=self.account)
        self.shop.engine.db.update(subscription, status="trialing", trial_end=subscription.period_end)
        return subscription

    @cached_property
    def invoice(self):
        return self.paid["invoice"]

    @cached_property
    def method(self):
        return self.client.post(f"/v1/accounts/{self.account.id}/payment-methods", CARD).json

    @cached_property
    def paid(self):
        return self.client.check_out(self._cart(SEAT)["id"]).json

    @cached_property
    def waiting(self):
        return self.client.check_out(self._cart(SEAT)["id"], "tok_3ds").json

    @cached_property
    def set_aside(self):
        """An order whose money waits to be taken."""
        return self._set_aside()

    @cached_property
    def untouched(self):
        """Another, of which nothing is ever taken."""
        return self._set_aside()

    def _set_aside(self):
        payments = self.shop.engine.settings["payments"]
        payments["capture"] = "manual"
        try:
            return self.client.check_out(self._cart(SEAT)["id"]).json
        finally:
            payments["capture"] = "automatic"

    @cached_property
    def owed(self):
        """An invoice on terms."""
        return self._owe()

    @cached_property
    def given_up(self):
        """Another."""
        return self._owe()

    def _owe(self):
        self.shop.engine.db.update(self.account, kind="corporate")
        order = self.shop.order(self.shop.cart(SEAT, account=self.account), provider="invoice_terms", purchase_order="PO-7")
        self.shop.engine.db.update(self.account, kind="self_service")
        return order["invoice"]

    def order(self, operation):
        if operation.id in OF_WAITING:
            return self.waiting
        orders = {"capture_order": "set_aside", "void_order": "untouched"}
        return getattr(self, orders.get(operation.id, "paid"))

    def _cart(self, *lines):
        return self.client.post("/v1/carts", {"account": self.account.id, "lines": list(lines)}).json

    def path(self, operation):
        """The operation's path, with ids of what is here."""
        cart = self.anonymous_cart if operation.id in OF_NOBODY else self.cart
        known = {
            "account_id": lambda: self.account.id,
            "user_id": lambda: self.user.id,
            "method_id": lambda: self.method["id"],
            "cart_id": lambda: cart["id"],
            "line_id": lambda: cart["lines"][0]["id"],
            "order_id": lambda: self.order(operation)["id"],
            "subscription_id": lambda: getattr(self, OF_SUBSCRIPTIONS.get(operation.id, "subscription")).id,
            "change_id": lambda: self.pending_change,
            "invoice_id": lambda: getattr(self, OF_INVOICES.get(operation.id, "invoice")),
            "product_id": lambda: "gotomeeting",
            "code": lambda: "quote-changed",
            "provider": lambda: "sandbox",
        }
        return operation.path.format_map({name: known[name]() for name in names(operation.path)})

    def query(self, operation):
        """What its query must have."""
        return {"check_entitlement": {"user": self.user.id, "product": "gotomeeting"}}.get(operation.id, {})

    def body(self, operation):
        """A body that the operation takes; None: it takes none. A new operation has none here yet: write one."""
        return BODIES[operation.id](self) if "requestBody" in operation.spec else None

    def headers(self, operation):
        """What its caller shows besides who it is."""
        return {"Cart-Secret": self.anonymous_cart["secret"]} if operation.id in OF_NOBODY else {}

    def send(self, operation, *, headers=None, **options):
        """The operation, so that it succeeds."""
        before = {"reactivate_subscription": "cancel", "resume_subscription": "pause", "pause_subscription": "reactivate"}.get(operation.id)
        if before is not None:
            self.client.post(f"/v1/subscriptions/{self.subscription.id}/{before}", {})
        options.setdefault("json", self.body(operation))
        return self.client.send(
            operation.method,
            self.path(operation),
            query_string=self.query(operation),
            headers={**self.headers(operation), **(headers or {})},
            **options,
        )


BODIES = {
    "create_account": lambda scene: {"name": "Beta GmbH", "email": "it@beta.example", "country": "DE", "tax_id": "DE136695976"},
    "change_account": lambda scene: {"name": "Acme Iberia"},
    "put_tax_id": lambda scene: {"value": "ESB58378431"},
    "add_user": lambda scene: {"email": "ben@acme.example", "name": "Ben"},
    "change_user": lambda scene: {"name": "Benjamin"},
    "add_payment_method": lambda scene: CARD,
    "change_payment_method": lambda scene: {"default": True},
    "create_token": lambda scene: {"user": scene.user.id},
    "create_cart": lambda scene: {"account": scene.account.id, "lines": [SEAT]},
    "change_cart": lambda scene: {"currency": "USD"},
    "add_cart_line": lambda scene: {"mode": "buy", "plan": "rescue-standard", "interval": "year", "seats": 2},
    "change_cart_line": lambda scene: {"seats": 6},
    "claim_cart": lambda scene: {"account": scene.account.id},
    "merge_carts": lambda scene: {"cart": scene._cart(SEAT)["id"], "mode": "sum"},
    "check_out": lambda scene: {"quote": quoted(scene.client, scene.cart["id"]), "payment": CARD},
    "confirm_order": lambda scene: {},
    "capture_order": lambda scene: {"amount": ONE_EURO},
    "refund_order": lambda scene: {"amount": ONE_EURO, "reason": "goodwill"},
    "preview_change": lambda scene: {"seats": 8},
    "change_subscription": lambda scene: {"seats": 4},  # at the period's end: nothing is due
    "pay_past_due": lambda scene: {"payment": CARD},
    "void_invoice": lambda scene: {"reason": "ordered twice"},
    "write_off_invoice": lambda scene: {"reason": "insolvent"},
    "cancel_subscription": lambda scene: {"at": "period_end", "reason": "too many seats"},
    "extend_trial": lambda scene: {"days": 7, "reason": "illness"},
    "pause_subscription": lambda scene: {"at": "period_end", "reason": "summer"},
    "assign_seats": lambda scene: {"users": [scene.user.id, scene.shop.add_user(scene.account).id]},
    "move_clock": lambda scene: {"now": LATER},
}


def names(path):
    """The parameters of a path template."""
    return re.findall(r"{(\w+)}", path)


def quoted(client, cart):
    """The seal of what a cart costs now."""
    return client.get(f"/v1/carts/{cart}/quote").json["quote"]


def charges(shop):
    """What the sandbox's gateway has really charged."""
    return shop.engine.providers["sandbox"].charges()


def state(shop):
    """Everything that a refused order must leave alone."""
    return shop.contents(), shop.events(), charges(shop), [account.balance for account in shop.engine.db.all(Account.select())]
