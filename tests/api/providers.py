"""Payment providers that do what the sandbox can't."""

from threading import Event

from puesto import Capabilities, Money, PaymentProvider, PaymentResult, SavedMethod, hookimpl


class TestProvider(PaymentProvider):
    """A provider that is its own plugin. `payments`: the idempotency keys of every attempt."""

    __test__ = False
    capabilities = Capabilities(save_method=True)

    def __init__(self):
        self.payments = []

    @hookimpl
    def register_payment_providers(self):
        return [self]


class Patient(TestProvider):
    """Answers once it may."""

    name = "patient"

    def __init__(self):
        super().__init__()
        self.asked, self.may_answer = Event(), Event()

    def initiate_payment(self, request):
        self.payments.append(request.idempotency_key)
        self.asked.set()
        self.may_answer.wait(30)
        return PaymentResult("captured", request.amount)

    def save_method(self, request):
        self.payments.append(request.idempotency_key)
        return PaymentResult("captured", request.amount, saved_method=SavedMethod(request.token, "visa", "4242"))


class Greedy(TestProvider):
    """Takes a cent more than it is asked for."""

    name = "greedy"

    def initiate_payment(self, request):
        self.payments.append(request.idempotency_key)
        return PaymentResult("captured", request.amount + Money(1, request.amount.currency))
