"""Tell emulated time, in whole microseconds since the emulator's epoch; performs no I/O."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TypeAlias

Instant: TypeAlias = int
"""Emulated microseconds since the epoch: integers, so that a tick is exact."""

SECOND = 1_000_000


class EmulatedClock:
    """Emulated time: `epoch + (clock() - start) * speed`."""

    def __init__(self, clock: Callable[[], float], *, speed: float, epoch: datetime) -> None:
        self._clock = clock
        self._start = clock()
        self._speed = speed
        self._epoch = epoch.astimezone(UTC).replace(tzinfo=None)
        self._date = (-1, "")

    @property
    def speed(self) -> float:
        """Emulated seconds in one second of the real clock."""
        return self._speed

    def now(self) -> Instant:
        """Read the clock."""
        return round((self._clock() - self._start) * self._speed * SECOND)

    def rebase(self, clock: Callable[[], float], now: Instant) -> None:
        """Go on from *now* by another clock."""
        self._clock = clock
        self._start = clock() - now / (self._speed * SECOND)

    def moment(self, instant: Instant) -> datetime:
        """Give *instant* as an aware datetime."""
        return (self._epoch + timedelta(microseconds=instant)).replace(tzinfo=UTC)

    def timestamp(self, instant: Instant) -> str:
        """Give *instant* as the service's reads do: RFC 3339 with six digits."""
        moment = self._epoch + timedelta(microseconds=instant)
        return moment.isoformat(timespec="microseconds") + "Z"

    def http_date(self, instant: Instant) -> str:
        """Give *instant* as a `Date` header."""
        second = instant // SECOND
        if self._date[0] != second:
            self._date = (second, format_datetime(self.moment(instant), usegmt=True))
        return self._date[1]


def microseconds(seconds: float) -> Instant:
    """Give a duration in whole microseconds."""
    return round(seconds * SECOND)


def proto_duration(duration: Instant) -> str:
    """Give a duration as protobuf's JSON does: `86400s`, `0.500s`."""
    whole, rest = divmod(duration, SECOND)
    if not rest:
        return f"{whole}s"
    digits = f"{rest:06d}"
    return f"{whole}.{digits[:3] if digits.endswith('000') else digits}s"
