"""How far a run is: the newest snapshots of its jobs, put into one."""

import enum
from collections.abc import Callable
from typing import Final, Self

import attrs

from fireworks_batch.models.errors import InputRowsError, RowProblem
from fireworks_batch.models.job import BatchInferenceJob
from fireworks_batch.models.snapshot import JobSnapshot
from fireworks_batch.models.states import JobPhase

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
"""Bad rows that the text of an error names."""


# --- Before -------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class JobPlan:
    """A job that a run would make."""

    rows: int
    """Its rows."""

    bytes: int
    """The length of its input."""

    first_line: int
    """Where its first row stands in the requests, from 1."""

    last_line: int
    """Where its last row stands there."""


@attrs.frozen(kw_only=True, repr=False)
class CheckReport:
    """What `BatchClient.check` found in requests; nothing was sent."""

    rows: int
    """Good rows."""

    bytes: int
    """Their length as they would be uploaded."""

    jobs: tuple[JobPlan, ...]
    """The jobs that the good rows would make."""

    problems: tuple[RowProblem, ...] = ()
    """The first bad rows, each with its line, its id and what is wrong."""

    problem_count: int = 0
    """How many bad rows there are, also if not all of them are named."""

    blank_lines: int = 0
    """Lines without a row, which would be left out."""

    @property
    def is_good(self) -> bool:
        """Whether there are rows, and none of them is bad."""
        return self.rows > 0 and not self.problem_count

    def raise_for_problems(self) -> Self:
        """Return the report itself if it is good.

        Raises:
            InputRowsError: There are bad rows, or no rows at all.
        """
        if self.is_good:
            return self
        raise input_error(self.problems, self.problem_count)

    def __repr__(self) -> str:
        return (
            f"<CheckReport {self.rows} rows, {self.bytes} bytes, {len(self.jobs)} jobs, "
            f"{self.problem_count} bad rows>"
        )


def input_error(problems: tuple[RowProblem, ...], count: int) -> InputRowsError:
    """Return the error for bad rows, or for none at all."""
    if not count:
        return InputRowsError("there are no rows in the requests: nothing was sent")
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
    """The requests are checked; nothing was sent."""

    QUEUED = "queued"
    """Jobs are being submitted, or wait in the server's queue: none of those that have not ended
    runs rows yet."""

    RUNNING = "running"
    """Jobs run rows, and the results of those that ended are fetched."""

    RETRYING = "retrying"
    """The first job of each shard has ended, and rows that failed or are missing run again."""

    COLLECTING = "collecting"
    """All jobs have ended; their rows are put together."""


@attrs.frozen(kw_only=True, repr=False)
class RunProgress:
    """One snapshot of a whole run."""

    stage: RunStage
    """What it is doing."""

    rows: int
    """Rows of all jobs; 0 while they are counted."""

    rows_done: int
    """Rows done, well or badly, as the server counts them."""

    rows_failed: int
    """Rows done badly."""

    jobs: int
    """Jobs of the run."""

    jobs_submitted: int
    """Jobs that the server has."""

    jobs_ended: int
    """Jobs that have ended."""

    rate: float | None = attrs.field(default=None, eq=False)
    """Rows done a second since the first were seen to be done; None while that is not known."""

    eta: float | None = attrs.field(default=None, eq=False)
    """Seconds until all rows are done, if that rate lasts; None while it is not known."""

    under_way: tuple[str, ...] = ()
    """Ids of the jobs that may be running, the oldest first: a job is among them from just before
    it is created until it is seen to have ended. What to wait for, or to delete, if the run is
    given up."""

    created: tuple[str, ...] = ()
    """Ids of the jobs under way that this call has created, by the server's answer: the jobs that
    ``on_abort="delete"`` deletes. The others were found, or their creation is not answered."""

    snapshots: tuple[JobSnapshot, ...] = attrs.field(
        default=(), eq=lambda each: tuple(snapshot.job for snapshot in each)
    )
    """The newest snapshot of each job that was waited for, those that have ended too, in the order
    of the first snapshot."""

    failed_polls: tuple[tuple[str, int], ...] = ()
    """Ids of the jobs whose newest polls failed, each with how many in a row."""

    @property
    def percent(self) -> float | None:
        """Rows done of all rows, 0 to 100; None while they are counted."""
        return min(100.0, 100.0 * self.rows_done / self.rows) if self.rows else None

    def __repr__(self) -> str:
        return (
            f"<RunProgress {self.stage}, {self.rows_done}/{self.rows} rows, "
            f"{self.rows_failed} failed, {self.jobs_ended}/{self.jobs} jobs ended>"
        )


class ProgressBoard:
    """Is told what happens, and tells the caller of a run."""

    def __init__(
        self, tell: Callable[[RunProgress], object] | None, clock: Callable[[], float]
    ) -> None:
        """Begin.

        Args:
            tell: Called with a snapshot after each change; what it raises ends the run.
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
            stage: The stage: RUNNING for all that follows, until COLLECTING.
            rows: Rows that it adds to the whole.
            jobs: First jobs of shards that it adds.
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
        """Take note of jobs that run rows again and were found."""
        self._retries += jobs

    def begin(self, job_id: str, *, is_made: bool = False) -> None:
        """Take note of a job that is about to be created, was created, or was found under way.

        Args:
            job_id: The id of the job.
            is_made: Whether the server has answered this run that it created the job.
        """
        self._under_way[job_id] = is_made or self._under_way.get(job_id, False)
        self._say()

    def forget(self, job_id: str) -> None:
        """Take note that a job was not created after all, or is gone."""
        self._under_way.pop(job_id, None)
        self._say()

    def end_first(self) -> None:
        """Take note that the first job of a shard has ended."""
        self._first_ended += 1

    def look(self, snapshot: JobSnapshot) -> None:
        """Take a snapshot of a job that is waited for."""
        self._snapshots[snapshot.job.id] = snapshot
        self._failed.pop(snapshot.job.id, None)
        self.see(snapshot.job)

    def lose(self, job_id: str, polls: int) -> None:
        """Take how many polls of a job failed in a row."""
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
        """Return the stage, as the jobs that have not ended show it."""
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
