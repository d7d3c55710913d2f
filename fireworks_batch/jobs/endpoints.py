"""Batch inference jobs: the endpoints, and the waits for them."""

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Self

from fireworks_batch.connection.api import Api, Listing, if_there
from fireworks_batch.jobs.creation import JobCreation, body_of
from fireworks_batch.jobs.draft import draft_job
from fireworks_batch.jobs.fleet import JobFleet, JobOutcomes
from fireworks_batch.jobs.tracker import WaitTerms
from fireworks_batch.jobs.wait import JobWait
from fireworks_batch.jobs.watch import Watch
from fireworks_batch.models.dataset import DatasetLike
from fireworks_batch.models.errors import ConfigurationError
from fireworks_batch.models.job import (
    BatchInferenceJob,
    InferenceParameters,
    JobLike,
    Placement,
)
from fireworks_batch.models.names import JobRef, refuse_another
from fireworks_batch.models.policies import JOB_TIME_LIMIT, JobTimeLimit, PollPolicy
from fireworks_batch.models.states import TOMBSTONES, Precision
from fireworks_batch.polling.access import Pollers
from fireworks_batch.polling.settle import Settling, Sighting
from fireworks_batch.wire.codec import mask_paths
from fireworks_batch.wire.requests import ListQuery, delete_job, get_job, list_jobs

__all__ = ["Jobs"]


_log = logging.getLogger("fireworks_batch")


# Seconds for which `delete` waits; the vendor's own tool waits as long.
_DELETE_TIMEOUT: Final = 1800.0


class Jobs:
    """The account's batch inference jobs: ``client.jobs``."""

    _api: Api
    _pollers: Pollers

    @classmethod
    def _made(cls, api: Api, pollers: Pollers) -> Self:
        """Return the jobs of a client, made of what the client shares between its resources."""
        self = cls()
        self._api = api
        self._pollers = pollers
        return self

    # --- Calls ----------------------------------------------------------------------------------

    def ref(self, job: JobLike) -> JobRef:
        """Return a reference to a job, without asking the server.

        Args:
            job: Id, resource name, reference, or a job fetched before.

        Raises:
            ConfigurationError: It is none of these, belongs to another account or host, or the
                account is not known yet.
        """
        name = self._api.job_name(job)
        ref = self._api.job_ref(name)
        if ref is None:
            raise ConfigurationError(
                f"the account of job {name.job_id!r} is not known yet: pass account_id= to the "
                "client, or the job's whole resource name here"
            )
        return ref

    async def get(self, job: JobLike, *, read_mask: Sequence[str] = ()) -> BatchInferenceJob:
        """Fetch one job.

        Args:
            job: Id, resource name, reference, or a job fetched before.

            read_mask: Members to return, in snake_case, as in ``["job_progress.percent"]``;
                all of them if empty. ``name`` always comes, the rest is at defaults.

        Raises:
            ConfigurationError: The job or the mask is malformed, or the job is not of this
                account and host.
            NotFoundError: There is no such job.
            APIStatusError: The server refuses for another reason.
            TransportError: There was no usable answer, after the repeats of the retry policy.
            ResponseDecodeError: The answer cannot be read; ``partial`` has what could be. Or it
                shows another job.
            ClientStateError: The client is closed, or belongs to another loop.
        """
        # https://docs.fireworks.ai/api-reference/get-batch-inference-job
        name, mask = self._api.job_name(job), mask_paths(read_mask)
        account_id = name.account_id or await self._api.account_id()
        answer = await self._api.transport.send(get_job(account_id, name.job_id, mask))
        found = self._api.codec.decode(answer.body, BatchInferenceJob, required=_required(mask))
        refuse_another("job", found.name, name.job_id)
        return found

    def list(
        self,
        *,
        filter: str | None = None,  # noqa: A002 - the API's name
        order_by: str | None = None,
        page_size: int = 200,
        read_mask: Sequence[str] = (),
    ) -> Listing[BatchInferenceJob]:
        """List the account's jobs, of all pages.

        Args:
            filter: An AIP-160 expression of the wire's names, passed on as it is, as in
                ``'state="JOB_STATE_RUNNING"'``. Which members can be filtered is not documented.

            order_by: Members to sort by, passed on as they are, as in ``"create_time desc"``. By
                default the server's order, which is documented as by creation.

            page_size: Jobs a request, 1 to 200.

            read_mask: Members to return, in snake_case; all of them if empty. ``name`` always
                comes, the rest is at defaults.

        Returns:
            An async iterator in the server's order. It asks for a page when it is needed, and
            holds one at a time. A job that cannot be read is logged, and given with what could
            be read of it.

        Raises:
            ConfigurationError: An argument is malformed.
            APIStatusError: Later, as all that follow: the server refuses.
            TransportError: There was no usable answer, after the repeats of the retry policy.
            ResponseDecodeError: A page cannot be read, or the pages go in a circle.
        """
        # https://docs.fireworks.ai/api-reference/list-batch-inference-jobs
        mask = mask_paths(read_mask)
        query = ListQuery(page_size=page_size, filter=filter, order_by=order_by, read_mask=mask)

        def read(item: Any) -> BatchInferenceJob:
            return self._api.codec.structure(item, BatchInferenceJob, required=_required(mask))

        return Listing._made(
            self._api,
            "batchInferenceJobs",
            lambda account_id, token: list_jobs(account_id, query, token),
            read,
        )

    async def create(
        self,
        *,
        model: str | None = None,
        input_dataset: DatasetLike | None = None,
        job_id: str | None = None,
        output_dataset: DatasetLike | None = None,
        inference_parameters: InferenceParameters | Mapping[str, Any] | None = None,
        display_name: str | None = None,
        precision: Precision | str | None = None,
        continued_from: JobLike | None = None,
        max_job_duration: float | None = None,
        system_prompt: str | None = None,
        placement: Placement | Mapping[str, Any] | None = None,
    ) -> BatchInferenceJob:
        """Create a job, once: never two billed ones from one call.

        The job gets an id before anything is sent. If an answer is lost the call is repeated
        under the same id; if the id turns out to be taken, the job there is compared with what
        was sent, and returned if it is the same. So a call with a ``job_id`` of its own can be
        repeated after a crash.

        Args:
            model: The model's resource name, as in ``"accounts/fireworks/models/demo-8b"``. A
                model that cannot serve batch jobs is not refused: its job stays PENDING. A
                router's name (``"accounts/fireworks/routers/..."``) is sent, too; whether routers
                serve batch jobs is not known.

            input_dataset: What it reads: id, resource name, or a dataset fetched before.

            job_id: 1 to 63 characters of a-z, 0-9 and hyphen, a letter first; made up, and
                logged at INFO, if None.

            output_dataset: What it makes; it must not exist yet. Chosen by the server if None.

            inference_parameters: Sampling defaults of all rows. ``extra_body`` is a mapping or
                the JSON text of an object.

            display_name: A name for people.

            precision: The precision to serve with; chosen by the server if None.

            continued_from: An ended job whose unfinished and failed rows this one runs; ``model``
                and ``input_dataset`` are not needed then.

            max_job_duration: The job time limit in seconds; the server bounds it to 12 to 72
                hours, and takes 24 if None.

            system_prompt: Given to rows that have no leading system message.

            placement: Where the job may run.

        Returns:
            The job as the server describes it; usually VALIDATING, without counters.

        Raises:
            ConfigurationError: An argument is malformed; nothing was sent.
            JobConflictError: The id is taken by another job, and the text names the difference; or
                by one that is being deleted, or is DELETED or ARCHIVED; or the server answered
                with a job of another id.
            APIStatusError: The server refuses.
            TransportError: There was no usable answer, and no job was found afterwards. Repeat
                the call with ``error.ref.job_id`` as ``job_id``.
            ResponseDecodeError: The answer cannot be read, and no job was found afterwards.
        """
        # https://docs.fireworks.ai/api-reference/create-batch-inference-job
        creation = await self._creation(
            job_id=_new_id() if job_id is None else job_id,
            model=model,
            input_dataset=input_dataset,
            output_dataset=output_dataset,
            inference_parameters=inference_parameters,
            display_name=display_name,
            precision=precision,
            continued_from=None if continued_from is None else self._api.job_name(continued_from),
            max_job_duration=max_job_duration,
            system_prompt=system_prompt,
            placement=placement,
        )
        return await creation.run()

    async def _creation(self, *, job_id: str, **arguments: Any) -> JobCreation:
        """Return the creation of a job, which a run is told more about than `create` tells."""

        def drafted(account_id: str) -> BatchInferenceJob:
            return draft_job(account_id, job_id, **arguments)

        # A malformed argument is refused before the account is looked up.
        body_of(drafted(self._api.account.id or "account"), self._api.codec)
        account_id = await self._api.account_id()
        draft = drafted(account_id)
        model = arguments.get("model")
        if model and model != draft.model:
            _log.warning(
                "model %r is a deployed one; the job is created with %r", model, draft.model
            )
        ref = JobRef(account_id, draft.id, self._api.base_url)
        return JobCreation(
            send=self._api.transport.send, codec=self._api.codec, draft=draft, ref=ref
        )

    async def delete(self, job: JobLike, *, wait: bool = False) -> None:
        """Stop a job and remove it, which is the only way to stop one: the API has no cancel.

        The record is lost with it. What becomes of rows that were finished is not known; read
        the results first if they matter.

        Args:
            job: Id, resource name, reference, or a job fetched before.

            wait: Return only when the job is gone, about a minute later; for half an hour at
                most.

        Raises:
            ConfigurationError: The job is malformed, or not of this account and host.
            NotFoundError: There is no such job; not raised where an earlier attempt of this call
                may have deleted it.
            APIStatusError: The server refuses for another reason.
            TransportError: There was no usable answer, after the repeats of the retry policy.
            WaitTimeoutError: The job was not gone in time.
            PollFailureError: Polls failed for longer than the client's ``failure_budget``.
        """
        # https://docs.fireworks.ai/api-reference/delete-batch-inference-job
        name = self._api.job_name(job)
        account_id = name.account_id or await self._api.account_id()
        await self._api.delete(delete_job(account_id, name.job_id))
        if wait:
            await self._until_gone(account_id, name.job_id)

    async def _until_gone(self, account_id: str, job_id: str) -> None:
        """Return when the job is not found any more, or stays visible as DELETED or ARCHIVED."""
        # The whole job is asked for: whether the server obeys a read mask is not known.
        request = get_job(account_id, job_id)

        async def ask(pause: float) -> Sighting[None]:
            answer = await if_there(self._api.transport.send_once(request, pause=pause))
            if answer is None:
                return Sighting(None, "gone", is_settled=True)
            job = self._api.codec.decode(answer.body, BatchInferenceJob, required=("name",))
            refuse_another("job", job.name, job_id)
            return Sighting(None, str(job.state), is_settled=job.state in TOMBSTONES)

        await Settling(
            subject=f"job {job_id!r} to be gone",
            ask=ask,
            api=self._api,
            policy=self._api.poll,
            timeout=_DELETE_TIMEOUT * self._api.time_scale,
        ).run()

    # --- Waits ----------------------------------------------------------------------------------

    def wait_until_terminal(
        self,
        job: JobLike,
        *,
        timeout: float | JobTimeLimit | None = JOB_TIME_LIMIT,
        poll: PollPolicy | None = None,
        changes_only: bool = False,
    ) -> JobWait:
        """Follow a job until it can change no more.

        Await the result for the final job, or iterate over it with ``async for`` for a snapshot
        of each successful poll, the terminal one last. What became of the job is never raised: a
        FAILED job is a final snapshot, and ``raise_for_outcome()`` is yours to call. What is raised
        says that nothing more can be known, carries ``.ref``, and leaves the job untouched.

        Args:
            job: Id, resource name, reference, or a job fetched before.

            timeout: Seconds for the whole wait, above 0. By default the wait ends an hour after
                the job's own expiry. None: no limit.

            poll: When to poll, and when to give up; the client's policy if None.

            changes_only: Leave out snapshots in which nothing visible has changed.

        Returns:
            A coroutine and async iterator, good for one use. Nothing is sent before that.

        Raises:
            ConfigurationError: At the call: an argument is malformed. Later: the key sees no
                account, or several.
            WaitTimeoutError: Later, as all that follow: the time ran out.
            JobStalledError: Nothing visible changed for ``stall_after`` seconds.
            PollFailureError: Polls failed for longer than ``failure_budget``.
            JobGoneError: The job was there, and is not found any more.
            NotFoundError: The job was not found for ``not_found_grace`` seconds.
            UnknownStateError: The job seems to have ended in a state unknown to this release.
            AuthenticationError: The key is refused; after a successful poll, twice in a row.
            APIStatusError: The API refuses for good: 400, 402, 403, 412.
            ClientStateError: The client was closed, or the wait is used twice.
        """
        return self._wait(job, timeout, poll, changes_only=changes_only)

    def _wait(
        self,
        job: JobLike,
        timeout: float | JobTimeLimit | None,
        poll: PollPolicy | None,
        *,
        changes_only: bool = False,
        on_failed_poll: Callable[[int], object] | None = None,
    ) -> JobWait:
        """Return a wait; a run is told of failed polls, too."""
        tracker = self._wait_terms(timeout, poll).tracker(job, on_failed_poll=on_failed_poll)
        return JobWait._made(tracker, self._pollers, changes_only=changes_only)

    def watch(
        self,
        jobs: Iterable[JobLike],
        *,
        timeout: float | JobTimeLimit | None = JOB_TIME_LIMIT,
        poll: PollPolicy | None = None,
        changes_only: bool = False,
    ) -> JobFleet:
        """Follow many jobs until they can change no more, for the price of a few.

        Iterate over the fleet for snapshots of all jobs as they come, or await it for the outcomes
        by job id. Where many jobs are to be polled, pages of the account's listing are read in
        place of a GET for each.

        Args:
            jobs: Each an id, a resource name, a reference, or a job fetched before. A job that is
                named twice counts once.

            timeout: Seconds for the wait for each job, above 0. By default the wait ends an hour
                after the job's own expiry. None: no limit.

            poll: When to poll, and when to give up; the client's policy if None.

            changes_only: Leave out snapshots in which nothing visible has changed.

        Returns:
            A fleet, to which jobs can be added. Nothing is sent before it is used.

        Raises:
            ConfigurationError: At the call: an argument is malformed, or a job is of another
                account or host. Later: the key sees no account, or several.
            AuthenticationError: Later, as all that follow, for all jobs: the key is refused.
            AccountSuspendedError: The account is suspended or has to pay first.
            ClientStateError: The client was closed.
        """
        return JobFleet._made(self._watch(jobs, timeout, poll, changes_only=changes_only))

    def as_completed(
        self,
        jobs: Iterable[JobLike],
        *,
        timeout: float | JobTimeLimit | None = JOB_TIME_LIMIT,
        poll: PollPolicy | None = None,
    ) -> JobOutcomes:
        """Follow many jobs, and iterate over their outcomes in the order in which they end.

        Args:
            jobs: Each an id, a resource name, a reference, or a job fetched before. A job that is
                named twice counts once.

            timeout: Seconds for the wait for each job, above 0. By default the wait ends an hour
                after the job's own expiry. None: no limit.

            poll: When to poll, and when to give up; the client's policy if None.

        Returns:
            An async iterator of `JobOutcome`; nothing is sent before it is used. What became of a
            job, and what the wait for it failed with, is in its outcome and never raised.

        Raises:
            ConfigurationError: At the call: an argument is malformed, or a job is of another
                account or host. Later: the key sees no account, or several.
            AuthenticationError: Later, as all that follow, for all jobs: the key is refused.
            AccountSuspendedError: The account is suspended or has to pay first.
            ClientStateError: The client was closed.
        """
        return JobOutcomes._made(self._watch(jobs, timeout, poll, changes_only=True))

    def _watch(
        self,
        jobs: Iterable[JobLike],
        timeout: float | JobTimeLimit | None,
        poll: PollPolicy | None,
        *,
        changes_only: bool,
    ) -> Watch:
        several = _each_of(jobs)
        watch = Watch(self._wait_terms(timeout, poll), self._pollers, changes_only=changes_only)
        for job in several:
            watch.add(job)
        return watch

    def _wait_terms(
        self, timeout: float | JobTimeLimit | None, poll: PollPolicy | None
    ) -> WaitTerms:
        return WaitTerms(
            api=self._api, poll=self._api.poll if poll is None else poll, timeout=timeout
        )


def _each_of(jobs: Any) -> list[JobLike]:
    """Return the jobs of an iterable; a string is one job, not its characters."""
    if isinstance(jobs, Iterable) and not isinstance(jobs, str | bytes):
        return [*jobs]
    raise ConfigurationError(
        f"jobs must be a list or another iterable, not {jobs!r}: one of them is [job], and what an "
        "async iterator gives [job async for job in …]"
    )


def _required(mask: str) -> tuple[str, ...]:
    """Return the members without which a job is no use; a mask may leave out the state."""
    return ("name",) if mask else ("name", "state")


def _new_id() -> str:
    """Return an id that no other job has."""
    return f"job-{os.urandom(8).hex()}"
