"""``fireworks-batch check``, ``submit`` and ``run``: from requests to results."""

import shlex
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fireworks_batch import Limits, RunReport, to_dict
from fireworks_batch.cli.detachment import delete_jobs, leave_jobs
from fireworks_batch.cli.display.advice import come_back
from fireworks_batch.cli.display.figures import counted
from fireworks_batch.cli.display.output import Output
from fireworks_batch.cli.display.progress import Words, shown
from fireworks_batch.cli.display.run import (
    RunDisplay,
    adopted_lines,
    check_line,
    code_of_report,
    report_lines,
    rerun_hint,
)
from fireworks_batch.cli.durations import parse_duration, parse_timeout
from fireworks_batch.cli.exit_codes import ExitCode
from fireworks_batch.cli.interrupts import InterruptedByUserError
from fireworks_batch.cli.options import CommonOptions, JobOptions, RunOptions
from fireworks_batch.cli.session import Session, in_session
from fireworks_batch.files.workspace import workspace
from fireworks_batch.models.texts import visible

__all__ = ["check", "run", "run_to_the_end", "submit"]

_PARAMETERS = ("max_tokens", "temperature", "top_p", "top_k", "n", "extra_body")


def check(
    options: CommonOptions,
    requests: Path,
    *,
    model: str | None,
    system_prompt: str | None,
    most: int,
) -> ExitCode:
    """Check requests, and name the rows that the server would refuse."""

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

    return in_session(options, work, needs_key=False)


def submit(options: CommonOptions, jobs: JobOptions, requests: Path) -> ExitCode:
    """Create the jobs that are not there yet, and write the ids of all."""

    async def work(session: Session) -> ExitCode:
        output = session.output
        submitting = session.client.submit(requests, **_job_arguments(jobs))
        submission = await shown(output, Words("checking and submitting"), submitting)
        ids = [ref.job_id for ref in submission.refs]
        if output.as_json:
            output.record(to_dict(submission))
            return ExitCode.SUCCEEDED
        for job_id in ids:
            output.line(job_id)
        for line in adopted_lines(submission.adopted):
            output.talk(visible(line))
        if submission.adopted:
            output.talk(rerun_hint(submission.adopted))
        if output.is_heard:
            follow, _ = come_back(ids, output.connection)
            output.talk(f"{counted(submission.rows, 'row')}; to follow: {follow}")
        return ExitCode.SUCCEEDED

    return in_session(options, work)


def run(options: CommonOptions, jobs: JobOptions, terms: RunOptions, requests: Path) -> ExitCode:
    """Run requests to results."""

    async def work(session: Session) -> ExitCode:
        return await run_to_the_end(session, jobs, terms, requests)

    return in_session(options, work)


async def run_to_the_end(
    session: Session, jobs: JobOptions, terms: RunOptions, requests: Path
) -> ExitCode:
    """Run requests to results, show progress, write rows and report, and return the outcome."""
    output = session.output
    # Where the rows go to stdout, nothing else does.
    display = RunDisplay(output, as_records=output.as_json and terms.output is not None)
    async with _target(terms.output) as target:
        running = session.client.run(
            requests,
            **_job_arguments(jobs),
            output=target,
            errors=terms.errors,
            timeout=parse_timeout(terms.timeout),
            retry_rows=terms.retry_rows,
            cleanup="datasets" if terms.cleanup else "keep",
            on_progress=display.show,
        )
        try:
            following = shown(output, display, running, rows=display.rows)
            result = await session.interrupts.guard(following, reports=True)
        except InterruptedByUserError:
            await _detach(session, display, deletes=terms.delete_on_interrupt)
            raise
        async with result:
            if terms.output is None:
                output.copy(target)
            _print_report(output, result.report, terms)
    return code_of_report(result.report)


def _job_arguments(jobs: JobOptions) -> dict[str, Any]:
    """Return the arguments of ``client.submit`` and ``client.run`` that say what jobs are like."""
    parameters = {name: value for name in _PARAMETERS if (value := getattr(jobs, name)) is not None}
    time_limit = jobs.window
    return {
        "model": jobs.model,
        "name": jobs.name,
        "system_prompt": jobs.system_prompt,
        "inference_parameters": parameters or None,
        "precision": jobs.precision,
        "max_job_duration": None if time_limit is None else parse_duration("--window", time_limit),
        "limits": Limits(max_rows=jobs.rows_per_job),
        "on_bad_row": "skip" if jobs.skip_bad_rows else "raise",
        "on_previous": "new" if jobs.again else "adopt",
    }


@asynccontextmanager
async def _target(path: Path | None) -> AsyncIterator[Path]:
    """Give the file to write to; a temporary one if the rows go to stdout."""
    if path is not None:
        yield path
        return
    async with workspace() as space:
        yield space.path / "rows.jsonl"


def _print_report(output: Output, report: RunReport, terms: RunOptions) -> None:
    if output.as_json and terms.output is not None:
        output.record({"event": "end", "exit_code": int(code_of_report(report)), **to_dict(report)})
        return
    say: Callable[[str], None] = output.line if terms.output is not None else output.talk
    for line in report_lines(report):
        say(visible(line))
    if report.failed and terms.errors is None:
        output.talk("to see the rows that failed: the same command with --errors FILE")
    if report.adopted:
        output.talk(rerun_hint(report.adopted))


async def _detach(session: Session, display: RunDisplay, *, deletes: bool) -> None:
    # The library's on_abort="delete" would also delete them when an error ends the run.
    deleted = display.jobs_created if deletes else ()
    await delete_jobs(session, deleted)
    left = [job_id for job_id in display.jobs_under_way if job_id not in deleted]
    if left or not deletes:
        leave_jobs(session, left, again=shlex.join(["fireworks-batch", *sys.argv[1:]]))
