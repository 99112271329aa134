"""The memory of a process that works for long."""

from __future__ import annotations

import gc


def keep_for_good() -> None:
    """Spare the garbage collector what stands now, once a process is ready to work: it would look through all of it again and again,
    which takes a tenth of the time of a billing run (https://docs.python.org/3/library/gc.html#gc.freeze)."""
    gc.collect()
    gc.freeze()
