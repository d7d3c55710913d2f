"""What a wait has seen: one observation of a job, and what a series of them says of its progress.

Performs no I/O.
"""

from collections.abc import Hashable
from datetime import datetime
from typing import Final

import attrs

from fireworks_batch.errors import FireworksBatchError
from fireworks_batch.models import BatchInferenceJob
from fireworks_batch.states import JobPhase, JobState

__all__ = [
    "LONGEST_WINDOW",
    "WINDOW_SLACK",
    "History",
    "JobSnapshot",
    "percent_done",
    "schedule_fingerprint",
    "seconds_left",
    "visible_fingerprint",
    "window_end",
    "window_left",
]

# Seconds: the API gives a job at most this long, and cleans up after it.
LONGEST_WINDOW: Final = 72 * 3600.0
WINDOW_SLACK: Final = 3600.0
# The counters move about once a minute: this many of their moves make a rate.
RATE_MOVES: Final = 6


@attrs.frozen(kw_only=True, repr=False)
class JobSnapshot:
    """One good observation of a job."""

    job: BatchInferenceJob
    """The whole job, as observed."""

    previous_state: JobState | None
    """The state at the observation before; None on the first."""

    changed: bool
    """Whether anything visible differs from the observation before; True on the first."""

    number: int
    """Good observations of this wait so far, from 1."""

    observed_at: datetime
    """When the answer was read, aware, in UTC, by this machine's clock."""

    elapsed: float
    """Seconds since the wait began."""

    unchanged_for: float
    """Seconds since the last visible change."""

    percent: float | None
    """Rows done of all rows, 0 to 100, at most 99.9 before COMPLETED; None if unknown."""

    rate: float | None
    """Rows per second of late; None until the counters have moved under this wait's eyes."""

    eta: float | None
    """Seconds to the last row at that rate; None if unknown."""

    failures: int = 0
    """Looks that were lost between the observation before and this one."""

    last_error: FireworksBatchError | None = attrs.field(default=None, eq=False)
    """What the newest of them failed with; None if there was none."""

    problems: tuple[str, ...] = ()
    """Members of the answer that could not be read, each with its path; they are at defaults."""

    error: FireworksBatchError | None = attrs.field(default=None, eq=False)
    """Why this is the last one of a job that has not ended, among many jobs that are watched: what
    the wait for it failed with. None on every other."""

    def __repr__(self) -> str:
        percent = "" if self.percent is None else f" {self.percent:.1f}%"
        return f"<JobSnapshot {self.number} of {self.job.id!r} {self.job.state}{percent}>"


# --- Fingerprints -------------------------------------------------------------------------------


def schedule_fingerprint(job: BatchInferenceJob) -> Hashable:
    """Return what starts the poll interval anew when it changes; never a counter."""
    return job.state, job.waiting_on_capacity


def visible_fingerprint(job: BatchInferenceJob) -> Hashable:
    """Return what counts as a visible change; never ``update_time``."""
    return job.state, job.waiting_on_capacity, job.status, job.job_progress


def window_left(job: BatchInferenceJob, server_now: datetime) -> float | None:
    """Return the seconds after which it is no use to wait for the job any more.

    Below 0 once they have passed; None if the job does not even say when it was created.

    Args:
        job: As it was seen.
        server_now: The moment, by the server's own clock.
    """
    end = window_end(job)
    return None if end is None else end - server_now.timestamp()


def window_end(job: BatchInferenceJob) -> float | None:
    """Return when it is no use to wait any more, in POSIX seconds of the server's clock.

    That is an hour after its ``expire_time``; without one, after the longest window there is.
    """
    if job.expire_time is not None:
        return job.expire_time.timestamp() + WINDOW_SLACK
    if job.create_time is not None:
        return job.create_time.timestamp() + LONGEST_WINDOW + WINDOW_SLACK
    return None


# --- Arithmetic ---------------------------------------------------------------------------------


def percent_done(job: BatchInferenceJob) -> float | None:
    """Return the rows done of all rows, from 0 to 100; below 100 until the job is COMPLETED."""
    if job.is_success:
        return 100.0
    progress = job.job_progress
    if progress is None:
        return None
    if progress.total <= 0:
        percent = float(progress.percent)
    else:
        percent = 100.0 * progress.total_processed_requests / progress.total
    return min(max(percent, 0.0), 99.9)


def seconds_left(job: BatchInferenceJob, rate: float | None) -> float | None:
    """Return the seconds to the last row at a rate; None if there is none to go by."""
    progress = job.job_progress
    if job.is_terminal:
        return 0.0
    # Before the server has counted its rows the total is only what was done so far.
    if progress is None or not rate or progress.total_input_requests <= 0:
        return None
    return (progress.total - progress.total_processed_requests) / rate


@attrs.frozen
class History:
    """What a wait remembers of the snapshots before: a few numbers, however long it lasts."""

    number: int = 0
    """Good observations so far."""

    state: JobState | None = None
    """The newest one's state."""

    moves: tuple[tuple[float, int], ...] = ()
    """When the counter of rows was first seen at each of its newest values."""

    def add(self, job: BatchInferenceJob, *, now: float) -> "History":
        """Return the history with one more observation.

        Args:
            job: What was observed.
            now: When, on the monotonic clock.
        """
        return History(self.number + 1, job.state, self._moved(job, now))

    def repeat(self, times: int) -> "History":
        """Return the history after so many more observations that showed the same."""
        return attrs.evolve(self, number=self.number + times)

    def rate(self, *, now: float) -> float | None:
        """Return the rows per second over the newest moves; it sinks while none comes."""
        if len(self.moves) < 2:
            return None
        (since, first), (_, last) = self.moves[0], self.moves[-1]
        return (last - first) / (now - since) if now > since else None

    def _moved(self, job: BatchInferenceJob, now: float) -> tuple[tuple[float, int], ...]:
        if job.state.phase is not JobPhase.RUNNING or job.job_progress is None:
            return self.moves
        done = job.job_progress.total_processed_requests
        if not self.moves or done < self.moves[-1][1]:
            return ((now, done),)
        if done == self.moves[-1][1]:
            return self.moves
        return (*self.moves[-RATE_MOVES + 1 :], (now, done))
