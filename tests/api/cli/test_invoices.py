"""puesto invoice pdf: a document as a file."""

import pytest

from core.access import INTERNAL
from core.documents import print_invoice


@pytest.fixture
def printed(shop):
    """What the API prints of the shop's first invoice."""
    shop.buy("gotoassist-standard")
    return print_invoice(shop.engine, shop.events("order.completed")[0]["data"]["invoice"]["id"], INTERNAL)[1]


@pytest.mark.parametrize(("options", "name"), [([], "2026-000001.pdf"), (["-o", "mine.pdf"], "mine.pdf")])
def test_a_document_is_written_as_the_api_prints_it(puesto, shop, printed, tmp_path, options, name):
    done = puesto("invoice", "pdf", "2026-000001", *options, PUESTO_DATABASE=shop.engine.settings["database"])

    assert (done.exit_code, done.stderr) == (0, f"Wrote {name}\n")
    assert (tmp_path / name).read_bytes() == printed


def test_a_dash_is_standard_output(puesto, shop, printed):
    done = puesto("invoice", "pdf", "2026-000001", "-o", "-", PUESTO_DATABASE=shop.engine.settings["database"])

    assert (done.exit_code, done.stdout_bytes) == (0, printed)


def test_a_number_of_nothing_leaves_no_file(puesto, shop, printed, tmp_path):
    done = puesto("invoice", "pdf", "2026-000009", "-o", "mine.pdf", PUESTO_DATABASE=shop.engine.settings["database"])

    assert (done.exit_code, done.stderr) == (1, "puesto: There is no invoice 2026-000009.\n")
    assert list(tmp_path.rglob("*.pdf")) == []
