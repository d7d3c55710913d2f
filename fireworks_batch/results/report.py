"""What a reading of results came to, in numbers and names. Performs no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from fireworks_batch.models.errors import FireworksBatchError
from fireworks_batch.models.states import JobState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fireworks_batch.models.job import JobProgress
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


class ResultRowsError(FireworksBatchError):
    """Rows of the results that failed, are missing, are there twice, or cannot be read."""

    def __init__(
        self,
        message: str,
        *,
        missing_ids: Sequence[str] = (),
        duplicate_ids: Sequence[str] = (),
        report: RunReport | None = None,
    ) -> None:
        super().__init__(message)
        self.missing_ids = tuple(missing_ids)
        """Ids that have no row."""
        self.duplicate_ids = tuple(duplicate_ids)
        """Ids that have several different responses."""
        self.report = report
        """What became of each row of a run, in numbers; None for the rows of one job."""


@attrs.frozen(kw_only=True)
class AdoptedJob:
    """A job that had ended before the call that adopted it: its results may be old."""

    job_id: str
    """The job."""

    state: JobState
    """How it had ended."""

    age: float | None
    """Seconds from its end to the call, by this machine's clock; None if the server does not
    say when it ended."""


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


_NAMED_IDS: Final = 1000
"""Most ids that a report names of each kind."""


@attrs.frozen(kw_only=True, repr=False)
class ResultsReport:
    """What the rows of a job came to, once all of them have been read.

    Each row that was handed out is counted in one of ``succeeded``, ``failed``, ``unreadable`` and
    ``undecodable``. Counts are of all; of ids, the first thousand of each kind are named.
    """

    succeeded: int = 0
    """Rows with a response."""

    failed: int = 0
    """Rows for which the server has an error."""

    unreadable: int = 0
    """Lines that are no row, or have no ``custom_id``."""

    undecodable: int = 0
    """Rows with a response that ``decode=`` refused."""

    superseded: int = 0
    """With ``lineage=True``: errors left out, as a later job of the chain ran the row again."""

    duplicate_ids: tuple[str, ...] = ()
    """Ids of more than one row, in whatever file."""

    duplicate_count: int = 0
    """How many such ids there are."""

    missing_ids: tuple[str, ...] = ()
    """Ids of ``expected=`` without a row; empty also if none were expected."""

    missing_count: int | None = None
    """How many such ids there are; None if there was no ``expected=``."""

    foreign_ids: tuple[str, ...] = ()
    """Ids of rows that ``expected=`` does not have; empty also if none were expected."""

    foreign_count: int | None = None
    """How many such ids there are; None if there was no ``expected=``."""

    counts_agree: bool | None = None
    """Whether rows that succeeded and failed are as many as the job's ``job_progress`` says; None
    if it says nothing, or with ``lineage=True``, where it speaks of one job of several."""

    no_output: bool = False
    """Whether there was no output dataset, or nothing in it: the job failed early, say."""

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
    """Which ids have several rows, none, or one that nobody expected."""

    repeated: Found
    """Ids of several rows."""

    missing: Found | None = None
    """Expected ids without a row; None if none were expected."""

    foreign: Found | None = None
    """Ids with a row that are not expected; None likewise."""


@attrs.define
class ResultCounts:
    """What is counted while rows are read."""

    failed: int = 0
    """Rows with an error of the server's."""

    unreadable: int = 0
    """Rows without an id."""

    undecodable: int = 0
    """Rows whose response was refused here."""

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
    """Put a report together.

    Args:
        counts: What was counted row by row.
        findings: Which ids were found out.
        with_ids: Rows that were handed out and have an id.
        progress: The job's own counters, if they speak of these rows.
        no_output: Whether there was nothing to read.
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
