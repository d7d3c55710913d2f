"""How result files are read: block by block in a thread, row by row as they are asked for."""

import asyncio
import io
import json
import threading
from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, Final, Protocol

from fireworks_batch.files.threads import begin, ended, off_loop, reported
from fireworks_batch.models.errors import ConfigurationError
from fireworks_batch.results.id_sets import IdSet, Suspects, find_all, find_repeated
from fireworks_batch.results.report import Findings, ResultCounts
from fireworks_batch.results.rows import UNDECODABLE, ResultRow, decode_row, read_rows

__all__ = [
    "BLOCK",
    "ExpectedIds",
    "InputIds",
    "Reading",
    "SpooledIds",
    "find_suspects",
    "is_error_file",
    "order_files",
    "read_block",
]


class ExpectedIds(Protocol):
    """Ids of any number, read twice."""

    hashes: IdSet

    def again(self, is_over: Callable[[], bool]) -> Iterator[str]:
        """Return all of them once more, until it is over."""
        ...


class SpooledIds:
    """Ids of an iterable, which can be consumed once: they are kept in a file."""

    def __init__(self, path: Path) -> None:
        """Take the file, which is not there yet."""
        self.hashes = IdSet()
        self._path = path

    def add(self, ids: Sequence[str]) -> None:
        """Add some more."""
        self.hashes.update(ids)
        with reported("write", str(self._path)), self._path.open("ab") as file:
            file.writelines(json.dumps(custom_id).encode() + b"\n" for custom_id in ids)

    def again(self, is_over: Callable[[], bool]) -> Iterator[str]:
        """Return all of them once more, until it is over."""
        if not len(self.hashes):
            return
        with reported("read", str(self._path)), self._path.open("rb") as file:
            yield from map(json.loads, takewhile(lambda _: not is_over(), file))


class InputIds:
    """Ids of the rows of an input file."""

    def __init__(self, path: Path) -> None:
        """Read them for the first time.

        Raises:
            ConfigurationError: A row has no ``custom_id``.
            LocalFileError: The file cannot be read.
        """
        self.hashes = IdSet()
        self._path = path
        self.hashes.update(self.again(lambda: False))

    def again(self, is_over: Callable[[], bool]) -> Iterator[str]:
        """Return all of them once more, until it is over."""
        with reported("read", str(self._path)), self._path.open("rb") as file:
            if file.read(len(BOM_UTF8)) != BOM_UTF8:
                file.seek(0)
            lines = takewhile(lambda _: not is_over(), file)
            for number, row in enumerate(read_rows(lines), 1):
                if row.custom_id is None:
                    raise ConfigurationError(
                        f"expected: row {number} of '{self._path}' has no custom_id"
                    )
                yield row.custom_id


BLOCK: Final = 1 << 21
"""Bytes of a block: as many as a thread needs to be worth its start."""


def is_error_file(path: Path) -> bool:
    """Tell a file of errors (``error-data``, which has no ending) from one of results."""
    return "error" in path.name.lower()


def order_files(paths: Iterable[Path], dataset_id: str) -> tuple[Path, ...]:
    """Return files in the order of reading: results before errors, the job's own before others'.

    Args:
        paths: What was downloaded; with its lineage, each dataset in a folder named after its id.
        dataset_id: The job's own output dataset.
    """

    def place(path: Path) -> tuple[bool, bool, Path]:
        return is_error_file(path), path.parent.name != dataset_id, path

    return tuple(sorted(paths, key=place))


def read_block(path: Path, offset: int, size: int = BLOCK) -> tuple[bytes, int]:
    """Return whole lines from an offset on, and the offset where they end.

    They are as many as the size takes, and the line that it cuts; none at the file's end. A byte
    order mark at the file's beginning is passed over.
    """
    with reported("read", str(path)), path.open("rb") as file:
        file.seek(offset)
        block = file.read(size)
        if block and not block.endswith(b"\n"):
            block += file.readline()
    end = offset + len(block)
    return (block if offset else block.removeprefix(BOM_UTF8)), end


def find_suspects(
    seen: IdSet,
    expected: ExpectedIds | None,
    paths: Sequence[Path],
    *,
    is_over: Callable[[], bool],
) -> Findings:
    """Compare the hashes, and read again what they name as suspects.

    Args:
        seen: The ids of the rows.
        expected: The ids that should have rows.
        paths: The files that the rows are in.
        is_over: Whether nobody waits for the findings any more; then they are cut short.
    """
    again = partial(_custom_ids, paths, is_over)
    repeated = find_repeated(again(), seen.duplicates())
    if expected is None:
        return Findings(repeated)
    missing = find_all(expected.again(is_over), expected.hashes.difference(seen))
    return Findings(repeated, missing, find_all(again(), seen.difference(expected.hashes)))


def _custom_ids(paths: Sequence[Path], is_over: Callable[[], bool]) -> Iterator[str]:
    for path in paths:
        offset = 0
        while not is_over():
            block, offset = read_block(path, offset)
            if not block:
                break
            for row in read_rows(io.BytesIO(block)):
                if row.custom_id is not None:
                    yield row.custom_id


# Between two blocks the event loop has its turn: decoding takes ten times as long as reading.
_BLOCK_TO_DECODE: Final = BLOCK // 8


class Reading:
    """One reading of some files, which remembers what the report needs.

    Whoever reads takes rows from ``rows`` until there are none, puts the ids of those without an
    error into ``ids``, asks `takes` of the others, and then calls `advance`. No file is open
    between two blocks.
    """

    def __init__(
        self, paths: Sequence[Path], decode: Callable[[Any], Any] | None, *, lineage: bool
    ) -> None:
        """Begin before the first row.

        Args:
            paths: The files, in the order of reading.
            decode: Makes what the user wants of a response.
            lineage: Whether an error is left out if its row is in an earlier file.
        """
        self._paths = paths
        self._decode = decode
        self._lineage = lineage
        self._file, self._offset = 0, 0
        self._seen = IdSet()
        self._settled: Suspects | None = None
        self.counts = ResultCounts()
        self.ids: list[Any] = []
        self.rows: Iterator[ResultRow[Any]] = iter(())

    @property
    def with_ids(self) -> int:
        """Rows that were handed out and have an id, once `advance` was called after them."""
        return len(self._seen)

    def takes(self, row: ResultRow[Any]) -> bool:
        """Count a row with an error, and tell whether it is to be handed out."""
        counts = self.counts
        if row.custom_id is None:
            counts.unreadable += 1
            return True
        if self._settled is not None and row.custom_id in self._settled:
            counts.superseded += 1
            return False
        self.ids.append(row.custom_id)
        if row.error is not None and row.error.code == UNDECODABLE:
            counts.undecodable += 1
        else:
            counts.failed += 1
        return True

    async def advance(self) -> bool:
        """Read the next block, and tell whether there was one."""
        self._seen.update(self.ids)
        self.ids.clear()
        while self._file < len(self._paths):
            path = self._paths[self._file]
            size = BLOCK if self._decode is None else _BLOCK_TO_DECODE
            block, self._offset = await off_loop(read_block, path, self._offset, size)
            if block:
                self.rows = self._rows_of(block)
                return True
            self._file, self._offset = self._file + 1, 0
            await self._settle()
        return False

    def _rows_of(self, block: bytes) -> Iterator[ResultRow[Any]]:
        rows = read_rows(io.BytesIO(block))
        return rows if self._decode is None else map(partial(decode_row, decode=self._decode), rows)

    async def _settle(self) -> None:
        """Before a file of errors of a lineage: remember which rows have been read by then."""
        if self._lineage and any(map(is_error_file, self._paths[self._file : self._file + 1])):
            self._settled = await off_loop(self._seen.suspects)

    async def find(self, expected: ExpectedIds | None) -> Findings:
        """Name the ids that the report names; cancelling it ends the work in the thread."""
        over = threading.Event()
        step = begin(find_suspects, self._seen, expected, self._paths, is_over=over.is_set)
        try:
            await asyncio.wait([step])
        finally:
            over.set()
            await ended(step)
        return step.result()
