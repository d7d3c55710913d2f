"""How the results of a run come together: read outputs, index and count their rows, select rows."""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import attrs
import orjson

from fireworks_batch.connection.api import if_there
from fireworks_batch.datasets.endpoints import Datasets
from fireworks_batch.files.lines import open_lines, read_blocks
from fireworks_batch.files.threads import off_loop, reported
from fireworks_batch.jobs.endpoints import Jobs
from fireworks_batch.models.errors import (
    BadRequestError,
    ConfigurationError,
    ConflictError,
    PermissionDeniedError,
)
from fireworks_batch.results.decoding import Decoder
from fireworks_batch.results.index import UNANSWERED, Kind, ResultIndex, Tally
from fireworks_batch.results.reading import is_error_file
from fireworks_batch.results.rows import ResultRow, read_row
from fireworks_batch.runs.chain import Attempt, Output, Rows
from fireworks_batch.runs.search import Persist, get_job
from fireworks_batch.runs.shards import Shard, ShardFile, file_stamp
from fireworks_batch.runs.spec import input_id, output_id

__all__ = ["Collector"]


_log = logging.getLogger("fireworks_batch.run")


# The number of a job in the index is the attempt number times this, plus the number of the shard.
# So the results of older attempts of a row come first. No run has so many shards.
_LEVEL: Final = 1_000_000


_KINDS: Final[Mapping[Rows, tuple[Kind, ...]]] = {
    Rows.UNANSWERED: UNANSWERED,
    Rows.RETRYABLE: (Kind.RETRYABLE, Kind.MISSING),
}


@attrs.frozen
class Patience:
    """How long an output is waited for."""

    clock: Callable[[], float]
    """Returns the monotonic time in seconds."""

    sleep_until: Callable[[float], Awaitable[object]]
    """Sleeps until a moment of the monotonic clock."""

    grace: float
    """Seconds for which an output is asked for until it counts as late or gone."""

    interval: float
    """Seconds between two requests for the output."""


class Collector:
    """Reads outputs into a directory, and makes their index."""

    def __init__(
        self,
        jobs: Jobs,
        datasets: Datasets,
        index: ResultIndex,
        directory: Path,
        *,
        persist: Persist,
        patience: Patience,
        decode: Decoder | None,
    ) -> None:
        """Begin without results.

        Args:
            jobs: The account's jobs.
            datasets: The account's datasets.
            index: An index, with the ids of the rows if the ids are known.
            directory: An existing directory for the results. It must stay as long as results are
                read.
            persist: Repeats a step that fails, for a limited time.
            patience: How long an output is waited for.
            decode: Makes the output of a response; None if rows have no output.
        """
        self.index = index
        """Where the result of each row stands."""
        self._jobs = jobs
        self._datasets = datasets
        self._directory = directory
        self._persist = persist
        self._patience = patience
        self._read_line = _read if decode is None else partial(_read_and_decode, decode)
        self._decode = decode
        self._lock = asyncio.Lock()
        self._downloads = 0

    # --- Outputs ----------------------------------------------------------------------------------

    async def read(self, shard: Shard, attempt: Attempt) -> Attempt:
        """Read the output of an attempt that has ended; wait for an output that is late.

        Args:
            shard: The shard.
            attempt: The attempt.

        Returns:
            The attempt, with what is known of its output.
        """
        patience = self._patience
        deadline = patience.clock() + (0 if attempt.has_vanished else patience.grace)
        while True:
            what = f"fetching the results of job {attempt.job.id!r}"
            asked_at = patience.clock()
            seen = await self._persist(what, partial(self._fetch, shard, attempt))
            if seen.output is Output.READ or attempt.output is not Output.READ:
                attempt = seen
            if attempt.has_all_rows or asked_at >= deadline:
                return attempt
            await patience.sleep_until(min(deadline, patience.clock() + patience.interval))
            attempt = await self._persist(
                "polling a job that has ended", partial(self._again, attempt)
            )

    async def _again(self, attempt: Attempt) -> Attempt:
        """Fetch a job once more after its end: its counters may lag behind, or be null so far."""
        job = await get_job(self._jobs, attempt.job.id)
        if job is None or job.state != attempt.job.state:
            return attempt
        return attrs.evolve(attempt, job=job)

    async def read_gap(self, shard: Shard, number: int) -> None:
        """Read the output of a job that is gone, if the output is still there.

        Args:
            shard: The shard.
            number: The number of the attempt.
        """
        fetch = partial(self._paths, output_id(shard.base, number))
        paths, _, problem = await self._persist("looking for an output", fetch)
        shard.gaps.add(number)
        if paths is not None:
            await self._add(_key(shard, number), paths)
        _log.info(
            "job %s-%d does not exist any more; its output: %s",
            shard.base,
            number,
            problem or "read",
        )

    async def _fetch(self, shard: Shard, attempt: Attempt) -> Attempt:
        """Download and index the output of an attempt once, and return what is known of it."""
        name = attempt.job.output_dataset_id or output_id(shard.base, attempt.number)
        paths, output, problem = await self._paths(name)
        if paths is None:
            return attrs.evolve(attempt, output=output, problem=problem)
        answered, resulted, unreadable = await self._add(_key(shard, attempt.number), paths)
        seen = attrs.evolve(
            attempt,
            output=output,
            problem="",
            has_results_file=any(not is_error_file(path) for path in paths),
            has_errors_file=any(is_error_file(path) for path in paths),
            answered=answered,
            resulted=resulted,
            unreadable=unreadable,
        )
        if attempt.number and not seen.has_all_rows:
            # The counters of this job may include the rows of earlier jobs.
            return attrs.evolve(seen, rows=await self._input_rows(shard, attempt))
        return seen

    async def _paths(self, name: str) -> tuple[Sequence[Path] | None, Output, str]:
        """Download the files of an output.

        Returns:
            The files (None if they cannot be had), what is known of the output, and the problem.
        """
        self._downloads += 1
        directory = self._directory / f"output-{self._downloads}"
        try:
            dataset = await if_there(self._datasets.get(name))
            if dataset is None:
                return None, Output.GONE, "its output is gone"
            if not dataset.is_ready:
                return None, Output.LATE, f"its output is {dataset.state}"
            paths = await if_there(self._datasets.download(name, directory))
        except (BadRequestError, PermissionDeniedError, ConflictError) as error:
            return None, Output.LATE, f"its output is refused: {error}"
        if paths is None:
            return None, Output.LATE, "its output has no files yet"
        return paths, Output.READ, ""

    async def _input_rows(self, shard: Shard, attempt: Attempt) -> int:
        """Return the number of rows in the input of an attempt, or an upper bound of it."""
        if attempt.rows < shard.submitted.rows:
            return attempt.rows
        dataset = await if_there(self._datasets.get(attempt.job.input_dataset_id))
        if dataset is not None and dataset.example_count:
            return min(dataset.example_count, attempt.rows)
        return attempt.rows

    # --- The index --------------------------------------------------------------------------------

    async def _add(self, key: int, paths: Sequence[Path]) -> tuple[int, int, int]:
        """Replace the files of a job in the index, and return its counts as `rows_of` does."""
        async with self._lock:
            steps = self.index.add_job(key, paths, self._read_line)
            done = object()
            while await off_loop(lambda: next(steps, done)) is not done:
                pass
            return await off_loop(self.index.rows_of, key)

    async def choose(self) -> Tally:
        """Choose the best result of each row."""
        return await off_loop(self.index.choose, stop=self.index.interrupt)

    # --- Rows to be run again ---------------------------------------------------------------------

    async def select(self, shard: Shard, number: int, rows: Rows) -> ShardFile | None:
        """Return a file of the rows that an attempt is to run; None if there are no such rows.

        Args:
            shard: The shard, with its rows.
            number: The number of the attempt.
            rows: Which rows of the shard.

        Raises:
            ConfigurationError: The local file has changed, and the server has no copy of it.
            LocalFileError: A file cannot be read or written.
        """
        file = shard.file
        if file is None:
            raise ConfigurationError(f"the rows of shard {shard.base!r} are not at hand")
        if not shard.chain.attempts and not shard.gaps:
            return file
        keys = [_key(shard, each) for each in {*shard.chain.attempts, *shard.gaps}]
        kinds = _KINDS[rows]
        if number <= shard.chain.retry_rows and self._decode and self._decode.is_retryable:
            kinds = (*kinds, Kind.INVALID)
        async with self._lock:
            positions = await off_loop(
                lambda: self.index.positions(kinds, jobs=keys, first=shard.first, last=shard.last),
                stop=self.index.interrupt,
            )
        if not positions:
            return None
        try:
            await off_loop(file.check_unchanged)
        except ConfigurationError as error:
            file = await self._sent(shard, error)
        target = self._directory / f"attempt-{shard.number}-{number}.jsonl"
        return await self._copy(file, [each - shard.first for each in positions], target)

    async def _sent(self, shard: Shard, error: ConfigurationError) -> ShardFile:
        """Return the rows that were uploaded for a shard, since the local file has changed.

        Raises:
            ConfigurationError: The server does not have these rows any more.
        """
        name = input_id(shard.base, 0, shard.submitted.sha256)
        directory = self._directory / f"input-{shard.number}"
        download = partial(self._datasets.download, name, directory)

        async def fetch() -> Sequence[Path]:
            return await if_there(download()) or ()

        for path in await self._persist("fetching the rows that were sent", fetch):
            if await off_loop(_digest, path) == shard.submitted.sha256:
                shard.file = attrs.evolve(_known(shard), path=path, stamp=file_stamp(path))
                return shard.file
        raise error

    @staticmethod
    async def _copy(file: ShardFile, numbers: Sequence[int], target: Path) -> ShardFile:
        """Copy some rows of a file.

        Args:
            file: The file.
            numbers: The numbers of the rows, from 0, in ascending order.
            target: The new file.
        """
        copy = _Copy(file, target)
        opened = await off_loop(copy.open, undo=IO.close)
        try:
            steps = copy.run(numbers, opened)
            done = object()
            while await off_loop(lambda: next(steps, done)) is not done:
                pass
        finally:
            await off_loop(opened.close)
        await off_loop(file.check_unchanged)
        return copy.made()


@attrs.define
class _Copy:
    """A copy of some rows of a file; the rows are hashed and counted while they are copied."""

    file: ShardFile
    target: Path
    rows: int = 0
    size: int = 0
    hash: Any = attrs.field(factory=hashlib.sha256)

    def open(self) -> IO[bytes]:
        with reported("write", str(self.target)):
            return self.target.open("wb")

    def run(self, numbers: Sequence[int], opened: IO[bytes]) -> Iterator[None]:
        wanted = iter(numbers)
        next_wanted = next(wanted, None)
        first = 0
        with open_lines(self.file.path) as source:
            for block in read_blocks(source):
                lines = [line.removesuffix(b"\n") for line in block]  # the last one may have none
                chosen: list[bytes] = []
                while next_wanted is not None and next_wanted < first + len(lines):
                    chosen.append(lines[next_wanted - first] + b"\n")
                    next_wanted = next(wanted, None)
                self._write(opened, b"".join(chosen), len(chosen))
                first += len(lines)
                yield
                if next_wanted is None:
                    return

    def _write(self, opened: IO[bytes], data: bytes, rows: int) -> None:
        with reported("write", str(self.target)):
            opened.write(data)
        self.hash.update(data)
        self.rows += rows
        self.size += len(data)

    def made(self) -> ShardFile:
        return attrs.evolve(
            self.file,
            path=self.target,
            rows=self.rows,
            bytes=self.size,
            sha256=self.hash.hexdigest(),
            stamp=file_stamp(self.target),
        )


def _key(shard: Shard, number: int) -> int:
    """Return the number of a job in the index."""
    return number * _LEVEL + shard.number


def _known(shard: Shard) -> ShardFile:
    if shard.file is None:
        raise LookupError(shard.base)
    return shard.file


def _digest(path: Path) -> str:
    with reported("read", str(path)), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(line: bytes) -> tuple[str, Kind] | None:
    """Return the id and the kind of a line of results. Most lines take the short way here."""
    try:
        value = orjson.loads(line)
        custom_id = value["custom_id"]
        if "error" not in value and value["response"]["choices"] and type(custom_id) is str:
            return custom_id, Kind.OK
    except (ValueError, TypeError, KeyError):
        pass
    return _judged(read_row(line))


def _read_and_decode(decode: Decoder, line: bytes) -> tuple[str, Kind] | None:
    """Return the id and the kind of a line of results, whose response has to fit."""
    row = read_row(line)
    found = _judged(row)
    if found is None or not row.ok or decode.decoded(row).ok:
        return found
    return found[0], Kind.INVALID


def _judged(row: ResultRow[None]) -> tuple[str, Kind] | None:
    custom_id = row.custom_id
    if custom_id is None or not _can_be_written(custom_id):
        return None
    if row.ok:
        return custom_id, Kind.OK
    return custom_id, Kind.RETRYABLE if row.is_retryable else Kind.FAILED


def _can_be_written(custom_id: str) -> bool:
    """Whether an id can be written in UTF-8. Other ids were never sent."""
    return custom_id.isascii() or not any("\ud800" <= char <= "\udfff" for char in custom_id)
