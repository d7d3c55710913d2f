"""What the poll machine is told, and what it answers: events and decisions.

All moments are points on one monotonic clock, in seconds. Performs no I/O.
"""

import enum
from collections.abc import Hashable
from typing import TypeAlias

import attrs

__all__ = [
    "Decision",
    "Ending",
    "Failed",
    "FailureKind",
    "Finished",
    "GaveUp",
    "Gone",
    "PollAt",
    "Refused",
    "Seen",
    "Stalled",
    "TimedOut",
    "Unrecognised",
]


# --- Events -------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Seen:
    """A good look, reduced to what the machine may judge."""

    schedule: Hashable
    """A change of this starts the interval anew."""

    visible: Hashable
    """A change of this is progress."""

    is_terminal: bool = False
    """Whether nothing can change any more."""

    is_unknown: bool = False
    """Whether the state is one that nobody has heard of."""

    has_ended: bool = False
    """Whether the server gives a time of the end, whatever the state."""

    window: float | None = None
    """Seconds until it is no use to wait any more, by what was seen; below 0 if that has passed,
    None if it is unknown."""


class FailureKind(enum.Enum):
    """What a failed look means for the wait."""

    LOST = "lost"
    """No usable answer; the next look may do better."""

    RATE_LIMITED = "rate limited"
    """Too many requests: the server is well, and asks to wait."""

    UNAUTHORIZED = "unauthorized"
    """The key is refused. It may be a hiccup, if it was accepted before."""

    NOT_FOUND = "not found"
    """There is no such thing: not yet, or no more."""

    REFUSED = "refused"
    """Refused for good."""

    CUT = "cut"
    """The deadline came first."""


@attrs.frozen
class Failed:
    """A look that brought nothing."""

    kind: FailureKind
    """What that means."""

    retry_after: float | None = None
    """Seconds that the server asked to wait."""


# --- Decisions ----------------------------------------------------------------------------------


@attrs.frozen
class PollAt:
    """Look again, no earlier than then."""

    due: float
    """The moment."""


@attrs.frozen
class Finished:
    """It is terminal."""


@attrs.frozen
class TimedOut:
    """The deadline has come."""

    waited: float
    """Seconds since the start."""


@attrs.frozen
class Stalled:
    """Nothing visible has changed for too long."""

    idle_for: float
    """Seconds since the last visible change."""


@attrs.frozen
class GaveUp:
    """Too many looks in a row have failed, for too long."""

    failures: int
    """How many."""

    spent: float
    """For how many seconds, without those that the server asked for."""


@attrs.frozen
class Refused:
    """The server refuses for good; its own error says why."""


@attrs.frozen
class Gone:
    """It was there earlier in this wait, and is no more."""


@attrs.frozen
class Unrecognised:
    """It has been in states that nobody has heard of for too long, or has ended in one."""

    unknown_for: float
    """Seconds since the first of them."""


Ending: TypeAlias = Finished | TimedOut | Stalled | GaveUp | Refused | Gone | Unrecognised
Decision: TypeAlias = PollAt | Ending
