"""Each benchmark runs, and its driver finds the answers right. What it measures here says nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent.parent


def run(*arguments):
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_checkout(database):
    printed = run("benchmarks.checkout", "--database", database, "--clients", "2", "--rounds", "1", "--seconds", "0.5")

    assert f"| {database} " in printed
    assert printed.count("| floor") >= 1


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_renewals(database):
    printed = run("benchmarks.renewals", "--database", database, "--size", "30", "--months", "2")

    assert f"| {database} " in printed
    assert printed.count("| 30 ") == 2
