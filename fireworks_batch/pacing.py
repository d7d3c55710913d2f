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

    @property
    def passes_at(self) -> float:
        """The moment before which no request may pass, by the server's word or by the rate."""
        return max(self.opens_at, self._free_at)

    def let_pass(self, now: float) -> bool:
        """Say whether a request may pass now; if so it has passed, and the next one is spaced."""
        if now < self.passes_at:
            return False
        self._free_at = now + self.spacing
        return True
