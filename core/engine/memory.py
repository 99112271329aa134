"""The memory of a process that works for long."""

from __future__ import annotations

import gc

# Objects that are made before the garbage collector looks through them: more than a batch of renewals keeps alive, since what lives is
# looked through in vain. Python's 700 take a twentieth of a billing run.
YOUNG = 50_000


def keep_for_good() -> None:
    """Spare the garbage collector what stands now, once a process is ready to work: it would look through all of it again and again,
    which takes a tenth of the time of a billing run (https://docs.python.org/3/library/gc.html#gc.freeze)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
