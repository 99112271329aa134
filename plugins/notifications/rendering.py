"""From an event's snapshot to subject, text and HTML.

Structure, format and language are apart: one template per kind of message says what it holds, `text.j2` and `html.j2` say how it looks,
and sentences are English in the templates and translated by `<language>.po` (gettext).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_percent
from babel.support import NullTranslations, Translations
from jinja2 import BaseLoader, ChoiceLoader, Environment, FileSystemLoader, StrictUndefined

from puesto import Money

TEMPLATES = Path(__file__).parent / "templates"
# Control characters, half surrogates, line and paragraph separators, and the marks that turn the direction of what follows.
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u2028-\u202e\u2066-\u2069]+")


@dataclass(frozen=True)
class Rendered:
    """One message; `subject` is a single line."""

    subject: str
    text: str
    html: str


class Renderer:
    """Templates in every language and both formats. `override` is a folder whose files are taken first.

    constants: variables that every template has besides the event's data.
    """

    def __init__(self, override: str | None, **constants: Any) -> None:
        bundled = FileSystemLoader(TEMPLATES)
        loader = ChoiceLoader([FileSystemLoader(override), bundled]) if override else bundled
        self._constants = constants
        self._environments = {
            language: {layout: _environment(loader, layout, translations) for layout in ("text.j2", "html.j2")}
            for language, translations in _translations(loader).items()
        }

    def render(self, kind: str, locale: str, data: Mapping[str, Any]) -> Rendered:
        """A message of that kind, from `data` alone. Raises jinja2.UndefinedError where it lacks something."""
        chosen = choose_locale(locale, set(self._environments))
        variables = {**self._constants, **harmless(data), **_figures(chosen), "language": chosen.language}
        text, html = (
            environment.get_template(f"{kind}.j2").make_module({**variables, "layout": layout})
            for layout, environment in self._environments[chosen.language].items()
        )
        return Rendered(_tidy(text.subject), _tidy(str(text)), _tidy(str(html)))  # type: ignore[attr-defined]


def choose_locale(tag: str, languages: set[str]) -> Locale:
    """The locale of `tag`, else its language alone (es-XX: es), else English where the language is none of `languages`."""
    for candidate in (tag.replace("-", "_"), tag.partition("-")[0]):
        with suppress(ValueError, UnknownLocaleError):
            locale = Locale.parse(candidate)
            if locale.language in languages:
                return locale
    return Locale("en")


def harmless(value: Any) -> Any:
    """`value` with every text in it on one line, and right-to-left text isolated so that it can't reorder figures beside it."""
    if isinstance(value, Mapping):
        return {key: harmless(item) for key, item in value.items()}
    if isinstance(value, list):
        return [harmless(item) for item in value]
    if not isinstance(value, str):
        return value
    line = " ".join(UNSAFE.sub(" ", value).split())
    return f"\u2068{line}\u2069" if any(unicodedata.bidirectional(c) in ("R", "AL") for c in line) else line


def _environment(loader: BaseLoader, layout: str, translations: NullTranslations) -> Environment:
    environment = Environment(
        loader=loader,
        undefined=StrictUndefined,
        autoescape=layout == "html.j2",
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_gettext_translations(translations, newstyle=True)  # type: ignore[attr-defined]
    return environment


def _translations(loader: BaseLoader) -> dict[str, NullTranslations]:
    """By language. English needs no catalogue: it is what the templates are written in."""
    found: dict[str, NullTranslations] = {"en": NullTranslations()}
    for name in loader.list_templates():
        if name.endswith(".po"):
            source, _, _ = loader.get_source(Environment(), name)
            found[name.removesuffix(".po")] = compiled_catalogue(source)
    return found


@cache
def compiled_catalogue(source: str) -> NullTranslations:
    """The catalogue that a .po file holds."""
    compiled = BytesIO()
    write_mo(compiled, read_po(BytesIO(source.encode())))
    compiled.seek(0)
    return Translations(compiled)


def _figures(locale: Locale) -> dict[str, Any]:
    """How templates write amounts, days (`YYYY-MM-DD`), the day of an instant in a zone, and tax rates ("25.5"). `last_day` is the day
    before an exclusive end."""

    # str() makes a variable that is missing say so, by its name.
    def day(iso: object, less: int = 0) -> str:
        return format_date(date.fromisoformat(str(iso)) - timedelta(days=less), "long", locale)

    def day_of(instant: object, zone: object) -> str:
        return format_date(datetime.fromisoformat(str(instant)).astimezone(ZoneInfo(str(zone))).date(), "long", locale)

    return {
        "money": lambda amount: Money(**amount).format(str(locale)),
        "minus": lambda amount: (-Money(**amount)).format(str(locale)),
        "day": day,
        "day_of": day_of,
        "last_day": lambda iso: day(iso, less=1),
        "percent": lambda rate: format_percent(Decimal(str(rate)) / 100, locale=locale, decimal_quantization=False),
    }


def _tidy(page: str) -> str:
    """No indentation, and at most one empty line in a row: what template tags leave behind."""
    lines = "\n".join(line.strip(" ") for line in page.splitlines())
    return re.sub(r"\n{3,}", "\n\n", lines).strip()
