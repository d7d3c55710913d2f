"""Which polls are made together, and whether with GETs or with pages of the listing.

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
    "gap",
    "gap_ends",
    "group",
    "is_for_gets",
    "is_sought_again",
    "lanes",
    "latest",
    "pages_to_read",
    "reads_on",
    "turn",
]


def lanes(spacing: float) -> int:
    """Return the number of GETs to have under way at once.

    Args:
        spacing: Seconds between two requests. If this is a tenth of a second or more, a request is
            usually answered before the next one may be sent. More requests would only hold places.
    """
    return LANES if spacing < 0.1 else 2


def turn(spacing: float, seconds: float) -> int:
    """Return the number of GETs to make before a page gets its turn again.

    Args:
        spacing: Seconds between two requests.
        seconds: The interval between two polls of a job. GETs may take half of this interval.
    """
    return max(lanes(spacing), int(min(TURN, seconds / 2 / spacing if spacing else TURN)))


# GETs under way at once, if no rate limits them.
LANES: Final = 10

# GETs that are made before a page gets its turn, if no rate limits them.
TURN: Final = 100

PAGE_SIZE: Final = 200
"""Jobs on a page, the largest number that the server allows (documented)."""


PAGE_WORTH: Final = 3
"""The cost of a page in GETs, since a page is a large answer. The first page costs one GET."""


# Up to this many jobs are always requested one by one.
FEW: Final = 3


UNLISTED: Final = math.inf
"""Stands for the page of a job that is not in the listing."""


# GETs of a job before it is searched in the listing again.
SOON: Final = 16


# A poll may be late by this share of its interval, to be made together with other polls. By default
# jitter spreads polls over a fifth of the interval.
PATIENCE: Final = 0.25


# The same share for a poll that is brought forward, and so comes sooner than after its interval.
PATIENCE_BROUGHT_FORWARD: Final = 0.4


# A poll may wait for this share of the time to its deadline; the other part is for the answer.
ANSWER_SHARE: Final = 0.5


# Rounds in a minute. An account without a payment method has ten requests a minute (documented),
# and there are other calls.
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
    """Return until when a poll may wait for other polls.

    Args:
        due: When the poll is due. A poll that is due already does not wait.
        now: The moment.
        interval: The interval between two polls. The poll may wait for a quarter of this interval.
        deadline: When the poll is cut. Half of the time until then is left for the answer.
        is_brought_forward: Whether the poll is brought forward for an expected end. Such a poll may
            wait for two fifths of the interval.
    """
    if due <= now:
        return due
    patience = PATIENCE_BROUGHT_FORWARD if is_brought_forward else PATIENCE
    return min(due + patience * interval, due + (deadline - due) * ANSWER_SHARE)


def gap(longest: float) -> float:
    """Return the seconds between two rounds, so that each round answers many polls.

    Args:
        longest: The longest interval between two polls of a job. If this is less than a minute, the
            gap is shorter in proportion.
    """
    return min(longest, MINUTE) / ROUNDS


def is_for_gets(jobs: int) -> bool:
    """Say whether there are so few jobs that no listing is read."""
    return jobs <= FEW


def pages_to_read(pages: Sequence[float | None]) -> int:
    """Return how many pages to read for some jobs; the jobs on later pages are left to GETs.

    Args:
        pages: For each job the page on which it was last seen, from 0. None if the job was never
            searched for, and `UNLISTED` if it is not listed. A job that was not found on the pages
            that were read is expected on the next page.

    Returns:
        The number with the least cost; 0 if GETs are cheaper.
    """
    counts = Counter(pages)
    # New jobs are expected together, on the first pages.
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
    """Say whether to read one more page than was planned, for jobs that were not found so far.

    All pages together then cost no more than the GETs of these jobs. If the jobs are not found, the
    pages and the GETs cost at most twice as much as the GETs alone.

    Args:
        read: Number of pages read so far.
        missing: Number of jobs that were expected on these pages.
    """
    return _worth(read + 1) <= missing


def _worth(pages: float) -> float:
    """Return the cost of some pages in GETs; the first page costs as much as one GET."""
    return 1 + PAGE_WORTH * (pages - 1)


def is_sought_again(gets: int) -> bool:
    """Say whether to search again for a job that was not found on its page.

    A listing may be late, or may shift while it is read. The job is searched less and less often,
    since a long listing may not have the job on any page that is read.

    Args:
        gets: Number of GETs of the job so far.
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

    These are the polls that are due already, and the polls that are due before any poll can wait no
    longer.

    Args:
        polls: All polls, in any order.
        now: The moment.
    """
    until = max(now, min((poll.latest for poll in polls), default=now))
    return [poll for poll in polls if poll.due <= until]


def gap_ends(polls: Sequence[Pending], until: float) -> float:
    """Return when the gap after a round ends; this is earlier if a poll cannot wait so long.

    A poll waits for the end of the gap at most twice as long as for other polls. A poll that is
    cut before it is due does not end the gap.

    Args:
        polls: All polls, in any order.
        until: When the gap ends if no poll ends it earlier.
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
