"""Snapshots: the result of one successful poll, and the progress that a series of them shows.

Performs no I/O.
"""

from collections import Counter
from collections.abc import Hashable, Iterable
from datetime import datetime
from typing import Final

import attrs

from fireworks_batch.models import html
from fireworks_batch.models.errors import ClientStateError, FireworksBatchError
from fireworks_batch.models.job import BatchInferenceJob, rows_text
from fireworks_batch.models.names import JobRef
from fireworks_batch.models.states import JobPhase, JobState
from fireworks_batch.models.texts import moment

__all__ = [
    "EXPIRY_GRACE",
    "LONGEST_TIME_LIMIT",
    "FleetProgress",
    "History",
    "JobOutcome",
    "JobSnapshot",
    "add_up",
    "expiry",
    "percent_done",
    "schedule_fingerprint",
    "seconds_left",
    "visible_fingerprint",
]


# Seconds: the longest time limit that the API gives a job.
LONGEST_TIME_LIMIT: Final = 72 * 3600.0


# Seconds after a job's time limit within which the API brings the job to a terminal state.
EXPIRY_GRACE: Final = 3600.0


# A rate is measured over this many moves of a counter. A counter moves about once a minute.
RATE_MOVES: Final = 6


@attrs.frozen(kw_only=True, repr=False)
class JobSnapshot:
    """The result of one successful poll of a job."""

    job: BatchInferenceJob
    """The whole job, as the poll showed it."""

    previous_state: JobState | None
    """The state in the previous snapshot; None in the first snapshot."""

    changed: bool
    """Whether anything visible differs from the previous snapshot; True in the first snapshot."""

    number: int
    """The number of this snapshot in its wait, from 1."""

    observed_at: datetime
    """When the answer was read, aware, in UTC, by this machine's clock."""

    elapsed: float
    """Seconds since the wait began."""

    unchanged_for: float
    """Seconds since the last visible change."""

    percent: float | None
    """Percentage of rows processed, 0 to 100, at most 99.9 before COMPLETED; None if unknown."""

    rate: float | None
    """Rows processed per second in the last minutes; None until the counter of rows has moved in
    this wait."""

    eta: float | None
    """Estimated seconds until the last row is processed, by ``rate``; None if unknown."""

    failures: int = 0
    """Number of failed polls since the previous snapshot."""

    last_error: FireworksBatchError | None = attrs.field(default=None, eq=False)
    """The error of the newest failed poll since the previous snapshot; None if no poll failed."""

    problems: tuple[str, ...] = ()
    """One text, with the path, for each member of the answer that cannot be read. In the job such
    a member has its default."""

    error: FireworksBatchError | None = attrs.field(default=None, eq=False)
    """The error that ended the wait for this job, in a wait for many jobs. Only the last snapshot
    of such a job has an error; None in every other snapshot."""

    def __repr__(self) -> str:
        percent = "" if self.percent is None else f" {self.percent:.1f}%"
        return f"<JobSnapshot {self.number} of {self.job.id!r} {self.job.state}{percent}>"

    def _repr_html_(self) -> str:
        job, error = self.job, self.error or self.last_error
        values = {
            "job": job.id,
            "state": job.state,
            "state before": self.previous_state,
            "done": html.percent(self.percent),
            "rows": rows_text(job.job_progress) if job.job_progress else None,
            "rate": html.rate(self.rate),
            "left": html.duration(self.eta or None),
            "unchanged for": html.duration(self.unchanged_for),
            "failed polls": self.failures or None,
            "error": f"{type(error).__name__}: {error}" if error else None,
            "problems": html.some(self.problems),
            "seen": moment(self.observed_at),
        }
        return html.facts("JobSnapshot", values)


# --- Fingerprints -------------------------------------------------------------------------------


def schedule_fingerprint(job: BatchInferenceJob) -> Hashable:
    """Return the values whose change resets the poll interval; no counter is among them."""
    return job.state, job.waiting_on_capacity


def visible_fingerprint(job: BatchInferenceJob) -> Hashable:
    """Return the values whose change is a visible change; ``update_time`` is not among them."""
    return job.state, job.waiting_on_capacity, job.status, job.job_progress


# --- Expiry -------------------------------------------------------------------------------------


def expiry(job: BatchInferenceJob) -> float | None:
    """Return the time after which the job cannot end any more, in POSIX seconds of the server.

    This is an hour after ``expire_time``. Without one, it is an hour after the longest time limit
    from the job's creation; None if the time of creation is unknown too.
    """
    if job.expire_time is not None:
        return job.expire_time.timestamp() + EXPIRY_GRACE
    if job.create_time is not None:
        return job.create_time.timestamp() + LONGEST_TIME_LIMIT + EXPIRY_GRACE
    return None


# --- Progress -----------------------------------------------------------------------------------


def percent_done(job: BatchInferenceJob) -> float | None:
    """Return the percentage of rows processed, below 100 until COMPLETED; None if unknown."""
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
    """Return the seconds until the last row is processed, at a rate; None if unknown."""
    progress = job.job_progress
    if job.is_terminal:
        return 0.0
    # Before the server has counted the rows, the total is only the rows done so far.
    if progress is None or not rate or progress.total_input_requests <= 0:
        return None
    return (progress.total - progress.total_processed_requests) / rate


@attrs.frozen
class History:
    """What a wait remembers of its snapshots: a few numbers, also in a long wait."""

    state: JobState | None = None
    """The state in the newest snapshot; None before the first."""

    moves: tuple[tuple[float, int], ...] = ()
    """The newest values of the counter of rows, each with the time at which it was first seen."""

    def add(self, job: BatchInferenceJob, *, now: float) -> "History":
        """Return the history with one more snapshot.

        Args:
            job: The job that a poll has shown.
            now: The time of the poll, in seconds of the monotonic clock.
        """
        return History(job.state, self._moved(job, now))

    def rate(self, *, now: float) -> float | None:
        """Return the rows per second from the oldest of the newest moves until now.

        The rate sinks until the counter moves again. None before the counter has moved.
        """
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
    """The job in its terminal state, FAILED, say; None if the wait failed."""

    error: FireworksBatchError | None = attrs.field(default=None, eq=False)
    """The error that ended the wait; None if the job ended."""

    def unwrap(self) -> BatchInferenceJob:
        """Return the job in its terminal state, or raise the error of the wait.

        Raises:
            FireworksBatchError: The wait failed, with an error of `Jobs.wait_until_terminal`.
        """
        if self.error is not None:
            raise self.error
        if self.job is None:
            raise ClientStateError(f"{self!r} has neither a job nor an error")
        return self.job


@attrs.frozen(kw_only=True)
class FleetProgress:
    """The progress of many jobs together, from the newest snapshot of each job."""

    queued: int = 0
    """Jobs that are accepted, with no row processed yet."""

    running: int = 0
    """Jobs whose rows are processed."""

    finishing: int = 0
    """Jobs that write results, or are being cancelled."""

    paused: int = 0
    """Jobs that stand still until a person acts."""

    leaving: int = 0
    """Jobs that are being deleted."""

    terminal: int = 0
    """Jobs that have ended."""

    unknown: int = 0
    """Jobs in states that this release does not know."""

    unseen: int = 0
    """Jobs without a snapshot so far."""

    failed: int = 0
    """Jobs whose wait ended with an error. Such a job is also counted by its newest snapshot."""

    rows_total: int = 0
    """Rows of all jobs, as far as the server has counted them."""

    rows_done: int = 0
    """Rows processed, the failed ones included."""

    rows_failed: int = 0
    """Rows that failed."""

    rate: float | None = None
    """Rows processed per second in the last minutes, by all jobs together; None until a counter has
    moved."""

    eta: float | None = None
    """Estimated seconds until the last row is processed, by ``rate``; None if unknown."""

    @property
    def jobs(self) -> int:
        """The number of all jobs."""
        phases = self.queued + self.running + self.finishing + self.paused + self.leaving
        return phases + self.terminal + self.unknown + self.unseen

    def _repr_html_(self) -> str:
        phases = ("queued", "running", "finishing", "paused", "leaving", "unknown", "unseen")
        values = {
            "jobs": self.jobs,
            **{phase: getattr(self, phase) or None for phase in phases},
            "ended": self.terminal,
            "failed waits": self.failed or None,
            "rows": f"{self.rows_done:,} of {self.rows_total:,}",
            "failed rows": self.rows_failed or None,
            "rate": html.rate(self.rate),
            "left": html.duration(self.eta or None),
        }
        return html.facts("FleetProgress", values)


def add_up(snapshots: Iterable[JobSnapshot | None], *, failed: int) -> FleetProgress:
    """Return the progress of many jobs together.

    Args:
        snapshots: The newest snapshot of each job; None for a job without one.
        failed: Waits that ended with an error.
    """
    newest = list(snapshots)
    seen = [snapshot for snapshot in newest if snapshot is not None]
    phases = Counter(snapshot.job.state.phase for snapshot in seen)
    rows = [counters for one in seen if (counters := one.job.job_progress) is not None]
    rates = [one.rate for one in seen if one.rate and not one.job.is_terminal]
    total = sum(counters.total for counters in rows)
    remaining = sum(_remaining_rows(snapshot.job) for snapshot in seen)
    rate = sum(rates) if rates else None
    return FleetProgress(
        **{phase.value: phases[phase] for phase in JobPhase},
        unseen=len(newest) - len(seen),
        failed=failed,
        rows_total=total,
        rows_done=sum(counters.total_processed_requests for counters in rows),
        rows_failed=sum(counters.failed_requests for counters in rows),
        rate=rate,
        eta=0.0 if phases[JobPhase.TERMINAL] == len(newest) else remaining / rate if rate else None,
    )


def _remaining_rows(job: BatchInferenceJob) -> int:
    rows = job.job_progress
    return 0 if rows is None or job.is_terminal else rows.total - rows.total_processed_requests
