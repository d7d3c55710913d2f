"""``fireworks-batch check``, ``submit`` and ``run``."""

import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from fireworks_batch.cli.advice import come_back
from fireworks_batch.cli.displays import Words, shown
from fireworks_batch.cli.durations import parse_duration
from fireworks_batch.cli.exit_codes import ExitCode
from fireworks_batch.cli.figures import counted, visible
from fireworks_batch.cli.interrupts import InterruptedByUserError
from fireworks_batch.cli.leaving import delete_and_tell, leave_jobs
from fireworks_batch.cli.output import Output
from fireworks_batch.cli.run_displays import RunDisplay
from fireworks_batch.cli.run_lines import (
    adopted_lines,
    anew_hint,
    check_line,
    code_of_report,
    report_lines,
)
from fireworks_batch.cli.running import Options, Session, run
from fireworks_batch.cli.settings import Settings, arguments_of
from fireworks_batch.models.job import to_dict
from fireworks_batch.models.policies import JOB_TIME_LIMIT
from fireworks_batch.runs.result import BatchResult

__all__ = ["RunTerms", "check", "run_to_the_end", "submit", "whole_run"]


@attrs.frozen(kw_only=True)
class RunTerms:
    """What was said of a run, besides what its jobs are like."""

    output: Path | None = None
    """The file for the rows with a response; stdout if None."""

    errors: Path | None = None
    """The file for the rows with an error; none if None."""

    timeout: str | None = None
    """How long each job is waited for, as typed."""

    retry_rows: int = 0
    """How often rows that failed are sent again."""

    deletes: bool = False
    """Whether an interrupt deletes the jobs."""

    cleans: bool = False
    """Whether the input datasets are deleted in the end."""

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of ``client.run``."""
        timeout = self.timeout
        return {
            "errors": self.errors,
            "timeout": JOB_TIME_LIMIT if timeout is None else parse_duration("--timeout", timeout),
            "retry_rows": self.retry_rows,
            "cleanup": "datasets" if self.cleans else "keep",
        }


def check(
    options: Options, requests: Path, *, model: str | None, system_prompt: str | None, most: int
) -> ExitCode:
    """Look at requests, and name the rows that the server would refuse."""

    async def work(session: Session) -> ExitCode:
        output = session.output
        checking = session.client.check(
            requests, model=model, system_prompt=system_prompt, max_problems=most
        )
        report = await shown(output, Words("checking"), checking)
        if output.as_json:
            output.record({**to_dict(report), "is_good": report.is_good})
        for problem in () if output.as_json else report.problems:
            output.line(visible(str(problem)))
        if report.problem_count > len(report.problems) and not output.as_json:
            output.talk(f"and {report.problem_count - len(report.problems):,} more")
        output.talk(f"{requests}: {check_line(report)}")
        return ExitCode.SUCCEEDED if report.is_good else ExitCode.USAGE

    return run(options, work, needs_key=False)


def submit(options: Options, requests: Path, settings: Settings) -> ExitCode:
    """Make sure that the server has the jobs, and write their ids."""

    async def work(session: Session) -> ExitCode:
        output, arguments = session.output, arguments_of(settings)
        submitting = session.client.submit(requests, **arguments)
        submission = await shown(output, Words("checking and submitting"), submitting)
        ids = [job.job_id for job in submission.jobs]
        if output.as_json:
            output.record(to_dict(submission))
            return ExitCode.SUCCEEDED
        for job_id in ids:
            output.line(job_id)
        for line in adopted_lines(submission.adopted):
            output.talk(visible(line))
        if submission.adopted:
            output.talk(anew_hint(submission.adopted))
        if output.is_heard:
            follow, _ = come_back(ids, output.connection)
            output.talk(f"{counted(submission.rows, 'row')}; to follow: {follow}")
        return ExitCode.SUCCEEDED

    return run(options, work)


def whole_run(options: Options, requests: Path, settings: Settings, terms: RunTerms) -> ExitCode:
    """Bring requests to results."""

    async def work(session: Session) -> ExitCode:
        return await run_to_the_end(session, requests, arguments_of(settings), terms)

    return run(options, work)


async def run_to_the_end(
    session: Session, requests: Path, arguments: Mapping[str, Any], terms: RunTerms
) -> ExitCode:
    """Run, tell how it gets on, write rows and report, and return how it ended."""
    output = session.output
    # Where the rows go to stdout, nothing else does.
    display = RunDisplay(output, as_records=output.as_json and terms.output is not None)
    with _target(terms.output) as target:
        running = session.client.run(
            requests,
            **arguments,
            **terms.arguments(),
            output=target,
            on_progress=display.tell,
        )
        try:
            following = shown(output, display, running, rows=display.rows)
            result = await session.interrupts.guard(following, are_told=True)
        except InterruptedByUserError:
            await _leave(session, display.jobs_under_way, deletes=terms.deletes)
            raise
        async with result:
            if terms.output is None:
                output.copy(target)
            _tell(output, result, terms)
    return code_of_report(result.report)


@contextmanager
def _target(path: Path | None) -> Iterator[Path]:
    """Give the file to write to; one that goes again, if the rows are for stdout."""
    if path is not None:
        yield path
        return
    with tempfile.TemporaryDirectory(
        prefix="fireworks-batch-", ignore_cleanup_errors=True
    ) as directory:
        yield Path(directory) / "rows.jsonl"


def _tell(output: Output, result: BatchResult, terms: RunTerms) -> None:
    report = result.report
    if output.as_json and terms.output is not None:
        output.record({"event": "end", "exit_code": int(code_of_report(report)), **to_dict(report)})
        return
    say: Callable[[str], None] = output.line if terms.output is not None else output.talk
    for line in report_lines(report):
        say(visible(line))
    if report.failed and terms.errors is None:
        output.talk("to see the rows that failed: the same command with --errors FILE")
    if report.adopted:
        output.talk(anew_hint(report.adopted))


async def _leave(session: Session, job_ids: tuple[str, ...], *, deletes: bool) -> None:
    # Not by on_abort="delete": that would delete them when an error ends the run, too.
    if deletes:
        await delete_and_tell(session, job_ids)
    else:
        leave_jobs(session, job_ids, again=shlex.join(["fireworks-batch", *sys.argv[1:]]))
