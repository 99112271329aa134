"""The seal of a quote: it says what was shown, and anything else is told from it without harm."""

import base64
import hashlib
import json
import tracemalloc
import zlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.rules.seals import Shown, changes, seal, unseal

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FIGURES = {"/total": 12100, "/lines/0/plan": "gotoassist-standard", "/lines/0/next_charge": None, "/lines/0/taxes": [{"rate": "21"}]}
SHOWN = Shown(FIGURES, NOON + timedelta(minutes=30))


def forged(document, *, version="q1"):
    """A seal of any text, with the digest that belongs to it."""
    packed = base64.urlsafe_b64encode(zlib.compress(document.encode())).decode().rstrip("=")
    return f"{version}.{packed}.{hashlib.sha256(packed.encode()).hexdigest()[:16]}"


def document(**members):
    return json.dumps({"at": 0, "until": int(SHOWN.until.timestamp()), "figures": FIGURES, **members})


FIGURE = st.none() | st.integers(-(10**12), 10**12) | st.text(max_size=20)


@given(st.dictionaries(st.text(max_size=20), FIGURE | st.lists(FIGURE, max_size=3), max_size=20))
def test_a_seal_tells_what_was_shown_and_until_when(figures):
    shown = Shown(figures, NOON + timedelta(minutes=30))

    assert unseal(seal(shown, NOON)) == shown


def test_a_forged_seal_of_the_same_text_reads_alike():
    assert unseal(forged(document())) == SHOWN


def test_two_instants_give_two_seals():
    assert seal(SHOWN, NOON) != seal(SHOWN, NOON + timedelta(seconds=1))
    assert seal(SHOWN, NOON) == seal(SHOWN, NOON)


@given(st.data())
def test_a_seal_with_one_character_changed_or_cut_off_is_refused(data):
    text = seal(SHOWN, NOON)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters().filter(lambda c: c != text[at]))

    for broken in (text[:at] + other + text[at + 1 :], text[:at]):
        with pytest.raises(ValueError, match="this is not the seal of a quote"):
            unseal(broken)


@given(st.text(max_size=60) | st.text("q1.Aa_-=", max_size=60))
def test_any_other_text_is_refused(text):
    with pytest.raises(ValueError, match="this is not the seal of a quote"):
        unseal(text)


@pytest.mark.parametrize(
    "text",
    [
        forged(document(), version="q0"),
        forged("not JSON"),
        forged("[]"),
        forged("{}"),
        forged(document(figures=3)),
        forged(document(figures=[1])),
        forged(document(until="tomorrow")),
        forged(document(until=10**30)),
        forged(document(figures={"/total": 1.5})),
        forged(document(figures={"/total": float("nan")})),
        forged("9" * 90_000),
        forged("[" * 90_000),
        "q1.AAAA." + hashlib.sha256(b"AAAA").hexdigest()[:16],
    ],
    ids=[
        "another version", "no JSON", "list", "no members", "figures a number", "figures a list", "until a word", "until too far",
        "fraction", "not a number", "a long number", "nested deeply", "not packed",
    ],
)  # fmt: skip
def test_a_text_with_the_right_digest_that_is_no_quote_is_refused(text):
    with pytest.raises(ValueError, match="this is not the seal of a quote"):
        unseal(text)


def test_a_seal_that_unpacks_to_a_flood_is_refused_before_it_does():
    bomb = forged(document(figures={"/total": "0" * 50_000_000}))
    assert len(bomb) < 100_000

    tracemalloc.start()
    with pytest.raises(ValueError, match="this is not the seal of a quote"):
        unseal(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 2_000_000


def test_changes_name_each_figure_that_differs_with_what_it_was_and_is():
    was = {"/total": 100, "/lines/0/seats": 3, "/lines/0/credit": None, "/lines/1/seats": 2}
    now = {"/total": 120, "/lines/0/seats": 3, "/lines/0/credit": 5, "/lines/2/seats": 4}

    assert changes(was, now) == [
        {"pointer": "/total", "was": 100, "now": 120},
        {"pointer": "/lines/0/credit", "was": None, "now": 5},
        {"pointer": "/lines/1/seats", "was": 2, "now": None},
        {"pointer": "/lines/2/seats", "was": None, "now": 4},
    ]
    assert changes(now, dict(now)) == []
