"""The conformance kit for plugins that print documents.

    from puesto.testing import DocumentPrinterContract
    from puesto.testing.shop import database_in, open_shop, shop

    class TestLetters(DocumentPrinterContract):
        plugin = "letters"
"""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import uuid4

import pytest

from core.access import INTERNAL
from core.documents import issued
from core.engine.idempotency import KeyedRequest
from core.invoices import Invoice
from core.refunds import refund_order
from puesto.testing.shop import Shop

NAMES = {
    "markup": '#panic("no") $x^2$ *b* _i_ `code` @ref <label> \\ // /* {{ name }} {0} %s ${HOME}',
    "html": "<script>alert(1)</script> <!-- &amp; \"quoted\" 'too'",
    "right to left": "שלום בע״מ 42",
    "signs": "Zoë 🦄 漢字 & Co.",
    "one long word": "W" * 200,
}


class DocumentPrinterContract:
    """What every printer of documents keeps to. It is asked for documents of a whole shop, into which it is installed.

    plugin: its name, as in the settings.
    """

    plugin: ClassVar[str]

    @pytest.fixture
    def documents(self, shop: Shop) -> list[dict[str, Any]]:
        """As they were issued: at home, under reverse charge, in Spanish, and a credit note."""
        home, abroad = shop.open_account(), shop.open_account(country="DE", tax_id="DE136695976")
        lines = [{"mode": "buy", "plan": self._plan(shop), "seats": 3, "interval": self._interval(shop)}]
        orders = [shop.order(shop.cart(*lines, account=account)) for account in (home, abroad, shop.open_account(locale="es"))]
        request = KeyedRequest("refund", uuid4().hex, b"")
        refund_order(shop.engine, orders[0]["id"], INTERNAL, amount=None, reason="", request=request)
        return [issued(shop.engine, invoice) for invoice in shop.engine.db.all(Invoice.select().order_by(Invoice.id))]

    @staticmethod
    def _plan(shop: Shop) -> str:
        return next(name for name, (_, plan) in shop.engine.products.plans.items() if plan.seats.min <= 3)

    def _interval(self, shop: Shop) -> str:
        return str(shop.engine.products.plans[self._plan(shop)][1].prices[0].interval)

    def _print(self, shop: Shop, document: dict[str, Any], locale: str | None = None) -> bytes:
        answer = shop.engine.plugins.call_plugin(
            self.plugin, "render_invoice", document=document, locale=document["locale"] if locale is None else locale
        )
        assert isinstance(answer, bytes)
        return answer

    def test_what_is_printed_is_a_pdf(self, shop: Shop, documents: list[dict[str, Any]]) -> None:
        for document in documents:
            printed = self._print(shop, document)
            assert printed.startswith(b"%PDF-")
            assert printed.rstrip().endswith(b"%%EOF")

    def test_the_same_document_gives_the_same_bytes_and_another_gives_others(self, shop: Shop, documents: list[dict[str, Any]]) -> None:
        first = [self._print(shop, document) for document in documents]

        assert [self._print(shop, document) for document in documents] == first
        assert len(set(first)) == len(documents)

    def test_the_clock_changes_nothing(self, shop: Shop, documents: list[dict[str, Any]]) -> None:
        before = self._print(shop, documents[0])
        shop.on("2027-03-01")

        assert self._print(shop, documents[0]) == before

    def test_what_became_of_it_later_is_not_printed(self, shop: Shop, documents: list[dict[str, Any]]) -> None:
        nothing = {"amount": 0, "currency": documents[0]["currency"]}
        later = {"status": "void", "paid": nothing, "due": nothing, "payment_instructions": {"iban": "ES00"}, "credit_notes": documents[:1]}

        assert self._print(shop, {**documents[0], **later}) == self._print(shop, documents[0])

    def test_whatever_a_buyer_is_called_it_is_printed(self, shop: Shop, documents: list[dict[str, Any]]) -> None:
        plain = self._print(shop, documents[0])
        for name in NAMES.values():
            buyer = {**documents[0]["buyer"], "name": name, "address": {"line1": name, "city": name}}
            assert self._print(shop, {**documents[0], "buyer": buyer, "purchase_order": name}) != plain, name

    def test_every_language_is_printed_somehow(self, shop: Shop, documents: list[dict[str, Any]]) -> None:
        for locale in ("en", "es-MX", "zh-Hant-TW", "xx", ""):
            assert self._print(shop, {**documents[0], "locale": locale}, locale).startswith(b"%PDF-"), locale

    def test_many_lines_are_printed(self, shop: Shop, documents: list[dict[str, Any]]) -> None:
        lines = documents[0]["lines"] * 200

        assert len(self._print(shop, {**documents[0], "lines": lines})) > len(self._print(shop, documents[0]))
