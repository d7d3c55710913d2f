"""``client.jobs``: the endpoints of batch inference jobs, and the waits."""

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


# Seconds for which `delete` waits. The vendor's own tool waits for the same time.
_DELETE_TIMEOUT: Final = 1800.0


class Jobs:
    """The account's batch inference jobs: ``client.jobs``."""

    _api: Api
    _pollers: Pollers

    @classmethod
    def _made(cls, api: Api, pollers: Pollers) -> Self:
        """Return the jobs of a client; the API and the pollers belong to the client."""
        self = cls()
        self._api = api
        self._pollers = pollers
        return self

    # --- Calls ----------------------------------------------------------------------------------

    def ref(self, job: JobLike) -> JobRef:
        """Return a reference to a job, without a request.

        Args:
            job: The job's id or resource name, a `JobRef`, or a job fetched before.

        Returns:
            The reference, by which another process can find the job again.

        Raises:
            ConfigurationError: The job is malformed, or belongs to another account or host. Or the
                job's account is not known yet.
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
            job: The job's id or resource name, a `JobRef`, or a job fetched before.

            read_mask: Members to return, in snake_case, as in ``["job_progress.percent"]``;
                all members if empty. ``name`` is always returned, and members that are not
                returned have their defaults.

        Returns:
            The job, as the server describes it now.

        Raises:
            ConfigurationError: The job or the mask is malformed, or the job belongs to another
                account or host.
            NotFoundError: There is no such job.
            APIStatusError: The server refuses for another reason.
            TransportError: There was no usable answer, after the repeats of the retry policy.
            ResponseDecodeError: The answer cannot be read; ``partial`` has the readable members. Or
                the answer shows another job.
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
            filter: An AIP-160 expression with the wire's names, sent unchanged, as in
                ``'state="JOB_STATE_RUNNING"'``. None lists all jobs. Which members a filter can
                name is not documented.

            order_by: Members to sort by, sent unchanged, as in ``"create_time desc"``. None means
                the server's order, which is documented as the order of creation.

            page_size: Jobs in one page, 1 to 200.

            read_mask: Members to return, in snake_case; all members if empty. ``name`` is always
                returned, and members that are not returned have their defaults.

        Returns:
            An async iterator over the jobs, in the server's order. A page is requested when its
            first job is needed, and one page is in memory at a time. If a member of a job cannot
            be read, a warning is logged, and the member has its default. A job without a readable
            name or state is left out, with a warning.

        Raises:
            ConfigurationError: An argument is malformed.
            APIStatusError: While iterating, like the following errors: the server refuses.
            TransportError: There was no usable answer, after the repeats of the retry policy.
            ResponseDecodeError: A page cannot be read, or the listing does not end.
            ClientStateError: The client is closed, or belongs to another loop.
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
        """Create a job once; one call never makes two billed jobs.

        The job's id is chosen before anything is sent. If an answer is lost, the request is
        repeated under the same id. If the id turns out to be taken, the job of this id is compared
        with the requested job. If they are the same, the existing job is returned. So a call with
        a ``job_id`` can be repeated after a crash.

        Args:
            model: The model's resource name, as in ``"accounts/fireworks/models/demo-8b"``. A
                model that cannot serve batch jobs is not refused: its job stays PENDING
                (documented, seen live). A router's name (``"accounts/fireworks/routers/..."``) is
                accepted too; whether routers serve batch jobs is not known. Needed without
                ``continued_from``.

            input_dataset: The dataset with the requests: its id, its resource name, or a dataset
                fetched before. Needed without ``continued_from``.

            job_id: The job's id: 1 to 63 characters of a-z, 0-9 and hyphen, with a letter first
                and no hyphen last. If None, a random id is chosen, and logged at INFO.

            output_dataset: The dataset for the results, which must not exist yet: its id or its
                resource name. None lets the server choose.

            inference_parameters: Sampling defaults of all rows: `InferenceParameters`, or a
                mapping of its members. None means the server's defaults.

            display_name: A name for people; None for no name.

            precision: The precision to serve the model with; None lets the server choose.

            continued_from: A job that has ended, in any form of reference. The new job runs the
                unfinished and failed rows of that job. None for a job that
                continues no other job.

            max_job_duration: The job time limit in seconds, 43,200 to 259,200 (12 to 72 hours);
                None means 24 hours.

            system_prompt: A system message for rows that do not begin with one; None for no
                message.

            placement: Where the job may run: `Placement`, or a mapping of its members. None lets
                the server choose.

        Returns:
            The job, as the server describes it. A new job is usually VALIDATING, and has no
            counters.

        Raises:
            ConfigurationError: An argument is malformed; nothing was sent.
            JobConflictError: The id is taken by another job, and the text names the difference. Or
                the id is taken by the same job, which is being deleted, DELETED or ARCHIVED. Or
                the server answered with a job of another id.
            APIStatusError: The server refuses.
            TransportError: There was no usable answer, and no job was found afterwards. Repeat
                the call with ``error.ref.job_id`` as ``job_id``.
            ResponseDecodeError: The answer cannot be read, and no job was found afterwards.
            ClientStateError: The client is closed, or belongs to another loop.
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
        """Return the creation of a job, which tells a run more than `create` returns."""

        def drafted(account_id: str) -> BatchInferenceJob:
            return draft_job(account_id, job_id, **arguments)

        # A malformed argument is refused before the account is looked up.
        body_of(drafted(self._api.account.id or "account"), self._api.codec)
        account_id = await self._api.account_id()
        draft = drafted(account_id)
        model = arguments.get("model")
        if model and model != draft.model:
            text = "model %r is the name of a deployment; the job is created with its model, %r"
            _log.warning(text, model, draft.model)
        ref = JobRef(account_id, draft.id, self._api.base_url)
        return JobCreation(
            send=self._api.transport.send, codec=self._api.codec, draft=draft, ref=ref
        )

    async def delete(self, job: JobLike, *, wait: bool = False) -> None:
        """Stop a job and remove it; the API has no cancel, and no other way to stop a job.

        The record of the job is removed too. Whether finished rows can still be read is not known:
        read the results first if you need them.

        Args:
            job: The job's id or resource name, a `JobRef`, or a job fetched before.

            wait: Whether to return only when the job is gone. This takes about a minute, and half
                an hour at most.

        Raises:
            ConfigurationError: The job is malformed, or belongs to another account or host.
            NotFoundError: There is no such job. Not raised if an earlier request of this call may
                have deleted the job.
            APIStatusError: The server refuses for another reason.
            ResponseDecodeError: The answer is not JSON, as that of a proxy: the job may run on.
            TransportError: There was no usable answer, after the repeats of the retry policy.
            WaitTimeoutError: With ``wait=True``: the job was not gone within half an hour.
            PollFailureError: With ``wait=True``: polls failed for longer than the
                ``failure_budget`` of the client's policy.
            ClientStateError: The client is closed, or belongs to another loop.
        """
        # https://docs.fireworks.ai/api-reference/delete-batch-inference-job
        name = self._api.job_name(job)
        account_id = name.account_id or await self._api.account_id()
        await self._api.delete(delete_job(account_id, name.job_id))
        if wait:
            await self._until_gone(account_id, name.job_id)

    async def _until_gone(self, account_id: str, job_id: str) -> None:
        """Wait until the job is not found any more, or stays visible as DELETED or ARCHIVED."""
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
        """Wait until a job is in a terminal state, and show its progress on the way.

        There are two ways to use the result. ``await`` returns the job in its terminal state.
        ``async for`` yields a snapshot for each successful poll, the terminal snapshot last.

        The outcome of the job is never raised: a FAILED job is returned as a COMPLETED job is. To
        raise an error for any other state than COMPLETED, call the job's ``raise_for_outcome()``.
        An error of the wait means that the wait ended before it saw a terminal state. Such an error
        has the job's reference in ``.ref``. The wait never changes the job.

        Args:
            job: The job's id or resource name, a `JobRef`, or a job fetched before.

            timeout: Seconds for the whole wait, above 0. By default the wait ends an hour after
                the job expires (``expire_time``). None means no limit.

            poll: When to poll, and when to give up. None means the client's policy.

            changes_only: Whether to leave out snapshots in which nothing visible has changed. The
                terminal snapshot is never left out.

        Returns:
            A coroutine and async iterator, for one use. Nothing is sent before it is used.

        Raises:
            ConfigurationError: At the call: an argument is malformed, or the job belongs to
                another account or host. During the wait: the key sees no account, or several.
            WaitTimeoutError: During the wait, like the following errors: the timeout passed.
            JobStalledError: Nothing visible changed for ``stall_after`` seconds.
            PollFailureError: Polls failed for longer than ``failure_budget``.
            JobGoneError: An earlier poll found the job, and the server does not find it any more.
            NotFoundError: The server did not find the job for ``not_found_grace`` seconds.
            UnknownStateError: The job seems to have ended in a state unknown to this release.
            AuthenticationError: The key is refused. After a successful poll, only the second
                refusal in a row is raised.
            APIStatusError: The API refuses for good (400, 402, 403, 412).
            ClientStateError: The client was closed, or belongs to another loop, or the wait is
                used twice.
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
        """Return a wait, which also reports failed polls to a run."""
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
        """Wait until many jobs are in terminal states, with few requests.

        There are two ways to use the result. ``async for`` yields snapshots of all jobs, as polls
        show them. ``await`` returns the outcomes by job id. If many jobs are to be polled, pages of
        the account's listing are requested instead of each job. Neither the outcome of one job nor
        the error of the wait for one job is raised: both are in the job's `JobOutcome`.

        Args:
            jobs: The jobs. Each one is given as an id, a resource name, a `JobRef`, or a job
                fetched before. A job that is given twice counts once.

            timeout: Seconds for the wait for each job, above 0. By default the wait for a job ends
                an hour after the job expires (``expire_time``). None means no limit.

            poll: When to poll, and when to give up. None means the client's policy.

            changes_only: Whether to leave out snapshots in which nothing visible has changed. The
                last snapshot of a job is never left out.

        Returns:
            A fleet, to which further jobs can be added. Nothing is sent before it is used.

        Raises:
            ConfigurationError: At the call: an argument is malformed, or a job belongs to another
                account or host. During the wait: the key sees no account, or several.
            AuthenticationError: During the wait, like the following errors: the key is refused.
            AccountSuspendedError: The account is suspended or has to pay first.
            ClientStateError: The client was closed, or belongs to another loop.
        """
        return JobFleet._made(self._watch(jobs, timeout, poll, changes_only=changes_only))

    def as_completed(
        self,
        jobs: Iterable[JobLike],
        *,
        timeout: float | JobTimeLimit | None = JOB_TIME_LIMIT,
        poll: PollPolicy | None = None,
    ) -> JobOutcomes:
        """Wait for many jobs, and iterate over their outcomes in the order in which they end.

        Args:
            jobs: The jobs. Each one is given as an id, a resource name, a `JobRef`, or a job
                fetched before. A job that is given twice counts once.

            timeout: Seconds for the wait for each job, above 0. By default the wait for a job ends
                an hour after the job expires (``expire_time``). None means no limit.

            poll: When to poll, and when to give up. None means the client's policy.

        Returns:
            An async iterator over `JobOutcome` values. Nothing is sent before it is used. An
            outcome has the job in its terminal state, or the error of the wait for the job. Such an
            error is not raised.

        Raises:
            ConfigurationError: At the call: an argument is malformed, or a job belongs to another
                account or host. During the wait: the key sees no account, or several.
            AuthenticationError: During the wait, like the following errors: the key is refused.
            AccountSuspendedError: The account is suspended or has to pay first.
            ClientStateError: The client was closed, or belongs to another loop.
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
        f"jobs must be a list or another iterable, not {jobs!r}: give [job] for one job, and "
        "[job async for job in …] for an async iterator"
    )


def _required(mask: str) -> tuple[str, ...]:
    """Return the members that a job must have; a read mask may leave out the state."""
    return ("name",) if mask else ("name", "state")


def _new_id() -> str:
    """Return a random id."""
    return f"job-{os.urandom(8).hex()}"
