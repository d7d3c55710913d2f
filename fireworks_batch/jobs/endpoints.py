"""Batch inference jobs: the endpoints. The waits are in `wait_methods`."""

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import attrs

from fireworks_batch.connection.api import (
    Api,
    Listing,
    check_policy,
    check_timeout,
    if_there,
)
from fireworks_batch.connection.configuration import check_several
from fireworks_batch.jobs.fleet import JobFleet, JobOutcomes
from fireworks_batch.jobs.member import FleetTerms
from fireworks_batch.jobs.tracker import WaitEffects, WaitTerms
from fireworks_batch.jobs.wait import JobWait
from fireworks_batch.models.dataset import DatasetLike
from fireworks_batch.models.errors import ConfigurationError
from fireworks_batch.models.job import BatchInferenceJob, InferenceParameters, JobLike, Placement
from fireworks_batch.models.names import JobName, JobRef
from fireworks_batch.models.policies import JOB_TIME_LIMIT, JobTimeLimit, PollPolicy
from fireworks_batch.models.states import JobState, Precision
from fireworks_batch.polling.access import Looks
from fireworks_batch.polling.observation import refuse_another
from fireworks_batch.polling.settle import Settling, Sighting, looks
from fireworks_batch.wire.codec import mask_paths
from fireworks_batch.wire.requests import ListQuery, delete_job, get_job, list_jobs

__all__ = ["Jobs", "WaitMethods", "wait_until_gone"]


class WaitMethods:
    """What a client's jobs are waited for with: a part of `Jobs`."""

    def __init__(self, api: Api, looks: Looks) -> None:
        """Take what a client shares between its waits."""
        self._api = api
        self._looks = looks

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
        of each good look, the terminal one last. What became of the job is never raised: a FAILED
        job is a final snapshot, and ``raise_for_outcome()`` is yours to call. What is raised says
        that nothing more can be known, carries ``.ref``, and leaves the job untouched.

        Args:
            job: Id, resource name, reference, or a job fetched before.

            timeout: Seconds for the whole wait, above 0. By default as long as the job's own
                window, and an hour. None: no limit.

            poll: When to look, and when to give up; the client's policy if None.

            changes_only: Leave out snapshots in which nothing visible has changed.

        Returns:
            A coroutine and async iterator, good for one use. Nothing is sent before that.

        Raises:
            ConfigurationError: At the call: an argument is malformed. Later: the key sees no
                account, or several.
            WaitTimeoutError: Later, as all that follow: the time ran out.
            JobStalledError: Nothing visible changed for ``stall_after`` seconds.
            PollFailureError: Looks failed for longer than ``failure_budget``.
            JobGoneError: The job was there, and is not found any more.
            NotFoundError: The job was not found for ``not_found_grace`` seconds.
            UnknownStateError: The job seems to have ended in a state nobody has heard of.
            AuthenticationError: The key is refused; after a good look, twice in a row.
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
        on_loss: Callable[[int], object] | None = None,
    ) -> JobWait:
        """Return a wait; a run is told of lost looks, too."""
        name = self._api.job_name(job)
        terms = self._wait_terms(timeout, poll, changes_only=changes_only)(name)
        return JobWait(
            attrs.evolve(terms, on_loss=on_loss),
            self._wait_effects(name),
            ref=self._api.job_ref(name),
        )

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
        by job id. Where many jobs are to be looked at, pages of the account's listing are read in
        place of a GET for each.

        Args:
            jobs: Each an id, a resource name, a reference, or a job fetched before. A job that is
                named twice counts once.

            timeout: Seconds for the wait for each job, above 0. By default as long as its own
                window, and an hour. None: no limit.

            poll: When to look, and when to give up; the client's policy if None.

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
        first = check_several("jobs", jobs)
        wanted = self._wait_terms(timeout, poll, changes_only=changes_only)
        name = self._api.job_name(first[0]) if first else JobName(None, "none")
        terms = FleetTerms(
            name=self._api.job_name,
            ref=self._api.job_ref,
            wait=wanted,
            effects=self._wait_effects(name),
            looks=self._looks,
            linger=wanted(name).policy.max_interval,
            changes_only=changes_only,
        )
        return JobFleet(first, terms)

    def as_completed(
        self,
        jobs: Iterable[JobLike],
        *,
        timeout: float | JobTimeLimit | None = JOB_TIME_LIMIT,
        poll: PollPolicy | None = None,
    ) -> JobOutcomes:
        """Follow many jobs, and iterate over their outcomes in the order in which they end.

        Args:
            jobs: As in `watch`.

            timeout: As in `watch`.

            poll: As in `watch`.

        Returns:
            An async iterator of `JobOutcome`; nothing is sent before it is used. What became of a
            job, and what the wait for it failed with, is in its outcome and never raised.

        Raises:
            ConfigurationError: As in `watch`; so are the others, later and for all jobs.
            AuthenticationError: The key is refused.
            AccountSuspendedError: The account is suspended or has to pay first.
            ClientStateError: The client was closed.
        """
        return JobOutcomes(self.watch(jobs, timeout=timeout, poll=poll))

    def _wait_terms(
        self, timeout: float | JobTimeLimit | None, poll: PollPolicy | None, *, changes_only: bool
    ) -> Callable[[JobName], WaitTerms]:
        terms = WaitTerms(
            job="",
            policy=check_policy(poll) or self._api.poll,
            timeout=self._api.longest_window
            if isinstance(timeout, JobTimeLimit)
            else check_timeout(timeout),
            follows_window=isinstance(timeout, JobTimeLimit),
            time_scale=self._api.time_scale,
            changes_only=changes_only,
        )
        return lambda name: attrs.evolve(terms, job=name.job_id)

    def _wait_effects(self, name: JobName) -> WaitEffects:
        return WaitEffects(
            follow=self._looks.follow,
            locate=partial(self._looks.locate, name.job_id),
            clock=self._api.clock,
            wall=self._api.wall,
            draw=self._api.draw,
        )


_log = logging.getLogger("fireworks_batch")


class Jobs(WaitMethods):
    """The account's batch inference jobs: ``client.jobs``."""

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
        job = self._api.codec.decode(answer.body, BatchInferenceJob, required=_required(mask))
        refuse_another(job, name.job_id)
        return job

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
                model that cannot serve batch jobs is not refused: its job stays PENDING.

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

            max_job_duration: The window in seconds; the server bounds it to 12 to 72 hours, and
                takes 24 if None.

            system_prompt: Given to rows that have no leading system message.

            placement: Where the job may run.

        Returns:
            The job as the server describes it; usually VALIDATING, without counters.

        Raises:
            ConfigurationError: An argument is malformed; nothing was sent.
            JobConflictError: The id is taken by another job, and the text names the difference; or
                by one that is being deleted; or the server answered with a job of another id.
            APIStatusError: The server refuses.
            TransportError: There was no usable answer, and no job was found afterwards. Repeat
                the call with ``error.ref.job_id`` as ``job_id``.
            ResponseDecodeError: The answer cannot be read, and no job was found afterwards.
        """
        # https://docs.fireworks.ai/api-reference/create-batch-inference-job
        from fireworks_batch.jobs.creation import JobCreation, body_of
        from fireworks_batch.jobs.draft import draft_job

        drafted = partial(
            draft_job,
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
        # What is malformed is told before anybody is asked for the account.
        body_of(drafted(self._api.account.id or "account"), self._api.codec)
        account_id = await self._api.account_id()
        draft = drafted(account_id)
        if model and model != draft.model:
            _log.warning(
                "model %r is a deployed one; the job is created with %r", model, draft.model
            )
        ref = JobRef(account_id, draft.id, self._api.base_url)
        creation = JobCreation(
            send=self._api.transport.send, codec=self._api.codec, draft=draft, ref=ref
        )
        return await creation.run()

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
            PollFailureError: Looks at it failed for longer than the client's ``failure_budget``.
        """
        # https://docs.fireworks.ai/api-reference/delete-batch-inference-job
        name = self._api.job_name(job)
        account_id = name.account_id or await self._api.account_id()
        await self._api.delete(delete_job(account_id, name.job_id))
        if wait:
            ref = JobRef(account_id, name.job_id, self._api.base_url)
            await wait_until_gone(self._api, ref)


def _required(mask: str) -> tuple[str, ...]:
    """Return the members without which a job is no use; a mask may leave out the state."""
    return ("name",) if mask else ("name", "state")


# Seconds; the vendor's own tool waits as long.
_TIMEOUT: Final = 1800.0


async def wait_until_gone(api: Api, ref: JobRef) -> None:
    """Return when the job is not found any more, or stays visible as DELETED.

    Raises:
        WaitTimeoutError: It was not gone within half an hour.
        PollFailureError: Looks at it failed for longer than the policy's ``failure_budget``.
        FireworksBatchError: The server refuses for good.
    """
    # Asked for whole: nobody knows that masks are obeyed.
    request = get_job(ref.account_id, ref.job_id)

    async def ask(pause: float) -> Sighting[None]:
        answer = await if_there(api.transport.send_once(request, pause=pause))
        if answer is None:
            return Sighting(None, "gone", is_settled=True)
        job = api.codec.decode(answer.body, BatchInferenceJob, required=("name",))
        refuse_another(job, ref.job_id)
        return Sighting(None, str(job.state), is_settled=job.state == JobState.DELETED)

    await Settling(
        subject=f"job {ref.job_id!r} to be gone",
        look=looks(api, ask),
        policy=api.poll,
        timeout=_TIMEOUT * api.time_scale,
        clock=api.clock,
        draw=api.draw,
    ).run()


def _new_id() -> str:
    """Return an id that no other job has."""
    return f"job-{os.urandom(8).hex()}"
