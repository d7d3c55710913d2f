"""What became of a run: the report of its rows and jobs, in numbers and sentences.

Performs no I/O.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

import attrs

from fireworks_batch.models.job import BatchInferenceJob, JobProgress
from fireworks_batch.models.names import job_name
from fireworks_batch.models.states import JobState
from fireworks_batch.results.index import Tally
from fireworks_batch.results.report import AdoptedJob, JobReport, RunReport
from fireworks_batch.runs.chain import Attempt
from fireworks_batch.runs.shards import Shard
from fireworks_batch.runs.spec import attempt_id

__all__ = ["run_report"]


def run_report(
    tally: Tally,
    shards: Sequence[Shard],
    *,
    model: str,
    rows: int,
    adopted: Sequence[AdoptedJob],
    skipped: int,
    retried: int = 0,
    not_retried: Sequence[str] = (),
    not_cleaned: Sequence[str] = (),
) -> RunReport:
    """Put the numbers together, and name the numbers that do not add up.

    Args:
        tally: The rows and results of each kind.
        shards: The shards, with their attempts.
        model: The resource name of the model.
        rows: Rows that were sent.
        adopted: Jobs that had ended before the call.
        skipped: Bad rows that were left out.
        retried: Rows that were sent again.
        not_retried: Why rows could not be sent again.
        not_cleaned: Ids of datasets that could not be deleted.
    """
    missing = max(0, rows - tally.succeeded - tally.failed)
    foreign = tally.foreign + max(0, tally.succeeded + tally.failed - rows)
    jobs = [(shard, attempt) for shard in shards for attempt in _attempts(shard)]
    jobs.sort(key=lambda each: (each[1].number, each[0].number))
    reports = [_job_report(shard, attempt) for shard, attempt in jobs]
    return RunReport(
        model=model,
        rows=rows,
        succeeded=tally.succeeded,
        failed=tally.failed,
        missing=missing,
        undecodable=tally.undecodable,
        duplicate=tally.duplicate,
        foreign=foreign,
        unreadable=tally.unreadable,
        skipped=skipped,
        retried=retried,
        input_tokens=_total(each.input_tokens for each in reports),
        output_tokens=_total(each.output_tokens for each in reports),
        cached_tokens=_total(each.cached_tokens for each in reports),
        jobs=tuple(reports),
        adopted=tuple(adopted),
        not_retried=tuple(not_retried),
        not_cleaned=tuple(not_cleaned),
        remarks=tuple(_remarks(tally, shards, foreign=foreign)),
    )


def _attempts(shard: Shard) -> Sequence[Attempt]:
    """Return the attempts of a shard. If all were deleted, return attempt 0 as DELETED."""
    name = job_name("-", attempt_id(shard.base, 0))
    gone = BatchInferenceJob(name=name, state=JobState.DELETED)
    return shard.attempts or [Attempt(number=0, job=gone, rows=shard.submitted.rows)]


def _job_report(shard: Shard, attempt: Attempt) -> JobReport:
    """Return the outcome of a job; after a bad one, with the lines of the requests it ran."""
    job = attempt.job
    reason = ""
    if not job.is_success:
        status = job.status
        said = f"{status.code}: {status.message}" if status and status.message else ""
        reason = f"{said or f'it ended {job.state}'} ({_lines(said, shard, attempt)})"
    elif not attempt.has_evidence:
        reason = f"it is COMPLETED, but {attempt.problem or 'rows of its output are missing'}"
    report = JobReport(job_id=job.id, state=job.state, rows=attempt.rows, reason=reason)
    counted = _token_counts(attempt)
    if counted is None:
        return report
    return attrs.evolve(
        report,
        input_tokens=counted.input_tokens,
        output_tokens=counted.output_tokens,
        cached_tokens=counted.cached_input_token_count,
    )


def _token_counts(attempt: Attempt) -> JobProgress | None:
    """Return the counters of a job; None if they say nothing about its tokens."""
    counted = attempt.progress if attempt.job.has_token_counts else None
    # Rows with a response were read from the output: zeros are counters that are late.
    is_late = counted is not None and not counted.input_tokens and attempt.answered
    return None if is_late else counted


def _total(numbers: Iterable[int | None]) -> int | None:
    """Return the sum; None if one of the numbers is not known."""
    total = 0
    for number in numbers:
        if number is None:
            return None
        total += number
    return total


def _lines(said: str, shard: Shard, attempt: Attempt) -> str:
    """Return the lines of the requests that a job ran, and the line that the server names."""
    submitted = shard.submitted
    first, last = submitted.first_line, submitted.last_line
    where = f"lines {first} to {last} of the requests"
    # Only the input of the first attempt has all rows of these lines.
    named = None if attempt.number else re.search(r"\.jsonl:(\d+)", said)
    if named is None or not 1 <= int(named[1]) <= submitted.rows:
        return where
    # Lines without a row were left out. The line is exact only if there are no such lines.
    is_whole = last - first + 1 == submitted.rows
    about = "line" if is_whole else "at or after line"
    # The line number of the server was wrong by some lines (seen live).
    return f"{where}; it names {about} {first + int(named[1]) - 1}, or one near it"


def _unsettled(attempt: Attempt) -> str:
    here = attempt.problem or f"its results have {attempt.answered}"
    if attempt.unreadable:
        here += f" and {attempt.unreadable} lines that cannot be read"
    return (
        f"job {attempt.job.id!r} counts {attempt.counted} rows done well, {here}; no row of its "
        "shard was sent again"
    )


def _remarks(tally: Tally, shards: Sequence[Shard], *, foreign: int) -> Iterator[str]:
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
    for shard in shards:
        yield from map(
            _unsettled, (each for each in shard.chain.unsettled if not each.has_vanished)
        )
