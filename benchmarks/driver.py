"""The load: clients that check out one cart after the other, each on a connection that stays open, all in one loop of one process.

Sockets and epoll, and no HTTP library: a request is bytes that were made before, an answer is read up to its Content-Length. What it
costs per checkout is in its report, beside what the servers take.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

PLAN, UNIT_AMOUNT = "gotomeeting-professional", 1400
# What a client sends, to be given the answer's status and body.
Talk = Generator[bytes, tuple[int, bytes], None]


@dataclass
class Report:
    """seconds: from the beginning of each checkout to its end. requests: of each request. cpu: seconds this process took."""

    began: float
    seconds: list[float] = field(default_factory=list)
    requests: list[float] = field(default_factory=list)
    ended: float = 0
    cpu: float = 0


def checkout(key: str, account: str, seats: int) -> Talk:
    """The three requests of one checkout. Raises AssertionError for an answer that is not right."""
    line = {"mode": "buy", "plan": PLAN, "interval": "month", "seats": seats}
    due = {"amount": round(UNIT_AMOUNT * seats * 1.21), "currency": "EUR"}
    cart = _checked((yield _request("POST", "/v1/carts", key, {"account": account, "lines": [line]})), 201)
    quote = _checked((yield _request("GET", f"/v1/carts/{cart['id']}/quote", key)), 200)
    assert quote["due_now"] == due, quote
    body = {"quote": quote["quote"], "payment": {"provider": "sandbox", "token": "tok_ok"}}
    order = _checked((yield _request("POST", f"/v1/carts/{cart['id']}/checkout", key, body)), 201)
    paid = (order["status"], order["payment"]["status"], order["payment"]["captured"], len(order["subscriptions"]))
    assert paid == ("completed", "captured", due, 1), order


def _checked(answer: tuple[int, bytes], status: int) -> Any:
    assert answer[0] == status, answer
    return json.loads(answer[1])


def _request(method: str, path: str, key: str, body: Any = None) -> bytes:
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: benchmark\r\nAuthorization: Bearer {key}\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\nIdempotency-Key: {uuid4().hex}\r\n"
    return f"{head}\r\n".encode() + content


class Client:
    """One client on its connection; `talks` gives what it has to say, one conversation after the other."""

    def __init__(self, port: int, talks: Any, report: Report) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._talks, self._report, self._received = talks, report, b""
        self._begin()

    def _begin(self) -> None:
        self._talk, self._began = self._talks(), time.perf_counter()
        self._send(next(self._talk))

    def _send(self, request: bytes) -> None:
        self._asked = time.perf_counter()
        self.socket.sendall(request)

    def hear(self, going_on: bool) -> bool:
        """Take in what has come; whether the client goes on. It ends with its conversation once `going_on` is False."""
        if not (more := self.socket.recv(1 << 20)):
            raise AssertionError("the server has closed the connection")
        self._received += more
        answer = _whole(self._received)
        if answer is None:
            return True
        self._received = b""
        self._report.requests.append(time.perf_counter() - self._asked)
        try:
            self._send(self._talk.send(answer))
        except StopIteration:
            self._report.seconds.append(time.perf_counter() - self._began)
            if not going_on:
                return False
            self._begin()
        return True


def _whole(received: bytes) -> tuple[int, bytes] | None:
    """Status and body of an answer; None where a part of it is still to come."""
    head, found, body = received.partition(b"\r\n\r\n")
    if not found:
        return None
    if head[9:12] in (b"204", b"304"):  # which have no body
        return int(head[9:12]), b""
    _, _, rest = head.lower().partition(b"content-length:")
    return (int(head[9:12]), body) if len(body) >= int(rest.partition(b"\r\n")[0]) else None


def drive(port: int, talks: list[Any], seconds: float) -> Report:
    """Let each of the clients talk for so long, and to the end of what it has begun. talks: what each client says, made anew each time."""
    report, selector = Report(time.perf_counter()), selectors.DefaultSelector()
    cpu = time.process_time()
    for each in talks:
        client = Client(port, each, report)
        selector.register(client.socket, selectors.EVENT_READ, client)
    until = report.began + seconds
    while selector.get_map():
        for key, _ in selector.select():
            if not key.data.hear(time.perf_counter() < until):
                selector.unregister(key.fileobj)
                key.data.socket.close()
    report.ended, report.cpu = time.perf_counter(), time.process_time() - cpu
    return report


def main() -> None:
    """From standard input: {port, key, accounts, seats, seconds}; to standard output the report."""
    given = json.load(sys.stdin)
    talks = [lambda account=account: checkout(given["key"], account, given["seats"]) for account in given["accounts"]]
    json.dump(drive(given["port"], talks, given["seconds"]).__dict__, sys.stdout)


if __name__ == "__main__":
    main()
