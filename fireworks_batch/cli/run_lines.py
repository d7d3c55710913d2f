"""A run, its check and its transfers as lines of text and JSON objects. Performs no I/O."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import attrs

from fireworks_batch.cli.durations import brief
from fireworks_batch.cli.exit_codes import ExitCode, code_of_state, worst
from fireworks_batch.cli.figures import counted, percent, rate, size
from fireworks_batch.models.job import to_dict
from fireworks_batch.results.report import AdoptedJob, RunReport
from fireworks_batch.runs.progress import CheckReport, RunProgress

__all__ = [
    "Pace",
    "adopted_lines",
    "anew_hint",
    "check_line",
    "code_of_report",
    "progress_line",
    "progress_record",
    "report_lines",
]

_SHOWN: Final = 10


@attrs.frozen
class Pace:
    """How fast a run is, from its first row to its newest snapshot."""

    since: float = 0.0
    """When the first rows were seen to be done."""

    first: int = 0
    """How many those were."""

    now: float = 0.0
    """When the newest snapshot came."""

    done: int = 0
    """How many rows are done in it."""

    def add(self, progress: RunProgress, *, now: float) -> "Pace":
        """Return the pace with one more snapshot."""
        done = progress.rows_done
        if not self.done or done < self.done:
            return Pace(now, done, now, done)
        return attrs.evolve(self, now=now, done=done)

    @property
    def rate(self) -> float | None:
        """Rows a second; None until some were done under our eyes."""
        took, rows = self.now - self.since, self.done - self.first
        return rows / took if took > 0 and rows > 0 else None

    def left(self, progress: RunProgress, *, now: float) -> float | None:
        """Return the seconds to the last row; None if it is not known."""
        if self.rate is None or not progress.rows:
            return None
        return max(0.0, (progress.rows - self.done) / self.rate - (now - self.now))


def progress_line(progress: RunProgress, pace: Pace, *, now: float) -> str:
    """Return a snapshot of a run as a plain line."""
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
    losing = len(progress.failed_polls)
    parts += [f"looks lost at {losing} jobs" if losing > 1 else "looks lost"] if losing else []
    return ", ".join(parts)


def progress_record(progress: RunProgress) -> dict[str, Any]:
    """Return a snapshot of a run as a JSON object; without the jobs, which may be many."""
    members = to_dict(attrs.evolve(progress, under_way=(), snapshots=(), failed_polls=()))
    del members["under_way"], members["snapshots"], members["failed_polls"]
    return {"event": "progress", **members, "percent": progress.percent}


def report_lines(report: RunReport) -> list[str]:
    """Return what came of a run: the rows, then each job that did not end well."""
    bad = [job for job in report.jobs if job.reason]
    lines = [str(report)]
    lines += [f"rows sent again: {report.retried:,}"] if report.retried else []
    lines += [f"job {job.job_id} {job.state}: {job.reason}" for job in bad[:_SHOWN]]
    lines += [f"and {counted(len(bad) - _SHOWN, 'more job')}"] if len(bad) > _SHOWN else []
    return lines + adopted_lines(report.adopted)


def adopted_lines(adopted: Sequence[AdoptedJob]) -> list[str]:
    """Return what to say of jobs that had ended before this call; of several in one line."""
    if len(adopted) < 2:
        return [
            f"job {job.job_id} had ended {job.state} before: its results are not new"
            for job in adopted
        ]
    states = Counter(str(job.state) for job in adopted)
    count = ", ".join(f"{number:,} {state}" for state, number in states.items())
    return [f"{len(adopted):,} jobs had ended before ({count}): their results are not new"]


def anew_hint(adopted: Sequence[AdoptedJob]) -> str:
    """Return how to have new results in place of those."""
    is_good = all(job.state.is_success for job in adopted)
    return f"to run the same rows anew: another --name{'' if is_good else ', or --again'}"


def code_of_report(report: RunReport) -> ExitCode:
    """Return the exit code: 0 if each row has a response, else how the jobs ended."""
    if report.is_complete and not report.skipped:
        return ExitCode.SUCCEEDED
    code = worst(code_of_state(job.state) for job in report.jobs)
    return code or ExitCode.ROWS_FAILED


def check_line(report: CheckReport) -> str:
    """Return what a check found, in words."""
    good = (counted(report.rows, "good row"), size(report.bytes), counted(len(report.jobs), "job"))
    bad = f"; {counted(report.problem_count, 'bad row')}" if report.problem_count else ""
    blank = f"; {counted(report.blank_lines, 'blank line')}" if report.blank_lines else ""
    return ", ".join(good) + bad + blank
