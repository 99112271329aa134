"""PDF: invoices and credit notes as accessible, archivable files (PDF/A-2a, PDF/UA-1), by Typst, which brings its fonts along."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import typst
from marshmallow import Schema, ValidationError, fields, validate

from plugins.documents.printed import Printer
from puesto import PluginContext, hookimpl

TEMPLATE = Path(__file__).parent / "invoice.typ"
STANDARDS: list[typst.PDFStandard] = ["a-2a", "ua-1"]


def check_file(value: str) -> None:
    """Raises ValidationError where there is no such file."""
    if not Path(value).is_file():
        raise ValidationError("there is no such file")


class PdfSettings(Schema):
    """template: a Typst file instead of the bundled one; images and other files that it reads stand beside it.
    fonts:    a folder of fonts that it uses. accent: the colour of headings, as #1f6f54. footer: a line on each page: a register number.
    """

    template = fields.String(load_default=None, validate=check_file)
    fonts = fields.String(load_default=None)
    accent = fields.String(load_default="#1f6f54", validate=validate.Regexp(r"#[0-9a-fA-F]{6}\Z", error="write it like #1f6f54"))
    footer = fields.String(load_default="", validate=validate.Length(max=300))


class PdfDocuments:
    """Prints from the document alone, so that the same document gives the same bytes, whenever and wherever it is printed.

    Whatever is printed reaches the template as data, never as markup.
    """

    settings_schema = PdfSettings

    def __init__(self, context: PluginContext) -> None:
        self._settings = context.settings
        self._template = Path(self._settings["template"] or TEMPLATE)
        self._printer = Printer()

    @cached_property
    def _fonts(self) -> typst.Fonts:
        return typst.Fonts(font_paths=[self._settings["fonts"]] if self._settings["fonts"] else [])

    @hookimpl
    def render_invoice(self, document: dict[str, Any], locale: str) -> bytes:
        shown = {**self._printer.view(document, locale), "accent": self._settings["accent"], "footer": self._settings["footer"]}
        try:
            return self._compile(shown, document["issued_on"], STANDARDS)
        except typst.TypstError:  # a sign that no font has: an archive would refuse the file, a reader sees a box
            return self._compile(shown, document["issued_on"], [])

    def _compile(self, shown: dict[str, Any], day: str, standards: list[typst.PDFStandard]) -> bytes:
        made = typst.compile(
            self._template,
            format="pdf",
            font_paths=self._fonts,
            sys_inputs={"data": json.dumps(shown)},
            pdf_standards=standards,
            timestamp=datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC),
        )
        assert isinstance(made, bytes)
        return made
