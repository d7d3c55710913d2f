"""The results of a job: its files downloaded, its rows streamed from disk, and a report."""

import enum
import os
from collections import Counter
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import AsyncExitStack
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Generic, NoReturn, Self, TypeAlias, TypeVar

from fireworks_batch.connection.api import if_there
from fireworks_batch.datasets.endpoints import Datasets
from fireworks_batch.files.threads import ahead, off_loop
from fireworks_batch.files.workspace import workspace
from fireworks_batch.jobs.endpoints import Jobs
from fireworks_batch.models import html
from fireworks_batch.models.errors import ClientStateError, ConfigurationError, JobNotFinishedError
from fireworks_batch.models.job import BatchInferenceJob, JobLike
from fireworks_batch.results.decoding import Decoder
from fireworks_batch.results.reading import ExpectedIds, Reading, order_files
from fireworks_batch.results.report import ResultRowsError, ResultsReport, make_report
from fireworks_batch.results.rows import FIRST_ROWS, ResultRow, few, first_table

__all__ = ["Expected", "JobResults", "check_expected"]

_T = TypeVar("_T")
_V = TypeVar("_V")

Expected: TypeAlias = Iterable[str] | os.PathLike[str]
"""The ids that should have rows, or the path of the input file that has these ids."""

_SLICE: Final = 4096  # ids of an iterable that are stored in one step


class _Phase(enum.Enum):
    NEW = "not entered yet"
    ENTERED = "entered"
    READING = "being read"
    READING_BLOCKS = "being read in blocks"
    READ = "read to the end"
    BROKEN = "broken off"
    LEFT = "left"


class JobResults(Generic[_T]):
    """The rows of a job that has ended: a context manager, and inside it an async iterator.

    The object is made by `BatchClient.results`, which documents the errors of entering it. Entering
    the context downloads the files into a temporary directory. Leaving the context removes them.

    Rows come one by one, in the order of the files: first the result files, then the error files.
    Join them to the input by ``custom_id``: they are not in the order of the input. No file is open
    between two rows, so a loop may end with ``break``. Another loop goes on with the next row.

    Memory stays bounded: one block of lines (2 MiB, or one longer line), and some ten bytes for
    each id. Lines may be of any length. Each line is parsed in one piece, which no other task or
    thread can interrupt: 10 MB of text take some 13 ms, 10 MB of log probabilities up to half a
    second.
    """

    _asked: JobLike
    _jobs: Jobs
    _datasets: Datasets
    _expecting: Expected | None
    _decode: Decoder | None
    _lineage: bool
    _phase = _Phase.NEW
    _job: BatchInferenceJob | None = None
    _leaving: AsyncExitStack
    _expected: ExpectedIds | None = None
    _report: ResultsReport | None = None
    _first: list[ResultRow[_T]] | None = None
    _paths: tuple[Path, ...]
    _rows: AsyncGenerator[ResultRow[_T], None]

    @classmethod
    def _made(
        cls,
        job: JobLike,
        jobs: Jobs,
        datasets: Datasets,
        *,
        expected: Expected | None,
        decode: Decoder | None,
        lineage: bool,
    ) -> Self:
        """Return the results of a job. Nothing happens before they are entered.

        Args:
            job: The job: its id, resource name, reference, or a job fetched before.
            jobs: Fetches the job.
            datasets: Downloads the files.
            expected: The ids that should have rows, or the path of the input file.
            decode: Makes the output of a response; None if rows have no output.
            lineage: Whether the rows of all jobs of a continuation chain are read.
        """
        self = cls()
        self._asked = job
        self._jobs = jobs
        self._datasets = datasets
        self._expecting = expected
        self._decode = decode
        self._lineage = lineage
        return self

    @property
    def job(self) -> BatchInferenceJob:
        """The job that has the rows, in its terminal state.

        Raises:
            ClientStateError: The results are not entered yet.
        """
        if self._job is None:
            self._refuse(_WAYS_OUT[_Phase.NEW])
        return self._job

    @property
    def report(self) -> ResultsReport:
        """The report, with the numbers of rows by kind and the ids of duplicate and missing rows.

        Raises:
            ClientStateError: Not all rows have been read.
        """
        if self._report is None:
            self._refuse("the report is there when all rows have been read")
        return self._report

    def __repr__(self) -> str:
        return f"<JobResults of {self._name!r}, {self._phase.value}>"

    def _repr_html_(self) -> str:
        values = html.facts("JobResults", {"job": self._name, "rows": self._phase.value})
        report = "" if self._report is None else self._report._repr_html_()
        return values + report + first_table(self._first or ())

    @property
    def _name(self) -> str:
        asked = self._asked
        return asked.id if isinstance(asked, BatchInferenceJob) else str(asked)

    # --- Entering and leaving -------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._phase is not _Phase.NEW:
            self._refuse("call client.results() once more to read the rows again")
        self._phase = _Phase.LEFT
        self._job = await self._ended_job()
        async with AsyncExitStack() as leaving:
            space = await leaving.enter_async_context(workspace())
            self._paths = await self._download(self._job, space.path / "files")
            self._rows = self._read()
            self._expected = await self._expect(self._expecting, space.path / "expected")
            self._leaving = leaving.pop_all()
        self._phase = _Phase.ENTERED
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._phase = _Phase.LEFT
        try:
            await self._rows.aclose()
        finally:
            await self._leaving.aclose()

    async def _ended_job(self) -> BatchInferenceJob:
        job = self._asked
        # A job without an output dataset may have been fetched by a read mask that leaves it out.
        if not (isinstance(job, BatchInferenceJob) and job.is_terminal and job.output_dataset_id):
            job = await self._jobs.get(job)
        has_ended = job.lifecycle is not None and job.lifecycle.end_time is not None
        if not job.is_terminal and (job.state.is_known or not has_ended):
            raise JobNotFinishedError(
                f"job {job.id!r} has not ended: it is {job.state}; wait for it with "
                "client.jobs.wait_until_terminal()",
                job=job,
            )
        return job

    async def _download(self, job: BatchInferenceJob, directory: Path) -> tuple[Path, ...]:
        if not job.output_dataset_id:
            return ()
        paths = await if_there(
            self._datasets.download(job.output_dataset_id, directory, lineage=self._lineage)
        )
        if paths is None:
            return ()  # a job that failed validation names a dataset that never exists (seen live)
        return order_files(paths, job.output_dataset_id.rpartition("/")[2])

    async def _expect(self, expected: Expected | None, copy: Path) -> ExpectedIds | None:
        if expected is None:
            return None
        if isinstance(expected, str | os.PathLike):
            found = ExpectedIds(Path(expected))
            await off_loop(found.read)
            return found
        found = ExpectedIds(copy)
        ids = iter(expected)
        while part := list(islice(ids, _SLICE)):
            _check_ids("expected", part)
            await off_loop(found.add, part)
        return found

    # --- Reading --------------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[ResultRow[_T]]:
        self._check_readable()
        return self._rows

    async def __anext__(self) -> ResultRow[_T]:
        if self._phase is not _Phase.READ:
            self._check_readable()
        return await anext(self._rows)

    async def _read(self) -> AsyncGenerator[ResultRow[Any], None]:
        """Yield all rows, then make the report.

        This is a generator, since a coroutine for each row would add a tenth to the time. For the
        same reason, the loop reads the members of a row without the properties. No file is open
        when it yields. Leaving the results closes the generator.
        """
        self._phase = _Phase.READING
        reading = Reading(self._paths, self._decode, lineage=self._lineage)
        add_id = reading.ids.append
        try:
            while await reading.advance():
                rows = reading.rows
                for row in rows if self._first is not None else self._keep_first(rows):
                    if row._error is None:  # noqa: SLF001 - see above
                        add_id(row._custom_id)  # noqa: SLF001 - see above
                        yield row
                    elif reading.takes(row):
                        yield row
            await self._finish(reading)
        finally:
            if self._phase is _Phase.READING:
                self._phase = _Phase.BROKEN

    def _keep_first(self, rows: Iterator[ResultRow[_T]]) -> Iterator[ResultRow[_T]]:
        """Keep the first rows, which a notebook shows, and return all rows."""
        head = list(islice(rows, FIRST_ROWS))
        self._first = head[: few(len(row.raw) for row in head)]
        return chain(head, rows)

    async def _finish(self, reading: Reading) -> None:
        """Make the report, when all rows have been read."""
        self._report = make_report(
            reading.counts,
            await reading.find(self._expected),
            with_ids=reading.with_ids,
            progress=None if self._lineage else self.job.job_progress,
            no_output=not self._paths,
        )
        self._phase = _Phase.READ

    def blocks(
        self, convert: Callable[[bytes], tuple[_V, Sequence[str] | None]]
    ) -> AsyncGenerator[_V, None]:
        """Convert the lines of all rows in blocks, in threads, instead of reading rows one by one.

        This is meant for parsers of many lines at a time: `integrations.arrow` uses it. The rows
        are counted in the report.

        Args:
            convert: Converts some 2 MiB of whole lines (or one longer line) as they are in a file;
                some may be blank, or no rows. It is called in threads, for two blocks at a time.
                It returns any value, and the ids of all rows of the block, in any order. None
                instead of the ids means that not all lines are rows with a response: then the
                library reads the lines, too, to count them.

        Returns:
            An async iterator of the values, in the order of the files.

        Raises:
            ClientStateError: Rows have been read before, or the results are not entered. Or rows
                are not just their lines: with ``decode=``, and with ``lineage=True``.
        """
        if self._decode is not None or self._lineage:
            self._refuse(
                "with decode= or lineage=True rows are not just their lines: read the rows"
            )
        if self._phase is not _Phase.ENTERED:
            self._refuse_reading()
        self._phase = _Phase.READING_BLOCKS
        values = self._convert(convert)
        self._leaving.push_async_callback(values.aclose)
        return values

    async def _convert(
        self, convert: Callable[[bytes], tuple[_V, Sequence[str] | None]]
    ) -> AsyncGenerator[_V, None]:
        reading = Reading(self._paths, None, lineage=False)
        converted = ahead(reading.blocks(), convert)
        try:
            async for lines, (value, ids) in converted:
                await off_loop(reading.count, lines, ids)
                yield value
            await self._finish(reading)
        finally:
            await converted.aclose()
            if self._phase is _Phase.READING_BLOCKS:
                self._phase = _Phase.BROKEN

    async def ordered(self, ids: Iterable[str]) -> list[ResultRow[_T]]:
        """Read all rows into memory, and return the rows of some ids, in the order of the ids.

        This is meant for small jobs: memory grows with the rows. If an id has both an error and a
        response, the row with the response is returned. Rows with other ids are left out.

        Args:
            ids: The ids of rows, in the order of the returned rows. Each id is given once.

        Returns:
            One row for each id. A row that failed has its ``error`` set.

        Raises:
            ConfigurationError: An id is not a string, or is given twice.
            ResultRowsError: An id has no row, or several different responses.
            ClientStateError: Rows have been read before.
        """
        found: dict[str, ResultRow[_T] | None] = dict.fromkeys(_check_distinct(ids))
        if self._phase is not _Phase.ENTERED:
            self._refuse_reading()
        repeated: dict[str, None] = {}
        async for row in self:
            if row.custom_id not in found:
                continue
            before = found[row.custom_id]
            if before is None or (row.ok and not before.ok):
                found[row.custom_id] = row
            elif row.ok and row != before:
                repeated[row.custom_id] = None
        missing = [custom_id for custom_id, row in found.items() if row is None]
        if missing or repeated:
            raise self._gaps(missing, list(repeated))
        return [row for row in found.values() if row is not None]

    def _gaps(self, missing: list[str], repeated: list[str]) -> ResultRowsError:
        problems = []
        if missing:
            problems.append(f"{len(missing)} ids have no row ({_first_of(missing)})")
        if repeated:
            problems.append(f"{len(repeated)} have several ({_first_of(repeated)})")
        if self.report.unreadable:
            problems.append(f"{self.report.unreadable} lines cannot be read")
        return ResultRowsError(
            f"the results of job {self.job.id!r}, which is {self.job.state}, do not have one row "
            f"for each id: {', '.join(problems)}; iterate over the rows to read those that exist",
            missing_ids=missing,
            duplicate_ids=repeated,
        )

    # --- Misuse ---------------------------------------------------------------------------------

    def _check_readable(self) -> None:
        if self._phase not in {_Phase.ENTERED, _Phase.READING}:
            self._refuse_reading()

    def _refuse_reading(self) -> NoReturn:
        self._refuse(_WAYS_OUT[self._phase])

    def _refuse(self, way_out: str) -> NoReturn:
        raise ClientStateError(f"{self!r}: {way_out}")


_WAYS_OUT: Final = {
    _Phase.NEW: "enter it first: 'async with client.results(job) as rows'",
    _Phase.ENTERED: "",
    _Phase.READING: "rows have been read from it already: call client.results() once more",
    _Phase.READING_BLOCKS: "it is being read in blocks: call client.results() once more",
    _Phase.READ: "its rows have been read: call client.results() once more to read them again",
    _Phase.BROKEN: "reading ended in an error: call client.results() once more",
    _Phase.LEFT: "its files are gone: read inside 'async with client.results(job) as rows'",
}


# --- Arguments ----------------------------------------------------------------------------------


def check_expected(expected: Any) -> Expected | None:
    """Return the argument ``expected=`` if it is an iterable or a path.

    Raises:
        ConfigurationError: The argument is neither iterable nor a path.
    """
    if expected is None or isinstance(expected, Iterable | os.PathLike):
        checked: Expected | None = expected
        return checked
    raise ConfigurationError(
        f"expected must be an iterable of ids, or the path of an input file, not {expected!r}"
    )


def _check_ids(name: str, ids: list[Any]) -> None:
    for custom_id in ids:
        if not isinstance(custom_id, str):
            raise ConfigurationError(f"{name} must hold strings, not {custom_id!r}")


def _check_distinct(ids: Iterable[str]) -> list[str]:
    if isinstance(ids, str):
        raise ConfigurationError(f"ids must be a list of ids, as in [{ids!r}], not {ids!r}")
    wanted = list(ids)
    _check_ids("ids", wanted)
    if len(set(wanted)) < len(wanted):
        twice = [custom_id for custom_id, count in Counter(wanted).items() if count > 1]
        raise ConfigurationError(f"ids has these ids twice: {_first_of(twice)}")
    return wanted


def _first_of(ids: list[str]) -> str:
    return ", ".join(map(repr, ids[:5])) + (", ..." if len(ids) > 5 else "")
