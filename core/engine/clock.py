"""The only place that asks the time. Instants are aware datetimes in UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

# Where a day begins first, and last.
FIRST_ZONE, LAST_ZONE = "Pacific/Kiritimati", "Etc/GMT+12"


class Clock(Protocol):
    def now(self) -> datetime:
        """This instant, in UTC."""

    def machine_now(self) -> datetime:
        """This instant for what processes do to each other, which goes on while a test clock leaps."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    machine_now = now


class TestClock:
    """A clock that can be moved forward, for sandbox mode and tests: the machine's clock plus an offset.

    frozen: stands still between moves, so that tests can name exact instants.
    """

    __test__ = False  # pytest: this is no test class

    def __init__(self, start: datetime | None = None, *, frozen: bool = False) -> None:
        self._frozen_at = (start or datetime.now(UTC)) if frozen else None
        self.offset = timedelta(0) if frozen or start is None else start - datetime.now(UTC)

    def now(self) -> datetime:
        return (self._frozen_at or datetime.now(UTC)) + self.offset

    def machine_now(self) -> datetime:
        return self.now() if self._frozen_at else datetime.now(UTC)

    def move_to(self, instant: datetime) -> None:
        """Make it `instant` now. Raises ValueError for an instant that has passed: time only moves forward."""
        self.offset = self.offset_at(instant)

    def offset_at(self, instant: datetime) -> timedelta:
        """The offset with which it would be `instant` now. Raises ValueError as `move_to` does."""
        now = self.now()
        if instant < now:
            raise ValueError(f"the clock only moves forward: it is {now:%Y-%m-%dT%H:%M:%SZ} already")
        return self.offset + (instant - now)


def day_in(instant: datetime, time_zone: str) -> date:
    """The calendar day that an instant falls on in a zone: what billing goes by."""
    return instant.astimezone(ZoneInfo(time_zone)).date()


def beginning_of(day: date, time_zone: str) -> datetime:
    """The instant at which a day begins in a zone, also where its first hour is left out for summer time."""
    return datetime.combine(day, time(), ZoneInfo(time_zone)).astimezone(UTC)
