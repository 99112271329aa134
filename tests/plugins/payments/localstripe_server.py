"""localstripe as a process: `python -m tests.plugins.payments.localstripe_server PORT`.

localstripe brings the server, its routes, forms and lists, customers, payment methods, charges and events. What it lacks is
added here, by Stripe's documentation, in classes that take the place of its own:

- Idempotency-Key, with its conflicts and replays
- PaymentIntents that are made first and confirmed later, off session and on, by redirect or script, captured in parts
- the test payment methods and the decline codes that Stripe names; methods that can't be used once they are detached
- the search of customers, lists by customer, the newest first
- SEPA debits that stay `processing` until a test settles them, with their mandates
- refunds no larger than what is left; disputes; events the newest first

So tests against it say that the SDK, the requests and the flow are right; whether Stripe's own answers look so is
for the recorded shapes in test_stripe_shapes.py.
"""

from __future__ import annotations

import sys
from typing import Any

from aiohttp import web
from localstripe import resources, server
from localstripe.errors import UserError

# https://docs.stripe.com/testing: test payment method -> code, decline_code.
DECLINING = {
    "pm_card_visa_chargeDeclined": ("card_declined", "generic_decline"),
    "pm_card_visa_chargeDeclinedInsufficientFunds": ("card_declined", "insufficient_funds"),
    "pm_card_visa_chargeDeclinedStolenCard": ("card_declined", "stolen_card"),
    "pm_card_chargeDeclinedExpiredCard": ("expired_card", None),
    "pm_card_chargeDeclinedProcessingError": ("processing_error", None),
}
# The second is ours: its bank refuses whatever the buyer does. With Stripe that is a button on the test page.
CHALLENGED = {"pm_card_authenticationRequired", "pm_card_authenticationRefused"}
TEST_METHODS = {"pm_card_visa", *DECLINING, *CHALLENGED}

resources.Store.dump_to_disk = lambda self: None  # localstripe keeps its store in a file in /tmp, whoever runs it
resources.schedule_webhook = lambda event: None


def refuse(status: int, code: str | None, message: str, **more: Any) -> UserError:
    return UserError(status, message, {"code": code, **more})


class PaymentMethod(resources.PaymentMethod):
    """`_acts_as`: the test payment method that it was made from. `_worn`: detached, and good for nothing any more."""

    _worn = False

    @classmethod
    def _api_retrieve(cls, id):
        if id.startswith("pm_iban_"):  # ours: any IBAN as a token
            return cls(type="sepa_debit", sepa_debit={"iban": id.removeprefix("pm_iban_")})
        if id not in TEST_METHODS:
            found = resources.store.get(f"payment_method:{id}")
            if found is None:
                raise refuse(404, "resource_missing", "No such PaymentMethod", param="payment_method")
            return found
        card = {"number": "4242424242424242", "exp_month": "12", "exp_year": "2030", "cvc": "123"}
        method = cls(type="card", card=card)
        method._acts_as = id
        return method

    @classmethod
    def _api_detach(cls, id):
        method = cls._api_retrieve(id)
        if method.customer is None:
            raise refuse(400, None, "The payment method is not attached to a customer, so detachment is impossible.")
        method.customer, method._worn = None, True
        return method

    def _attaching_is_declined(self):
        return False

    def _charging_is_declined(self):
        return False


class Intent:
    """What PaymentIntents and SetupIntents have in common."""

    def _check_method(self, id):
        method = PaymentMethod._api_retrieve(id)
        if method._worn or method.customer not in (None, self.customer):
            raise refuse(400, None, "It was detached, or is another customer's. It may not be used again.", param="payment_method")
        return method

    def _check_mandate(self, method, mandate):
        if method.type not in self.payment_method_types:
            raise refuse(400, "payment_intent_invalid_parameter", "Another type of payment method.", param="payment_method")
        if method.type == "sepa_debit" and mandate is None and not getattr(method, "_set_up", False):
            raise refuse(400, "payment_intent_mandate_invalid", "A mandate is required.", param="mandate_data")

    def _attempt(self, method, off_session, use_stripe_sdk, return_url):
        """Whether it goes through now; else a step of the buyer is awaited. Raises what Stripe declines."""
        acts_as = getattr(method, "_acts_as", None)
        if acts_as in DECLINING:
            raise self._decline(*DECLINING[acts_as])
        if acts_as in CHALLENGED and not self._passed:
            if off_session and not getattr(method, "_set_up", False):
                raise self._decline("authentication_required", "authentication_required")
            if not off_session:
                self._status, self.next_action = "requires_action", self._step(use_stripe_sdk)
                return False
        return True

    def _step(self, use_stripe_sdk):
        if use_stripe_sdk:
            return {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}
        page = f"http://127.0.0.1:{PORT}/_config/bank/{self.id}?payment_intent_client_secret={self.client_secret}"
        return {"type": "redirect_to_url", "redirect_to_url": {"url": page, "return_url": None}}

    def _decline(self, code, decline_code):
        self._fail({"type": "card_error", "code": code, "decline_code": decline_code, "message": "Declined."})
        return UserError(402, "Declined.", {"type": "card_error", "code": code, "decline_code": decline_code, self.object: self._export()})

    def _fail(self, error):
        self._status, self.next_action, self.payment_method = "requires_payment_method", None, None
        setattr(self, "last_payment_error" if self.object == "payment_intent" else "last_setup_error", error)

    @property
    def status(self):
        return self._status

    @classmethod
    def _api_list_all(cls, url, customer=None, limit=None, starting_after=None):
        found = resources.List(url, limit=limit, starting_after=starting_after)
        ours = [value for key, value in resources.store.items() if key.startswith(f"{cls.object}:")]
        found._list = [each for each in reversed(ours) if customer in (None, each.customer)]
        return found

    @classmethod
    def _api_cancel(cls, id, cancellation_reason=None):
        intent = cls._api_retrieve(id)
        if intent.status in ("succeeded", "canceled", "processing"):
            code = f"{cls.object}_unexpected_state"
            raise refuse(400, code, f"You cannot cancel it: its status is {intent.status}.", **{cls.object: intent._export()})
        intent._status, intent.next_action, intent.cancellation_reason = "canceled", None, cancellation_reason
        return intent


class PaymentIntent(Intent, resources.PaymentIntent):
    last_payment_error = None
    amount_received = 0

    def __init__(self, setup_future_usage=None, payment_method_types=None, **data):
        super().__init__(**data)
        self.setup_future_usage, self.payment_method_types = setup_future_usage, payment_method_types
        self._status, self._passed = "requires_payment_method", False

    @property
    def amount_capturable(self):
        return self.amount - self.amount_received if self._status == "requires_capture" else 0

    @classmethod
    def _api_create(cls, **data):
        return cls(**data)

    @classmethod
    def _api_confirm(cls, id, payment_method=None, off_session=None, use_stripe_sdk=None, return_url=None, mandate_data=None):
        intent = cls._api_retrieve(id)
        if intent.status != "requires_payment_method":
            code = "payment_intent_unexpected_state"
            raise refuse(400, code, f"You cannot confirm it: its status is {intent.status}.", payment_intent=intent._export())
        method = intent._check_method(payment_method)
        intent._check_mandate(method, mandate_data)
        intent.payment_method, intent.last_payment_error = method.id, None
        if intent._attempt(method, off_session, use_stripe_sdk, return_url):
            intent._charge(method)
        return intent

    def _charge(self, method):
        charge = resources.Charge(amount=self.amount, currency=self.currency, customer=self.customer, source=method.id)
        charge.payment_intent, charge.status = self.id, "succeeded"
        charge.payment_method_details = {"type": method.type}
        if method.type == "sepa_debit":
            self._debit(method, charge)
            return
        charge.captured = self.capture_method != "manual"
        self.latest_charge, self.next_action = charge, None
        self._status = "succeeded" if charge.captured else "requires_capture"
        self.amount_received = self.amount if charge.captured else 0
        if self.setup_future_usage:
            method.customer, method._set_up = self.customer, True
        resources.Event("payment_intent.succeeded" if charge.captured else "payment_intent.amount_capturable_updated", self)

    def _debit(self, method, charge):
        charge.status = "pending"
        charge.payment_method_details[method.type] = {"mandate": f"mandate_{method.id[3:]}"}
        self.latest_charge, self._status = charge, "processing"
        if self.setup_future_usage:
            method.customer, method._set_up = self.customer, True
        resources.Event("payment_intent.processing", self)

    def _settle(self):
        """Days later. https://docs.stripe.com/payments/sepa-debit/accept-a-payment#test-integration: what each IBAN does."""
        iban = PaymentMethod._api_retrieve(self.payment_method)._sepa_debit_iban
        self.latest_charge.status = "failed" if iban.endswith("3001") else "succeeded"
        if self.latest_charge.status == "failed":
            self._fail({"type": "invalid_request_error", "code": "insufficient_funds", "message": "The debit failed."})
            resources.Event("payment_intent.payment_failed", self)
            return
        self._status, self.amount_received = "succeeded", self.amount
        resources.Event("payment_intent.succeeded", self)
        if iban.endswith("3002"):
            resources.Event("charge.dispute.created", Dispute(self, "lost"))

    @classmethod
    def _api_capture(cls, id, amount_to_capture=None, final_capture="true", metadata=None):
        intent = cls._api_retrieve(id)
        amount = intent.amount_capturable if amount_to_capture is None else int(amount_to_capture)
        if intent.status != "requires_capture" or amount > intent.amount_capturable:
            raise refuse(400, "payment_intent_unexpected_state", "It can't be captured.", payment_intent=intent._export())
        intent.amount_received += amount
        intent.metadata |= metadata or {}
        if final_capture == "true":
            intent._status, intent.latest_charge.captured = "succeeded", True
            resources.Event("payment_intent.succeeded", intent)
        return intent


class SetupIntent(Intent, resources.SetupIntent):
    last_setup_error = None

    def __init__(self, **data):
        super().__init__(**data)
        self._status, self._passed = "requires_payment_method", False

    status = property(lambda self: self._status, lambda self, value: None)

    @classmethod
    def _api_create(cls, payment_method=None, confirm=None, return_url=None, use_stripe_sdk=None, mandate_data=None, **data):
        intent = cls(**data)
        method = intent._check_method(payment_method)
        intent._check_mandate(method, mandate_data)
        intent.payment_method = method.id
        if intent._attempt(method, False, use_stripe_sdk, return_url):
            intent._charge(method)
        return intent

    def _charge(self, method):
        method.customer, method._set_up = self.customer, True
        self._status, self.next_action = "succeeded", None


class Refund(resources.Refund):
    def __init__(self, payment_intent=None, amount=None, **data):
        intent = PaymentIntent._api_retrieve(payment_intent)
        if intent.latest_charge is None or not intent.amount_received:
            raise refuse(400, None, "This PaymentIntent does not have a successful charge to refund.", param="payment_intent")
        left = intent.amount_received - sum(each.amount for each in self._of(payment_intent))
        wanted = left if amount is None else int(amount)
        if wanted > left or not left:
            raise refuse(400, None if left else "charge_already_refunded", "Greater than the unrefunded amount.", param="amount")
        super().__init__(payment_intent=payment_intent, amount=wanted, **data)
        resources.Event("refund.created", self)

    @staticmethod
    def _of(intent):
        return [each for key, each in resources.store.items() if key.startswith("refund:") and each.payment_intent == intent]

    @classmethod
    def _api_list_all(cls, url, payment_intent=None, limit=None, starting_after=None):
        found = resources.List(url, limit=limit, starting_after=starting_after)
        found._list = cls._of(payment_intent)[::-1]
        return found


class Dispute(resources.StripeObject):
    object = "dispute"
    _id_prefix = "du_"

    def __init__(self, intent, status):
        super().__init__()
        self.amount, self.currency, self.reason, self.status = intent.amount, intent.currency, "fraudulent", status
        self.payment_intent, self.charge, self.metadata = intent.id, intent.latest_charge.id, {}
        self.payment_method_details = {"type": intent.latest_charge.payment_method_details["type"]}
        intent.latest_charge.disputed = True

    @classmethod
    def _api_list_all(cls, url, payment_intent=None, limit=None, starting_after=None):
        found = resources.List(url, limit=limit, starting_after=starting_after)
        found._list = [
            each for key, each in resources.store.items() if key.startswith("dispute:") and each.payment_intent == payment_intent
        ]
        return found


class Event(resources.Event):
    @classmethod
    def _api_list_all(cls, url, types=None, created=None, limit=None, starting_after=None):
        found = resources.List(url, limit=limit, starting_after=starting_after)
        ours = [each for key, each in resources.store.items() if key.startswith("event:")]
        found._list = [each for each in reversed(ours) if each.type in types and each.created >= int(created["gte"])]
        return found


def search_customers(query=None, limit=None):
    """Only `metadata['account']:'...'`."""
    found = resources.List("/v1/customers/search", limit=limit)
    account = query.split(":", 1)[1].strip("'")
    found._list = [c for key, c in resources.store.items() if key.startswith("customer:") and c.metadata.get("account") == account]
    return found


async def decide(request: web.Request) -> web.Response:
    """The buyer decides on the bank's page, or in the script: POST /_config/bank/INTENT?decision=approve|refuse.

    localstripe asks no key below /_config.
    """
    id = request.match_info["id"]
    cls = SetupIntent if id.startswith("seti_") else PaymentIntent
    intent = cls._api_retrieve(id)
    if intent.status == "requires_action":
        method = PaymentMethod._api_retrieve(intent.payment_method)
        intent._passed = request.query["decision"] == "approve" and method._acts_as != "pm_card_authenticationRefused"
        intent.next_action = None
        if intent._passed:
            intent._charge(method)
        else:
            intent._fail({"type": "invalid_request_error", "code": f"{cls.object}_authentication_failure", "message": "Refused."})
    return web.json_response({})


async def settle(request: web.Request) -> web.Response:
    """The bank has collected a debit, or not: POST /_config/settle/INTENT."""
    PaymentIntent._api_retrieve(request.match_info["id"])._settle()
    return web.json_response({})


async def dispute(request: web.Request) -> web.Response:
    """The buyer's bank opens a dispute, or decides it: POST /_config/dispute/INTENT?status=needs_response|won|lost."""
    intent, status = PaymentIntent._api_retrieve(request.match_info["id"]), request.query["status"]
    [known] = Dispute._api_list_all("", payment_intent=intent.id)._list or [None]
    if known is None:
        known = Dispute(intent, status)
    known.status = status
    resources.Event("charge.dispute.created" if status == "needs_response" else "charge.dispute.closed", known)
    return web.json_response({})


ANSWERS: dict[str, tuple[Any, ...]] = {}
UNDER_WAY: set[str] = set()


@web.middleware
async def idempotency(request: web.Request, handler: Any) -> web.StreamResponse:
    """https://docs.stripe.com/api/idempotent_requests: what did not pass validation is not kept."""
    key = request.headers.get("Idempotency-Key")
    if key is None or request.method != "POST":
        return await handler(request)
    asked = (request.path, await request.read())
    if key in UNDER_WAY:
        return conflict(409, "idempotency_key_in_use")
    if key in ANSWERS:
        *first, status, body = ANSWERS[key]
        if tuple(first) != asked:
            return conflict(400, None)
        headers = {"Idempotent-Replayed": "true"}
        return web.Response(status=status, body=body, content_type="application/json", headers=headers)
    UNDER_WAY.add(key)
    try:
        answer = await handler(request)
    finally:
        UNDER_WAY.discard(key)
    if answer.status in (200, 402):
        ANSWERS[key] = (*asked, answer.status, answer.body)
    return answer


def conflict(status: int, code: str | None) -> web.Response:
    return web.json_response({"error": {"type": "idempotency_error", "code": code, "message": "The key is taken."}}, status=status)


def application() -> web.Application:
    """localstripe's application, with our classes in front of those that they replace."""
    app = web.Application(middlewares=[idempotency, server.error_middleware, server.auth_middleware])
    app.router.add_post("/_config/bank/{id}", decide)
    app.router.add_post("/_config/dispute/{id}", dispute)
    app.router.add_post("/_config/settle/{id}", settle)
    app.router.add_get("/v1/disputes", server.api_list_all(Dispute, "/v1/disputes"))
    app.router.add_get("/v1/events", server.api_list_all(Event, "/v1/events"))
    app.router.add_get("/v1/customers/search", server.api_extra(search_customers, ""))
    for cls in (PaymentIntent, SetupIntent):
        app.router.add_post(f"/v1/{cls.object}s/{{id}}/cancel", server.api_extra(cls._api_cancel, ""))
    app.router.add_post("/v1/payment_intents/{id}/confirm", server.api_extra(PaymentIntent._api_confirm, ""))
    app.router.add_post("/v1/payment_intents/{id}/capture", server.api_extra(PaymentIntent._api_capture, ""))
    app.router.add_post("/v1/payment_methods/{id}/detach", server.api_extra(PaymentMethod._api_detach, ""))
    for cls in (PaymentIntent, SetupIntent, Refund, PaymentMethod):
        url = f"/v1/{cls.object}s"
        app.router.add_post(url, server.api_create(cls, url))
        app.router.add_get(url + "/{id}", server.api_retrieve(cls, url))
        app.router.add_get(url, server.api_list_all(cls, url))
    for route in server.app.router.routes():
        if route.resource is not None:
            app.router.add_route(route.method, route.resource.canonical, route.handler)
    return app


PORT = int(sys.argv[1]) if __name__ == "__main__" else 0
if __name__ == "__main__":
    web.run_app(application(), host="127.0.0.1", port=PORT, access_log=None, print=lambda _: print("ready", flush=True))
