"""The results of a run: the report, and the rows on disk, in the order of the input or by id."""

import asyncio
import logging
import weakref
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from fireworks_batch.files.lines import read_blocks
from fireworks_batch.files.part_file import PartFile, set_aside, written_to
from fireworks_batch.files.threads import ahead, off_loop, reported
from fireworks_batch.files.workspace import Workspace
from fireworks_batch.models.errors import ClientStateError
from fireworks_batch.results.decoding import Decoder
from fireworks_batch.results.index import BAD, Chosen, Kind, ResultIndex
from fireworks_batch.results.report import ResultRowsError, RunReport
from fireworks_batch.results.rows import (
    FIRST_ROWS,
    ResultRow,
    few,
    first_table,
    read_row,
    read_rows,
)
from fireworks_batch.runs.submission import Submission

__all__ = ["BatchResult", "first_rows", "keep_answers", "write_lines"]


_log = logging.getLogger("fireworks_batch.run")


_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)


_PAGE: Final = 500


# Most lines of a block, which are not parsed: some 2 MiB of usual rows.
_LINES: Final = 4096


class BatchResult(Generic[_T_co]):
    """The results of a run: its rows, and the report on them.

    ``async for row in result`` reads the rows, and ``await result.get("id")`` reads one of them.
    Rows are read from disk when they are asked for, 500 at a time and 8 MiB at most (or one longer
    row). They lie in a temporary directory. `aclose` and the end of ``async with`` remove it. It is
    also removed when there is no reference to the result any more.
    """

    submission: Submission
    """What was submitted. `BatchClient.collect` takes it."""

    report: RunReport
    """The numbers of rows of each kind, and the outcome of each job."""

    _index: ResultIndex
    _decode: Decoder | None
    _first: list[ResultRow[Any]]
    _lock: asyncio.Lock
    _finalizer: "weakref.finalize[[ResultIndex, Workspace], Self]"

    @classmethod
    def _made(
        cls,
        index: ResultIndex,
        space: Workspace,
        submission: Submission,
        report: RunReport,
        *,
        decode: Decoder | None,
        first: list[ResultRow[Any]],
    ) -> Self:
        """Return a result that owns the index and the directory."""
        self = cls()
        self.submission = submission
        self.report = report
        self._index = index
        self._decode = decode
        self._first = first
        self._lock = asyncio.Lock()
        self._finalizer = weakref.finalize(self, _clear, index, space)
        return self

    def __aiter__(self) -> AsyncIterator[ResultRow[_T_co]]:
        """Iterate over all rows that have a response or an error, in the order of the requests.

        The result of `BatchClient.collect` without ``requests`` has its rows in the order of their
        ids. ``break`` leaves nothing open. Each ``async for`` begins with the first row.

        Raises:
            ClientStateError: The result is closed.
            LocalFileError: The rows cannot be read from disk.
        """
        return _Pages(partial(self._rows, (Kind.OK, *BAD)))

    def blocks(
        self, convert: Callable[[bytes], tuple[_T, Sequence[str] | None]]
    ) -> AsyncGenerator[_T, None]:
        """Convert the lines of all rows in blocks, in threads, instead of reading rows one by one.

        This is meant for parsers of many lines at a time: `integrations.arrow` uses it.

        Args:
            convert: Converts at most 4,096 whole lines and 8 MiB (or one longer line), as the
                server wrote them. It is called in threads, for two blocks at a time. It returns any
                value, and what `JobResults.blocks` says about ids; they are not used here.

        Returns:
            An async iterator of the values, in the order of the rows.

        Raises:
            ClientStateError: The result is closed, or was made with ``decode=``: then rows are not
                just their lines.
            LocalFileError: The rows cannot be read from disk.
        """
        if self._decode is not None:
            raise ClientStateError(
                f"{self!r}: with decode= rows are not just their lines: read the rows"
            )
        return self._convert(convert)

    async def _convert(
        self, convert: Callable[[bytes], tuple[_T, Sequence[str] | None]]
    ) -> AsyncGenerator[_T, None]:
        converted = ahead(self._blocks(), convert)
        try:
            async for _, (value, _) in converted:
                yield value
        finally:
            await converted.aclose()

    async def _blocks(self) -> AsyncGenerator[bytes, None]:
        after = 0
        while True:
            read = partial(self._index.block, (Kind.OK, *BAD), after=after, size=_LINES)
            lines, after = await self._read(read)
            if not after:
                break
            yield lines

    def failures(self) -> AsyncIterator[ResultRow[_T_co]]:
        """Iterate over the rows that have an error, also an invalid output.

        Returns:
            The rows, in the order of the requests; without ``requests`` in the order of their ids.

        Raises:
            ClientStateError: The result is closed.
            LocalFileError: The rows cannot be read from disk.
        """
        return _Pages(partial(self._rows, BAD))

    def missing_ids(self) -> AsyncIterator[str]:
        """Iterate over the ids of rows that have neither a response nor an error.

        Returns:
            The ids, in the order of the requests. The result of `BatchClient.collect` without
            ``requests`` knows no such ids: there, ``report.missing`` only counts the rows.

        Raises:
            ClientStateError: The result is closed.
            LocalFileError: The ids cannot be read from disk.
        """
        return _Pages(self._missing)

    async def get(self, custom_id: str) -> ResultRow[_T_co] | None:
        """Return one row, with its response or its error.

        Args:
            custom_id: The id of the row.

        Returns:
            The row; None if the row is missing, or if the requests have no such id.

        Raises:
            ClientStateError: The result is closed.
            LocalFileError: The row cannot be read from disk.
        """

        def read() -> ResultRow[_T_co] | None:
            line = self._index.find(custom_id)
            return None if line is None else self._row(line)

        return await self._read(read)

    def raise_for_failures(self) -> Self:
        """Return the result itself, or raise an error if a row that was sent has no response.

        Raises:
            ResultRowsError: A row failed or is missing. The text has the numbers, and names the
                jobs that ended badly.
        """
        if self.report.is_complete:
            return self
        bad = [job for job in self.report.jobs if job.reason]
        more = (f"  job {job.job_id!r} {job.state}: {job.reason}" for job in bad[:10])
        raise ResultRowsError(str(self.report), *more, report=self.report)

    async def aclose(self) -> None:
        """Remove the rows from this machine. The files ``output=`` and ``errors=`` stay.

        A second call does nothing.
        """
        async with self._lock:
            await off_loop(self._finalizer)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<BatchResult {self.report}>"

    def _repr_html_(self) -> str:
        of_all = f" of {self.report.succeeded + self.report.failed:,}"
        return self.report._repr_html_() + first_table(self._first, of_all)

    def _row(self, line: bytes) -> ResultRow[Any]:
        return _read_row(line, self._decode)

    async def _rows(
        self, kinds: tuple[Kind, ...], after: int
    ) -> tuple[list[ResultRow[_T_co]], int]:
        def read() -> tuple[list[ResultRow[_T_co]], int]:
            page = self._index.page(kinds, after=after, size=_PAGE)
            return [self._row(line) for line in self._index.lines(page)], _last(page)

        return await self._read(read)

    async def _missing(self, after: int) -> tuple[list[str], int]:
        def read() -> tuple[list[str], int]:
            page = self._index.page((Kind.MISSING,), after=after, size=_PAGE)
            return [each.custom_id for each in page], _last(page)

        return await self._read(read)

    async def _read(self, work: Callable[[], _T]) -> _T:
        async with self._lock:
            if not self._finalizer.alive:
                raise ClientStateError(
                    f"{self!r} is closed, which has removed its rows from this machine"
                )
            return await off_loop(work)


class _Pages(AsyncIterator[_T], Generic[_T]):
    """Items, read page by page. Nothing is open between two pages, so a loop can stop anywhere."""

    def __init__(self, read: Callable[[int], Awaitable[tuple[list[_T], int]]]) -> None:
        self._read_page = read
        self._items: deque[_T] = deque()
        self._after: int | None = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _T:
        while not self._items:
            if self._after is None:
                raise StopAsyncIteration
            items, last = await self._read_page(self._after)
            self._items.extend(items)
            self._after = last or None
        return self._items.popleft()


def _last(page: list[Chosen]) -> int:
    return page[-1].position if page else 0


def _read_row(line: bytes, decode: Decoder | None) -> ResultRow[Any]:
    row = read_row(line)
    return row if decode is None else decode.decoded(row)


def first_rows(index: ResultIndex, decode: Decoder | None) -> list[ResultRow[Any]]:
    """Return the first rows, which a notebook shows. Blocks the thread.

    A repr reads no file: it may be asked for in the event loop, while a thread reads. So these rows
    are read in advance, and ``decode=`` is called once more for each of them.

    Args:
        index: The index with the chosen results.
        decode: Makes the output of a response; None if rows have no output.

    Returns:
        At most five rows, and as many as have 64 KiB together.
    """
    page = index.page((Kind.OK, *BAD), size=FIRST_ROWS)
    shown = page[: few(each.length for each in page)]
    return [_read_row(line, decode) for line in index.lines(shown)]


def _clear(index: ResultIndex, space: Workspace) -> None:
    index.close()
    space.remove()


async def keep_answers(index: ResultIndex, path: Path) -> None:
    """Rename a file of responses, if some of its responses are not among the chosen results.

    Args:
        index: The index with the chosen results.
        path: The file, which is about to be replaced.

    Raises:
        LocalFileError: The file cannot be read or renamed.
    """
    kept = await off_loop(_keep_answers, index, path, stop=index.interrupt)
    if kept is not None:
        _log.warning(
            "the file %r has responses that are not among the new results: it is kept as %r",
            str(path),
            str(kept),
        )


def _keep_answers(index: ResultIndex, path: Path) -> Path | None:
    with reported("read", str(path)):
        place = written_to(path)
        if not place.exists():
            return None
        with place.open("rb") as file:
            has_more = any(index.lacks(_answered(block)) for block in read_blocks(file))
        if not has_more:
            return None
        return set_aside(place)


def _answered(lines: Iterable[bytes]) -> list[str]:
    """Return the ids of the rows that have a response."""
    return [row.custom_id for row in read_rows(lines) if row.ok and row.custom_id is not None]


async def write_lines(index: ResultIndex, path: Path, *kinds: Kind) -> None:
    """Write the chosen results of some kinds into a file that appears when it is whole.

    Args:
        index: The index with the chosen results.
        path: The file. An existing file is replaced; of a symbolic link, the file that it names.
        kinds: The kinds of results to write.

    Raises:
        LocalFileError: The file cannot be written.
    """
    after = 0
    with reported("write", str(path)):
        place = await off_loop(written_to, path)
    async with PartFile(place) as part:
        while True:
            lines, after = await off_loop(partial(index.block, kinds, after=after, size=1000))
            if not after:
                break
            await part.write(lines)
        await part.finish()
