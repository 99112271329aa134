"""Writes the table of capabilities into docs/payments.md, from the bundled providers. A test holds the page against them.

usage: python docs/make_payments.py
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from core.hooks.payments import PaymentProvider
from puesto.testing.payments.table import capability_table
from puesto.testing.shop import Shop

PAGE = Path(__file__).parent / "payments.md"
BETWEEN = re.compile(r"(?<=<!-- capabilities -->\n).*?(?=<!-- end -->)", re.DOTALL)


def settings_in(folder: Path) -> dict[str, dict[str, Any]]:
    """Settings under which each bundled provider is there, with all that it can do; of those that are installed."""
    (folder / "key").write_text("sk_test_1")
    (folder / "secret").write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    key, secrets = f"file:{folder / 'key'}", [f"file:{folder / 'secret'}"]
    tables: dict[str, dict[str, Any]] = {
        "sandbox": {"gateway_url": "http://127.0.0.1:8010", "gateway_secret": key, "webhook_secrets": secrets},
        "stripe": {"secret_key": key, "webhook_secrets": secrets, "multicapture": True},
        "sepa_debit": {"secret_key": key, "webhook_secrets": secrets},
        "bank_transfer": {"iban": "ES9121000418450200051332", "account_name": "Puesto Demo, S.L."},
    }
    installed = entry_points(group="puesto").names
    return {name: table for name, table in tables.items() if name in installed}


@contextmanager
def providers() -> Iterator[list[PaymentProvider]]:
    with TemporaryDirectory() as folder:
        shop = Shop(Path(folder), tables=settings_in(Path(folder)))
        try:
            yield sorted(shop.engine.providers.values(), key=lambda provider: provider.name)
        finally:
            shop.close()


def page() -> str:
    """The whole page, with the table as it should be."""
    with providers() as found:
        return BETWEEN.sub(lambda _: f"\n{capability_table(found)}\n\n", PAGE.read_text())


if __name__ == "__main__":
    PAGE.write_text(page())
