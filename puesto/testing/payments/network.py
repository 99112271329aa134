"""A network that fails on demand: a small reverse proxy between a provider and its gateway."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

# Each with whether the gateway has done what was asked by the time it strikes.
FAULTS: Mapping[str, bool] = {
    "error_before": False,  # 500
    "error_after": True,
    "rate_limited": False,  # 429
    "hang_before": False,  # no answer, until the caller gives up
    "hang_after": True,
    "reset_before": False,  # the connection breaks
    "reset_after": True,
    "garbage": True,  # 200, and half a JSON document
}
GARBAGE = b'{"id": "pay_1", "status": "succee'
LONGEST_HANG = 60.0
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "expect"}


@dataclass
class _Fault:
    kind: str
    on: str
    left: int | None


class FaultyNetwork:
    """Point the provider at `url` instead of its gateway, and let requests fail.

        with FaultyNetwork("http://127.0.0.1:8010") as network:
            network.fail("reset_after", on="POST /payments")

    struck: how many requests a fault has met so far.
    seen:   each request that came by, as `POST /payments`.
    """

    def __init__(self, gateway: str) -> None:
        self._gateway = urlsplit(gateway)
        self._faults: list[_Fault] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self.struck = 0
        self.seen: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"network": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def fail(self, kind: str, *, on: str = "", times: int | None = 1) -> None:
        """From now on, strike requests whose method and path contain `on`; `times` of them, None: all. `kind`: see FAULTS."""
        if kind not in FAULTS:
            raise ValueError(f"there is no fault {kind!r}")
        with self._lock:
            self._faults.append(_Fault(kind, on, times))

    def heal(self) -> None:
        """Nothing fails any more; who hangs is let go."""
        with self._lock:
            self._faults.clear()
            self._over.set()
            self._over = threading.Event()

    def draw(self, request: str) -> str | None:
        """The kind of the first fault that strikes `request`."""
        with self._lock:
            self.seen.append(request)
            for fault in self._faults:
                if fault.on in request and fault.left != 0:
                    fault.left = None if fault.left is None else fault.left - 1
                    self.struck += 1
                    return fault.kind
            return None

    def hang(self) -> None:
        self._over.wait(LONGEST_HANG)

    def ask_gateway(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[HTTPResponse, bytes]:
        """Raises OSError or HTTPException where it gives no answer."""
        kind = HTTPSConnection if self._gateway.scheme == "https" else HTTPConnection
        connection = kind(str(self._gateway.hostname), self._gateway.port, timeout=LONGEST_HANG)
        try:
            connection.request(method, f"{self._gateway.path}{path}", body, dict(headers))
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()


class _Handler(BaseHTTPRequestHandler):
    """One request a connection, so that what breaks is that request's own."""

    network: FaultyNetwork

    def handle_request(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.network.draw(f"{self.command} {self.path}")
        if fault is not None and not FAULTS[fault]:
            return self._strike(fault)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        try:
            response, answer = self.network.ask_gateway(self.command, self.path, headers, body)
        except (OSError, HTTPException):
            return self._reset()
        if fault is not None:
            return self._strike(fault)
        return self._answer(response.status, answer, dict(response.getheaders()))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_request

    def _strike(self, fault: str) -> None:
        match fault.partition("_")[0]:
            case "error":
                self._answer(500, b"something went wrong", {})
            case "rate":
                self._answer(429, b"too many requests", {"Retry-After": "1"})
            case "garbage":
                self._answer(200, GARBAGE, {"Content-Type": "application/json"})
            case "hang":
                self.network.hang()
                self._reset()
            case _:
                self._reset()

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _reset(self) -> None:
        """Close it so that the other side sees a reset, and not an end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, format: str, *arguments: object) -> None:
        pass
