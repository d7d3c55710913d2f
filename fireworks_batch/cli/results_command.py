"""``fireworks-batch results``: the rows of a job that has ended."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import attrs

from fireworks_batch.cli.displays import Words, shown
from fireworks_batch.cli.exit_codes import ExitCode, code_of_job
from fireworks_batch.cli.figures import counted, visible
from fireworks_batch.cli.output import Output
from fireworks_batch.cli.running import Options, Session, run
from fireworks_batch.files.part_file import PartFile
from fireworks_batch.models.errors import ConfigurationError
from fireworks_batch.models.job import BatchInferenceJob, to_dict
from fireworks_batch.results.report import ResultsReport

__all__ = ["ResultsTerms", "results", "write_results"]

_PIECE: Final = 256 * 1024


@attrs.frozen(kw_only=True)
class ResultsTerms:
    """What was said about the rows."""

    output: Path | None = None
    """The file for the rows with a response; stdout if None."""

    errors: Path | None = None
    """The file for the others; they are only counted if None."""

    requests: Path | None = None
    """The input, to tell which rows are missing; None if it is not at hand."""

    lineage: bool = False
    """Whether rows of the jobs that this one continues count, too."""

    def check(self) -> None:
        """Refuse to write one file twice, or over the input."""
        named = [path.resolve() for path in (self.output, self.errors, self.requests) if path]
        if len({*named}) < len(named):
            raise ConfigurationError("--output, --errors and --input must be different files")


def results(options: Options, job: str, terms: ResultsTerms) -> ExitCode:
    """Write the rows of a job, and say what they come to."""

    async def work(session: Session) -> ExitCode:
        return await write_results(session, job, terms)

    return run(options, work)


async def write_results(session: Session, job: str, terms: ResultsTerms) -> ExitCode:
    """Write the rows of a job, and return the code for both."""
    terms.check()
    reading = session.client.results(job, expected=terms.requests, lineage=terms.lineage)
    async with AsyncExitStack() as stack:
        entering = stack.enter_async_context(reading)
        rows = await shown(session.output, Words("downloading the results"), entering)
        good = await stack.enter_async_context(_sink(session.output, terms.output))
        bad = await stack.enter_async_context(_sink(None, terms.errors))
        async for row in rows:
            await (good if row.ok else bad).write(row.raw + b"\n")
        ended = rows.job
    _tell(session.output, ended, rows.report, terms)
    return _code(ended, rows.report)


class _Sink(Protocol):
    async def write(self, piece: bytes, /) -> None: ...


class _Pipe:
    """Stdout, in pieces that are worth a call; nothing, without an output."""

    def __init__(self, output: Output | None) -> None:
        self._output = output
        self._lines = bytearray()

    async def write(self, piece: bytes, /) -> None:
        if self._output is not None:
            self._lines += piece
            if len(self._lines) >= _PIECE:
                self.flush()

    def flush(self) -> None:
        if self._output is not None:
            self._output.write(bytes(self._lines))
            self._lines.clear()


@asynccontextmanager
async def _sink(output: Output | None, path: Path | None) -> AsyncIterator[_Sink]:
    """Open where rows go; a file appears when the block ends well."""
    if path is None:
        pipe = _Pipe(output)
        yield pipe
        pipe.flush()
        return
    async with PartFile(path) as part:
        yield part
        await part.finish()


# --- What they come to --------------------------------------------------------------------------


def _code(job: BatchInferenceJob, report: ResultsReport) -> ExitCode:
    incomplete = report.failed or report.unreadable or report.missing_count
    code = code_of_job(job)
    if report.no_output and code is ExitCode.SUCCEEDED:
        return ExitCode.TROUBLE
    return ExitCode.ROWS_FAILED if incomplete and not code else code


def _tell(
    output: Output, job: BatchInferenceJob, report: ResultsReport, terms: ResultsTerms
) -> None:
    if output.as_json and terms.output is not None:
        output.record(to_dict(report))
        return
    words = report_words(to_dict(report), job)
    (output.talk if terms.output is None else output.line)(words)
    for custom_id in report.missing_ids[:10]:
        output.talk(f"  missing: {visible(custom_id)}")
    if report.failed and terms.errors is None:
        output.talk("to see the rows that failed: the same command with --errors FILE")


def report_words(report: dict[str, Any], job: BatchInferenceJob) -> str:
    """Return a report in a line: what there is of each kind, and what is odd about it."""
    if report["no_output"]:
        if job.is_success:
            return "no output: the job completed, but its output dataset is gone or is empty"
        return "no output: the job ended before any row was done"
    words = [f"{counted(report['succeeded'], 'row')} succeeded", f"{report['failed']:,} failed"]
    kinds = {
        "missing_count": "are missing",
        "unreadable": "lines cannot be read",
        "duplicate_count": "ids came more than once",
        "foreign_count": "ids nobody asked for",
        "superseded": "errors of rows that were run again left out",
    }
    words += [f"{report[kind]:,} {text}" for kind, text in kinds.items() if report[kind]]
    words += ["the job's own counters say otherwise"] if report["counts_agree"] is False else []
    return ", ".join(words)
