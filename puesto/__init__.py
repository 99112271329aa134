"""What plugin authors import, and nothing else: the surface with a compatibility promise."""

from core.engine.plugin_loading import PluginContext
from core.engine.plugin_rows import PluginDatabase
from core.engine.rows import DayField, InstantField, JsonField, Row, refers_to
from core.engine.settings import Secret, SecretField
from core.engine.sqlite import WriterQueue
from core.errors import FieldError, Message, PluginFailed, TaxIdRejected
from core.hooks import hookimpl
from core.hooks.carts import CartView, CartWarning
from core.hooks.discounts import DiscountedLine
from core.hooks.engine import Tables
from core.hooks.events import Event
from core.hooks.payments import (
    Action,
    Capabilities,
    CaptureRequest,
    Customer,
    Dispute,
    PayableCart,
    PaymentError,
    PaymentLine,
    PaymentProvider,
    PaymentReference,
    PaymentRequest,
    PaymentResult,
    PaymentUnknown,
    ProviderChanges,
    ProviderEvent,
    ProviderMisconfigured,
    ProviderRefund,
    ProviderTimeout,
    ProviderUnavailable,
    RefundRequest,
    RefundResult,
    SavedMethod,
    SignatureInvalid,
)
from core.hooks.products import Plan, Product, ProvisioningRequest, SeatRule, Trial
from core.hooks.subscriptions import FailedAttempt, PastDueView, RetrySchedule
from core.hooks.tax import LineTax, Party, TaxDecision, TaxId, TaxIdCheck, TaxLine, TaxRate, TaxRequest
from core.rules.discounts import Discount
from core.rules.money import Money, eur, gbp, money, usd
from core.rules.policies import ChangePolicy
from core.rules.prices import Price

__all__ = [
    "Action",
    "Capabilities",
    "CaptureRequest",
    "CartView",
    "CartWarning",
    "ChangePolicy",
    "Customer",
    "DayField",
    "Discount",
    "DiscountedLine",
    "Dispute",
    "Event",
    "FailedAttempt",
    "FieldError",
    "InstantField",
    "JsonField",
    "LineTax",
    "Message",
    "Money",
    "Party",
    "PastDueView",
    "PayableCart",
    "PaymentError",
    "PaymentLine",
    "PaymentProvider",
    "PaymentReference",
    "PaymentRequest",
    "PaymentResult",
    "PaymentUnknown",
    "Plan",
    "PluginContext",
    "PluginDatabase",
    "PluginFailed",
    "Price",
    "Product",
    "ProviderChanges",
    "ProviderEvent",
    "ProviderMisconfigured",
    "ProviderRefund",
    "ProviderTimeout",
    "ProviderUnavailable",
    "ProvisioningRequest",
    "RefundRequest",
    "RefundResult",
    "RetrySchedule",
    "Row",
    "SavedMethod",
    "SeatRule",
    "Secret",
    "SecretField",
    "SignatureInvalid",
    "Tables",
    "TaxDecision",
    "TaxId",
    "TaxIdCheck",
    "TaxIdRejected",
    "TaxLine",
    "TaxRate",
    "TaxRequest",
    "Trial",
    "WriterQueue",
    "eur",
    "gbp",
    "hookimpl",
    "money",
    "refers_to",
    "usd",
]
