"""Reports on the rows of a job and of a run, in numbers and ids. Performs no I/O."""

from collections.abc import Sequence
from typing import Final

import attrs

from fireworks_batch.models.errors import FireworksBatchError
from fireworks_batch.models.job import JobProgress
from fireworks_batch.models.states import JobState
from fireworks_batch.results.id_sets import Found

__all__ = [
    "AdoptedJob",
    "Findings",
    "JobReport",
    "ResultCounts",
    "ResultRowsError",
    "ResultsReport",
    "RunReport",
    "make_report",
]


@attrs.frozen(kw_only=True)
class AdoptedJob:
    """A job that had ended before the call that adopted it: its results may be old."""

    job_id: str
    """The id of the job."""

    state: JobState
    """The terminal state of the job."""

    age: float | None
    """Seconds from the end of the job to the call, by this machine's clock; None if the server
    does not say when the job ended."""


@attrs.frozen(kw_only=True)
class JobReport:
    """The outcome of one job of a run."""

    job_id: str
    """The id of the job."""

    state: JobState
    """The last state of the job."""

    rows: int
    """Rows of the job's input."""

    reason: str = ""
    """The server's message about the job, and the lines of its requests; empty if all is well."""


@attrs.frozen(kw_only=True, repr=False)
class RunReport:
    """What became of the rows of a run, in numbers."""

    rows: int
    """Rows that were sent."""

    succeeded: int
    """Rows with a response."""

    failed: int
    """Rows with an error instead."""

    missing: int
    """Rows with neither; one less for each foreign row if the requests are not at hand."""

    duplicate: int = 0
    """Results of a row beyond the first result from the same job; the best result counts."""

    foreign: int = 0
    """Rows of results that are not in the requests, and were left out. If the requests are not at
    hand: how many more rows came than were sent; all of them count as succeeded or failed."""

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
    """The outcome of each job; jobs of retries come last."""

    adopted: tuple[AdoptedJob, ...] = ()
    """Jobs that had ended before this call."""

    not_retried: tuple[str, ...] = ()
    """Why rows were not sent again although ``retry_rows`` allows it: the server's message, or
    that the file of the requests has changed."""

    not_cleaned: tuple[str, ...] = ()
    """Ids of datasets that could not be deleted."""

    remarks: tuple[str, ...] = ()
    """Numbers that do not add up: duplicate, foreign and unreadable rows, and counters of the
    server that differ."""

    @property
    def adds_up(self) -> bool:
        """Whether each row that was sent is accounted for, and no other rows came."""
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


class ResultRowsError(FireworksBatchError):
    """Raised for rows of results that failed, are missing, are there twice, or cannot be read."""

    def __init__(
        self,
        message: str,
        *lines: str,
        missing_ids: Sequence[str] = (),
        duplicate_ids: Sequence[str] = (),
        report: RunReport | None = None,
    ) -> None:
        super().__init__(message, *lines)
        self.missing_ids: tuple[str, ...] = tuple(missing_ids)
        """Ids that have no row."""
        self.duplicate_ids: tuple[str, ...] = tuple(duplicate_ids)
        """Ids that have several different responses."""
        self.report: RunReport | None = report
        """The report of a run; None for the rows of one job."""


_NAMED_IDS: Final = 1000
"""Most ids that a report names of each kind."""


@attrs.frozen(kw_only=True, repr=False)
class ResultsReport:
    """The numbers of rows of a job by kind, and ids, when all rows have been read.

    Each row that was handed out is counted in one of ``succeeded``, ``failed``, ``unreadable`` and
    ``undecodable``. Counts are of all rows or ids; of each kind, the first 1,000 ids are named.
    """

    succeeded: int = 0
    """Rows with a response."""

    failed: int = 0
    """Rows for which the server has an error."""

    unreadable: int = 0
    """Lines that are no rows, or have no ``custom_id``."""

    undecodable: int = 0
    """Rows with a response that ``decode=`` refused."""

    superseded: int = 0
    """With ``lineage=True``: errors left out, since a later job of the chain ran the row again."""

    duplicate_ids: tuple[str, ...] = ()
    """Ids of more than one row, in all files."""

    duplicate_count: int = 0
    """The number of ids of more than one row."""

    missing_ids: tuple[str, ...] = ()
    """Ids of ``expected=`` without a row; empty without ``expected=``."""

    missing_count: int | None = None
    """The number of ids of ``expected=`` without a row; None without ``expected=``."""

    foreign_ids: tuple[str, ...] = ()
    """Ids of rows that ``expected=`` does not have; empty without ``expected=``."""

    foreign_count: int | None = None
    """The number of ids that ``expected=`` does not have; None without ``expected=``."""

    counts_agree: bool | None = None
    """Whether as many rows succeeded and failed as the job's ``job_progress`` says; None if the
    job has no ``job_progress``, or with ``lineage=True``, since it is about one job of several."""

    no_output: bool = False
    """Whether there was no output dataset, or no file in it: the job failed early, say."""

    def __repr__(self) -> str:
        parts = [f"{self.succeeded} succeeded", f"{self.failed} failed"]
        numbers = {
            "unreadable": self.unreadable,
            "undecodable": self.undecodable,
            "superseded": self.superseded,
            "duplicate ids": self.duplicate_count,
            "missing": self.missing_count,
            "foreign": self.foreign_count,
        }
        parts += [f"{number} {name}" for name, number in numbers.items() if number]
        parts += ["counts disagree"] if self.counts_agree is False else []
        parts += ["no output"] if self.no_output else []
        return f"<ResultsReport: {', '.join(parts)}>"


@attrs.frozen
class Findings:
    """The ids that have several rows, no row, or a row that is not expected."""

    repeated: Found
    """Ids of several rows."""

    missing: Found | None = None
    """Expected ids without a row; None without expected ids."""

    foreign: Found | None = None
    """Ids with a row that are not expected; None without expected ids."""


@attrs.define
class ResultCounts:
    """Rows that are counted while they are read."""

    failed: int = 0
    """Rows with an error of the server."""

    unreadable: int = 0
    """Rows without an id."""

    undecodable: int = 0
    """Rows whose response the decoder refused."""

    superseded: int = 0
    """Rows left out."""


def make_report(
    counts: ResultCounts,
    findings: Findings,
    *,
    with_ids: int,
    progress: JobProgress | None,
    no_output: bool,
) -> ResultsReport:
    """Make the report of a reading.

    Args:
        counts: The rows counted while they were read.
        findings: The ids to name.
        with_ids: The number of rows that were handed out and have an id.
        progress: The job's own counters, if they are about these rows.
        no_output: Whether there was no file to read.
    """
    repeated, missing, foreign = findings.repeated, findings.missing, findings.foreign
    succeeded = with_ids - counts.failed - counts.undecodable
    return ResultsReport(
        succeeded=succeeded,
        failed=counts.failed,
        unreadable=counts.unreadable,
        undecodable=counts.undecodable,
        superseded=counts.superseded,
        duplicate_ids=repeated.ids[:_NAMED_IDS],
        duplicate_count=repeated.count,
        missing_ids=missing.ids[:_NAMED_IDS] if missing else (),
        missing_count=missing.count if missing else None,
        foreign_ids=foreign.ids[:_NAMED_IDS] if foreign else (),
        foreign_count=foreign.count if foreign else None,
        counts_agree=_agree(progress, succeeded + counts.undecodable, counts.failed),
        no_output=no_output,
    )


def _agree(progress: JobProgress | None, succeeded: int, failed: int) -> bool | None:
    if progress is None:
        return None
    said = progress.successfully_processed_requests, progress.failed_requests
    return said == (succeeded, failed)
