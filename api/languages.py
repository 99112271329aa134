"""The languages of problems: English in the code, others in translations/<language>.po, chosen by Accept-Language."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any

from babel.messages.pofile import read_po
from flask import has_request_context, request

from core.errors import Message

TRANSLATIONS = Path(__file__).parent / "translations"
LANGUAGE_TAG = re.compile("[A-Za-z0-9]{1,8}(-[A-Za-z0-9]{1,8}){0,4}")


@cache
def catalog(language: str, context: str | None = None) -> dict[str, str]:
    """English -> what stands for it in `language`; empty for English.

    context: None for our own sentences; `library` for those that libraries fill before we see them; `kind` for the names of
    things that a sentence names as {kind}.
    """
    path = TRANSLATIONS / f"{language}.po"
    if not path.exists():
        return {}
    with path.open("rb") as file:
        messages = list(read_po(file, locale=language))
    return {str(m.id): str(m.string) for m in messages if m.id and m.string and m.context == context}


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
    wanted = (tag for tag, quality in request.accept_languages if quality > 0)
    return next((tag for tag in wanted if LANGUAGE_TAG.fullmatch(tag)), "en")


def translate(message: Message) -> str:
    """The sentence in the client's language; English where there is no translation."""
    chosen, params = language(), message.params
    template = catalog(chosen).get(message.template, message.template)
    if "kind" in params:
        params = {**params, "kind": catalog(chosen, "kind").get(params["kind"], params["kind"])}
    return str(Message(template, params))


def told(document: dict[str, Any]) -> dict[str, Any]:
    """A cart or quote as its reader gets it: with its warnings in their language."""
    return {**document, "warnings": [_told(**warning) for warning in document["warnings"]]}


def _told(code: str, pointer: str, message: dict[str, Any]) -> dict[str, str]:
    return {"code": code, "pointer": pointer, "detail": translate(Message(**message))}


def translate_sentence(sentence: str) -> str:
    """A sentence of a library, whose template is filled already: "Longer than maximum length 200."."""
    for pattern, template in _patterns(language()):
        if found := pattern.fullmatch(sentence):
            return template.format(**found.groupdict())
    return sentence


@cache
def _patterns(language: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Those with the most words first: a shorter one may fit a longer sentence too."""
    templates = sorted(catalog(language, "library").items(), key=lambda pair: -len(pair[0]))
    return tuple((_pattern(english), template) for english, template in templates)


def _pattern(template: str) -> re.Pattern[str]:
    parts = Formatter().parse(template)
    return re.compile("".join(re.escape(text) + (f"(?P<{name}>.+)" if name else "") for text, name, _, _ in parts), re.DOTALL)
