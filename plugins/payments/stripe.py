"""Cards through Stripe, with the official SDK: `pip install 'puesto[stripe]'`. Without a secret_key the plugin rests."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from marshmallow import Schema, ValidationError, fields, validate

from puesto import Capabilities, PaymentProvider, PluginContext, Secret, SecretField, hookimpl

if TYPE_CHECKING:
    from plugins.payments.stripe_payments import Method

# https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts, in minor units; it goes by the currency that Stripe pays the
# seller out in, so a charge in another currency may still be declined with amount_too_small.
MINIMUM = {
    "AED": 200,
    "AUD": 50,
    "BRL": 50,
    "CAD": 50,
    "CHF": 50,
    "CZK": 1500,
    "DKK": 250,
    "EUR": 50,
    "GBP": 30,
    "HKD": 400,
    "HUF": 17500,
    "INR": 50,
    "JPY": 50,
    "MXN": 1000,
    "MYR": 200,
    "NOK": 300,
    "NZD": 50,
    "PLN": 200,
    "RON": 200,
    "SEK": 300,
    "SGD": 50,
    "THB": 1000,
    "USD": 50,
}
# Eight digits.
MAXIMUM = dict.fromkeys(("CHF", "EUR", "GBP", "USD"), 99_999_999)


def _check_webhook_secret(secret: Secret) -> None:
    if not secret.reveal().startswith("whsec_"):
        raise ValidationError("a signing secret of Stripe begins with whsec_")


def _check_secret_key(secret: Secret) -> None:
    if not secret.reveal().startswith(("sk_", "rk_")):
        raise ValidationError("a secret key of Stripe begins with sk_, a restricted one with rk_")


def _check_mode(key: str, mode: str) -> None:
    """A live key in a sandbox would charge real cards, by a clock that can be moved."""
    kind = next((kind for kind in ("live", "test") if f"_{kind}_" in key[:8]), None)
    if kind is not None and (kind == "live") != (mode == "live"):
        raise RuntimeError(f"secret_key is a {kind} key, and the shop is in {mode} mode")


class StripeSettings(Schema):
    """secret_key:      of the account, or a restricted one; None: the plugin rests.
    publishable_key: handed to the buyer's browser where Stripe.js has something to do there.
    webhook_secrets: the endpoint's signing secret; the new and the old one while it is rolled.
    three_d_secure:  where the bank asks the buyer: on a page of Stripe's (`redirect`), or by Stripe.js within yours (`client_sdk`).
    multicapture:    the account may take what was set aside in several parts (https://docs.stripe.com/payments/multicapture).
    timeout:         seconds to wait for each of the two requests that make a payment.
    api_base:        another address than Stripe's, for tests.
    """

    secret_key = SecretField(load_default=None, validate=_check_secret_key)
    publishable_key = fields.String(load_default=None, validate=validate.Regexp("pk_"))
    webhook_secrets = fields.List(SecretField(validate=_check_webhook_secret), load_default=list, validate=validate.Length(max=2))
    three_d_secure = fields.String(load_default="redirect", validate=validate.OneOf(["redirect", "client_sdk"]))
    multicapture = fields.Boolean(load_default=False)
    timeout = fields.Float(load_default=15.0, validate=validate.Range(min=0, max=60, min_inclusive=False))
    api_base = fields.Url(load_default=None, require_tld=False, schemes={"http", "https"})


class StripePlugin:
    """Brings the provider `stripe` once there is a secret_key."""

    settings_schema: ClassVar[type[Schema]] = StripeSettings
    idle: str | None = None

    def __init__(self, context: PluginContext) -> None:
        self._name, self._settings = context.name, context.settings
        if find_spec("stripe") is None:
            self.idle = "needs Stripe's SDK: pip install 'puesto[stripe]'"
            if context.settings["secret_key"] is not None:
                raise RuntimeError(self.idle)
        elif context.settings["secret_key"] is None:
            self.idle = f"rests until plugins.{context.name}.secret_key is set"
        else:
            _check_mode(context.settings["secret_key"].reveal(), context.mode)

    @hookimpl
    def register_payment_providers(self) -> list[PaymentProvider]:
        if self.idle:
            return []
        from plugins.payments.stripe_payments import StripeProvider  # the SDK takes its time, and may not be there

        return [StripeProvider(self._name, self._method(), self._settings)]

    def _method(self) -> Method:
        from plugins.payments.stripe_payments import Method

        in_page = self._settings["three_d_secure"] == "client_sdk"
        capabilities = Capabilities(
            minimum=MINIMUM,
            maximum=MAXIMUM,
            redirect=not in_page,
            client_confirm=in_page,
            authorize=True,
            partial_capture=self._settings["multicapture"],
            cancel=True,
            refund=True,
            partial_refund=True,
            save_method=True,
            off_session=True,
        )
        confirm: dict[str, Any] = {"use_stripe_sdk": True} if in_page else {}
        in_parts = {"payment_method_options": {"card": {"request_multicapture": "if_available"}}}
        return Method("card", capabilities, confirm, in_parts if self._settings["multicapture"] else {})
