"""What tests and the processes that they start import is compiled once, also where nothing is to be written beside the sources."""

import os
import sys
import tempfile
from pathlib import Path

if sys.dont_write_bytecode:
    sys.dont_write_bytecode = False
    sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"] = str(Path(tempfile.gettempdir()) / "puesto-tests-bytecode")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
