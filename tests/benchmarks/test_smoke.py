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


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_reads(database):
    printed = run("benchmarks.reads", "--database", database, "--rounds", "1", "--seconds", "0.2")

    assert printed.count(f"| {database} ") == 4


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_seats_and_events(database):
    printed = run("benchmarks.seats", "--database", database, "--users", "20", "--one-by-one", "3")

    assert printed.count(f"| {database} ") == 4


def test_start():
    assert "| and 50 of 20 plans each |" in run("benchmarks.startup", "--rounds", "1")


def test_hooks():
    assert run("benchmarks.hooks", "--rounds", "1").count("| bare pluggy ") == 2
