"""How the jobs of a run come to be on the server, once: looked for, adopted, or made.

Nothing is remembered on this machine. The ids say which job and which dataset belong to which
rows, so that the same call after a crash, or at the same time in another process, finds them.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol

import attrs

from fireworks_batch.connection.api import Api, if_there
from fireworks_batch.datasets.endpoints import Datasets
from fireworks_batch.datasets.upload import Upload, UploadOptions
from fireworks_batch.files.threads import off_loop
from fireworks_batch.jobs.endpoints import Jobs
from fireworks_batch.models.dataset import Limits
from fireworks_batch.models.errors import (
    APIStatusError,
    BadRequestError,
    ConfigurationError,
    FireworksBatchError,
    JobConflictError,
    JobGoneError,
    NotFoundError,
    ResponseDecodeError,
)
from fireworks_batch.models.job import BatchInferenceJob
from fireworks_batch.results.report import AdoptedJob
from fireworks_batch.runs.generations import (
    MOST_GENERATIONS,
    Adopt,
    AwaitDeletion,
    Create,
    Found,
    LookOn,
    OnPrevious,
    Standing,
    Trail,
    decide,
    runs_all,
    standing,
)
from fireworks_batch.runs.shards import ShardFile, ShardSubmission
from fireworks_batch.runs.spec import RunKey, generation
from fireworks_batch.runs.submission import SubmittedJob

__all__ = ["JobTerms", "OpenRest", "Submitter"]


_log = logging.getLogger("fireworks_batch.run")


_UPLOADS = 4


@attrs.frozen(kw_only=True)
class JobTerms:
    """What all jobs of a run have in common."""

    key: RunKey
    """All that their ids are made of, but the content."""

    arguments: Mapping[str, Any]
    """What `Jobs.create` is given, besides ids and input."""

    on_previous: OnPrevious
    """What becomes of jobs that ended badly before."""

    limits: Limits
    """From which size on a file goes to storage."""


class OpenRest(Protocol):
    """Opens the rows of a job that have no response yet."""

    def __call__(
        self, shard: ShardFile, before: SubmittedJob, last: BatchInferenceJob, limits: Limits
    ) -> AbstractAsyncContextManager[ShardFile | None]:
        """Return a file of them that is there for the time of the block; None if there are none.

        Args:
            shard: All rows of the job.
            before: The jobs that may have answered them.
            last: The newest of those.
            limits: What one job takes.
        """
        ...


class OnJob(Protocol):
    """Is told of a job by its id."""

    def __call__(self, job_id: str, *, is_there: bool) -> None:
        """Take note of it."""


class Submitter:
    """Submits files of rows, any number of them at a time."""

    def __init__(
        self,
        api: Api,
        jobs: Jobs,
        datasets: Datasets,
        rest: OpenRest,
        *,
        pause: Callable[[], Awaitable[object]],
        on_job: OnJob,
        on_refusal: Callable[[str], None],
    ) -> None:
        """Take what it needs.

        Args:
            api: Where uploads go.
            jobs: The account's jobs.
            datasets: The account's datasets.
            rest: Opens the rows that jobs before have not answered.
            pause: Sleeps for the time after which what is still not found is not there.
            on_job: Told of each job that is about to be created, or is there.
            on_refusal: Called with the id of one that was not created after all.
        """
        self._api = api
        self._jobs = jobs
        self._datasets = datasets
        self._rest = rest
        self._pause = pause
        self._on_job = on_job
        self._on_refusal = on_refusal
        self._uploads = asyncio.Semaphore(_UPLOADS)
        # Each has an index and the results of jobs on disk, as long as it is uploaded.
        self._rests = asyncio.Semaphore(_UPLOADS)

    async def submit(self, shard: ShardFile, terms: JobTerms) -> ShardSubmission:
        """Make sure that the server has a job for these rows.

        Args:
            shard: The rows.
            terms: What the job is to be like.

        Raises:
            FireworksBatchError: What `Jobs` and `Datasets` raise.
        """
        base = terms.key.base(shard.sha256)
        number, trail = 0, Trail()
        while number <= MOST_GENERATIONS:
            number, found = await self._look(base, number)
            match decide(number, found, trail, terms.on_previous):
                case Adopt(chosen):
                    return self._adopt(chosen, _submitted(chosen.job, base, shard, trail))
                case Create() as step:
                    try:
                        return await self._make(step, base, shard, terms, trail)
                    except (BadRequestError, NotFoundError, JobConflictError) as error:
                        if not await self._is_made(step, base, error):
                            trail = _without_continuing(step, trail, error)
                case AwaitDeletion(leaving):
                    await self._await_deletion(leaving.job)
                case LookOn(number):
                    trail = trail if found is None else trail.add(found)
        raise ConfigurationError(
            f"the jobs {base}-g0 to -g{number - 1} all ended badly: use another name="
        )

    # --- Looking ----------------------------------------------------------------------------------

    async def _look(self, base: str, number: int) -> tuple[int, Found | None]:
        """Look at a generation; if there is none, at the next one: somebody may delete a job.

        Returns:
            The generation that counts, and what was found; a free one if both are.
        """
        found = await self._look_at(base, number)
        if found is None and (later := await self._look_at(base, number + 1)) is not None:
            number, found = number + 1, later
        if found is not None and found.has_lost_rows:
            # Its rows would be paid for once more: nobody says how soon an output is to be seen.
            await self._pause()
            found = await self._look_at(base, number)
        return number, found

    async def _look_at(self, base: str, number: int) -> Found | None:
        looked = await if_there(self._get(generation(base, number)))
        if looked is None:
            return None
        job, error = looked
        has_output = job.may_have_results and await self._exists(job.output_dataset_id)
        found = Found(number, job, standing(job, has_output=has_output), has_output)
        if error is not None and found.has_lost_rows:
            raise error  # the output's name may be what cannot be read
        return found

    async def _get(self, job_id: str) -> tuple[BatchInferenceJob, ResponseDecodeError | None]:
        """Fetch a job; as with a look at it, name and state are enough."""
        try:
            return await self._jobs.get(job_id), None
        except ResponseDecodeError as error:
            if error.partial is None:
                raise
            _log.warning("%s; the rest was read, these are at defaults", error)
            return error.partial, error

    async def _exists(self, dataset: str) -> bool:
        return await if_there(self._datasets.get(dataset)) is not None

    async def _await_deletion(self, job: BatchInferenceJob) -> None:
        _log.info("job %r is being deleted: its id is free afterwards", job.id)
        try:
            await self._jobs.wait_until_terminal(job)
        except (JobGoneError, NotFoundError):
            return

    # --- Adopting ---------------------------------------------------------------------------------

    def _adopt(
        self, found: Found, submitted: SubmittedJob, *, has_rest: bool = True
    ) -> ShardSubmission:
        job = found.job
        if not job.is_terminal:
            self._on_job(job.id, is_there=True)
            _log.info("job %r is there and %s: adopted", job.id, job.state)
            return ShardSubmission(submitted=submitted, job=job)
        adopted = AdoptedJob(job_id=job.id, state=job.state, age=_age(job, self._api.wall()))
        _log.warning(
            "job %r had ended before this call (%s, %s): adopted, not run again; for another run "
            "of the same rows use another name=%s",
            job.id,
            job.state,
            "at an unknown time" if adopted.age is None else f"{adopted.age:.0f} s ago",
            ", or on_previous='new'"
            if has_rest and found.standing is not Standing.COMPLETED
            else "",
            extra={"fireworks_job": job.name, "fireworks_state": str(job.state)},
        )
        return ShardSubmission(submitted=submitted, job=job, adopted=adopted)

    # --- Creating ---------------------------------------------------------------------------------

    async def _make(
        self, step: Create, base: str, shard: ShardFile, terms: JobTerms, trail: Trail
    ) -> ShardSubmission:
        """Create a job of all rows, or of those that are left."""
        job_id, last = generation(base, step.generation), step.rest_after
        source: dict[str, Any]
        if last is not None:
            before = _submitted(last.job, base, shard, trail, is_rest=True)
            opened = self._rest(shard, before, last.job, terms.limits)
            async with self._rests, opened as rest:
                if rest is None:
                    return self._adopt(last, before, has_rest=False)
                _log.info("job %r runs %d of %d rows: the rest", job_id, rest.rows, shard.rows)
                # Another content, so another dataset: the id says what is in it.
                dataset_id = _dataset_id(terms.key.base(rest.sha256))
                source = {"input_dataset": await self._upload(rest, dataset_id, terms)}
        elif step.continued_from is not None:
            source = {"continued_from": step.continued_from}
        else:
            source = {"input_dataset": await self._upload(shard, _dataset_id(base), terms)}
        job = await self._create(job_id, {**terms.arguments, **source})
        return ShardSubmission(submitted=_submitted(job, base, shard, trail), job=job)

    async def _create(self, job_id: str, arguments: Mapping[str, Any]) -> BatchInferenceJob:
        self._on_job(job_id, is_there=False)
        try:
            job = await self._jobs.create(**arguments, job_id=job_id)
        except APIStatusError as error:
            if error.status < 500 and not error.lost_before:
                self._on_refusal(job_id)
            raise
        except JobConflictError:
            self._on_refusal(job_id)
            raise
        self._on_job(job_id, is_there=True)
        return job

    async def _is_made(self, step: Create, base: str, error: FireworksBatchError) -> bool:
        """Whether somebody else has made a job of the same rows meanwhile.

        He may have run them to their end, and deleted their input; or have seen other results of
        the jobs before, and made it of another rest.
        """
        if isinstance(error, JobConflictError) and not step.generation:
            return False  # the first one has the same input, whoever makes it
        return await self._look_at(base, step.generation) is not None

    async def _upload(self, shard: ShardFile, dataset_id: str, run: JobTerms) -> str:
        async with self._uploads:
            await off_loop(shard.check_unchanged)
            # The id says what the content is, so nothing else may become READY under it, not even
            # if this process is killed in the middle.
            options = UploadOptions(
                dataset_id=dataset_id,
                reuse=True,
                limits=run.limits,
                on_progress=None,
                sha256=shard.sha256,
            )
            await Upload(self._api, options).run(shard.path)
        return dataset_id


def _without_continuing(step: Create, trail: Trail, error: FireworksBatchError) -> Trail:
    """Return the trail by which the rest is found without the server's help, if that was refused.

    The input of a job may be gone, or a job like that may not be continued: nobody says which can.

    Raises:
        FireworksBatchError: The refusal, if it is about anything else.
    """
    if step.continued_from is None or isinstance(error, JobConflictError):
        raise error
    _log.warning("job %r cannot be continued: %s", step.continued_from.id, error)
    return attrs.evolve(trail, is_refused=True)


def _dataset_id(base: str) -> str:
    """Return the id of the input; it is the same for all generations of the job."""
    return generation(base, 0)


def _submitted(
    job: BatchInferenceJob, base: str, shard: ShardFile, trail: Trail, *, is_rest: bool = False
) -> SubmittedJob:
    """Say which jobs have what there is of these rows.

    Args:
        job: The newest one.
        base: Its id, without the generation.
        shard: The rows.
        trail: The jobs before.
        is_rest: Whether it counts as one that runs what those before have left, whatever it says.
    """
    dataset_id = _dataset_id(base)
    is_rest = is_rest or not runs_all(job, dataset_id)
    earlier = trail.may_have_rows if is_rest else trail.with_rows
    return SubmittedJob(
        job_id=job.id,
        dataset_id=dataset_id,
        rows=shard.rows,
        bytes=shard.bytes,
        sha256=shard.sha256,
        first_line=shard.first_line,
        last_line=shard.last_line,
        earlier=tuple(each.id for each in earlier if each.id != job.id),
    )


def _age(job: BatchInferenceJob, now: datetime) -> float | None:
    ended = (job.lifecycle and job.lifecycle.end_time) or job.update_time
    return None if ended is None else max(0.0, (now - ended).total_seconds())
