"""A provider written from docs/payments.md, as a distribution of its own: installed by pip, held against the kit, paid with over HTTP."""

import re
import shutil
import subprocess
import sys
import sysconfig
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from api.cli.running import environment, free_port, stop
from tests.stories.test_main_job import FIVE_SEATS, SCOPES, Shop
from tests.stories.test_payment_webhooks import wait_for

DISTRIBUTION = Path(__file__).parent / "pagafacil"
MERCHANT, PASSWORD, WEBHOOK_SECRET = "comercio", "clave del comercio", "aviso nuevo"
SETTINGS = f"""
[plugins.pagafacil]
url = "{{gateway}}"
merchant = "{MERCHANT}"
password = "env:PAGA_PASSWORD"
webhook_secrets = ["env:PAGA_WEBHOOK_SECRET"]
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """Of an environment of its own, that sees what is installed here, pip among it, and into which pip has installed the provider."""
    folder = tmp_path_factory.mktemp("foreign")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    ours = sysconfig.get_path("purelib")
    [theirs] = (folder / "venv" / "lib").glob("python*/site-packages")
    (theirs / "puesto.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    sources = shutil.copytree(DISTRIBUTION, folder / "pagafacil")
    command = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", sources]
    subprocess.run(command, check=True, timeout=100)
    return python


def puesto(python, folder, *arguments):
    command = [python, "-P", "-m", "api.cli.main", *arguments]
    return subprocess.run(command, cwd=folder, env=secrets(), capture_output=True, text=True, timeout=60)


def secrets():
    return environment({"PAGA_PASSWORD": PASSWORD, "PAGA_WEBHOOK_SECRET": WEBHOOK_SECRET, "COLUMNS": "200"})


@contextmanager
def running(command, folder):
    """A process that prints where it listens, until the block ends."""
    process = subprocess.Popen(command, cwd=folder, env=secrets(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        stop(process)
        process.stdout.close()


@pytest.fixture(scope="module")
def gateway_and_shop(python, tmp_path_factory):
    folder, port = tmp_path_factory.mktemp("shop"), free_port()
    webhooks = f"http://127.0.0.1:{port}/v1/payment-webhooks/pagafacil"
    with running([python, DISTRIBUTION / "tests" / "gateway.py", folder / "libro.db", webhooks], folder) as gateway:
        url = gateway.stdout.readline().strip()
        (folder / "puesto.toml").write_text(SETTINGS.format(gateway=url))
        key = puesto(python, folder, "keys", "create", "--name", "story", "--scopes", SCOPES).stdout.strip()
        with running([python, "-P", "-m", "api.cli.main", "serve", "--port", str(port), "--until-eof"], folder):
            wait_until_ready(f"http://127.0.0.1:{port}")
            yield httpx.Client(base_url=url, auth=(MERCHANT, PASSWORD)), Shop(f"http://127.0.0.1:{port}", key)


def wait_until_ready(url):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz", timeout=5, verify=False).status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError("the server did not start")


def order(shop, token):
    account = shop.account(name="Acme, S.L.", email="billing@acme.example", country="ES")
    cart, quote = shop.review(account, FIVE_SEATS)
    assert "pagafacil" in quote["payment_providers"]
    body = {"quote": quote["quote"], "payment": {"provider": "pagafacil", "token": token}}
    return shop.call("POST", f"/v1/carts/{cart}/checkout", 201, body)


def charged(gateway, order):
    """What Paga Facil's own books say of an order's payment: charged, and given back."""
    found = [each for each in gateway.get("/v2/libro").json() if each["referencia"] == order["payment"]["id"]]
    return [(each["estado"], each["cobrado"], [back["importe"] for back in each["devoluciones"]]) for each in found]


def test_it_is_found_by_its_entry_point(python, tmp_path):
    (tmp_path / "puesto.toml").write_text(SETTINGS.format(gateway="http://127.0.0.1:9"))

    found, checked = puesto(python, tmp_path, "plugins"), puesto(python, tmp_path, "plugins", "check")

    [line] = [line for line in found.stdout.splitlines() if "pagafacil" in line]
    assert "register_payment_providers" in line
    assert checked.returncode == 0, checked.stdout + checked.stderr


# By default the bundled providers pass the same kit.
@pytest.mark.slow
@pytest.mark.parametrize(("cases", "least"), [("not meets_a_fault", 53), ("meets_a_fault", 24)], ids=["calm", "faults"])
def test_it_passes_the_kit_that_puesto_ships(python, tmp_path, cases, least):
    tests = shutil.copytree(DISTRIBUTION / "tests", tmp_path / "tests")

    command = [python, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-k", cases, tests]
    ran = subprocess.run(command, cwd=tmp_path, env=secrets(), capture_output=True, text=True, timeout=110)

    passed = re.search(r"(\d+) passed", ran.stdout)
    assert ran.returncode == 0, ran.stdout
    assert passed is not None and int(passed[1]) >= least


def test_it_is_paid_with_over_http_and_refunded(gateway_and_shop):
    gateway, shop = gateway_and_shop
    paid = order(shop, "tarjeta_buena")

    wanted = {"amount": {"amount": 10_00, "currency": "EUR"}, "reason": "goodwill"}
    refund = shop.call("POST", f"/v1/orders/{paid['id']}/refunds", 201, wanted)

    assert (paid["status"], paid["payment"]["provider"], refund["status"]) == ("completed", "pagafacil", "succeeded")
    assert charged(gateway, paid) == [("cobrado", "84.70", ["10.00"])]  # 5 x 14.00 x 1.21


def test_a_refused_card_leaves_the_cart_open(gateway_and_shop):
    _, shop = gateway_and_shop
    account = shop.account(name="Acme, S.L.", email="billing@acme.example", country="ES")
    cart, quote = shop.review(account, FIVE_SEATS)

    body = {"quote": quote["quote"], "payment": {"provider": "pagafacil", "token": "tarjeta_sin_fondos"}}
    problem = shop.call("POST", f"/v1/carts/{cart}/checkout", 402, body)

    assert (problem["decline_code"], problem["retryable"]) == ("insufficient_funds", True)
    assert shop.call("GET", f"/v1/carts/{cart}", 200)["status"] == "open"


def test_its_webhook_completes_the_order_of_a_buyer_who_never_comes_back(gateway_and_shop):
    gateway, shop = gateway_and_shop
    waiting = order(shop, "tarjeta_con_banco")

    httpx.post(waiting["next_action"]["url"], data={"decision": "aceptar"})
    completed = wait_for(shop, waiting["id"], "completed")

    assert (waiting["status"], completed["status"]) == ("requires_action", "completed")
    assert charged(gateway, waiting) == [("cobrado", "84.70", [])]
