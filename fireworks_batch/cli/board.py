"""What is known of the jobs that are followed, and what of it a screen shows. Performs no I/O."""

from collections.abc import Iterable, Sequence

import attrs

from fireworks_batch.cli.exit_codes import ExitCode, code_of_error, code_of_job, worst
from fireworks_batch.models.errors import FireworksBatchError
from fireworks_batch.models.job import BatchInferenceJob, JobProgress
from fireworks_batch.models.snapshot import JobSnapshot
from fireworks_batch.models.states import JobPhase

__all__ = ["Board", "Ending", "Row", "Totals", "slowest", "totals"]


@attrs.frozen
class Ending:
    """How following one job ended."""

    job_id: str
    """The last segment of its resource name."""

    job: BatchInferenceJob | None
    """The job as last seen; None if it never was."""

    error: FireworksBatchError | None
    """Why nothing more can be known; None if the job is terminal."""

    @property
    def code(self) -> ExitCode:
        """The exit code that it stands for."""
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
    """What the state means."""

    percent: float | None = None
    """0 to 100."""

    succeeded: int = 0
    """Rows done well."""

    failed: int = 0
    """Rows that failed."""

    total: int = 0
    """All rows; 0 if not known."""

    rate: float | None = None
    """Rows a second."""

    eta: float | None = None
    """Seconds that are left."""

    unchanged_for: float = 0.0
    """Seconds since anything visible changed."""

    lost: int = 0
    """Looks lost in a row."""

    code: ExitCode | None = None
    """How it ended; None while it is followed."""


@attrs.frozen(kw_only=True)
class Totals:
    """All jobs together."""

    jobs: int
    """How many there are."""

    phases: dict[JobPhase, int]
    """How many of them are in each phase that has any."""

    ended: int
    """How many are not followed any more."""

    troubled: int
    """How many of those ended otherwise than with all rows well."""

    succeeded: int
    """Rows done well."""

    failed: int
    """Rows that failed."""

    total: int
    """All rows of the jobs that have said how many they have."""

    rate: float | None
    """Rows a second; None if not known of any."""

    eta: float | None
    """Seconds until the last job whose end can be guessed."""


@attrs.define
class _Entry:
    job_id: str
    snapshot: JobSnapshot | None = None
    seen_at: float = 0.0
    lost: int = 0
    ending: Ending | None = None


class Board:
    """Keeps the newest snapshot of each job, in the order in which they were given."""

    def __init__(self, job_ids: Iterable[str] = ()) -> None:
        """Start with nothing known.

        Args:
            job_ids: The jobs; one that is given twice is one job. Others come when they are seen.
        """
        self._entries = {job_id: _Entry(job_id) for job_id in job_ids}

    @property
    def job_ids(self) -> list[str]:
        """The jobs, in order."""
        return list(self._entries)

    @property
    def code(self) -> ExitCode:
        """The exit code of what has ended so far."""
        return worst(ending.code for ending in self.endings)

    @property
    def endings(self) -> list[Ending]:
        """How jobs ended, in order; the others are left out."""
        return [entry.ending for entry in self._entries.values() if entry.ending is not None]

    @property
    def open_rows(self) -> list[Row]:
        """The jobs that are still followed, as last seen."""
        return [
            _row(entry, entry.seen_at) for entry in self._entries.values() if entry.ending is None
        ]

    def see(self, snapshot: JobSnapshot, *, now: float) -> None:
        """Take a good observation.

        Args:
            snapshot: The observation.
            now: When, on the clock that `rows` is asked by.
        """
        entry = self._entry(snapshot.job.id)
        entry.snapshot, entry.seen_at, entry.lost = snapshot, now, 0

    def lose(self, job_id: str, looks: int) -> None:
        """Take the number of looks that were lost in a row since the last good one."""
        self._entry(job_id).lost = looks

    def end(self, ending: Ending) -> None:
        """Take the end of a job."""
        self._entries[ending.job_id].ending = ending

    def _entry(self, job_id: str) -> _Entry:
        return self._entries.setdefault(job_id, _Entry(job_id))

    def rows(self, *, now: float) -> list[Row]:
        """Return a row for each job, in order, its times carried on to now."""
        return [_row(entry, now) for entry in self._entries.values()]


def _row(entry: _Entry, now: float) -> Row:
    code = entry.ending.code if entry.ending else None
    seen = entry.snapshot
    if seen is None:
        return Row(job_id=entry.job_id, lost=entry.lost, code=code)
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
        lost=entry.lost,
        code=code,
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
        troubled=sum(bool(row.code) for row in rows),
        succeeded=sum(row.succeeded for row in rows),
        failed=sum(row.failed for row in rows),
        total=sum(row.total for row in rows),
        rate=sum(rates) if rates else None,
        eta=max((row.eta for row in rows if row.eta is not None), default=None),
    )


def slowest(rows: Sequence[Row], count: int) -> list[Row]:
    """Return the jobs that will keep us longest: those least far along, then longest unchanged."""
    waiting = [row for row in rows if row.code is None]
    return sorted(waiting, key=lambda row: (row.percent or 0.0, -row.unchanged_for))[:count]
