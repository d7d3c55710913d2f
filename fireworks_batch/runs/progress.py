"""How far a run is: what its jobs said of late, put into one snapshot."""

import enum
from collections.abc import Callable
from typing import Final, Self

import attrs

from fireworks_batch.models.errors import InputRowsError, RowProblem
from fireworks_batch.models.job import BatchInferenceJob
from fireworks_batch.models.snapshot import JobSnapshot

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
    shown = "\n".join(f"  {problem}" for problem in problems[:MOST_NAMED])
    more = f"\n  and {count - MOST_NAMED} more" if count > MOST_NAMED else ""
    rows = "row" if count == 1 else "rows"
    return InputRowsError(
        f"{count} bad {rows} of input, nothing was sent:\n{shown}{more}",
        problems=problems,
        count=count,
    )


# --- On the way ---------------------------------------------------------------------------------


class RunStage(enum.StrEnum):
    """What a run is doing."""

    CHECKING = "checking"
    """The requests are looked at; nothing was sent."""

    RUNNING = "running"
    """Jobs are submitted and followed, and the results of those that ended are fetched."""

    RETRYING = "retrying"
    """The same, for rows that failed or are missing."""

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

    under_way: tuple[str, ...] = ()
    """Ids of the jobs that may be running, the oldest first: a job is among them from just before
    it is created until it is seen to have ended. What to wait for, or to delete, if the run is
    given up."""

    snapshots: tuple[JobSnapshot, ...] = ()
    """The newest look at each job that was waited for, those that have ended too, in the order of
    the first look."""

    failed_polls: tuple[tuple[str, int], ...] = ()
    """Ids of the jobs whose newest looks were lost, each with how many in a row."""

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

    def __init__(self, tell: Callable[[RunProgress], object] | None) -> None:
        """Begin.

        Args:
            tell: Called with a snapshot after each change; what it raises ends the run.
        """
        self._tell = tell
        self._stage = RunStage.CHECKING
        self._rows = self._jobs = 0
        self._done: dict[str, tuple[int, int]] = {}
        self._submitted: set[str] = set()
        self._ended: set[str] = set()
        self._under_way: dict[str, None] = {}
        self._snapshots: dict[str, JobSnapshot] = {}
        self._lost: dict[str, int] = {}

    def enter(self, stage: RunStage, *, rows: int = 0, jobs: int = 0) -> None:
        """Begin a stage.

        Args:
            stage: Which.
            rows: Rows that it adds to the whole.
            jobs: Jobs that it adds.
        """
        self._stage = stage
        self._rows += rows
        self._jobs += jobs
        self._say()

    def begin(self, job_id: str) -> None:
        """Take note of a job that is about to be created, or was found under way."""
        if job_id not in self._under_way:
            self._under_way[job_id] = None
            self._say()

    def forget(self, job_id: str) -> None:
        """Take note that a job was not created after all."""
        del self._under_way[job_id]
        self._say()

    def look(self, snapshot: JobSnapshot) -> None:
        """Take what was seen of a job that is waited for."""
        self._snapshots[snapshot.job.id] = snapshot
        self._lost.pop(snapshot.job.id, None)
        self.see(snapshot.job)

    def lose(self, job_id: str, looks: int) -> None:
        """Take how many looks at a job were lost in a row."""
        self._lost[job_id] = looks
        self._say()

    def see(self, job: BatchInferenceJob) -> None:
        """Take what a job says of itself."""
        progress = job.job_progress
        self._submitted.add(job.id)
        if progress is not None:
            done, failed = progress.total_processed_requests, progress.failed_requests
            self._done[job.id] = done, failed
        if job.is_terminal:
            self._ended.add(job.id)
            self._under_way.pop(job.id, None)
            self._lost.pop(job.id, None)
        self._say()

    def _say(self) -> None:
        if self._tell is not None:
            self._tell(self._snapshot())

    def _snapshot(self) -> RunProgress:
        return RunProgress(
            stage=self._stage,
            rows=self._rows,
            rows_done=sum(done for done, _ in self._done.values()),
            rows_failed=sum(failed for _, failed in self._done.values()),
            jobs=self._jobs,
            jobs_submitted=len(self._submitted),
            jobs_ended=len(self._ended),
            under_way=tuple(self._under_way),
            snapshots=tuple(self._snapshots.values()),
            failed_polls=tuple(self._lost.items()),
        )
