"""The tasks that do the work of jobs when it is due, and put the output into datasets."""

import asyncio
from collections.abc import Iterable, Iterator
from typing import Final

import orjson

from fireworks_batch.emulator.clock import Instant
from fireworks_batch.emulator.datasets.dataset import Dataset
from fireworks_batch.emulator.datasets.store import DatasetStore
from fireworks_batch.emulator.jobs.job import Job
from fireworks_batch.emulator.jobs.responder import Responder, echo
from fireworks_batch.emulator.jobs.rows import InvalidRowError
from fireworks_batch.emulator.jobs.scripts import RowBook
from fireworks_batch.emulator.jobs.store import JobStore
from fireworks_batch.emulator.jobs.work import RowSource, Work
from fireworks_batch.emulator.setting import Setting

MOST_MADE_UP_ROWS: Final = 100_000
"""A job that has more rows by its script has no output: it would take a disk."""


class Workshop:
    """Owns the tasks that process rows, until the emulator stops.

    Args:
        setting: What all parts of the emulator share.

        jobs: The jobs.

        datasets: The datasets, which get the output.

        responder: Answers the rows.
    """

    def __init__(
        self, setting: Setting, jobs: JobStore, datasets: DatasetStore, responder: Responder
    ) -> None:
        self._clock = setting.clock
        self._rules = setting.rules
        self._jobs = jobs
        self._datasets = datasets
        self._responder = responder
        self._tasks: dict[Job, asyncio.Task[None]] = {}

    async def catch_up(self, jobs: Iterable[Job]) -> Instant:
        """Do the work of *jobs* that is due now.

        The work goes on if the caller is cancelled.

        Returns:
            The instant up to which the work is done. Emulated time went on meanwhile.
        """
        now = self._clock.now()
        for job in jobs:
            while job.work is not None and _is_due(job, job.work, now):
                if job not in self._tasks:
                    self._tasks[job] = asyncio.create_task(self._work(job, job.work, now))
                await asyncio.shield(self._tasks[job])
        return now

    async def catch_up_account(self, account_id: str) -> Instant:
        """Do the work of an account's jobs that is due now; return as `catch_up` does."""
        return await self.catch_up(self._jobs.at_work(account_id, self._clock.now()))

    async def catch_up_outputs(self, account_id: str, dataset_id: str | None = None) -> None:
        """Bring all jobs of an account to the present, and make the output of scripted jobs.

        The rows of such an output are made up when a dataset is asked for: most of these jobs are
        only polled.

        Args:
            account_id: The account.

            dataset_id: The output that is asked for; None is all of them.
        """
        now = await self.catch_up_account(account_id)
        for job in list(self._jobs.listed(account_id, now)):
            is_asked_for = dataset_id in {None, job.origin.output_dataset_id.rpartition("/")[2]}
            while is_asked_for and job.owes_output and job.has_ended(now):
                if job not in self._tasks:
                    self._tasks[job] = asyncio.create_task(self._make_up_output(job, now))
                await asyncio.shield(self._tasks[job])

    def is_using(self, dataset: Dataset) -> bool:
        """Whether a job that has not ended reads or writes *dataset*."""
        now = self._clock.now()
        jobs = self._jobs.listed(dataset.account_id, now)
        return any(dataset.name in job.datasets and not job.is_over(now) for job in jobs)

    async def stop(self) -> None:
        """Interrupt all work. The next request about a job continues its work."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def keep_partial_output(self, job: Job) -> None:
        """Write the output of a job that is about to be deleted."""
        work, now = job.work, self._clock.now()
        if work is not None and work.is_scanned and not work.is_finished and job.has_run(now):
            self._finish(job, work, now)

    async def _work(self, job: Job, work: Work, now: Instant) -> None:
        try:
            await self._bring_up(job, work, now)
        finally:
            del self._tasks[job]

    async def _make_up_output(self, job: Job, now: Instant) -> None:
        try:
            rows, files = job.script.rows, self._datasets.bucket.files
            if rows <= MOST_MADE_UP_ROWS and self._has_output(job, now):
                work = Work(
                    RowSource({"input.jsonl": files.store(_made_up_rows(rows))}),
                    declared=rows,
                    job=job.origin.members,
                    rules=self._rules,
                    seed=job.origin.sequence,
                    created=int(self._clock.moment(job.origin.created).timestamp()),
                )
                await work.scan()
                await work.advance(
                    _target(job, work, now),
                    echo,
                    files,
                    failed_rows=job.script.failed_rows,
                    scripts=RowBook(),
                )
                self._finish(job, work, now)
            job.owes_output = False
        finally:
            del self._tasks[job]

    async def _bring_up(self, job: Job, work: Work, now: Instant) -> None:
        files = self._datasets.bucket.files
        try:
            if not work.is_scanned:
                if job.parent is not None:
                    await self.catch_up([job.parent])
                await work.scan()
            await work.advance(
                _target(job, work, now),
                self._responder,
                files,
                failed_rows=job.script.failed_rows,
                scripts=self._jobs.rows,
            )
        except InvalidRowError as error:
            job.fail_validation({"code": "INVALID_ARGUMENT", "message": str(error)}, now)
            job.work = None
        except FileNotFoundError:
            message = "the input dataset was deleted"
            job.end_as("FAILED", {"code": "FAILED_PRECONDITION", "message": message}, now)
            job.work = None
        else:
            self._end(job, work, now)

    def _end(self, job: Job, work: Work, now: Instant) -> None:
        if not job.has_ended(now) or work.is_finished:
            return
        if job.state(now) == "COMPLETED" and self._is_failure(work):
            message = f"{work.counters.failed} of {work.rows} requests failed"
            job.end_as("FAILED", {"code": "INTERNAL", "message": message}, now)
        if self._has_output(job, now):
            self._finish(job, work, now)
        else:
            work.is_finished = True

    def _has_output(self, job: Job, now: Instant) -> bool:
        """Whether a job that has ended has an output dataset."""
        if job.state(now) == "FAILED" and self._rules.failed_job_output == "none":
            return False
        return job.has_run(now) or job.state(now) == "COMPLETED"

    def _is_failure(self, work: Work) -> bool:
        counters, rules = work.counters, self._rules
        if not counters.failed:
            return False
        rule = rules.some_rows_failed if counters.succeeded else rules.all_rows_failed
        return rule == "FAILED"

    def _finish(self, job: Job, work: Work, now: Instant) -> None:
        _, output = job.datasets
        files = work.finish(self._datasets.bucket.files)
        _, account_id, _, dataset_id = output.split("/")
        rule, counters = self._rules.output_example_count, work.counters
        counts = {"succeeded": counters.succeeded, "processed": counters.processed, "zero": 0}
        members: dict[str, object] = {"exampleCount": str(counts[rule])}
        if self._rules.output_source_job == "filled":
            members["sourceJobName"] = job.origin.name
        dataset = Dataset(
            account_id, dataset_id, members, clock=self._clock, created=job.shown_since(now)
        )
        dataset.parent = job.parent_output
        self._datasets.add(dataset)
        script = job.script.output
        visible = job.shown_since(now) + script.not_found
        ready = visible + script.uploading
        dataset.visible = visible
        dataset.late_files = {name: ready + late for name, late in script.late_files.items()}
        self._datasets.fill(dataset, files, now, ready=ready)


def _made_up_rows(rows: int) -> Iterator[bytes]:
    for number in range(rows):
        message = {"role": "user", "content": f"This is the answer to row {number}."}
        row = {"custom_id": f"row-{number}", "body": {"messages": [message]}}
        yield orjson.dumps(row) + b"\n"


def _target(job: Job, work: Work, now: Instant) -> int:
    return int(work.rows * job.processed_share(now) + 1e-6)


def _is_due(job: Job, work: Work, now: Instant) -> bool:
    if work.is_finished or not job.is_validated(now):
        return False
    if job.gone is not None:
        return False
    if not work.is_scanned or work.counters.processed < _target(job, work, now):
        return True
    return job.has_ended(now)
