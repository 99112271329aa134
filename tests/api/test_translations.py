"""Spanish for every sentence that a client can meet."""

import re
from functools import cache
from string import Formatter

import pytest
from babel.messages.pofile import read_po
from marshmallow import Schema, ValidationError
from werkzeug.exceptions import BadRequest, MethodNotAllowed, RequestEntityTooLarge

import api.app  # noqa: F401  (defines every schema)
from api.languages import TRANSLATIONS, language, locale, translate_sentence
from api.schemas import Answer
from tests.api import messages

LONG, PAST, FAR = "x" * 100_001, "1999-01-01T00:00:00", "2300-01-01T00:00:00Z"
NONSENSE = (None, True, 0, -1, 5.5, 10**30, "", "x", LONG, [], ["x"] * 20_000, {}, {"x": 1}, PAST, FAR)
SPANISH = {"Accept-Language": "es"}


def entries(context):
    """{English: Spanish} of the file, in a context."""
    with (TRANSLATIONS / "es.po").open("rb") as file:
        return {message.id: message.string for message in read_po(file) if message.id and message.context == context}


def placeholders(template):
    return {name for _, name, _, _ in Formatter().parse(template) if name is not None}


def schemas(base=Schema):
    """Those that read what clients send."""
    for schema in base.__subclasses__():
        yield from schemas(schema)
        if schema.__module__.startswith("api.") and not issubclass(schema, Answer):
            yield schema


def refusals(load, value):
    """What is said against a value, each sentence on its own."""
    try:
        load(value)
    except ValidationError as error:
        yield from flat(error.messages)
    except Exception as error:
        raise AssertionError(f"{load} chokes on {value!r:.50}") from error


def flat(said):
    for each in said.values() if isinstance(said, dict) else said if isinstance(said, list) else ():
        yield from [each] if isinstance(each, str) else flat(each)


@cache
def library_sentences():
    """Whatever fields and schemas, and Flask itself, can say."""
    said = messages.library_sentences()
    for schema in schemas():
        said |= {sentence for value in ([], {}, {"odd": 1}) for sentence in refusals(schema().load, value)}
        fields = schema().load_fields.values()
        said |= {sentence for field in fields for value in NONSENSE for sentence in refusals(field.deserialize, value)}
    raised = (BadRequest, MethodNotAllowed, RequestEntityTooLarge)
    return said | {kind.description for kind in raised} | {MethodNotAllowed().name}


def test_sentences_are_found_wherever_they_are_said():
    assert messages.unread() == set()


def test_every_title_and_every_message_has_spanish_and_nothing_else_has():
    assert entries(None).keys() == messages.titles() | messages.templates()


def test_every_kind_of_thing_has_a_spanish_name():
    assert entries("kind").keys() == messages.kinds()


def test_spanish_fills_the_same_placeholders():
    translated = [pair for context in (None, "kind", "library") for pair in entries(context).items()]

    assert [english for english, spanish in translated if placeholders(english) != placeholders(spanish)] == []


def test_no_sentence_of_a_library_is_left_in_english(client):
    with client.app.test_request_context(headers=SPANISH):
        left = {sentence for sentence in library_sentences() if translate_sentence(sentence) == sentence}

    assert left == set()


def test_every_sentence_of_a_library_in_the_file_can_be_said():
    said = library_sentences()
    patterns = {english: re.sub(r"\\{\w+\\}", ".+", re.escape(english)) for english in entries("library")}

    assert {english for english, pattern in patterns.items() if not any(re.fullmatch(pattern, each, re.DOTALL) for each in said)} == set()


@pytest.mark.parametrize(
    ("wanted", "understood", "brought"),
    [
        (None, "en", "en"),
        ("es", "es", "es"),
        ("es-MX", "es", "es-MX"),
        ("fr", "en", "fr"),
        ("fr, es;q=0.9", "es", "fr"),
        ("es;q=0, de;q=0.5", "en", "de"),
        ("es;q=0", "en", "en"),
        ("*", "en", "en"),
        ("en;q=0.3, es;q=0.7", "es", "es"),
        ("../../etc/passwd", "en", "en"),
        ("x" * 10_000, "en", "en"),
        (";;;,,,q=", "en", "en"),
        ("es;q=nan", "en", "en"),
    ],
)
def test_language_is_the_best_that_both_sides_know(client, wanted, understood, brought):
    headers = {} if wanted is None else {"Accept-Language": wanted}

    with client.app.test_request_context(headers=headers):
        assert (language(), locale()) == (understood, brought)
