"""Which rows of a run are sent again, and how: the rest of a job is continued, or rows sent anew.

What is sent again follows from the results alone. So a run that is repeated after a crash sends
the same rows again, and finds the jobs that it made of them. For that, jobs are continued first, as
often as may be, counted over all calls; small jobs are made once nothing of this can change.
"""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import attrs

from fireworks_batch.files.threads import off_loop
from fireworks_batch.models.dataset import Limits
from fireworks_batch.models.errors import FireworksBatchError
from fireworks_batch.models.job import BatchInferenceJob
from fireworks_batch.models.states import JobState
from fireworks_batch.results.index import UNANSWERED, Kind
from fireworks_batch.runs.collect import Collector, Selection, jobs_gone
from fireworks_batch.runs.generations import UNFINISHED, OnPrevious
from fireworks_batch.runs.request_rows import RowRules
from fireworks_batch.runs.requests import look_at, workspace
from fireworks_batch.runs.shards import Shard, ShardFile, shards_of
from fireworks_batch.runs.spec import RunOptions
from fireworks_batch.runs.submission import SubmittedJob
from fireworks_batch.runs.submit import JobTerms

__all__ = ["Resending", "Work", "open_rest"]


_log = logging.getLogger("fireworks_batch.run")


@attrs.frozen
class Work:
    """Rows that are sent once more."""

    shard: Shard
    """The rows."""

    terms: JobTerms
    """What their job is to be like."""

    rows: int
    """How many of them run again."""


class Resending:
    """Knows what was sent again in a run, and says what is next."""

    def __init__(
        self, collector: Collector, options: RunOptions, directory: Path, shards: Sequence[Shard]
    ) -> None:
        """Take what it needs.

        Args:
            collector: Knows the results.
            options: What the run was asked for.
            directory: Where rows are written to.
            shards: The run's jobs as they were given, all of them ended.
        """
        self.rows: int = 0
        """Rows that were sent again so far."""
        self.shards: list[Shard] = []
        """The small jobs that were made of such rows."""
        self.refused: list[str] = []
        """What the server said where it took no more of them."""
        self._collector = collector
        self._options = options
        self._directory = directory
        self._given = shards

    async def continued(self, terms: JobTerms) -> list[Work]:
        """Return the jobs to be continued whose time was over: only their unfinished rows run.

        Args:
            terms: What the run's jobs are like.
        """
        works: list[Work] = []
        terms = attrs.evolve(terms, on_previous=OnPrevious.NEW)
        shards = [
            shard
            for shard in self._given
            if shard.state in UNFINISHED and shard.generation < self._options.retry_rows
        ]
        if shards:
            await self._collector.choose()
        for shard in shards:
            left = await self._unanswered(shard) if await self._missing(shard) else 0
            self.rows += left
            works += [Work(shard, terms, left)] if left else []
        return works

    async def anew(self, terms: JobTerms, attempt: int) -> list[Work]:
        """Make small jobs of the rows that failed retryably, or that nobody has answered.

        Args:
            terms: What the run's jobs are like.
            attempt: 1 for the first time.

        Returns:
            Nothing if sending rows again would not help.
        """
        tally = await self._collector.choose()
        path = self._directory / f"again-{attempt}.jsonl"
        gone = jobs_gone(tally, (end for shard in self._given for end in shard.ends))
        selections = [
            Selection(shard.file.path, shard.first, shard.last, kinds)
            for shard in self._given
            if (kinds := await self._worth_it(shard, gone)) and await self._is_readable(shard)
        ]
        rows = await self._collector.select(selections, path)
        if not rows:
            return []
        part = self._directory / f"again-{attempt}"
        await off_loop(part.mkdir)
        prepared = await look_at(path, RowRules(), self._options, part)
        first = len(self._given) + len(self.shards)
        shards = shards_of(prepared.shards, first=first, attempt=attempt)
        self.shards += shards
        self.rows += rows
        # The next attempt is what a bad end of this one leads to, also when on_previous="new" finds
        # it again: a second generation would run rows that the next attempt may have run already.
        terms = attrs.evolve(
            terms,
            key=attrs.evolve(terms.key, attempt=attempt),
            on_previous=OnPrevious.ADOPT,
        )
        return [Work(shard, terms, shard.file.rows) for shard in shards]

    def refuse(self, work: Work, error: FireworksBatchError) -> None:
        """Take note that rows are not sent again after all; those that came are not lost by it."""
        self.rows -= work.rows
        if str(error) not in self.refused:
            self.refused.append(str(error))
        _log.warning("%d rows are not sent again: %s", work.rows, error)

    async def _worth_it(self, shard: Shard, gone: set[str]) -> tuple[Kind, ...]:
        """Return the kinds of results that a further try may better, by how the job ended.

        Args:
            shard: The rows.
            gone: Jobs that may have done rows, of which none came.
        """
        lost = [end.job.id for end in shard.ends if end.job.id in gone]
        if shard.state == JobState.COMPLETED and not lost:
            return Kind.RETRYABLE, Kind.MISSING
        if shard.state == JobState.COMPLETED:
            _log.warning(
                "no missing row of job %r is sent again: its output is gone, or not there yet",
                lost[0],
            )
        # The rest of a job is continued, or run with on_previous="new", and with it what failed:
        # sent now, it would be paid for twice. Where there is no rest, it was not the job that
        # failed.
        return () if await self._missing(shard) else (Kind.RETRYABLE,)

    async def _missing(self, shard: Shard) -> int:
        return await self._collector.count(Kind.MISSING, shard.first, shard.last)

    async def _unanswered(self, shard: Shard) -> int:
        counts = [await self._collector.count(kind, shard.first, shard.last) for kind in UNANSWERED]
        return sum(counts)

    async def _is_readable(self, shard: Shard) -> bool:
        """Whether its rows are still what was sent: a file may be written anew in a day."""
        try:
            await off_loop(shard.file.check_unchanged)
        except FireworksBatchError as error:
            _log.warning("no row of it is sent again: %s", error)
            return False
        return True


@asynccontextmanager
async def open_rest(
    collector_in: Callable[[Path], AbstractAsyncContextManager[Collector]],
    shard: ShardFile,
    before: SubmittedJob,
    last: BatchInferenceJob,
    limits: Limits,
) -> AsyncIterator[ShardFile | None]:
    """Fetch what jobs have done, and open the rows without a response: see `OpenRest`.

    Args:
        collector_in: Makes a collector in a directory.
        shard: All rows of the job.
        before: The jobs that may have answered them.
        last: The newest of those.
        limits: What one job takes.
    """
    async with workspace() as directory:
        path = directory / "rest.jsonl"
        async with collector_in(directory) as collector:
            try:
                await collector.expect([shard])
                await collector.fetch(before, last, shard=0, attempt=0)
                await collector.choose()
                selection = Selection(shard.path, 1, shard.rows, UNANSWERED)
                rows = await collector.select([selection], path)
            finally:
                await off_loop(collector.index.close)
        await off_loop(shard.check_unchanged)
        if not rows:
            yield None
            return
        part = directory / "rest"
        await off_loop(part.mkdir)
        prepared = await look_at(path, RowRules(), RunOptions(limits=limits), part)
        (rest,) = prepared.shards
        yield rest
