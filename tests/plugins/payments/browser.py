"""Debian's Chromium, headless, driven through its debugging pipe: no driver and no package needed."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium")
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-pipe"]


class Browser:
    """One tab. pytest's own time-out ends what never comes."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = os.fdopen(commands, "wb", 0), os.fdopen(answers, "rb")
        self._count, self._session = 0, {}
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}

    def open(self, url: str) -> None:
        self._call("Page.navigate", url=url)
        self.wait_until(f"location.href === {json.dumps(url)}")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; None while a page is being changed."""
        return self._call("Runtime.evaluate", expression=expression, returnByValue=True).get("result", {}).get("value")

    def wait_until(self, condition: str) -> None:
        while not self.evaluate(f"document.readyState === 'complete' && {condition}"):
            time.sleep(0.02)

    def click(self, text: str) -> None:
        """The button of that text."""
        self.evaluate(f"[...document.querySelectorAll('button')].find(it => it.innerText === {json.dumps(text)}).click()")

    def close(self) -> None:
        self._commands.close()
        self._answers.close()

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._count += 1
        self._commands.write(json.dumps({"id": self._count, "method": method, "params": params, **self._session}).encode() + b"\0")
        while True:
            message = json.loads(self._read())
            if message.get("id") == self._count:
                return dict(message.get("result", {}))

    def _read(self) -> bytes:
        message = bytearray()
        while (byte := self._answers.read(1)) != b"\0":
            assert byte, "the browser is gone"
            message += byte
        return bytes(message)


@contextmanager
def running_browser(profile: Path) -> Iterator[Browser]:
    """profile: a folder for what it writes."""
    from_us, to_browser = os.pipe()
    from_browser, to_us = os.pipe()
    # It reads commands at descriptor 3 and answers at 4.
    shell = f'exec 3<&{from_us} 4>&{to_us}; exec "$0" "$@"'
    command = ["bash", "-c", shell, str(CHROMIUM), *OPTIONS, f"--user-data-dir={profile}"]
    process = subprocess.Popen(command, pass_fds=(from_us, to_us), stderr=subprocess.DEVNULL)
    os.close(from_us)
    os.close(to_us)
    browser = Browser(to_browser, from_browser)
    try:
        yield browser
    finally:
        browser.close()
        process.kill()
        process.wait()
