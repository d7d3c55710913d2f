"""Agents of pydantic-ai whose requests become rows of batch jobs.

The capability ``BatchModelRequests`` of pydantic-ai collects the requests of many runs into
batches, polls the batches, and gives each run its result. `FireworksBatchModel` says what a batch
is here: one job, which `BatchClient.submit` makes or finds. The body of a request and the reading
of a response are pydantic-ai's own, those of ``OpenAIChatModel``.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final, NoReturn, Self, cast

from fireworks_batch import (
    APIStatusError,
    BatchClient,
    JobPhase,
    JobRef,
    JobState,
    PollFailureError,
    ResponseDecodeError,
    ResultRow,
    Submission,
    TransportError,
)
from fireworks_batch.integrations import needs

with needs("pydantic-ai"):
    from openai import AsyncOpenAI, NotGiven, Omit
    from openai.types.chat import ChatCompletion
    from pydantic_ai.exceptions import (
        ModelAPIError,
        ModelConnectionError,
        ModelHTTPError,
        UserError,
    )
    from pydantic_ai.messages import ModelResponse
    from pydantic_ai.models.batch import (
        Batch,
        BatchRequest,
        BatchResult,
        BatchResultStatus,
        BatchStatus,
        EncodedBatchRequest,
    )
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.profiles import ModelProfileSpec
    from pydantic_ai.providers.fireworks import FireworksProvider
    from pydantic_ai.settings import ModelSettings
    from pydantic_core import to_json

__all__ = ["FireworksBatchModel"]


# A batch is in memory. The server has no limit of rows, and its limit of bytes is far away.
_MOST_REQUESTS: Final = 1_000_000


# Bytes of a body from which on the row is checked, since the server limits the size of a row.
_LARGE: Final = 1024 * 1024


# Characters of the name that the ids of jobs begin with.
_SHOWN_NAME: Final = 20


_NOT_BATCHED: Final = (
    "FireworksBatchModel sends requests in batch jobs only: give the agent "
    "capabilities=[BatchModelRequests()] from pydantic_ai.capabilities; for requests that are "
    "answered at once, use OpenAIChatModel with provider='fireworks'"
)


class FireworksBatchModel(OpenAIChatModel):
    """A model of pydantic-ai that answers requests in batch jobs.

    ::

        model = FireworksBatchModel("accounts/fireworks/models/demo-8b", client=client)
        agent = Agent(model, capabilities=[BatchModelRequests(max_requests=50)])
        results = await asyncio.gather(*(agent.run(text) for text in texts))

    Requests that wait together become one job. Images, tools, outputs with a type and settings work
    as with ``OpenAIChatModel``. Without the capability, a request raises ``UserError``.

    The id of a job derives from the account, the model, ``name`` and the requests, in any order. So
    after a crash, the same calls of ``agent.run`` find their job instead of paying for another one.
    In one process, the same requests make another job each time. After a restart, the first time
    finds the first job, the second time the second job, and so on. The requests must be divided
    into batches as before. So let ``max_requests`` be the number of calls, and ``max_wait`` longer
    than these calls take to begin.

    If all runs of a batch are cancelled, its job is deleted. If the process is killed, the job runs
    on. A row that failed is an error of its own run (``ModelHTTPError``). If such a row may succeed
    in another job, the capability sends it again.

    Use one object for all agents. It may outlive runs, but not the client.

    Args:
        model_name: The resource name of the model, as in ``"accounts/fireworks/models/demo-8b"``.

        client: The client that submits, polls and collects. It stays open until the last run has
            ended, and belongs to one event loop, as do the runs. Only the client knows the API key.

        name: The key of the jobs. The same requests under another name make other jobs. The ids of
            the jobs begin with the first 20 characters of the name.

        settings: The settings of requests that have no others; None for none.

        profile: What the model can do, in the words of pydantic-ai. None means what pydantic-ai
            knows about the model.
    """

    def __init__(
        self,
        model_name: str,
        *,
        client: BatchClient,
        name: str = "pydantic-ai",
        settings: ModelSettings | None = None,
        profile: ModelProfileSpec | None = None,
    ) -> None:
        provider = FireworksProvider(openai_client=cast("AsyncOpenAI", _Recorder()))
        super().__init__(model_name, provider=provider, settings=settings, profile=profile)
        self._batch_client = client
        self._name = name
        self._run_names: set[str] = set()

    @property
    def batch_max_requests(self) -> int:
        """The most requests of one job."""
        return _MOST_REQUESTS

    async def batch_encode(self, request: BatchRequest) -> EncodedBatchRequest:
        """Return a request as a row, whose body is the body that ``OpenAIChatModel`` would send.

        Args:
            request: The messages, the settings and the tools.

        Raises:
            UserError: The row is too large, or ``extra_body`` has members that the server would
                refuse, or another setting has no meaning in a batch.
        """
        try:
            await self.request(
                request.messages, request.model_settings, request.model_request_parameters
            )
        except _NotSentError as recorded:
            body = to_json(recorded.body).decode()
            # A check takes milliseconds, and pydantic-ai writes good rows. So only rows are checked
            # that have members of the caller's, or large files.
            if recorded.is_extended or len(body) > _LARGE:
                await self._check(json.loads(body))
            return EncodedBatchRequest(custom_id=request.custom_id, group=self._group, body=body)
        raise NotImplementedError("this release of pydantic-ai sends requests in a way of its own")

    async def _check(self, body: dict[str, Any]) -> None:
        """Refuse a row that would make `BatchClient.submit` refuse the rows of all runs."""
        row = {"custom_id": "request", "body": body}
        report = await self._batch_client.check([row], model=self.model_name)
        if report.problems:
            reason = report.problems[0].reason
            raise UserError(f"the request cannot be a row of a batch job: {reason}")

    @property
    def _group(self) -> str:
        """What requests must share to be rows of one job.

        Two clients may have two accounts, which are not known before the first request. So the
        clients are told apart.
        """
        return json.dumps(
            {"client": id(self._batch_client), "model": self.model_name, "name": self._name}
        )

    async def batch_create(self, requests: Sequence[EncodedBatchRequest]) -> Batch:
        """Create the job of some requests, or adopt the job that an earlier process has created.

        Args:
            requests: The rows, in any order.

        Returns:
            The batch. It holds no secret. ``id`` is the resource name of the job, and
            ``provider_details`` has the `Submission`.

        Raises:
            ModelHTTPError: The server refuses.
            ModelConnectionError: There was no usable answer. The same call finds the job, if there
                is one.
            FireworksBatchError: Another error of `BatchClient.submit`, such as a malformed name of
                the model.
        """
        requests = sorted(requests, key=lambda each: each.custom_id)
        rows = ({"custom_id": each.custom_id, "body": json.loads(each.body)} for each in requests)
        with self._named(requests) as name, self._errors():
            submission = await self._batch_client.submit(rows, model=self.model_name, name=name)
        (ref,) = submission.refs
        return Batch(
            id=str(ref),
            model_name=self.model_name,
            provider_name=self.system,
            group=requests[0].group,
            status="in_progress",
            created_at=datetime.now(UTC),  # noqa: TID251 - until the first poll
            request_count=len(requests),
            provider_details={"submission": submission.to_json()},
        )

    @contextmanager
    def _named(self, requests: Sequence[EncodedBatchRequest]) -> Iterator[str]:
        """Choose the name of a run of `BatchClient.submit`.

        The same rows get another name each time, so that each batch has a job of its own: a row
        that failed is sent again, and the job of a batch that is given up is deleted. If the rows
        were not sent, the next batch gets the name. The name has a digest, because a warning is
        logged if a run has the name of another run with other rows.
        """
        content = _digest(
            self._name, *(text for each in requests for text in (each.custom_id, each.body))
        )
        shown = self._name[:_SHOWN_NAME]
        names = (f"{shown}-{_digest(content, str(number))}" for number in count())
        name = next(name for name in names if name not in self._run_names)
        self._run_names.add(name)
        try:
            yield name
        except BaseException:
            self._run_names.discard(name)
            raise

    async def batch_status(self, batch: Batch) -> Batch:
        """Poll the job of a batch once.

        Args:
            batch: The batch, also from another process.

        Returns:
            The batch, with the status of its job.

        Raises:
            ModelHTTPError: The server refuses. Status 404: the job was deleted.
            ModelConnectionError: There was no usable answer, or a new job is not visible yet.
            ConfigurationError: The batch is not one of this model, or belongs to another account or
                host.
        """
        details = batch.provider_details or {}
        try:
            with self._errors():
                job = await self._batch_client.jobs.get(
                    _ref(batch), read_mask=("state", "create_time")
                )
        except ModelHTTPError as error:
            if error.status_code != 404 or "state" in details:
                raise
            # A new job may not be visible yet. After this error, pydantic-ai polls again.
            raise ModelConnectionError(self.model_name, str(error)) from error
        status: BatchStatus = "in_progress"
        if job.is_terminal:
            status = "ended"
        elif job.state.phase is JobPhase.LEAVING:
            status = "canceling"
        return dataclasses.replace(
            batch,
            status=status,
            created_at=job.create_time or batch.created_at,
            provider_details={**details, "state": str(job.state)},
        )

    async def batch_results(self, batch: Batch) -> list[BatchResult]:
        """Return the results of a batch that has ended.

        Args:
            batch: The batch, also from another process.

        Returns:
            A result for each row that has one, in memory.

        Raises:
            UserError: The job of the batch has not ended.
            ModelAPIError: The job FAILED, and has no row.
            ModelConnectionError: There was no usable answer, or the output of the job is late.
            ModelHTTPError: The server refuses.
            FireworksBatchError: Another error of `BatchClient.collect`.
        """
        if batch.status != "ended":
            raise UserError(f"batch {batch.id!r} has not ended: call batch_status() until it has")
        with self._errors():
            async with await self._batch_client.collect(_submission(batch)) as result:
                results = [_result(row) async for row in result]
            job = await self._batch_client.jobs.get(_ref(batch))
        report, progress = result.report, job.job_progress
        counted = progress.successfully_processed_requests if progress else 0
        read = sum(each.status == "succeeded" for each in results) + report.unreadable
        if read < min(counted, batch.request_count) or (job.is_success and not results):
            # Missing rows would be sent again, and paid for again, while the output is late.
            raise ModelConnectionError(
                self.model_name,
                f"job {job.id!r} is {job.state}: its output has {read} of {counted} responses",
            )
        if job.state == JobState.FAILED and not results:
            reason = report.jobs[-1].reason
            raise ModelAPIError(self.model_name, f"job {job.id!r} FAILED: {reason}")
        return results

    def _batch_unlisted_status(self, batch: Batch) -> BatchResultStatus | None:
        """Say what became of the rows that have no result. Only expired rows are sent again.

        Other rows are not: a job that FAILED would fail again, a person has stopped a job that is
        CANCELLED, and a row of a COMPLETED job was paid for, and cannot be read.
        """
        state = (batch.provider_details or {}).get("state")
        return "expired" if state in {"EXPIRED", "EARLY_STOPPED"} else "canceled"

    async def batch_cancel(self, batch: Batch) -> Batch:
        """Delete the job of a batch, unless it has ended. The API has no cancel.

        Args:
            batch: The batch, also from another process.

        Returns:
            The batch, with the status of its job before the deletion or ``"canceling"``.

        Raises:
            ModelHTTPError: The server refuses. Status 404: the job was deleted before.
            ModelConnectionError: There was no usable answer. The job may run on.
            ConfigurationError: The batch is not one of this model, or belongs to another account or
                host.
        """
        with suppress(ModelAPIError):
            batch = await self.batch_status(batch)
        if batch.status != "in_progress":
            return batch
        with self._errors():
            await self._batch_client.jobs.delete(_ref(batch))
        return dataclasses.replace(batch, status="canceling")

    def batch_decode(
        self,
        result: BatchResult,
        request: BatchRequest,  # noqa: ARG002 - the name is pydantic-ai's
    ) -> ModelResponse:
        """Read the result of a row, as ``OpenAIChatModel`` reads a response.

        Args:
            result: The result of a row.
            request: The request of the row. It is not used. So the settings that ask for unread
                parts of a response (``openai_include_...``) have no effect.

        Returns:
            The response.

        Raises:
            ModelHTTPError: The row failed. ``body`` has the server's code and message.
            ModelAPIError: The row has no result.
            UnexpectedModelBehavior: The response is not a chat completion.
        """
        if result.body is None:
            raise ModelAPIError(
                self.model_name, f"the job has no result of this row: {result.status}"
            )
        body = json.loads(result.body)
        if result.status != "succeeded":
            raise ModelHTTPError(body.pop("status"), self.model_name, body)
        response = self._process_response(ChatCompletion.model_construct(**body))
        # The library of prices that pydantic-ai uses knows batches by this detail.
        response.provider_details = {**(response.provider_details or {}), "processing": "batch"}
        return response

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn errors that pydantic-ai acts on into its own. Other errors stay what they are."""
        try:
            yield
        except APIStatusError as error:
            body = {"code": error.code, "message": str(error)}
            raise ModelHTTPError(error.status, self.model_name, body) from error
        except (TransportError, PollFailureError, ResponseDecodeError) as error:
            raise ModelConnectionError(self.model_name, str(error)) from error


# --- Requests -------------------------------------------------------------------------------------


class _NotSentError(UserError):
    """A request that was not sent, with the body that it would have."""

    def __init__(self, body: dict[str, object], *, is_extended: bool) -> None:
        super().__init__(_NOT_BATCHED)
        self.body = body
        """What pydantic-ai would send."""
        self.is_extended = is_extended
        """Whether the body has members of the caller's (the setting ``extra_body``)."""


class _Recorder:
    """Stands in for a client of the OpenAI SDK. It has no key, and raises a request as an error."""

    base_url: Final = "https://api.fireworks.ai/inference/v1"
    _client: Final = None

    @property
    def chat(self) -> Self:
        return self

    @property
    def completions(self) -> Self:
        return self

    def with_options(self, **_: object) -> Self:
        return self  # the number of retries: a row has none

    async def create(  # the members of a body, and what the SDK would do with it
        self,
        *,
        model: str,
        stream: bool,
        timeout: object,  # noqa: ASYNC109 - the SDK's name
        extra_headers: dict[str, str],
        extra_body: object = None,
        **members: object,
    ) -> NoReturn:
        """Raise the body of a request."""
        del model, stream  # the job has its model, and no row streams
        if not isinstance(timeout, NotGiven | Omit):
            raise UserError("a row of a batch job has no timeout: leave out the setting 'timeout'")
        if set(extra_headers) > {"User-Agent"}:
            raise UserError("a row of a batch job has no headers: leave out 'extra_headers'")
        if not isinstance(extra_body, dict | None):
            raise UserError(f"extra_body must be a dict, not {extra_body!r}")
        body = {
            name: value for name, value in members.items() if not isinstance(value, NotGiven | Omit)
        }
        extended = {**body, **(extra_body or {})}
        raise _NotSentError(extended, is_extended=bool(extra_body))


def _digest(*texts: str) -> str:
    """Return a digest of texts. It tells apart texts that are divided in another way."""
    whole = hashlib.sha256()
    for text in texts:
        whole.update(hashlib.sha256(text.encode()).digest())
    return whole.hexdigest()


# --- Batches and results --------------------------------------------------------------------------


def _submission(batch: Batch) -> Submission:
    return Submission.from_json((batch.provider_details or {}).get("submission", ""))


def _ref(batch: Batch) -> JobRef:
    (ref,) = _submission(batch).refs
    return ref


def _result(row: ResultRow[Any]) -> BatchResult:
    if row.error is None:
        body = json.dumps(row.response)
        return BatchResult(custom_id=row.custom_id or "", status="succeeded", body=body)
    error = {"status": _status(row), "code": row.error.code, "message": row.error.message}
    return BatchResult(custom_id=row.custom_id or "", status="errored", body=json.dumps(error))


def _status(row: ResultRow[Any]) -> int:
    """Return an HTTP status. It tells pydantic-ai whether the row may run again."""
    code = row.error.code if row.error is not None else ""
    if len(code) == 3 and code.isascii() and code.isdigit() and code >= "400":
        # pydantic-ai does not know that 425 and 499 may pass.
        return 503 if row.is_retryable and code in {"425", "499"} else int(code)
    return 503 if row.is_retryable else 400
