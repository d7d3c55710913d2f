"""The looks that are pending: which of them go together next, and when one is cut.

Performs no I/O: moments are points on one monotonic clock, in seconds.
"""

import math
from collections import Counter
from collections.abc import Sequence
from operator import attrgetter
from typing import Final, Generic, Protocol, TypeVar

__all__ = [
    "PAGE_SIZE",
    "PAGE_WORTH",
    "PATIENCE",
    "UNLISTED",
    "Agenda",
    "Pending",
    "first_due",
    "group",
    "in_order",
    "is_for_gets",
    "lanes",
    "last_due",
    "latest",
    "latest_in_rest",
    "looks_again",
    "pages_to_read",
    "reads_on",
    "rest",
    "rest_ends",
    "turn",
]


def lanes(spacing: float) -> int:
    """Return how many looks to have under way at once.

    Args:
        spacing: Seconds between two requests; with more than a little of it, one request is
            answered before the next one may be sent, and those in line would only hold places.
    """
    return LANES if spacing < 0.1 else 2


def turn(spacing: float, seconds: float) -> int:
    """Return how many looks may be made one by one before a page gets its turn again.

    Args:
        spacing: Seconds between two requests.
        seconds: What is between two looks at one job; half of it is no great delay for others.
    """
    return max(lanes(spacing), int(min(TURN, seconds / 2 / spacing if spacing else TURN)))


# GETs under way at once, where no rate says otherwise.
LANES: Final = 10

# GETs made one by one before a page gets its turn, where no rate says otherwise.
TURN: Final = 100

PAGE_SIZE: Final = 200
"""Jobs on a page: the server's most."""


PAGE_WORTH: Final = 3
"""A page is a large answer: each but the first one has to be worth so many GETs."""


# So few jobs are asked for one by one, however their looks fall together.
FEW: Final = 3


UNLISTED: Final = math.inf
"""The page of a job that the listing does not have."""


# GETs of a job before it is looked for in the listing again.
SOON: Final = 16


# A look may be late by this share of its interval, if it can be made together with others then:
# jitter spreads them over a fifth of it by default.
PATIENCE: Final = 0.25


# Rounds in a minute: the poorest accounts are allowed ten requests, and there are other calls.
ROUNDS: Final = 8


MINUTE: Final = 60.0


def latest(due: float, *, now: float, interval: float, deadline: float) -> float:
    """Return until when a look may wait for others.

    Args:
        due: When it is due; one that is due already waits for nobody.
        now: The moment.
        interval: What is between two looks; a quarter of it is no great delay.
        deadline: When the look is cut; half of the time until then is left for its answer.
    """
    if due <= now:
        return due
    return min(due + PATIENCE * interval, due + (deadline - due) / 2)


def rest(longest: float) -> float:
    """Return for how long to rest after a round, so that more looks go together in the next one.

    Args:
        longest: What is at most between two looks at one job; where that is less than a minute, so
            is the rest.
    """
    return min(longest, MINUTE) / ROUNDS


def latest_in_rest(until: float, *, due: float, latest: float, deadline: float) -> float:
    """Return until when a look may wait where a round has just been.

    Args:
        until: When the rest after that round ends.
        due: When the look is due.
        latest: Until when it may wait for others anyway.
        deadline: When it is cut; half of the time until then is left for its answer.

    Returns:
        The end of the rest, if that is not more than twice as long.
    """
    return max(latest, min(until, due + 2 * (latest - due), due + (deadline - due) / 2))


def is_for_gets(jobs: int) -> bool:
    """Say whether so few jobs are watched that no listing is read for them."""
    return jobs <= FEW


def pages_to_read(pages: Sequence[float | None]) -> int:
    """Return how many pages to read for some looks; GETs bring what is not on them.

    Args:
        pages: The page on which each job was seen last, from 0: None if it was never looked for,
            `UNLISTED` if it is not listed. Jobs that were not found where they were looked for
            are taken to be on the next page.

    Returns:
        The number with the least cost; 0 if GETs are cheaper.
    """
    counts = Counter(pages)
    # New ones are hoped to be together, and on the first pages.
    new = counts.pop(None, 0)
    counts[max(0, math.ceil(new / PAGE_SIZE) - 1)] += new
    least, best, left = float(len(pages)), 0, len(pages)
    for page in sorted(page for page in counts if page is not None and page < UNLISTED):
        left -= counts[page]
        cost = _worth(page + 1) + left
        if cost < least:
            least, best = cost, int(page) + 1
    return best


def reads_on(read: int, missing: int) -> bool:
    """Say whether to read another page than was planned, for jobs that were not found so far.

    The pages then cost no more than the GETs would: whoever guesses wrongly pays twice at most.

    Args:
        read: Pages read so far.
        missing: Jobs that should have been on them.
    """
    return _worth(read + 1) <= missing


def _worth(pages: float) -> float:
    """Return how many GETs are worth some pages: one request, and larger answers for fewer jobs."""
    return 1 + PAGE_WORTH * (pages - 1)


def looks_again(gets: int) -> bool:
    """Say whether a job that was not where it was looked for is to be looked for anew.

    A listing may be late, or shift while it is read. Where it does not have the job at all, as one
    that is long, this happens ever more seldom.

    Args:
        gets: How often it was asked for by GET so far.
    """
    return gets >= SOON and gets & (gets - 1) == 0


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
        latest_in_rest(until, due=look.due, latest=look.latest, deadline=look.deadline)
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
