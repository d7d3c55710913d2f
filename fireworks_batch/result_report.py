"""What a reading of results came to, in numbers and names. Performs no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from fireworks_batch.id_sets import Found
    from fireworks_batch.models import JobProgress

__all__ = ["Findings", "ResultCounts", "ResultsReport", "make_report"]

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
