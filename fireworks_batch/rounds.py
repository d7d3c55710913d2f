"""How long a look may wait for others, and whether GETs or pages of a listing are cheaper.

Performs no I/O: moments are points on one monotonic clock, in seconds.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

__all__ = [
    "PAGE_SIZE",
    "PAGE_WORTH",
    "PATIENCE",
    "UNLISTED",
    "latest",
    "looks_again",
    "pages_to_read",
    "reads_on",
]

PAGE_SIZE: Final = 200
"""Jobs on a page: the server's most."""

PAGE_WORTH: Final = 3
"""A page is read in place of more than so many GETs: it is one request, but a large answer."""

UNLISTED: Final = math.inf
"""The page of a job that the listing does not have."""

# GETs of a job before it is looked for in the listing again.
SOON: Final = 16

# A look may be late by this share of its interval, if it can be made together with others then:
# jitter spreads them over a fifth of it by default.
PATIENCE: Final = 0.25


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


def pages_to_read(pages: Sequence[float | None]) -> int:
    """Return how many pages to read for some looks; GETs bring what is not on them.

    Args:
        pages: The page on which each job was seen last, from 0: None if it was never looked for,
            `UNLISTED` if it is not listed. Jobs that were not found where they were looked for
            are taken to be on the next page.

    Returns:
        The number with the least cost; 0 if GETs are cheaper.
    """
    if len(pages) <= PAGE_WORTH:
        return 0
    counts = Counter(pages)
    # New ones are hoped to be together, and on the first pages.
    new = counts.pop(None, 0)
    counts[max(0, math.ceil(new / PAGE_SIZE) - 1)] += new
    least, best, left = float(len(pages)), 0, len(pages)
    for page in sorted(page for page in counts if page is not None and page < UNLISTED):
        left -= counts[page]
        cost = PAGE_WORTH * (page + 1) + left
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
    return PAGE_WORTH * (read + 1) <= missing


def looks_again(gets: int) -> bool:
    """Say whether a job that was not where it was looked for is to be looked for anew.

    A listing may be late, or shift while it is read. Where it does not have the job at all, as one
    that is long, this happens ever more seldom.

    Args:
        gets: How often it was asked for by GET so far.
    """
    return gets >= SOON and gets & (gets - 1) == 0
