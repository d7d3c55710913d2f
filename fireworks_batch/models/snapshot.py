"""What a wait has seen: one observation of a job, and what a series of them says of its progress.

Performs no I/O.
"""

from collections import Counter
from collections.abc import Hashable, Iterable
from datetime import datetime
from typing import Final

import attrs

from fireworks_batch.models.errors import ClientStateError, FireworksBatchError
from fireworks_batch.models.job import BatchInferenceJob
from fireworks_batch.models.names import JobRef
from fireworks_batch.models.states import JobPhase, JobState

__all__ = [
    "LONGEST_WINDOW",
    "WINDOW_SLACK",
    "FleetProgress",
    "History",
    "JobOutcome",
    "JobSnapshot",
    "add_up",
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
        return History(job.state, self._moved(job, now))

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


@attrs.frozen
class JobOutcome:
    """How the wait for one of many jobs ended: with the job, or with an error."""

    ref: JobRef
    """The job."""

    job: BatchInferenceJob | None = None
    """The final job, whatever became of it; None if the wait failed."""

    error: FireworksBatchError | None = attrs.field(default=None, eq=False)
    """Why no more can be known of it; None if it ended."""

    def unwrap(self) -> BatchInferenceJob:
        """Return the final job, or raise why there is none.

        Raises:
            FireworksBatchError: The wait failed; it is what `wait_until_terminal` raises.
        """
        if self.error is not None:
            raise self.error
        if self.job is None:
            raise ClientStateError(f"{self!r} has neither a job nor an error")
        return self.job


@attrs.frozen(kw_only=True)
class FleetProgress:
    """Where many jobs stand together, by what was last seen of each."""

    queued: int = 0
    """Jobs that wait for their turn: see `JobPhase`."""

    running: int = 0
    """Jobs whose rows are processed."""

    finishing: int = 0
    """Jobs that write results, or are being cancelled."""

    paused: int = 0
    """Jobs that somebody has to look after."""

    leaving: int = 0
    """Jobs that are being deleted."""

    terminal: int = 0
    """Jobs that have ended."""

    unknown: int = 0
    """Jobs in states that this release does not know."""

    unseen: int = 0
    """Jobs of which no good look was had so far."""

    failed: int = 0
    """Waits that ended with an error; their jobs are counted by what was last seen of them too."""

    rows_total: int = 0
    """Rows of all jobs, as far as the server has counted them."""

    rows_done: int = 0
    """Rows done, well or badly."""

    rows_failed: int = 0
    """Rows that failed."""

    rate: float | None = None
    """Rows per second of late, of all jobs together; None until counters have moved."""

    eta: float | None = None
    """Seconds to the last row of those counted, at that rate; None if unknown."""

    @property
    def jobs(self) -> int:
        """All jobs."""
        phases = self.queued + self.running + self.finishing + self.paused + self.leaving
        return phases + self.terminal + self.unknown + self.unseen


def add_up(snapshots: Iterable[JobSnapshot | None], *, failed: int) -> FleetProgress:
    """Return where jobs stand together.

    Args:
        snapshots: The newest of each job; None for one that was never seen.
        failed: Waits that ended with an error.
    """
    newest = list(snapshots)
    seen = [snapshot for snapshot in newest if snapshot is not None]
    phases = Counter(snapshot.job.state.phase for snapshot in seen)
    rows = [counters for one in seen if (counters := one.job.job_progress) is not None]
    rates = [one.rate for one in seen if one.rate and not one.job.is_terminal]
    total = sum(counters.total for counters in rows)
    left = sum(_rows_left(snapshot.job) for snapshot in seen)
    rate = sum(rates) if rates else None
    return FleetProgress(
        **{phase.value: phases[phase] for phase in JobPhase},
        unseen=len(newest) - len(seen),
        failed=failed,
        rows_total=total,
        rows_done=sum(counters.total_processed_requests for counters in rows),
        rows_failed=sum(counters.failed_requests for counters in rows),
        rate=rate,
        eta=0.0 if phases[JobPhase.TERMINAL] == len(newest) else left / rate if rate else None,
    )


def _rows_left(job: BatchInferenceJob) -> int:
    rows = job.job_progress
    return 0 if rows is None or job.is_terminal else rows.total - rows.total_processed_requests
