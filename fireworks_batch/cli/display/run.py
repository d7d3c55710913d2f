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
from fireworks_batch.cli.display.board import Board, Outcome, Row
from fireworks_batch.cli.display.figures import counted, percent, rate, size
from fireworks_batch.cli.display.output import Output
from fireworks_batch.cli.durations import brief
from fireworks_batch.cli.exit_codes import ExitCode, code_of_state, worst

__all__ = [
    "Pace",
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


@attrs.frozen
class Pace:
    """How fast a run is, from its first rows to its newest progress."""

    since: float = 0.0
    """When the first finished rows were seen."""

    first: int = 0
    """How many rows were finished then."""

    now: float = 0.0
    """When the newest progress came."""

    done: int = 0
    """How many rows were finished then."""

    def add(self, progress: RunProgress, *, now: float) -> "Pace":
        """Return the pace with newer progress."""
        done = progress.rows_done
        if not self.done or done < self.done:
            return Pace(now, done, now, done)
        return attrs.evolve(self, now=now, done=done)

    @property
    def rate(self) -> float | None:
        """Rows a second; None until a row was finished after the first ones."""
        took, rows = self.now - self.since, self.done - self.first
        return rows / took if took > 0 and rows > 0 else None

    def left(self, progress: RunProgress, *, now: float) -> float | None:
        """Return the seconds to the last row; None if it is not known."""
        if self.rate is None or not progress.rows:
            return None
        return max(0.0, (progress.rows - self.done) / self.rate - (now - self.now))


# --- Progress -------------------------------------------------------------------------------------


def progress_line(progress: RunProgress, pace: Pace, *, now: float) -> str:
    """Return the progress of a run as a plain line."""
    if not progress.rows:
        return f"{progress.stage}"
    failed = f", {progress.rows_failed:,} failed" if progress.rows_failed else ""
    rows = f"({progress.rows_done:,} of {progress.rows:,} rows{failed})"
    parts = [
        f"{progress.stage} {percent(progress.percent)} {rows}",
        f"{progress.jobs_ended} of {progress.jobs} jobs ended",
    ]
    parts += [rate(pace.rate)] if pace.rate else []
    left = pace.left(progress, now=now)
    parts += [f"{brief(left)} left"] if left else []
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
        self._pace = Pace()
        self._last: RunProgress | None = None
        self._board = Board()
        self._seen: dict[str, JobSnapshot] = {}

    def show(self, progress: RunProgress) -> None:
        """Show the progress, if it has something new."""
        now, last = time.monotonic(), self._last
        self._last, self._pace = progress, self._pace.add(progress, now=now)
        for snapshot in progress.snapshots:
            self._see(snapshot, now)
        for job_id, count in progress.failed_polls:
            self._board.count_failed_polls(job_id, count)
        if last is not None and not _is_news(progress, last):
            return
        if self._as_records:
            self._output.record(progress_record(progress))
        elif not self._output.is_live:
            self._output.talk(progress_line(progress, self._pace, now=now))

    def _see(self, snapshot: JobSnapshot, now: float) -> None:
        job = snapshot.job
        if self._seen.get(job.id) is snapshot:
            return
        self._seen[job.id] = snapshot
        self._board.see(snapshot, now=now)
        if job.is_terminal:
            self._board.end(Outcome(job.id, job, None))

    @property
    def jobs_under_way(self) -> tuple[str, ...]:
        """The ids of the jobs that may be running."""
        return self._last.under_way if self._last else ()

    @property
    def jobs_created(self) -> tuple[str, ...]:
        """The ids of the jobs under way that this run has created."""
        return self._last.created if self._last else ()

    def picture(self) -> tuple[float | None, str]:
        """Return the share of 100 that is done, and the words beside the bar, as of now."""
        progress = self._last
        if progress is None:
            return None, RunStage.CHECKING.value
        return progress.percent, progress_line(progress, self._pace, now=time.monotonic())

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
