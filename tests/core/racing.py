"""Calls that start at the same moment, in threads of their own."""

from collections import Counter
from collections.abc import Callable, Sequence
from threading import Barrier, Thread
from typing import Any

from core.errors import PuestoError


def at_once(shop: Any, calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """What each call answers, or the problem that it ends in; any other error is raised here. All start together."""
    answers: list[Any] = [None] * len(calls)
    start = Barrier(len(calls))

    def run(index: int, call: Callable[[], Any]) -> None:
        start.wait()
        try:
            answers[index] = call()
        except Exception as error:
            answers[index] = error
        finally:
            shop.engine.db.close()

    threads = [Thread(target=run, args=each) for each in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answer in answers:
        if isinstance(answer, Exception) and not isinstance(answer, PuestoError):
            raise answer
    return answers


def kinds(answers: list[Any]) -> Counter[type]:
    return Counter(type(answer) for answer in answers)
