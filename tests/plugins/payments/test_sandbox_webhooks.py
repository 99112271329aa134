"""Webhooks: what the gateway sends to a real server, how often and in which order, and what the provider accepts of it."""

import json
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, Queue
from threading import Thread

import pytest

from plugins.payments.sandbox_webhooks import SignatureInvalid, sign
from puesto import ProviderTimeout, eur
from puesto.testing.payments import PaymentProviderContract
from tests.plugins.payments.gateway import WEBHOOK_SECRETS, decide, gateway_settings, running_gateway, sandbox_plugin

KIT = PaymentProviderContract()
NEW, OLD = WEBHOOK_SECRETS
STRANGE = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Receiver:
    """The shop's end: keeps what comes, and answers 204, or what `statuses` says; None: not at all."""

    def __init__(self, port=0):
        self.received, self.statuses = Queue(), Queue()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                length = int(self.headers["Content-Length"])
                body = self.rfile.read(length)
                if len(body) < length:  # whoever sent it was killed in the middle
                    return
                try:
                    status = receiver.statuses.get_nowait()
                except Empty:
                    status = 204
                if status:
                    self.send_response(status)
                    self.end_headers()
                receiver.received.put((dict(self.headers), body))

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}/v1/payment-webhooks/sandbox"
        Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def next(self):
        return self.received.get(timeout=30)

    def event(self, provider):
        """The next one, as the provider reads it."""
        headers, body = self.next()
        [event] = provider.parse_webhook(headers, body, datetime.now(UTC))
        return event

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def gateway(receiver, tmp_path):
    with running_gateway(tmp_path, "--webhook-url", receiver.url, "--webhook-secret", NEW) as gateway:
        yield gateway


@pytest.fixture
def provider(gateway):
    return gateway.provider()


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """A receiver, and a provider whose gateway tells it: for tests that change neither and hear all that they cause."""
    receiver = Receiver()
    with running_gateway(tmp_path_factory.mktemp("calm"), "--webhook-url", receiver.url, "--webhook-secret", NEW) as gateway:
        yield receiver, gateway.provider()
    receiver.close()


def told(event):
    return event.type, event.payment_id, event.amount


# --- what is sent


def test_a_payment_and_its_refund_are_told_once_each(calm):
    receiver, provider = calm
    began = datetime.now(UTC)
    request, paid = KIT.pay(provider, token="tok_ok")
    refund = KIT.refund(request, paid, eur("30.00"))
    for _ in range(2):
        provider.initiate_payment(request)
        provider.refund_payment(refund)
    marker, _ = KIT.pay(provider, token="tok_expired_card")

    payment, given_back, last = (receiver.event(provider) for _ in range(3))

    assert told(payment) == ("payment.captured", request.payment_id, eur("100.00"))
    assert (payment.provider_ref, payment.refund_id) == (paid.provider_ref, None)
    assert began <= payment.occurred_at <= given_back.occurred_at <= datetime.now(UTC)
    assert told(given_back) == ("refund.succeeded", request.payment_id, eur("30.00"))
    assert (given_back.provider_ref, given_back.refund_id) == (paid.provider_ref, refund.refund_id)
    assert told(last) == ("payment.declined", marker.payment_id, eur(0))


@pytest.mark.parametrize(("decision", "outcome"), [("approve", ("payment.captured", 100_00)), ("decline", ("payment.declined", 0))])
def test_the_buyers_decision_is_told_once(calm, decision, outcome):
    receiver, provider = calm
    request, waiting = KIT.pay(provider, token="tok_3ds")
    provider.confirm_payment(KIT.refund(request, waiting, eur(1)).payment, {})
    for _ in range(2):
        decide(waiting.action.url, decision)
    KIT.pay(provider, token="tok_expired_card")

    events = [receiver.event(provider) for _ in range(3)]

    assert [(event.type, event.amount.amount) for event in events] == [("payment.requires_action", 0), outcome, ("payment.declined", 0)]
    assert [event.payment_id == request.payment_id for event in events] == [True, True, False]


def test_a_refused_refund_and_a_stored_method_are_told(calm):
    receiver, provider = calm
    request, paid = KIT.pay(provider, token="tok_ok")
    provider.refund_payment(KIT.refund(request, paid, eur("100.01")))
    storing = KIT.request(token="tok_ok", amount=eur(0))
    provider.save_method(storing)

    _, refused, stored = (receiver.event(provider) for _ in range(3))

    assert told(refused) == ("refund.failed", request.payment_id, eur(0))
    assert told(stored) == ("payment.captured", storing.payment_id, eur(0))


def test_it_comes_though_the_answer_never_does(receiver, gateway, provider):
    request = KIT.request(token="tok_ok")
    gateway.fault("reset", on="initiate_payment")

    with pytest.raises(ProviderTimeout):
        provider.initiate_payment(request)

    assert told(receiver.event(provider)) == ("payment.captured", request.payment_id, eur("100.00"))


# --- how often, and when


def test_doubled_it_comes_twice_under_one_id(receiver, gateway, provider):
    gateway.fault("doubled")
    KIT.pay(provider, token="tok_ok")
    KIT.pay(provider, token="tok_ok")

    first, again, other = (receiver.event(provider) for _ in range(3))

    assert first == again
    assert first.event_id != other.event_id


def test_late_it_is_overtaken_by_what_came_after(receiver, gateway, provider):
    gateway.fault("late", on="payment.requires_action", seconds=3600)
    _, waiting = KIT.pay(provider, token="tok_3ds")
    decide(waiting.action.url)

    overtaking = receiver.event(provider)
    gateway.call("POST", "/webhooks/send-now")
    late = receiver.event(provider)

    assert (overtaking.type, late.type) == ("payment.captured", "payment.requires_action")
    assert late.occurred_at < overtaking.occurred_at


def test_what_is_not_accepted_comes_again_and_holds_up_nothing(receiver, gateway, provider):
    for status in (500, 302, None):
        receiver.statuses.put(status)
    gateway.fault("late", times=2, seconds=3600)
    first, second = (KIT.pay(provider, token="tok_ok")[0].payment_id for _ in range(2))
    gateway.call("POST", "/webhooks/send-now")

    came = [receiver.event(provider) for _ in range(5)]

    assert sorted(event.payment_id for event in came[:2]) == sorted([first, second])
    assert {event.payment_id for event in came[3:]} == {first, second}
    assert len({event.event_id for event in came}) == 2


def test_a_restarted_gateway_sends_what_was_left(receiver, gateway, provider):
    gateway.fault("late", seconds=3600)
    request, _ = KIT.pay(provider, token="tok_ok")

    gateway.kill()
    gateway.start()
    gateway.call("POST", "/webhooks/send-now")

    assert told(receiver.event(provider)) == ("payment.captured", request.payment_id, eur("100.00"))


@pytest.mark.slow
def test_killed_after_each_answer_it_loses_no_event(receiver, gateway, provider):
    asked, came = set(), set()
    for _ in range(4):
        asked.add(KIT.pay(provider, token="tok_ok")[0].payment_id)
        gateway.kill()
        gateway.start()

    while came != asked:  # pytest's own time-out ends what never comes
        came.add(receiver.event(provider).payment_id)


def test_a_shop_that_was_away_hears_of_everything(tmp_path):
    away = Receiver()
    away.close()

    with running_gateway(tmp_path, "--webhook-url", away.url, "--webhook-secret", NEW) as gateway:
        provider = gateway.provider()
        asked = [KIT.pay(provider, token="tok_ok")[0].payment_id for _ in range(3)]
        back = Receiver(away.port)
        came = [back.event(provider).payment_id for _ in range(3)]
        back.close()

    assert sorted(came) == sorted(asked)


def test_without_an_address_nothing_is_kept_to_be_sent(receiver, tmp_path):
    with running_gateway(tmp_path) as gateway:
        KIT.pay(gateway.provider(), token="tok_ok")

    with running_gateway(tmp_path, "--webhook-url", receiver.url, "--webhook-secret", NEW) as gateway:
        request, _ = KIT.pay(gateway.provider(), token="tok_ok")

        assert receiver.event(gateway.provider()).payment_id == request.payment_id


# --- what is accepted


@pytest.fixture
def reader(tmp_path):
    """A provider that reads webhooks; nothing listens where it would call."""
    [provider] = sandbox_plugin(tmp_path, **gateway_settings(tmp_path, "http://127.0.0.1:9")).register_payment_providers()
    return provider


def signed(secret, body=b'{"type": "payment.noticed"}', at=None):
    timestamp = str(int((at or datetime.now(UTC)).timestamp()))
    signature = sign(secret, "evt_1", timestamp, body)
    return {"webhook-id": "evt_1", "webhook-timestamp": timestamp, "webhook-signature": signature}, body


def accepts(provider, headers, body, received_at=None):
    try:
        provider.parse_webhook(headers, body, received_at or datetime.now(UTC))
    except SignatureInvalid:
        return False
    return True


def test_the_signature_is_that_of_the_standard():
    """The example of standardwebhooks.com's own libraries."""
    signature = sign(STRANGE, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')

    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_no_byte_of_a_real_message_can_be_altered(calm):
    receiver, provider = calm
    KIT.pay(provider, token="tok_ok")
    headers, body = receiver.next()
    names = [name for name in headers if name.lower().startswith("webhook-")]

    altered = [body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :] for at in range(len(body))]
    others = [{**headers, name: f"{value[:-2]}{chr(ord(value[-2]) ^ 1)}{value[-1]}"} for name in names for value in [headers[name]]]
    fewer = [{other: value for other, value in headers.items() if other != name} for name in names]

    assert accepts(provider, headers, body)
    assert [accepts(provider, headers, each) for each in (*altered, b"", body + b" ")] == [False] * (len(body) + 2)
    assert [accepts(provider, each, body) for each in others + fewer] == [False] * 6


@pytest.mark.parametrize("signature", ["", "v1", "v1,", "v1,é", "v1,AAAA", "v2,{}", "{}x", ","])
def test_a_malformed_signature_is_refused(reader, signature):
    headers, body = signed(NEW)
    genuine = headers["webhook-signature"].removeprefix("v1,")

    assert not accepts(reader, {**headers, "webhook-signature": signature.format(genuine)}, body)


@pytest.mark.parametrize(("secret", "accepted"), [(NEW, True), (OLD, True), (STRANGE, False)])
def test_while_keys_are_rotated_both_are_good(reader, secret, accepted):
    assert accepts(reader, *signed(secret)) is accepted


def test_names_of_headers_come_in_any_case(reader):
    headers, body = signed(NEW)

    assert [accepts(reader, {spell(name): headers[name] for name in headers}, body) for spell in (str.title, str.upper)] == [True, True]


def test_a_message_with_several_signatures_needs_one_that_fits(reader):
    (headers, body), (strange, _) = signed(OLD), signed(STRANGE)
    both = f"{strange['webhook-signature']} {headers['webhook-signature']}"

    assert accepts(reader, {**headers, "webhook-signature": both}, body)


def test_a_gateway_with_two_secrets_signs_with_both(receiver, tmp_path):
    with running_gateway(
        tmp_path, "--webhook-url", receiver.url, "--webhook-secret", STRANGE, "--webhook-secret", OLD
    ) as gateway:  # fmt: skip
        provider = gateway.provider()
        request, _ = KIT.pay(provider, token="tok_ok")

        assert receiver.event(provider).payment_id == request.payment_id


@pytest.mark.parametrize(("seconds", "accepted"), [(-301, False), (-300, True), (300, True), (301, False)])
def test_a_message_may_be_five_minutes_away(reader, seconds, accepted):
    sent = datetime(2026, 3, 1, tzinfo=UTC)
    headers, body = signed(NEW, at=sent)

    assert accepts(reader, headers, body, sent + timedelta(seconds=seconds)) is accepted


def test_without_secrets_nothing_is_accepted(tmp_path):
    settings = gateway_settings(tmp_path, "http://127.0.0.1:9", webhook_secrets=[])
    [provider] = sandbox_plugin(tmp_path, **settings).register_payment_providers()

    assert not accepts(provider, *signed(NEW))


def test_an_unknown_type_says_nothing(reader):
    headers, body = signed(NEW, json.dumps({"type": "payout.paid", "data": {}}).encode())

    assert reader.parse_webhook(headers, body, datetime.now(UTC)) == []
