"""A shop of several processes, with a killer in it: server, worker and gateway die at random moments and are started again.

Clients buy meanwhile, and repeat with the same key until they have an answer, as docs/http.md tells them to. Afterwards the books
of the gateway and the tables of the shop are compared.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import httpx

from api.cli.running import PUESTO, environment, run_puesto
from tests.plugins.payments.gateway import SECRET, WEBHOOK_SECRETS, Gateway, free_port

SCOPES = "catalog:read,accounts,checkout,billing,staff"
# What a client pays with: mostly it works, sometimes not, and sometimes nobody answers.
TOKENS = ["tok_ok"] * 6 + ["tok_card_declined", "tok_timeout"]


class Town:
    """The processes. `pids` names those that may be killed: of the server the API process, the worker and who supervises both."""

    def __init__(self, folder: Path, database: str, log: Path) -> None:
        self.folder, self.log = folder, log
        self.gateway = Gateway(folder)
        (folder / "gateway_secret").write_text(SECRET)
        (folder / "webhook_secret").write_text(WEBHOOK_SECRETS[0])
        self.settings = {
            "PUESTO_DATABASE": database,
            "PUESTO_DATA": str(folder / "data"),
            "PUESTO_PLUGINS__SANDBOX__GATEWAY_URL": self.gateway.url,
            "PUESTO_PLUGINS__SANDBOX__GATEWAY_SECRET": f"file:{folder / 'gateway_secret'}",
            "PUESTO_PLUGINS__SANDBOX__GATEWAY_TIMEOUT": "5",
        }
        made = run_puesto(folder, "keys", "create", "--name", "kills", "--scopes", SCOPES, **self.settings)
        assert made.returncode == 0, made.stderr
        self.secret = made.stdout.strip()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = [*PUESTO, "serve", "--port", str(self.port), "--until-eof"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment(self.settings), stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT
            )

    def children(self) -> list[int]:
        with suppress(OSError):
            path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
            return [int(pid) for pid in path.read_text().split()]
        return []

    def kill(self, chance: random.Random) -> str:
        """kill -9 of one process; which. Where a child of the server dies, all of it ends: that is waited for."""
        victim = chance.choice(["server", "child", "child", "gateway"])
        if victim == "gateway":
            self.gateway.kill()
            return victim
        pid = chance.choice(self.children() or [self.process.pid]) if victim == "child" else self.process.pid
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self.process.wait(60)
        return f"{victim} {pid}"

    def revive(self) -> None:
        """Start again what is dead, and wait until all of it answers."""
        if self.gateway.process.returncode is not None:
            self.gateway.start()
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                self.process.stdin.close()
                self.start()
            with suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return
            time.sleep(0.1)
        raise AssertionError(f"the server does not come back:\n{self.log.read_text()[-3000:]}")

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait(60)
        self.gateway.kill()


@dataclass
class Client:
    """Buys, one order after the other, until told to stop. `answers`: (order or None, problem) as the last word on each checkout."""

    town: Town
    chance: random.Random
    over: threading.Event
    answers: list[tuple[str | None, str | None]] = field(default_factory=list)
    failure: BaseException | None = None

    def run(self) -> None:
        try:
            account = self.until_answered("POST", "/v1/accounts", {"name": "A", "email": "a@a.example", "country": "ES"}).json()["id"]
            while not self.over.is_set():
                self.buy(account)
        except BaseException as error:
            self.failure = error

    def buy(self, account: str) -> None:
        line = {"mode": "buy", "plan": "gotomeeting-professional", "interval": "month", "seats": self.chance.randint(1, 9)}
        cart = self.until_answered("POST", "/v1/carts", {"account": account, "lines": [line]}).json()["id"]
        quote = self.until_answered("GET", f"/v1/carts/{cart}/quote").json()["quote"]
        body = {"quote": quote, "payment": {"provider": "sandbox", "token": self.chance.choice(TOKENS)}}
        answer = self.until_answered("POST", f"/v1/carts/{cart}/checkout", body).json()
        self.answers.append((answer.get("id"), answer.get("type")))

    def until_answered(self, method: str, path: str, json: object = None) -> httpx.Response:
        """Repeat with the same key while nobody answers, or the first request may still be running."""
        headers = {"Authorization": f"Bearer {self.town.secret}", "Idempotency-Key": uuid4().hex}
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            with suppress(httpx.HTTPError):
                answer = httpx.request(method, f"{self.town.url}{path}", json=json, headers=headers, timeout=40)
                in_progress = answer.status_code == 409 and answer.json()["type"] == "/problems/request-in-progress"
                if answer.status_code < 500 and not in_progress:
                    return answer
            time.sleep(self.chance.uniform(0.05, 0.3))
        raise AssertionError(f"no answer to {method} {path}")
