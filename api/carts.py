"""Carts, their quote and their checkout."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from api.auth import needs
from api.http import Blueprint, caller, engine, guarded, keyed, keyed_request, replayable, store_once, tag
from api.languages import told
from api.orders import OrderOut
from api.schemas import ID, INTERVALS, Answer, Choice, Instant, QuoteOut, WarningOut
from core import carts
from core.checkout import checkout, quote_cart
from core.errors import ValidationFailed
from core.payments import PaymentChoice
from core.quotes import quote_document

EXAMPLE = {"account": "acc_...", "lines": [{"mode": "buy", "plan": "gotomeeting-professional", "interval": "month", "seats": 5}]}
blueprint = Blueprint("carts", __name__, url_prefix="/v1/carts", description="What somebody is about to buy, try or change")


class LineIn(Schema):
    """A line: `buy` {plan, interval, seats}, `trial` {plan, seats} or `change` {subscription, seats?, plan?, interval?, release?}."""

    mode = fields.String(required=True, validate=validate.OneOf(carts.MODES))
    plan = fields.String(validate=ID)
    interval = fields.String(validate=validate.OneOf(INTERVALS))
    seats = fields.Integer(strict=True)
    subscription = fields.String(validate=ID)
    release = fields.List(fields.String(validate=ID), validate=validate.Length(max=1000))


class LineChanges(Schema):
    """Body of PATCH /v1/carts/{cart}/lines/{line}."""

    plan = fields.String(validate=ID)
    interval = fields.String(validate=validate.OneOf(INTERVALS))
    seats = fields.Integer(strict=True)
    release = fields.List(fields.String(validate=ID), validate=validate.Length(max=1000))


class NewCart(Schema):
    """Body of POST /v1/carts: an account, or country and currency of a cart without one."""

    account = fields.String(validate=ID)
    country = fields.String(validate=validate.Length(equal=2))
    currency = fields.String(validate=validate.Length(equal=3))
    coupon = fields.String(validate=validate.Length(1, 64))
    lines = fields.List(fields.Nested(LineIn), load_default=list)


class CartChanges(Schema):
    """Body of PATCH /v1/carts/{cart}. country and currency: of a cart without account; coupon: null takes it off."""

    country = fields.String(validate=validate.Length(equal=2))
    currency = fields.String(validate=validate.Length(equal=3))
    coupon = fields.String(allow_none=True, validate=validate.Length(1, 64))


class CartLineOut(Answer):
    id = fields.String(required=True)
    mode = Choice(*carts.MODES)
    plan = fields.String(required=True, allow_none=True)
    interval = Choice(*INTERVALS, allow_none=True)
    seats = fields.Integer(required=True, allow_none=True)
    subscription = fields.String(required=True, allow_none=True)
    release = fields.List(fields.String(), required=True)


class CartOut(Answer):
    id = fields.String(required=True)
    account = fields.String(required=True, allow_none=True)
    status = Choice("open", "ordering", "ordered", "merged")
    country = fields.String(required=True)
    currency = fields.String(required=True)
    coupon = fields.String(required=True, allow_none=True)
    expires_at = Instant()
    lines = fields.List(fields.Nested(CartLineOut), required=True)
    warnings = fields.List(fields.Nested(WarningOut), required=True)
    secret = fields.String(metadata={"description": "told once, for a cart without account; send it as Cart-Secret"})


class Claim(Schema):
    """Body of POST /v1/carts/{cart}/claim."""

    account = fields.String(required=True, validate=ID)


class Merge(Schema):
    """Body of POST /v1/carts/{cart}/merge: what counts where both carts have the same line."""

    cart = fields.String(required=True, validate=ID)
    mode = fields.String(required=True, validate=validate.OneOf(carts.MERGE_MODES))


class FallbackIn(Schema):
    """A provider, with a token from its form or a stored method."""

    provider = fields.String(required=True, validate=ID)
    token = fields.String(validate=validate.Length(1, 500))
    payment_method = fields.String(validate=ID)


class PaymentIn(FallbackIn):
    """A provider, with a token from its form or a stored method; `save` keeps the method for later.

    `fallbacks`: other providers, tried in this order where one can't be reached; never after a refusal, or where nobody knows.
    """

    fallbacks = fields.List(fields.Nested(FallbackIn), load_default=list, validate=validate.Length(max=2))
    save = fields.Boolean(truthy={True}, falsy={False})


class Checkout(Schema):
    """Body of POST /v1/carts/{cart}/checkout. `payment` is left out where the quote says payment_required: false."""

    quote = fields.String(required=True, validate=validate.Length(1, 100_000))
    payment = fields.Nested(PaymentIn)
    purchase_order = fields.String(validate=validate.Length(1, 100))


@blueprint.post("")
@blueprint.doc(security=[{"bearer": []}, {}])
@blueprint.arguments(NewCart, example=EXAMPLE)
@blueprint.response(201, CartOut)
@keyed(whole=False)
def create_cart(body):
    """Make a cart.

    One without an account needs no key: it has a `secret`, told once, that opens it. Its answer is not repeated for an
    Idempotency-Key.
    """
    lines = [_line(line) for line in body.pop("lines")]
    if "account" not in body:
        cart, secret = carts.create_cart(engine(), caller(), lines, **body)
        document, status, headers = _shown(cart, 201)
        return {**document, "secret": secret}, status, headers
    caller().need("checkout")
    for name in set(body) - {"account", "coupon"}:
        raise ValidationFailed("The cart of an account takes its {name}: leave it out.", pointer=f"/{name}", name=name)
    return store_once(lambda: _shown(carts.create_cart(engine(), caller(), lines, **body)[0], 201))


@blueprint.get("/<cart_id>")
@needs("checkout", or_cart_secret=True)
@blueprint.response(200, CartOut)
def get_cart(cart_id):
    """Read a cart."""
    return _shown(carts.get_cart(engine(), cart_id, caller()))


@blueprint.patch("/<cart_id>")
@needs("checkout", or_cart_secret=True)
@blueprint.arguments(CartChanges)
@blueprint.response(200, CartOut)
@guarded
def change_cart(body, cart_id, version):
    """Change the coupon of a cart; or country and currency of one without account."""
    return _shown(carts.change_cart(engine(), cart_id, caller(), version, **body))


@blueprint.delete("/<cart_id>")
@needs("checkout", or_cart_secret=True)
@blueprint.response(204)
@guarded
def delete_cart(cart_id, version):
    """Remove a cart that was not ordered."""
    carts.delete_cart(engine(), cart_id, caller(), version)


@blueprint.post("/<cart_id>/lines")
@needs("checkout", or_cart_secret=True)
@blueprint.arguments(LineIn, example=EXAMPLE["lines"][0])
@blueprint.response(201, CartOut)
@guarded
@keyed()
def add_cart_line(body, cart_id, version):
    """Add a line to an open cart. The answer is the whole cart."""
    return _shown(carts.add_line(engine(), cart_id, caller(), _line(body), version), 201)


@blueprint.patch("/<cart_id>/lines/<line_id>")
@needs("checkout", or_cart_secret=True)
@blueprint.arguments(LineChanges)
@blueprint.response(200, CartOut)
@guarded
def change_cart_line(body, cart_id, line_id, version):
    """Change a line. The answer is the whole cart."""
    return _shown(carts.change_line(engine(), cart_id, line_id, caller(), version, **body))


@blueprint.delete("/<cart_id>/lines/<line_id>")
@needs("checkout", or_cart_secret=True)
@blueprint.response(200, CartOut)
@guarded
def remove_cart_line(cart_id, line_id, version):
    """Remove a line. The answer is what is left of the cart."""
    return _shown(carts.remove_line(engine(), cart_id, line_id, caller(), version))


@blueprint.post("/<cart_id>/claim")
@needs("checkout")
@blueprint.arguments(Claim)
@blueprint.response(200, CartOut)
@keyed()
def claim_cart(body, cart_id):
    """Give a cart without account to an account. Send its secret as Cart-Secret."""
    return _shown(carts.claim_cart(engine(), cart_id, caller(), body["account"]))


@blueprint.post("/<cart_id>/merge")
@needs("checkout")
@blueprint.arguments(Merge)
@blueprint.response(200, CartOut)
@keyed()
def merge_carts(body, cart_id):
    """Move the lines of another cart into this one, all or nothing."""
    return _shown(carts.merge_carts(engine(), cart_id, body["cart"], caller(), body["mode"]))


@blueprint.get("/<cart_id>/quote")
@needs("checkout", or_cart_secret=True)
@blueprint.response(200, QuoteOut)
def get_quote(cart_id):
    """The review: what ordering this cart costs now, line by line, and why."""
    return told(quote_document(quote_cart(engine(), cart_id, caller())))


@blueprint.post("/<cart_id>/checkout")
@needs("checkout")
@blueprint.arguments(Checkout, example={"quote": "q1...", "payment": {"provider": "sandbox", "token": "tok_ok"}})
@blueprint.response(201, OrderOut)
@keyed(required=True, whole=False)
def check_out(body, cart_id):
    """Order the cart as it was quoted, and pay.

    The order is `completed`, or `requires_action` of the buyer first, or `processing` while nobody knows. A refused payment leaves
    the cart open.
    """
    answer = checkout(
        engine(),
        cart_id,
        caller(),
        quote=body["quote"],
        payment=payment_choice(body["payment"]) if "payment" in body else None,
        purchase_order=body.get("purchase_order"),
        request=keyed_request(),
    )
    return replayable(answer, answer.body, 201, {"Location": f"/v1/orders/{answer.body['id']}"})


def payment_choice(body: dict[str, Any]) -> PaymentChoice:
    """What `PaymentIn` has read."""
    return PaymentChoice(**{**body, "fallbacks": tuple(PaymentChoice(**each) for each in body["fallbacks"])})


def _line(body: dict[str, Any]) -> carts.LineInput:
    return carts.LineInput(**{**body, "release": tuple(body.get("release", ()))})


def _shown(cart: carts.Cart, status: int = 200) -> tuple[dict[str, Any], int, dict[str, str]]:
    location = {"Location": f"/v1/carts/{cart.id}"} if status == 201 else {}
    return told(carts.cart_document(engine(), cart)), status, {**location, **tag(cart.version)}
