"""What a run says in the end: how its jobs ended, what came of its rows, what does not add up.

Performs no I/O.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

import attrs

from fireworks_batch.generations import input_of, runs_all
from fireworks_batch.models import BatchInferenceJob, JobProgress
from fireworks_batch.result_index import Tally
from fireworks_batch.run_models import JobReport, RunReport
from fireworks_batch.submission import AdoptedJob, SubmittedJob

__all__ = ["Ended", "inputs_of", "jobs_gone", "run_report"]


@attrs.frozen(kw_only=True)
class Ended:
    """A job of a run at its end."""

    submitted: SubmittedJob
    """The job, and its rows."""

    job: BatchInferenceJob
    """As it ended."""

    number: int
    """Its place among all jobs of the run."""

    has_rows: bool = False
    """Whether there were results to fetch."""

    is_retry: bool = False
    """Whether its rows are those that did not come the first time."""

    @property
    def is_whole(self) -> bool:
        """Whether its input is all of the rows, and not the rest that those before have left."""
        return runs_all(self.job, self.submitted.dataset_id)


def inputs_of(ends: Iterable[Ended]) -> set[str]:
    """Return the ids of the datasets that jobs, and those that they continue, were made of."""
    ids: set[str] = set()
    for end in ends:
        ids.add(end.submitted.dataset_id)
        # What the server makes for a job that it continues is not ours.
        if not end.is_whole and not end.job.continued_from_job_name:
            ids.add(input_of(end.job))
    return ids


def _job_report(ended: Ended) -> JobReport:
    """Say how a job ended, and which lines of the requests it is about if it ended badly."""
    job, submitted = ended.job, ended.submitted
    reason = ""
    if not job.is_success:
        status = job.status
        said = f"{status.code}: {status.message}" if status and status.message else ""
        reason = f"{said or f'it ended {job.state}'} ({_lines(said, ended)})"
    elif not ended.has_rows:
        reason = "it is COMPLETED, but its output is gone"
    return JobReport(job_id=job.id, state=job.state, rows=submitted.rows, reason=reason)


def _lines(said: str, ended: Ended) -> str:
    """Say where in the requests a job's rows stand, and the one that the server names, if any."""
    submitted = ended.submitted
    if ended.is_retry:
        return f"{submitted.rows} rows that were sent again"
    first, last = submitted.first_line, submitted.last_line
    where = f"lines {first} to {last} of the requests"
    named = re.search(r"\.jsonl:(\d+)", said) if ended.is_whole else None
    if named is None or not 1 <= int(named[1]) <= submitted.rows:
        return where
    # Lines without a row were left out; where there are none, lines can be counted on.
    is_whole = last - first + 1 == submitted.rows
    about = "line" if is_whole else "at or after line"
    # The server's number was off by some lines (seen live).
    return f"{where}; it names {about} {first + int(named[1]) - 1}, or one near it"


def run_report(
    tally: Tally,
    ends: Sequence[Ended],
    *,
    rows: int,
    adopted: Sequence[AdoptedJob],
    skipped: int,
    retried: int,
    not_retried: Sequence[str] = (),
    not_cleaned: Sequence[str] = (),
) -> RunReport:
    """Put the numbers together, and say what does not add up.

    Args:
        tally: What was found.
        ends: How all jobs ended.
        rows: Rows that were sent.
        adopted: Jobs that had ended before.
        skipped: Bad rows that were left out.
        retried: Rows that were sent again.
        not_retried: Why rows could not be sent again.
        not_cleaned: Datasets that could not be deleted.
    """
    missing = max(0, rows - tally.succeeded - tally.failed)
    foreign = tally.foreign + max(0, tally.succeeded + tally.failed - rows)
    counters = [end.job.job_progress or JobProgress() for end in ends]
    return RunReport(
        rows=rows,
        succeeded=tally.succeeded,
        failed=tally.failed,
        missing=missing,
        duplicate=tally.duplicate,
        foreign=foreign,
        unreadable=tally.unreadable,
        skipped=skipped,
        retried=retried,
        input_tokens=sum(each.input_tokens for each in counters),
        output_tokens=sum(each.output_tokens for each in counters),
        cached_tokens=sum(each.cached_input_token_count for each in counters),
        jobs=tuple(map(_job_report, ends)),
        adopted=tuple(adopted),
        not_retried=tuple(not_retried),
        not_cleaned=tuple(not_cleaned),
        remarks=tuple(_remarks(tally, ends, foreign=foreign)),
    )


def _remarks(tally: Tally, ends: Sequence[Ended], *, foreign: int) -> Iterator[str]:
    if tally.duplicate:
        yield f"{tally.duplicate} came more than once"
    if foreign and tally.has_expected:
        yield f"{foreign} were not asked for"
    elif foreign:
        yield (
            f"{foreign} more came than were sent (with the requests at hand, it can be told which "
            "are foreign, and which are missing)"
        )
    if tally.unreadable:
        yield f"{tally.unreadable} lines of results cannot be read"
    for end in ends:
        said, there = _said(end), tally.successes.get(end.number, 0)
        # Its counters may lag behind (they move once a minute), but never run ahead.
        if end.job.is_success and said > there:
            yield f"job {end.job.id!r} counts {said} rows done well, its results have {there}"


def jobs_gone(tally: Tally, ends: Iterable[Ended]) -> set[str]:
    """Return the ids of jobs without any output, or that count successes of which none came."""
    return {
        end.job.id
        for end in ends
        if not end.has_rows or (_said(end) and not tally.successes.get(end.number))
    }


def _said(end: Ended) -> int:
    """Return how many rows a job counts as done well."""
    progress = end.job.job_progress
    return progress.successfully_processed_requests if progress else 0
