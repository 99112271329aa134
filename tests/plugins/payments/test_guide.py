"""docs/payments.md: a provider written from that page alone installs, passes the kit, and sells."""

import os
import re
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from tests.plugins.payments.gateway import SECRET, running_gateway

ROOT = Path(__file__).parents[3]
GUIDE = ROOT / "docs" / "payments.md"


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The guide's files, in a folder."""
    folder = tmp_path_factory.mktemp("acme-pay")
    for name, text in re.findall(r"```\w+\n# (\S+\.\w+)\n(.*?)```", GUIDE.read_text(), re.DOTALL):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def environment(package):
    """A process in which the package is found, and `puesto` too."""
    paths = os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": paths, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cases", "least"), [("not meets_a_fault", 55), ("meets_a_fault", 24)], ids=["calm", "faults"]
)
def test_the_provider_passes_the_kit(package, environment, cases, least):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", cases, "tests"]

    done = subprocess.run(command, cwd=package, env=environment, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= least, done.stdout


def test_the_provider_takes_a_payment_and_gives_it_back(package, environment, open_shop, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(package))
    monkeypatch.setenv("ACME_KEY", SECRET)
    from acme_pay import AcmePayPlugin

    with running_gateway(tmp_path) as gateway:
        table = {"url": gateway.url, "secret_key": "env:ACME_KEY"}
        shop = open_shop(plugins={"acme_pay": AcmePayPlugin}, tables={"acme_pay": table})
        line = {"mode": "buy", "plan": "gotomeeting-professional", "interval": "month", "seats": 5}
        order = shop.order(shop.cart(line), provider="acme_pay", token="tok_ok")
        charges = gateway.provider().charges()

    assert (order["status"], order["payment"]["provider"], order["payment"]["status"]) == ("completed", "acme_pay", "captured")
    assert [(charge.payment_id, charge.status) for charge in charges] == [(order["payment"]["id"], "captured")]


def test_it_is_found_by_its_entry_point(package, environment, tmp_path):
    settings = ConfigParser()
    settings.read(package / "setup.cfg")
    metadata = package / "acme_pay-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-pay\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[puesto]{settings['options.entry_points']['puesto']}\n")

    command = [str(Path(sys.executable).parent / "puesto"), "plugins", "check"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (1, "acme_pay: setting plugins.acme_pay.url: Missing data for required field.\n")


@pytest.mark.slow
def test_its_types_are_right(package, environment):
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(package / ".mypy"), "-p", "acme_pay"]
    where = {**environment, "MYPYPATH": f"{package}{os.pathsep}{ROOT}"}

    done = subprocess.run(command, cwd=package, env=where, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout
