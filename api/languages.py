"""The languages of problems: English in the code, others in translations/<language>.po, chosen by Accept-Language."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from string import Formatter

from babel.messages.pofile import read_po
from flask import has_request_context, request

from core.errors import Message

TRANSLATIONS = Path(__file__).parent / "translations"
LANGUAGE_TAG = re.compile("[A-Za-z0-9]+(-[A-Za-z0-9]+)*")


@cache
def catalog(language: str) -> dict[str, str]:
    """English template -> template in `language`; empty for English."""
    return {english: template for english, template, _ in _read(language)}


@cache
def _read(language: str) -> tuple[tuple[str, str, str | None], ...]:
    """(English, translated, context); the context `library` marks sentences that come with their template filled already."""
    path = TRANSLATIONS / f"{language}.po"
    if not path.exists():
        return ()
    with path.open("rb") as file:
        return tuple((str(m.id), str(m.string), m.context) for m in read_po(file, locale=language) if m.id and m.string)


@cache
def available() -> tuple[str, ...]:
    return ("en", *sorted(path.stem for path in TRANSLATIONS.glob("*.po")))


def language() -> str:
    """The language that the client reads best, of those there are."""
    if not has_request_context():
        return "en"
    return request.accept_languages.best_match(available(), default="en") or "en"


def locale() -> str:
    """The client's preferred language as it is, for texts that plugins bring: they may know more languages than we do."""
    best = request.accept_languages.best or "en"
    return best if LANGUAGE_TAG.fullmatch(best) else "en"


def translate(message: Message) -> str:
    """The sentence in the client's language; English where there is no translation."""
    template = catalog(language()).get(message.template, message.template)
    return str(Message(template, message.params))


def translate_sentence(sentence: str) -> str:
    """A sentence of a library, whose template is filled already: "Longer than maximum length 200."."""
    for pattern, template in _patterns(language()):
        if found := pattern.fullmatch(sentence):
            return template.format(**found.groupdict())
    return catalog(language()).get(sentence, sentence)


@cache
def _patterns(language: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((_pattern(english), template) for english, template, context in _read(language) if context == "library" and "{" in english)


def _pattern(template: str) -> re.Pattern[str]:
    parts = Formatter().parse(template)
    return re.compile("".join(re.escape(text) + (f"(?P<{name}>.+)" if name else "") for text, name, _, _ in parts), re.DOTALL)
