"""When a client may send its next request to its account.

Performs no I/O: moments are points on one monotonic clock, in seconds.
"""

import math
from collections import deque
from typing import Final

import attrs

__all__ = ["Gate", "Pace"]

MINUTE: Final = 60.0
# After a 429, a minute may have this share of the requests of the minute before the 429.
SHARE: Final = 0.9
# A 429 after fewer requests in a minute gives no rate: other clients may have used up the limit.
FEWEST: Final = 6
# Further 429s widen the spacing to at most this multiple of the first spacing. Without this limit,
# a server that refuses at random would widen the spacing without end.
WIDEST: Final = 2.0
# A spacing is kept for this long after the 429 that began it.
MEMORY: Final = 60 * MINUTE
# A timer may fire this many seconds before its moment. A request this early may pass.
EARLY: Final = 1e-6


@attrs.define
class Pace:
    """The rate of requests that was learned from a 429.

    A 429 sets a spacing between requests for the next hour. With this spacing a minute has nine
    tenths of the requests of the minute before the 429. A further 429 in this hour widens the
    spacing by the same rule, to at most twice the first spacing. The spacing is never longer than
    the time for which the 429 closed the gate, so that it stays short with short policies.
    """

    spacing: float = 0.0
    """Seconds between two requests; 0 without a 429 in the last hour."""

    _widest: float = 0.0
    _until: float = -math.inf
    _sent: deque[float] = attrs.field(factory=lambda: deque(maxlen=6000))

    def on_sent(self, now: float) -> None:
        """Note that a request was sent, and drop a spacing that is an hour old."""
        self._sent.append(now)
        if self.spacing and now >= self._until:
            self.spacing = 0.0

    def on_429(self, now: float, hold: float) -> None:
        """Learn from a 429; the request that was refused counts as not sent.

        Args:
            now: The moment.
            hold: Seconds for which the 429 closes the gate.
        """
        if self._sent:
            self._sent.pop()
        while self._sent and self._sent[0] <= now - MINUTE:
            self._sent.popleft()
        if len(self._sent) < FEWEST:
            return
        wanted = min(MINUTE / (SHARE * len(self._sent)), hold)
        if not self.spacing:
            self.spacing, self._widest, self._until = wanted, WIDEST * wanted, now + MEMORY
        self.spacing = max(self.spacing, min(wanted, self._widest))


@attrs.define
class Gate:
    """The gate that all requests of a client pass. A 429 closes the gate; a rate spaces requests.

    The rate is the caller's rate, or a lower rate that was learned from 429s.
    """

    given_spacing: float = 0.0
    """Least seconds between two requests, by the caller's rate; 0 without a rate."""

    opens_at: float = -math.inf
    """The moment before which the server does not accept requests."""

    _free_at: float = -math.inf
    _pace: Pace = attrs.field(factory=Pace)

    @property
    def spacing(self) -> float:
        """Seconds between two requests at present; 0 if there is no limit."""
        return max(self.given_spacing, self._pace.spacing)

    def close(self, until: float, *, now: float) -> None:
        """Hold all requests back after a 429; the gate never opens earlier than planned before.

        Args:
            until: When the gate opens.
            now: The moment. If several 429s come while the gate is closed, only the first one
                changes the rate.
        """
        if now >= self.opens_at:
            self._pace.on_429(now, until - now)
        self.opens_at = max(self.opens_at, until)

    def hold(self, now: float) -> float:
        """Return the seconds until the gate opens; 0 if it is open."""
        return max(0.0, self.opens_at - now)

    @property
    def passes_at(self) -> float:
        """The moment before which no request may pass, because of a 429 or the rate."""
        return max(self.opens_at, self._free_at)

    def let_pass(self, now: float) -> bool:
        """Say whether a request may pass now; if so, count the request and space the next one."""
        if now < self.passes_at - EARLY:
            return False
        self._pace.on_sent(now)
        self._free_at = now + self.spacing
        return True
