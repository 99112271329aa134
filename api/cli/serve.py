"""puesto serve: API and background work.

A supervising process starts granian, which starts the API processes, and one process more for background work: apart from
the API, so that a job that hangs or eats memory slows no request down, and the same that `puesto worker` runs. None outlives
the supervisor, and none is done without: where one dies, all end with status 1, for whatever watches over the server to start
it again.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from multiprocessing import Process

import click
from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

from api.cli.output import Failure
from api.cli.processes import PATIENCE, End, configure_logging, keep_handlers_from_children, load_app, restore_hangup
from api.cli.shop import open_shop
from api.cli.worker import work
from core.engine.engine import Engine

# Requests that one API process works on at a time; further ones queue. Each holds a connection to the database.
THREADS = 16
log = logging.getLogger("puesto.serve")

WELCOME = """\
Puesto in {mode} mode{meaning}
  API   {url}/v1
  Docs  {url}/docs
  Data  {data}

Next, in another terminal:
  Read the catalog   curl {url}/v1/products
  Make a key         puesto keys create --name me --scopes catalog:read,accounts,checkout,billing,staff
  Watch it all done  puesto demo

Ctrl-C stops it."""


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at; 0.0.0.0: all of this machine's.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535), help="0: any that is free.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="API processes.")
@click.option("--until-eof", is_flag=True, hidden=True, help="End when standard input does, as when who started this has died.")
def serve(host: str, port: int, workers: int, until_eof: bool) -> None:
    """Serve the API and do the background work, until Ctrl-C.

    With no settings: on SQLite in the current directory, made at the first start, in sandbox mode.
    """
    port = _free(host, port)
    url = _url(host, port)
    with open_shop() as engine:
        if engine.settings["base_url"] is None:
            os.environ["PUESTO_BASE_URL"] = url
        welcome = _welcome(engine, url)
    click.echo(welcome)
    _supervise(host, port, workers, until_eof)


def _welcome(engine: Engine, url: str) -> str:
    meaning = ": payments, VAT registry and time are simulated" if engine.sandbox else ""
    data = f"{engine.db.shown}, files in {engine.data_root.name}/"
    return WELCOME.format(mode=engine.settings["mode"], meaning=meaning, url=url, data=data)


def _free(host: str, port: int) -> int:
    """The port, or any free one for 0. Raises Failure where it can't be listened at.

    Granian would share a port in use: it sets SO_REUSEPORT, for its own processes to share one.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Failure(f"port {port} of {host} is in use: end what listens there, or choose another --port") from None
        raise Failure(f"can't listen at {host}, port {port}: {error.strerror}") from None


def _url(host: str, port: int) -> str:
    """Where a browser on this machine reaches the server."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{reachable}:{port}"


def _supervise(host: str, port: int, workers: int, until_eof: bool) -> None:
    """Run everything until a signal comes. Raises SystemExit(1) where one of the processes has died."""
    import huey.consumer  # noqa: F401 - loaded once, before the processes that need it part from this one

    configure_logging()
    keep_handlers_from_children()
    background = Process(target=work, name="puesto-worker")
    background.start()
    server = Granian(
        "api.app:from_settings",
        address=host,
        port=port,
        interface=Interfaces.WSGI,
        workers=workers,
        blocking_threads=THREADS,
        websockets=False,
        log_level=LogLevels.error,
        workers_kill_timeout=PATIENCE,
    )
    end_when_told(server)
    server.on_startup(restore_hangup)
    if until_eof:
        server.on_startup(_end_at_eof)
    _in_thread(lambda: _end_with(background, server))
    try:
        server.serve(target_loader=load_app, wrap_loader=False)
    finally:
        background.terminate()
        background.join(PATIENCE)
        background.kill()


def end_when_told(server: Granian) -> None:
    """Let a thread end the server when a signal comes. Granian's handler sets an Event, whose lock the main thread may hold where the
    signal meets it: told twice in a row, as by a closed input and SIGTERM, it would wait for itself for ever."""
    end, stop = End(), server.signal_handler_interrupt

    def wait() -> None:
        end.within(None)
        stop()

    server.signal_handler_interrupt = end.tell
    _in_thread(wait)


def _end_with(background: Process, server: Granian) -> None:
    """End the server when the background worker ends: as granian does when one of its own has died, unless it was told to."""
    background.join()
    if background.exitcode and not (server.interrupt_signal or server.interrupt_children):
        log.error("the background worker has died; everything ends")
        server.interrupt_children.append(-1)
    server.signal_handler_interrupt()


def _end_at_eof() -> None:
    def wait() -> None:
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    _in_thread(wait)


def _in_thread(function: Callable[[], None]) -> None:
    threading.Thread(target=function, daemon=True).start()
