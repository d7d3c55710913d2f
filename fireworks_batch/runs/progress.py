"""The progress of a run: one snapshot, made of the newest snapshots of its jobs."""

import enum
from collections.abc import Callable
from typing import Final, Self

import attrs

from fireworks_batch.models import html
from fireworks_batch.models.errors import InputRowsError, RowProblem
from fireworks_batch.models.job import BatchInferenceJob
from fireworks_batch.models.snapshot import JobSnapshot
from fireworks_batch.models.states import JobPhase
from fireworks_batch.runs.contents import RowContents

__all__ = [
    "MOST_NAMED",
    "CheckReport",
    "JobPlan",
    "ProgressBoard",
    "RunProgress",
    "RunStage",
    "input_error",
]


MOST_NAMED: Final = 10
"""The most bad rows that the text of an error names."""


# --- Before -------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class JobPlan:
    """A job that a run would create."""

    rows: int
    """The number of rows of the job."""

    bytes: int
    """The size of the job's input in bytes."""

    first_line: int
    """The line of the requests that has the first row of the job. Lines are counted from 1."""

    last_line: int
    """The line of the requests that has the last row of the job."""


@attrs.frozen(kw_only=True, repr=False)
class CheckReport:
    """What `BatchClient.check` found in the requests. Nothing was sent."""

    model: str | None = None
    """The resource name of the jobs' model; None if the check was not told."""

    rows: int
    """The number of good rows."""

    bytes: int
    """The size in bytes of the good rows, as they would be uploaded."""

    jobs: tuple[JobPlan, ...]
    """The jobs that a run would create for the good rows, in the order of the rows."""

    problems: tuple[RowProblem, ...] = ()
    """The first bad rows, each with its line, its id and the reason."""

    problem_count: int = 0
    """The number of all bad rows. ``problems`` may name fewer."""

    blank_lines: int = 0
    """The number of lines without a row. A run leaves these lines out."""

    remarks: tuple[str, ...] = ()
    """Sentences about rows that are good, but may cost more than necessary."""

    content: RowContents = RowContents()  # noqa: RUF009 - frozen
    """What the good rows hold, in numbers from which a price can be estimated."""

    @property
    def is_good(self) -> bool:
        """Whether there is at least one row, and no row is bad."""
        return self.rows > 0 and not self.problem_count

    def raise_for_problems(self) -> Self:
        """Return the report itself, or raise an error if rows are bad.

        Raises:
            InputRowsError: There are bad rows, or there are no rows at all.
        """
        if self.is_good:
            return self
        raise input_error(self.problems, self.problem_count)

    def __repr__(self) -> str:
        return (
            f"<CheckReport {self.rows} rows, {self.bytes} bytes, {len(self.jobs)} jobs, "
            f"{self.problem_count} bad rows>"
        )

    def _repr_html_(self) -> str:
        content = self.content
        found = {
            "model": self.model,
            "rows": self.rows,
            "bytes": self.bytes,
            "jobs": len(self.jobs),
            "bad rows": self.problem_count,
            "blank lines": self.blank_lines or None,
            "characters": content.characters or None,
            "token ids": content.token_ids or None,
            "images": content.images or None,
            "most tokens to generate": content.max_tokens or None,
            "rows without max_tokens": content.unlimited_rows or None,
            "remarks": html.some(self.remarks),
        }
        first = self.problems[:MOST_NAMED]
        problems = html.table(
            f"first {len(first)} of {self.problem_count:,} bad rows",
            [(each.line, each.custom_id, each.reason) for each in first],
            headings=("line", "custom_id", "reason"),
        )
        return html.facts("CheckReport", found) + problems


def input_error(problems: tuple[RowProblem, ...], count: int) -> InputRowsError:
    """Return the error for bad rows, or for requests without rows if the count is 0."""
    if not count:
        return InputRowsError(
            "there are no rows in the requests, which are empty or only blank lines: nothing was "
            "sent"
        )
    shown = [f"  {problem}" for problem in problems[:MOST_NAMED]]
    more = [f"  and {count - MOST_NAMED} more"] if count > MOST_NAMED else []
    rows = "row" if count == 1 else "rows"
    return InputRowsError(
        f"{count} bad {rows} of input, nothing was sent:",
        *shown,
        *more,
        problems=problems,
        count=count,
    )


# --- On the way ---------------------------------------------------------------------------------


class RunStage(enum.StrEnum):
    """What a run is doing."""

    CHECKING = "checking"
    """The requests are checked. Nothing was sent so far."""

    QUEUED = "queued"
    """Jobs are being submitted, or wait in the server's queue. No job under way runs rows yet."""

    RUNNING = "running"
    """At least one job runs rows. The results of jobs that have ended are fetched."""

    RETRYING = "retrying"
    """The first job of each shard has ended, and rows that failed or are missing run again."""

    COLLECTING = "collecting"
    """All jobs have ended. Their rows are put together."""


@attrs.frozen(kw_only=True, repr=False)
class RunProgress:
    """One snapshot of a whole run."""

    stage: RunStage
    """What the run is doing."""

    rows: int
    """The number of rows of all jobs. It is 0 until the requests have been checked."""

    rows_done: int
    """The number of rows done, with a response or an error, as the server counts them."""

    rows_failed: int
    """The number of rows done with an error, as the server counts them."""

    jobs: int
    """The number of jobs of the run that are known or planned so far."""

    jobs_submitted: int
    """The number of jobs that were created or found on the server."""

    jobs_ended: int
    """The number of jobs in a terminal state."""

    rate: float | None = attrs.field(default=None, eq=False)
    """Rows done per second, since the first done rows were seen. None while it is not known."""

    eta: float | None = attrs.field(default=None, eq=False)
    """Seconds until all rows are done, if ``rate`` lasts. None while it is not known."""

    under_way: tuple[str, ...] = ()
    """Ids of the jobs that may be running, the oldest first.

    A job is here from just before its creation until a poll shows a terminal state. If the run is
    given up, these are the jobs to wait for, or to delete.
    """

    created: tuple[str, ...] = ()
    """Ids of the jobs under way that the server has created for this call.

    These are the jobs that ``on_abort="delete"`` deletes. The other jobs under way were found on
    the server, or the answer to their creation is missing.
    """

    snapshots: tuple[JobSnapshot, ...] = attrs.field(
        default=(), eq=lambda each: tuple(snapshot.job for snapshot in each)
    )
    """The newest snapshot of each job that this call has waited for, also of jobs that have ended.

    The snapshots are in the order in which the first snapshots of the jobs came.
    """

    failed_polls: tuple[tuple[str, int], ...] = ()
    """The jobs whose newest poll failed, as pairs of the job id and its failed polls in a row."""

    @property
    def percent(self) -> float | None:
        """The share of rows done, from 0 to 100. None until the requests have been checked."""
        return min(100.0, 100.0 * self.rows_done / self.rows) if self.rows else None

    def __repr__(self) -> str:
        return (
            f"<RunProgress {self.stage}, {self.rows_done}/{self.rows} rows, "
            f"{self.rows_failed} failed, {self.jobs_ended}/{self.jobs} jobs ended>"
        )

    def _repr_html_(self) -> str:
        failed = [f"{job_id}: {count:,}" for job_id, count in self.failed_polls]
        values = {
            "stage": self.stage,
            "done": html.percent(self.percent),
            "rows": f"{self.rows_done:,} of {self.rows:,}",
            "failed rows": self.rows_failed or None,
            "jobs": f"{self.jobs_ended:,} of {self.jobs:,} ended",
            "jobs submitted": self.jobs_submitted,
            "under way": html.some(self.under_way),
            "rate": html.rate(self.rate),
            "left": html.duration(self.eta or None),
            "failed polls": html.some(failed),
        }
        return html.facts("RunProgress", values)


class ProgressBoard:
    """Gathers what happens in a run, and tells the caller of the run."""

    def __init__(
        self, tell: Callable[[RunProgress], object] | None, clock: Callable[[], float]
    ) -> None:
        """Begin without rows and jobs.

        Args:
            tell: Called with a snapshot after each change. An exception of it ends the run.
            clock: Returns the monotonic time in seconds.
        """
        self._tell = tell
        self._clock = clock
        self._stage = RunStage.CHECKING
        self._rows = self._shards = self._retries = 0
        self._first_ended = 0
        self._done: dict[str, tuple[int, int]] = {}
        self._submitted: set[str] = set()
        self._ended: set[str] = set()
        self._under_way: dict[str, bool] = {}
        self._snapshots: dict[str, JobSnapshot] = {}
        self._failed: dict[str, int] = {}
        self._since: tuple[float, int] | None = None
        self._said: RunProgress | None = None

    def enter(self, stage: RunStage, *, rows: int = 0, jobs: int = 0) -> None:
        """Begin a stage.

        Args:
            stage: The stage. RUNNING covers all stages from QUEUED to RETRYING.
            rows: Rows to add to the rows of the run.
            jobs: Shards to add, with one first job each.
        """
        self._stage = stage
        self._rows += rows
        self._shards += jobs
        self._say()

    def retry(self, rows: int) -> None:
        """Take note that rows are about to run again, in one more job."""
        self._rows += rows
        self._retries += 1
        self._say()

    def add(self, jobs: int) -> None:
        """Take note of jobs that were found and run rows again."""
        self._retries += jobs

    def begin(self, job_id: str, *, is_made: bool = False) -> None:
        """Take note of a job that is about to be created, was created, or was found under way.

        Args:
            job_id: The id of the job.
            is_made: Whether the server has told this run that it created the job.
        """
        self._under_way[job_id] = is_made or self._under_way.get(job_id, False)
        self._say()

    def forget(self, job_id: str) -> None:
        """Take note that a job was not created, or is gone."""
        self._under_way.pop(job_id, None)
        self._say()

    def end_first(self) -> None:
        """Take note that the first job of a shard has ended."""
        self._first_ended += 1

    def add_snapshot(self, snapshot: JobSnapshot) -> None:
        """Take a snapshot of a job that is waited for."""
        self._snapshots[snapshot.job.id] = snapshot
        self._failed.pop(snapshot.job.id, None)
        self.see(snapshot.job)

    def add_failed_polls(self, job_id: str, polls: int) -> None:
        """Take the number of failed polls of a job in a row."""
        self._failed[job_id] = polls
        self._say()

    def see(self, job: BatchInferenceJob) -> None:
        """Take a job as the server shows it."""
        progress = job.job_progress
        self._submitted.add(job.id)
        if progress is not None:
            done, failed = progress.total_processed_requests, progress.failed_requests
            self._done[job.id] = done, failed
        if job.is_terminal:
            self._ended.add(job.id)
            self._under_way.pop(job.id, None)
            self._failed.pop(job.id, None)
        self._say()

    def _say(self) -> None:
        if self._tell is None:
            return
        progress = self._snapshot()
        if progress != self._said:
            self._said = progress
            self._tell(progress)

    def _snapshot(self) -> RunProgress:
        done = sum(done for done, _ in self._done.values())
        rate = self._rate(done)
        return RunProgress(
            stage=self._now(),
            rows=self._rows,
            rows_done=done,
            rows_failed=sum(failed for _, failed in self._done.values()),
            jobs=self._shards + self._retries,
            jobs_submitted=len(self._submitted),
            jobs_ended=len(self._ended),
            rate=rate,
            eta=max(0, self._rows - done) / rate if rate and self._rows else None,
            under_way=tuple(self._under_way),
            created=tuple(job_id for job_id, is_made in self._under_way.items() if is_made),
            snapshots=tuple(self._snapshots.values()),
            failed_polls=tuple(self._failed.items()),
        )

    def _now(self) -> RunStage:
        """Return the stage that the jobs under way show."""
        if self._stage is not RunStage.RUNNING:
            return self._stage
        if self._retries and self._first_ended >= self._shards:
            return RunStage.RETRYING
        phases = {
            self._snapshots[each].job.state.phase
            for each in self._under_way
            if each in self._snapshots
        }
        has_begun = phases - {JobPhase.QUEUED} or (self._ended and not self._under_way)
        return RunStage.RUNNING if has_begun else RunStage.QUEUED

    def _rate(self, done: int) -> float | None:
        now = self._clock()
        if self._since is None:
            self._since = (now, done) if done else None
            return None
        since, first = self._since
        return (done - first) / (now - since) if now > since and done > first else None
