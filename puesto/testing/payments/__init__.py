"""The conformance kit of payment providers: inherit `PaymentProviderContract`, give it a provider, and run pytest.

    class TestMyGateway(PaymentProviderContract):
        good_token = "tok_visa"
        declined_tokens = {"tok_empty": "insufficient_funds"}

        @pytest.fixture
        def provider(self):
            return MyGateway(test_account)

Cases for what the provider does not claim in its capabilities are skipped.
"""

from puesto.testing.payments.captures import CaptureCases
from puesto.testing.payments.changes import ChangeCases
from puesto.testing.payments.contract import ContractCases
from puesto.testing.payments.faults import FaultCases
from puesto.testing.payments.idempotency import IdempotencyCases
from puesto.testing.payments.kit import Kit, lost_reference, reference, settled
from puesto.testing.payments.methods import MethodCases
from puesto.testing.payments.money import MoneyCases
from puesto.testing.payments.network import FaultyNetwork
from puesto.testing.payments.paying import PayingCases
from puesto.testing.payments.redirects import RedirectCases
from puesto.testing.payments.refunds import RefundCases
from puesto.testing.payments.scripts import ScriptCases
from puesto.testing.payments.settlement import SettlementCases
from puesto.testing.payments.table import capability_table
from puesto.testing.payments.webhooks import WebhookCases

__all__ = ["FaultyNetwork", "PaymentProviderContract", "capability_table", "lost_reference", "reference", "settled"]


class PaymentProviderContract(
    ContractCases,
    PayingCases,
    IdempotencyCases,
    RedirectCases,
    ScriptCases,
    CaptureCases,
    RefundCases,
    MethodCases,
    SettlementCases,
    WebhookCases,
    ChangeCases,
    MoneyCases,
    FaultCases,
):
    __doc__ = f"{Kit.__doc__}\n\n{FaultCases.__doc__}"
