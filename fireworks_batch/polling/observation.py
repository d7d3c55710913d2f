"""What a wait asks of the world, and on which terms: the effects, named so that they are passed in.

Performs no I/O.
"""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, Protocol

import attrs

from fireworks_batch.models.errors import (
    APIStatusError,
    FireworksBatchError,
    ResponseDecodeError,
    shown,
)
from fireworks_batch.models.job import BatchInferenceJob
from fireworks_batch.polling.machine import FailureKind
from fireworks_batch.wire.answers import Answer, is_refusal, server_time
from fireworks_batch.wire.codec import Codec

__all__ = [
    "Failure",
    "Follower",
    "JobReader",
    "Moment",
    "Observation",
    "failure_of",
    "refuse_another",
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


def failure_of(error: FireworksBatchError) -> Failure:
    """Return what an error means for whoever waits."""
    retry_after = error.retry_after if isinstance(error, APIStatusError) else None
    return Failure(_kind(error), error, retry_after)


def _kind(error: FireworksBatchError) -> FailureKind:
    if not isinstance(error, APIStatusError):
        return FailureKind.LOST
    if error.status == 429:
        return FailureKind.RATE_LIMITED
    if not is_refusal(error):
        return FailureKind.LOST
    return _REFUSALS.get(error.status, FailureKind.REFUSED)


_REFUSALS: Final = {
    401: FailureKind.UNAUTHORIZED,
    403: FailureKind.UNAUTHORIZED,
    404: FailureKind.NOT_FOUND,
}


_log = logging.getLogger("fireworks_batch.wait")


class JobReader:
    """Reads jobs, and remembers which kinds of unreadable members it has told of."""

    def __init__(self, codec: Codec, wall: Callable[[], datetime]) -> None:
        """Take what reads.

        Args:
            codec: Makes jobs of JSON values.
            wall: Returns the time of day, aware, in UTC.
        """
        self._codec = codec
        self._wall = wall
        self._told: set[tuple[str, ...]] = set()

    def moment(self, answer: Answer, now: float) -> Moment:
        """Return when an answer was read, by all clocks.

        Args:
            answer: The answer, just read.
            now: The moment of the loop's clock.
        """
        observed_at = self._wall()
        server_now = server_time(answer.headers) or observed_at
        return Moment(
            now=now,
            observed_at=observed_at,
            server_now=server_now,
            server_seconds=server_now.timestamp(),
            request_id=answer.headers.get("x-request-id"),
        )

    def read(self, value: Any) -> tuple[BatchInferenceJob, tuple[str, ...]]:
        """Read a job; one of which name and state are readable is a good look all the same.

        Args:
            value: Its JSON value.

        Returns:
            The job, and what could not be read of it, each with its path.

        Raises:
            ResponseDecodeError: Not even name and state are readable.
        """
        try:
            job = self._codec.structure(value, BatchInferenceJob, required=("name", "state"))
        except ResponseDecodeError as error:
            if error.partial is None:
                raise
            self._tell(error)
            partial: BatchInferenceJob = error.partial
            return partial, error.problems
        return job, ()

    def _tell(self, error: ResponseDecodeError) -> None:
        """Log what cannot be read, each kind of it once."""
        paths = tuple(problem.partition(":")[0] for problem in error.problems)
        if paths not in self._told and len(self._told) < 100:
            self._told.add(paths)
            _log.warning("%s; the rest was read, these are at defaults", error)


def refuse_another(job: BatchInferenceJob, job_id: str) -> None:
    """Refuse an answer that shows another job than the one asked for.

    Only the ids are compared: the account may have two names.

    Args:
        job: The job that the answer shows.
        job_id: The id that was asked for.

    Raises:
        ResponseDecodeError: The ids differ.
    """
    if job.id != job_id:
        problem = f"name: expected that of job {job_id!r}, not {shown(job.name)}"
        raise ResponseDecodeError(f"the answer shows another job: {problem}", problems=[problem])
