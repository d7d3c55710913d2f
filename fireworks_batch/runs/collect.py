"""How the results of a run come together: fetched job by job, indexed, counted, written."""

import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Final

import attrs
import orjson

from fireworks_batch.connection.api import if_there
from fireworks_batch.datasets.endpoints import Datasets
from fireworks_batch.files.lines import open_lines, read_blocks
from fireworks_batch.files.threads import off_loop, reported
from fireworks_batch.jobs.endpoints import Jobs
from fireworks_batch.models.job import BatchInferenceJob, JobProgress
from fireworks_batch.results.index import Kind, ResultIndex, Tally
from fireworks_batch.results.report import AdoptedJob, JobReport, RunReport
from fireworks_batch.results.rows import read_row
from fireworks_batch.runs.generations import input_of
from fireworks_batch.runs.request_rows import plain_ids
from fireworks_batch.runs.shards import Ended, ShardFile
from fireworks_batch.runs.submission import SubmittedJob

__all__ = ["Collector", "Selection", "inputs_of", "jobs_gone", "run_report"]


def inputs_of(ends: Iterable[Ended]) -> set[str]:
    """Return the ids of the datasets that jobs, and those that they continue, were made of."""
    ids: set[str] = set()
    for end in ends:
        ids.add(end.submitted.dataset_id)
        # What the server makes for a job that it continues is not ours.
        if not end.is_whole and not end.job.continued_from_job_name:
            ids.add(input_of(end.job))
    return ids


def _job_report(ended: Ended) -> JobReport:
    """Say how a job ended, and which lines of the requests it is about if it ended badly."""
    job, submitted = ended.job, ended.submitted
    reason = ""
    if not job.is_success:
        status = job.status
        said = f"{status.code}: {status.message}" if status and status.message else ""
        reason = f"{said or f'it ended {job.state}'} ({_lines(said, ended)})"
    elif not ended.has_rows:
        reason = "it is COMPLETED, but its output is gone"
    return JobReport(job_id=job.id, state=job.state, rows=submitted.rows, reason=reason)


def _lines(said: str, ended: Ended) -> str:
    """Say where in the requests a job's rows stand, and the one that the server names, if any."""
    submitted = ended.submitted
    if ended.is_retry:
        return f"{submitted.rows} rows that were sent again"
    first, last = submitted.first_line, submitted.last_line
    where = f"lines {first} to {last} of the requests"
    named = re.search(r"\.jsonl:(\d+)", said) if ended.is_whole else None
    if named is None or not 1 <= int(named[1]) <= submitted.rows:
        return where
    # Lines without a row were left out; where there are none, lines can be counted on.
    is_whole = last - first + 1 == submitted.rows
    about = "line" if is_whole else "at or after line"
    # The server's number was off by some lines (seen live).
    return f"{where}; it names {about} {first + int(named[1]) - 1}, or one near it"


def run_report(
    tally: Tally,
    ends: Sequence[Ended],
    *,
    rows: int,
    adopted: Sequence[AdoptedJob],
    skipped: int,
    retried: int,
    not_retried: Sequence[str] = (),
    not_cleaned: Sequence[str] = (),
) -> RunReport:
    """Put the numbers together, and say what does not add up.

    Args:
        tally: What was found.
        ends: How all jobs ended.
        rows: Rows that were sent.
        adopted: Jobs that had ended before.
        skipped: Bad rows that were left out.
        retried: Rows that were sent again.
        not_retried: Why rows could not be sent again.
        not_cleaned: Datasets that could not be deleted.
    """
    missing = max(0, rows - tally.succeeded - tally.failed)
    foreign = tally.foreign + max(0, tally.succeeded + tally.failed - rows)
    counters = [end.job.job_progress or JobProgress() for end in ends]
    return RunReport(
        rows=rows,
        succeeded=tally.succeeded,
        failed=tally.failed,
        missing=missing,
        duplicate=tally.duplicate,
        foreign=foreign,
        unreadable=tally.unreadable,
        skipped=skipped,
        retried=retried,
        input_tokens=sum(each.input_tokens for each in counters),
        output_tokens=sum(each.output_tokens for each in counters),
        cached_tokens=sum(each.cached_input_token_count for each in counters),
        jobs=tuple(map(_job_report, ends)),
        adopted=tuple(adopted),
        not_retried=tuple(not_retried),
        not_cleaned=tuple(not_cleaned),
        remarks=tuple(_remarks(tally, ends, foreign=foreign)),
    )


def _remarks(tally: Tally, ends: Sequence[Ended], *, foreign: int) -> Iterator[str]:
    if tally.duplicate:
        yield f"{tally.duplicate} came more than once"
    if foreign and tally.has_expected:
        yield f"{foreign} were not asked for"
    elif foreign:
        yield (
            f"{foreign} more came than were sent (with the requests at hand, it can be told which "
            "are foreign, and which are missing)"
        )
    if tally.unreadable:
        yield f"{tally.unreadable} lines of results cannot be read"
    for end in ends:
        said, there = _said(end), tally.successes.get(end.number, 0)
        # Its counters may lag behind (they move once a minute), but never run ahead.
        if end.job.is_success and said > there:
            yield f"job {end.job.id!r} counts {said} rows done well, its results have {there}"


def jobs_gone(tally: Tally, ends: Iterable[Ended]) -> set[str]:
    """Return the ids of jobs without any output, or that count successes of which none came."""
    return {
        end.job.id
        for end in ends
        if not end.has_rows or (_said(end) and not tally.successes.get(end.number))
    }


def _said(end: Ended) -> int:
    """Return how many rows a job counts as done well."""
    progress = end.job.job_progress
    return progress.successfully_processed_requests if progress else 0


_log = logging.getLogger("fireworks_batch.run")


# Numbers of jobs grow with their age first, so that among results of a row the older ones come
# first; no run has so many jobs.
_LEVEL: Final = 1_000_000


@attrs.frozen
class Selection:
    """Rows of a file, by what came of them."""

    path: Path
    """The file: good rows only."""

    first: int
    """The position of its first row among all rows, from 1."""

    last: int
    """The position of its last row."""

    kinds: tuple[Kind, ...]
    """The results that are meant."""


class Collector:
    """Fetches results into a directory, and makes their index."""

    def __init__(
        self,
        jobs: Jobs,
        datasets: Datasets,
        index: ResultIndex,
        directory: Path,
        *,
        pause: Callable[[], Awaitable[object]],
    ) -> None:
        """Take what it needs.

        Args:
            jobs: The account's jobs.
            datasets: The account's datasets.
            index: An empty index.
            directory: Where results are put; it is there, and stays as long as they are read.
            pause: Sleeps for the time after which what is still not found is not there.
        """
        self.index = index
        """Where the result of each row stands."""
        self._jobs = jobs
        self._datasets = datasets
        self._directory = directory
        self._pause = pause
        self._fetched: dict[int, tuple[Path, ...]] = {}
        self._numbered: dict[int, str] = {}

    async def fetch(
        self, submitted: SubmittedJob, job: BatchInferenceJob, *, shard: int, attempt: int
    ) -> list[Ended]:
        """Fetch what a job, and those that it continues, have done.

        Args:
            submitted: The job.
            job: As it ended.
            shard: Which of the jobs of a run it is.
            attempt: 0 for the rows as they were given, n for those that were sent again.

        Returns:
            The jobs, the oldest first.
        """
        ends: list[Ended] = []
        for level, job_id in enumerate(submitted.job_ids):
            number = self._number(job_id, (attempt * 1000 + level) * _LEVEL + shard)
            each = job if job_id == submitted.job_id else await self._earlier(job_id)
            if each is None:
                continue
            if number not in self._fetched:
                self._fetched[number] = await self._download(each, number)
            ends.append(
                Ended(
                    submitted=submitted,
                    job=each,
                    number=number,
                    has_rows=bool(self._fetched[number]),
                    is_retry=attempt > 0,
                )
            )
        return ends

    async def _earlier(self, job_id: str) -> BatchInferenceJob | None:
        """Fetch a job that was continued; None if somebody has deleted it since."""
        job = await if_there(self._jobs.get(job_id))
        if job is None:
            _log.warning("job %r is gone, and what it had done with it", job_id)
        return job

    def _number(self, job_id: str, number: int) -> int:
        """Return a job's number; that of the next age if a job has it of which nothing came."""
        while self._numbered.setdefault(number, job_id) != job_id:
            number += _LEVEL
        return number

    async def _download(self, job: BatchInferenceJob, number: int) -> tuple[Path, ...]:
        if not job.may_have_results:
            return ()
        directory = self._directory / f"job-{number}"
        download = partial(self._datasets.download, job.output_dataset_id, directory)
        paths = await if_there(download())
        if paths is None or (_counts_rows(job) and await off_loop(_are_empty, paths)):
            # Rows were paid for, and nobody says how soon after a job's end its output is there.
            await self._pause()
            paths = await if_there(download())
        return paths or ()

    def add(self, number: int, paths: Sequence[Path]) -> None:
        """Add files of results that are here already.

        Args:
            number: The place of their job among all jobs of the run.
            paths: The files.
        """
        self._fetched[number] = tuple(paths)

    # --- The index --------------------------------------------------------------------------------

    async def expect(self, files: Sequence[ShardFile]) -> None:
        """Tell the index which rows there are to be: those that were checked, in their order.

        Raises:
            ConfigurationError: A file is not what was checked.
        """
        try:
            for file in files:
                await self._in_steps(self._expect_file(file.path))
        except (LookupError, TypeError, ValueError):
            await off_loop(_check_unchanged, files)  # a row that was good is none any more
            raise
        await off_loop(_check_unchanged, files)

    def _expect_file(self, path: Path) -> Iterator[None]:
        with open_lines(path) as file:
            for block in read_blocks(file):
                lines = [line for line in block.data.split(b"\n") if line.strip()]
                ids = plain_ids(lines)
                self.index.expect(
                    custom_id or orjson.loads(line)["custom_id"]
                    for custom_id, line in zip(ids, lines, strict=True)
                )
                yield

    async def choose(self) -> Tally:
        """Add to the index what was fetched since the last time, and choose the best of it."""
        for number, paths in sorted(self._fetched.items()):
            for path in paths:
                if path not in self.index.files:
                    await self._in_steps(self.index.add_file(path, _read, job=number))
        return await off_loop(self.index.choose, stop=self.index.interrupt)

    # --- Rows that did not come -------------------------------------------------------------------

    async def count(self, kind: Kind, first: int, last: int) -> int:
        """Return how many rows within positions are of a kind."""
        return await off_loop(self.index.count, kind, first, last)

    async def select(self, selections: Sequence[Selection], target: Path) -> int:
        """Write selected rows into a file, and return how many there are.

        Args:
            selections: Which.
            target: The file to write.
        """
        written: list[int] = []
        with reported("write", str(target)):
            file = await off_loop(lambda: target.open("wb"), undo=lambda opened: opened.close())
            try:
                for selection in selections:
                    await self._in_steps(self._select(selection, file, written))
            finally:
                await off_loop(file.close)
        return sum(written)

    def _select(self, selection: Selection, file: IO[bytes], written: list[int]) -> Iterator[None]:
        wanted = self._positions(selection)
        next_wanted = next(wanted, None)
        if next_wanted is None:
            return
        position = selection.first
        with open_lines(selection.path) as source:
            for block in read_blocks(source):
                lines = block.data.removesuffix(b"\n").split(b"\n")
                end = position + len(lines)
                while next_wanted is not None and next_wanted < end:
                    file.write(lines[next_wanted - position] + b"\n")
                    written.append(1)
                    next_wanted = next(wanted, None)
                position = end
                yield
                if next_wanted is None:
                    return

    def _positions(self, selection: Selection) -> Iterator[int]:
        after, last = selection.first - 1, selection.last
        while page := self.index.page(selection.kinds, after=after, last=last):
            for each in page:
                yield each.position
            after = page[-1].position

    @staticmethod
    async def _in_steps(steps: Iterator[None]) -> None:
        """Do work in a thread, one step at a time."""
        done = object()
        while await off_loop(lambda: next(steps, done)) is not done:
            pass


def _check_unchanged(files: Sequence[ShardFile]) -> None:
    for file in files:
        file.check_unchanged()


def _counts_rows(job: BatchInferenceJob) -> bool:
    return job.job_progress is not None and job.job_progress.total_processed_requests > 0


def _are_empty(paths: Sequence[Path]) -> bool:
    return not any(path.stat().st_size for path in paths)


def _read(line: bytes) -> tuple[str, Kind] | None:
    """Read a line of results; most are plain successes, which need no closer look."""
    try:
        value = orjson.loads(line)
        custom_id = value["custom_id"]
        if "error" not in value and value["response"]["choices"] and type(custom_id) is str:
            return custom_id, Kind.OK
    except (ValueError, TypeError, KeyError):
        pass
    row = read_row(line)
    custom_id = row.custom_id
    if custom_id is None or not _can_be_written(custom_id):
        return None
    if row.ok:
        return custom_id, Kind.OK
    return custom_id, Kind.RETRYABLE if row.is_retryable else Kind.FAILED


def _can_be_written(custom_id: str) -> bool:
    """Whether an id is good UTF-8; one that is not was never sent."""
    return custom_id.isascii() or not any("\ud800" <= char <= "\udfff" for char in custom_id)
