"""What is done at the gateway's dashboard, in process and over HTTP: the truth that is answered, and what webhooks tell of it."""

import pytest

from puesto import eur
from puesto.testing.payments import PaymentProviderContract, reference
from tests.plugins.payments.gateway import http, running_gateway, sandbox_plugin
from tests.plugins.payments.test_sandbox_webhooks import NEW, Receiver

KIT = PaymentProviderContract()


class InProcess:
    def __init__(self, folder):
        [self.provider] = sandbox_plugin(folder).register_payment_providers()
        self.refund = self.provider.dashboard.refund
        self.open_dispute, self.close_dispute = self.provider.dashboard.open_dispute, self.provider.dashboard.close_dispute


class OverHttp:
    def __init__(self, gateway):
        self.gateway, self.provider = gateway, gateway.provider()

    def refund(self, payment, amount=None):
        return self._post("/dashboard/refunds", {"payment": payment, "amount": amount}).json()["ref"]

    def open_dispute(self, payment, amount=None, reason="fraudulent"):
        return self._post("/dashboard/disputes", {"payment": payment, "amount": amount, "reason": reason}).json()["ref"]

    def close_dispute(self, dispute, status):
        self._post(f"/dashboard/disputes/{dispute}/close", {"status": status})

    def _post(self, path, body):
        answer = self.gateway.call("POST", path, json=body)
        if answer.status_code == 400:
            raise ValueError(answer.json()["error"])
        assert answer.is_success
        return answer


@pytest.fixture(scope="module")
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, receiver):
    with running_gateway(tmp_path_factory.mktemp("gateway"), "--webhook-url", receiver.url, "--webhook-secret", NEW) as gateway:
        yield gateway


@pytest.fixture(params=["in_process", "over_http"])
def dashboard(request, tmp_path):
    return InProcess(tmp_path) if request.param == "in_process" else OverHttp(request.getfixturevalue("gateway"))


def truth(dashboard, paid):
    found = dashboard.provider.retrieve_payment(reference(*paid))
    assert (found.status, found.amount) == ("captured", eur("100.00"))
    refunds = [(each.provider_ref, each.amount, each.status, each.refund_id) for each in found.refunds]
    return refunds, [(each.provider_ref, each.amount, each.status, each.reason) for each in found.disputes]


def test_a_refund_stands_beside_those_of_the_shop(dashboard):
    paid = KIT.pay(dashboard.provider, token="tok_ok")
    ours = KIT.refund(*paid, eur("30.00"))
    given_back = dashboard.provider.refund_payment(ours)

    part = dashboard.refund(paid[0].payment_id, 20_00)
    rest = dashboard.refund(paid[1].provider_ref)

    assert truth(dashboard, paid) == (
        [
            (given_back.provider_ref, eur("30.00"), "succeeded", ours.refund_id),
            (part, eur("20.00"), "succeeded", None),
            (rest, eur("50.00"), "succeeded", None),
        ],
        [],
    )
    assert dashboard.provider.refund_payment(KIT.refund(*paid, eur("0.01"))).status == "failed"


@pytest.mark.parametrize(("end", "left"), [("won", eur("100.00")), ("lost", eur("60.00"))])
def test_what_is_disputed_can_not_be_given_back(dashboard, end, left):
    paid = KIT.pay(dashboard.provider, token="tok_ok")
    dispute = dashboard.open_dispute(paid[0].payment_id, 40_00, "duplicate")
    while_open = truth(dashboard, paid)
    refused = dashboard.provider.refund_payment(KIT.refund(*paid, eur("60.01")))

    dashboard.close_dispute(dispute, end)

    assert while_open == ([], [(dispute, eur("40.00"), "opened", "duplicate")])
    assert (refused.status, truth(dashboard, paid)) == ("failed", ([], [(dispute, eur("40.00"), end, "duplicate")]))
    assert dashboard.provider.refund_payment(KIT.refund(*paid, left)).status == "succeeded"


def test_what_can_not_be_is_refused_and_changes_nothing(dashboard):
    paid = KIT.pay(dashboard.provider, token="tok_ok")
    dispute = dashboard.open_dispute(paid[0].payment_id, 40_00)
    dashboard.close_dispute(dispute, "won")
    before = truth(dashboard, paid)

    for wrong in (
        lambda: dashboard.refund("pay_of_nobody"),
        lambda: dashboard.refund(paid[0].payment_id, 100_01),
        lambda: dashboard.refund(paid[0].payment_id, 0),
        lambda: dashboard.open_dispute(paid[0].payment_id, 100_01),
        lambda: dashboard.close_dispute(dispute, "lost"),
        lambda: dashboard.close_dispute("sbd_of_nobody", "won"),
    ):
        with pytest.raises(ValueError, match=r"left|no payment|no open dispute"):
            wrong()

    assert truth(dashboard, paid) == before


def test_webhooks_tell_of_all_of_it(gateway, receiver):
    dashboard = OverHttp(gateway)
    paid = KIT.pay(dashboard.provider, token="tok_ok")
    dashboard.refund(paid[0].payment_id, 10_00)
    dashboard.close_dispute(dashboard.open_dispute(paid[0].payment_id, 20_00), "lost")

    told = []
    while not told or told[-1].type != "dispute.lost":  # pytest's own time-out ends what never comes
        event = receiver.event(dashboard.provider)
        told += [event] if event.payment_id == paid[0].payment_id else []

    assert [(event.type, event.amount, event.refund_id) for event in told] == [
        ("payment.captured", eur("100.00"), None),
        ("refund.succeeded", eur("10.00"), None),
        ("dispute.opened", eur("20.00"), None),
        ("dispute.lost", eur("20.00"), None),
    ]
    assert {event.provider_ref for event in told} == {paid[1].provider_ref}


def test_the_dashboard_wants_the_secret(gateway):
    answer = http.post(f"{gateway.url}/dashboard/refunds", json={"payment": "pay_1"})

    assert answer.status_code == 401
