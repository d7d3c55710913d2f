"""How an attempt is made exactly once: upload its rows, then create its job.

A job that another caller has created in the meantime is adopted.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs

from fireworks_batch.connection.api import Api, if_there
from fireworks_batch.datasets.claim import Measure
from fireworks_batch.datasets.endpoints import Datasets
from fireworks_batch.datasets.upload import Upload, UploadOptions
from fireworks_batch.files.threads import off_loop
from fireworks_batch.jobs.creation import JobCreation
from fireworks_batch.jobs.draft import differences
from fireworks_batch.jobs.endpoints import Jobs
from fireworks_batch.models.dataset import Limits
from fireworks_batch.models.errors import (
    APIStatusError,
    BadRequestError,
    ConflictError,
    JobConflictError,
    NotFoundError,
)
from fireworks_batch.models.job import BatchInferenceJob
from fireworks_batch.models.states import TOMBSTONES
from fireworks_batch.runs.abort import Abort
from fireworks_batch.runs.chain import Output, is_deleted, is_withdrawn
from fireworks_batch.runs.progress import ProgressBoard
from fireworks_batch.runs.search import get_job
from fireworks_batch.runs.shards import Shard, ShardFile
from fireworks_batch.runs.spec import attempt_id, input_id, output_id

__all__ = ["Submitter"]


_log = logging.getLogger("fireworks_batch.run")


_UPLOADS = 4


@attrs.frozen
class Submitter:
    """Creates the attempts of a run."""

    api: Api
    """The connection to the API, for uploads."""

    jobs: Jobs
    """The account's jobs."""

    datasets: Datasets
    """The account's datasets."""

    limits: Limits
    """The limits of a job. A file above ``max_upload_bytes`` is uploaded to a signed URL."""

    arguments: Mapping[str, Any]
    """The arguments of `Jobs.create`, without ids and datasets."""

    grace: Callable[[], Awaitable[object]]
    """Sleeps for ``not_found_grace`` seconds. A job that still answers 404 does not exist."""

    abort: Abort
    """Is told which jobs are created."""

    board: ProgressBoard
    """Is told which jobs are under way."""

    _uploads: asyncio.Semaphore = attrs.field(factory=lambda: asyncio.Semaphore(_UPLOADS))

    async def create(self, shard: Shard, number: int, file: ShardFile) -> bool:
        """Create an attempt, or adopt its job, and add it to its shard.

        There are two cases in which the shard has no such attempt afterwards. The number cannot be
        used if a deleted job had the number, or if its output still exists. And no job is created
        if an earlier attempt has changed meanwhile: then the rules must decide anew.

        Args:
            shard: The shard.
            number: The number of the attempt.
            file: The rows to be run.

        Returns:
            Whether the server has answered that it created the job.

        Raises:
            FireworksBatchError: What `Jobs` and `Datasets` raise.
        """
        dataset_id = input_id(shard.base, number, file.sha256)
        creation = await self.jobs._creation(  # noqa: SLF001 - our own
            job_id=attempt_id(shard.base, number),
            input_dataset=dataset_id,
            output_dataset=output_id(shard.base, number),
            display_name=attempt_id(shard.base, number),
            **self.arguments,
        )
        try:
            await self._upload(file, dataset_id)
        except NotFoundError as error:
            # Another caller may have finished the job, and deleted its input.
            job = await self._there(error, shard, number)
        else:
            shard.uploaded.add(dataset_id)
            if await self._is_outdated(shard, number - 1) or await self._has_come(shard):
                return False
            job = await self._send(creation, shard, number)
        if job is None:
            shard.block(number)
            return False
        if not creation.is_made:
            _log.info("job %r exists and is %s: adopted", job.id, job.state)
        if not job.is_terminal and not is_withdrawn(job):
            self.abort.begin(job.id, is_made=creation.is_made)
            self.board.begin(job.id, is_made=creation.is_made)
        else:
            self.board.see(job)
        shard.take(
            number,
            job,
            is_old=job.state in TOMBSTONES,
            rows=file.rows if creation.is_made or not number else None,
        )
        return creation.is_made

    async def _is_outdated(self, shard: Shard, before: int) -> bool:
        """Whether a job that was being deleted is gone, or back: then the rules decide anew."""
        if before not in shard.leaving:
            return False
        job = await get_job(self.jobs, attempt_id(shard.base, before))
        if job is None:
            shard.free(before)
            return True
        if is_deleted(job):
            # This call saw the job being deleted: it counts as never made, also as a tombstone.
            return False
        shard.take(before, job, is_old=False)
        return True

    async def _has_come(self, shard: Shard) -> bool:
        """Whether an output that was given up is there now: the upload took some time."""
        for attempt in shard.attempts:
            name = attempt.job.output_dataset_id or output_id(shard.base, attempt.number)
            if not shard.chain.gives_up(attempt):
                continue
            if await if_there(self.datasets.get(name)) is not None:
                shard.put(attrs.evolve(attempt, output=Output.UNREAD))
                return True
        return False

    async def _send(
        self, creation: JobCreation, shard: Shard, number: int
    ) -> BatchInferenceJob | None:
        """Create the job, or return the job that has its id; None if the number cannot be used."""
        job_id = creation.ref.job_id
        self.abort.ask(job_id)
        self.board.begin(job_id)
        try:
            job = await creation.run()
        except JobConflictError as error:
            self._forget(job_id)
            return self._adopted(creation, error, is_first=not number)
        except APIStatusError as error:
            if error.status < 500 and not error.lost_before:
                self._forget(job_id)
            if isinstance(error, ConflictError | BadRequestError | NotFoundError):
                return await self._there(error, shard, number)
            raise
        self.abort.end(job_id)
        return job

    def _forget(self, job_id: str) -> None:
        self.abort.end(job_id)
        self.board.forget(job_id)

    @staticmethod
    def _adopted(
        creation: JobCreation, error: JobConflictError, *, is_first: bool
    ) -> BatchInferenceJob | None:
        """Return the existing job with the id; or the job that the server made under another id.

        The input of a later attempt may differ: another caller may have chosen other rows.
        """
        job = error.job
        if job is None:
            raise error
        if creation.is_made:
            _log.warning("%s; the job is adopted", error)
            return job
        if is_withdrawn(job):
            _log.info("job %r is %s: the next attempt number is used", job.id, job.state)
            return None
        if job.state in TOMBSTONES:
            return job  # it has ended badly; the search would have shown it in the same way
        own = {"output_dataset_id", "display_name"} | (set() if is_first else {"input_dataset_id"})
        if any(text.partition(" ")[0] not in own for text in differences(creation.draft, job)):
            raise error
        return job

    async def _there(
        self, error: APIStatusError, shard: Shard, number: int
    ) -> BatchInferenceJob | None:
        """Return the job that made the server refuse; None if the number cannot be used.

        Raises:
            APIStatusError: The refusal, if it has another reason.
        """
        job_id = attempt_id(shard.base, number)
        if isinstance(error, ConflictError):
            # The id is taken, but a young job may not be visible yet.
            await self.grace()
        job = await get_job(self.jobs, job_id)
        if job is not None:
            return None if is_withdrawn(job) else job
        if not isinstance(error, ConflictError):
            output = output_id(shard.base, number)
            is_there = await if_there(self.datasets.get(output)) is not None
            if isinstance(error, NotFoundError) or not is_there:
                raise error
        _log.info("job id %r cannot be used, and the next attempt number is: %s", job_id, error)
        return None

    async def _upload(self, file: ShardFile, dataset_id: str) -> None:
        async with self._uploads:
            await off_loop(file.check_unchanged)
            # The id derives from the content. So no other content may become READY under the id,
            # not even if this process is killed during the upload.
            options = UploadOptions(
                dataset_id=dataset_id,
                reuse=True,
                limits=self.limits,
                on_progress=None,
                measure=Measure(file.bytes, file.rows, file.sha256),
            )
            await Upload(self.api, options).run(file.path)
