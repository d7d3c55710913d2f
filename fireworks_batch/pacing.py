"""When a client may send its next request to its account.

Performs no I/O: moments are points on one monotonic clock, in seconds.
"""

import math

import attrs

__all__ = ["Gate"]


@attrs.define
class Gate:
    """What all requests of a client pass: closed by a 429, and spaced if a rate was given."""

    spacing: float = 0.0
    """Least seconds between two requests."""

    opens_at: float = -math.inf
    """Until when the server does not want to be asked."""

    _free_at: float = -math.inf

    def close(self, until: float) -> None:
        """Hold all requests back; never shortens what was said before."""
        self.opens_at = max(self.opens_at, until)

    def hold(self, now: float) -> float:
        """Return the seconds until the gate opens; 0 if it is open."""
        return max(0.0, self.opens_at - now)

    def reserve(self, now: float) -> float:
        """Take the next free place in the line, and return the moment that it stands for."""
        if not self.spacing:
            return now
        place = max(now, self.opens_at, self._free_at)
        self._free_at = place + self.spacing
        return place
