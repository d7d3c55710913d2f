"""Reports on the rows of a job and of a run, in numbers and ids. Performs no I/O."""

from collections.abc import Sequence
from typing import Final

import attrs

from fireworks_batch.models import html
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


_SHOWN_JOBS: Final = 10
"""The most jobs that a notebook shows."""


@attrs.frozen(kw_only=True)
class AdoptedJob:
    """A job that had ended before the call that adopted it. Its results may be old."""

    job_id: str
    """The id of the job."""

    state: JobState
    """The terminal state of the job."""

    age: float | None
    """Seconds from the end of the job to the call, by this machine's clock.

    None if the server does not say when the job ended.
    """


@attrs.frozen(kw_only=True)
class JobReport:
    """The outcome of one job of a run."""

    job_id: str
    """The id of the job."""

    state: JobState
    """The last state of the job."""

    rows: int
    """The number of rows of the job's input."""

    reason: str = ""
    """What went wrong with the job, and which lines of the requests it ran.

    The text has the server's message, if there is one. It is empty if nothing went wrong.
    """

    input_tokens: int | None = None
    """The number of tokens that the job has read. None if the server did not say."""

    output_tokens: int | None = None
    """The number of tokens that the job has generated. None if the server did not say."""

    cached_tokens: int | None = None
    """How many of ``input_tokens`` came from the prompt cache. None if the server did not say."""


@attrs.frozen(kw_only=True, repr=False)
class RunReport:
    """What became of the rows of a run, in numbers."""

    rows: int
    """The number of rows that were sent."""

    succeeded: int
    """The number of rows with a response that fits."""

    failed: int
    """The number of rows with an error, or with a response that ``decode=`` refused."""

    missing: int
    """The number of rows with neither a response nor an error.

    If the requests are not at hand, each foreign row makes this number smaller by one.
    """

    undecodable: int = 0
    """How many of the failed rows have a response that ``decode=`` refused."""

    duplicate: int = 0
    """The number of results of a row beyond the first result from the same job.

    Only the best result of a row counts as succeeded or failed.
    """

    foreign: int = 0
    """The number of rows of results that are not in the requests. They are left out.

    If the requests are not at hand, foreign rows cannot be told from others. Then this is the
    number of rows that came beyond the rows that were sent, and all of them count as succeeded or
    failed.
    """

    unreadable: int = 0
    """The number of lines of results that are not rows."""

    skipped: int = 0
    """The number of bad rows of the requests. They were not sent."""

    retried: int = 0
    """The number of rows that this call has sent again."""

    model: str = ""
    """The resource name of the model of all jobs."""

    input_tokens: int | None = None
    """The number of tokens that all jobs have read. None if the number of a job is not known."""

    output_tokens: int | None = None
    """The number of tokens that all jobs have generated. None if that of a job is not known."""

    cached_tokens: int | None = None
    """How many of ``input_tokens`` came from the prompt cache. None if that is not known."""

    jobs: tuple[JobReport, ...] = ()
    """The outcome of each job, ordered by attempt number and then by the rows of the job."""

    adopted: tuple[AdoptedJob, ...] = ()
    """The jobs that had ended before this call."""

    not_retried: tuple[str, ...] = ()
    """Why rows were not sent again, although ``retry_rows`` or ``on_previous`` allows it.

    Each text is the server's message, or says that the file of the requests has changed.
    """

    not_cleaned: tuple[str, ...] = ()
    """Ids of the datasets that could not be deleted."""

    remarks: tuple[str, ...] = ()
    """Sentences about numbers that do not add up.

    They are about duplicate, foreign and unreadable rows, and about counters of the server that
    differ from its output.
    """

    @property
    def adds_up(self) -> bool:
        """Whether each row that was sent is accounted for, and there are no remarks."""
        return self.rows == self.succeeded + self.failed + self.missing and not self.remarks

    @property
    def is_complete(self) -> bool:
        """Whether each row that was sent has a response that fits."""
        return self.succeeded == self.rows

    def __str__(self) -> str:
        parts = [
            f"{self.succeeded} of {self.rows} rows succeeded",
            f"{self.failed} failed",
            *([f"{self.undecodable} of them with a response"] if self.undecodable else ()),
            f"{self.missing} are missing",
            *([f"bad rows left out: {self.skipped}"] if self.skipped else ()),
            *self.remarks,
            *(f"rows were not sent again: {reason}" for reason in self.not_retried),
        ]
        return ", ".join(parts)

    def __repr__(self) -> str:
        return f"<RunReport {str(self)[:100]}>"

    def _repr_html_(self) -> str:
        values = {
            "rows": self.rows,
            "succeeded": self.succeeded,
            "failed": self.failed,
            "missing": self.missing,
            "bad rows left out": self.skipped or None,
            "duplicate results": self.duplicate or None,
            "foreign rows": self.foreign or None,
            "unreadable lines": self.unreadable or None,
            "rows sent again": self.retried or None,
            "input tokens": self.input_tokens or None,
            "of them cached": self.cached_tokens or None,
            "output tokens": self.output_tokens or None,
            "adopted jobs": html.some([job.job_id for job in self.adopted]),
            "remarks": html.some(self.remarks),
            "not sent again": html.some(self.not_retried),
            "not deleted": html.some(self.not_cleaned),
        }
        first = self.jobs[:_SHOWN_JOBS]
        jobs = html.table(
            f"{len(first)} of {len(self.jobs):,} jobs",
            [(job.job_id, job.state, job.rows, job.reason) for job in first],
            headings=("job", "state", "rows", "reason"),
        )
        return html.facts("RunReport", values) + jobs


class ResultRowsError(FireworksBatchError):
    """Raised for result rows that failed, are missing, have two responses, or cannot be read."""

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
        """The ids that have no row."""
        self.duplicate_ids: tuple[str, ...] = tuple(duplicate_ids)
        """The ids that have several different responses."""
        self.report: RunReport | None = report
        """The report of a run; None if the error is about the rows of one job."""


_NAMED_IDS: Final = 1000
"""The most ids of each kind that a report names."""


@attrs.frozen(kw_only=True, repr=False)
class ResultsReport:
    """The report on the rows of one job: the numbers of rows by kind, and ids.

    The report is made when all rows have been read. Each row that was handed out is counted in one
    of ``succeeded``, ``failed``, ``unreadable`` and ``undecodable``. All rows and ids are counted,
    but at most 1,000 ids of each kind are named.
    """

    succeeded: int = 0
    """The number of rows with a response."""

    failed: int = 0
    """The number of rows with an error of the server."""

    unreadable: int = 0
    """The number of lines that are not rows, or have no ``custom_id``."""

    undecodable: int = 0
    """The number of rows with a response that ``decode=`` refused."""

    superseded: int = 0
    """The number of errors that were left out, since a later job of the chain ran the row again.

    It is 0 without ``lineage=True``.
    """

    duplicate_ids: tuple[str, ...] = ()
    """The first ids that have more than one row in all files, at most 1,000."""

    duplicate_count: int = 0
    """The number of ids that have more than one row."""

    missing_ids: tuple[str, ...] = ()
    """The first ids of ``expected=`` without a row, at most 1,000; empty without ``expected=``."""

    missing_count: int | None = None
    """The number of ids of ``expected=`` without a row; None without ``expected=``."""

    foreign_ids: tuple[str, ...] = ()
    """The first ids of rows that are not in ``expected=``, at most 1,000.

    Empty without ``expected=``.
    """

    foreign_count: int | None = None
    """The number of ids of rows that are not in ``expected=``; None without ``expected=``."""

    counts_agree: bool | None = None
    """Whether ``job_progress`` of the job counts as many succeeded and failed rows as were read.

    None if the job has no ``job_progress``. None also with ``lineage=True``, since the counters of
    one job say nothing about the rows of several.
    """

    no_output: bool = False
    """Whether the job has no output dataset, or its dataset has no file.

    A job that fails early has no output.
    """

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

    def _repr_html_(self) -> str:
        values = {
            "succeeded": self.succeeded,
            "failed": self.failed,
            "unreadable lines": self.unreadable or None,
            "refused by decode=": self.undecodable or None,
            "superseded errors": self.superseded or None,
            "duplicate ids": html.some(self.duplicate_ids, self.duplicate_count),
            "missing": self.missing_count,
            "missing ids": html.some(self.missing_ids, self.missing_count),
            "foreign": self.foreign_count,
            "foreign ids": html.some(self.foreign_ids, self.foreign_count),
            "counts": "differ from the server's" if self.counts_agree is False else None,
            "output": "none" if self.no_output else None,
        }
        return html.facts("ResultsReport", values)


@attrs.frozen
class Findings:
    """The ids that have several rows, no row, or a row that is not expected."""

    repeated: Found
    """The ids that have several rows."""

    missing: Found | None = None
    """The expected ids without a row; None without expected ids."""

    foreign: Found | None = None
    """The ids of rows that are not expected; None without expected ids."""


@attrs.define
class ResultCounts:
    """The numbers of rows of each kind, counted while the rows are read."""

    failed: int = 0
    """Rows with an error of the server."""

    unreadable: int = 0
    """Lines without an id."""

    undecodable: int = 0
    """Rows with a response that the decoder refused."""

    superseded: int = 0
    """Errors that were left out, since a later job ran the row again."""


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
        counts: The numbers of rows by kind.
        findings: The ids to name.
        with_ids: The number of rows that were handed out and have an id.
        progress: The job's own counters; None if they are not about these rows.
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
