"""The sandbox gateway as a process of its own, so that a charge and an order are in two places, as they are in production.

JSON documents are the contract's own values, field by field. Whatever is answered is on disk before.
"""

from __future__ import annotations

import hmac
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, Response, current_app, g, redirect, render_template, request, url_for
from werkzeug.exceptions import BadRequest, TooManyRequests, Unauthorized
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Response as Redirect

from plugins.payments.sandbox_dashboard import dashboard
from plugins.payments.sandbox_entries import Entry
from plugins.payments.sandbox_faults import REQUEST_KINDS, Fault, draw_fault, list_faults, set_faults
from plugins.payments.sandbox_ledger import Ledger
from plugins.payments.sandbox_webhooks import Sender, append_event, note_event, page_of_events
from puesto import Action, CaptureRequest, Customer, Money, PaymentLine, PaymentReference, PaymentRequest, PaymentUnknown, RefundRequest

# Views are called as the provider's methods, and faults name them so.
api = Blueprint("api", __name__)
admin = Blueprint("admin", __name__)
bank = Blueprint("bank", __name__, template_folder=".")


class OneRequest(WSGIRequestHandler):
    """A connection per request, so that one without an answer is closed; and no log of requests."""

    protocol_version = "HTTP/1.0"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def serve_gateway(
    host: str,
    port: int,
    ledger_path: Path,
    secret: str,
    *,
    webhook_url: str | None = None,
    webhook_secrets: Sequence[str] = (),
    slow_seconds: float = 3.0,
    started: Callable[[str], object] = print,
) -> None:
    """Serve until SIGTERM or SIGINT. `port` 0: any that is free; `started` is told the address.

    On werkzeug's threaded server: granian embeds no WSGI, starts processes that a kill -9 would leave behind, and can't drop a
    connection without an answer.
    """
    ledger = Ledger(ledger_path, append_event if webhook_url else note_event)
    server = make_server(host, port, create_gateway(ledger, secret, slow_seconds), threaded=True, request_handler=OneRequest)
    if webhook_url:
        Sender(ledger, webhook_url, webhook_secrets).start()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started(f"http://{f'[{host}]' if ':' in host else host}:{server.port}")
    server.serve_forever()


def create_gateway(ledger: Ledger, secret: str, slow_seconds: float) -> Flask:
    app = Flask(__name__)
    app.config.update(LEDGER=ledger, SECRET=secret, SLOW_SECONDS=slow_seconds)
    for blueprint in (api, admin, bank, dashboard):
        app.register_blueprint(blueprint)
    app.register_error_handler(PaymentUnknown, lambda error: ({"error": "payment_unknown"}, 404))
    return app


@api.before_request
@admin.before_request
@dashboard.before_request
def authenticate() -> None:
    given = request.headers.get("Authorization", "")
    if not hmac.compare_digest(given.encode(), f"Bearer {current_app.config['SECRET']}".encode()):
        raise Unauthorized


# --- faults


@api.before_request
def fail_before() -> Response | None:
    with _ledger().books() as books:
        g.fault = draw_fault(books, REQUEST_KINDS, str(request.endpoint).removeprefix("api."))
    if g.fault and (g.fault.before or g.fault.kind == "rate_limited"):
        return _fail(g.pop("fault"), None)
    return None


@api.after_request
def fail_after(response: Response) -> Response:
    fault = g.pop("fault", None)
    return (_fail(fault, response) if fault else None) or response


def _fail(fault: Fault, response: Response | None) -> Response | None:
    """What is answered instead of `response`, or in front of it."""
    if fault.kind == "slow":
        time.sleep(fault.seconds)
        return response
    if fault.kind == "rate_limited":
        return Response("too many requests", 429)
    if fault.kind == "error":
        return Response("something went wrong", 500)
    if fault.kind == "garbage":
        return Response('{"status": "captured", "amou', content_type="application/json")
    return Response(_drop(fault.seconds if fault.kind == "hang" else 0))


def _drop(seconds: float) -> Iterator[bytes]:
    """A body that never begins: werkzeug closes the connection, and sends nothing at all."""
    time.sleep(seconds)
    raise ConnectionAbortedError
    yield b""


# --- payments


@api.post("/payments")
def initiate_payment() -> Any:
    return _begin(setup=False)


@api.post("/methods")
def save_method() -> Any:
    return _begin(setup=True)


@api.post("/methods/delete")
def delete_method() -> Any:
    try:
        _ledger().delete_method(request.get_json()["reference"])
    except (KeyError, TypeError) as error:
        raise BadRequest(f"no method: {error}") from error
    return "", 204


@api.get("/payments")
def retrieve_payment() -> Any:
    """By `?ref=`, the gateway's reference, or by `?key=`, the idempotency key."""
    return asdict(_result(_ledger().look_up(_reference(request.args.get("ref"), request.args.get("key", "")))))


@api.post("/payments/<ref>/confirm")
def confirm_payment(ref: str) -> Any:
    """How it stands after the buyer's visit to the bank, which alone decides."""
    return asdict(_result(_ledger().look_up(_reference(ref))))


@api.post("/payments/cancel")
def cancel_payment() -> Any:
    try:
        payment = _reference(request.get_json()["ref"], request.get_json()["key"])
    except (KeyError, TypeError) as error:
        raise BadRequest(f"no payment: {error}") from error
    return asdict(_result(_ledger().cancel(payment)))


@api.post("/captures")
def capture_payment() -> Any:
    try:
        body = request.get_json()
        payment = _reference(body["ref"], body["payment_key"])
        asked = CaptureRequest(payment, body["capture_id"], Money(**body["amount"]), body["final"], body["idempotency_key"])
    except (KeyError, TypeError) as error:
        raise BadRequest(f"no capture: {error}") from error
    return asdict(_result(_ledger().capture(asked)))


@api.post("/refunds")
def refund_payment() -> Any:
    try:
        body = request.get_json()
        payment = _reference(body["ref"], body["payment_key"])
        asked = RefundRequest(payment, body["refund_id"], Money(**body["amount"]), body["reason"], body["idempotency_key"])
    except (KeyError, TypeError) as error:
        raise BadRequest(f"no refund: {error}") from error
    return asdict(_ledger().refund(asked))


@api.get("/changes")
def list_changes() -> Any:
    """`?since=` an instant; `?cursor=` from the page before."""
    try:
        since = datetime.fromisoformat(request.args["since"])
        page, further = page_of_events(_ledger(), since, request.args.get("cursor"))
    except ValueError as error:
        raise BadRequest(f"no page: {error}") from error
    return {"events": page, "cursor": further}


def _begin(*, setup: bool) -> Any:
    try:
        body = request.get_json()
        lines = tuple(PaymentLine(line["description"], Money(**line["amount"])) for line in body.get("lines", ()))
        read = {"amount": Money(**body["amount"]), "customer": Customer(**body["customer"]), "lines": lines}
        asked = PaymentRequest(**{**body, **read})
    except (AttributeError, KeyError, TypeError) as error:
        raise BadRequest(f"no payment: {error}") from error
    if asked.token == "tok_unavailable":
        raise TooManyRequests
    entry = _ledger().begin(asked, setup=setup)
    if entry.token == "tok_slow":
        time.sleep(current_app.config["SLOW_SECONDS"])
    return Response(_drop(0)) if entry.token == "tok_timeout" else asdict(_result(entry))


def _result(entry: Entry) -> Any:
    result = _ledger().whole(entry)
    page = url_for("bank.challenge", ref=entry.ref, _external=True)
    return replace(result, action=Action("redirect", page)) if result.action else result


def _reference(ref: str | None, key: str = "") -> PaymentReference:
    """The ledger looks by reference or key, and at nothing else."""
    return PaymentReference("", Money(0, "XXX"), key, ref)


def _ledger() -> Ledger:
    ledger: Ledger = current_app.config["LEDGER"]
    return ledger


# --- for tests


@admin.get("/charges")
def charges() -> Any:
    return [asdict(charge) for charge in _ledger().charges()]


@admin.route("/faults", methods=["GET", "POST"])
def faults() -> Any:
    """POST a list of them in place of those before; GET them with what they have done. See `Fault`."""
    with _ledger().books() as books:
        if request.method == "POST":
            try:
                set_faults(books, [Fault(**each) for each in request.get_json()])
            except (TypeError, ValueError) as error:
                raise BadRequest(str(error)) from error
        return list_faults(books)


@admin.post("/webhooks/send-now")
def send_now() -> Any:
    """Let webhooks wait no longer that are late, or are to be tried again."""
    with _ledger().books() as books:
        books.execute("UPDATE event SET due = 0")
    return "", 204


# --- the buyer's bank: who has the address may decide


@bank.get("/3ds/<ref>")
def challenge(ref: str) -> str | Redirect:
    entry = _ledger().look_up(_reference(ref))
    if entry.status != "requires_action":
        return redirect(entry.way_back)
    return render_template("sandbox_3ds.html", amount=Money(entry.amount, entry.currency), can_leave=bool(entry.cancel_url))


@bank.post("/3ds/<ref>")
def decide(ref: str) -> Redirect:
    decision = request.form["decision"]
    if decision == "leave":
        entry = _ledger().look_up(_reference(ref))
        return redirect(entry.cancel_url or entry.way_back, 303)
    return redirect(_ledger().settle(_reference(ref), approved=decision == "approve").way_back, 303)
