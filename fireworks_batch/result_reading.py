"""How result files are read: block by block in a thread, row by row as they are asked for."""

import asyncio
import io
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from fireworks_batch.expected_ids import ExpectedIds
from fireworks_batch.id_sets import IdSet, Suspects
from fireworks_batch.local_io import begin, ended, off_loop
from fireworks_batch.result_files import BLOCK, find_suspects, is_error_file, read_block
from fireworks_batch.result_report import Findings, ResultCounts
from fireworks_batch.rows import UNDECODABLE, ResultRow, decode_row, read_rows

__all__ = ["Reading"]

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
