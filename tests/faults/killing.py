"""A shop of several processes, with a killer in it: server, worker, gateway and database die at random moments, and whoever watches
over them starts them again.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx

from api.cli.running import PUESTO, environment, free_port, run_puesto
from tests.plugins.payments.gateway import SECRET, WEBHOOK_SECRETS, Gateway
from tests.witness import install_witness

SCOPES = "catalog:read,accounts,checkout,billing,staff"
# Who dies, and how often. A backend of PostgreSQL that is killed takes all others with it, and the database recovers.
VICTIMS = {"server": 2, "child": 4, "worker": 2, "gateway": 2}
VICTIMS_OF_POSTGRESQL = {"backend": 3, "database": 1}


class Town:
    """The processes: gateway, `puesto serve`, and one `puesto worker` more.

    data: the folder of the plugins' files. log: what server and worker print.
    """

    def __init__(self, folder: Path, database: str) -> None:
        self.folder, self.data, self.log, self.database = folder, folder / "data", folder / "processes.log", database
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        told = ("--webhook-url", f"{self.url}/v1/payment-webhooks/sandbox", "--webhook-secret", WEBHOOK_SECRETS[0])
        self.gateway = Gateway(folder, *told)
        (folder / "gateway_secret").write_text(SECRET)
        (folder / "webhook_secret").write_text(WEBHOOK_SECRETS[0])
        self.settings = {
            "PUESTO_DATABASE": database,
            "PUESTO_DATA": str(self.data),
            "PUESTO_PLUGINS__SANDBOX__GATEWAY_URL": self.gateway.url,
            "PUESTO_PLUGINS__SANDBOX__GATEWAY_SECRET": f"file:{folder / 'gateway_secret'}",
            "PUESTO_PLUGINS__SANDBOX__GATEWAY_TIMEOUT": "5",
            "PUESTO_PLUGINS__SANDBOX__WEBHOOK_SECRETS": f"file:{folder / 'webhook_secret'}",
            **install_witness(folder),
        }
        made = run_puesto(folder, "keys", "create", "--name", "kills", "--scopes", SCOPES, **self.settings)
        assert made.returncode == 0, made.stderr
        self.secret = made.stdout.strip()
        self.server, self.worker = self._start_server(), self._start("worker")

    def _start_server(self) -> subprocess.Popen[bytes]:
        return self._start("serve", "--port", str(self.port), "--until-eof")

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*PUESTO, *arguments],
                cwd=self.folder,
                env=environment(self.settings),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    # --- deaths

    def kill(self, chance: random.Random) -> str:
        """kill -9 of one process, or the end of one connection to PostgreSQL; which. What dies with it has died on return."""
        victims = VICTIMS | (VICTIMS_OF_POSTGRESQL if self.database.startswith("postgresql") else {})
        [victim] = chance.choices(list(victims), list(victims.values()))
        kill: Callable[[random.Random], None] = getattr(self, f"_kill_{victim}")
        kill(chance)
        return victim

    def _kill_server(self, chance: random.Random) -> None:
        self._kill_of_server(self.server.pid)

    def _kill_child(self, chance: random.Random) -> None:
        self._kill_of_server(chance.choice(children(self.server) or [self.server.pid]))

    def _kill_of_server(self, pid: int) -> None:
        """All of it ends with any of it: while an orphan listened at its port, the next could not be started."""
        family = [self.server.pid, *children(self.server)]
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self.server.wait(60)
        wait_until(lambda: not any(map(is_alive, family)), "a process of the server outlives it")

    def _kill_worker(self, chance: random.Random) -> None:
        self.worker.kill()
        self.worker.wait(60)

    def _kill_gateway(self, chance: random.Random) -> None:
        self.gateway.kill()

    def _kill_backend(self, chance: random.Random) -> None:
        self._strike(chance, lambda backend, connection: connection.execute("SELECT pg_terminate_backend(%s)", [backend]))

    def _kill_database(self, chance: random.Random) -> None:
        self._strike(chance, lambda backend, connection: os.kill(backend, signal.SIGKILL))

    def _strike(self, chance: random.Random, end: Callable[[int, object], object]) -> None:
        import psycopg

        with suppress(psycopg.OperationalError, ProcessLookupError), psycopg.connect(self.database, autocommit=True) as connection:
            found = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY pid"
            end(chance.choice([pid for (pid,) in connection.execute(found)]), connection)

    # --- lives

    def revive(self) -> None:
        """Start again what is dead, and wait until the shop answers."""
        wait_until(self._is_well, "the shop does not come back", lambda: self.log.read_text()[-3000:])

    def _is_well(self) -> bool:
        if self.gateway.process.returncode is not None:
            self.gateway.start()
        if self.worker.poll() is not None:
            self.worker = self._again(self.worker, self._start("worker"))
        if self.server.poll() is not None:
            self.server = self._again(self.server, self._start_server())
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/readyz", timeout=5, verify=False).status_code == 200
        return False

    def _again(self, dead: subprocess.Popen[bytes], next: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        assert dead.stdin is not None
        dead.stdin.close()
        return next

    def stop(self) -> None:
        for process in (self.server, self.worker):
            process.terminate()
        for process in (self.server, self.worker):
            process.wait(60)
            assert process.stdin is not None
            process.stdin.close()
        self.gateway.kill()


def children(process: subprocess.Popen[bytes]) -> list[int]:
    with suppress(OSError):
        return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    return []


def is_alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_until(condition: Callable[[], bool], failure: str, details: Callable[[], str] = str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{failure} within {seconds:g} s\n{details()}")
        time.sleep(0.1)
