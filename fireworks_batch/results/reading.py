"""How result files are read: blocks are read in a thread, rows when they are asked for."""

import json
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from functools import partial
from io import BytesIO
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from fireworks_batch.files.lines import Block, read_blocks
from fireworks_batch.files.threads import off_loop, reported
from fireworks_batch.models.errors import ConfigurationError
from fireworks_batch.results.decoding import Decoder
from fireworks_batch.results.id_sets import IdSet, Suspects, find_all
from fireworks_batch.results.report import Findings, ResultCounts
from fireworks_batch.results.rows import INVALID_OUTPUT, UNDECODABLE, ResultRow, read_rows

__all__ = ["ExpectedIds", "Reading", "find_suspects", "is_error_file", "order_files"]

# Bytes of a block. To read it takes longer than to start a thread.
_BLOCK: Final = 1 << 21

# Other tasks have their turn between two blocks, and decoding takes ten times as long as reading.
_BLOCK_TO_DECODE: Final = _BLOCK // 8


class ExpectedIds:
    """The ids that should have rows: their hashes in memory, and the file that has the ids.

    The file is the caller's input file, or a file of the same form that `add` writes. If the hashes
    show that ids are missing, the ids are read from the file again.
    """

    def __init__(self, path: Path) -> None:
        """Begin without ids.

        Args:
            path: The file of the ids. `add` creates it. `read` expects it to exist.
        """
        self.hashes: IdSet = IdSet()
        """The hashes of the ids."""
        self._path = path

    def add(self, ids: Sequence[str]) -> None:
        """Append ids to the file. Blocks the thread.

        Raises:
            LocalFileError: The file cannot be written.
        """
        self.hashes.update(ids)
        with reported("write", str(self._path)), self._path.open("ab") as file:
            file.writelines(json.dumps({"custom_id": each}).encode() + b"\n" for each in ids)

    def read(self) -> None:
        """Take the ids that the file has. Blocks the thread.

        Raises:
            ConfigurationError: A row has no ``custom_id``.
            LocalFileError: The file cannot be read.
        """
        self.hashes.update(self.again(lambda: False))

    def again(self, is_over: Callable[[], bool]) -> Iterator[str]:
        """Yield all ids of the file, until *is_over* returns true."""
        for number, row in enumerate(_rows_in(self._path, is_over), 1):
            if row.custom_id is None:
                raise ConfigurationError(
                    f"expected: row {number} of '{self._path}' has no custom_id"
                )
            yield row.custom_id


def is_error_file(path: Path) -> bool:
    """Return whether a file has errors (``error-data``), and not results."""
    return "error" in path.name.lower()


def order_files(paths: Iterable[Path], dataset_id: str) -> tuple[Path, ...]:
    """Return files in the order in which they are read.

    Result files come before error files. Files of the job itself come before files of other jobs.

    Args:
        paths: The downloaded files. With ``lineage=True``, the files of each dataset are in a
            folder named after the dataset's id.
        dataset_id: The id of the job's own output dataset.
    """

    def place(path: Path) -> tuple[bool, bool, Path]:
        return is_error_file(path), path.parent.name != dataset_id, path

    return tuple(sorted(paths, key=place))


def find_suspects(
    seen: IdSet,
    expected: ExpectedIds | None,
    paths: Sequence[Path],
    *,
    is_over: Callable[[], bool],
) -> Findings:
    """Compare hashes of ids, and read the files again to find the ids exactly.

    Args:
        seen: The ids of the rows.
        expected: The ids that should have rows; None if they are not known.
        paths: The files of the rows.
        is_over: Returns whether the caller was cancelled. Then the findings are incomplete.
    """
    again = partial(_ids_in, paths, is_over)
    repeated = find_all(again(), seen.duplicates(), least=2)
    if expected is None:
        return Findings(repeated)
    missing = find_all(expected.again(is_over), expected.hashes.difference(seen))
    return Findings(repeated, missing, find_all(again(), seen.difference(expected.hashes)))


def _ids_in(paths: Sequence[Path], is_over: Callable[[], bool]) -> Iterator[str]:
    for path in paths:
        for row in _rows_in(path, is_over):
            if row.custom_id is not None:
                yield row.custom_id


def _rows_in(path: Path, is_over: Callable[[], bool]) -> Iterator[ResultRow[None]]:
    """Yield the rows of a file; *is_over* is asked before each block."""
    with reported("read", str(path)), path.open("rb") as file:
        for block in takewhile(lambda _: not is_over(), read_blocks(file)):
            yield from read_rows(block)


def _block_at(path: Path, start: int, size: int) -> Block | None:
    """Return the block that begins at a byte of a file; None at the end of the file."""
    with reported("read", str(path)), path.open("rb") as file:
        file.seek(start)
        return next(read_blocks(file, size=size), None)


class Reading:
    """One reading of some files. It counts what the report needs.

    The caller takes all rows from ``rows``. It adds the ids of rows without an error to ``ids``,
    and gives the other rows to `takes`. Then it calls `advance`. No file is open between two
    blocks.
    """

    def __init__(self, paths: Sequence[Path], decode: Decoder | None, *, lineage: bool) -> None:
        """Begin before the first row.

        Args:
            paths: The files, in the order of reading.
            decode: Makes the output of a response; None if rows have no output.
            lineage: Whether an error is left out if an earlier file has a row of the same id.
        """
        self._paths = paths
        self._decode = decode
        self._lineage = lineage
        self._file, self._start = 0, 0
        self._seen = IdSet()
        self._settled: Suspects | None = None
        self.counts: ResultCounts = ResultCounts()
        """The rows counted so far."""
        self.ids: list[Any] = []
        """The ids of the rows of this block that were handed out."""
        self.rows: Iterator[ResultRow[Any]] = iter(())
        """The rows of this block that were not taken yet."""

    @property
    def with_ids(self) -> int:
        """The number of rows with an id that were handed out before the newest `advance`."""
        return len(self._seen)

    def takes(self, row: ResultRow[Any]) -> bool:
        """Count a row with an error, and return whether the row is handed out."""
        counts = self.counts
        if row.custom_id is None:
            counts.unreadable += 1
            return True
        if self._settled is not None and row.custom_id in self._settled:
            counts.superseded += 1
            return False
        self.ids.append(row.custom_id)
        if row.error is not None and row.error.code in {INVALID_OUTPUT, UNDECODABLE}:
            counts.undecodable += 1
        else:
            counts.failed += 1
        return True

    async def advance(self) -> bool:
        """Read the next block, and return whether there was one."""
        self._seen.update(self.ids)
        self.ids.clear()
        size = _BLOCK if self._decode is None else _BLOCK_TO_DECODE
        while self._file < len(self._paths):
            block = await off_loop(_block_at, self._paths[self._file], self._start, size)
            if block is not None:
                self._start = block.end
                self.rows = self._rows_of(block)
                return True
            self._file, self._start = self._file + 1, 0
            await self._settle()
        return False

    def _rows_of(self, block: Block) -> Iterator[ResultRow[Any]]:
        rows = read_rows(block)
        return rows if self._decode is None else map(self._decode.decoded, rows)

    async def blocks(self) -> AsyncGenerator[bytes, None]:
        """Yield the lines of all files in blocks, in place of `advance`."""
        for path in self._paths:
            start = 0
            while (block := await off_loop(_block_at, path, start, _BLOCK)) is not None:
                start = block.end
                yield block.data

    def count(self, lines: bytes, ids: Iterable[str] | None) -> None:
        """Count the rows of a block. Blocks the thread.

        Args:
            lines: The lines of the block.
            ids: The ids of the rows, if each line is a row with a response.
        """
        if ids is None:
            for row in read_rows(BytesIO(lines)):
                if row.error is None:
                    self.ids.append(row.custom_id)
                else:
                    self.takes(row)
            ids = self.ids
        self._seen.update(ids)
        self.ids.clear()

    async def _settle(self) -> None:
        """Remember the ids of rows so far, before an error file of a continuation chain."""
        if self._lineage and any(map(is_error_file, self._paths[self._file : self._file + 1])):
            self._settled = await off_loop(self._seen.suspects)

    async def find(self, expected: ExpectedIds | None) -> Findings:
        """Find the ids that the report names. A cancellation ends the work in the thread."""
        over = threading.Event()
        find = partial(find_suspects, self._seen, expected, self._paths, is_over=over.is_set)
        return await off_loop(find, stop=over.set)
