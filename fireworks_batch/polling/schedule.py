"""Which polls are made together, and whether by GETs or by pages of the listing.

Performs no I/O. Moments are points on one monotonic clock, in seconds.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

__all__ = [
    "PAGE_SIZE",
    "PAGE_WORTH",
    "PATIENCE",
    "UNLISTED",
    "Pending",
    "group",
    "is_for_gets",
    "is_sought_again",
    "lanes",
    "latest",
    "pages_to_read",
    "reads_on",
    "rest",
    "rest_ends",
    "turn",
]


def lanes(spacing: float) -> int:
    """Return how many GETs to have under way at once.

    Args:
        spacing: Seconds between two requests. From a tenth of a second on, one request is answered
            before the next one may be sent, and requests in line would only hold places.
    """
    return LANES if spacing < 0.1 else 2


def turn(spacing: float, seconds: float) -> int:
    """Return how many GETs may be made before a page gets its turn again.

    Args:
        spacing: Seconds between two requests.
        seconds: The interval between two polls of a job; half of it is no great delay for others.
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


# So few jobs are asked for one by one, however their polls fall together.
FEW: Final = 3


UNLISTED: Final = math.inf
"""The page of a job that the listing does not have."""


# GETs of a job before it is searched in the listing again.
SOON: Final = 16


# A poll may be late by this share of its interval, if it can be made together with others then:
# jitter spreads polls over a fifth of the interval by default.
PATIENCE: Final = 0.25


# The same for a poll that is brought forward: it comes sooner than its interval says anyway.
PATIENCE_BROUGHT_FORWARD: Final = 0.4


# The share of the time to a deadline that a poll may wait: the rest is left for the answer.
ANSWER_SHARE: Final = 0.5


# Rounds in a minute: the poorest accounts are allowed ten requests, and there are other calls.
ROUNDS: Final = 8


MINUTE: Final = 60.0


def latest(
    due: float,
    *,
    now: float,
    interval: float,
    deadline: float,
    is_brought_forward: bool = False,
) -> float:
    """Return until when a poll may wait for others.

    Args:
        due: When the poll is due; a poll that is due already waits for no other.
        now: The moment.
        interval: The interval between two polls; a quarter of it is no great delay.
        deadline: When the poll is cut; half of the time until then is left for its answer.
        is_brought_forward: Whether the poll comes sooner than after the interval, for an end that
            is expected; then two fifths of the interval are no great delay.
    """
    if due <= now:
        return due
    patience = PATIENCE_BROUGHT_FORWARD if is_brought_forward else PATIENCE
    return min(due + patience * interval, due + (deadline - due) * ANSWER_SHARE)


def rest(longest: float) -> float:
    """Return for how long to rest after a round, so that more polls go together in the next one.

    Args:
        longest: The longest interval between two polls of a job; if it is less than a minute, the
            rest is shorter in proportion.
    """
    return min(longest, MINUTE) / ROUNDS


def is_for_gets(jobs: int) -> bool:
    """Say whether so few jobs are followed that no listing is read for them."""
    return jobs <= FEW


def pages_to_read(pages: Sequence[float | None]) -> int:
    """Return how many pages to read for some jobs; GETs bring the jobs that are not on them.

    Args:
        pages: The page on which each job was seen last, from 0: None if the job was never searched
            for, `UNLISTED` if it is not listed. A job that was not found where it was searched
            is taken to be on the next page.

    Returns:
        The number with the least cost; 0 if GETs are cheaper.
    """
    counts = Counter(pages)
    # New jobs are hoped to be together, and on the first pages.
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

    The pages then cost no more than the GETs would: a wrong guess costs twice as much at most.

    Args:
        read: Pages read so far.
        missing: Jobs that should have been on them.
    """
    return _worth(read + 1) <= missing


def _worth(pages: float) -> float:
    """Return how many GETs some pages are worth: the first page is a request as a GET is."""
    return 1 + PAGE_WORTH * (pages - 1)


def is_sought_again(gets: int) -> bool:
    """Say whether a job that was not found on its page is to be searched anew.

    A listing may be late, or shift while it is read. This happens ever more seldom, since a long
    listing may not have the job on any page that is read.

    Args:
        gets: How often the job was asked for by GET so far.
    """
    return gets >= SOON and gets & (gets - 1) == 0


class Pending(Protocol):
    """A poll that is to be made."""

    due: float
    """The poll is made no earlier than at this moment."""

    latest: float
    """The poll is made no later than at this moment, if it waits for others."""

    deadline: float
    """When the poll is cut."""


_Poll = TypeVar("_Poll", bound=Pending)


def group(polls: Sequence[_Poll], now: float) -> list[_Poll]:
    """Return the polls that can be made together next, in any order.

    They are the polls that are due before the first of them can wait no more, and those that are
    due already.

    Args:
        polls: All polls, in any order.
        now: The moment.
    """
    until = max(now, min((poll.latest for poll in polls), default=now))
    return [poll for poll in polls if poll.due <= until]


def rest_ends(polls: Sequence[Pending], until: float) -> float:
    """Return when the rest after a round ends: earlier, if a poll cannot wait for so long.

    A poll waits no more than twice as long for the end of the rest as it waits for other polls. A
    poll that is cut before it is due ends no rest.

    Args:
        polls: All polls, in any order.
        until: When the rest ends otherwise.
    """
    held = (
        max(
            poll.latest,
            min(
                until,
                poll.due + 2 * (poll.latest - poll.due),
                poll.due + (poll.deadline - poll.due) * ANSWER_SHARE,
            ),
        )
        for poll in polls
        if poll.due <= poll.latest < until
    )
    return min(held, default=until)
