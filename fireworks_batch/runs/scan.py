"""One pass over a file of requests, before anything is sent: check, count, hash and split.

A file that needs no change and no split is used where it is. Otherwise the rows of each job are
written into one file. The pass is synchronous, in steps of a block: `requests` runs it
in threads.
"""

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Final

import attrs

from fireworks_batch.files.lines import LONGEST_LINE, Block, open_lines, read_blocks
from fireworks_batch.files.threads import write_all
from fireworks_batch.models.dataset import Limits
from fireworks_batch.models.errors import ConfigurationError, RowProblem
from fireworks_batch.results.id_sets import IdSet, Suspects
from fireworks_batch.runs.contents import ContentCounter, JobDefaults, RowContents
from fireworks_batch.runs.request_rows import Row, RowRules, check_row, plain_ids
from fireworks_batch.runs.shards import ShardFile, file_stamp

__all__ = ["Room", "Scan", "ScanTerms", "cuts"]


@attrs.define
class Room:
    """How full the job is that is being filled with rows."""

    limits: Limits
    """Most rows and bytes of one job."""

    rows: int = 0
    """Rows in the job."""

    bytes: int = 0
    """Bytes in the job, line ends included."""

    def fits(self, rows: int, size: int) -> bool:
        """Whether more rows fit into the job.

        Args:
            rows: The number of rows.
            size: The bytes of all these rows, line ends included.
        """
        most = self.limits.max_rows
        return (
            most is None or self.rows + rows <= most
        ) and self.bytes + size <= self.limits.max_bytes

    def add(self, rows: int, size: int) -> None:
        """Put rows into the job."""
        self.rows += rows
        self.bytes += size

    def clear(self) -> None:
        """Begin the next job."""
        self.rows = self.bytes = 0


def cuts(room: Room, sizes: Iterable[int]) -> Iterator[int]:
    """Fill jobs with rows, and yield the index of each row that begins a new job.

    Args:
        room: How full the first job is. It is kept up to date.
        sizes: Bytes of each row, line end included. Each is at most ``max_bytes``.
    """
    for index, size in enumerate(sizes):
        if not room.fits(1, size):
            room.clear()
            yield index
        room.add(1, size)


# Bytes that are copied at a time.
_COPIED: Final = 8 * 1024 * 1024


# Most ids that a second pass remembers if bad rows end the call: it only has to name some of them.
_TRACKED: Final = 10_000


@attrs.frozen(kw_only=True)
class ScanTerms:
    """How a file of requests is to be read."""

    path: Path
    """The file of requests."""

    rules: RowRules
    """The settings of the job that rows must not contradict."""

    limits: Limits
    """Most rows and bytes of one job."""

    directory: Path
    """An existing directory for the files of jobs."""

    skip_bad: bool = False
    """Whether bad rows are left out. Otherwise no file is made if there is a bad row."""

    write: bool = True
    """Whether files are written. Otherwise only their sizes are found."""

    most_problems: int = 100
    """The most bad rows to name. All of them are counted."""

    on_ids: Callable[[Sequence[str]], object] | None = None
    """Called with the ids of good rows, in their order, a block at a time."""

    defaults: JobDefaults | None = None
    """What the job says for rows that do not. None if the contents of rows are not counted."""


class Scan:
    """One pass: call `advance` until it returns False, then read the other members."""

    def __init__(self, terms: ScanTerms, suspects: Suspects | None = None) -> None:
        """Begin a pass.

        Args:
            terms: How to read the file.
            suspects: Ids that may occur twice, as an earlier pass has found. This pass compares
                them exactly.
        """
        self.problems: list[RowProblem] = []
        """The first bad rows."""
        self.problem_count: int = 0
        """The number of all bad rows."""
        self.blank_lines: int = 0
        """The number of lines without a row."""
        self.rows_without_cache_key: int = 0
        """The number of good rows that lack a cache key."""
        self.ids: IdSet = IdSet()
        """The ids of all good rows."""
        self._terms = terms
        self._counter = None if terms.defaults is None else ContentCounter(terms.defaults)
        self._suspects = suspects
        self._seen: dict[str, int] = {}
        self._stop = threading.Event()
        self._line = 1
        self._room = Room(terms.limits)
        self._shards = _Shards(terms, self._stop)
        self._file = open_lines(terms.path)
        self._blocks = read_blocks(self._file, longest=LONGEST_LINE)

    @property
    def shards(self) -> tuple[ShardFile, ...]:
        """The files of the jobs, in the order of their rows."""
        return tuple(self._shards.done)

    @property
    def content(self) -> RowContents:
        """What the good rows hold; zeros if that is not counted."""
        return RowContents() if self._counter is None else self._counter.made()

    def stop(self) -> None:
        """End the step that runs in another thread as soon as possible."""
        self._stop.set()

    def close(self) -> None:
        """Close all files. Written files stay on disk."""
        self._shards.close()
        self._file.close()

    def advance(self) -> bool:
        """Read one block, and return whether there may be more blocks."""
        block = next(self._blocks, None)
        if block is None:
            if self._wants_shards:
                self._shards.finish()
            self.close()
            return False
        if block.is_too_long:
            mib = LONGEST_LINE // 1024**2
            reason = (
                f"is longer than {mib} MiB, which no request is: is this one JSON object a line?"
            )
            self._reject(RowProblem(self._line, None, reason))
            self._line += 1
        elif block.data:
            self._take(block)
        return not self._stop.is_set()

    def _take(self, block: Block) -> None:
        # A row that lacks the caller's response format is not passed on as it is.
        is_changed = bool(self._terms.rules.response_format)
        ids: list[str | None] = [None for _ in block] if is_changed else plain_ids(block)
        first, self._line = self._line, self._line + len(ids)
        data = block.data if block.data.endswith(b"\n") else block.data + b"\n"
        is_plain = self._suspects is None and all(ids)
        if not (is_plain and self._room.fits(len(ids), len(data))):
            self._take_rows(block, first, ids)
            return
        self._add_ids(ids)  # type: ignore[arg-type]  # all of them are strings
        self._count(block)
        self._room.add(len(ids), len(data))
        if self._wants_shards:
            self._shards.add(data, block.start, len(ids), first, self._line - 1)

    def _count(self, lines: Iterable[bytes]) -> None:
        if self._counter is not None:
            for line in lines:
                self._counter.add(line)

    def _add_ids(self, ids: list[str]) -> None:
        self.ids.update(ids)
        if self._terms.on_ids is not None and self._wants_shards:
            self._terms.on_ids(ids)

    @property
    def _wants_shards(self) -> bool:
        """Whether files of jobs are still of use. They are not if a bad row ends the call."""
        return self._terms.skip_bad or not self.problem_count

    def _take_rows(self, block: Block, first: int, ids: list[str | None]) -> None:
        """Take a block row by row.

        This is for a block in which a new job begins, or a row needs all checks.
        """
        lines = [line.removesuffix(b"\n") for line in block]
        kept = list(self._good_rows(lines, first, ids))
        self._add_ids([row.custom_id for row, _ in kept])
        self._count(row.line for row, _ in kept)
        if not self._wants_shards:
            return
        start = block.start if [row.line for row, _ in kept] == lines else None
        begin = 0
        for end in [*cuts(self._room, (len(row.line) + 1 for row, _ in kept)), len(kept)]:
            start = self._add_rows(kept[begin:end], start)
            if end < len(kept):
                self._shards.end()
            begin = end

    def _add_rows(self, rows: Sequence[tuple[Row, int]], start: int | None) -> int | None:
        """Add rows to the job being filled, and return where the next ones start."""
        if not rows:
            return start
        data = b"".join(row.line + b"\n" for row, _ in rows)
        self._shards.add(data, start, len(rows), rows[0][1], rows[-1][1])
        return None if start is None else start + len(data)

    def _good_rows(
        self, lines: list[bytes], first: int, ids: list[str | None]
    ) -> Iterator[tuple[Row, int]]:
        rules = self._terms.rules
        for number, (line, custom_id) in enumerate(zip(lines, ids, strict=True), first):
            found = Row(custom_id, line) if custom_id else check_row(line, number, rules)
            if isinstance(found, Row):
                found = self._check_size(found, number) or self._check_twin(found, number) or found
            match found:
                case Row():
                    self.rows_without_cache_key += found.lacks_cache_key
                    yield found, number
                case RowProblem():
                    self._reject(found)
                case None:
                    self.blank_lines += 1

    def _check_size(self, row: Row, number: int) -> RowProblem | None:
        size, most = len(row.line) + 1, self._terms.limits.max_bytes
        if size <= most:
            return None
        reason = f"has {size} bytes; a job takes {most} (Limits.max_bytes)"
        return RowProblem(number, row.custom_id, reason)

    def _check_twin(self, row: Row, number: int) -> RowProblem | None:
        if self._suspects is None or row.custom_id not in self._suspects:
            return None
        first = self._seen.get(row.custom_id)
        if first is not None:
            return RowProblem(number, row.custom_id, f"custom_id is that of line {first} too")
        if self._terms.skip_bad or len(self._seen) < _TRACKED:
            self._seen[row.custom_id] = number
        return None

    def _reject(self, problem: RowProblem) -> None:
        self.problem_count += 1
        if len(self.problems) < self._terms.most_problems:
            self.problems.append(problem)


class _Shards:
    """The files of the jobs. Nothing is written while the caller's own file can be used."""

    def __init__(self, terms: ScanTerms, stop: threading.Event) -> None:
        """Begin the first file.

        Args:
            terms: How to read the file of requests.
            stop: Set when the pass is given up.
        """
        self.done: list[ShardFile] = []
        self._terms = terms
        self._stop = stop
        self._file: IO[bytes] | None = None
        # Whether the caller's file begins with the rows of the first job so far, byte for byte.
        self._is_own = not terms.path.name.endswith(".gz")
        self._stamp = file_stamp(terms.path)
        self._begin()

    def _begin(self) -> None:
        self._hash = hashlib.sha256()
        self._rows = self._bytes = self._first_line = self._last_line = 0

    def add(self, data: bytes, start: int | None, rows: int, first: int, last: int) -> None:
        """Add rows to the job being filled.

        Args:
            data: The rows, each with its line end.
            start: The position of these bytes in the caller's file; None if the bytes differ.
            rows: The number of rows.
            first: The line of the first row.
            last: The line of the last row.
        """
        if self._is_own and start != self._bytes:
            self._write_own()
        self._hash.update(data)
        self._first_line = self._first_line or first
        self._last_line = last
        self._rows += rows
        self._bytes += len(data)
        if not self._is_own and self._terms.write:
            write_all(self._open(), data)

    def end(self) -> None:
        """End a job that another one follows."""
        if self._is_own:
            self._write_own()
        self._end(self._path)

    def finish(self) -> None:
        """End the last job, if it has rows."""
        if not self._rows:
            return
        if self._is_own:
            size = self._terms.path.stat().st_size
            if size == self._bytes:
                self._end(self._terms.path)
                return
            # It is not documented whether the server takes a last line without a line end.
            self._write_own(lacks_end=size == self._bytes - 1)
        self._end(self._path)

    def close(self) -> None:
        """Close the file being written, if there is one."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def _path(self) -> Path:
        return self._terms.directory / f"shard-{len(self.done)}.jsonl"

    def _open(self) -> IO[bytes]:
        if self._file is None:
            self._file = self._path.open("wb", buffering=0)
        return self._file

    def _end(self, path: Path) -> None:
        self.close()
        shard = ShardFile(
            path=path,
            rows=self._rows,
            bytes=self._bytes,
            sha256=self._hash.hexdigest(),
            first_line=self._first_line,
            last_line=self._last_line,
            stamp=self._stamp if path == self._terms.path else file_stamp(path),
        )
        self.done.append(shard)
        self._begin()

    def _write_own(self, *, lacks_end: bool = False) -> None:
        """Copy the rows so far into a file: the caller's file cannot be used any longer."""
        self._is_own = False
        if not self._terms.write:
            return
        remaining = self._bytes - lacks_end
        with self._terms.path.open("rb") as source:
            while remaining and not self._stop.is_set():
                data = source.read(min(remaining, _COPIED))
                write_all(self._open(), data)
                remaining -= len(data)
                if not data:
                    raise ConfigurationError(
                        f"{str(self._terms.path)!r} was changed while it was read: call again "
                        "when nothing writes to it"
                    )
        if lacks_end:
            write_all(self._open(), b"\n")
