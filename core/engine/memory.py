"""The memory of a process that works for long."""

from __future__ import annotations

import gc

# Objects made before the garbage collector looks through them, in a process that bills: more than a batch of renewals keeps alive, since
# what lives is looked through in vain.
BATCH = 50_000


def keep_for_good() -> None:
    """Spare the garbage collector what stands now, once a process is ready to work: it would look through all of it again and again,
    which takes a tenth of the time of a billing run (https://docs.python.org/3/library/gc.html#gc.freeze)."""
    gc.collect()
    gc.freeze()


def collect_by_the_batch() -> None:
    """For a process that does nothing but bill, a twentieth of whose time Python's usual 700 objects take. Not for one that does other
    work beside: it would hold on to 20 MB of e-mails and answers that nobody needs any more."""
    gc.set_threshold(BATCH, *gc.get_threshold()[1:])
