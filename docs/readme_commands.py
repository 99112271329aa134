"""Prints one of the two commands that the README opens with, so that what CI and the tests run is what readers are told to run.

usage: python docs/readme_commands.py demo|test
"""

import re
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def commands() -> dict[str, str]:
    """The README's first code block, a command a line: the demo, then the tests."""
    block = re.search(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)
    assert block is not None, "the README has lost its commands"
    demo, test = (line for line in block[1].splitlines() if line and not line.startswith("#"))
    return {"demo": demo, "test": test}


if __name__ == "__main__":
    print(commands()[sys.argv[1]])
