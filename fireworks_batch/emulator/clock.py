"""Emulated time, in whole microseconds since the emulator's epoch. Performs no I/O."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TypeAlias

Instant: TypeAlias = int
"""Emulated microseconds since the epoch. They are integers, so that a tick is exact."""

SECOND = 1_000_000


class EmulatedClock:
    """A clock of emulated time, ``epoch + (clock() - start) * speed``."""

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
        """Return the present instant."""
        return round((self._clock() - self._start) * self._speed * SECOND)

    def rebase(self, clock: Callable[[], float], now: Instant) -> None:
        """Go on from the instant *now* with another real clock."""
        self._clock = clock
        self._start = clock() - now / (self._speed * SECOND)

    def moment(self, instant: Instant) -> datetime:
        """Return an instant as an aware datetime."""
        return (self._epoch + timedelta(microseconds=instant)).replace(tzinfo=UTC)

    def timestamp(self, instant: Instant) -> str:
        """Return an instant as the server's GET shows it, in RFC 3339 with six digits."""
        moment = self._epoch + timedelta(microseconds=instant)
        return moment.isoformat(timespec="microseconds") + "Z"

    def http_date(self, instant: Instant) -> str:
        """Return an instant in the form of a ``Date`` header."""
        second = instant // SECOND
        if self._date[0] != second:
            self._date = (second, format_datetime(self.moment(instant), usegmt=True))
        return self._date[1]


def microseconds(seconds: float) -> Instant:
    """Return a duration in whole microseconds."""
    return round(seconds * SECOND)


def proto_duration(duration: Instant) -> str:
    """Return a duration in the JSON form of protobuf, such as ``86400s`` or ``0.500s``."""
    whole, micros = divmod(duration, SECOND)
    if not micros:
        return f"{whole}s"
    digits = f"{micros:06d}"
    return f"{whole}.{digits[:3] if digits.endswith('000') else digits}s"
