"""The jobs that are followed: their newest snapshots and outcomes, as rows. Performs no I/O."""

from collections.abc import Iterable, Sequence

import attrs

from fireworks_batch import (
    BatchInferenceJob,
    FireworksBatchError,
    JobPhase,
    JobProgress,
    JobSnapshot,
)
from fireworks_batch.cli.exit_codes import ExitCode, code_of_error, code_of_job, worst

__all__ = ["Board", "Outcome", "Row", "Totals", "slowest", "totals"]


@attrs.frozen
class Outcome:
    """How following one job ended: with its terminal state, or with an error."""

    job_id: str
    """The last segment of its resource name."""

    job: BatchInferenceJob | None
    """The job as last seen; None if no poll succeeded."""

    error: FireworksBatchError | None
    """Why the wait failed; None if the job is in a terminal state."""

    @property
    def code(self) -> ExitCode:
        """The exit code."""
        if self.error is not None:
            return code_of_error(self.error)
        return code_of_job(self.job) if self.job else ExitCode.TROUBLE


@attrs.frozen(kw_only=True)
class Row:
    """One job on the screen."""

    job_id: str
    """The last segment of its resource name."""

    state: str = "…"
    """The state's bare name; an ellipsis until it is known."""

    phase: JobPhase = JobPhase.UNKNOWN
    """The phase of the state."""

    percent: float | None = None
    """0 to 100."""

    succeeded: int = 0
    """Rows that succeeded."""

    failed: int = 0
    """Rows that failed."""

    total: int = 0
    """All rows; 0 if not known."""

    rate: float | None = None
    """Rows a second."""

    eta: float | None = None
    """Seconds until it ends; None if not known."""

    unchanged_for: float = 0.0
    """Seconds since anything visible changed."""

    failed_polls: int = 0
    """Polls that failed since the last snapshot."""

    code: ExitCode | None = None
    """The exit code of its outcome; None while it is followed."""

    is_seen: bool = False
    """Whether a poll has shown the job."""


@attrs.frozen(kw_only=True)
class Totals:
    """All jobs together."""

    jobs: int
    """How many there are."""

    phases: dict[JobPhase, int]
    """How many of them are in each phase that has any."""

    ended: int
    """How many have an outcome."""

    unsuccessful: int
    """How many of the ended jobs have an exit code other than 0."""

    succeeded: int
    """Rows that succeeded."""

    failed: int
    """Rows that failed."""

    total: int
    """All rows of the jobs that have said how many they have."""

    rate: float | None
    """Rows a second; None if not known of any."""

    eta: float | None
    """Seconds until the last job ends, among the jobs whose end can be estimated."""


@attrs.define
class _Entry:
    job_id: str
    snapshot: JobSnapshot | None = None
    seen_at: float = 0.0
    failed_polls: int = 0
    outcome: Outcome | None = None


class Board:
    """Keeps the newest snapshot of each job, in the order in which they were given."""

    def __init__(self, job_ids: Iterable[str] = ()) -> None:
        """Start without snapshots.

        Args:
            job_ids: The jobs; a job that is given twice has one row. Others may be added later, by
                their snapshots.
        """
        self._entries = {job_id: _Entry(job_id) for job_id in job_ids}

    @property
    def job_ids(self) -> list[str]:
        """The jobs, in order."""
        return list(self._entries)

    @property
    def code(self) -> ExitCode:
        """The exit code of the outcomes so far."""
        return worst(outcome.code for outcome in self.outcomes)

    @property
    def outcomes(self) -> list[Outcome]:
        """The outcomes so far, in the order of the jobs."""
        return [entry.outcome for entry in self._entries.values() if entry.outcome is not None]

    @property
    def open_rows(self) -> list[Row]:
        """The jobs that are still followed, as last seen."""
        return [
            _row(entry, entry.seen_at) for entry in self._entries.values() if entry.outcome is None
        ]

    def see(self, snapshot: JobSnapshot, *, now: float) -> None:
        """Take a snapshot.

        Args:
            snapshot: The snapshot.
            now: The time, in seconds of the clock that `rows` is called with.
        """
        entry = self._entry(snapshot.job.id)
        entry.snapshot, entry.seen_at, entry.failed_polls = snapshot, now, 0

    def follow(self, snapshot: JobSnapshot, *, now: float) -> None:
        """Take a snapshot, and with the last snapshot of a job its outcome.

        Args:
            snapshot: The snapshot.
            now: The time, in seconds of the clock that `rows` is called with.
        """
        self.see(snapshot, now=now)
        job = snapshot.job
        if job.is_terminal or snapshot.error is not None:
            self.end(Outcome(job.id, job, snapshot.error))

    def count_failed_polls(self, job_id: str, count: int) -> None:
        """Take the number of polls of a job that failed since its last snapshot."""
        self._entry(job_id).failed_polls = count

    def end(self, outcome: Outcome) -> None:
        """Take the outcome of a job."""
        self._entries[outcome.job_id].outcome = outcome

    def _entry(self, job_id: str) -> _Entry:
        return self._entries.setdefault(job_id, _Entry(job_id))

    def rows(self, *, now: float) -> list[Row]:
        """Return a row for each job, in order, with its times brought up to now."""
        return [_row(entry, now) for entry in self._entries.values()]


def _row(entry: _Entry, now: float) -> Row:
    code = entry.outcome.code if entry.outcome else None
    seen = entry.snapshot
    if seen is None:
        return Row(job_id=entry.job_id, failed_polls=entry.failed_polls, code=code)
    progress = seen.job.job_progress or JobProgress()
    since = max(0.0, now - entry.seen_at) if code is None else 0.0
    return Row(
        job_id=entry.job_id,
        state=str(seen.job.state),
        phase=seen.job.state.phase,
        percent=seen.percent,
        succeeded=progress.successfully_processed_requests,
        failed=progress.failed_requests,
        total=progress.total,
        rate=seen.rate if code is None else None,
        eta=None if seen.eta is None or code is not None else max(0.0, seen.eta - since),
        unchanged_for=seen.unchanged_for + since,
        failed_polls=entry.failed_polls,
        code=code,
        is_seen=True,
    )


def totals(rows: Sequence[Row]) -> Totals:
    """Return the sums over all jobs."""
    phases = dict.fromkeys(JobPhase, 0)
    for row in rows:
        phases[row.phase] += 1
    rates = [row.rate for row in rows if row.rate is not None]
    return Totals(
        jobs=len(rows),
        phases={phase: count for phase, count in phases.items() if count},
        ended=sum(row.code is not None for row in rows),
        unsuccessful=sum(bool(row.code) for row in rows),
        succeeded=sum(row.succeeded for row in rows),
        failed=sum(row.failed for row in rows),
        total=sum(row.total for row in rows),
        rate=sum(rates) if rates else None,
        eta=max((row.eta for row in rows if row.eta is not None), default=None),
    )


def slowest(rows: Sequence[Row], count: int) -> list[Row]:
    """Return the jobs with the least progress; among equal jobs, the longest unchanged first."""
    waiting = [row for row in rows if row.code is None]
    return sorted(waiting, key=lambda row: (row.percent or 0.0, -row.unchanged_for))[:count]
