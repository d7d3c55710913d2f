"""The looks that are pending: which of them go together next, and when one is cut.

Performs no I/O: moments are points on one monotonic clock, in seconds.
"""

import math
from collections.abc import Sequence
from operator import attrgetter
from typing import Final, Generic, Protocol, TypeVar

from fireworks_batch import rounds

__all__ = ["Agenda", "Pending", "first_due", "group", "in_order", "last_due", "rest_ends"]

_due: Final = attrgetter("due")
_latest: Final = attrgetter("latest")
_deadline: Final = attrgetter("deadline")


class Pending(Protocol):
    """A look that is to be made."""

    @property
    def due(self) -> float:
        """No earlier than then."""
        ...

    @property
    def latest(self) -> float:
        """No later than then, if it waits for others."""
        ...

    @property
    def deadline(self) -> float:
        """When it is cut."""
        ...


_Look = TypeVar("_Look", bound=Pending)


def group(looks: Sequence[_Look], now: float) -> list[_Look]:
    """Return the looks that can be made together next, in any order.

    They are those that are due before the first of them can wait no more, and whatever is due.

    Args:
        looks: All of them, in any order.
        now: The moment.
    """
    until = max(now, min(map(_latest, looks), default=now))
    return [look for look in looks if look.due <= until]


def rest_ends(looks: Sequence[Pending], until: float) -> float:
    """Return when the rest after a round ends: earlier, if a look cannot wait for so long.

    A look that is cut before it is due ends none.

    Args:
        looks: All of them, in any order.
        until: When it ends otherwise.
    """
    held = (
        rounds.latest_in_rest(until, due=look.due, latest=look.latest, deadline=look.deadline)
        for look in looks
        if look.due <= look.latest < until
    )
    return min(held, default=until)


def in_order(looks: Sequence[_Look]) -> list[_Look]:
    """Return looks in the order in which they are due."""
    return sorted(looks, key=_due)


def first_due(looks: Sequence[_Look]) -> float:
    """Return when the first of some looks is due."""
    return float(min(map(_due, looks)))


def last_due(looks: Sequence[_Look]) -> float:
    """Return when the last of some looks is due."""
    return float(max(map(_due, looks)))


class Agenda(Generic[_Look]):
    """Keeps the pending looks.

    They change all the time, by the thousand, and are asked for seldom: so nothing is kept in
    order, and what is asked for is found by looking through all of them.
    """

    def __init__(self) -> None:
        """Make it empty."""
        self._looks: list[_Look] = []
        self._gone: set[_Look] = set()

    def add(self, look: _Look) -> None:
        """Take a look in."""
        self._looks.append(look)

    def discard(self, look: _Look) -> None:
        """Let a look go that is in it."""
        self._gone.add(look)
        if len(self._gone) == len(self._looks):
            self._looks, self._gone = [], set()

    def looks(self) -> list[_Look]:
        """Return the looks, in any order; not to be changed."""
        if self._gone:
            self._looks = [look for look in self._looks if look not in self._gone]
            self._gone = set()
        return self._looks

    def first_deadline(self) -> float:
        """Return when the first of the looks is cut."""
        return min(map(_deadline, self.looks()), default=math.inf)

    def expired(self, now: float) -> list[_Look]:
        """Return the looks whose deadline has come."""
        return [look for look in self.looks() if look.deadline <= now]
