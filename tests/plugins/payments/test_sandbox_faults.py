"""Faults of the sandbox gateway: what the provider makes of each, and that repeating with the same key mends it."""

import pytest

from puesto import PaymentUnknown, ProviderTimeout, ProviderUnavailable, eur
from puesto.testing.payments import PaymentProviderContract, lost_reference
from tests.plugins.payments.gateway import running_gateway

KIT = PaymentProviderContract()
# kind, whether it strikes before anything is done, what the provider raises, and whether money has moved by then
FAULTS = [
    ("error", False, ProviderTimeout, True),
    ("error", True, ProviderTimeout, False),
    ("reset", False, ProviderTimeout, True),
    ("reset", True, ProviderTimeout, False),
    ("hang", False, ProviderTimeout, True),
    ("hang", True, ProviderTimeout, False),
    ("garbage", False, ProviderTimeout, True),
    ("rate_limited", False, ProviderUnavailable, False),
]
each_fault = pytest.mark.parametrize(
    ("kind", "before", "raised", "done"), FAULTS, ids=[f"{kind}-{'before' if before else 'after'}" for kind, before, *_ in FAULTS]
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with running_gateway(tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


@pytest.fixture
def provider(gateway):
    return gateway.provider(gateway_timeout=0.5)


def charge_of(provider, request):
    """Amount and refunded part of what stands in the ledger; None: nothing does."""
    found = [(charge.amount, charge.refunded) for charge in provider.charges() if charge.key == request.idempotency_key]
    assert len(found) < 2
    return found[0] if found else None


@each_fault
def test_a_faulty_charge_is_made_once_in_the_end(gateway, provider, kind, before, raised, done):
    request = KIT.request(token="tok_ok")
    gateway.fault(kind, on="initiate_payment", before=before)

    with pytest.raises(raised):
        provider.initiate_payment(request)

    assert charge_of(provider, request) == ((eur("100.00"), eur(0)) if done else None)
    if done:
        assert provider.retrieve_payment(lost_reference(request)).status == "captured"
    else:
        with pytest.raises(PaymentUnknown):
            provider.retrieve_payment(lost_reference(request))
    assert provider.initiate_payment(request).status == "captured"
    assert charge_of(provider, request) == (eur("100.00"), eur(0))


@each_fault
def test_a_faulty_refund_is_made_once_in_the_end(gateway, provider, kind, before, raised, done):
    request, paid = KIT.pay(provider, token="tok_ok")
    refund = KIT.refund(request, paid, eur("30.00"))
    gateway.fault(kind, on="refund_payment", before=before)

    with pytest.raises(raised):
        provider.refund_payment(refund)

    assert charge_of(provider, request) == (eur("100.00"), eur("30.00" if done else "0.00"))
    assert provider.refund_payment(refund).status == "succeeded"
    assert charge_of(provider, request) == (eur("100.00"), eur("30.00"))


@each_fault
@pytest.mark.parametrize("call", ["retrieve_payment", "confirm_payment", "delete_method"])
def test_a_fault_elsewhere_says_nothing_of_the_payment(gateway, provider, call, kind, before, raised, done):
    request, paid = KIT.pay(provider, token="tok_ok", save_method=True)
    here = KIT.refund(request, paid, paid.amount).payment
    arguments = {"retrieve_payment": (here,), "confirm_payment": (here, {}), "delete_method": (paid.saved_method.reference,)}
    gateway.fault(kind, on=call, before=before)

    with pytest.raises(raised):
        getattr(provider, call)(*arguments[call])

    assert provider.retrieve_payment(here) == paid


def test_a_slow_answer_is_an_answer(gateway, provider):
    gateway.fault("slow", seconds=0.05)

    assert KIT.pay(provider, token="tok_ok")[1].status == "captured"
    assert gateway.hits() == 1


def test_a_fault_strikes_as_often_as_it_says_and_only_where_it_says(gateway, provider):
    gateway.fault("rate_limited", on="initiate_payment", times=2)

    with pytest.raises(PaymentUnknown):
        provider.retrieve_payment(lost_reference(KIT.request()))
    for _ in range(2):
        with pytest.raises(ProviderUnavailable):
            KIT.pay(provider, token="tok_ok")

    assert KIT.pay(provider, token="tok_ok")[1].status == "captured"
    assert gateway.hits() == 2


def test_the_same_seed_strikes_the_same_calls(gateway, provider):
    def struck(seed):
        gateway.fault("rate_limited", times=None, probability=0.5, seed=seed)
        return "".join("x" if refused(provider) else "." for _ in range(16))

    first, second, other = struck(1), struck(1), struck(2)

    assert first == second != other
    assert 0 < first.count("x") < 16


def test_faults_outlive_the_gateway(tmp_path):
    with running_gateway(tmp_path) as gateway:
        gateway.fault("rate_limited", times=2)
        assert refused(gateway.provider())

        gateway.kill()
        gateway.start()

        assert [refused(gateway.provider()) for _ in range(2)] == [True, False]


@pytest.mark.parametrize("fault", [{"kind": "fire"}, {"kind": "reset", "often": 2}, {}])
def test_a_fault_that_is_none_changes_nothing(gateway, provider, fault):
    gateway.fault("rate_limited", on="nothing")

    assert gateway.call("POST", "/faults", json=[fault]).status_code == 400
    assert [each["on"] for each in gateway.call("GET", "/faults").json()] == ["nothing"]


def refused(provider):
    try:
        KIT.pay(provider, token="tok_ok")
    except ProviderUnavailable:
        return True
    return False
