"""Threads that Python has not started, as are those of the web server: they use the database, and end."""

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, os, sys
from contextlib import closing
from core import schema
from core.accounts import Account
from core.engine.engine import Engine
from core.engine.settings import CoreSettings, check_settings

engine = Engine(check_settings(CoreSettings(), {"database": sys.argv[1], "data": sys.argv[2], "enabled": []}))
schema.upgrade(engine)
engine.jobs.nudge()

@ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
def work(_):
    engine.db.count(Account.select())
    engine.jobs.nudge()

def run_in_a_foreign_thread():
    thread = ctypes.c_ulong()
    assert ctypes.CDLL(None).pthread_create(ctypes.byref(thread), None, work, None) == 0
    ctypes.CDLL(None).pthread_join(thread, None)

run_in_a_foreign_thread()
before = len(os.listdir("/proc/self/fd"))
for _ in range(20):
    run_in_a_foreign_thread()
print(len(os.listdir("/proc/self/fd")) - before)
engine.close()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for what is open")
def test_they_leave_neither_a_crash_nor_a_connection(empty_database, tmp_path):
    done = subprocess.run([sys.executable, "-c", PROGRAM, empty_database, tmp_path / "data"], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr
