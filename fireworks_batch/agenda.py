"""The looks that are pending, in the order in which they are due, and when they are cut.

Performs no I/O: moments are points on one monotonic clock, in seconds.
"""

import math
from collections.abc import Sequence
from operator import attrgetter
from typing import Final, Generic, Protocol, TypeVar

from fireworks_batch.rounds import Due

__all__ = ["Agenda", "Pending"]

_due: Final = attrgetter("due")


class Pending(Due, Protocol):
    """A look that is to be made, or cut."""

    @property
    def deadline(self) -> float:
        """When it is cut."""
        ...


_Look = TypeVar("_Look", bound=Pending)


class Agenda(Generic[_Look]):
    """Keeps the pending looks; cheap for those who come, go, and are put off by the thousand."""

    def __init__(self) -> None:
        """Make it empty."""
        self._looks: list[_Look] = []
        self._gone: set[_Look] = set()
        self._is_sorted = True
        self._first_cut = math.inf

    @property
    def first_cut(self) -> float:
        """When `expired` is to be asked again: no deadline passes before."""
        return self._first_cut

    def add(self, look: _Look) -> None:
        """Take a look in."""
        self._looks.append(look)
        self.put_off(look)

    def put_off(self, look: _Look) -> None:
        """Note that a look has another due time, or another deadline."""
        self._is_sorted = False
        self._first_cut = min(self._first_cut, look.deadline)

    def discard(self, look: _Look) -> None:
        """Let a look go that is in it."""
        self._gone.add(look)
        if len(self._gone) == len(self._looks):
            self._looks, self._gone, self._first_cut = [], set(), math.inf

    def in_order(self) -> Sequence[_Look]:
        """Return the looks in the order in which they are due; not to be changed."""
        if self._gone:
            self._looks = [look for look in self._looks if look not in self._gone]
            self._gone.clear()
        if not self._is_sorted:
            self._looks.sort(key=_due)
            self._is_sorted = True
        return self._looks

    def expired(self, now: float) -> list[_Look]:
        """Return the looks whose deadline has come."""
        if now < self._first_cut:
            return []
        looks = self.in_order()
        late = [look for look in looks if look.deadline <= now]
        ahead = (look.deadline for look in looks if look.deadline > now)
        self._first_cut = min(ahead, default=math.inf)
        return late
