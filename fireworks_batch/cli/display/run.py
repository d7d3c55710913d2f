"""A run: its progress, its check and its report as lines, JSON objects and a bar."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import attrs

from fireworks_batch import (
    AdoptedJob,
    CheckReport,
    JobSnapshot,
    RunProgress,
    RunReport,
    RunStage,
    to_dict,
)
from fireworks_batch.cli.display.board import Board, Row
from fireworks_batch.cli.display.figures import counted, percent, rate, size
from fireworks_batch.cli.display.output import Output
from fireworks_batch.cli.durations import brief
from fireworks_batch.cli.exit_codes import ExitCode, code_of_state, worst

__all__ = [
    "RunBoard",
    "RunDisplay",
    "adopted_lines",
    "check_line",
    "code_of_report",
    "price_lines",
    "price_record",
    "progress_line",
    "progress_record",
    "report_lines",
    "rerun_hint",
]

# Jobs that are named in a report.
_SHOWN: Final = 10


# --- Progress -------------------------------------------------------------------------------------


def progress_line(progress: RunProgress, *, age: float = 0.0) -> str:
    """Return the progress of a run as a plain line.

    Args:
        progress: The progress.
        age: Seconds since the progress came.
    """
    if not progress.rows:
        return f"{progress.stage}"
    failed = f", {progress.rows_failed:,} failed" if progress.rows_failed else ""
    rows = f"({progress.rows_done:,} of {progress.rows:,} rows{failed})"
    parts = [
        f"{progress.stage} {percent(progress.percent)} {rows}",
        f"{progress.jobs_ended} of {progress.jobs} jobs ended",
    ]
    parts += [rate(progress.rate)] if progress.rate else []
    left = 0.0 if progress.eta is None else progress.eta - age
    parts += [f"{brief(left)} left"] if left > 0 else []
    failing = len(progress.failed_polls)
    parts += [f"failed polls of {counted(failing, 'job')}"] if failing else []
    return ", ".join(parts)


def progress_record(progress: RunProgress) -> dict[str, Any]:
    """Return the progress of a run as a JSON object, without the jobs, which may be many."""
    jobs: dict[str, Any] = dict.fromkeys(("under_way", "created", "snapshots", "failed_polls"), ())
    members = to_dict(attrs.evolve(progress, **jobs))
    for name in jobs:
        del members[name]
    return {"event": "progress", **members, "percent": progress.percent}


class RunBoard:
    """The newest progress of a run, and its jobs as rows. Performs no I/O."""

    def __init__(self) -> None:
        """Begin before the first progress."""
        self.newest: RunProgress | None = None
        """The newest progress; None before the first."""
        self._came_at = 0.0
        self._jobs = Board()
        self._seen: dict[str, JobSnapshot] = {}

    def see(self, progress: RunProgress, *, now: float) -> bool:
        """Take the newest progress, and return whether its line has something new.

        Args:
            progress: The progress.
            now: The time, in seconds of the clock that the other methods are called with.
        """
        last, self.newest, self._came_at = self.newest, progress, now
        for snapshot in progress.snapshots:
            job_id = snapshot.job.id
            if self._seen.get(job_id) is not snapshot:
                self._seen[job_id] = snapshot
                self._jobs.follow(snapshot, now=now)
        for job_id, count in progress.failed_polls:
            self._jobs.count_failed_polls(job_id, count)
        return last is None or _is_news(progress, last)

    def picture(self, *, now: float) -> tuple[float | None, str]:
        """Return the share of 100 that is done, and the words beside the bar, as of now."""
        if self.newest is None:
            return None, RunStage.CHECKING.value
        return self.newest.percent, progress_line(self.newest, age=now - self._came_at)

    def rows(self, *, now: float) -> Sequence[Row]:
        """Return a row for each job that is waited for, as of now."""
        return self._jobs.rows(now=now)


class RunDisplay:
    """Shows a run: as a bar with a table of its jobs, as a line for each change, or as JSON."""

    def __init__(self, output: Output, *, as_records: bool) -> None:
        """Begin.

        Args:
            output: The streams.
            as_records: Whether each change is a JSON object on stdout.
        """
        self._output = output
        self._as_records = as_records
        self._board = RunBoard()

    def show(self, progress: RunProgress) -> None:
        """Show the progress, if it has something new."""
        if not self._board.see(progress, now=time.monotonic()):
            return
        if self._as_records:
            self._output.record(progress_record(progress))
        elif not self._output.is_live:
            self._output.talk(progress_line(progress))

    @property
    def jobs_under_way(self) -> tuple[str, ...]:
        """The ids of the jobs that may be running."""
        return self._board.newest.under_way if self._board.newest else ()

    @property
    def jobs_created(self) -> tuple[str, ...]:
        """The ids of the jobs under way that this run has created."""
        return self._board.newest.created if self._board.newest else ()

    def picture(self) -> tuple[float | None, str]:
        """Return the share of 100 that is done, and the words beside the bar, as of now."""
        return self._board.picture(now=time.monotonic())

    def rows(self) -> Sequence[Row]:
        """Return a row for each job that is waited for, as of now."""
        return self._board.rows(now=time.monotonic())


def _is_news(progress: RunProgress, last: RunProgress) -> bool:
    members = ("stage", "rows", "rows_done", "rows_failed", "jobs", "jobs_ended")
    return any(getattr(progress, name) != getattr(last, name) for name in members)


# --- Reports --------------------------------------------------------------------------------------


def report_lines(report: RunReport) -> list[str]:
    """Return a report in lines: the rows, then each job that did not succeed."""
    bad = [job for job in report.jobs if job.reason]
    lines = [str(report)]
    lines += [f"rows sent again: {report.retried:,}"] if report.retried else []
    lines += [f"job {job.job_id} {job.state}: {job.reason}" for job in bad[:_SHOWN]]
    lines += [f"and {counted(len(bad) - _SHOWN, 'more job')}"] if len(bad) > _SHOWN else []
    return lines + adopted_lines(report.adopted)


def adopted_lines(adopted: Sequence[AdoptedJob]) -> list[str]:
    """Return a line about the jobs that had ended before this call; none if there are none."""
    if len(adopted) < 2:
        return [
            f"job {job.job_id} had ended {job.state} before: its results are not new"
            for job in adopted
        ]
    states = Counter(str(job.state) for job in adopted)
    count = ", ".join(f"{number:,} {state}" for state, number in states.items())
    return [f"{len(adopted):,} jobs had ended before ({count}): their results are not new"]


def rerun_hint(adopted: Sequence[AdoptedJob]) -> str:
    """Return how to get new results in place of the results of adopted jobs."""
    is_good = all(job.state.is_success for job in adopted)
    return (
        "to run the same rows again: run or submit them with another --name"
        f"{'' if is_good else ', or with --on-previous new'}"
    )


def code_of_report(report: RunReport) -> ExitCode:
    """Return the exit code: 0 if each row has a response, else how the jobs ended."""
    if report.is_complete and not report.skipped:
        return ExitCode.SUCCEEDED
    code = worst(code_of_state(job.state) for job in report.jobs)
    return code or ExitCode.ROWS_FAILED


def check_line(report: CheckReport) -> str:
    """Return what a check found, in words."""
    if not (report.rows or report.problem_count):
        return "there are no rows"
    good = (counted(report.rows, "good row"), size(report.bytes), counted(len(report.jobs), "job"))
    bad = f"; {counted(report.problem_count, 'bad row')}" if report.problem_count else ""
    blank = f"; {counted(report.blank_lines, 'blank line')}" if report.blank_lines else ""
    return ", ".join(good) + bad + blank


def price_lines(estimate: Any) -> list[str]:
    """Return what the rows may cost, in lines: the figures, then what they are made of.

    Args:
        estimate: What `fireworks_batch.integrations.cost.estimate` returns. Its type is there only
            with the extra.
    """
    return [f"price: {estimate}", *(f"  {reason}" for reason in estimate.reasons)]


def price_record(estimate: Any) -> dict[str, Any]:
    """Return what the rows may cost as a JSON object, for `price_lines`'s argument."""
    price, low, high = estimate.price, estimate.low_usd, estimate.high_usd
    return {
        "model": estimate.model,
        "low_usd": None if low is None else float(low),
        "high_usd": None if high is None else float(high),
        "input_tokens": estimate.input_tokens,
        "output_tokens": estimate.output_tokens,
        "basis": None if price is None else str(price),
        "reasons": estimate.reasons,
    }
