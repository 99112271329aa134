"""How the demo shows a story on a terminal of 80 columns: scenes, calls, figures; plain text where it is piped."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from io import TextIOWrapper
from textwrap import fill, wrap
from typing import Any
from uuid import uuid4

import httpx
from rich.console import Console
from rich.text import Text

from api.cli.output import Failure
from core.rules.money import Money

WIDTH = 80
LONG_ID = re.compile(r"\b([a-z]{2,5}_)[0-9a-f]{28}([0-9a-f]{4})\b")
SEAL = re.compile(r"\b(q1\.\w{6})[\w.=-]+")


class Narrator:
    """Prints; computes nothing. What belongs together stands together: a call, its body, the figures of its answer."""

    def __init__(self) -> None:
        if isinstance(sys.stdout, TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # a terminal that lacks the euro sign shows the rest
        self._console = Console(highlight=False, markup=False, emoji=False)
        self._scenes = 0
        self._answered = False

    def scene(self, title: str) -> None:
        self._scenes += 1
        self._answered = False
        self._print(f"\n{self._scenes}  {title}\n", style="bold")

    def say(self, text: str) -> None:
        self._begin_paragraph()
        self._print(_wrap(text, 3))

    def call(self, method: str, path: str, status: int, body: object = None, times: int = 1) -> None:
        """A line for a call with its answer's status, and its body below it."""
        self._begin_paragraph()
        answer = f"{status}, {times} times" if times > 1 else str(status)
        self._print(f"   {method:4} {shorten(path)} -> {answer}", style="green" if status < 400 else "yellow")
        if body:
            self._print(_wrap(shorten(json.dumps(body, ensure_ascii=False)), 8), style="dim")

    def figures(self, *rows: tuple[str, str]) -> None:
        """What something is, and at the right how much or how many."""
        self._answered = True
        for name, value in rows:
            *above, last = _wrap(name, 8, WIDTH - len(value) - 2).split("\n")
            self._print("\n".join([*above, f"{last:{WIDTH - len(value)}}{value}".rstrip()]))

    def rows(self, rows: Sequence[tuple[str, str]]) -> None:
        """Two things side by side."""
        self._answered = True
        widest = max(len(left) for left, _ in rows)
        for left, right in rows:
            self._print(f"        {left:{widest}}{_wrap(right, widest + 10)[widest + 8 :]}")

    def text(self, text: str) -> None:
        """A document, with a bar at its side."""
        self._answered = True
        for line in text.splitlines():
            self._print("\n".join(f"        | {part}".rstrip() for part in wrap(line, WIDTH - 10) or [""]))

    def waiting(self, text: str) -> AbstractContextManager[object]:
        """Show that the block takes a moment. Where the output is piped nothing is shown."""
        return self._console.status(text) if self._console.is_terminal else nullcontext()

    def _begin_paragraph(self) -> None:
        if self._answered:
            self._print("")
        self._answered = False

    def _print(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style=style), soft_wrap=True)


def _wrap(text: str, columns: int, width: int = WIDTH) -> str:
    """`text` broken to lines that begin at `columns`, with the spaces at its own beginning kept."""
    stripped = text.lstrip(" ")
    space = " " * (columns + len(text) - len(stripped))
    return fill(" ".join(stripped.split()), width, initial_indent=space, subsequent_indent=space, break_on_hyphens=False)


class Client:
    """An API client that shows each call and stops the story at an answer that it does not expect."""

    def __init__(self, url: str, key: str, narrator: Narrator) -> None:
        self._http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30)
        self._narrator = narrator

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, expect: int = 200) -> Any:
        return self._call("GET", path, None, expect)

    def put(self, path: str, body: Mapping[str, Any] | None = None, expect: int = 200) -> Any:
        return self._call("PUT", path, body, expect)

    def post(self, path: str, body: Mapping[str, Any], expect: int = 201) -> Any:
        return self._call("POST", path, body, expect)

    def post_each(self, path: str, bodies: Sequence[Mapping[str, Any]], expect: int = 201) -> list[Any]:
        """The same call for each body, shown once."""
        answers = [self._send("POST", path, body, expect) for body in bodies]
        self._narrator.call("POST", path, expect, bodies[0], times=len(bodies))
        return answers

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None, expect: int) -> Any:
        answer = self._send(method, path, body, expect)
        self._narrator.call(method, path, expect, body)
        return answer

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None, expect: int) -> Any:
        headers = {"Idempotency-Key": str(uuid4())} if method == "POST" else {}
        try:
            response = self._http.request(method, path, json=body, headers=headers)
        except httpx.TransportError as error:
            raise Failure(f"the story stops: {method} {path} got no answer: {error}") from error
        if response.status_code != expect:
            raise Failure(f"the story stops: {method} {path} answered {response.status_code} instead of {expect}: {response.text[:500]}")
        return response.json()


def shorten(text: str) -> str:
    """Ids and seals with their middle left out: sub_..9f3c."""
    return SEAL.sub(r"\1..", LONG_ID.sub(r"\1..\2", text))


def amount(money: Mapping[str, Any]) -> str:
    """Money of the API as a person writes it."""
    return Money(money["amount"], money["currency"]).format()
