import os
import signal
import subprocess
import time

import httpx
import pytest
from granian import Granian

from api.cli.running import PUESTO, environment, run_puesto, running_server
from api.cli.serve import end_when_told
from core.engine.engine import Engine, open_database
from core.engine.events import EventRow, append

MINUTE = 60
MARTA = {"name": "Rueda", "email": "marta@rueda.example", "country": "ES"}


def wait_for(condition, seconds=MINUTE):
    """Whether it comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def is_answering(url):
    try:
        return httpx.get(f"{url}/healthz", timeout=5, verify=False).status_code == 200
    except httpx.TransportError:
        return False


def order(http, line, **payment):
    account = http.post("/v1/accounts", json=MARTA).json()["id"]
    cart = http.post("/v1/carts", json={"account": account, "lines": [line]}).json()["id"]
    quote = http.get(f"/v1/carts/{cart}/quote").json()["quote"]
    return http.post(f"/v1/carts/{cart}/checkout", json={"quote": quote, **payment}).json()


def test_a_fresh_directory_serves_health_docs_and_the_catalog(server):
    answers = {path: httpx.get(server.url + path).status_code for path in ("/healthz", "/readyz", "/docs", "/openapi.json", "/v1/products")}

    assert set(answers.values()) == {200}, answers


def test_it_says_where_everything_is_and_what_to_do_next(server, folder, settings):
    said = server.said()
    database = open_database(settings.get("PUESTO_DATABASE", f"sqlite:///{folder / 'puesto.db'}")).shown

    assert "Puesto in sandbox mode" in said
    assert f"{server.url}/v1\n" in said and f"{server.url}/docs\n" in said and database in said
    assert "puesto keys create --name me --scopes catalog:read,accounts,checkout,billing,staff" in said
    assert f"curl {server.url}/v1/products" in said


def test_the_background_worker_delivers_events(http, folder):
    placed = order(http, {"mode": "trial", "plan": "gotoassist-professional", "seats": 3})

    assert placed["status"] == "completed"
    assert wait_for(lambda: len(list(folder.glob("puesto-data/email/outbox/*.eml"))) == 2)


def test_links_lead_to_the_address_that_is_served(http, server):
    line = {"mode": "buy", "plan": "gotomeeting-professional", "interval": "month", "seats": 1}

    placed = order(http, line, payment={"provider": "sandbox", "token": "tok_3ds"})

    assert placed["next_action"]["url"].startswith(f"{server.url}/v1/orders/{placed['id']}/")


def test_a_port_in_use_is_told_in_one_line(server, folder):
    port = server.url.rsplit(":", 1)[1]

    refused = run_puesto(folder, "serve", "--port", port)

    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == f"puesto: port {port} of 127.0.0.1 is in use: end what listens there, or choose another --port\n"
    assert is_answering(server.url)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_ends_it_cleanly_and_soon(tmp_path, number):
    with running_server(tmp_path) as server:
        began = time.monotonic()

        server.process.send_signal(number)

        assert server.process.wait(MINUTE) == 0
        assert time.monotonic() - began < 20
        assert not is_answering(server.url)
        assert "Traceback" not in server.said()


def test_a_signal_waits_for_no_lock_that_the_thread_it_meets_may_hold():
    server = Granian("api.app:from_settings")
    end_when_told(server)

    with server.main_loop_interrupt._cond:  # where a signal may find the main thread
        server.signal_handler_interrupt()
        server.signal_handler_interrupt()

    assert server.main_loop_interrupt.wait(MINUTE)
    assert server.interrupt_signal


def test_a_supervisor_that_is_killed_takes_its_processes_along(tmp_path):
    with running_server(tmp_path, "--workers", "2") as server:
        server.process.kill()

        assert wait_for(lambda: not is_answering(server.url))


@pytest.mark.slow
def test_when_a_process_dies_all_end_for_a_fresh_start(tmp_path):
    with running_server(tmp_path) as server:
        found = subprocess.run(["pgrep", "-P", str(server.process.pid)], capture_output=True, text=True, check=True)
        os.kill(int(found.stdout.split()[0]), signal.SIGKILL)

        assert server.process.wait(MINUTE) == 1
        assert not is_answering(server.url)


@pytest.mark.slow
def test_a_server_ends_with_who_started_it(tmp_path):
    with running_server(tmp_path) as server:
        server.process.stdin.close()

        assert server.process.wait(MINUTE) == 0


def test_a_worker_works_alone_and_ends_at_a_signal(puesto, tmp_path, empty_database):
    puesto("db", "upgrade")
    engine = Engine()
    with engine.db.transaction():
        append(engine, "test.happened", account="acc_1", subject="acc_1", data={})

    settings = environment({"PUESTO_DATABASE": empty_database})
    with subprocess.Popen([*PUESTO, "worker"], cwd=tmp_path, env=settings, stdout=subprocess.DEVNULL) as worker:
        try:
            assert wait_for(lambda: engine.db.first(EventRow.select()).position is not None)
        finally:
            worker.terminate()
        assert worker.wait(MINUTE) == 0
    engine.close()
