"""When a client may send its next request to its account.

Performs no I/O: moments are points on one monotonic clock, in seconds.
"""

import math
from collections import deque
from typing import Final

import attrs

__all__ = ["Gate", "Pace"]

MINUTE: Final = 60.0
# After a 429, each minute has this share of the last minute's requests.
SHARE: Final = 0.9
# A 429 after fewer requests in a minute teaches no rate: other clients may have used it up.
FEWEST: Final = 6
# Further 429s widen the spacing to this multiple of what the first one taught, and no more: a
# server that refuses at random would widen it without end.
WIDEST: Final = 2.0
# How long a spacing is kept after the 429 that began it; then the rate is tried anew.
MEMORY: Final = 60 * MINUTE
# A timer may fire so many seconds before its moment: a request that slept until then is in time.
EARLY: Final = 1e-6


@attrs.define
class Pace:
    """The rate that a 429 has taught.

    A 429 spaces the requests of the next hour: each minute has nine tenths of the last minute's
    requests. A further 429 in that hour widens the spacing by the same rule, to twice the spacing
    that the first one taught at most.
    The spacing is never longer than the time for which the 429 closed the gate, so that policies
    of milliseconds learn milliseconds.
    """

    spacing: float = 0.0
    """Seconds between two requests; 0 without a 429 in the last hour."""

    _widest: float = 0.0
    _until: float = -math.inf
    _sent: deque[float] = attrs.field(factory=lambda: deque(maxlen=6000))

    def on_sent(self, now: float) -> None:
        """Note a request, and forget a spacing that is an hour old."""
        self._sent.append(now)
        if self.spacing and now >= self._until:
            self.spacing = 0.0

    def on_429(self, now: float, hold: float) -> None:
        """Learn from a 429; the request that met it counts as not sent.

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
    """What all requests of a client pass: closed by a 429, and spaced by a rate.

    The rate is the one that the caller gave, or a lower one that 429s have taught.
    """

    given_spacing: float = 0.0
    """Least seconds between two requests, as the caller wants it."""

    opens_at: float = -math.inf
    """The moment before which the server does not want to be asked."""

    _free_at: float = -math.inf
    _pace: Pace = attrs.field(factory=Pace)

    @property
    def spacing(self) -> float:
        """Seconds between two requests at present; 0 if there is no limit."""
        return max(self.given_spacing, self._pace.spacing)

    def close(self, until: float, *, now: float) -> None:
        """Hold all requests back after a 429; never shortens what was said before.

        Args:
            until: When the gate opens.
            now: The moment. Of several 429s that fall into one closure, the first one teaches.
        """
        if now >= self.opens_at:
            self._pace.on_429(now, until - now)
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
        if now < self.passes_at - EARLY:
            return False
        self._pace.on_sent(now)
        self._free_at = now + self.spacing
        return True
