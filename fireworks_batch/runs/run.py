"""From requests to results: check, submit, follow, fetch, send again, put together.

Each step finds what an earlier call left on the server, so that all of it can be repeated after a
crash at any moment, and by two processes at once.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import attrs

from fireworks_batch.connection.api import Api, if_there
from fireworks_batch.connection.repeats import StepRepeats
from fireworks_batch.datasets.endpoints import Datasets
from fireworks_batch.files.part_file import check_targets
from fireworks_batch.files.threads import all_of, off_loop
from fireworks_batch.jobs.endpoints import Jobs
from fireworks_batch.models.errors import (
    APIStatusError,
    ClientStateError,
    ConfigurationError,
    FireworksBatchError,
    JobGoneError,
    LocalFileError,
    NotFoundError,
)
from fireworks_batch.models.job import BatchInferenceJob
from fireworks_batch.models.names import JobRef
from fireworks_batch.models.snapshot import JobSnapshot
from fireworks_batch.models.states import JobState
from fireworks_batch.results.index import Kind, ResultIndex
from fireworks_batch.results.report import AdoptedJob
from fireworks_batch.runs.abort import Abort
from fireworks_batch.runs.collect import Collector, inputs_of, run_report
from fireworks_batch.runs.generations import OnPrevious
from fireworks_batch.runs.progress import ProgressBoard, RunStage, input_error
from fireworks_batch.runs.request_rows import RowRules
from fireworks_batch.runs.requests import Prepared, Requests, look_at, workspace
from fireworks_batch.runs.rest import Resending, Work, open_rest
from fireworks_batch.runs.result import BatchResult, write_lines
from fireworks_batch.runs.shards import (
    Ended,
    Shard,
    ShardFile,
    ShardSubmission,
    check_same_rows,
    shards_of,
)
from fireworks_batch.runs.spec import JobTemplate, RunOptions
from fireworks_batch.runs.submission import Submission, SubmittedJob
from fireworks_batch.runs.submit import JobTerms, Submitter
from fireworks_batch.wire.answers import is_refusal

__all__ = ["Run"]


_T = TypeVar("_T")


_log = logging.getLogger("fireworks_batch.run")


_ANY_NUMBER: Final = 1_000_000


class Run:
    """A run, or one of its halves; for one use."""

    def __init__(self, api: Api, jobs: Jobs, datasets: Datasets, options: RunOptions) -> None:
        """Take what it works with, and what was asked for."""
        self._api = api
        self._jobs = jobs
        self._datasets = datasets
        self._options = options
        self._board = ProgressBoard(options.on_progress)
        self._abort = Abort(jobs.delete if options.on_abort == "delete" else None)
        self._submitter = Submitter(
            api,
            jobs,
            datasets,
            partial(open_rest, self._collector),
            pause=self._grace,
            on_job=self._begin,
            on_refusal=self._forget,
        )
        self._policy = options.poll or api.poll
        self._in_flight = asyncio.Semaphore(options.max_in_flight or _ANY_NUMBER)
        self._sent: list[ShardSubmission] = []
        self._gone: list[FireworksBatchError] = []

    # --- The three ways to use it -----------------------------------------------------------------

    async def submit(self, requests: Requests, template: JobTemplate) -> Submission:
        """Make sure that the server has all jobs: see `BatchClient.submit`."""
        async with self._abort.guard(), workspace() as directory:
            prepared = await self._prepare(requests, template.rules, directory)
            terms = self._terms(template, await self._api.account_id())
            sent = await all_of(
                partial(self._submitter.submit, file, terms) for file in prepared.shards
            )
        return self._submission(template, terms, sent, skipped=prepared.problem_count)

    async def collect(self, submission: Submission, requests: Requests | None) -> BatchResult:
        """Follow the jobs of a submission, and put results together: see `BatchClient.collect`."""
        await self._check_targets(requests)
        self._check_refs(submission)
        await self._account_id()
        self._check_refs(submission)
        async with workspace(keep=True) as directory, self._collector(directory) as collector:
            if requests is not None:
                await collector.expect(await self._same_rows(requests, submission, directory))
            self._board.enter(RunStage.RUNNING, rows=submission.rows, jobs=len(submission.jobs))
            ends = await all_of(
                partial(self._follow, collector, submitted, None, shard=number)
                for number, submitted in enumerate(submission.jobs)
            )
            self._check_not_all_gone(len(submission.jobs))
            return await self._finish(collector, directory, submission, _flat(ends))

    async def run(self, requests: Requests, template: JobTemplate) -> BatchResult:
        """Do all of it: see `BatchClient.run`."""
        await self._check_targets(requests)
        async with (
            self._abort.guard(),
            workspace(keep=True) as directory,
            self._collector(directory) as collector,
        ):
            prepared = await self._prepare(requests, template.rules, directory)
            # Before the jobs run: in the hours of a run somebody may write the file anew.
            await collector.expect(prepared.shards)
            terms = self._terms(template, await self._account_id())
            shards = shards_of(prepared.shards)
            self._board.enter(RunStage.RUNNING, rows=prepared.rows, jobs=len(shards))
            await all_of(partial(self._run_shard, collector, shard, terms) for shard in shards)
            self._check_not_all_gone(len(shards))
            again = Resending(collector, self._options, directory, shards)
            await self._send_again(collector, again, terms)
            submission = self._submission(
                template,
                terms,
                [shard.sent for shard in shards if shard.sent is not None],
                skipped=prepared.problem_count,
            )
            ends = _flat(shard.ends for shard in (*shards, *again.shards))
            return await self._finish(collector, directory, submission, ends, again)

    def _check_refs(self, submission: Submission) -> None:
        """Refuse jobs of another host, or account; that may not be known yet."""
        for ref in submission.refs:
            self._jobs.ref(ref)

    async def _account_id(self) -> str:
        return await self._persist("looking up the account", self._api.account_id)

    async def _persist(self, what: str, step: Callable[[], Awaitable[_T]]) -> _T:
        """Do a step until it succeeds, is refused, or has failed for the budget's time."""
        repeats = StepRepeats(
            what,
            self._policy,
            clock=self._api.clock,
            sleep_until=self._api.session.sleep_until,
        )
        return await repeats.run(step)

    async def _grace(self) -> None:
        """Sleep until what is still not found is not there."""
        await self._api.session.sleep_until(self._api.clock() + self._policy.not_found_grace)

    async def _check_targets(self, requests: Requests | None) -> None:
        targets = [self._options.output, self._options.errors]
        await off_loop(check_targets, targets, requests)

    @asynccontextmanager
    async def _collector(self, directory: Path) -> AsyncIterator[Collector]:
        """Make a collector, whose index is closed if the block fails."""
        path = directory / "index.sqlite"
        index = await off_loop(ResultIndex, path, undo=ResultIndex.close)
        try:
            yield Collector(
                self._jobs,
                self._datasets,
                index,
                directory,
                pause=self._grace,
            )
        except BaseException:
            await off_loop(index.close)
            raise

    # --- Before anything is sent ------------------------------------------------------------------

    async def _prepare(self, requests: Requests, rules: RowRules, directory: Path) -> Prepared:
        self._board.enter(RunStage.CHECKING)
        prepared = await look_at(requests, rules, self._options, directory)
        count = prepared.problem_count
        if not prepared.rows or (count and not self._options.skips_bad_rows):
            raise input_error(prepared.problems, count)
        for problem in prepared.problems:
            _log.warning("left out: %s", problem)
        if count > len(prepared.problems):
            _log.warning("left out: %d bad rows in all", count)
        return prepared

    def _terms(self, template: JobTemplate, account_id: str) -> JobTerms:
        return JobTerms(
            key=template.key(account_id),
            arguments=template.arguments,
            on_previous=OnPrevious(self._options.on_previous),
            limits=self._options.limits,
        )

    async def _same_rows(
        self, requests: Requests, submission: Submission, directory: Path
    ) -> Sequence[ShardFile]:
        """Return files of the rows that were submitted, from the requests they were made of."""
        # By what they were checked and split by then, the same rows make the same inputs of jobs.
        options = attrs.evolve(self._options, on_bad_row="skip", limits=submission.limits)
        prepared = await look_at(requests, submission.rules, options, directory)
        check_same_rows(prepared.shards, submission)
        return prepared.shards

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
            base_url=self._api.base_url,
            name=template.name,
            model=template.model,
            has_system_prompt=template.rules.has_system_prompt,
            limits=self._options.limits,
            jobs=tuple(each.submitted for each in sent),
            adopted=_adopted(self._sent or sent),
            skipped=skipped,
        )

    # --- One job ----------------------------------------------------------------------------------

    def _begin(self, job_id: str, *, is_there: bool) -> None:
        self._abort.begin(job_id, is_there=is_there)
        self._board.begin(job_id)

    def _forget(self, job_id: str) -> None:
        self._abort.end(job_id)
        self._board.forget(job_id)

    async def _run_again(self, collector: Collector, work: Work, again: Resending) -> None:
        """Run rows once more; that the server takes no more is no reason to lose what came."""
        try:
            await self._run_shard(collector, work.shard, work.terms)
        except (APIStatusError, ConfigurationError, LocalFileError) as error:
            # What a wait raises is about a job that is there. Where the server does not continue
            # one, its rows are read once more, and their file may be another by then.
            is_about_file = not isinstance(error, APIStatusError)
            if work.shard.is_under_way or not (is_about_file or is_refusal(error)):
                raise
            again.refuse(work, error)

    async def _run_shard(self, collector: Collector, shard: Shard, terms: JobTerms) -> None:
        async with self._in_flight:
            shard.is_under_way = False
            sent = shard.sent = await self._persist(
                "submitting a job", partial(self._submitter.submit, shard.file, terms)
            )
            shard.is_under_way = True
            self._sent.append(sent)
            shard.ends = await self._follow(
                collector, sent.submitted, sent.job, shard=shard.number, attempt=shard.attempt
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
        ref = JobRef(await self._account_id(), submitted.job_id, self._api.base_url)
        if job is None or not job.is_terminal:
            self._board.begin(ref.job_id)
            job = await self._wait(ref)
        self._abort.end(job.id)
        self._board.see(job)
        fetch = partial(collector.fetch, submitted, job, shard=shard, attempt=attempt)
        return await self._persist(f"fetching the results of job {job.id!r}", fetch)

    async def _wait(self, ref: JobRef) -> BatchInferenceJob:
        options, on_failed_poll = self._options, partial(self._board.lose, ref.job_id)
        wait = self._jobs._wait(  # noqa: SLF001 - our own
            ref, options.timeout, options.poll, on_failed_poll=on_failed_poll
        )
        try:
            async for snapshot in wait:
                self._board.look(snapshot)
                if snapshot.job.is_terminal:
                    return snapshot.job
        except (JobGoneError, NotFoundError) as error:
            return self._gone_job(ref, wait.last_snapshot, error)
        raise ClientStateError(f"the wait for {ref} ended without an end")

    def _gone_job(
        self, ref: JobRef, seen: JobSnapshot | None, error: FireworksBatchError
    ) -> BatchInferenceJob:
        """Return a job that somebody has deleted, as it was seen last: the others go on."""
        _log.warning("job %r is gone, and the others are collected: %s", ref.job_id, error)
        self._gone.append(error)
        last = seen.job if seen else BatchInferenceJob(name=str(ref), state=JobState.DELETED)
        return attrs.evolve(last, state=JobState.DELETED)

    def _check_not_all_gone(self, jobs: int) -> None:
        """Raise if there is no job left: they may have been looked for in the wrong place."""
        if len(self._gone) == jobs:
            raise self._gone[0]

    async def _send_again(self, collector: Collector, again: Resending, terms: JobTerms) -> None:
        ways: tuple[Callable[[int], Awaitable[list[Work]]], ...] = (
            lambda _: again.continued(terms),
            partial(again.anew, terms),
        )
        for way in ways:
            for attempt in range(1, self._options.retry_rows + 1):
                before = again.rows
                works = await way(attempt)
                if not works:
                    break
                self._board.enter(RunStage.RETRYING, rows=again.rows - before, jobs=len(works))
                await all_of(partial(self._run_again, collector, work, again) for work in works)
                if again.refused:
                    return

    # --- At the end -------------------------------------------------------------------------------

    async def _finish(
        self,
        collector: Collector,
        directory: Path,
        submission: Submission,
        ends: Sequence[Ended],
        again: Resending | None = None,
    ) -> BatchResult:
        self._board.enter(RunStage.COLLECTING)
        tally = await collector.choose()
        index, options = collector.index, self._options
        if options.output is not None:
            await write_lines(index, options.output, Kind.OK)
        if options.errors is not None:
            await write_lines(index, options.errors, Kind.FAILED, Kind.RETRYABLE)
        report = run_report(
            tally,
            ends,
            rows=submission.rows,
            adopted=submission.adopted,
            skipped=submission.skipped,
            retried=again.rows if again else 0,
            not_retried=again.refused if again else (),
            not_cleaned=await self._clean(ends) if options.cleanup == "datasets" else (),
        )
        _log.info("%s: %s", submission, report)
        return BatchResult._made(index, directory, submission, report)

    async def _clean(self, ends: Sequence[Ended]) -> list[str]:
        """Delete the inputs, now that all results are here; what cannot be deleted is named."""
        # Of other rows a further job may run already, which another process has made.
        done = {end.submitted.dataset_id for end in ends if end.job.is_success and end.has_rows}
        datasets = inputs_of(end for end in ends if end.submitted.dataset_id in done)
        left: list[str] = []

        async def delete(dataset_id: str) -> None:
            try:
                await if_there(self._datasets.delete(dataset_id))
            except FireworksBatchError as error:
                _log.warning("dataset %r could not be deleted: %s", dataset_id, error)
                left.append(dataset_id)

        await all_of(partial(delete, dataset_id) for dataset_id in sorted(datasets))
        return left


def _adopted(sent: Iterable[ShardSubmission]) -> tuple[AdoptedJob, ...]:
    found = {each.adopted.job_id: each.adopted for each in sent if each.adopted is not None}
    return tuple(found.values())


def _flat(lists: Iterable[list[_T]]) -> list[_T]:
    return [item for each in lists for item in each]
