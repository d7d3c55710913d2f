"""Batch inference jobs: the endpoints. The waits are in `wait_methods`."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from fireworks_batch import calls
from fireworks_batch.account import Account
from fireworks_batch.calls import Request
from fireworks_batch.dataset_model import DatasetLike
from fireworks_batch.deleting import delete_once
from fireworks_batch.errors import ConfigurationError
from fireworks_batch.job_names import JobLike, JobNames
from fireworks_batch.listing import Listing, list_query
from fireworks_batch.looking import Looks
from fireworks_batch.models import BatchInferenceJob, InferenceParameters, Placement
from fireworks_batch.names import JobRef
from fireworks_batch.reading import refuse_another
from fireworks_batch.states import Precision
from fireworks_batch.transport import Transport
from fireworks_batch.wait_defaults import WaitDefaults
from fireworks_batch.wait_methods import WaitMethods
from fireworks_batch.wire import Codec, mask_paths

__all__ = ["Jobs"]

_log = logging.getLogger("fireworks_batch")


class Jobs(WaitMethods):
    """The account's batch inference jobs: ``client.jobs``."""

    def __init__(
        self,
        transport: Transport,
        codec: Codec,
        account: Account,
        looks: Looks,
        *,
        waits: WaitDefaults,
    ) -> None:
        """Take what a client shares between its resources; made by `BatchClient`."""
        super().__init__(transport, JobNames(account, transport.base_url), looks, waits)
        self._codec = codec
        self._account = account

    def ref(self, job: JobLike) -> JobRef:
        """Return a reference to a job, without asking the server.

        Args:
            job: Id, resource name, reference, or a job fetched before.

        Raises:
            ConfigurationError: It is none of these, belongs to another account or host, or the
                account is not known yet.
        """
        name = self._names.read(job)
        ref = self._names.ref(name)
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
        name, mask = self._names.read(job), mask_paths(read_mask)
        account_id = name.account_id or await self._account.resolve(self._transport.send)
        answer = await self._transport.send(calls.get_job(account_id, name.job_id, mask))
        job = self._codec.decode(answer.body, BatchInferenceJob, required=_required(mask))
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
        query = list_query(filter, order_by, page_size, mask)

        async def ask(token: str) -> Request:
            return calls.list_jobs(await self._account.resolve(self._transport.send), query, token)

        def read(item: Any) -> BatchInferenceJob:
            return self._codec.structure(item, BatchInferenceJob, required=_required(mask))

        return Listing("batchInferenceJobs", ask=ask, send=self._transport.send, read=read)

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
        from fireworks_batch.creating import JobCreation, body_of
        from fireworks_batch.job_draft import draft_job

        drafted = partial(
            draft_job,
            job_id=self._waits.new_id() if job_id is None else job_id,
            model=model,
            input_dataset=input_dataset,
            output_dataset=output_dataset,
            inference_parameters=inference_parameters,
            display_name=display_name,
            precision=precision,
            continued_from=None if continued_from is None else self._names.read(continued_from),
            max_job_duration=max_job_duration,
            system_prompt=system_prompt,
            placement=placement,
        )
        # What is malformed is told before anybody is asked for the account.
        body_of(drafted(self._account.id or "account"), self._codec)
        account_id = await self._account.resolve(self._transport.send)
        draft = drafted(account_id)
        if model and model != draft.model:
            _log.warning(
                "model %r is a deployed one; the job is created with %r", model, draft.model
            )
        ref = JobRef(account_id, draft.id, self._transport.base_url)
        creation = JobCreation(send=self._transport.send, codec=self._codec, draft=draft, ref=ref)
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
        name = self._names.read(job)
        account_id = name.account_id or await self._account.resolve(self._transport.send)
        await delete_once(self._transport.send, calls.delete_job(account_id, name.job_id))
        if wait:
            from fireworks_batch.vanishing import wait_until_gone

            ref = JobRef(account_id, name.job_id, self._transport.base_url)
            await wait_until_gone(self._transport, self._codec, self._waits, ref)


def _required(mask: str) -> tuple[str, ...]:
    """Return the members without which a job is no use; a mask may leave out the state."""
    return ("name",) if mask else ("name", "state")
