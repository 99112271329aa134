"""Start `puesto serve` as a process of its own, and stop it: for the demo and for tests."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from api.cli.output import Failure

# -P: a folder named `api` or `core` in the current directory must not stand in for ours.
PUESTO = (sys.executable, "-P", "-m", "api.cli.main")
START_SECONDS = 60.0
STOP_SECONDS = 30.0


@dataclass(frozen=True)
class Server:
    """A running `puesto serve`. `log`: the file that has what it printed."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        return self.log.read_text(errors="replace")


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with these Puesto settings and no others."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PUESTO_")} | dict(settings)


def run_puesto(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in `folder`; settings as PUESTO_... variables."""
    return subprocess.run([*PUESTO, *arguments], cwd=folder, env=environment(settings), capture_output=True, text=True, check=False)


@contextmanager
def running_server(folder: Path, *arguments: str, **settings: str) -> Iterator[Server]:
    """`puesto serve` in `folder` on a free port, ready to answer, until the block ends; it also ends with this process.

    settings: as PUESTO_... variables. Raises Failure.
    """
    port, log = free_port(), folder / "server.log"
    command = [*PUESTO, "serve", "--port", str(port), "--until-eof", *arguments]
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=folder, env=environment(settings), stdin=subprocess.PIPE, stdout=file, stderr=subprocess.STDOUT
        )
    server = Server(f"http://127.0.0.1:{port}", process, log)
    try:
        _wait_until_ready(server)
        yield server
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the process, by force if it does not end when asked."""
    if process.stdin is not None:
        process.stdin.close()
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port that is free now, and again after a kill -9: out of the range from which the kernel takes those of clients, which
    would sooner or later take it, or connect to themselves while they look for a server that is away."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)  # not as a test's seed has it: several run at once
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def _wait_until_ready(server: Server) -> None:
    deadline = time.monotonic() + START_SECONDS
    with httpx.Client(timeout=5, verify=False) as http:  # plain HTTP: no certificates are read for it
        while server.process.poll() is None and time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                if http.get(f"{server.url}/readyz").status_code == 200:
                    return
            time.sleep(0.1)
    last = (server.said().splitlines() or [f"no answer within {START_SECONDS:g} s"])[-1]
    raise Failure(f"the server did not start: {last}")
