"""``fireworks-batch results``: the rows of a job that has ended."""

from contextlib import AsyncExitStack
from typing import Any

from fireworks_batch import BatchInferenceJob, ResultsReport, to_dict
from fireworks_batch.cli.display.figures import counted
from fireworks_batch.cli.display.output import Output
from fireworks_batch.cli.display.progress import Words, shown
from fireworks_batch.cli.exit_codes import ExitCode, code_of_job
from fireworks_batch.cli.formats import check_terms, write_rows
from fireworks_batch.cli.options import CommonOptions, ResultsOptions
from fireworks_batch.cli.session import Session, in_session
from fireworks_batch.models.texts import visible

__all__ = ["results"]


def results(options: CommonOptions, terms: ResultsOptions, job: str) -> ExitCode:
    """Write the rows of a job, and report on them."""

    async def work(session: Session) -> ExitCode:
        await check_terms(session.output, terms, terms.expected)
        reading = session.client.results(job, expected=terms.expected, lineage=terms.lineage)
        async with AsyncExitStack() as stack:
            entering = stack.enter_async_context(reading)
            rows = await shown(session.output, Words("downloading the results"), entering)
            await write_rows(rows, session.output, terms)
            ended = rows.job
        _print_report(session.output, ended, rows.report, terms)
        return _code(ended, rows.report)

    return in_session(options, work)


# --- The report ---------------------------------------------------------------------------------


def _code(job: BatchInferenceJob, report: ResultsReport) -> ExitCode:
    incomplete = report.failed or report.unreadable or report.missing_count
    code = code_of_job(job)
    if report.no_output and code is ExitCode.SUCCEEDED:
        return ExitCode.TROUBLE
    return ExitCode.ROWS_FAILED if incomplete and not code else code


def _print_report(
    output: Output, job: BatchInferenceJob, report: ResultsReport, terms: ResultsOptions
) -> None:
    if output.as_json and terms.output is not None:
        output.record(to_dict(report))
        return
    words = _report_line(to_dict(report), job)
    (output.talk if terms.output is None else output.line)(words)
    for custom_id in report.missing_ids[:10]:
        output.talk(f"  missing: {visible(custom_id)}")
    if report.failed and terms.errors is None and not terms.is_table:
        output.talk("to see the rows that failed: the same command with --errors FILE")


def _report_line(report: dict[str, Any], job: BatchInferenceJob) -> str:
    """Return a report in a line: how many rows of each kind there are, and what is wrong."""
    if report["no_output"]:
        if job.is_success:
            return "no output: the job completed, but its output dataset is gone or is empty"
        return "no output: the job ended before any row was done"
    words = [f"{counted(report['succeeded'], 'row')} succeeded", f"{report['failed']:,} failed"]
    kinds = {
        "missing_count": "are missing",
        "unreadable": "lines cannot be read",
        "duplicate_count": "ids came more than once",
        "foreign_count": "ids are not in the requests",
        "superseded": "errors are left out: their rows were run again",
    }
    words += [f"{report[kind]:,} {text}" for kind, text in kinds.items() if report[kind]]
    words += ["the job's own counters differ"] if report["counts_agree"] is False else []
    return ", ".join(words)
