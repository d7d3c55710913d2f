"""What a wait asks of the world, and on which terms: the effects, named so that they are passed in.

Performs no I/O.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol

import attrs

from fireworks_batch.errors import FireworksBatchError
from fireworks_batch.events import FailureKind
from fireworks_batch.models import BatchInferenceJob
from fireworks_batch.names import JobRef
from fireworks_batch.policies import PollPolicy

__all__ = [
    "Failure",
    "Follow",
    "Follower",
    "Locate",
    "Moment",
    "Observation",
    "WaitEffects",
    "WaitTerms",
]


@attrs.frozen(kw_only=True)
class Observation:
    """A good look at a job."""

    job: BatchInferenceJob
    """The whole job."""

    observed_at: datetime
    """When the answer was read, aware, in UTC, by this machine's clock."""

    server_now: datetime
    """The same by the server's clock, as far as that is known."""

    problems: tuple[str, ...] = ()
    """Members that could not be read."""

    request_id: str | None = None
    """The server's id of the request."""


@attrs.frozen
class Failure:
    """A look that brought nothing."""

    kind: FailureKind
    """What that means for the wait."""

    error: FireworksBatchError | None
    """What it failed with; None if the deadline cut it."""

    retry_after: float | None = None
    """Seconds that the server asked to wait."""


@attrs.frozen(kw_only=True)
class Moment:
    """When an answer was read, by each clock; one answer may show many jobs."""

    now: float
    """By the loop's clock."""

    observed_at: datetime
    """By this machine's clock, aware, in UTC."""

    server_now: datetime
    """By the server's clock, as far as that is known."""

    server_seconds: float
    """The same in POSIX seconds."""

    request_id: str | None = None
    """The server's id of the request."""

    def observation(self, job: BatchInferenceJob, problems: tuple[str, ...] = ()) -> Observation:
        """Return a good look at one of the jobs that the answer showed."""
        return Observation(
            job=job,
            observed_at=self.observed_at,
            server_now=self.server_now,
            problems=problems,
            request_id=self.request_id,
        )


class Follower(Protocol):
    """Somebody who looks at a job again and again, and decides after each look."""

    due: float
    """The next look is made no earlier than at this moment of the loop's clock."""

    deadline: float
    """At this moment the look ends, with a `Failure` of kind CUT."""

    pause: float
    """Seconds between two looks; a 429 without a Retry-After holds the account's requests so
    long, or as long as the shortest pause of others."""

    longest: float
    """Most seconds between two looks: no such pause, doubled by more 429s, gets longer."""

    job: BatchInferenceJob | None
    """The job as it was last seen."""

    memo: object
    """Kept for whoever makes the looks, for as long as there may be another one."""

    def seen(self, seen: Observation) -> bool:
        """Take a good look; return whether to look again. May raise what ends it."""
        ...

    def same(self, moment: Moment) -> bool:
        """Take a good look that showed ``job`` unchanged, as `seen` does."""
        ...

    def lost(self, failure: Failure) -> bool:
        """Take a failed look, as `seen` does."""
        ...


class Follow(Protocol):
    """The one effect of a wait besides the clock and the draw: looks at a job."""

    def __call__(self, ref: JobRef, follower: Follower) -> Awaitable[None]:
        """Look until the follower has enough of it; raise what it raises.

        Each look is an observation made no earlier than it was due, whoever it was made for.
        """
        ...


class Locate(Protocol):
    """Finds out the job's account, before the first look, where the caller did not say it."""

    def __call__(self, *, due: float, deadline: float, pause: float) -> Awaitable[JobRef | Failure]:
        """Return the reference, or how that failed.

        Args:
            due: It is asked no earlier than at this moment of the loop's clock.
            deadline: At this moment it ends, with a `Failure` of kind CUT.
            pause: Seconds for which a 429 without a Retry-After holds the account's requests.
        """
        ...


@attrs.frozen(kw_only=True)
class WaitEffects:
    """What a wait needs of the world."""

    follow: Follow
    locate: Locate
    clock: Callable[[], float]
    wall: Callable[[], datetime]
    draw: Callable[[], float]


@attrs.frozen(kw_only=True)
class WaitTerms:
    """What a wait was asked for."""

    job: str
    """What the caller called the job."""

    policy: PollPolicy
    """When to look, and when to give up."""

    timeout: float | None
    """Seconds for the whole wait, or until the first good look says more; None: no limit."""

    follows_window: bool
    """Whether the deadline follows the job's own window."""

    time_scale: float
    """This clock's seconds for one of the server's."""

    changes_only: bool
    """Whether snapshots without a visible change are left out."""

    on_loss: Callable[[int], object] | None = None
    """Called after each lost look with how many were lost in a row."""
