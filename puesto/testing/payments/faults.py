"""What the network does to a call: the provider says that it does not know, and in the end there is one charge, refund, capture."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, TypeVar
from uuid import uuid4

import pytest

from puesto import CaptureRequest, PaymentProvider, PaymentReference, PaymentResult, PaymentUnknown, ProviderTimeout, ProviderUnavailable
from puesto.testing.payments.kit import Kit, lost_reference, reference
from puesto.testing.payments.network import FAULTS, FaultyNetwork

A = TypeVar("A")
T = TypeVar("T")
each_fault = pytest.mark.parametrize("fault", FAULTS)


class FaultCases(Kit):
    """Skipped, unless two fixtures are overridden: `network`, a FaultyNetwork in front of the gateway, and `remote_provider`, the
    provider behind it, with a time-out of half a second or so.

    paying_requests: the requests that a payment takes, each struck in its turn: parts of `POST /v1/charges`.
    refunding_requests, capturing_requests, looking_up_requests: of a refund, a capture, a look-up.
    """

    paying_requests: ClassVar[tuple[str, ...]] = ("POST ",)
    refunding_requests: ClassVar[tuple[str, ...]] = ("POST ",)
    capturing_requests: ClassVar[tuple[str, ...]] = ("POST ",)
    looking_up_requests: ClassVar[tuple[str, ...]] = ("GET ",)

    @pytest.fixture
    def network(self) -> FaultyNetwork:
        pytest.skip("no network is handed in")

    @pytest.fixture
    def remote_provider(self, network: FaultyNetwork) -> PaymentProvider:
        raise NotImplementedError("a network is handed in: override `remote_provider` as well")

    def charge_count(self, provider: PaymentProvider, payment_id: str) -> int | None:
        """How often the buyer was charged for a payment, by the gateway's own books. None: nobody knows."""
        return None

    @each_fault
    def test_a_payment_that_meets_a_fault_is_made_once(self, network: FaultyNetwork, remote_provider: PaymentProvider, fault: str) -> None:
        for on in self.paying_requests:
            request = self.request()
            answer = meet(network, fault, on, remote_provider.initiate_payment, request)
            known = _look_up(remote_provider, lost_reference(request))

            again = remote_provider.initiate_payment(request)

            assert known is None or (known.provider_ref, known.error) == (again.provider_ref, None)
            assert again.error is None and again.status not in ("declined", "failed", "canceled"), f"{fault} passed for a decline"
            assert not (isinstance(answer, ProviderUnavailable) and known and known.amount.amount), f"{fault} had charged"
            assert remote_provider.retrieve_payment(lost_reference(request)) == again
            assert self.charge_count(remote_provider, request.payment_id) in (None, 1)

    @each_fault
    def test_a_refund_that_meets_a_fault_is_made_once(self, network: FaultyNetwork, remote_provider: PaymentProvider, fault: str) -> None:
        self.need(remote_provider, "partial_refund")
        for on in self.refunding_requests:
            paid = self.paid(remote_provider)
            part, rest = self.refund(*paid, self.amount(40_00)), self.refund(*paid, self.amount(60_00))
            meet(network, fault, on, remote_provider.refund_payment, part)

            given_back = [remote_provider.refund_payment(each) for each in (part, part, rest)]

            assert [each.amount for each in given_back] == [self.amount(40_00), self.amount(40_00), self.amount(60_00)]
            assert {each.status for each in given_back} <= {"succeeded", "processing"}
            assert given_back[0] == given_back[1]

    @each_fault
    def test_a_capture_that_meets_a_fault_is_made_once(self, network: FaultyNetwork, remote_provider: PaymentProvider, fault: str) -> None:
        self.need(remote_provider, "authorize")
        part = self.amount(40_00 if remote_provider.capabilities.partial_capture else 100_00)
        for on in self.capturing_requests:
            request, result = self.pay(remote_provider, capture_mode="manual")
            key = uuid4().hex
            capture = CaptureRequest(reference(request, result), f"cap_{key}", part, part == self.amount(), key)
            meet(network, fault, on, remote_provider.capture_payment, capture)

            remote_provider.capture_payment(capture)

            found = remote_provider.retrieve_payment(reference(request, result))
            assert (found.captured or found.amount) == part

    @each_fault
    def test_a_look_up_that_meets_a_fault_knows_nothing(self, network: FaultyNetwork, remote_provider: PaymentProvider, fault: str) -> None:
        """Least of all that the payment is unknown: then the engine would let the buyer pay again."""
        request, result = self.pay(remote_provider)
        for on in self.looking_up_requests:
            answer = meet(network, fault, on, remote_provider.retrieve_payment, lost_reference(request))

            assert isinstance(answer, (ProviderTimeout, ProviderUnavailable)) or answer == result
            assert remote_provider.retrieve_payment(lost_reference(request)) == result


def meet(network: FaultyNetwork, fault: str, on: str, call: Callable[[A], T], asked: A) -> T | ProviderTimeout | ProviderUnavailable:
    """What a call answers, or raises, that is struck by a fault. A provider that tries again by itself may have an answer."""
    before = network.struck
    network.fail(fault, on=on)
    try:
        answer: T | ProviderTimeout | ProviderUnavailable = call(asked)
    except (ProviderTimeout, ProviderUnavailable) as error:
        answer = error
    network.heal()
    assert network.struck > before, f"no request of it contains {on!r}: {network.seen[-3:]}"
    return answer


def _look_up(provider: PaymentProvider, payment: PaymentReference) -> PaymentResult | None:
    try:
        return provider.retrieve_payment(payment)
    except PaymentUnknown:
        return None
