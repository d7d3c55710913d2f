"""Count requests in an emulated minute; performs no I/O."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from .clock import SECOND

if TYPE_CHECKING:
    from .clock import Instant

_MINUTE: Final = 60 * SECOND


class RateLimit:
    """At most so many requests in any emulated minute; refused ones are not counted."""

    def __init__(self, requests_per_minute: int | None) -> None:
        self._most = requests_per_minute
        self._taken: deque[Instant] = deque()

    def take(self, now: Instant) -> Instant:
        """Let a request through (0), or give the emulated time until the next one may come."""
        if self._most is None:
            return 0
        while self._taken and self._taken[0] <= now - _MINUTE:
            self._taken.popleft()
        if len(self._taken) < self._most:
            self._taken.append(now)
            return 0
        return self._taken[0] + _MINUTE - now
