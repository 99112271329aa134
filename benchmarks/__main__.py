"""Every benchmark, one table after the other, as docs/performance.md has them."""

from __future__ import annotations

import sys

from benchmarks import checkout, hooks, reads, renewals, seats, startup

ALL = (checkout.main, reads.main, renewals.main, seats.main, startup.main, hooks.main)


def main() -> None:
    for command in ALL:
        command.main(sys.argv[1:], standalone_mode=False)


if __name__ == "__main__":
    main()
