"""When a client may send its next request to its account.

Performs no I/O: moments are points on one monotonic clock, in seconds.
"""

import math
from collections import deque
from typing import Final

import attrs

__all__ = ["Gate", "Pace"]


MINUTE: Final = 60.0


# Looks under way at once, where no rate says otherwise.
LANES: Final = 10


# Looks made one by one before others get their turn, where no rate says otherwise.
TURN: Final = 100


# After a 429: this share of the requests that the last minute had.
CUT: Final = 0.7


# A 429 after fewer requests in a minute says nothing of the rate: others may have used it up, or
# the server refuses everything for a while.
LEAST: Final = 3


# What a second 429 in spite of that adds to the spacing.
WIDENING: Final = 1.5


# How far 429s can widen the spacing that the first of them taught.
WIDEST: Final = 4.0


AT_WIDEST: Final = 0.99


# Each request that had to wait narrows the spacing to this share of it: quickly at first, and
# slowly where the rate comes near the one that the server refused.
QUICKLY: Final = 0.99


SLOWLY: Final = 0.999


NEAR: Final = 0.9


# A 429 claims that so many requests a minute are too many: more than this share of them refute it,
MORE: Final = 1.25


# and a 429 after less than this share of them is no proof of it.
FEWER: Final = 0.8


# A spacing that has shrunk to this share of what a 429 made it is none.
FORGOTTEN: Final = 0.01


# Who passes within this share of the spacing after the place was free has waited for it.
IN_LINE: Final = 0.1


# A timer may fire so many seconds before its moment: whoever slept until then is in time.
EARLY: Final = 1e-6


@attrs.define
class Pace:
    """The rate that 429s have taught: down at once, up slowly, and only while it is used up.

    A 429 claims that as many requests as the last minute had are too many, unless they are hardly
    any. The claim is dropped when clearly more have passed in a minute: others had used the rate
    up. And what was widened as far as it goes, and is refused all the same, was widened in vain:
    the server refuses at random.

    It has no unit of time of its own but that minute: what is learned is bounded by the time for
    which the server, or the policy, closed the gate, so that it fits policies of milliseconds too.
    """

    spacing: float = 0.0
    """Seconds between two requests; 0 before the first 429."""

    _learned: float = 0.0
    _first: float = 0.0
    _claim: int = 0
    _is_vain: bool = False
    _sent: deque[float] = attrs.field(factory=lambda: deque(maxlen=6000))

    def count(self, moment: float, *, was_held: bool) -> None:
        """Note a request.

        Args:
            moment: When it is sent.
            was_held: Whether it was the spacing that made it wait: only a rate that is used up
                is raised.
        """
        self._sent.append(moment)
        if not self.spacing:
            return
        if was_held:
            is_quick = self._is_vain or self.spacing > NEAR * self._learned
            self.spacing *= QUICKLY if is_quick else SLOWLY
        if self.spacing < FORGOTTEN * self._learned or self._is_refuted(moment):
            self.spacing = self._learned = self._first = 0.0
            self._is_vain = False

    def uncount(self) -> None:
        """Note that a request met a 429: it did not pass."""
        if self._sent:
            self._sent.pop()

    def slow_down(self, now: float, hold: float) -> None:
        """Learn from a 429.

        Args:
            now: The moment.
            hold: Seconds for which it closes the gate.
        """
        while self._sent and self._sent[0] <= now - MINUTE:
            self._sent.popleft()
        recent = len(self._sent)
        if recent < LEAST:
            return
        if not self._first:
            self._claim = recent
            self._first = min(MINUTE / (CUT * recent), hold / 2)
            self._space(self._first)
            return
        widest = min(WIDEST * self._first, hold)
        is_vain = self._is_vain or self.spacing > AT_WIDEST * widest
        if recent >= FEWER * self._claim or not is_vain:
            self._space(min(WIDENING * self.spacing, widest))
        elif not self._is_vain:
            self._is_vain = True
            self.spacing = self._learned = self._first

    def _space(self, wanted: float) -> None:
        self.spacing = self._learned = max(self.spacing, wanted)

    def _is_refuted(self, now: float) -> bool:
        number = int(MORE * self._claim) + 1
        return len(self._sent) >= number and self._sent[-number] > now - MINUTE


@attrs.define
class Gate:
    """What all requests of a client pass: closed by a 429, and spaced by a rate.

    The rate is the one that was given, or a lower one that 429s have taught.
    """

    given_spacing: float = 0.0
    """Least seconds between two requests, as the caller wants it."""

    opens_at: float = -math.inf
    """Until when the server does not want to be asked."""

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
            self._pace.slow_down(now, until - now)
            self._pace.uncount()
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
        # Who stood in line passes at the first moment at which that is possible.
        self._pace.count(now, was_held=now <= self._free_at + IN_LINE * self.spacing)
        self._free_at = now + self.spacing
        return True
