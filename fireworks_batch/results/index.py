"""An index of results on disk, in SQLite. It may have any size, and memory stays bounded.

The result files of each job are added, in any order. A row may have several results: then the best
one is chosen, which is the first success, else the newest response that was refused, else the
newest failure. The index is synchronous: use it in a thread.
"""

import enum
import os
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import IO, Final, NamedTuple

import attrs

from fireworks_batch.files.lines import Block, read_blocks
from fireworks_batch.files.threads import reported
from fireworks_batch.models.errors import LocalFileError

__all__ = ["BAD", "UNANSWERED", "Chosen", "Kind", "ReadRow", "ResultIndex", "Tally"]


class Kind(enum.IntEnum):
    """The kind of a result."""

    OK = 0
    FAILED = 1
    RETRYABLE = 2
    MISSING = 3
    INVALID = 4
    """There is a response, but ``decode=`` has refused it."""


BAD: Final = (Kind.FAILED, Kind.RETRYABLE, Kind.INVALID)
"""The kinds of rows with an error."""


UNANSWERED: Final = (Kind.MISSING, Kind.RETRYABLE, Kind.FAILED)
"""The kinds of rows without a response.

The server runs these rows when it continues a job, as the vendor's documentation says: "only
unfinished/failed requests".
"""


_SCHEMA: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA locking_mode = EXCLUSIVE;
PRAGMA temp_store = FILE;
PRAGMA cache_size = -8192;
CREATE TABLE expected (position INTEGER PRIMARY KEY, custom_id TEXT NOT NULL);
CREATE TABLE found (
    custom_id TEXT NOT NULL, rank INTEGER NOT NULL, kind INTEGER NOT NULL,
    file INTEGER NOT NULL, start INTEGER NOT NULL, length INTEGER NOT NULL
);
"""


_CHOSEN: Final = """
CREATE TABLE chosen (
    position INTEGER PRIMARY KEY, custom_id TEXT NOT NULL, kind INTEGER NOT NULL,
    file INTEGER NOT NULL, start INTEGER NOT NULL, length INTEGER NOT NULL
)
"""


# The best result of each expected row; 3 is Kind.MISSING.
_CHOOSE_EXPECTED: Final = """
INSERT INTO chosen
SELECT position, expected.custom_id, ifnull(kind, 3),
    ifnull(file, 0), ifnull(start, 0), ifnull(length, 0)
FROM expected LEFT JOIN found ON found.rowid = (
    SELECT rowid FROM found AS best WHERE best.custom_id = expected.custom_id
    ORDER BY rank LIMIT 1
)
ORDER BY position
"""


# The best result of each row, in the order of the ids, for unknown expected rows. With min(),
# SQLite takes the other columns from the row that has the minimum (documented).
_CHOOSE_ALL: Final = """
INSERT INTO chosen (custom_id, kind, file, start, length)
SELECT custom_id, kind, file, start, length FROM (
    SELECT custom_id, min(rank), kind, file, start, length FROM found GROUP BY custom_id
)
ORDER BY custom_id
"""


_PAGE: Final = """
SELECT position, custom_id, file, start, length FROM chosen
WHERE position > ?
AND CASE kind WHEN 0 THEN ? WHEN 1 THEN ? WHEN 2 THEN ? WHEN 3 THEN ? ELSE ? END
ORDER BY position LIMIT ?
"""


_BLOCK: Final = _PAGE.replace("custom_id, ", "")


# The rank of a result is one of these numbers minus the number of its job: the newest one counts. A
# success comes first, then a response that `decode=` has refused, then an error. If the first
# success counts, its rank is the number of its job.
_RANKS: Final = {
    Kind.OK: 10**13,
    Kind.INVALID: 10**14,
    Kind.FAILED: 10**15,
    Kind.RETRYABLE: 10**15,
}


# Most bytes of the lines of one page. Rows with log probabilities may have megabytes each.
_MOST_BYTES: Final = 8 * 1024 * 1024


# Most files kept open. There may be more jobs than a process may open files.
_OPEN: Final = 32


ReadRow = Callable[[bytes], "tuple[str, Kind] | None"]
"""A function that returns the id and the kind of a line of results; None if it is not a row."""


class Chosen(NamedTuple):
    """The result that counts for a row."""

    position: int
    """The number of the row in the input, from 1. Without an input, its number by id."""

    custom_id: str
    """The row's id."""

    file: int
    """The number of the file that has the line, in the order in which files were added, from 0."""

    start: int
    """The byte at which the line begins."""

    length: int
    """The length of the line in bytes, without the line end; 0 if the row is missing."""


@attrs.frozen(kw_only=True)
class Tally:
    """The numbers of rows and results of each kind."""

    succeeded: int
    """Rows with a response."""

    failed: int
    """Rows with an error, or with a response that ``decode=`` has refused."""

    undecodable: int
    """How many of the failed rows have a response."""

    missing: int
    """Expected rows with neither a response nor an error."""

    duplicate: int
    """Results of a row beyond the first one from the same job."""

    foreign: int
    """Rows that were not expected."""

    unreadable: int
    """Lines that are not rows."""

    has_expected: bool
    """Whether the expected rows are known."""


class ResultIndex:
    """An index: add expected rows, add results, call `choose`, and read the chosen results."""

    def __init__(self, path: Path, *, newest_counts: bool = False) -> None:
        """Make an empty index.

        Args:
            path: The file of the index, which does not exist yet.
            newest_counts: Whether the newest success of a row counts, instead of the first one.
        """
        self._newest_counts = newest_counts
        self.files: list[Path] = []
        """The files of results, by their numbers."""
        self._unreadable: Counter[int] = Counter()
        self._spans: dict[int, tuple[int, int]] = {}
        self._distinct: dict[int, tuple[int, int]] = {}
        self._path = path
        with self._reported():
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            try:
                self._connection.executescript(_SCHEMA)
            except sqlite3.Error:
                self._connection.close()
                raise
        self._open: dict[int, IO[bytes]] = {}
        self._has_expected = False

    def interrupt(self) -> None:
        """End the step that runs in another thread."""
        self._connection.interrupt()

    def close(self) -> None:
        """Close all files; the index and the files of results stay on disk."""
        self._connection.close()
        for file in self._open.values():
            file.close()
        self._open.clear()

    # --- Filling ----------------------------------------------------------------------------------

    def expect(self, ids: Iterable[str]) -> None:
        """Add ids of expected rows, in the order of the rows."""
        self._has_expected = True
        self._many("INSERT INTO expected (custom_id) VALUES (?)", zip(ids))

    def expect_none(self) -> None:
        """Remove the ids of expected rows. The caller adds them anew."""
        self._run("DELETE FROM expected")

    def add_job(self, job: int, paths: Iterable[Path], read: ReadRow) -> Iterator[None]:
        """Add the result files of a job, in place of its files that were added before.

        The generator yields after each block. No other job may be added before its end.

        Args:
            job: The number of the job; later jobs have higher numbers.
            paths: The files, which must not be moved or changed.
            read: Reads one line.
        """
        if job in self._spans:
            self._run("DELETE FROM found WHERE rowid BETWEEN ? AND ?", self._spans[job])
        self._unreadable[job] = 0
        first = self._one("SELECT ifnull(max(rowid), 0) FROM found") + 1
        for path in paths:
            number = len(self.files)
            self.files.append(path)
            with path.open("rb") as file:
                for block in read_blocks(file):
                    rows = list(self._rows(block, read, job, number))
                    self._many("INSERT INTO found VALUES (?, ?, ?, ?, ?, ?)", rows)
                    yield
        self._spans[job] = first, self._one("SELECT ifnull(max(rowid), 0) FROM found")
        self._count(job)

    def rows_of(self, job: int) -> tuple[int, int, int]:
        """Return the counts of a job's results.

        Returns:
            The number of rows with a response, the number of rows with a response or an error, and
            the number of lines that are not rows. A row that came several times counts once.
        """
        return *self._distinct[job], self._unreadable[job]

    def _count(self, job: int) -> None:
        query = """
            SELECT ifnull(sum(has_response), 0), count(*) FROM (
                SELECT max(kind IN (0, 4)) AS has_response FROM found WHERE rowid BETWEEN ? AND ?
                GROUP BY custom_id
            )
        """
        answered, resulted = self._run(query, self._spans[job]).fetchone()
        self._distinct[job] = int(answered), int(resulted)

    def positions(
        self, kinds: Sequence[Kind], *, jobs: Iterable[int], first: int, last: int
    ) -> list[int]:
        """Return the positions of the expected rows whose best result is of some kinds.

        Args:
            kinds: The kinds.
            jobs: The numbers of the jobs whose results count.
            first: The first position to return, from 1.
            last: The last position to return.
        """
        self._run("DROP TABLE IF EXISTS best")
        self._run("CREATE TABLE best (custom_id TEXT PRIMARY KEY, rank INTEGER, kind INTEGER)")
        for job in jobs:
            # Of two results of a row, the result with the lower rank stays.
            query = """
                INSERT INTO best SELECT custom_id, rank, kind FROM found
                WHERE rowid BETWEEN ? AND ?
                ON CONFLICT (custom_id) DO UPDATE SET rank = excluded.rank, kind = excluded.kind
                WHERE excluded.rank < best.rank
            """
            self._run(query, self._spans.get(job, (1, 0)))
        query = """
            SELECT position, ifnull(kind, 3) FROM expected LEFT JOIN best USING (custom_id)
            WHERE position BETWEEN ? AND ? ORDER BY position
        """
        return [at for at, kind in self._run(query, (first, last)) if kind in kinds]

    def _rows(
        self, block: Block, read: ReadRow, job: int, file: int
    ) -> Iterator[tuple[str, int, int, int, int, int]]:
        start = block.start
        for line in block:
            if not line.isspace():
                found = read(line)
                if found is None:
                    self._unreadable[job] += 1
                else:
                    custom_id, kind = found
                    is_first = kind is Kind.OK and not self._newest_counts
                    rank = job if is_first else _RANKS[kind] - job
                    yield custom_id, rank, kind, file, start, len(line) - line.endswith(b"\n")
            start += len(line)

    def choose(self) -> Tally:
        """Choose the best result of each row, and count the results.

        More results may be added later, before another call.
        """
        self._run("CREATE INDEX IF NOT EXISTS found_by_id ON found (custom_id, rank)")
        self._run("DROP TABLE IF EXISTS chosen")
        self._run(_CHOSEN)
        self._run(_CHOOSE_EXPECTED if self._has_expected else _CHOOSE_ALL)
        kinds = dict(self._run("SELECT kind, count(*) FROM chosen GROUP BY kind").fetchall())
        found = self._one("SELECT count(*) FROM found")
        rows = self._one("SELECT count(DISTINCT custom_id) FROM found")
        missing = kinds.get(Kind.MISSING, 0)
        return Tally(
            succeeded=kinds.get(Kind.OK, 0),
            failed=sum(kinds.get(kind, 0) for kind in BAD),
            undecodable=kinds.get(Kind.INVALID, 0),
            missing=missing,
            duplicate=found - sum(resulted for _, resulted in self._distinct.values()),
            foreign=rows - (sum(kinds.values()) - missing),
            unreadable=self._unreadable.total(),
            has_expected=self._has_expected,
        )

    # --- Reading ----------------------------------------------------------------------------------

    def page(self, kinds: Sequence[Kind], *, after: int = 0, size: int = 1000) -> list["Chosen"]:
        """Return the next chosen results of some kinds, in the order of the input.

        A page has at most 8 MiB of lines, but at least one result if there is one.

        Args:
            kinds: The kinds.
            after: The position of the last result of the page before; 0 for the first page.
            size: Most results of the page.
        """
        wanted = [kind in kinds for kind in Kind]
        rows = self._run(_PAGE, (after, *wanted, size)).fetchall()
        page = [Chosen._make(row) for row in rows]
        sizes = accumulate(each.length for each in page)
        return page[: max(1, sum(size <= _MOST_BYTES for size in sizes))]

    def lacks(self, ids: Iterable[str]) -> bool:
        """Return whether a row with one of some ids has no response among the chosen results.

        Where the expected ids are known, other ids do not count.
        """
        self._prepare_for_ids()
        query = "SELECT kind FROM chosen WHERE custom_id = ?"
        for custom_id in ids:
            row = self._run(query, (custom_id,)).fetchone()
            if (row is None and not self._has_expected) or (row is not None and row[0] != Kind.OK):
                return True
        return False

    def find(self, custom_id: str) -> bytes | None:
        """Return the line of the chosen result of a row; None if the row has no result."""
        self._prepare_for_ids()
        query = "SELECT file, start, length FROM chosen WHERE custom_id = ?"
        try:
            row = self._run(query, (custom_id,)).fetchone()
        except UnicodeEncodeError:
            return None  # a lone surrogate: no row that was sent has such an id
        return None if row is None or not row[2] else self._line(*row)

    def _prepare_for_ids(self) -> None:
        """Make an index on the ids of chosen results. Not each run needs one."""
        self._run("CREATE INDEX IF NOT EXISTS chosen_by_id ON chosen (custom_id)")

    def block(self, kinds: Sequence[Kind], *, after: int = 0, size: int) -> tuple[bytes, int]:
        """Return the lines of the next chosen results of some kinds, in the order of the input.

        The block has at most 8 MiB, but at least one line if there is one.

        Args:
            kinds: The kinds; a missing row has no line.
            after: The position of the last line of the block before; 0 for the first block.
            size: Most lines of the block.

        Returns:
            The lines, each with a line end, and the position of the last one; 0 if there are none.
        """
        lines: list[bytes] = []
        last = bytes_ = 0
        wanted = [kind in kinds for kind in Kind]
        for position, file, start, length in self._run(_BLOCK, (after, *wanted, size)):
            bytes_ += length
            if lines and bytes_ > _MOST_BYTES:
                break
            lines.append(self._line(file, start, length))
            last = position
        lines.append(b"")
        return b"\n".join(lines), last

    def lines(self, page: Iterable[Chosen]) -> list[bytes]:
        """Return the lines of chosen results, in their order. A missing row has no line."""
        return [self._line(file, start, length) for *_, file, start, length in page if length]

    def _line(self, file: int, start: int, length: int) -> bytes:
        opened = self._open.get(file)
        if opened is None:
            if len(self._open) >= _OPEN:
                self._open.pop(next(iter(self._open))).close()
            with reported("read", str(self.files[file])):
                opened = self._open[file] = self.files[file].open("rb", buffering=0)
        line = _read_at(opened, start, length)
        if len(line) < length:
            raise LocalFileError(
                f"cannot read {str(self.files[file])!r}: the file has become shorter"
            )
        return line

    # --- SQLite -----------------------------------------------------------------------------------

    def _run(self, query: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        with self._reported():
            return self._connection.execute(query, values)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Raise errors of SQLite, such as a full disk, as errors that name the file."""
        try:
            yield
        except sqlite3.OperationalError as exc:
            raise LocalFileError(f"cannot write {str(self._path)!r}: {exc}") from exc

    def _one(self, query: str) -> int:
        return int(self._run(query).fetchone()[0])

    def _many(self, query: str, rows: Iterable[tuple[object, ...]]) -> None:
        self._run("BEGIN")
        with self._reported():
            self._connection.executemany(query, rows)
        self._run("COMMIT")


def _read_at(file: IO[bytes], start: int, length: int) -> bytes:
    """Read a part of an unbuffered file, in one system call where there is such a call."""
    if sys.platform == "win32":
        file.seek(start)
        return file.read(length)
    return os.pread(file.fileno(), length, start)
