"""``fireworks-batch check``, ``submit``, ``collect`` and ``run``: from requests to results."""

import shlex
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from fireworks_batch import (
    CheckReport,
    ConfigurationError,
    Limits,
    RunReport,
    Submission,
    integrations,
    to_dict,
)
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
    price_lines,
    price_record,
    report_lines,
    rerun_hint,
)
from fireworks_batch.cli.durations import parse_job_time_limit, parse_timeout
from fireworks_batch.cli.exit_codes import ExitCode
from fireworks_batch.cli.formats import check_terms, keeping_rows, write_rows
from fireworks_batch.cli.interrupts import InterruptedByUserError
from fireworks_batch.cli.options import (
    CollectOptions,
    CommonOptions,
    JobOptions,
    RecordOptions,
    RunOptions,
)
from fireworks_batch.cli.records import requests_of
from fireworks_batch.cli.session import Session, in_session, poll_policy
from fireworks_batch.cli.standard_input import is_standard_input, readable
from fireworks_batch.files.threads import off_loop, reported
from fireworks_batch.files.workspace import workspace
from fireworks_batch.models.texts import visible
from fireworks_batch.typing import BatchResult

__all__ = ["check", "collect", "run", "run_to_the_end", "submit"]

_PARAMETERS = ("max_tokens", "temperature", "top_p", "top_k", "n", "extra_body")


def check(
    options: CommonOptions,
    records: RecordOptions,
    requests: Path,
    *,
    model: str | None,
    system_prompt: str | None,
    max_tokens: int | None,
    n: int | None,
    max_rows: int | None,
    max_problems: int,
    price: bool,
) -> ExitCode:
    """Check requests, and name the rows that the server would refuse; estimate their price."""

    async def work(session: Session) -> ExitCode:
        output = session.output
        prices = _prices(model) if price else None
        async with requests_of(requests, records, output) as rows:
            checking = session.client.check(
                rows,
                model=model,
                system_prompt=system_prompt,
                inference_parameters={"max_tokens": max_tokens, "n": n},
                limits=Limits(max_rows=max_rows),
                max_problems=max_problems,
            )
            report = await shown(output, Words("checking"), checking)
        estimate = None if prices is None else prices.estimate(report)
        _print_check(output, report, estimate)
        source = "standard input" if is_standard_input(requests) else visible(str(requests))
        output.talk(f"{source}: {check_line(report)}")
        for remark in report.remarks:
            output.talk(f"note: {remark}")
        return ExitCode.SUCCEEDED if report.is_good else ExitCode.USAGE

    return in_session(options, work, needs_key=False)


def _prices(model: str | None) -> Any:
    """Return `fireworks_batch.integrations.cost`, which needs an extra.

    Raises:
        ConfigurationError: The extra is not installed, or there is no model.
    """
    if model is None:
        raise ConfigurationError("--price needs --model: prices depend on the model")
    try:
        return integrations.cost
    except ModuleNotFoundError as exc:
        raise ConfigurationError(f"--price: {exc}") from exc


def _print_check(output: Output, report: CheckReport, estimate: Any) -> None:
    if output.as_json:
        price = {} if estimate is None else {"price": price_record(estimate)}
        output.record({**to_dict(report), "is_good": report.is_good, **price})
        return
    for problem in report.problems:
        output.line(visible(str(problem)))
    if report.problem_count > len(report.problems):
        output.talk(f"and {report.problem_count - len(report.problems):,} more")
    for line in () if estimate is None else price_lines(estimate):
        output.line(line)


def submit(
    options: CommonOptions, jobs: JobOptions, records: RecordOptions, requests: Path
) -> ExitCode:
    """Create the jobs that are not there yet, and write the ids of all."""

    async def work(session: Session) -> ExitCode:
        output = session.output
        arguments = _job_arguments(jobs)
        async with requests_of(requests, records, output) as rows:
            submitting = session.client.submit(rows, **arguments)
            submission = await shown(output, Words("checking and submitting"), submitting)
        ids = [ref.job_id for ref in submission.refs]
        if output.as_json:
            output.line(submission.to_json())
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


def collect(
    options: CommonOptions,
    records: RecordOptions,
    terms: CollectOptions,
    submission: Path,
    *,
    requests: Path | None,
) -> ExitCode:
    """Wait for the jobs of a submission, and write their results."""

    async def work(session: Session) -> ExitCode:
        output = session.output
        display = _display(output, terms)
        arguments = _collect_arguments(terms)
        await check_terms(output, terms, requests)
        async with readable(submission, output) as file:
            with reported("read", str(submission)):
                stored = Submission.from_json(await off_loop(file.read_bytes))
        async with AsyncExitStack() as stack:
            target = await stack.enter_async_context(_target(terms))
            rows = None
            if requests is not None:
                making = requests_of(requests, records, output)
                rows = await stack.enter_async_context(making)
            collecting = session.client.collect(
                stored,
                requests=rows,
                output=target,
                on_progress=display.show,
                **arguments,
            )
            result = await _interruptible(session, display, collecting, source=submission)
            return await _written(output, result, target, terms)

    return in_session(options, work)


def run(
    options: CommonOptions,
    jobs: JobOptions,
    terms: RunOptions,
    records: RecordOptions,
    requests: Path,
) -> ExitCode:
    """Run requests to results."""

    async def work(session: Session) -> ExitCode:
        return await run_to_the_end(session, jobs, terms, records, requests)

    return in_session(options, work)


async def run_to_the_end(
    session: Session,
    jobs: JobOptions,
    terms: RunOptions,
    records: RecordOptions,
    requests: Path,
    *,
    jobs_outlive: bool = True,
) -> ExitCode:
    """Run requests to results, show progress, write rows and report, and return the outcome.

    Args:
        session: What the command works with.
        jobs: The settings of the jobs.
        terms: How results are written, and what an interrupt does.
        records: The template of the requests, if the file has records, and how many rows are taken.
        requests: The file of requests or records.
        jobs_outlive: Whether the jobs are still there after the command. If not, an interrupt
            names no jobs and deletes none.
    """
    output = session.output
    display = _display(output, terms)
    arguments = _job_arguments(jobs) | _collect_arguments(terms)
    await check_terms(output, terms, requests)
    async with requests_of(requests, records, output) as rows, _target(terms) as target:
        running = session.client.run(
            rows,
            output=target,
            max_in_flight=terms.max_in_flight,
            on_progress=display.show,
            **arguments,
        )
        result = await _interruptible(
            session,
            display,
            running,
            source=requests,
            deletes=terms.delete_on_interrupt,
            jobs_outlive=jobs_outlive,
        )
        return await _written(output, result, target, terms)


def _display(output: Output, terms: CollectOptions) -> RunDisplay:
    # Where the rows go to stdout, nothing else does.
    return RunDisplay(output, as_records=output.as_json and terms.output is not None)


async def _interruptible(
    session: Session,
    display: RunDisplay,
    work: Awaitable[BatchResult[None]],
    *,
    source: Path,
    deletes: bool = False,
    jobs_outlive: bool = True,
) -> BatchResult[None]:
    """Show work until it has a result; if it is interrupted, say what becomes of the jobs."""
    try:
        following = shown(session.output, display, work, rows=display.rows)
        return await session.interrupts.guard(following, reports=True)
    except InterruptedByUserError:
        if jobs_outlive:
            await _detach(session, display, source, deletes=deletes)
        raise


async def _written(
    output: Output, result: BatchResult[None], target: Path | None, terms: CollectOptions
) -> ExitCode:
    """Write the rows that the library has not written, and the report; return the outcome."""
    async with result:
        if target is None:
            async with keeping_rows(result.report, output, terms):
                await write_rows(result, output, terms)
        elif terms.output is None:
            output.copy(target)
        _print_report(output, result.report, terms)
    return code_of_report(result.report)


def _job_arguments(jobs: JobOptions) -> dict[str, Any]:
    """Return the arguments of ``client.submit``, which are also arguments of ``client.run``."""
    parameters = {name: value for name in _PARAMETERS if (value := getattr(jobs, name)) is not None}
    return {
        "model": jobs.model,
        "name": jobs.name,
        "system_prompt": jobs.system_prompt,
        "inference_parameters": parameters or None,
        "precision": jobs.precision,
        "max_job_duration": parse_job_time_limit(jobs.max_job_duration),
        "limits": Limits(max_rows=jobs.max_rows),
        "on_bad_row": jobs.on_bad_row,
        "on_previous": jobs.on_previous,
        "retry_rows": jobs.retry_rows,
    }


def _collect_arguments(terms: CollectOptions) -> dict[str, Any]:
    """Return the arguments of ``client.collect``, which are also arguments of ``client.run``."""
    return {
        "errors": terms.errors if terms.format == "jsonl" else None,
        "cleanup": terms.cleanup,
        "timeout": parse_timeout(terms.timeout),
        "poll": None if terms.stall_after is None else poll_policy(terms.stall_after),
    }


@asynccontextmanager
async def _target(terms: CollectOptions) -> AsyncIterator[Path | None]:
    """Give the file that the library writes to; a temporary one if the rows go to stdout.

    The library writes JSON lines only: for other formats there is no such file.
    """
    if terms.format != "jsonl":
        yield None
        return
    if terms.output is not None:
        yield terms.output
        return
    async with workspace() as space:
        yield space.path / "rows.jsonl"


def _print_report(output: Output, report: RunReport, terms: CollectOptions) -> None:
    if output.as_json and terms.output is not None:
        output.record({"event": "end", "exit_code": int(code_of_report(report)), **to_dict(report)})
        return
    say: Callable[[str], None] = output.line if terms.output is not None else output.talk
    for line in report_lines(report):
        say(visible(line))
    if report.failed and terms.errors is None and not terms.is_table:
        output.talk("to see the rows that failed: the same command with --errors FILE")
    if report.adopted:
        output.talk(rerun_hint(report.adopted))


async def _detach(session: Session, display: RunDisplay, source: Path, *, deletes: bool) -> None:
    # The library's on_abort="delete" would also delete them when an error ends the run.
    deleted = display.jobs_created if deletes else ()
    await delete_jobs(session, deleted)
    left = [job_id for job_id in display.jobs_under_way if job_id not in deleted]
    if left or not deletes:
        again = shlex.join(["fireworks-batch", *sys.argv[1:]])
        needs = ", with the same input" if is_standard_input(source) else ""
        leave_jobs(session, left, again=again, needs=needs)
