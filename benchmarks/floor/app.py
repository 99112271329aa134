"""The three requests of a checkout, their rows written by hand."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from flask import Flask, Response, request
from uuid_utils import uuid7

from benchmarks.floor import statements as sql
from benchmarks.floor.documents import (
    CURRENCY,
    SELLER,
    account_of,
    decision,
    fulfilment,
    invoice_of,
    item,
    order_of,
    priced,
    settlement,
    subscription_of,
    totals,
)
from benchmarks.floor.rows import Rows


def from_environment() -> Flask:
    return create_app(os.environ["FLOOR_DATABASE"], os.environ["FLOOR_GATEWAY"])


def create_app(database: str, gateway: str) -> Flask:
    """database: one whose tables Puesto has made; gateway: the books of the sandbox's gateway, which Puesto has made too."""
    app, floor = Flask(__name__, static_folder=None), Floor(Rows(database), Rows(gateway))
    app.extensions["floor"] = floor
    app.add_url_rule("/v1/carts", view_func=floor.new_cart, methods=["POST"])
    app.add_url_rule("/v1/carts/<cart>/quote", view_func=floor.quote)
    app.add_url_rule("/v1/carts/<cart>/checkout", view_func=floor.check_out, methods=["POST"])
    app.add_url_rule("/healthz", view_func=lambda: "")
    return app


def new_id(prefix: str) -> str:
    return f"{prefix}_{uuid7().hex}"


def dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def answer(document: str, status: int = 200) -> Response:
    return Response(document, status, mimetype="application/json")


class Floor:
    def __init__(self, rows: Rows, gateway: Rows) -> None:
        self.rows, self.gateway = rows, gateway
        self.hold = "" if rows.sqlite else " FOR UPDATE"

    def caller(self) -> str:
        secret = request.headers["Authorization"].partition(" ")[2]
        return str(self.rows.run(sql.KEY, (sha256(secret.encode()).hexdigest(),)).fetchone()[0])

    def key(self, caller: str) -> tuple[str, str]:
        scope = f"{caller} {request.method} {request.path}\0{request.headers['Idempotency-Key']}"
        return sha256(scope.encode()).hexdigest(), sha256(request.get_data()).hexdigest()

    def new_cart(self) -> Response:
        caller, body, now = self.caller(), request.get_json(), datetime.now(UTC)
        key, fingerprint = self.key(caller)
        cart, instant, until = new_id("crt"), now.isoformat(), (now + timedelta(days=30)).isoformat()
        with self.rows.transaction():
            account = self.rows.run(sql.ACCOUNT, (body["account"],)).fetchone()
            self.rows.run(sql.NEW_CART, (cart, account[0], "open", account[4], account[5], None, None, 1, instant, until))
            lines = [{"id": new_id("cln"), **line, "subscription": None, "release": []} for line in body["lines"]]
            for line in lines:
                given = (line["id"], cart, account[0], "buy", line["plan"], line["interval"], line["seats"], None, "[]")
                self.rows.run(sql.NEW_CART_LINE, given)
            shown = {"id": cart, "account": account[0], "status": "open", "country": account[4], "currency": account[5]}
            document = {**shown, "expires_at": until, "lines": lines, "warnings": []}
            stored = dumped({"body": [document, 201, {"Location": f"/v1/carts/{cart}", "ETag": '"v1"'}]})
            self.rows.run(sql.NEW_KEY, (key, None, fingerprint, None, stored, instant))
        return answer(dumped(document), 201)

    def quote(self, cart: str) -> Response:
        self.caller()
        account = self.rows.run(sql.CART, (cart,)).fetchone()[0]
        self.rows.run(sql.ACCOUNT, (account,)).fetchone()
        lines = self.priced_lines(cart)
        seal = sha256(dumped(lines).encode()).hexdigest()
        shown = {"lines": lines, **totals(lines), "payment_required": True, "payment_providers": ["sandbox"], "warnings": [], "quote": seal}
        return answer(dumped({**shown, "expires_at": datetime.now(UTC).isoformat()}))

    def priced_lines(self, cart: str) -> list[dict[str, Any]]:
        today = datetime.now(UTC).date()
        return [priced(line, plan, seats, today) for line, plan, _, seats in self.rows.run(sql.LINES, (cart,)).fetchall()]

    def check_out(self, cart: str) -> Response:
        caller, body = self.caller(), request.get_json()
        key, fingerprint = self.key(caller)
        order: dict[str, Any] = {"id": new_id("ord"), "cart": cart, "payment": new_id("pay"), "now": datetime.now(UTC).isoformat()}
        with self.rows.transaction():
            self.rows.run(sql.NEW_KEY, (key, None, fingerprint, order["id"], None, order["now"]))
            self.place(order, caller)
        reference = self.charge(order, body["payment"]["token"])
        with self.rows.transaction():
            self.complete(order, reference)
            document = order_of(order)
            self.rows.run(sql.ANSWERED, (dumped({"body": {"order": document, "failed": False, "error": None}}), key))
        return answer(dumped(document), 201)

    def place(self, order: dict[str, Any], caller: str) -> None:
        run, now = self.rows.run, order["now"]
        order["account"] = run(sql.CART + self.hold, (order["cart"],)).fetchone()[0]
        order["buyer"] = run(sql.ACCOUNT + self.hold, (order["account"],)).fetchone()
        lines = self.priced_lines(order["cart"])
        order["lines"], order["totals"] = [(line, new_id("oln"), new_id("sub")) for line in lines], totals(lines)
        net, tax, total, used, due, left = (
            order["totals"][name]["amount"] for name in ("net", "tax", "total", "credit_used", "due_now", "credit_left")
        )
        amounts = (CURRENCY, net, tax, total, used, due, left, "en", None, dumped(decision(lines)))
        run(sql.NEW_ORDER, (order["id"], order["account"], "purchase", order["cart"], "pending", *amounts, caller, None, 1, now, None))
        for line, own, _ in order["lines"]:
            documents = (dumped(line), dumped(fulfilment(line)), dumped([item(line)]))
            sums = tuple(line[name]["amount"] for name in ("net", "tax", "total"))
            run(sql.NEW_ORDER_LINE, (own, order["account"], order["id"], None, *sums, *documents))
        run(sql.CART_ORDERING, (order["id"], order["cart"]))
        if used or not order["buyer"][10]:
            run(sql.ACCOUNT_ORDERED, (order["buyer"][8] - used, True, order["account"]))
        paid = (order["payment"], order["account"], order["id"], "sandbox", "created", due, 0, 0, 0, 0, CURRENCY, None, False, None, None)
        run(sql.NEW_PAYMENT, (*paid, None, "{}", None, None, None, False, now, 0, None, now))

    def charge(self, order: dict[str, Any], token: str) -> str:
        """What the sandbox's gateway writes down."""
        reference, payment, due = f"sbp_{uuid7().hex}", order["payment"], order["totals"]["due_now"]
        told = {"payment_id": payment, "provider_ref": reference, "refund_id": None, "amount": due}
        event = dumped({"type": "payment.captured", "timestamp": order["now"], "data": told})
        with self.gateway.transaction():
            back = "/return", "captured", None, None, False, "/cancelled"
            values = (payment, reference, payment, False, token, None, False, due["amount"], CURRENCY, *back)
            self.gateway.run(sql.GATEWAY_PAYMENT, values)
            self.gateway.run(sql.GATEWAY_EVENT, (f"evt_{uuid7().hex}", event))
        return reference

    def complete(self, order: dict[str, Any], reference: str) -> None:
        run, now, account = self.rows.run, order["now"], order["account"]
        buyer = account_of(run(sql.ACCOUNT + self.hold, (account,)).fetchone())
        run(sql.PAID, (reference, order["payment"]))
        for line, own, subscription in order["lines"]:
            self.start(line, subscription, account, now)
            run(sql.LINE_FULFILLED, (subscription, own))
        run(sql.CART_ORDERED, (order["cart"],))
        run(sql.COMPLETED, (now, order["id"]))
        invoice = self.invoice(order, buyer)
        shown = {"order": order_of(order), "account": buyer}
        begun = [subscription_of(line, own, account) for line, _, own in order["lines"]]
        self.event("order.completed", account, order["id"], {**shown, "invoice": invoice, "subscriptions": begun}, now)
        for subscription in begun:
            self.event("subscription.started", account, subscription["id"], {"subscription": subscription, **shown}, now)

    def start(self, line: dict[str, Any], own: str, account: str, now: str) -> None:
        sold = fulfilment(line)["columns"]
        names = (sold["product"], dumped(sold["product_name"]), sold["plan"], dumped(sold["plan_name"]), dumped(sold["features"]))
        terms = (sold["tier"], "month", line["seats"], 0, "active", CURRENCY, dumped(sold["price"]), dumped(sold["tax"]))
        period = (sold["term_amount"], sold["period_start"], sold["period_end"], sold["anchor_day"], None, sold["next_charge"])
        self.rows.run(sql.NEW_SUBSCRIPTION, (own, account, *names, *terms, *period, None, None, None, None, 1, now, None))

    def invoice(self, order: dict[str, Any], buyer: dict[str, Any]) -> dict[str, Any]:
        run, now, series = self.rows.run, order["now"], order["now"][:4]
        known = run(sql.NEXT_NUMBER, (series,)).fetchone()
        if known is None:
            run(sql.NEW_SERIES, (series,))
            known = run(sql.NEXT_NUMBER, (series,)).fetchone()
        order["invoice"], number = new_id("inv"), f"{series}-{known[0]:06d}"
        sums = tuple(order["totals"][name]["amount"] for name in ("net", "tax", "total"))
        own = {name: buyer[name] for name in ("name", "address", "country", "tax_id")}
        paid = dumped(settlement(order["totals"]["total"]))
        printed = (dumped(SELLER), dumped(own), "[]", "en", None, now[:10], None, None, None, paid, now)
        row = (order["invoice"], order["account"], order["id"], "invoice", series, known[0], number, "paid", CURRENCY, *sums)
        run(sql.NEW_INVOICE, (*row, *printed))
        document = invoice_of(order, number, own, now[:10])
        for line, (_, own_line, subscription) in zip(document["lines"], order["lines"], strict=True):
            billed = (own_line, "charge", line["description"], line["seats"], line["period"]["start"], line["period"]["end"])
            told = ("month", dumped(line["prices"]), dumped(line["explanation"]))
            amounts = (line["net"]["amount"], line["tax"]["amount"], "21", "standard", None, *told)
            run(sql.NEW_INVOICE_LINE, (new_id("inl"), order["account"], order["invoice"], subscription, *billed, *amounts))
        return document

    def event(self, kind: str, account: str, subject: str, data: dict[str, Any], now: str) -> None:
        self.rows.run(sql.NEW_EVENT, (new_id("evt"), account, kind, subject, dumped(data), now, None))
