"""SEPA direct debits through Stripe: `pip install 'puesto[stripe]'`. Without a secret_key the plugin rests.

A debit is `processing` for days. Then it was collected, or not; and what was collected may be returned by the debtor's bank for eight
weeks and longer, which is a dispute that is lost at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from marshmallow import Schema

from plugins.payments.stripe import MINIMUM, StripePlugin, StripeSettings
from puesto import Capabilities

if TYPE_CHECKING:
    from plugins.payments.stripe_payments import Method


class SepaDebitSettings(StripeSettings):
    """Those of the plugin `stripe`, in a table of its own; the account may be the same. Its webhooks have an endpoint of their own."""

    class Meta:
        exclude = ("three_d_secure", "multicapture")


class SepaDebitPlugin(StripePlugin):
    """Brings the provider `sepa_debit` once there is a secret_key."""

    settings_schema: ClassVar[type[Schema]] = SepaDebitSettings

    def _method(self) -> Method:
        from plugins.payments.stripe_payments import Method

        capabilities = Capabilities(
            currencies=frozenset({"EUR"}),
            minimum={"EUR": MINIMUM["EUR"]},
            refund=True,
            partial_refund=True,
            save_method=True,
            off_session=True,
            async_settlement=True,
        )
        # The storefront has shown the mandate before it took the IBAN; where and by whom it was accepted, only a ConfirmationToken knows.
        return Method("sepa_debit", capabilities, mandate={"customer_acceptance": {"type": "offline"}})
