"""What a run says of itself: what would be sent, how far it is, what came of it.

Performs no I/O.
"""

import enum
from typing import Final, Self

import attrs

from fireworks_batch.errors import InputRowsError
from fireworks_batch.input_rows import RowProblem
from fireworks_batch.progress import JobSnapshot
from fireworks_batch.states import JobState
from fireworks_batch.submission import AdoptedJob

__all__ = [
    "MOST_NAMED",
    "CheckReport",
    "JobPlan",
    "JobReport",
    "RunProgress",
    "RunReport",
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

    lost_looks: tuple[tuple[str, int], ...] = ()
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


# --- Afterwards ---------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class JobReport:
    """How one job of a run ended."""

    job_id: str
    """The job."""

    state: JobState
    """Its last state."""

    rows: int
    """Rows of its input."""

    reason: str = ""
    """The server's word on it, and the lines of the requests it is about; empty if all is well."""


@attrs.frozen(kw_only=True, repr=False)
class RunReport:
    """What became of each row."""

    rows: int
    """Rows that were sent."""

    succeeded: int
    """Rows with a response."""

    failed: int
    """Rows with an error instead."""

    missing: int
    """Rows with neither; one less for each foreign row where the requests are not at hand."""

    duplicate: int = 0
    """Rows that came more than once from one job; the best of them counts."""

    foreign: int = 0
    """Rows that nobody asked for, and that were left out. Where the requests are not at hand: how
    many more rows came than were sent, all of which count as succeeded or failed."""

    unreadable: int = 0
    """Lines of results that are no rows."""

    skipped: int = 0
    """Bad rows of the requests, which were not sent."""

    retried: int = 0
    """Rows that were sent again."""

    input_tokens: int = 0
    """Tokens read by all jobs, as the server counts them."""

    output_tokens: int = 0
    """Tokens generated."""

    cached_tokens: int = 0
    """Tokens read from the prompt cache."""

    jobs: tuple[JobReport, ...] = ()
    """How each job ended, those of retries last."""

    adopted: tuple[AdoptedJob, ...] = ()
    """Jobs that had ended before this call."""

    not_retried: tuple[str, ...] = ()
    """Why rows were not sent again that were to be: what the server said, or that their file is
    not what it was."""

    not_cleaned: tuple[str, ...] = ()
    """Datasets that were to be deleted and could not be."""

    remarks: tuple[str, ...] = ()
    """What does not add up: duplicate, foreign and unreadable rows, and counters of the server
    that say otherwise."""

    @property
    def adds_up(self) -> bool:
        """Whether each row that was sent is accounted for, and nothing else came."""
        return self.rows == self.succeeded + self.failed + self.missing and not self.remarks

    @property
    def is_complete(self) -> bool:
        """Whether each row that was sent has a response."""
        return self.succeeded == self.rows

    def __str__(self) -> str:
        parts = [
            f"{self.succeeded} of {self.rows} rows succeeded",
            f"{self.failed} failed",
            f"{self.missing} are missing",
            *([f"bad rows left out: {self.skipped}"] if self.skipped else ()),
            *self.remarks,
            *(f"rows were not sent again: {reason}" for reason in self.not_retried),
        ]
        return ", ".join(parts)

    def __repr__(self) -> str:
        return f"<RunReport {str(self)[:100]}>"
