"""From requests to results: check, search, submit, wait, collect, put together.

Each step finds what an earlier call left on the server. So a run can be repeated after a crash at
any moment, and two processes can do it at once. `chain` decides what happens to each shard.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs

from fireworks_batch.connection.api import Api, if_there
from fireworks_batch.connection.repeats import StepRepeats
from fireworks_batch.datasets.endpoints import Datasets
from fireworks_batch.files.part_file import check_targets
from fireworks_batch.files.threads import all_of, off_loop
from fireworks_batch.files.workspace import Workspace, workspace
from fireworks_batch.jobs.endpoints import Jobs
from fireworks_batch.models.errors import (
    APIStatusError,
    ConfigurationError,
    FireworksBatchError,
    JobGoneError,
    LocalFileError,
    NotFoundError,
)
from fireworks_batch.models.job import BatchInferenceJob
from fireworks_batch.models.names import JobRef
from fireworks_batch.models.states import JobState
from fireworks_batch.results.index import BAD, Kind, ResultIndex
from fireworks_batch.results.report import AdoptedJob
from fireworks_batch.runs.abort import Abort
from fireworks_batch.runs.chain import (
    MOST_ATTEMPTS,
    Attempt,
    Chain,
    Collect,
    Create,
    OnPrevious,
    Stop,
    Wait,
    Why,
    next_step,
)
from fireworks_batch.runs.collect import Collector, Patience
from fireworks_batch.runs.outcome import run_report
from fireworks_batch.runs.progress import ProgressBoard, RunStage, input_error
from fireworks_batch.runs.request_rows import RowRules
from fireworks_batch.runs.requests import Prepared, Requests, check_report, prepare_requests
from fireworks_batch.runs.result import BatchResult, first_rows, keep_answers, write_lines
from fireworks_batch.runs.search import Search
from fireworks_batch.runs.shards import Shard, ShardFile, check_same_rows
from fireworks_batch.runs.spec import JobTemplate, RunOptions, attempt_id, input_id
from fireworks_batch.runs.submission import Submission, SubmittedShard
from fireworks_batch.runs.submit import Submitter
from fireworks_batch.wire.answers import is_refusal

__all__ = ["Run"]


_T = TypeVar("_T")


_log = logging.getLogger("fireworks_batch.run")


_ANY_NUMBER: Final = 1_000_000


class Run:
    """A run, or its submission or collection alone. An object is good for one use."""

    def __init__(self, api: Api, jobs: Jobs, datasets: Datasets, options: RunOptions) -> None:
        """Begin.

        Args:
            api: The connection to the API.
            jobs: The account's jobs.
            datasets: The account's datasets.
            options: What the caller asked for.
        """
        self._api = api
        self._jobs = jobs
        self._datasets = datasets
        self._options = options
        self._board = ProgressBoard(options.on_progress, api.clock)
        self._abort = Abort(jobs.delete if options.on_abort == "delete" else None)
        self._policy = options.poll or api.poll
        self._in_flight = asyncio.Semaphore(options.max_in_flight or _ANY_NUMBER)
        self._gone: list[FireworksBatchError] = []
        self._adopted: list[AdoptedJob] = []
        self._retried = 0
        self._reports_refusals = False
        self._refused: list[str] = []

    # --- The three ways to use it -----------------------------------------------------------------

    async def submit(self, requests: Requests, template: JobTemplate) -> Submission:
        """Make sure that the server has jobs for all rows; see `BatchClient.submit`."""
        async with self._abort.guard(), workspace() as space, self._collector(space) as collector:
            prepared = await self._prepare(requests, template, space.path, collector.index)
            shards = await self._shards(prepared, template)
            submitter = self._submitter(template)
            await self._search(shards, template.name)
            await all_of(
                partial(self._submit_shard, collector, submitter, shard) for shard in shards
            )
            await off_loop(collector.index.close)
        return self._submission(template, shards, skipped=prepared.problem_count)

    async def collect(self, submission: Submission, requests: Requests | None) -> BatchResult[Any]:
        """Wait for the jobs of a submission, and collect results; see `BatchClient.collect`."""
        await self._check_targets(requests)
        self._check_refs(submission)
        await self._account_id()
        self._check_refs(submission)
        # Only a response that did not fit runs again: without `decode=`, the last one may fit.
        newest_counts = self._options.decode is None and bool(submission.response_format)
        async with (
            workspace(keep=True) as space,
            self._collector(space, newest_counts=newest_counts) as collector,
        ):
            files: Sequence[ShardFile | None] = [None] * len(submission.shards)
            if requests is not None:
                files = await self._same_rows(requests, submission, space.path, collector.index)
            shards = _chained(submission.shards, files, Chain(may_create=False))
            self._board.enter(RunStage.RUNNING, rows=submission.rows, jobs=len(shards))
            await self._search(shards, "", asks_each=True)
            if not any(shard.chain.attempts for shard in shards):
                # The jobs are gone, or this is the wrong account: the server's 404 says so.
                await self._jobs.get(attempt_id(shards[0].base, 0))
            await all_of(partial(self._follow, collector, None, shard) for shard in shards)
            self._check_not_all_gone(shards)
            return await self._finish(collector, space, submission, shards)

    async def run(self, requests: Requests, template: JobTemplate) -> BatchResult[Any]:
        """Submit, wait and collect; see `BatchClient.run`."""
        self._reports_refusals = True
        await self._check_targets(requests)
        async with (
            self._abort.guard(),
            workspace(keep=True) as space,
            self._collector(space) as collector,
        ):
            prepared = await self._prepare(requests, template, space.path, collector.index)
            shards = await self._shards(prepared, template)
            submitter = self._submitter(template)
            self._board.enter(RunStage.RUNNING, rows=prepared.rows, jobs=len(shards))
            await self._search(shards, template.name)
            await all_of(partial(self._follow, collector, submitter, shard) for shard in shards)
            self._check_not_all_gone(shards)
            submission = self._submission(template, shards, skipped=prepared.problem_count)
            return await self._finish(collector, space, submission, shards)

    def _check_refs(self, submission: Submission) -> None:
        """Refuse jobs of another host or account. The account may not be known yet."""
        for ref in submission.refs:
            self._jobs.ref(ref)

    async def _account_id(self) -> str:
        return await self._persist("looking up the account", self._api.account_id)

    async def _persist(self, what: str, step: Callable[[], Awaitable[_T]]) -> _T:
        """Repeat a step until it succeeds, is refused, or has failed for ``failure_budget``."""
        repeats = StepRepeats(
            what,
            self._policy,
            request_timeout=self._api.request_timeout,
            clock=self._api.clock,
            sleep_until=self._api.session.sleep_until,
        )
        return await repeats.run(step)

    async def _grace(self) -> None:
        """Sleep for ``not_found_grace`` seconds: a job that still answers 404 does not exist."""
        await self._api.session.sleep_until(self._api.clock() + self._policy.not_found_grace)

    async def _check_targets(self, requests: Requests | None) -> None:
        targets = [self._options.output, self._options.errors]
        await off_loop(check_targets, targets, requests)

    @asynccontextmanager
    async def _collector(
        self, space: Workspace, *, newest_counts: bool = False
    ) -> AsyncIterator[Collector]:
        """Make a collector, whose index is closed if the block fails."""
        make = partial(ResultIndex, space.path / "index.sqlite", newest_counts=newest_counts)
        index = await off_loop(make, undo=ResultIndex.close)
        patience = Patience(
            clock=self._api.clock,
            sleep_until=self._api.session.sleep_until,
            grace=self._policy.not_found_grace,
            interval=self._policy.initial_interval,
        )
        try:
            yield Collector(
                self._jobs,
                self._datasets,
                index,
                space.path,
                persist=self._persist,
                patience=patience,
                decode=self._options.decode,
            )
        except BaseException:
            await off_loop(index.close)
            raise

    def _submitter(self, template: JobTemplate) -> Submitter:
        return Submitter(
            api=self._api,
            jobs=self._jobs,
            datasets=self._datasets,
            limits=self._options.limits,
            arguments=template.arguments,
            grace=self._grace,
            abort=self._abort,
            board=self._board,
        )

    # --- Before anything is sent ------------------------------------------------------------------

    async def _prepare(
        self, requests: Requests, template: JobTemplate, directory: Path, index: ResultIndex
    ) -> Prepared:
        self._board.enter(RunStage.CHECKING)
        before_submit = self._options.before_submit
        prepared = await prepare_requests(
            requests,
            template.rules,
            self._options,
            directory,
            index=index,
            defaults=None if before_submit is None else template.defaults,
        )
        count = prepared.problem_count
        if not prepared.rows or (count and not self._options.skips_bad_rows):
            raise input_error(prepared.problems, count)
        for problem in prepared.problems:
            _log.warning("left out: %s", problem)
        if count > len(prepared.problems):
            _log.warning("left out: %d bad rows in all", count)
        if before_submit is not None:
            before_submit(check_report(prepared, template.model))
        return prepared

    async def _shards(self, prepared: Prepared, template: JobTemplate) -> list[Shard]:
        key = template.key(await self._account_id())
        submitted = [
            SubmittedShard(
                base_id=key.base(file.sha256),
                rows=file.rows,
                sha256=file.sha256,
                first_line=file.first_line,
                last_line=file.last_line,
            )
            for file in prepared.shards
        ]
        chain = Chain(
            on_previous=OnPrevious(self._options.on_previous),
            retry_rows=self._options.retry_rows,
        )
        return _chained(submitted, prepared.shards, chain)

    async def _same_rows(
        self, requests: Requests, submission: Submission, directory: Path, index: ResultIndex
    ) -> Sequence[ShardFile]:
        """Return files of the rows that were submitted, made anew from the requests."""
        # The same requests make the same shards if they are checked and split as before.
        options = attrs.evolve(self._options, on_bad_row="skip", limits=submission.limits)
        rules = RowRules(
            model=submission.model,
            has_system_prompt=submission.has_system_prompt,
            response_format=submission.response_format,
        )
        prepared = await prepare_requests(requests, rules, options, directory, index=index)
        check_same_rows(prepared.shards, submission)
        return prepared.shards

    def _submission(
        self, template: JobTemplate, shards: Sequence[Shard], *, skipped: int
    ) -> Submission:
        return Submission(
            account_id=self._api.account.id or "",
            base_url=self._api.base_url,
            name=template.name,
            model=template.model,
            has_system_prompt=template.rules.has_system_prompt,
            response_format=template.response_format,
            limits=self._options.limits,
            shards=tuple(
                attrs.evolve(shard.submitted, newest=max(shard.chain.attempts, default=0))
                for shard in shards
            ),
            adopted=tuple(self._adopted),
            skipped=skipped,
        )

    async def _search(self, shards: Sequence[Shard], name: str, *, asks_each: bool = False) -> None:
        """Find the jobs of all shards, and warn of jobs that had ended before this call."""
        await Search(self._jobs, self._persist, name=name).run(shards, asks_each=asks_each)
        for shard in shards:
            self._board.add(max(0, len(shard.attempts) - 1))
            for attempt in shard.attempts:
                if attempt.job.is_terminal:
                    self._note_adopted(attempt.job)
                    self._board.see(attempt.job)
                else:
                    self._abort.begin(attempt.job.id, is_made=False)
                    self._board.begin(attempt.job.id)

    def _note_adopted(self, job: BatchInferenceJob) -> None:
        adopted = AdoptedJob(job_id=job.id, state=job.state, age=_age(job, self._api.wall()))
        self._adopted.append(adopted)
        may_help = not job.is_success and self._options.on_previous == OnPrevious.ADOPT
        _log.warning(
            "job %r had ended before this call (%s, %s): adopted, not run again; for another run "
            "of the same rows use another name=%s",
            job.id,
            job.state,
            "at an unknown time" if adopted.age is None else f"{adopted.age:.0f} s ago",
            ", or on_previous='new'" if may_help else "",
            extra={"fireworks_job": job.name, "fireworks_state": str(job.state)},
        )

    # --- One shard --------------------------------------------------------------------------------

    async def _submit_shard(self, collector: Collector, submitter: Submitter, shard: Shard) -> None:
        """Take steps until the newest attempt of a shard exists."""
        may_follow = self._options.on_previous == OnPrevious.NEW or self._options.retry_rows
        async with self._in_flight:
            while (newest := shard.chain.newest) is None or (may_follow and newest.job.is_terminal):
                if not await self._step(collector, submitter, shard):
                    return

    async def _follow(
        self, collector: Collector, submitter: Submitter | None, shard: Shard
    ) -> None:
        """Take steps until nothing more is to be done about a shard."""
        async with self._in_flight:
            has_ended = False
            while await self._step(collector, submitter, shard):
                ended = any(each.job.is_terminal for each in shard.attempts)
                if ended and not has_ended:
                    has_ended = True
                    self._board.end_first()

    async def _step(self, collector: Collector, submitter: Submitter | None, shard: Shard) -> bool:
        """Do the next step, and return whether another step may follow."""
        for number in shard.open_gaps():
            await collector.read_gap(shard, number)
        match next_step(shard.chain):
            case Wait(number):
                await self._wait_for(shard, shard.chain.attempts[number])
            case Collect(number):
                attempt = await collector.read(shard, shard.chain.attempts[number])
                shard.put(attempt)
                if shard.chain.gives_up(attempt):
                    _log.warning(
                        "the output of job %r does not exist any more: %d rows that succeeded by "
                        "its counters are lost, and run again where needed (on_previous='new')",
                        attempt.job.id,
                        attempt.counted,
                    )
            case Create() as step if submitter is not None:
                return await self._create(collector, submitter, shard, step)
            case Stop(Why.TOO_MANY):
                raise ConfigurationError(
                    f"the rows of shard {shard.base!r} have {MOST_ATTEMPTS} jobs already: "
                    "use another name= to run them again"
                )
            case _:
                return False
        return True

    async def _create(
        self, collector: Collector, submitter: Submitter, shard: Shard, step: Create
    ) -> bool:
        """Create an attempt, and return whether another step may follow.

        If the server refuses a later attempt, the run goes on with the results that came.
        """
        is_again = bool(shard.chain.attempts)
        if is_again and self._refused:
            return False
        try:
            file = await collector.select(shard, step.number, step.rows)
            if file is None:
                return False
            if is_again:
                self._board.retry(file.rows)
            create = partial(submitter.create, shard, step.number, file)
            is_made = await self._persist("submitting a job", create)
        except (APIStatusError, ConfigurationError, LocalFileError) as error:
            is_final = not isinstance(error, APIStatusError) or is_refusal(error)
            if not (is_again and is_final and self._reports_refusals):
                raise
            self._refuse(error)
            return False
        if is_made and is_again:
            self._retried += file.rows
        return True

    def _refuse(self, error: FireworksBatchError) -> None:
        """Take note that the remaining rows are not sent again. The report has the reason."""
        if str(error) not in self._refused:
            self._refused.append(str(error))
        _log.warning("rows that failed are not sent again: %s", error)

    async def _wait_for(self, shard: Shard, attempt: Attempt) -> None:
        """Wait for the end of an attempt."""
        job = attempt.job
        ref = JobRef(await self._account_id(), job.id, self._api.base_url)
        options, on_failed_poll = self._options, partial(self._board.add_failed_polls, job.id)
        self._board.begin(job.id)
        wait = self._jobs._wait(  # noqa: SLF001 - our own
            ref, options.timeout, options.poll, on_failed_poll=on_failed_poll
        )
        is_gone = False
        try:
            async for snapshot in wait:
                self._board.add_snapshot(snapshot)
                job = snapshot.job
        except (JobGoneError, NotFoundError) as error:
            is_gone = True
            is_ours = self._abort.has_made(job.id)
            self._abort.end(job.id)
            self._board.forget(job.id)
            if wait.last_snapshot is None and not is_ours:
                _log.warning("job %r does not exist any more: it counts as never created", job.id)
                shard.withdraw(attempt.number)
                return
            _log.warning(
                "job %r does not exist any more, and the other jobs are collected: %s",
                job.id,
                error,
            )
            self._gone.append(error)
            job = attrs.evolve(job, state=JobState.DELETED)
        self._abort.end(job.id)
        vanished = is_gone or job.state == JobState.DELETED
        shard.put(attrs.evolve(attempt, job=job, has_vanished=vanished))

    def _check_not_all_gone(self, shards: Sequence[Shard]) -> None:
        """Raise if all jobs are gone: this may be the wrong account."""
        if self._gone and len(self._gone) >= len(shards):
            raise self._gone[0]

    # --- At the end -------------------------------------------------------------------------------

    async def _finish(
        self,
        collector: Collector,
        space: Workspace,
        submission: Submission,
        shards: Sequence[Shard],
    ) -> BatchResult[Any]:
        """Choose the result of each row, and write the report and the files."""
        self._board.enter(RunStage.COLLECTING)
        tally = await collector.choose()
        report = run_report(
            tally,
            shards,
            model=submission.model,
            rows=submission.rows,
            adopted=self._adopted,
            skipped=submission.skipped,
            retried=self._retried,
            not_retried=self._refused,
        )
        first = await off_loop(first_rows, collector.index, self._options.decode)
        if self._options.output is not None:
            if not report.is_complete:
                await keep_answers(collector.index, self._options.output)
            await write_lines(collector.index, self._options.output, Kind.OK)
        if self._options.errors is not None:
            await write_lines(collector.index, self._options.errors, *BAD)
        if self._options.cleanup == "datasets":
            report = attrs.evolve(report, not_cleaned=tuple(await self._clean_up(shards)))
        return BatchResult._made(
            collector.index,
            space,
            submission,
            report,
            decode=self._options.decode,
            first=first,
        )

    async def _clean_up(self, shards: Sequence[Shard]) -> list[str]:
        """Delete input datasets, and return the ids of datasets that could not be deleted.

        A shard whose newest job is not COMPLETED keeps its inputs. Another process may have created
        a further job of these rows.
        """
        datasets: set[str] = set()
        for shard in shards:
            newest = shard.chain.newest
            if newest is not None and newest.job.is_success and not shard.chain.unsettled:
                datasets |= {input_id(shard.base, 0, ""), *shard.uploaded}
                inputs = [each.job.input_dataset_id.rpartition("/")[2] for each in shard.attempts]
                datasets |= {each for each in inputs if each.startswith(f"{shard.base}-")}
        failed: list[str] = []

        async def delete(dataset_id: str) -> None:
            try:
                await if_there(self._datasets.delete(dataset_id))
            except FireworksBatchError as error:
                _log.warning("dataset %r could not be deleted: %s", dataset_id, error)
                failed.append(dataset_id)

        await all_of(partial(delete, dataset_id) for dataset_id in sorted(datasets))
        return failed


def _chained(
    submitted: Sequence[SubmittedShard], files: Sequence[ShardFile | None], chain: Chain
) -> list[Shard]:
    """Return shards without attempts, in the order of their rows."""
    first, shards = 1, []
    for number, (each, file) in enumerate(zip(submitted, files, strict=True)):
        shards.append(Shard(number, each, first, chain, file))
        first += each.rows
    return shards


def _age(job: BatchInferenceJob, now: datetime) -> float | None:
    ended = (job.lifecycle and job.lifecycle.end_time) or job.update_time
    return None if ended is None else max(0.0, (now - ended).total_seconds())
