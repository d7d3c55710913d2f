"""From requests to results: check, submit, follow, fetch, send again, put together.

Each step finds what an earlier call left on the server, so that all of it can be repeated after a
crash at any moment, and by two processes at once.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import attrs

from fireworks_batch.aborting import Abort
from fireworks_batch.batch_result import BatchResult, write_lines
from fireworks_batch.collecting import Collector, Ended, run_report
from fireworks_batch.concurrency import all_of
from fireworks_batch.datasets import Datasets
from fireworks_batch.errors import ConfigurationError, FireworksBatchError, NotFoundError
from fireworks_batch.generations import OnPrevious
from fireworks_batch.input_files import ShardFile
from fireworks_batch.input_rows import RowRules
from fireworks_batch.jobs import Jobs
from fireworks_batch.limits import Limits
from fireworks_batch.models import BatchInferenceJob
from fireworks_batch.names import JobRef
from fireworks_batch.output_files import check_targets
from fireworks_batch.preparing import Prepared, Requests, in_thread
from fireworks_batch.result_index import Kind
from fireworks_batch.run_input import look_at, workspace
from fireworks_batch.run_models import RunStage, input_error
from fireworks_batch.run_options import RunOptions
from fireworks_batch.run_progress import ProgressBoard
from fireworks_batch.run_template import JobTemplate
from fireworks_batch.states import JobState
from fireworks_batch.submission import AdoptedJob, Submission, SubmittedJob
from fireworks_batch.submitting import JobTerms, ShardSubmission, Submitter

__all__ = ["Run", "Services"]

_log = logging.getLogger("fireworks_batch.run")
_T = TypeVar("_T")

_UNFINISHED: Final = frozenset({JobState.EXPIRED, JobState.EARLY_STOPPED})
_BAD: Final = frozenset({JobState.FAILED, JobState.CANCELLED})
_ANY_NUMBER: Final = 1_000_000
_NO_LIMITS: Final = Limits(max_bytes=2**62)


@attrs.frozen(kw_only=True)
class Services:
    """What a run needs of a client."""

    jobs: Jobs
    """The account's jobs."""

    datasets: Datasets
    """Its datasets."""

    resolve: Callable[[], Awaitable[str]]
    """Returns the account's id."""

    base_url: str
    """The API that it lives on."""

    wall: Callable[[], datetime]
    """Returns the time of day, aware, in UTC."""


@attrs.define
class _Shard:
    """One job's worth of rows, from its file to its end."""

    number: int
    file: ShardFile
    first: int
    """The position of its first row among all rows, from 1."""
    sent: ShardSubmission | None = None
    ends: list[Ended] = attrs.field(factory=list)

    @property
    def last(self) -> int:
        """The position of its last row."""
        return self.first + self.file.rows - 1

    @property
    def state(self) -> JobState:
        """How its newest job ended."""
        return self.ends[-1].job.state


class Run:
    """A run, or one of its halves; for one use."""

    def __init__(self, services: Services, options: RunOptions) -> None:
        """Take what it needs, and what was asked for."""
        self._services = services
        self._options = options
        self._board = ProgressBoard(options.on_progress)
        self._abort = Abort(services.jobs.delete if options.on_abort == "delete" else None)
        self._submitter = Submitter(
            services.jobs, services.datasets, wall=services.wall, on_job=self._abort.begin
        )
        self._in_flight = asyncio.Semaphore(options.max_in_flight or _ANY_NUMBER)
        self._sent: list[ShardSubmission] = []

    # --- The three ways to use it -----------------------------------------------------------------

    async def submit(self, requests: Requests, template: JobTemplate) -> Submission:
        """Make sure that the server has all jobs: see `BatchClient.submit`."""
        async with self._abort.guard(), workspace() as directory:
            prepared = await self._prepare(requests, template.rules, directory)
            terms = await self._terms(template)
            sent = await all_of(
                partial(self._submitter.submit, file, terms) for file in prepared.shards
            )
        return self._submission(template, terms, sent, skipped=prepared.problem_count)

    async def collect(self, submission: Submission, requests: Requests | None) -> BatchResult:
        """Follow the jobs of a submission, and put results together: see `BatchClient.collect`."""
        check_targets([self._options.output, self._options.errors], requests)
        async with workspace(keep=True) as directory:
            collector = Collector(self._services.jobs, self._services.datasets, directory)
            if requests is not None:
                await collector.expect(await self._same_rows(requests, submission, directory))
            self._board.enter(RunStage.RUNNING, rows=submission.rows, jobs=len(submission.jobs))
            ends = await all_of(
                partial(self._follow, collector, submitted, None, shard=number)
                for number, submitted in enumerate(submission.jobs)
            )
            return await self._finish(collector, directory, submission, _flat(ends))

    async def run(self, requests: Requests, template: JobTemplate) -> BatchResult:
        """Do all of it: see `BatchClient.run`."""
        check_targets([self._options.output, self._options.errors], requests)
        async with self._abort.guard(), workspace(keep=True) as directory:
            prepared = await self._prepare(requests, template.rules, directory)
            terms = await self._terms(template)
            collector = Collector(self._services.jobs, self._services.datasets, directory)
            shards = _shards(prepared)
            self._board.enter(RunStage.RUNNING, rows=prepared.rows, jobs=len(shards))
            await all_of(partial(self._run_shard, collector, shard, terms) for shard in shards)
            await collector.expect([shard.file.path for shard in shards])
            again = await self._send_again(collector, shards, terms, directory)
            submission = self._submission(
                template,
                terms,
                [shard.sent for shard in shards if shard.sent is not None],
                skipped=prepared.problem_count,
            )
            ends = _flat(shard.ends for shard in (*shards, *again.shards))
            return await self._finish(collector, directory, submission, ends, again.rows)

    # --- Before anything is sent ------------------------------------------------------------------

    async def _prepare(self, requests: Requests, rules: RowRules, directory: Path) -> Prepared:
        self._board.enter(RunStage.CHECKING)
        prepared = await look_at(requests, rules, self._options, directory)
        count = prepared.problem_count
        if not prepared.rows or (count and not self._options.skips_bad_rows):
            raise input_error(prepared.problems, count)
        for problem in prepared.problems:
            _log.warning("left out: %s", problem)
        return prepared

    async def _terms(self, template: JobTemplate) -> JobTerms:
        return JobTerms(
            key=template.key(await self._services.resolve()),
            arguments=template.arguments,
            on_previous=OnPrevious(self._options.on_previous),
            limits=self._options.limits,
        )

    async def _same_rows(
        self, requests: Requests, submission: Submission, directory: Path
    ) -> list[Path]:
        """Return files of the rows that were submitted, from the requests they were made of."""
        options = attrs.evolve(self._options, on_bad_row="skip", limits=_NO_LIMITS)
        prepared = await look_at(requests, RowRules(), options, directory)
        if prepared.rows != submission.rows:
            raise ConfigurationError(
                f"the requests have {prepared.rows} good rows, and the submission has "
                f"{submission.rows}: they are not those that were submitted"
            )
        return [shard.path for shard in prepared.shards]

    def _submission(
        self,
        template: JobTemplate,
        terms: JobTerms,
        sent: Sequence[ShardSubmission],
        *,
        skipped: int,
    ) -> Submission:
        return Submission(
            account_id=terms.key.account_id,
            base_url=self._services.base_url,
            name=template.name,
            jobs=tuple(each.submitted for each in sent),
            adopted=_adopted(self._sent or sent),
            skipped=skipped,
        )

    # --- One job ----------------------------------------------------------------------------------

    async def _run_shard(
        self, collector: Collector, shard: _Shard, terms: JobTerms, attempt: int = 0
    ) -> None:
        async with self._in_flight:
            shard.sent = await self._submitter.submit(shard.file, terms)
            self._sent.append(shard.sent)
            shard.ends = await self._follow(
                collector, shard.sent.submitted, shard.sent.job, shard=shard.number, attempt=attempt
            )

    async def _follow(
        self,
        collector: Collector,
        submitted: SubmittedJob,
        job: BatchInferenceJob | None,
        *,
        shard: int,
        attempt: int = 0,
    ) -> list[Ended]:
        """Wait for a job's end, and fetch what it has done."""
        ref = JobRef(await self._services.resolve(), submitted.job_id, self._services.base_url)
        if job is None or not job.is_terminal:
            job = await self._wait(ref)
        self._abort.end(job.id)
        self._board.see(job)
        return await collector.fetch(submitted, job, shard=shard, attempt=attempt)

    async def _wait(self, ref: JobRef) -> BatchInferenceJob:
        wait = self._services.jobs.wait_until_terminal(
            ref, timeout=self._options.timeout, poll=self._options.poll
        )
        async for snapshot in wait:
            self._board.see(snapshot.job)
            if snapshot.job.is_terminal:
                return snapshot.job
        raise ConfigurationError(f"{ref} did not end")

    # --- Rows that are sent again -----------------------------------------------------------------

    async def _send_again(
        self, collector: Collector, shards: Sequence[_Shard], terms: JobTerms, directory: Path
    ) -> "_Again":
        again = _Again()
        for attempt in range(1, self._options.retry_rows + 1):
            await collector.choose()
            works = [
                partial(self._run_shard, collector, shard, terms, attempt)
                async for shard, terms, attempt in self._rest(
                    collector, shards, again, terms, directory, attempt
                )
            ]
            if not works:
                break
            await all_of(works)
        return again

    async def _rest(
        self,
        collector: Collector,
        shards: Sequence[_Shard],
        again: "_Again",
        terms: JobTerms,
        directory: Path,
        attempt: int,
    ) -> AsyncIterator[tuple[_Shard, JobTerms, int]]:
        """Yield what has to run once more: the rest of unfinished jobs, and a job of other rows."""
        whole = [shard for shard in shards if shard.state == JobState.COMPLETED]
        new = attrs.evolve(terms, on_previous=OnPrevious.NEW)
        for shard in shards:
            if shard.state in _UNFINISHED:
                left = await collector.count(Kind.MISSING, shard.first, shard.last)
                if left:
                    again.rows += left
                    self._board.enter(RunStage.RETRYING, rows=left, jobs=1)
                    yield shard, new, 0
        path = directory / f"again-{attempt}.jsonl"
        rows = await collector.select(
            [(shard.file.path, shard.first, shard.last) for shard in whole], path
        )
        if rows and all(shard.state not in _BAD for shard in again.shards):
            options = attrs.evolve(self._options, on_bad_row="raise")
            part = directory / f"again-{attempt}"
            await in_thread(part.mkdir)
            prepared = await look_at(path, RowRules(), options, part)
            again.rows += rows
            self._board.enter(RunStage.RETRYING, rows=rows, jobs=len(prepared.shards))
            key = attrs.evolve(terms.key, attempt=attempt)
            for shard in _shards(prepared, first=len(shards) + len(again.shards)):
                again.shards.append(shard)
                yield shard, attrs.evolve(terms, key=key), attempt

    # --- At the end -------------------------------------------------------------------------------

    async def _finish(
        self,
        collector: Collector,
        directory: Path,
        submission: Submission,
        ends: Sequence[Ended],
        retried: int = 0,
    ) -> BatchResult:
        self._board.enter(RunStage.COLLECTING)
        tally = await collector.choose()
        index, options = collector.index, self._options
        if options.output is not None:
            await write_lines(index, options.output, Kind.OK)
        if options.errors is not None:
            await write_lines(index, options.errors, Kind.FAILED, Kind.RETRYABLE)
        datasets = [end.submitted.dataset_id for end in ends]
        report = run_report(
            tally,
            ends,
            rows=submission.rows,
            index=index,
            adopted=submission.adopted,
            skipped=submission.skipped,
            retried=retried,
            not_cleaned=await self._clean(datasets) if options.cleanup == "datasets" else (),
        )
        _log.info("%s: %s", submission, report)
        return BatchResult(index, directory, submission, report)

    async def _clean(self, datasets: Iterable[str]) -> list[str]:
        """Delete the inputs, now that all results are here; what cannot be deleted is named."""
        left: list[str] = []

        async def delete(dataset_id: str) -> None:
            try:
                await self._services.datasets.delete(dataset_id)
            except NotFoundError:
                return
            except FireworksBatchError as error:
                _log.warning("dataset %r could not be deleted: %s", dataset_id, error)
                left.append(dataset_id)

        await all_of(partial(delete, dataset_id) for dataset_id in dict.fromkeys(datasets))
        return left


@attrs.define
class _Again:
    """What was sent again."""

    rows: int = 0
    shards: list[_Shard] = attrs.field(factory=list)


def _shards(prepared: Prepared, first: int = 0) -> list[_Shard]:
    position, shards = 1, []
    for number, file in enumerate(prepared.shards, first):
        shards.append(_Shard(number, file, position))
        position += file.rows
    return shards


def _adopted(sent: Iterable[ShardSubmission]) -> tuple[AdoptedJob, ...]:
    found = {each.adopted.job_id: each.adopted for each in sent if each.adopted is not None}
    return tuple(found.values())


def _flat(lists: Iterable[list[_T]]) -> list[_T]:
    return [item for each in lists for item in each]
